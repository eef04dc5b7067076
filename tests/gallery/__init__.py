"""A gallery of patches: mistakes as people make them, and patches that are good; and which gate stops which."""

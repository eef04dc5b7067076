"""How the documentation is built: Sphinx, MyST, furo."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "hotswap"
author = "hotswap contributors"
copyright = "2026, hotswap contributors"
release = version = version_of("hotswap")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"hotswap {release}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": True}

napoleon_google_docstring = True
napoleon_numpy_docstring = False
# A class tells of its attributes in its docstring; as fields they do not clash with the annotations.
napoleon_use_ivar = True

"""What a parcel costs: the package that patches replace."""

"""It raises while it is imported."""

raise KeyError("width")

"""The toy chapter is a chapter to be copied into a clone, not tests of this project."""

collect_ignore = ["zebra"]

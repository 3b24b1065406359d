"""The checks of a plan, one small pure function each, by subject."""

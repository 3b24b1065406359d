"""Break one line at a time, to see whether the tests notice."""

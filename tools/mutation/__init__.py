"""Break lines one at a time, to see whether the tests notice."""

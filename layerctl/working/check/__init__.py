"""Find what is wrong with the markers in layers, and mend it."""

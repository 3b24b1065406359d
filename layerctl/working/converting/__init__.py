"""Write the markers of a layer in the form of another filesystem."""

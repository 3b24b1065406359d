"""What a stack shows and which layer it comes from, read from the layers alone."""

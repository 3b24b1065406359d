"""What a stack shows and which layer provides it, read only from the layers."""

"""Random stacks and texts."""

"""Plan a throwaway run: which mount point gets a layer, and why another gets none. Pure."""

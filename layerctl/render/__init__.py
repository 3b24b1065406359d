"""Output: JSON for scripts, tables and trees for people."""

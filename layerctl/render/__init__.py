"""Nouns to output: JSON for scripts, tables and trees for people."""

"""Calls that fail."""

"""Stacks from the own files of container engines, no daemon asked."""

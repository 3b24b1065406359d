"""The only room that touches the system."""

"""The only room that uses system calls freely."""

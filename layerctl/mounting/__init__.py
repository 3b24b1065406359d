"""From a stack to a mount: plan, apply, read back, or undo."""

"""Work on the branches of an aufs: its markers are files beside those that they hide."""

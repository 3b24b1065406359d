"""What overlayfs and aufs accept: tables and pure decisions that several rooms share."""

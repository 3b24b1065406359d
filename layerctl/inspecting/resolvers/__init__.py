"""Which version of a name each filesystem shows: one resolver for overlay, one for aufs."""

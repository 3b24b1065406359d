"""Foreign test suites as judges: each takes a checkout of the suite by path."""

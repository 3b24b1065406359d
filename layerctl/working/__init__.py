"""Work on layers that no mount uses: the merged tree stays as it is at every step."""

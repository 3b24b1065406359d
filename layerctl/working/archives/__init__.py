"""Layers as OCI archives: packing and unpacking them, and the images made of them."""

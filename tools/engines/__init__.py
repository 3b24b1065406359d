"""Compare what layerctl says of containers and images with what real engines report."""

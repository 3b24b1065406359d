"""`python -m layerctl` is the same program as `layerctl`."""

from layerctl.cli.main import program

program()

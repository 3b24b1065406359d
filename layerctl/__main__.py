"""`python -m layerctl` is the same program as `layerctl`."""

import sys

from layerctl.cli.main import main

sys.exit(main())

"""Run the command line as `python -m codial.cli`."""

import sys

from codial.cli import main

sys.exit(main())

"""Run the command line as `python -m codial`."""

import sys

from codial.cli.main import main

sys.exit(main())

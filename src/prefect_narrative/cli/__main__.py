"""`python -m prefect_narrative.cli`: the command line, where the console script is not at hand."""

import sys

from prefect_narrative.cli import main

sys.exit(main())

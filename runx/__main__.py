"""`python -m runx`."""

import sys

from runx.cli import main

sys.exit(main())

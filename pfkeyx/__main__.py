"""`python -m pfkeyx` is the `pfkeyx` command."""

import sys

from pfkeyx.cli import main

sys.exit(main())

"""It leaves by sys.exit."""

import sys

sys.exit(0)

"""It ends its process without a word."""

import os

os._exit(0)

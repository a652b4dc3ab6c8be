"""It makes copies of its process."""

import os

for _ in range(3):
    os.fork()

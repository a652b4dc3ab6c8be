"""It writes into the folder above its own."""

from pathlib import Path

Path("../left_behind.txt").write_text("I was here.")

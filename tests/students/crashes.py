"""It reads where it has no memory."""

import ctypes

ctypes.string_at(0)

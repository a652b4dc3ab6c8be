"""There is no network in it."""

WIDTH = 8

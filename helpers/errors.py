"""The exceptions a reader of the workbook meets, and the hint that goes with a misspelt name."""

from collections.abc import Iterable
from difflib import get_close_matches


class BadInput(ValueError):
    """A mistake of the caller's, told in one sentence: what was given, what is accepted, what to do."""


class Interrupted(KeyboardInterrupt):
    """A run that was told to stop, by Ctrl-C or a signal, and has saved its state; `signum` is the signal's number."""

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


def nearest(name: object, names: Iterable[str]) -> str:
    """Return the sentence that ends a message about an unknown name: the closest known one, or all of them."""
    names = sorted(names)
    close = get_close_matches(str(name), names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}."


def check_count(name: str, value: object, most: int, least: int = 1, multiple: int = 1) -> None:
    """Raise BadInput unless the parameter of this name is a whole number from `least` to `most`, and a multiple."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value <= most or value % multiple:
        of = f", a multiple of {multiple}" if multiple > 1 else ""
        raise BadInput(f"{name} is {value!r}; give a whole number from {least} to {most:,}{of}.")


def check_number(name: str, value: object, least: float, most: float) -> None:
    """Raise BadInput unless the parameter of this name is a number from `least` to `most`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise BadInput(f"{name} is {value!r}; give a number from {least:g} to {most:g}.")


def kind_of(thing: object) -> str:
    """Return what a thing is, for a message that it should be something else."""
    return "nothing: return it" if thing is None else f"something of type {type(thing).__name__}"

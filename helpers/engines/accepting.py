"""Which values a field accepts, as annotations for pydantic, and the sentence on one that it does not."""

from typing import Annotated, Literal, get_args, get_origin

from pydantic import Field, TypeAdapter, ValidationError

from helpers.errors import BadInput, nearest


def number(low: float, high: float, kind: object = float) -> object:
    """Return the kind of a number between two ends, both accepted."""
    accepted = f"a {'whole ' if kind is int else ''}number from {low:g} to {high:g}"
    return Annotated[kind, Field(ge=low, le=high, strict=True, title=accepted)]


def three(low: float, high: float) -> object:
    """Return the kind of a tuple of three such numbers."""
    one, accepted = number(low, high), f"a tuple of three numbers from {low:g} to {high:g}"
    return Annotated[tuple[one, one, one], Field(strict=True, title=accepted)]


def accepted(name: str, value: object, kind: object) -> object:
    """Return the value as its kind has it, such as 1 as 1.0; raises BadInput, which says what is accepted."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        raise BadInput(_refusal(name, value, kind)) from None


def _refusal(name: str, value: object, kind: object) -> str:
    """Return the sentence on a value that is not accepted: what was given, and what is."""
    of = get_args(kind)[0]
    if get_origin(of) is Literal:
        return f"There is no {name} {value!r}. {nearest(value, get_args(of))}"
    accepted = next(one.title for one in kind.__metadata__ if hasattr(one, "title"))
    return f"{name} is {value!r}; it must be {accepted}."

"""What is wrong with a reader's answer to an exercise, in words; "" for nothing.

A problem is a function of the answer that returns these words. An answer may be anything and do anything.
"""

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from numbers import Real

import numpy as np
from torch import nn

from helpers.errors import BadInput, kind_of

Problem = Callable[[object], str]
Case = tuple[Problem, str, str]  # one thing that is asked, a hint for who fails it, and a plainer one


class NotAttempted(Exception):
    """An answer that is still `...`, or gives it."""


def verdict(cases: Iterable[Case], answer: object, hint: int) -> str:
    """Return "not attempted", "passed", or "not yet" with the first case that fails and its first or second hint."""
    for problem, *hints in cases:
        try:
            found = problem(attempted(answer))
        except NotAttempted:
            return "not attempted"
        except BadInput as error:
            found = str(error)
        except (Exception, SystemExit) as error:
            found = f"It raises {type(error).__name__}: {_words(error)}"
        if found:
            more = "" if hint == 2 else " (hint=2 in the call gives a plainer one)"
            return f"not yet. {found}\nHint: {hints[hint == 2]}{more}"
    return "passed"


def guess(wrong: Callable[[Real, Real], bool], oracle: Real | Callable[[], Real], told: str) -> Problem:
    """Return the problem of a number that compares with the right one, or what an oracle gives, as `wrong` says."""
    return lambda answer: told if wrong(_number(answer), oracle() if callable(oracle) else oracle) else ""


def agrees(oracle: Callable[..., Real], *arguments: object, shown: bool = True) -> Problem:
    """Return the problem of a function that gives another number than the oracle; hidden arguments are not told."""

    def problem(answer: Callable) -> str:
        got = _number(answer(*arguments))
        told = f"For {arguments} it gives {got}." if shown else "It is wrong for arguments that are not shown."
        return "" if got == oracle(*arguments) else told

    return problem


def compares(
    wrong: Callable[[Real, Real], bool], oracle: Callable[..., Real], told: str, *arguments: object
) -> Problem:
    """Return the problem of a function whose number for these arguments compares with the oracle's as `wrong` says."""
    return lambda answer: told if wrong(_number(answer(*arguments)), oracle(*arguments)) else ""


def gives(right: Callable[..., bool], told: str, *arguments: object) -> Problem:
    """Return the problem of a function that gives what is not right; `right` is called with it and the arguments."""

    def problem(answer: Callable) -> str:
        made = attempted(answer(*deepcopy(arguments)))  # an answer may write into what it is given
        if made is None:
            raise BadInput(f"It gives {kind_of(made)}.")
        return "" if right(made, *arguments) else told

    return problem


def alike(made: object, right: object) -> bool:
    """Return whether these are the same numbers in the same shape; raises BadInput for what are no numbers."""
    try:
        numbers = np.asarray(made, float)
    except (TypeError, ValueError) as error:
        raise BadInput(f"It should give numbers, and gives {kind_of(made)}.") from error
    return numbers.shape == np.shape(right) and np.allclose(numbers, right, rtol=1e-5, atol=1e-6)


def differs(one: Real, other: Real) -> bool:
    """Return whether two numbers differ in their first six digits."""
    return not math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def measures(right: Callable[..., bool], told: str, *arguments: object) -> Problem:
    """Return the problem of a network, or of what a function makes of the arguments, that is not right.

    `right` is called with the network and the arguments.
    """
    return lambda answer: "" if right(network(answer, *arguments), *arguments) else told


def network(answer: object, *arguments: object) -> nn.Module:
    """Return the network that the answer is, or makes of the arguments; raises BadInput for something else."""
    made = answer if isinstance(answer, nn.Module) else attempted(answer(*arguments))
    if not isinstance(made, nn.Module):
        raise BadInput(f"It should be a torch.nn.Module, and is {kind_of(made)}.")
    return made


def attempted(value: object) -> object:
    """Return the value, if it is no more `...`."""
    if value is ...:
        raise NotAttempted
    return value


def _number(value: object) -> Real:
    if not isinstance(attempted(value), Real) or isinstance(value, bool):
        raise BadInput(f"It should be a number, and is {kind_of(value)}.")
    if value != value:
        raise BadInput("It should be a number, and is nan.")
    return value


def _words(error: BaseException) -> str:
    """Return what an error says, on one line; its own `str` may raise, too."""
    try:
        return " ".join(str(error).split())[:200]
    except Exception:
        return "and cannot say what"

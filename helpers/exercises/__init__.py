"""Exercises that check themselves: the reader puts an answer in the place of `...`, and `check` says how it stands."""

from helpers.engines.answering import Case, verdict
from helpers.errors import nearest
from helpers.exercises import (
    notebook_01,
    notebook_02,
    notebook_03,
    notebook_04,
    notebook_05,
    notebook_06,
    notebook_07,
)

# By name; each case of an exercise: what is asked of an answer, a hint, and a plainer one.
EXERCISES: dict[str, list[Case]] = {}
for notebook in (notebook_01, notebook_02, notebook_03, notebook_04, notebook_05, notebook_06, notebook_07):
    EXERCISES |= notebook.EXERCISES


def check(exercise: str, answer: object = ..., hint: int = 1) -> None:
    """Print how an answer stands: not attempted, not yet with the case that fails and a hint, or passed.

    `hint=2` prints a plainer hint. Whatever the answer is or does, nothing is raised, and no solution is told.
    """
    name = str(exercise)
    if name in EXERCISES:
        print(f"{name}: {verdict(EXERCISES[name], answer, hint)}")
    else:
        print(f"There is no exercise {name!r}. {nearest(name, EXERCISES)}")

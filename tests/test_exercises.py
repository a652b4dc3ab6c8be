"""Exercises: every solution passes, every starter is not attempted, and wrong answers get the hint that is theirs."""

import importlib
import re

import nbformat
import numpy as np
import pytest
import torch
from torch import nn

from answers.notebook_07 import steps_network
from helpers import exercises
from helpers.receptive_field import total
from helpers.recipes import RECIPES
from helpers.summary import parameter_count
from helpers.workbook.editions import solutions
from helpers.workbook.parameters import NOTEBOOKS

ANSWERS = {
    number: importlib.import_module(f"answers.notebook_{number}")
    for number in sorted({name.split(".")[0] for name in exercises.EXERCISES})
}
WRONG = [case for module in ANSWERS.values() for case in module.WRONG]
HIDDEN = {name: right for module in ANSWERS.values() for name, right in module.HIDDEN.items()}


def told(capsys, *arguments, **options):
    """Return what check prints, which is all that it does."""
    assert exercises.check(*arguments, **options) is None
    return capsys.readouterr().out.strip()


def cells_of(number):
    """Return the source of each exercise's cell in a notebook, and the answer's name there, by the exercise."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    code = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    checks = [(source, re.search(r'exercises\.check\("([\d.]+)", (\w+)\)', source)) for source in code]
    return {found[1]: (source, found[2]) for source, found in checks if found}


def solved(name, code):
    """Return the answer that the cell of a solution makes."""
    variables = {}
    exec(code, variables)
    return variables[cells_of(name.split(".")[0])[name][1]]


SOLUTIONS = {name: solved(name, code) for name, code in solutions().items()}


def test_each_exercise_has_a_solution_and_two_wrong_answers():
    assert SOLUTIONS.keys() == exercises.EXERCISES.keys()
    assert all([name for name, *_ in WRONG].count(exercise) >= 2 for exercise in SOLUTIONS)
    assert HIDDEN.keys() <= SOLUTIONS.keys()


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_solution_passes(name, capsys):
    assert told(capsys, name, SOLUTIONS[name]) == f"{name}: passed"


@pytest.mark.parametrize("name", ["07.4", "07.6"])
def test_a_network_itself_passes_as_well_as_what_makes_it(name, capsys):
    model = SOLUTIONS[name]()
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert told(capsys, name, model) == f"{name}: passed"
    assert model.training and all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_starter_is_not_attempted(name, capsys):
    assert told(capsys, name, ...) == f"{name}: not attempted"
    exec("from helpers import exercises\n" + cells_of(name.split(".")[0])[name][0])
    assert capsys.readouterr().out.strip() == f"{name}: not attempted"


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG, ids=[name for name, *_ in WRONG])
def test_a_wrong_answer_gets_its_hint_and_the_right_one_is_not_given_away(name, answer, hint, capsys):
    problem, first = told(capsys, name, answer).split("\n")
    assert problem.startswith(f"{name}: not yet. ") and hint in first
    again, second = told(capsys, name, answer, hint=2).split("\n")
    assert again == problem and not first.startswith(second)
    shown = "\n".join([problem.split(": ", 1)[1], first, second])
    assert not (name in HIDDEN and re.search(rf"\b{HIDDEN[name]}", shown))


def raising(*arguments):
    raise ValueError("a\nreader's\nmistake")


def leaving(*arguments):
    raise SystemExit(3)


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError


def speechless(*arguments):
    raise Speechless


class Broken(nn.Module):
    def forward(self, images):
        return images["image"]


NONSENSE = [None, "9", True, float("nan"), [1, 2], {}, object(), np.arange(3), torch.zeros(3), 2j, -1, print, len, int]
NONSENSE += [raising, leaving, speechless, nn.Linear, nn.Identity(), Broken(), Broken, nn.LazyConv2d(3, 3)]
NONSENSE += [lambda: None, lambda *_: "a", lambda *_: [nn.ReLU()], lambda *_: {}, lambda *_: nn.ReLU(), nn.Flatten()]


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: getattr(answer, "__name__", type(answer).__name__))
def test_nothing_that_an_answer_does_is_raised(name, answer, capsys):
    assert f"{name}: not yet. " in told(capsys, name, answer)


def test_an_error_in_an_answer_is_told_in_one_line(capsys):
    assert "It raises ValueError: a reader's mistake\n" in told(capsys, "07.2", raising)


def test_an_unknown_exercise_is_told(capsys):
    assert told(capsys, "07.11", 3).startswith("There is no exercise '07.11'. Did you mean ")


def test_the_wrong_answers_are_what_they_say():
    assert total(steps_network(2, 2, 1)) == 49 and parameter_count(steps_network(2, 2, 1)) == 62_570


def test_a_step_with_momentum_is_that_of_torch():
    weight, velocity, parameter = torch.ones(3), torch.zeros(3), torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], momentum=0.8)
    for rate in (0.3, 0.1, 0.2):
        optimizer.param_groups[0]["lr"], parameter.grad = rate, parameter.detach() ** 2 - torch.arange(3)
        weight, velocity = SOLUTIONS["05.5"](weight, parameter.grad, velocity, rate, 0.8)
        optimizer.step()
    assert torch.allclose(weight, parameter)


def test_a_recipe_for_twice_the_passes_takes_as_many_steps():
    with_it, without = (
        fast.epochs * -(-45_000 // fast.batch_size) for fast in (SOLUTIONS["05.3"], RECIPES["fast_200k"])
    )
    assert with_it == without == SOLUTIONS["05.1"]

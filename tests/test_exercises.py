"""Exercises: every solution passes, every starter is not attempted, and wrong answers get the hint that is theirs."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from helpers import exercises
from helpers.receptive_field import total
from helpers.summary import parameter_count


def told(capsys, *arguments, **options):
    """Return what check prints, which is all that it does."""
    assert exercises.check(*arguments, **options) is None
    return capsys.readouterr().out.strip()


# --- solutions: the only place that has them ---


def conv_parameters(channels_in, channels, kernel, groups):
    return channels * (channels_in // groups * kernel**2 + 1)


def separable(channels_in, channels):
    depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in)
    return nn.Sequential(depthwise, nn.Conv2d(channels_in, channels, 1))


def steps_network(*dilations, side=32):
    """Return the network of notebook 07's second step with these dilations at 8x8."""
    shrinking = [nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 2, 1)]
    spread = [nn.Conv2d(32, 32, 3, padding=d, dilation=d) for d in dilations]
    layers = [part for layer in [*shrinking, *spread] for part in (layer, nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 8 * 8, 10))


def small_network(dilation=2, pooling=nn.AdaptiveAvgPool2d, width=32):
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), *separable(16, width), nn.ReLU()),
        *(nn.Conv2d(width, 16, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=dilation, dilation=dilation), nn.ReLU()) * 2,
        *(nn.Conv2d(16, width, 3, padding=1), nn.ReLU()),
        *(pooling(1), nn.Flatten(), nn.Linear(width, 10)),
    )


SOLUTIONS = {
    "07.1": 327_690,
    "07.2": conv_parameters,
    "07.3": 9,
    "07.4": separable,
    "07.5": lambda: steps_network(2, 2, 3),
    "07.6": small_network,
}

STARTERS = {
    "07.2": lambda channels_in, channels, kernel, groups: ...,
    "07.4": lambda channels_in, channels: ...,
}


def no_padding(channels_in, channels):
    depthwise = nn.Conv2d(channels_in, channels_in, 3, groups=channels_in)
    return nn.Sequential(depthwise, nn.Conv2d(channels_in, channels, 1))


def mixed_first(channels_in, channels):
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 1), nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    )


def for_eight_only(channels_in, channels):
    return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, channels, 1))


# For each exercise: an answer, and words of the hint that it should get.
WRONG = [
    ("07.1", 330, "each pixel"),  # as if the map were pooled
    ("07.1", 32 * 32 * 10 + 10, "each pixel"),  # one channel
    ("07.1", 327_680, "Not every parameter is a weight"),  # without biases
    ("07.2", lambda i, o, k, g: i * o * k**2 // g, "Not every parameter is a weight"),
    ("07.2", lambda i, o, k, g: o * (i // g * k + 1), "two sides"),
    ("07.2", lambda i, o, k, g: o * (i * k**2 + 1), "groups"),
    ("07.3", 7, "more than one pixel"),  # strides left out
    ("07.3", 15, "Whose view"),  # each stride counted for its own layer
    ("07.4", no_padding, "side should stay"),
    ("07.4", lambda i, o: nn.Conv2d(i, o, 3, padding=1), "each channel by itself"),
    ("07.4", mixed_first, "each channel by itself"),
    ("07.4", lambda i, o: nn.Conv2d(i, o, 3, padding=1, groups=i), "each channel by itself"),
    ("07.4", for_eight_only, "both arguments"),
    ("07.5", lambda: steps_network(2, 2, 1, 1), "for nothing"),
    ("07.5", lambda: steps_network(2, 2, 2), "most pixels"),
    ("07.6", lambda: small_network(dilation=1), "says what to change"),
    ("07.6", lambda: small_network(pooling=nn.AdaptiveMaxPool2d), "says what to change"),
    ("07.6", lambda: small_network(width=140), "where they are"),
]


def test_each_exercise_has_a_solution_and_two_wrong_answers():
    assert SOLUTIONS.keys() == exercises.EXERCISES.keys()
    assert all([name for name, *_ in WRONG].count(exercise) >= 2 for exercise in SOLUTIONS)


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_solution_passes(name, capsys):
    assert told(capsys, name, SOLUTIONS[name]) == f"{name}: passed"


@pytest.mark.parametrize("name", ["07.5", "07.6"])
def test_a_network_itself_passes_as_well_as_what_makes_it(name, capsys):
    model = SOLUTIONS[name]()
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert told(capsys, name, model) == f"{name}: passed"
    assert model.training and all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_starter_is_not_attempted(name, capsys):
    assert told(capsys, name, ...) == f"{name}: not attempted"
    if name in STARTERS:
        assert told(capsys, name, STARTERS[name]) == f"{name}: not attempted"


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG, ids=[name for name, *_ in WRONG])
def test_a_wrong_answer_gets_its_hint(name, answer, hint, capsys):
    problem, first = told(capsys, name, answer).split("\n")
    assert problem.startswith(f"{name}: not yet. ") and hint in first
    again, second = told(capsys, name, answer, hint=2).split("\n")
    assert again == problem and not first.startswith(second)


@pytest.mark.parametrize("name", ["07.1", "07.2", "07.3"])
def test_the_answer_is_not_given_away(name, capsys):
    answers = [answer for exercise, answer, _ in WRONG if exercise == name]
    shown = [told(capsys, name, answer, hint=hint) for answer in answers for hint in (1, 2)]
    right = {"07.1": "327", "07.2": "448", "07.3": "9"}[name]  # 448: of (3, 16, 3, 1)
    assert not any(re.search(rf"\b{right}", text.split(": ", 1)[1]) for text in shown)


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

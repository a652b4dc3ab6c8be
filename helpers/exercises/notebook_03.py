"""The exercises of notebook 03."""

import operator
from copy import deepcopy
from functools import cache, partial

import numpy as np
import torch
from torch import nn

from helpers.engines.answering import Case, agrees, alike, gives, guess, measures
from helpers.models import build
from helpers.receptive_field import effective_receptive_field, layer_table, total
from helpers.summary import parameter_count

LARGE = (3, 160, 160)  # an image larger than what a unit sees, so that no border cuts it off
PATHS = max(np.convolve(np.convolve([1, 1, 1], [1, 1, 1]), [1, 1, 1]))  # to each input of three layers of 3, the most


def _field_of(depth: int, kernel: int = 3) -> int:
    return total(nn.Sequential(*(nn.Conv2d(3, 3, kernel, padding=kernel // 2) for _ in range(depth))))


def _fewest(least: int, kernel: int) -> int:
    return next(depth for depth in range(1, 99) if _field_of(depth, kernel) > least)


def _is_step(made: object, r: int, j: int, kernel: int, stride: int, dilation: int) -> bool:
    """Return whether these are field and jump behind a layer; one of kernel r and stride j leads up to it."""
    layers = nn.Conv2d(3, 3, r, j), nn.Conv2d(3, 3, kernel, stride, dilation=dilation)
    return alike(made, layer_table(nn.Sequential(*layers), LARGE).iloc[-1][["rf", "jump"]].tolist())


def _sides(model: nn.Module) -> list[int]:
    """Return the side of the map behind each convolution of a network like dilated_193k, without its head."""
    return [side for _, side, _ in layer_table(model).output if side > 1]


def _is_short(model: nn.Module, field: int) -> bool:
    table = layer_table(model, LARGE)
    return len(table) <= 4 and {*table.kind} == {"Conv2d"} and {*table.kernel} == {3} and {*table.stride} == {1}


def _has_no_gaps(model: nn.Module, field: int) -> bool:
    """Return whether the field is of this size and the gradient of the middle unit reaches as many pixels of a row."""
    positive = deepcopy(model)
    for parameter in positive.parameters():
        nn.init.ones_(parameter)
    reached = effective_receptive_field(positive, torch.ones(1, *LARGE)).any(axis=0).sum()
    return reached == total(model, LARGE) == field


EXERCISES: dict[str, list[Case]] = {
    "03.1": [  # the receptive field of four convolutions
        (guess(operator.gt, partial(_field_of, 4), "It is too large."),
         "The windows of neighbours overlap.", "The second layer adds one input on either side. And the third?"),
        (guess(operator.lt, partial(_field_of, 4), "It is too small."),
         "The first layer sees three; how many does each of the others add?", "Each adds one input on either side."),
    ],
    "03.2": [  # a function: the fewest layers for a receptive field that is larger than a number
        (gives(lambda made, *_: made == int(made), "For (44, 3) it is no whole number.", 44, 3),
         "There is no half of a layer.", "Which way does it have to be rounded, so that the field is large enough?"),
        (agrees(cache(_fewest), 44, 3), "A pixel sees itself; each layer adds how much?", "Each adds kernel - 1."),
        (agrees(cache(_fewest), 45, 3), "Equal is not more.", "How much do so many layers see?"),
        (agrees(cache(_fewest), 64, 7, shown=False), "Does it use both arguments?", "Each layer adds kernel - 1."),
    ],
    "03.3": [  # a function: field and jump behind a layer
        (gives(lambda made, *_: np.shape(made) == (2,) and made[0] > made[1], "It gives no r and j.", 3, 1, 3, 1, 1),
         "Two numbers, the receptive field first.", "return r, j"),
        (gives(_is_step, "With r = 3 and j = 1, a kernel of 3 is wrong.", 3, 1, 3, 1, 1),
         "How many steps is it from the first to the last weight of a kernel?", "One step fewer than it has weights."),
        (gives(_is_step, "With dilation 2 it is wrong.", 3, 1, 3, 1, 2),
         "A dilation makes each step from weight to weight longer.", "There are k - 1 steps, each of d inputs."),
        (gives(_is_step, "With r = 7 and j = 4 it is wrong.", 7, 4, 3, 1, 1),
         "How far apart do the layer's inputs stand in the image?", "A step of one input is a step of j pixels."),
        (gives(_is_step, "With a stride of 2 it is wrong.", 7, 2, 3, 2, 1),
         "Does a stride widen the view of its own layer?", "r grows by steps of the old j; only then j is multiplied."),
        (gives(_is_step, "It is wrong for numbers that are not shown.", 9, 4, 5, 3, 2),
         "Which of the five does it not use?", "Go through the three rules, one by one."),
    ],
    "03.4": [  # a network: dilated_193k without its third stride, which sees as much
        (measures(lambda model: parameter_count(model) == 193_535, "It no longer has 193,535 parameters."),
         "Only strides, dilations and padding change.", 'Start from build("dilated_193k"), and change its layers.'),
        (measures(lambda model: _sides(model)[-1] in (4, 8), "Its last map is neither 4x4 nor 8x8."),
         "What keeps the side of a map when its kernel grows?", "Padding as much as the dilation."),
        (measures(lambda model: _sides(model)[-1] == 8, "Its last map is 4x4."), "A third stride still halves it.",
         "The third is the third row of the table with a stride of 2."),
        (measures(lambda model: _sides(model)[:14] == _sides(build("dilated_193k"))[:14], "An earlier map is larger."),
         "The first two strides stay.", "The third is the third row of the table with a stride of 2."),
        (measures(lambda model: total(model) >= total(build("dilated_193k")), "It sees less than before."),
         "Behind the missing stride a step is half as many pixels.", "Dilation makes steps longer again."),
    ],
    "03.5": [  # the paths from an output to the middle input of three layers
        (guess(operator.gt, PATHS, "It is too many."), "Not all paths end in the middle.",
         "Of all that leave the output, count those whose steps of -1, 0 and 1 sum up to 0."),
        (guess(operator.lt, PATHS, "It is too few."), "A path may go left and come back.",
         "Three steps of -1, 0 or 1 that sum up to 0: in how many ways?"),
    ],
    "03.6": [  # a function: a network of four layers whose units see so many pixels, and all between
        (measures(_is_short, "For 27 it is not made of at most four 3x3 convolutions of stride 1.", 27),
         "Plain layers add 2 pixels each.", "Each layer may have a dilation of its own."),
        (measures(lambda model, field: total(model, LARGE) == field, "For 27 it does not see 27 pixels.", 27),
         "A 3x3 convolution of dilation d adds 2·d.", "What is still missing, and how much can one layer add?"),
        (measures(_has_no_gaps, "For 27 there are gaps between the pixels that it uses.", 27),
         "Three windows lie side by side. How far apart may they be?", "No dilation larger than the field before."),
        *((measures(_has_no_gaps, "It is wrong for a field that is not shown.", field),
           "Four layers can make every odd field from 9 to 81.", "The last layer adds just what is missing.")
          for field in (9, 45, 63, 81)),
    ],
}  # fmt: skip

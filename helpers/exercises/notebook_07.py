"""The exercises of notebook 07."""

import operator

from torch import nn

from helpers import assignment
from helpers.engines.answering import Case, agrees, guess, measures, network
from helpers.engines.judging import count_separable
from helpers.receptive_field import layer_table, total
from helpers.summary import parameter_count


def _classifier() -> int:
    return parameter_count(nn.Linear(32 * 32 * 32, 10))


def _of_convolution(channels_in: int, channels: int, kernel: int, groups: int) -> int:
    return parameter_count(nn.Conv2d(channels_in, channels, kernel, groups=groups))


def _strided() -> int:
    return total(nn.Sequential(*(nn.Conv2d(3, 3, 3, stride) for stride in (1, 2, 2))))


def _keeps_side(layer: nn.Module, channels_in: int, channels: int) -> bool:
    return layer_table(layer, (channels_in, 8, 8)).output.iloc[-1] == (channels, 8, 8)


def _is_separable(layer: nn.Module, channels_in: int, channels: int) -> bool:
    table = layer_table(layer, (channels_in, 8, 8))
    return count_separable(table) == 1 and list(table.kernel) == [3, 1] and _keeps_side(layer, channels_in, channels)


def _actual(model: nn.Module, constraint: str) -> int:
    return assignment.check(model).set_index("constraint").actual[constraint]


def unmet(answer: object) -> str:
    """Return the first of the challenge's constraints that a network does not meet, in words."""
    table = assignment.check(network(answer))
    unmet = table[~table.passed]
    return "" if unmet.empty else "{}: {} is required, and it has {}.".format(*unmet.iloc[0, :3])


EXERCISES: dict[str, list[Case]] = {
    # the parameters of a fully connected layer behind a flattened map of 32 channels
    "07.1": [
        (guess(lambda given, right: given < right - 10, _classifier, "It is too few."),
         "A flattened map hands on a number for each pixel of each channel.",
         "Multiply channels, height and width: each of the ten logits has a weight for all of these."),
        (guess(operator.ne, _classifier, "It is not the number."), "Not every parameter is a weight.",
         "There is a weight for each pair of an input and a logit, and a bias for each logit."),
    ],
    # a function: the parameters of a convolution
    "07.2": [
        (agrees(_of_convolution, 3, 16, 1, 1), "Not every parameter is a weight.", "Each output channel has a bias."),
        (agrees(_of_convolution, 3, 16, 3, 1), "A kernel has two sides.", "A kernel of 3 has 9 weights a channel."),
        (agrees(_of_convolution, 24, 48, 5, 8, shown=False), "With groups, a filter does not read every channel.",
         "A filter reads the channels_in / groups channels of its own group."),
    ],
    # the receptive field of three convolutions, the last two of stride 2
    "07.3": [
        (guess(operator.lt, _strided, "It is too small."), "Behind a stride of 2 a step is more than one pixel.",
         "A 3x3 convolution adds two steps; how many pixels a step is, the strides before it decide."),
        (guess(operator.gt, _strided, "It is too large."), "Whose view does a stride widen?",
         "A stride counts for the layers after its own."),
    ],
    # a network: a wider view for no more parameters
    "07.4": [
        (measures(lambda model: _actual(model, "parameters") <= 63_000, "It has more than 63,000 parameters."),
         "One option of a convolution widens the view for nothing.", "Do not add layers: dilate those that are there."),
        (measures(lambda model: _actual(model, "receptive field") > 60, "It sees 60 pixels or fewer."),
         "Where is a step on the map the most pixels?", "Dilate the last convolutions more, padding by as much."),
    ],
    # a function: a depthwise-separable convolution
    "07.5": [
        (measures(_keeps_side, "For (8, 24) it does not turn maps (8, 8, 8) into (24, 8, 8).", 8, 24),
         "The side should stay.", "A kernel of 3 needs padding=1; the last convolution gives the new channels."),
        (measures(_is_separable, "For (8, 24) it is not separable: 3x3 and then 1x1, nothing else.", 8, 24),
         "First each channel by itself, then all channels at each pixel.",
         "The first convolution has groups=channels_in and as many outputs, the second a kernel of 1."),
        (measures(_is_separable, "It is wrong for channels that are not shown.", 5, 7),
         "Does it use both arguments?", "Only kernels and padding are numbers in it."),
    ],
    # a network: the challenge's network in a sixth of the parameters
    "07.6": [
        (unmet, "The remark that helpers.assignment.check gives says what to change.",
         "Start from the notebook's network, and change what is named here."),
        (measures(lambda model: parameter_count(model) < 30_000, "It has 30,000 parameters or more."),
         "layer_table says where they are.", "Halve the widths, or make the widest layers separable."),
    ],
}  # fmt: skip

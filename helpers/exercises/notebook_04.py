"""The exercises of notebook 04."""

import itertools
from functools import partial

import torch
from scipy import stats
from torch import nn

from helpers.engines.answering import Case, agrees, attempted, compares, guess, measures
from helpers.errors import BadInput
from helpers.exercises.notebook_07 import unmet
from helpers.models import AblationNet, seeded
from helpers.models.blocks import Residual
from helpers.receptive_field import layer_table, total
from helpers.summary import multiply_adds, parameter_count

# A switch of the base: its other position, and a hint for who misjudges it.
SWITCHES = {
    "dilation": (1, "How many taps has a kernel with gaps between them?"),
    "view": (16, "Does each square of the image get weights of its own?"),
    "shrink": ("max", "A stride leaves out places, not taps. And what is learnt in a pooling?"),
    "residual": (False, "What is learnt in an addition?"),
    "dropout": (0.1, "What is learnt where values are left out by chance?"),
    "separable": (False, "Compare 9 · in · out weights with 9 · in + in · out."),
    "gap": (False, "How many numbers does the classifier read, of pooled maps and of flattened ones?"),
    "norm": (False, "Batch normalisation does more than divide: what comes after it?"),
}


def _misjudged(name: str, answer: object) -> str:
    """Return what is wrong with a set of switches that has this one and should not, or should and does not."""
    if not isinstance(answer, set | list | tuple) or not set(answer) <= SWITCHES.keys():
        raise BadInput(f"It should be a set of these names: {', '.join(SWITCHES)}.")
    counts = parameter_count(AblationNet(**{name: SWITCHES[name][0]})) != parameter_count(AblationNet())
    return "" if counts == (name in answer) else "One is missing." if counts else "One is too many."


def _reach(spread: float = 1, seeds: int = 3) -> float:
    return stats.t.ppf(0.975, seeds - 1) * spread / seeds**0.5


def _seeds_needed(spread: float, difference: float) -> int:
    return next(seeds for seeds in itertools.count(2) if _reach(spread, seeds) < difference)


def _gives(block: nn.Module, layer: nn.Module, other: nn.Module) -> bool:
    """Return whether a block gives what the other one gives for the same images, which it leaves as they are."""
    images = torch.linspace(-1, 1, 2 * 4 * 6 * 6).view(2, 4, 6, 6)
    before, wanted, given = images.clone(), other(images), attempted(block(images))
    return given.shape == wanted.shape and torch.allclose(given, wanted, atol=1e-6) and torch.equal(images, before)


def _costs_no_more(model: nn.Module) -> bool:
    return all(count(model) <= count(AblationNet()) for count in (parameter_count, multiply_adds))


def _pools(model: nn.Module) -> bool:
    return any(not row.params and row.stride != 1 and row.output[1] > 1 for row in layer_table(model).itertuples())


LAYER = seeded(nn.Conv2d, in_channels=4, out_channels=4, kernel_size=3, padding=1)

EXERCISES: dict[str, list[Case]] = {
    # a set: the switches that change the number of parameters
    "04.1": [
        (partial(_misjudged, name), hint, f"Compare parameter_count(AblationNet({name}={other!r})) with the base's.")
        for name, (other, hint) in SWITCHES.items()
    ],
    # how far the interval of the mean of three differences reaches, which spread by one point
    "04.2": [
        (guess(lambda given, right: given < 0.3 * right, _reach, "It is far too small."),
         "A standard error covers the truth in two of three cases.", "The interval reaches several of them."),
        (guess(lambda given, right: given < 0.9 * right, _reach, "It is too small."),
         "1.96 is for a spread that is known.", "Here three numbers have to tell their spread as well: Student's t."),
        (guess(lambda given, right: given > 1.1 * right, _reach, "It is too large."),
         "It is of a mean, and to one side.", "A mean of three spreads less than one, by their number's square root."),
    ],
    # a function: the seeds from which on an interval is shorter than a difference
    "04.3": [
        (agrees(_seeds_needed, 0.1, 3), "What is the spread of one number?", "Two seeds are the fewest with a spread."),
        (compares(lambda given, right: given < right / 2, _seeds_needed, "For (1, 0.4) it is far too few.", 1, 0.4),
         "How much less does a mean of n spread than one?", "By the square root of n, not by n."),
        (compares(lambda given, right: given > 2 * right, _seeds_needed, "For (1, 0.4) it is far too many.", 1, 0.4),
         "How far does an interval reach to one side?", "Zero has to lie outside: one side counts, not both."),
        (agrees(_seeds_needed, 3.5, 1.2, shown=False), "1.96 is for many.", "Student's t changes with n: try each n."),
    ],
    # a network: a wider view for nothing
    "04.4": [
        (measures(lambda model: total(model) > 80, "It sees 80 pixels or fewer."),
         "Which switch moves the taps apart?", "Each step of `dilation` adds the same number of pixels."),
        (measures(_costs_no_more, "It has more parameters or multiply-adds than the base."),
         "One switch widens the view for nothing.", "All other switches stay as they are."),
    ],
    # a module: a layer with a way past it
    "04.5": [
        (measures(lambda block, layer: not _gives(block, layer, layer), "It gives what the layer alone gives.", LAYER),
         "What goes past the layer?", "What comes in is added to what the layer gives."),
        (measures(lambda block, layer: _gives(block, layer, Residual(layer)), "It is not the sum of the two.", LAYER),
         "Each of the two goes in once, as it is.", "Nothing comes after the sum, and what came in is not written to."),
    ],
    # a network: an opponent for max-pooling
    "04.6": [
        (unmet, "The remark that helpers.assignment.check gives says what to change.", "Start from AblationNet()."),
        (measures(lambda model: not _pools(model), "It pools."), "Strides shrink its maps.", "Leave `shrink` alone."),
        (measures(lambda model: abs(multiply_adds(model) / multiply_adds(AblationNet(shrink="max")) - 1) < 0.05,
                  "Its multiply-adds are not within the 5 %."), "Where does a weight make most multiply-adds?",
         "At 32x32 few weights make many: add layers there."),
    ],
}  # fmt: skip

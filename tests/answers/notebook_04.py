"""What readers may answer to the exercises of notebook 04."""

import math

import torch
from scipy import stats
from torch import nn

from helpers.models import AblationNet
from helpers.models.blocks import Residual, conv_layer

RIGHT = {"separable", "gap", "norm"}


def seeds_by(reach):
    """Return a function that counts the seeds up from 2 until what `reach` gives is below the difference."""

    def needed(spread, difference):
        seeds = 2
        while reach(spread, seeds) >= difference:
            seeds += 1
        return seeds

    return needed


class Block(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer


class Alone(Block):
    def forward(self, images):
        return self.layer(images)


class Rectified(Block):
    def forward(self, images):
        return (images + self.layer(images)).relu()


class Twice(Block):
    def forward(self, images):
        return images + self.layer(self.layer(images))


class Joined(Block):
    def forward(self, images):
        return torch.cat([images, self.layer(images)], dim=1)


class InPlace(Block):
    def forward(self, images):
        images += self.layer(images)
        return images


def with_more(layers, shrink="stride"):
    """Return the base with residual pairs of 24 channels at 32x32."""
    model = AblationNet(shrink=shrink)
    pairs = [Residual(*conv_layer(24, 24), *conv_layer(24, 24)) for _ in range(layers)]
    model.features = nn.Sequential(*model.features[:4], *pairs, *model.features[4:])
    return model


# An answer to an exercise, and words of the hint that it should get.
WRONG = [
    ("04.1", RIGHT | {"dilation"}, "How many taps"),
    ("04.1", RIGHT | {"view"}, "each square"),
    ("04.1", RIGHT | {"shrink"}, "not taps"),
    ("04.1", RIGHT | {"residual"}, "an addition"),
    ("04.1", RIGHT | {"dropout"}, "left out by chance"),
    ("04.1", RIGHT - {"separable"}, "in · out"),
    ("04.1", ["separable", "norm"], "does the classifier read"),
    ("04.1", ("separable", "gap"), "what comes after"),
    ("04.1", {"separable", "pooling"}, "How many taps"),  # a name that is none
    ("04.2", 1 / 3**0.5, "standard error"),
    ("04.2", 1.96 / 3**0.5, "that is known"),
    ("04.2", 1.96, "that is known"),
    ("04.2", 4.30, "of a mean"),  # Student's t, not divided
    ("04.2", 4.97, "to one side"),  # from end to end
    ("04.3", lambda spread, difference: math.ceil((1.96 * spread / difference) ** 2), "of one number"),
    ("04.3", lambda spread, difference: max(2, math.ceil((1.96 * spread / difference) ** 2)), "for many"),
    ("04.3", seeds_by(lambda s, n: stats.t.ppf(0.975, n - 1) * s / n), "a mean of n"),
    ("04.3", seeds_by(lambda s, n: 2 * stats.t.ppf(0.975, n - 1) * s / n**0.5), "to one side"),
    ("04.4", AblationNet, "taps apart"),
    ("04.4", lambda: AblationNet(dilation=3), "taps apart"),
    ("04.4", AblationNet(dilation=4, shrink="max"), "for nothing"),
    ("04.4", AblationNet(dilation=4, gap=False), "for nothing"),
    ("04.5", Alone, "goes past"),
    ("04.5", Rectified, "as it is"),
    ("04.5", Twice, "as it is"),
    ("04.5", Joined, "as it is"),
    ("04.5", InPlace, "as it is"),
    ("04.6", lambda: AblationNet(shrink="max"), "says what to change"),
    ("04.6", lambda: AblationNet(shrink="average"), "Strides shrink"),
    ("04.6", AblationNet, "most multiply-adds"),
    ("04.6", lambda: with_more(2), "most multiply-adds"),
    ("04.6", lambda: AblationNet(separable=False), "says what to change"),
]

# What no hint to a wrong answer may contain: the beginning of the right one.
HIDDEN = {"04.2": r"2\.4", "04.3": "27", "04.4": "4"}

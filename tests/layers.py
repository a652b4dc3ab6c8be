"""Small layers and networks, for the tests of receptive fields."""

import torch
from torch import nn


class Add(nn.Module):
    """The sum of what its branches make of the input."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


class Concatenate(Add):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Apply(nn.Module):
    """A function of the input and of the modules that it is given."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x):
        return self.function(x, *self.parts)


def conv(kernel=3, stride=1, padding=0, dilation=1, groups=1, channels=(4, 4)):
    return nn.Conv2d(*channels, kernel, stride, padding, dilation, groups)


def stem(kernel=3, stride=1, padding=1):
    return conv(kernel, stride, padding, channels=(3, 4))


def head():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))

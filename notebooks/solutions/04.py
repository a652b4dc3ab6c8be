"""Solutions of notebook 04, a cell each: `workbook edition teacher` puts them below the cells they solve."""

import itertools

from scipy import stats
from torch import nn

from helpers.models import AblationNet
from helpers.models.blocks import Residual, conv_layer

# %% 04.1
count_changing = {"separable", "gap", "norm"}

# %% 04.2
reach = stats.t.ppf(0.975, 2) * 1 / 3**0.5  # 4.30, over the square root of three


# %% 04.3
def seeds_needed(spread, difference):
    for seeds in itertools.count(2):
        if stats.t.ppf(0.975, seeds - 1) * spread / seeds**0.5 < difference:
            return seeds


# %% 04.4
wide_view = AblationNet(dilation=4)


# %% 04.5
class MyResidual(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, images):
        return images + self.layer(images)


# %% 04.6
def opponent():
    model = AblationNet()
    first, rest = model.features[:4], model.features[4:]
    model.features = nn.Sequential(*first, Residual(*conv_layer(24, 24), *conv_layer(24, 24)), *rest)
    return model

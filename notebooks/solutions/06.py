"""Solutions of notebook 06, a cell each: `workbook edition teacher` puts them below the cells they solve."""

import numpy as np
import torch
from torch import nn

# %% 06.1
points = 1.96 * 100 * (0.9 * 0.1 / 1000) ** 0.5


# %% 06.2
def precision(matrix, c):
    called = matrix[:, c].sum()
    return 100 * matrix[c, c] / called if called else 0.0


# %% 06.3
def top_two(logits, labels):
    two = logits.topk(2).indices
    return 100 * (two == torch.as_tensor(labels)[:, None]).any(1).double().mean().item()


# %% 06.4
other_answers = 0  # the order of the logits stays


# %% 06.5
class BothWays(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return (self.network(images) + self.network(images.flip(3))) / 2


# %% 06.6
def answered(confidence, is_right, wanted):
    most = 0.0
    for least in np.unique(confidence):  # from this confidence on all answer
        kept = confidence >= least
        if 100 * is_right[kept].mean() >= wanted:
            most = max(most, 100 * kept.mean())
    return most

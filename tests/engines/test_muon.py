from dataclasses import replace

import pytest
import torch

from helpers.engines.muon import Muon, orthogonalised
from helpers.models import build
from helpers.recipes import RECIPES
from helpers.training import make_optimizer

RECIPE = replace(RECIPES["dilated_193k"], optimizer="muon")


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_orthogonalised_keeps_the_singular_vectors_and_evens_their_values(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -1, shape[1]))
    even = orthogonalised(matrix) / max(1, shape[0] / shape[1]) ** 0.5
    values = torch.linalg.svdvals(even)
    assert values.min() > 0.3 and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    aligned = left.T @ even @ right.T
    assert torch.allclose(aligned, torch.diag(aligned.diagonal()), atol=1e-2)


def test_muon_steps_as_torchs_own_on_matrices():
    """torch's, for matrices only, iterates in bfloat16: the directions agree to a few percent."""
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(12, 30)) for _ in range(2))
    mine = Muon([{"params": [ours], "orthogonal": True}], lr=0.1, momentum=0.9)
    reference = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.0)
    for _ in range(3):
        ours.grad = torch.randn(12, 30)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    assert torch.nn.functional.cosine_similarity((ours - 1).flatten(), (theirs - 1).flatten(), dim=0) > 0.999
    assert (ours - 1).norm().item() == pytest.approx((theirs - 1).norm().item(), rel=0.02)


def test_muon_orthogonalises_convolutions_across_channels_and_moves_the_rest_as_sgd():
    groups = make_optimizer(build("dilated_193k"), RECIPE).param_groups
    assert [(group["orthogonal"], group["weight_decay"]) for group in groups] == [
        (True, RECIPE.weight_decay), (False, RECIPE.weight_decay), (False, 0.0)
    ]  # fmt: skip
    assert all(p.ndim == 4 and p.shape[1] > 1 for p in groups[0]["params"])
    assert sum(p.numel() for group in groups for p in group["params"]) == 193_535
    weights = [torch.nn.Parameter(torch.ones(3, 4)) for _ in range(2)]
    mine = Muon([{"params": [weights[0]]}], lr=0.1, momentum=0.9)
    sgd = torch.optim.SGD([weights[1]], lr=0.1, momentum=0.9, nesterov=True)
    for step in range(3):
        for weight, optimizer in zip(weights, (mine, sgd), strict=True):
            weight.grad = torch.full((3, 4), 1.0 + step)
            optimizer.step()
    assert torch.allclose(*weights)

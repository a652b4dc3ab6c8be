import pytest
import torch
from torch import nn

from helpers.models.blocks import Dropout, PhaseGridConv2d


@pytest.mark.parametrize("size", [(12, 6), (7, 6), (12, 5)])
@pytest.mark.parametrize(("dilation", "groups"), [(2, 1), (2, 8), (3, 1)])
def test_phase_grids_are_the_dilated_convolution(dilation, groups, size):
    grids = PhaseGridConv2d(8, 16, dilation=dilation, groups=groups).double()
    usual = nn.Conv2d(8, 16, 3, padding=dilation, dilation=dilation, groups=groups).double()
    usual.load_state_dict(grids.state_dict())
    weights = torch.randn(3, 16, *size).double()
    results = []
    for layer in (grids, usual):
        images = torch.arange(24 * size[0] * size[1]).view(3, 8, *size).double().sin().requires_grad_()
        (layer(images) * weights).sum().backward()
        results.append([layer(images), images.grad, layer.weight.grad, layer.bias.grad])
    assert all(torch.allclose(a, b) for a, b in zip(*results, strict=True))
    assert torch.allclose(grids.eval()(images), usual(images))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("p", [0.05, 0.5])
def test_dropout_drops_and_scales_as_torchs_does(p, layout):
    features = torch.ones(8, 16, 32, 32).contiguous(memory_format=layout).requires_grad_()
    torch.manual_seed(0)
    dropped = Dropout(p)(features)
    noise = (p * (1 - p) / features.numel()) ** 0.5
    assert abs((dropped == 0).double().mean() - p) < 5 * noise + 1 / 65536
    assert torch.equal(dropped[dropped != 0].unique(), torch.tensor([1 / (1 - p)]))
    dropped.sum().backward()
    assert torch.equal(features.grad, dropped), "the gradient passes where the value passed"
    places = (dropped == 0).double()
    for dim in range(4):  # no stripes: dropped shares differ between slices by chance alone
        shares = places.mean([other for other in range(4) if other != dim])
        assert (shares - p).abs().max() < 6 * noise * features.shape[dim] ** 0.5


def test_dropout_follows_torchs_seed_and_rests_in_evaluation():
    features = torch.ones(2, 4, 8, 8)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(Dropout(0.5)(features))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(Dropout(0.5).eval()(features), features)
    assert torch.equal(Dropout(0.0)(features), features)


def test_dropout_takes_odd_sizes_vectors_and_slices():
    for features in (torch.ones(7), torch.ones(3, 5), torch.ones(4, 6, 5, 3)[:, ::2], torch.ones(1).expand(9)):
        dropped = Dropout(0.5)(features)
        assert dropped.shape == features.shape and set(dropped.flatten().tolist()) <= {0.0, 2.0}

import re

import pytest
import torch
from torch import nn

from helpers.errors import BadInput
from helpers.models import MODELS, build, evaluating, multiply_adds, parameter_count
from helpers.models.blocks import ConvBlock, Dropout, SeparableBlock
from helpers.summary import summary

AFTER = ("ReLU", "BatchNorm2d", "Dropout")


def published_rows():
    """The 71 rows of dilated_193k's published table: layer type, output shape, parameters."""
    rows = []

    def convolution(channels, side, parameters, first=()):
        rows.extend(first)
        rows.append(("Conv2d", (channels, side, side), parameters))
        counts = {"ReLU": 0, "BatchNorm2d": 2 * channels, "Dropout": 0}
        rows.extend((name, (channels, side, side), counts[name]) for name in AFTER)

    convolution(32, 32, 96, [("Conv2d", (3, 32, 32), 27)])
    convolution(32, 32, 9_216)
    convolution(32, 32, 9_216)
    convolution(32, 16, 9_216)
    convolution(40, 16, 1_280, [("Conv2d", (32, 16, 16), 288)])
    convolution(40, 16, 14_400)
    convolution(40, 16, 14_400)
    convolution(40, 8, 14_400)
    convolution(44, 8, 1_760, [("Conv2d", (40, 8, 8), 360)])
    convolution(44, 8, 17_424)
    convolution(44, 8, 17_424)
    convolution(44, 4, 17_424)
    convolution(48, 4, 2_112, [("Conv2d", (44, 4, 4), 396)])
    convolution(48, 4, 20_736)
    convolution(48, 4, 20_736)
    convolution(48, 4, 20_736)
    return [
        *rows,
        ("AdaptiveAvgPool2d", (48, 1, 1), 0),
        ("BatchNorm2d", (48, 1, 1), 96),
        ("Conv2d", (10, 1, 1), 480),
    ]


def printed_rows(text):
    lines = re.findall(r"(\w+)-(\d+)\s+\[-1, ([\d, ]+)\]\s+([\d,]+)", text)
    assert [int(number) for _, number, _, _ in lines] == list(range(1, len(lines) + 1))
    return [(name, tuple(map(int, shape.split(", "))), int(count.replace(",", ""))) for name, _, shape, count in lines]


def test_dilated_193k_is_the_published_network():
    model = build("dilated_193k")
    assert printed_rows(summary(model)) == published_rows()
    assert parameter_count(model) == 193_535


@pytest.mark.parametrize("name", MODELS)
def test_network_maps_images_to_ten_logits(name):
    with evaluating(build(name)) as model, torch.no_grad():
        assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name):
    model = build(name)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_build_depends_on_the_seed_alone():
    state = torch.random.get_rng_state()
    first, again, other = build("dilated_193k", 1), build("dilated_193k", 1), build("dilated_193k", 2)
    assert torch.equal(state, torch.random.get_rng_state())
    weights = [next(m.parameters()) for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_changes_exchange_one_ingredient():
    kinds = {name: {type(m) for m in build("dilated_193k", **c).modules()} for name, c in
             {"base": {}, "pool": {"max_pool": True}}.items()}  # fmt: skip
    assert nn.MaxPool2d in kinds["pool"] and nn.MaxPool2d not in kinds["base"]
    convolutions = [m for m in build("dilated_193k", dilation=1).modules() if isinstance(m, nn.Conv2d)]
    assert all(c.dilation == (1, 1) for c in convolutions)
    plain = [m for m in build("dilated_193k", separable=False).modules() if isinstance(m, nn.Conv2d)]
    assert all(c.groups == 1 for c in plain)


def test_unknown_network_offers_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'dilated_193k'"):
        build("dilated_139k")


def test_separable_block_saves_weights_as_the_paper_says():
    separable, plain = SeparableBlock(32, 64), ConvBlock(32, 64)
    weights = [sum(p.numel() for p in block.parameters() if p.ndim > 1) for block in (separable, plain)]
    assert weights == [9 * 32 + 32 * 64, 9 * 32 * 64]


def test_multiply_adds_counts_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    assert multiply_adds(model) == 32 * 32 * 8 * 3 * 9 + 8 * 10


def test_evaluating_restores_every_mode():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3)).train()
    model[1].eval()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.training and not model[0].training
        raise ZeroDivisionError
    assert model.training and model[0].training and not model[1].training


def test_summary_leaves_the_network_and_the_generator_alone():
    model = build("dilated_193k").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    summary(model)
    assert model.training and torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_summary_notices_parameters_it_missed():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.layer = nn.Parameter(torch.ones(5)), nn.Conv2d(3, 4, 1)

        def forward(self, images):
            return self.layer(images)

    with pytest.raises(RuntimeError, match="missed or repeated"):
        summary(Hidden())


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

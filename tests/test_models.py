import re

import pytest
import torch
import torchvision
from torch import nn

from helpers.errors import BadInput
from helpers.models import MODELS, AblationNet, build, seeded
from helpers.models.blocks import (
    BasicBlock,
    ConvBlock,
    InvertedResidual,
    Residual,
    SeparableBlock,
)
from helpers.receptive_field import total
from helpers.summary import evaluating, parameter_count, summary

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


def compact_rows():
    """The 37 rows of compact_135k's published table."""
    rows = []

    def convolutions(*printed):
        rows.extend(("Conv2d", (channels, side, side), parameters) for channels, side, parameters in printed)
        channels, side, _ = printed[-1]
        counts = {"ReLU": 0, "BatchNorm2d": 2 * channels, "Dropout": 0}
        rows.extend((name, (channels, side, side), counts[name]) for name in AFTER)

    convolutions((10, 32, 270))
    convolutions((24, 32, 2_160))
    convolutions((32, 30, 6_912), (64, 30, 18_432))
    convolutions((32, 32, 2_048))
    convolutions((32, 17, 4_096), (64, 17, 18_432))
    convolutions((96, 17, 55_296))
    convolutions((64, 9, 24_576), (64, 9, 576))
    convolutions((16, 11, 1_024))
    return [*rows, ("AvgPool2d", (16, 1, 1), 0), ("Conv2d", (10, 1, 1), 160)]


def printed_rows(text):
    lines = re.findall(r"(\w+)-(\d+)\s+\[-1, ([\d, ]+)\]\s+([\d,]+)", text)
    assert [int(number) for _, number, _, _ in lines] == list(range(1, len(lines) + 1))
    return [(name, tuple(map(int, shape.split(", "))), int(count.replace(",", ""))) for name, _, shape, count in lines]


@pytest.mark.parametrize(
    ("name", "rows", "parameters"),
    [("dilated_193k", published_rows(), 193_535), ("compact_135k", compact_rows(), 134_722)],
)
def test_network_is_the_published_one_row_by_row(name, rows, parameters):
    model = build(name)
    assert printed_rows(summary(model)) == rows
    assert parameter_count(model) == parameters


@pytest.mark.parametrize(("name", "most"), [("mobilenet_c40", 200_000), ("mini_resnet", 200_000)])
def test_small_networks_stay_below_the_limit(name, most):
    assert 100_000 < parameter_count(build(name)) < most


def test_wide_2m_has_the_published_count_within_a_percent():
    assert abs(parameter_count(build("wide_2m")) / 2_034_040 - 1) < 0.01


def test_mini_resnet_is_the_papers_network_with_projections():
    """6n + 2 weight layers with n = 2, and two 1x1 projections (He et al., section 4.2)."""
    layers = [m for m in build("mini_resnet").modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    projections = [m for m in layers if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert len(layers) - len(projections) == 6 * 2 + 2 and len(projections) == 2


def kinds_of(model):
    return {type(module) for module in model.modules()}


def convolutions_of(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


def test_mobilenet_c40_has_what_its_authors_named():
    model = build("mobilenet_c40")
    strided = [c for c in convolutions_of(model) if c.stride == (2, 2)]
    assert [c.kernel_size for c in strided] == [(3, 3)] * 3 and nn.MaxPool2d not in kinds_of(model)
    assert any(c.dilation == (2, 2) for c in convolutions_of(model))
    assert {nn.AdaptiveAvgPool2d, InvertedResidual, SeparableBlock} <= kinds_of(model)


def test_inverted_residual_is_the_papers_block():
    """Expand, depthwise, project, each with its norm, and no activation after the last (MobileNetV2, table 1)."""
    block = InvertedResidual(8, 6)
    names = ["Conv2d", "BatchNorm2d", "ReLU6"] * 2 + ["Conv2d", "BatchNorm2d"]
    assert [type(layer).__name__ for layer in block] == names
    assert [c.groups for c in convolutions_of(block)] == [1, 48, 1]
    reference = torchvision.models.mobilenetv2.InvertedResidual(8, 8, 1, 6).eval()
    reference.load_state_dict(dict(zip(reference.state_dict(), block.state_dict().values(), strict=True)))
    images = torch.randn(2, 8, 9, 9)
    assert torch.allclose(block.eval()(images), reference(images), atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_basic_block_is_torchvisions(stride):
    channels = 8 * stride
    block = BasicBlock(8, channels, stride).eval()
    downsample = block.shortcut if stride == 2 else None
    reference = torchvision.models.resnet.BasicBlock(8, channels, stride, downsample).eval()
    ours, theirs = convolutions_of(block.convolutions), (reference.conv1, reference.conv2)
    for our, their in zip(ours, theirs, strict=True):
        their.load_state_dict(our.state_dict())
    images = torch.randn(2, 8, 6, 6)
    assert torch.allclose(block(images), reference(images), atol=1e-6)


def test_wide_2ms_switches_each_take_one_ingredient_away():
    base = build("wide_2m")
    assert nn.BatchNorm2d in kinds_of(base) and nn.BatchNorm2d not in kinds_of(build("wide_2m", norm=False))
    for switch, has in (("separable", lambda c: c.groups > 1), ("dilated", lambda c: c.dilation != (1, 1))):
        assert any(map(has, convolutions_of(base)))
        assert not any(map(has, convolutions_of(build("wide_2m", **{switch: False}))))


CHANGES = {  # of the ablation base: what is there, and no longer after the change (or the other way round)
    "dilation": ({"dilation": 1}, lambda m: any(c.dilation != (1, 1) for c in convolutions_of(m))),
    "separable": ({"separable": False}, lambda m: any(c.groups > 1 for c in convolutions_of(m))),
    "stride": ({"shrink": "max"}, lambda m: nn.MaxPool2d not in kinds_of(m)),
    "average": ({"shrink": "average"}, lambda m: nn.AvgPool2d not in kinds_of(m)),
    "view": ({"view": 16}, lambda m: m.view == 32),
    "gap": ({"gap": False}, lambda m: nn.AdaptiveAvgPool2d in kinds_of(m)),
    "norm": ({"norm": False}, lambda m: nn.BatchNorm2d in kinds_of(m)),
    "residual": ({"residual": False}, lambda m: Residual in kinds_of(m)),
    "no channel dropout": ({"dropout": 0.1, "channel_dropout": True}, lambda m: nn.Dropout2d not in kinds_of(m)),
}


@pytest.mark.parametrize(("changes", "present"), CHANGES.values(), ids=CHANGES)
def test_ablation_changes_one_ingredient(changes, present):
    assert present(seeded(AblationNet)) and not present(seeded(AblationNet, **changes))
    others = [has for other, has in CHANGES.values() if other != changes]
    assert all(has(seeded(AblationNet, **changes)) for has in others), "and leaves the others alone"
    with evaluating(seeded(AblationNet, **changes)) as model, torch.no_grad():
        assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("side", [8, 16])
def test_a_narrow_view_averages_the_logits_of_squares(side):
    images, base = torch.randn(2, 3, 32, 32), seeded(AblationNet)
    with evaluating(seeded(AblationNet, view=side)) as narrow, evaluating(base), torch.no_grad():
        squares = [images[:, :, y : y + side, x : x + side] for y in range(0, 32, side) for x in range(0, 32, side)]
        assert torch.allclose(narrow(images), torch.stack([base(square) for square in squares]).mean(0), atol=1e-5)


@pytest.mark.parametrize("shrink", ["max", "average"])
def test_pooling_in_place_of_strides_leaves_maps_and_weights(shrink):
    base, pooled = seeded(AblationNet), seeded(AblationNet, shrink=shrink)
    assert parameter_count(base) == parameter_count(pooled)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert base.features(images).shape == pooled.features(images).shape


@pytest.mark.parametrize("name", MODELS)
def test_network_maps_images_to_ten_logits(name):
    with evaluating(build(name)) as model, torch.no_grad():
        assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "parameters", "field"),
    [
        # 3x3 layers 3-24-48, four of 48, depthwise 48 and 1x1 to 96, 96-48-96, their norms, the head; jumps 1, 2, 4
        (
            "fast_200k",
            9 * (72 + 1152 + 4 * 2304 + 48 + 2 * 4608) + 4608 + 2 * (24 + 5 * 48 + 96 + 48 + 96) + 970,
            1 + 2 + 2 + 2 * (2 * 3 + 4) + 2 * 2 + 4 * 2 * 2,
        ),
        # eight units of 64 and eight of 128: 1x1, depthwise, norm; two reductions, stem, last norm, head
        (
            "best_200k",
            648 + 8 * (64 * 73 + 128) + 8 * (128 * 137 + 256) + 24 * 73 + 48 + 64 * 137 + 128 + 256 + 1290,
            1 + 2 + 2 + 8 * 2 * 2 + 2 * 2 + 4 * 2 * (7 + 2),
        ),
    ],
)
def test_the_workbooks_own_networks_by_hand(name, parameters, field):
    model = build(name)
    assert parameter_count(model) == parameters < 200_000 and total(model) == field > 44
    for side in (16, 20, 24, 28):  # as they are trained, or could be
        assert model(torch.randn(2, 3, side, side)).shape == (2, 10)


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
    convolutions = [m for m in build("dilated_193k", dilation=1).modules() if isinstance(m, nn.Conv2d)]
    assert all(c.dilation == (1, 1) for c in convolutions)


def test_unknown_network_offers_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'dilated_193k'"):
        build("dilated_139k")


def test_separable_block_saves_weights_as_the_paper_says():
    separable, plain = SeparableBlock(32, 64), ConvBlock(32, 64)
    weights = [sum(p.numel() for p in block.parameters() if p.ndim > 1) for block in (separable, plain)]
    assert weights == [9 * 32 + 32 * 64, 9 * 32 * 64]

import re

import pytest
import torch
import torchvision
from torch import nn

from helpers.errors import BadInput
from helpers.models import MODELS, AblationNet, build, evaluating, fingerprint, multiply_adds, parameter_count, seeded
from helpers.models.blocks import (
    BasicBlock,
    ConvBlock,
    Dropout,
    InvertedResidual,
    PhaseGridConv2d,
    Residual,
    SeparableBlock,
)
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
    "stride": ({"max_pool": True}, lambda m: nn.MaxPool2d not in kinds_of(m)),
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


@pytest.mark.parametrize(("dilation", "groups"), [(2, 1), (2, 8), (3, 1)])
def test_phase_grids_are_the_dilated_convolution(dilation, groups):
    grids = PhaseGridConv2d(8, 16, dilation=dilation, groups=groups).double()
    usual = nn.Conv2d(8, 16, 3, padding=dilation, dilation=dilation, groups=groups).double()
    usual.load_state_dict(grids.state_dict())
    weights = torch.randn(3, 16, 12, 6).double()
    results = []
    for layer in (grids, usual):
        images = torch.arange(3 * 8 * 12 * 6).view(3, 8, 12, 6).double().sin().requires_grad_()
        (layer(images) * weights).sum().backward()
        results.append([layer(images), images.grad, layer.weight.grad, layer.bias.grad])
    assert all(torch.allclose(a, b) for a, b in zip(*results, strict=True))
    assert torch.allclose(grids.eval()(images), usual(images))


def test_fingerprint_changes_with_the_network_and_not_with_its_weights():
    nets = [
        seeded(AblationNet),
        seeded(AblationNet, 1),
        seeded(AblationNet, dilation=3),
        seeded(AblationNet, gap=False),
    ]
    prints = [fingerprint(net) for net in nets]
    assert prints[0] == prints[1] and len(set(prints)) == 3


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

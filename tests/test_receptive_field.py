"""The public names against hand computation and published values; what is refused, and in which words."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from helpers.errors import BadInput
from helpers.receptive_field import (
    effective_diameter,
    effective_receptive_field,
    gradient_receptive_field,
    layer_table,
    total,
    unproductive,
)
from layers import Add, Apply, Concatenate, conv, head, stem


def test_the_table_of_a_course_network():
    network = nn.Sequential(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.1)
        ),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12)),
        nn.Conv2d(12, 16, (3, 5), stride=2, padding=(2, 4), dilation=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(16, 10, 1),
        nn.Flatten(),
    )
    table = layer_table(network)
    columns = "layer kind kernel stride dilation padding groups output params jump rf start inputs channels_in"
    assert " ".join(table) == columns
    assert table.values.tolist() == [
        ["0.0", "Conv2d", 3, 1, 1, 1, 1, (8, 32, 32), 216, 1, 3, 0, (-1,), 3],
        ["1.0", "Conv2d", 3, 1, 1, 1, 8, (8, 32, 32), 80, 1, 5, 0, (0,), 8],
        ["1.1", "Conv2d", 1, 1, 1, 0, 1, (12, 32, 32), 108, 1, 5, 0, (1,), 8],
        ["2", "Conv2d", (3, 5), 2, 2, (2, 4), 1, (16, 16, 16), 2896, 2, (9, 13), 0, (2,), 12],
        ["3", "global pool", 16, 1, 1, 0, 1, (16, 1, 1), 0, 2, (39, 43), 15, (3,), 16],
        ["4", "Conv2d", 1, 1, 1, 0, 1, (10, 1, 1), 170, 2, (39, 43), 15, (4,), 16],
    ]
    assert total(network) == 9, "of 9 by 13, a lower bound holds for the smaller"
    assert total(network, with_pooling=True) == 39


def test_unproductive_layers_get_an_input_that_sees_the_whole_image():
    network = nn.Sequential(
        stem(5, 2, 2), conv(5, 2, 2), conv(5, padding=2), conv(5, padding=2), Add(conv(1), conv(3, padding=1)), head()
    )
    table = layer_table(network)
    assert table.rf[:6].tolist() == [5, 13, 29, 45, 45, 53]
    assert unproductive(table).tolist() == [False, False, False, False, True, True, True, True]
    assert unproductive(table, 14).tolist() == [False, False, False, True, True, True, True, True]


# Published values: Araujo, Norris and Sim (Distill 2019), with the end points of their RECEPTIVE_FIELD_TABLE.md.


def built(name, **options):
    """Return a torchvision network without weights or memory for them: the table needs shapes only."""
    with torch.device("meta"):
        return torchvision.models.get_model(name, weights=None, **options)


@pytest.mark.parametrize(
    ("name", "published", "padding"),
    [("alexnet", 195, 64 + 2), ("vgg11", 150, 59), ("vgg16", 212, 90)],
    ids=["alexnet", "vgg_a", "vgg_16"],
)
def test_published_single_paths(name, published, padding):
    """Their padding is minus the first pixel; torchvision's AlexNet adds 2 pixels, where theirs has none."""
    network = built(name)
    table = layer_table(network, (3, 224, 224))
    last = table[: (table.kind == "flatten").argmax()].iloc[-1]
    assert total(network, (3, 224, 224)) == last.rf == published
    assert (last.rf - 1) / 2 - last.start == padding


def test_published_inception_v3():
    network = built("inception_v3", init_weights=False)
    table = layer_table(network, (3, 299, 299))
    fields = table.rf.map(np.max).groupby(table.layer.str.split(".").str[0]).max()
    published = {
        "Conv2d_4a_3x3": 23,
        "Mixed_5b": 63,
        "Mixed_5d": 127,
        "Mixed_6a": 159,
        "Mixed_6b": 351,
        "Mixed_6e": 927,
    }
    published |= {"Mixed_7a": 1055, "Mixed_7b": 1183, "Mixed_7c": 1311}
    assert fields[list(published)].to_dict() == published
    assert total(network, (3, 299, 299)) == 1311


@pytest.mark.parametrize(("name", "published"), [("resnet50", 483), ("resnet101", 1027), ("resnet152", 1507)])
def test_published_residual_networks(name, published):
    """He et al. stride in the 1x1 convolution that opens a stage, torchvision in the 3x3 one after it.

    That 3x3 convolution then widens the window by 2 of the jumps before the stride, not after it: by 8 instead of 16,
    16 instead of 32, 32 instead of 64 pixels in the three stages with a stride, 56 less in all.
    """
    network = built(name, norm_layer=nn.Identity)  # norms leave windows alone and take most of the time
    assert total(network, (3, 224, 224)) == published - 56
    for block in network.modules():
        if isinstance(block, torchvision.models.resnet.Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    assert total(network, (3, 224, 224)) == published


def test_published_mobilenet_v1():
    """Howard et al. (2017), table 1; the last stride is 1, as the sizes there and TF-Slim have it."""
    strides = [1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1]
    separable = [nn.Sequential(conv(3, s, 1, groups=4), conv(1)) for s in strides]
    table = layer_table(nn.Sequential(stem(stride=2), *separable), (3, 224, 224))
    fields = dict(zip(table.layer, table.rf, strict=True))
    assert [fields[f"{n}.1"] for n in (11, 12, 13)] == [219, 251, 315]


# The effective receptive field.


def constant(*layers):
    for layer in layers:
        nn.init.constant_(layer.weight, 0.1)
    return nn.Sequential(*layers)


def test_effective_receptive_field_of_known_kernels():
    images = torch.ones(2, 3, 32, 32)
    one = effective_receptive_field(constant(stem()), images)
    assert np.argwhere(one == 1).tolist() == [[y, x] for y in (15, 16, 17) for x in (15, 16, 17)]
    assert one.shape == (32, 32) and np.count_nonzero(one) == 9
    two = effective_receptive_field(constant(stem(), conv(padding=1)), images)
    triangle = np.array([1, 2, 3, 2, 1]) / 3
    np.testing.assert_allclose(two[14:19, 14:19], np.outer(triangle, triangle), rtol=1e-5)
    assert (effective_diameter(one), effective_diameter(two)) == (3, 5)


def test_effective_receptive_field_averages_over_images():
    """A pixel behind a dead ReLU counts for the images alone in which it lives."""
    network = nn.Sequential(stem(1, padding=0), nn.ReLU())
    nn.init.constant_(network[0].weight, 1)
    nn.init.zeros_(network[0].bias)
    network.append(conv(padding=1))
    nn.init.constant_(network[2].weight, 1)
    images = torch.ones(4, 3, 32, 32)
    images[:3, :, 15] = -1
    field = effective_receptive_field(network, images)[15:18, 15:18]
    np.testing.assert_allclose(field, [[0.25] * 3, [1] * 3, [1] * 3])


def test_effective_diameter_counts_what_exceeds_two_standard_deviations():
    field = np.full((10, 10), 0.045)
    field[:3, :3], field[3, :7] = 2, 0.0911
    assert effective_diameter(field) == 4, "9 + 7 pixels above 4.55 % of 2"


def test_effective_fields_grow_slower_than_theoretical_ones():
    torch.manual_seed(0)
    network = constant(stem(), *[conv(padding=1) for _ in range(19)])
    assert total(network) == 41
    assert 41**0.5 < effective_diameter(effective_receptive_field(network, torch.ones(1, 3, 64, 64))) < 0.6 * 41


# The network and the generators stay as they were.


def test_nothing_is_left_behind():
    network = nn.Sequential(stem(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), Apply(lambda x: F.dropout(x)), head())
    network[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes, generator = [m.training for m in network.modules()], torch.get_rng_state()
    with torch.no_grad():
        layer_table(network), total(network), gradient_receptive_field(network)
        effective_receptive_field(network, torch.ones(2, 3, 32, 32))
    assert torch.equal(torch.get_rng_state(), generator)
    assert [m.training for m in network.modules()] == modes and len(set(modes)) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


# Bad input: one sentence that names what and where.


def overwritten(x):
    canvas = torch.zeros_like(x)
    canvas[:, :, 1:] = x[:, :, :-1]
    return x + canvas


REFUSED = {
    "a class": (nn.Conv2d, "is not"),
    "no network": ("resnet", "'resnet'"),
    "a lazy layer": (nn.Sequential(nn.LazyConv2d(4, 3)), "'0.weight'"),
    "other channels": (nn.Sequential(nn.Conv2d(1, 4, 3)), "(N, 3, 32, 32)"),
    "another size": (nn.Sequential(stem(stride=2), nn.Flatten(), nn.Linear(4, 10)), "layer '2'"),
    "a map too small": (nn.Sequential(stem(), nn.MaxPool2d(16), conv(5)), "layer '2'"),
    "a forward that fails": (nn.Sequential(Apply(lambda x: x.no_such_name)), "AttributeError"),
    "jumps that disagree": (
        nn.Sequential(stem(), Concatenate(conv(2, 2), Apply(lambda x: x[:, :, 8:24, 8:24]))),
        "in layer '1' have jumps 1 and 2",
    ),
    "transposed convolution": (
        nn.Sequential(stem(), nn.ConvTranspose2d(4, 4, 2, 3)),
        "'transposed convolution with gaps, or strides that differ' in layer '1'",
    ),
    "upsampling": (
        nn.Sequential(stem(), nn.Upsample((64, 48))),
        "'upsample_nearest2d by no whole factor' in layer '1'",
    ),
    "space to depth": (nn.Sequential(nn.PixelUnshuffle(2)), "'pixel_unshuffle' in layer '0'"),
    "attention along rows": (Apply(lambda x: x.softmax(3)), "'_softmax'"),
    "positions regrouped": (Apply(lambda x: x.view(len(x), 12, 16, 16)), "'view' in the network's own forward"),
    "height and width exchanged": (nn.Sequential(Apply(lambda x: x.mT)), "'transpose'"),
    "rotation": (nn.Sequential(Apply(lambda x: x.roll(1, 2))), "'roll'"),
    "circular padding": (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")), "layer '0'"),
    "a layer over rows": (nn.Sequential(nn.Linear(32, 8)), "in layer '0'"),
    "a convolution of the flattened map": (
        nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 3)),
        "'convolution' in layer '1'",
    ),
    "windows of unequal size": (nn.Sequential(nn.AdaptiveAvgPool2d(5)), "unequal size"),
    "windows over a map spread from a pool": (
        nn.Sequential(stem(), nn.AdaptiveAvgPool2d(1), nn.Upsample(8), conv()),
        "layer '3'",
    ),
    "a map written in parts": (Apply(overwritten), "'copy (as in circular padding)'"),
    "a part changed in place": (Apply(lambda x, layer: (y := layer(x), y[:, :2].add_(x[:, :2]))[0], stem()), "'add_"),
    "a row spread over the height": (Apply(lambda x: x + x[:, :, :1]), "'add'"),
    "an output from elsewhere": (Apply(lambda x: torch.ones(2, 10)), "output"),
    "numpy": (Apply(lambda x: torch.tensor(x.numpy())), "output"),
}


@pytest.mark.parametrize(("network", "named"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_followed_is_refused_in_one_sentence(network, named):
    for measure in (layer_table, total):
        with pytest.raises(BadInput) as refusal:
            measure(network)
        message = str(refusal.value)
        assert named in message and message.endswith(".") and ". " not in message and "\n" not in message


@pytest.mark.parametrize("size", [(32, 32), (3, 32, 0), (3, 32, 32.0), 32])
def test_a_size_that_is_none(size):
    with pytest.raises(BadInput, match="three positive whole numbers"):
        layer_table(stem(), size)


def test_gradients_that_never_come_back():
    network = Apply(lambda x, layer: layer(x.detach()), stem())
    with pytest.raises(BadInput, match="No gradient"):
        effective_receptive_field(network, torch.ones(1, 3, 32, 32))
    with pytest.raises(BadInput, match="tensor \\(N, channels, height, width\\)"):
        effective_receptive_field(stem(), np.ones((1, 3, 32, 32)))


def test_effective_field_of_a_network_with_a_head_for_one_size():
    network = nn.Sequential(stem(), conv(padding=1), nn.Flatten(), nn.Linear(4 * 32 * 32, 10))
    noise = torch.randn(2, 3, 40, 40)
    with pytest.raises(BadInput, match=r"does not take \(N, 3, 40, 40\)"):
        effective_receptive_field(network, noise)
    field = effective_receptive_field(network, noise, input_size=(3, 32, 32))
    assert field.shape == (40, 40) and (np.argwhere(field > 0).min(0) == 20 - 2).all()
    assert np.allclose(field, effective_receptive_field(network[:2], noise))

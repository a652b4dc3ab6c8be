"""What a forward pass shows: rows by hand, pooling in all its spellings, what passes, names and parameters."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.errors import BadInput
from helpers.receptive_field import gradient_receptive_field, layer_table, total
from layers import Add, Apply, Concatenate, conv, head, stem

# By hand: rf, jump and centre of the first unit.

BY_HAND = {
    "one pixel": ([stem(1, padding=0)], 1, 1, 0),
    "padding moves the window back onto the first pixel": ([stem()], 3, 1, 0),
    "without padding the first window lies inside": ([stem(padding=0)], 3, 1, 1),
    "two of 3 make 5": ([stem(), conv(padding=1)], 5, 1, 0),
    "stride 2 doubles what follows": ([stem(stride=2), conv(padding=1)], 3 + 2 * 2, 2, 0),
    "dilation 2 makes 3 into 5": ([stem(), conv(padding=2, dilation=2)], 3 + 4, 1, 0),
    "dilation after stride": ([stem(stride=2), conv(padding=2, dilation=2)], 3 + 2 * 2 * 2, 2, 0),
    "groups change nothing": ([stem(), conv(padding=1, groups=4)], 5, 1, 0),
    "even kernels have their centre between two pixels": ([stem(2, 2, 0)], 2, 2, 0.5),
    "max-pooling": ([stem(), nn.MaxPool2d(3, 2, 1)], 5, 2, 0),
    "dilated max-pooling": ([stem(), nn.MaxPool2d(3, 2, dilation=2)], 7, 2, 2),
    "a transposed convolution without a stride": (
        [stem(), nn.ConvTranspose2d(4, 4, 3, padding=2, dilation=2)],
        7,
        1,
        0,
    ),
    "one with less padding moves the window out": (
        [stem(), nn.ConvTranspose2d(4, 4, (3, 4), padding=(0, 1))],
        (5, 6),
        1,
        (-1, -0.5),
    ),
    "a transposed one of stride 2 sees one unit or two": (
        [stem(stride=2), nn.ConvTranspose2d(4, 4, 3, 2, 1, 1), conv(padding=1)],
        3 + 2 * 2,
        1,
        0,
    ),
    "one of stride 2 and kernel 2 copies": ([stem(stride=2), nn.ConvTranspose2d(4, 4, 2, 2)], 3, 1, 0),
    "nearest upsampling copies, and its neighbours see one unit more": (
        [stem(stride=2), nn.Upsample(scale_factor=2), conv(padding=1)],
        3 + 2,
        1,
        -1,
    ),
    "bilinear upsampling sees two": ([stem(), nn.Upsample(scale_factor=3, mode="bilinear")], 4, 1 / 3, -0.5),
    "stride 2 takes upsampling back": ([stem(), nn.Upsample(scale_factor=2), conv(1, 2), conv(padding=1)], 5, 1, 0),
    "average pooling strides by its kernel": ([stem(), nn.AvgPool2d(2), conv(padding=1)], 4 + 4, 2, 0.5),
    "adaptive pooling to a part of the size": ([stem(), nn.AdaptiveAvgPool2d(8)], 6, 4, 1.5),
    "height and width": ([conv((3, 5), (1, 2), (0, 2), channels=(3, 4))], (3, 5), (1, 2), (1, 0)),
    "padding of one side only": ([nn.ZeroPad2d((2, 0, 1, 0)), stem(padding=0)], 3, 1, (0, -1)),
    "mirrored padding": ([nn.ReflectionPad2d(1), stem(padding=0)], 3, 1, 0),
    "cropping": ([stem(), Apply(lambda x: x[:, :, 2:, 1::2]), conv(padding=1)], (5, 7), (1, 2), (2, 1)),
    "the wider branch": ([stem(), Add(conv(padding=1), conv(5, padding=2), nn.Identity()), conv(1)], 7, 1, 0),
    "branches beside each other": (
        [stem(), Add(nn.ZeroPad2d((0, 2, 0, 2)), nn.ZeroPad2d((2, 0, 2, 0))), conv(1)],
        *(5, 1, -1),
    ),
}


@pytest.mark.parametrize(("layers", "rf", "jump", "start"), BY_HAND.values(), ids=BY_HAND)
def test_recurrence_by_hand(layers, rf, jump, start):
    table = layer_table(nn.Sequential(*layers))
    assert table.iloc[-1][["rf", "jump", "start"]].tolist() == [rf, jump, start]
    assert total(nn.Sequential(*layers)) == np.min(rf)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_padding_of_an_even_kernel_adds_a_pixel_at_the_end():
    table = layer_table(nn.Sequential(nn.Conv2d(3, 4, 4, padding="same")))
    assert table[["layer", "kind", "rf", "start"]].values.tolist()[-1] == ["0", "Conv2d", 4, 0.5]
    assert table.output.iloc[-1] == (4, 32, 32)


# Global pooling, however it is written, is not part of `total`.

GLOBAL_POOLING = {
    "module": nn.AdaptiveAvgPool2d(1),
    "function": Apply(lambda x: F.adaptive_avg_pool2d(x, 1)),
    "mean": Apply(lambda x: x.mean((2, 3))),
    "mean, keeping the dimensions": Apply(lambda x: x.mean((-1, -2), keepdim=True)),
    "mean of means": Apply(lambda x: x.mean(3).mean(2)),
    "mean of the flattened map": Apply(lambda x: x.flatten(2).mean(-1)),
    "mean of a view": Apply(lambda x: x.view(*x.shape[:2], -1).mean(2)),
    "average pooling of the map's size": nn.AvgPool2d(32),
    "function of the map's size": Apply(lambda x: F.avg_pool2d(x, x.shape[-2:])),
    "maximum": Apply(lambda x: x.amax((2, 3))),
    "adaptive maximum": nn.AdaptiveMaxPool2d(1),
}


@pytest.mark.parametrize("name", GLOBAL_POOLING)
def test_global_pooling_is_recognised(name):
    network = nn.Sequential(stem(5, padding=2), nn.ReLU(), GLOBAL_POOLING[name], nn.Flatten(), nn.Linear(4, 10))
    table = layer_table(network)
    kind = "global pool" if "max" not in name else "global max pool"
    assert table.kind.tolist() == ["Conv2d", kind, "Linear"]
    assert (table.kernel.iloc[1], table.output.iloc[1], table.rf.iloc[1]) == (32, (4, 1, 1), 5 + 31)
    assert (total(network), total(network, with_pooling=True)) == (5, 36)


def test_several_pools_or_a_convolution_as_head_change_nothing():
    both = Concatenate(nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1))
    network = nn.Sequential(stem(), both, conv(1, channels=(8, 10)), nn.Flatten(), nn.LogSoftmax(1))
    assert layer_table(network).kind.tolist() == ["Conv2d", "global pool", "global max pool", "Conv2d"]
    assert (total(network), total(network, with_pooling=True)) == (3, 34)


def test_average_pooling_of_a_whole_map_before_another_window_is_not_global():
    network = nn.Sequential(stem(), nn.AvgPool2d(32), conv(padding=1), head())
    assert layer_table(network).kind.tolist() == ["Conv2d", "AvgPool2d", "Conv2d", "global pool", "Linear"]
    assert total(network) == 3 + 31 + 2 * 32


def test_a_fully_connected_layer_sees_the_whole_map():
    network = nn.Sequential(stem(stride=2), nn.Flatten(), nn.Linear(4 * 16 * 16, 10))
    table = layer_table(network)
    assert table[["layer", "kind", "kernel", "rf"]].values.tolist()[1] == ["1", "flatten", 16, 3 + 15 * 2]
    assert (total(network), total(network, with_pooling=True)) == (3, 33)


def test_a_map_of_one_unit_is_flattened_without_a_row():
    network = nn.Sequential(stem(32, padding=0), nn.Flatten(), nn.Linear(4, 10))
    assert layer_table(network).kind.tolist() == ["Conv2d", "Linear"]
    assert total(network) == total(network, with_pooling=True) == 32


def test_fully_connected_layers_have_rows_with_their_parameters():
    shared = nn.Linear(16, 16)
    network = nn.Sequential(stem(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 16, bias=False), shared, shared)
    rows = layer_table(network)[["layer", "kind", "output", "params", "rf", "channels_in"]].values.tolist()
    assert rows[2:] == [
        ["3", "Linear", (16, 1, 1), 4 * 16, 34, 4],
        ["4", "Linear", (16, 1, 1), 16 * 16 + 16, 34, 16],
        ["4", "Linear", (16, 1, 1), 0, 34, 16],
    ]


# What has no windows of its own leaves the receptive field alone.


def squeeze_and_excitation(x, down, up):
    return x * torch.sigmoid(up(F.relu(down(x.mean((2, 3), keepdim=True)))))


def linear_gate(x, layer):
    return x * torch.sigmoid(layer(F.adaptive_avg_pool2d(x, 1).flatten(1)))[:, :, None, None].expand_as(x)


def shuffled(x):
    return x.view(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)


PASSING = {
    "activations": nn.Sequential(*[cls() for cls in (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.PReLU, nn.Hardswish)]),
    "activations in place": nn.Sequential(nn.Hardswish(inplace=True), nn.SiLU(inplace=True), nn.ELU(inplace=True)),
    "norms": nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm((4, 32, 32))),
    "dropout, even where it is always on": Apply(lambda x: F.dropout2d(F.dropout(x))),
    "squeeze and excitation": Apply(squeeze_and_excitation, conv(1), conv(1)),
    "a gate from fully connected layers": Apply(linear_gate, nn.Linear(4, 4)),
    "channel shuffle": nn.Sequential(nn.ChannelShuffle(2), Apply(shuffled)),
    "channels split and joined": Apply(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1)),
    "padding of channels": Apply(lambda x: F.pad(x, (0, 0, 0, 0, 2, 2))[:, 2:6]),
    "attention over channels": Apply(lambda x: x * x.softmax(1) * x.amax(1, keepdim=True)),
    "another layout in memory": Apply(lambda x: x.to(memory_format=torch.channels_last).contiguous()),
}


@pytest.mark.parametrize("layer", PASSING.values(), ids=PASSING)
def test_windows_pass_unchanged(layer):
    network = nn.Sequential(stem(5, padding=2), layer, conv(padding=1), head())
    assert total(network) == 7
    assert gradient_receptive_field(network) == (7, 7)


def test_a_gate_has_its_own_rows():
    table = layer_table(nn.Sequential(stem(), PASSING["squeeze and excitation"], conv(padding=1)))
    assert table.layer.tolist() == ["0", "1.global_pool", "1.parts.0", "1.parts.1", "2"]
    assert table.inputs.iloc[-1] == (0,), "the map comes from the stem; its gate is not an input of windows"


def test_nothing_is_left_behind_by_an_error():
    network = nn.Sequential(stem(), nn.PixelUnshuffle(2))
    with pytest.raises(BadInput):
        layer_table(network)
    assert all(m.training and not m._forward_hooks and not m._forward_pre_hooks for m in network.modules())


def test_parameters_are_counted_once():
    shared = conv(padding=1)
    tied = conv(padding=1)
    tied.weight = shared.weight
    network = nn.Sequential(stem(), shared, nn.ReLU(), shared, tied)
    table = layer_table(network)
    assert table.params.tolist() == [112, 148, 0, 4]
    assert table.params.sum() == sum(p.numel() for p in network.parameters())
    assert table.rf.tolist() == [3, 5, 7, 9]


def test_layers_are_named_by_module_or_call():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(stem(), nn.MaxPool2d(2))
            self.weight = nn.Parameter(torch.ones(4, 4, 3, 3))

        def forward(self, x):
            return F.avg_pool2d(F.conv2d(self.features(x), self.weight), 2).mean((2, 3))

    table = layer_table(Own())
    assert table.layer.tolist() == ["features.0", "features.1", "conv2d", "avgpool2d", "global_pool"]
    assert table.params.tolist() == [112, 0, 144, 0, 0]


def test_a_layers_name_writes_no_lines_of_its_own():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model.add_module("a\x1b[32m\nmax-pooling none 0 yes", nn.Conv2d(4, 4, 3))
    assert all(name.isprintable() for name in layer_table(model).layer)

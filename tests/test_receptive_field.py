"""The receptive-field calculator against hand computation, gradients, published values and its own spreadsheet."""

import shutil
import subprocess
import warnings

import numpy as np
import openpyxl
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from helpers.errors import BadInput
from helpers.receptive_field import (
    _gradient_window,
    effective_diameter,
    effective_receptive_field,
    gradient_receptive_field,
    layer_table,
    to_xlsx,
    total,
    unproductive,
)


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


def test_unproductive_layers_get_an_input_that_sees_the_whole_image():
    network = nn.Sequential(
        stem(5, 2, 2), conv(5, 2, 2), conv(5, padding=2), conv(5, padding=2), Add(conv(1), conv(3, padding=1)), head()
    )
    table = layer_table(network)
    assert table.rf[:6].tolist() == [5, 13, 29, 45, 45, 53]
    assert unproductive(table).tolist() == [False, False, False, False, True, True, True, True]
    assert unproductive(table, 14).tolist() == [False, False, False, True, True, True, True, True]


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


# The oracle: 240 random networks.


def random_block(rng):
    """Return a layer of four channels, and the factor by which it shrinks a map."""
    kernel, dilation = tuple(rng.integers(1, 5, 2).tolist()), tuple(rng.integers(1, 3, 2).tolist())
    stride = tuple(rng.choice([1, 1, 2], 2).tolist())
    odd, s = int(rng.choice([1, 3, 5])), int(rng.choice([1, 2]))
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    top, left = (int(rng.integers(0, r + 1)) for r in reach)
    asymmetric = nn.Sequential(nn.ZeroPad2d((left, reach[1] - left, top, reach[0] - top)), conv(kernel, 1, 0, dilation))
    blocks = {
        "plain": (conv(kernel, stride, tuple(r // 2 for r in reach), dilation, int(rng.choice([1, 2, 4]))), stride),
        "valid": (conv(kernel), (1, 1)),
        "max": (nn.MaxPool2d(3, s, int(rng.integers(0, 2)), ceil_mode=bool(rng.integers(2))), (s, s)),
        "average": (nn.AvgPool2d((2, 3), s), (s, s)),
        "separable": (nn.Sequential(conv(odd, s, odd // 2, 1, 4), nn.BatchNorm2d(4), nn.ReLU6(), conv(1)), (s, s)),
        "residual": (Add(asymmetric, nn.Identity()), (1, 1)),
        "shortcut": (Add(nn.Sequential(conv(odd, s, odd // 2), nn.ReLU(), conv(3, 1, 2, 2)), conv(1, s)), (s, s)),
        "inception": (
            nn.Sequential(Concatenate(conv(1, s), conv(5, s, 2), nn.MaxPool2d(3, s, 1)), conv(1, channels=(12, 4))),
            (s, s),
        ),
        "functional": (Apply(lambda x: F.silu(F.max_pool2d(x[:, :, 1:, :-1], 2, 1, padding=1))), (1, 1)),
    }
    return blocks[str(rng.choice(list(blocks)))]


def random_network(seed):
    rng = np.random.default_rng(seed)
    layers, shrunk = [stem(int(rng.choice([1, 3])))], np.ones(2, int)
    for _ in range(rng.integers(1, 6)):
        layer, stride = random_block(rng)
        if (shrunk * stride).max() <= 8:
            layers.append(layer)
            shrunk *= stride
    ends = (
        [nn.AdaptiveAvgPool2d(1)],
        [Apply(lambda x: x.mean((2, 3)))],
        [Apply(lambda x: F.avg_pool2d(x, x.shape[2:]))],
        [],
    )
    return nn.Sequential(*layers, conv(1), *ends[rng.integers(4)])


@pytest.mark.parametrize("batch", range(12))
def test_gradients_reach_what_the_table_says(batch):
    for seed in range(20 * batch, 20 * batch + 20):
        torch.manual_seed(seed)
        network = random_network(seed)
        table = layer_table(network, (3, 48, 48))
        row = table[table.kind != "global pool"].iloc[-1]
        top_left, bottom_right = _gradient_window(network, (3, 48, 48))
        assert np.broadcast_to(row.rf, 2).tolist() == (bottom_right - top_left + 1).tolist(), f"{seed}: {network}"
        assert np.broadcast_to(row.start, 2).tolist() == ((top_left + bottom_right) / 2).tolist(), f"{seed}: {network}"
        assert total(network, (3, 48, 48)) == np.min(row.rf)


def test_the_oracle_measures_a_published_network():
    network = torchvision.models.squeezenet1_1(num_classes=10)
    assert gradient_receptive_field(network, (3, 64, 64)) == (total(network, (3, 64, 64)),) * 2


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
    table = layer_table(built("inception_v3", init_weights=False), (3, 299, 299))
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
    assert total(built("inception_v3", init_weights=False), (3, 299, 299)) == 1311


@pytest.mark.parametrize(("name", "published"), [("resnet50", 483), ("resnet101", 1027), ("resnet152", 1507)])
def test_published_residual_networks(name, published):
    """He et al. stride in the 1x1 convolution that opens a stage, torchvision in the 3x3 one after it.

    That 3x3 convolution then widens the window by 2 of the jumps before the stride, not after it: by 8 instead of 16,
    16 instead of 32, 32 instead of 64 pixels in the three stages with a stride, 56 less in all.
    """
    network = built(name)
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


# The spreadsheet.


def recomputed(path):
    """Return {sheet: list of lines} with the values of all formulas, by LibreOffice if there is one."""
    if office := shutil.which("soffice"):
        out = path.parent / "recomputed"
        command = [office, "--headless", f"-env:UserInstallation={out.as_uri()}-home", "--convert-to", "xlsx"]
        subprocess.run([*command, "--outdir", out, path], check=True, capture_output=True, timeout=120)
        book = openpyxl.load_workbook(out / path.name, data_only=True)
        return {sheet.title: [[cell.value for cell in line] for line in sheet] for sheet in book}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import formulas

        book = formulas.ExcelModel().loads(str(path)).finish()
        values = {key.upper(): cells.value[0, 0] for key, cells in book.calculate().items() if ":" not in key}
    sheets = openpyxl.load_workbook(path)
    return {
        sheet.title: [
            [values.get(f"'[{path.name}]{sheet.title}'!{c.coordinate}".upper()) for c in line] for line in sheet
        ]
        for sheet in sheets
    }


def columns(path, sheet="receptive field"):
    header, _, *lines = recomputed(path)[sheet]
    wanted = [header.index(name) for name in ("size", "jump", "rf", "start")]
    return [[line[i] for i in wanted] for line in lines]


def expected(table, axis=0):
    values = [[row.output[1 + axis], row.jump, row.rf, row.start] for row in table.itertuples()]
    return [[v[axis] if isinstance(v, tuple) else v for v in line] for line in values]


def edited(path, **cells):
    book = openpyxl.load_workbook(path)
    for coordinate, value in cells.items():
        book.active[coordinate] = value
    book.save(path)
    return path


def branched(kernel=3):
    residual = nn.Sequential(conv(padding=2, dilation=2), nn.ReLU(), conv(padding=1))
    pools = nn.MaxPool2d(3, 2, ceil_mode=True), nn.ZeroPad2d((1, 0, 1, 0)), nn.AvgPool2d(2)
    return nn.Sequential(stem(kernel), Add(residual, nn.Identity()), *pools, head())


def test_the_spreadsheet_computes_the_table_and_follows_a_change(tmp_path):
    path = tmp_path / "table.xlsx"
    table = layer_table(branched())
    to_xlsx(table, path)
    formulas_in = [cell.value for cell in openpyxl.load_workbook(path).active[4]][11:]
    assert len(formulas_in) == 7 and all(value.startswith("=") for value in formulas_in)
    assert columns(path) == expected(table)
    wider = layer_table(branched(kernel=5))
    assert wider.rf.tolist() != table.rf.tolist()
    assert columns(edited(path, G3=5)) == expected(wider)


def test_the_spreadsheet_shows_branches_whose_jumps_no_longer_agree(tmp_path):
    path = tmp_path / "table.xlsx"
    to_xlsx(layer_table(branched()), path)
    line = columns(edited(path, H5=2))[3]  # of the max-pooling, behind a residual branch that has got a stride
    assert "#N/A" in str(line[1]) and "#N/A" in str(line[2])


def test_the_spreadsheet_joins_pools_of_different_jumps(tmp_path):
    early = nn.Sequential(conv(padding=1), nn.AdaptiveAvgPool2d(1))
    late = nn.Sequential(conv(stride=2, padding=1), nn.AdaptiveAvgPool2d(1))
    table = layer_table(nn.Sequential(stem(), Concatenate(early, late), conv(1, channels=(8, 10))))
    to_xlsx(table, tmp_path / "table.xlsx")
    assert columns(tmp_path / "table.xlsx") == expected(table)


def test_a_rectangular_table_has_a_sheet_for_each_axis(tmp_path):
    def network(stride):
        return nn.Sequential(conv((3, 5), stride, (1, 0), channels=(3, 4)), nn.ZeroPad2d((3, 1, 0, 0)), conv(), head())

    path, table = tmp_path / "table.xlsx", layer_table(network((1, 2)))
    to_xlsx(table, path)
    assert [*map(expected, (table, table), (0, 1))] == [columns(path, "height"), columns(path, "width")]
    assert columns(edited(path, H3=2), "height") == expected(layer_table(network(2)))


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


def test_nothing_is_left_behind_by_an_error():
    network = nn.Sequential(stem(), nn.Upsample(scale_factor=2))
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
        nn.Sequential(stem(), nn.ConvTranspose2d(4, 4, 2, 2)),
        "'transposed convolution' in layer '1'",
    ),
    "upsampling": (nn.Sequential(stem(), nn.Upsample(scale_factor=2)), "'upsample_nearest2d' in layer '1'"),
    "space to depth": (nn.Sequential(nn.PixelUnshuffle(2)), "'pixel_unshuffle' in layer '0'"),
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
    "a map written in parts": (Apply(overwritten), "'copy'"),
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

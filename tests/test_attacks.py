"""Ways round the checker that were tried once: each is told, and none is a pass."""

import re

import albumentations as A
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn

from helpers.assignment import check
from helpers.augment import coarse_dropout, flip, pad_crop, shift_scale_rotate
from helpers.errors import BadInput
from helpers.receptive_field import total
from helpers.workbook import guarded
from helpers.workbook.__main__ import main

C = 8  # channels of all maps


class Base(nn.Module):
    """A network that meets every constraint of its own: (N, 3, C, C) to (N, 10), with a place for an attack."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, C, 3, 2, 1), nn.BatchNorm2d(C), nn.ReLU())
        self.wide = nn.Sequential(
            nn.Conv2d(C, C, 3, padding=4, dilation=4), nn.ReLU(), nn.Conv2d(C, C, 3, padding=2, dilation=2)
        )
        self.pair = nn.Sequential(nn.Conv2d(C, C, 3, 2, 1, groups=C), nn.Conv2d(C, C, 1), nn.ReLU())
        self.last = nn.Conv2d(C, C, 5, padding=2)
        self.head = nn.Linear(C, 10)

    def tail(self, x):
        return self.last(self.pair(x))

    def classify(self, x):
        return self.head(x.mean((2, 3)))

    def forward(self, x):
        return self.classify(self.tail(self.wide(self.stem(x))))


def failed(model):
    table = check(model)
    return set(table.constraint[~table.passed])


def row(model, constraint="parameters"):
    return check(model).set_index("constraint").loc[constraint]


def test_the_base_of_the_attacks_meets_every_constraint():
    assert failed(Base()) == set()


class Gated(Base):
    """Honest: a map times a gate made of its neighbourhood (Woo et al., CBAM, 2018)."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv2d(2, 1, 7, padding=3)

    def tail(self, x):
        x = super().tail(x)
        return x * torch.sigmoid(self.gate(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)))


def test_what_a_gate_of_the_neighbourhood_sees_counts():
    assert row(Gated(), "receptive field").actual == total(Gated()) == total(Base()) + 6 * 4
    assert failed(Gated()) == set()


# --- numbers that are read and not registered ---


class InAList(Base):
    def __init__(self):
        super().__init__()
        self.weights = [nn.Parameter(torch.randn(C, C, 3, 3) * 0.1) for _ in range(20)]

    def tail(self, x):
        for weight in self.weights:
            x = F.relu(F.conv2d(x, weight, padding=1)) + x
        return super().tail(x)


class NestedList(Base):
    def __init__(self):
        super().__init__()
        self.layers = [[nn.Conv2d(C, C, 3, padding=1) for _ in range(10)] for _ in range(2)]

    def tail(self, x):
        for layers in self.layers:
            for layer in layers:
                x = F.relu(layer(x)) + x
        return super().tail(x)


class ASet(NestedList):
    def __init__(self):
        super().__init__()
        self.layers = [{nn.Conv2d(C, C, 3, padding=1) for _ in range(20)}]


class ALambda(Base):
    def __init__(self):
        super().__init__()
        hidden = nn.Sequential(*(nn.Conv2d(C, C, 3, padding=1) for _ in range(20)))
        self.more = lambda x: hidden(x) + x

    def tail(self, x):
        return super().tail(self.more(x))


GLOBAL = nn.Sequential(*(nn.Conv2d(C, C, 3, padding=1) for _ in range(20)))


class AGlobal(Base):
    def tail(self, x):
        return super().tail(GLOBAL(x) + x)


class Buffers(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("weights", torch.randn(20, C, C, 3, 3) * 0.1)

    def tail(self, x):
        for weight in self.weights:
            x = F.relu(F.conv2d(x, weight, padding=1)) + x
        return super().tail(x)


class PlainTensors(Buffers):
    def __init__(self):
        super().__init__()
        weights = self._buffers.pop("weights")
        self.weights = weights


class Overridden(InAList):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList(self.weights)

    def parameters(self, recurse=True):
        return iter([self.head.weight])


class FromNumbers(Buffers):
    def __init__(self):
        super().__init__()
        self.numbers = self._buffers.pop("weights").tolist()

    @property
    def weights(self):
        return torch.tensor(self.numbers)


class Statistics(Base):
    def __init__(self):
        super().__init__()
        self.moments = [torch.rand(20 * C * 9 * C) + 0.5 for _ in range(2)]

    def tail(self, x):
        wide = F.batch_norm(x.mean((2, 3)).repeat(1, 20 * C * 9), *self.moments)
        return super().tail(x * wide.view(len(x), 20 * 9 * C, C).mean(1)[:, :, None, None])


OUT_OF_SIGHT = [InAList, NestedList, ASet, ALambda, AGlobal, Buffers, PlainTensors, Overridden, FromNumbers, Statistics]


@pytest.mark.parametrize("network", OUT_OF_SIGHT)
def test_every_number_that_is_read_counts(network):
    least = sum(p.numel() for p in Base().parameters()) + 20 * C * C * 9
    table = check(network()).set_index("constraint")
    assert table.actual["parameters"] >= least
    remark = table.remark["parameters"]
    assert "parameters() tells" in remark and "nn.ParameterList" in remark and "register_buffer" in remark


def test_the_remark_names_the_layer_that_reads_them():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = [nn.Parameter(torch.randn(C, C, 3, 3))]

        def forward(self, x):
            return F.conv2d(x, self.weights[0], padding=1)

    model = Base()
    model.wide.append(Block())
    found = row(model)
    assert (
        "'wide.3'" in found.remark
        and found.passed
        and found.actual == sum(p.numel() for p in Base().parameters()) + C * C * 9
    )


def test_a_number_in_the_code_and_the_statistics_of_norms_are_no_parameters():
    class Scaled(Base):
        def tail(self, x):
            return super().tail(x * torch.tensor(0.5) + 2)

    assert row(Scaled()).remark == "" and row(Scaled()).actual == sum(p.numel() for p in Base().parameters())


def test_memory_that_is_shared_counts_once():
    class Flat(Base):
        def __init__(self):
            super().__init__()
            self.flat = nn.Parameter(torch.randn(C * C * 9 + 100) * 0.1)
            self.views = [self.flat[:-100].view(C, C, 3, 3), self.flat[100:].view(C, C, 3, 3)]

        def tail(self, x):
            for view in self.views:
                x = F.conv2d(x, view, padding=1)
            return super().tail(x)

    assert row(Flat()).actual == sum(p.numel() for p in Base().parameters()) + C * C * 9 + 100


# --- layers that do not matter ---


class Narrow(Base):
    """A field of 3 and no pair and no dilation, but for what `add` brings in."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Sequential(
            nn.Conv2d(C, C, 3, padding=1, groups=C), nn.Conv2d(C, C, 1), nn.Conv2d(C, C, 3, padding=11, dilation=11)
        )

    def tail(self, x):
        return self.add(x, self.wide(x))

    def forward(self, x):
        return self.classify(self.tail(self.stem(x)))


IDLE = {
    "times zero": lambda f, t: f + 0 * t,
    "times almost zero": lambda f, t: f + 1e-9 * t,
    "added and taken away": lambda f, t: f + t - t,
    "a choice that is none": lambda f, t: torch.where(torch.tensor(True), f, t),
    "channels cut off": lambda f, t: torch.cat([f, t], 1)[:, :C],
    "thrown away": lambda f, t: f,
    "a slope without an effect": lambda f, t: f + t - t.detach(),
    "detached": lambda f, t: f + 0 * t.detach(),
    "clipped away": lambda f, t: f + t.clamp(0, 0),
    "rounded away": lambda f, t: f + (t * 1e-6).floor() * 0,
    "a gate of zero": lambda f, t: f + t * torch.zeros(1, C, 1, 1),
}


@pytest.mark.parametrize("name", IDLE)
def test_a_layer_counts_only_if_it_matters(name):
    class Idle(Narrow):
        def add(self, f, t):
            return IDLE[name](f, t)

    assert failed(Idle()) >= {"receptive field", "depthwise-separable convolutions", "dilated convolutions"}
    assert row(Idle(), "receptive field").actual == 3


def test_the_same_layers_count_where_they_matter():
    class Busy(Narrow):
        def add(self, f, t):
            return f + t

    assert failed(Busy()) == set() and row(Busy(), "receptive field").actual == 3 + 4 + 44


def test_frozen_weights_of_zero_do_not_count():
    class Zeros(Narrow):
        def __init__(self):
            super().__init__()
            for parameter in self.wide.parameters():
                nn.init.zeros_(parameter.requires_grad_(False))

        def add(self, f, t):
            return f + t

    assert failed(Zeros()) >= {"receptive field", "depthwise-separable convolutions", "dilated convolutions"}


def test_a_last_layer_that_begins_at_zero_is_none_of_these():
    class Begins(Narrow):
        def __init__(self):
            super().__init__()
            nn.init.zeros_(self.wide[2].weight)
            self.scale = nn.Parameter(torch.zeros(1))

        def add(self, f, t):
            return f + self.scale * t

    assert failed(Begins()) == set()


class OnOnePosition(Base):
    """A dilated 3x3 on a map of one position sees its padding but for one tap."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(C, C, 9, padding=4), nn.Conv2d(C, C, 9, padding=4))
        self.late = nn.Conv2d(C, C, 3, padding=2, dilation=2)

    def classify(self, x):
        return self.head(self.late(F.avg_pool2d(x, 8)).flatten(1))


class AMask(Base):
    """All taps but the central one are masked."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(C, C, 9, padding=4), nn.Conv2d(C, C, 9, padding=4))
        self.late = nn.Conv2d(C, C, 3, padding=2, dilation=2)
        self.register_buffer("mask", F.pad(torch.ones(1, 1, 1, 1), (1, 1, 1, 1)))

    def tail(self, x):
        return super().tail(F.conv2d(x, self.late.weight * self.mask, padding=2, dilation=2))


class NoWeights(Base):
    """A dilated convolution of ones at its centre is the identity."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(C, C, 9, padding=4), nn.Conv2d(C, C, 9, padding=4))

    def tail(self, x):
        identity = F.pad(torch.eye(C)[:, :, None, None], (1, 1, 1, 1))
        return super().tail(F.conv2d(x, identity, padding=2, dilation=2))


@pytest.mark.parametrize("network", [OnOnePosition, AMask, NoWeights])
def test_a_convolution_is_dilated_where_several_taps_matter(network):
    assert "dilated convolutions" in failed(network())


def test_a_field_that_only_larger_images_have():
    class BySize(Narrow):
        def add(self, f, t):
            return f + t * (f.shape[-1] > 16)

    assert row(BySize(), "receptive field").actual == 3


def test_a_real_field_of_three_does_not_pass_as_67():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.far = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=32, dilation=32, groups=8)
            self.head = nn.Linear(8, 10)

        def forward(self, x):
            x = self.stem(x)
            return self.head((x + self.far(x) - self.far(x)).mean((2, 3)))

    assert total(Small()) == 67 and row(Small(), "receptive field").actual == 3


# --- pooling and heads by another name ---


def quarters(x):
    return x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]


def largest(maximum):
    def pool(x):
        a, b, c, d = quarters(x)
        return maximum(maximum(a, b), maximum(c, d))

    return pool


shift = nn.Conv2d(C, C, 3, padding=1, bias=False, groups=C).requires_grad_(False)
shift.weight.data.copy_(F.pad(torch.ones(C, 1, 1, 1), (0, 2, 0, 2)))

MAX_POOLING = {
    "maximum": largest(torch.maximum),
    "fmax": largest(torch.fmax),
    "negative minimum": largest(lambda a, b: -torch.minimum(-a, -b)),
    "relu of a difference": largest(lambda a, b: a + F.relu(b - a)),
    "absolute difference": largest(lambda a, b: (a + b + (a - b).abs()) / 2),
    "where": largest(lambda a, b: torch.where(a > b, a, b)),
    "by a comparison": largest(lambda a, b: a * (a > b) + b * (b >= a)),
    "clamp": largest(lambda a, b: a.clamp(min=b)),
    "lp_pool2d": lambda x: F.lp_pool2d(x.abs() + 1e-3, 8, 2),
    "log-sum-exp": lambda x: sum(torch.exp(9 * part) for part in quarters(x)).log() / 9,
    "log of an average": lambda x: F.avg_pool2d(torch.exp(9 * x), 2).log() / 9,
    "weighted by exp": lambda x: F.avg_pool2d(x * torch.exp(9 * x), 2) / F.avg_pool2d(torch.exp(9 * x), 2),
    "a root by another name": lambda x: torch.exp(torch.special.xlog1py(torch.tensor(1 / 8), F.avg_pool2d(x**8, 2))),
    "asinh of an average of sinh": lambda x: torch.asinh(F.avg_pool2d(torch.sinh(9 * x), 2)) / 9,
    "logit of an average of sigmoids": lambda x: torch.logit(F.avg_pool2d(torch.sigmoid(9 * x), 2), 1e-6),
    "erfinv of an average of erf": lambda x: torch.erfinv(F.avg_pool2d(torch.erf(x), 2) * 0.999),
    "a layer that is frozen as a shift": lambda x: torch.maximum(x, shift(x))[..., ::2, ::2],
    "amax of a stack": lambda x: torch.stack(quarters(x)).amax(0),
    "amax over channels": lambda x: torch.cat(quarters(x), 1).view(len(x), 4, C, 8, 8).amax(1),
    "softmax over channels": lambda x: (
        (torch.cat(quarters(x), 1).view(len(x), 4, C, 8, 8).softmax(1) ** 9).sum(1) + x[..., ::2, ::2]
    ),
    "amax of a view": lambda x: x.reshape(len(x), C, 8, 2, 8, 2).amax((3, 5)),
    "amax of unfold": lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2)),
    "max_pool1d": lambda x: F.max_pool1d(x.flatten(2), 2).view(len(x), C, 8, 16),
    "max_pool3d": lambda x: F.max_pool3d(x, (1, 2, 2)),
    "adaptive": lambda x: F.adaptive_max_pool2d(x, 8),
    "fractional": lambda x: F.fractional_max_pool2d(x, 2, (8, 8)),
    "a median": lambda x: torch.stack(quarters(x)).median(0).values,
    "sorted": lambda x: torch.stack(quarters(x)).sort(0).values[-1],
    "shifted by padding": lambda x: torch.maximum(x, F.pad(x, (1, -1, 1, -1)))[..., ::2, ::2],
    "shifted by a fixed convolution": lambda x: torch.maximum(
        x, F.conv2d(x, F.pad(torch.eye(C)[:, :, None, None], (2, 0, 2, 0)), padding=1)
    )[..., ::2, ::2],
    "of an upsampled map": lambda x: torch.maximum(up := F.interpolate(x, scale_factor=2), F.pad(up, (1, -1, 1, -1)))[
        ..., ::4, ::4
    ],
    "shifted by a fixed transposed convolution": lambda x: torch.maximum(
        x, F.conv_transpose2d(x, F.pad(torch.eye(C)[:, :, None, None], (3, 0, 3, 0)), stride=2)[..., 1:33:2, 1:33:2]
    )[..., ::2, ::2],
    "hidden under nothing": largest(lambda a, b: torch.maximum(a + 0 * a.mean((2, 3), keepdim=True), b)),
}


@pytest.mark.parametrize("name", MAX_POOLING)
def test_max_pooling_by_another_name(name):
    class Pooling(Base):
        def tail(self, x):
            return self.last(MAX_POOLING[name](x))

    try:
        assert "max-pooling" in failed(Pooling())
    except BadInput as refusal:
        assert "cannot be followed" in str(refusal) or "jumps" in str(refusal)


NAMED = {
    "stack": lambda x: torch.stack([x[..., ::2, :], x[..., 1::2, :]]).amax(0)[..., ::2],
    "max": lambda x: torch.stack(quarters(x), 2).max(2).values,
    "relu": lambda x: F.relu(x + F.conv2d(x, torch.ones(C, 1, 3, 3) / 9, padding=1, groups=C))[..., ::2, ::2],
}


@pytest.mark.parametrize("name", NAMED)
def test_what_may_be_max_pooling_is_named_as_what_it_is(name):
    class Pooling(Base):
        def tail(self, x):
            return self.last(NAMED[name](x))

    found = row(Pooling(), "max-pooling")
    assert not found.passed and re.match(
        "In (amax|max|relu) neighbours of one map meet in more than a sum", found.remark
    )


def test_a_layer_of_trained_weights_after_sums_is_no_max_pooling():
    class Sums(Base):
        def classify(self, x):
            return super().classify(sum(quarters(x)))

    assert failed(Sums()) == set()


def test_a_maximum_has_the_field_of_all_that_it_compares():
    class Maximum(Base):
        def classify(self, x):
            return super().classify(torch.stack([x[..., ::2, ::2], x[..., 1::2, 1::2]]).amax(0))

    assert row(Maximum(), "receptive field").actual == total(Maximum()) == total(Base()) + 4


REFUSED = {
    "in attention": lambda x: (x.flatten(2).transpose(1, 2) @ x.flatten(2)).softmax(2),
    "scaled_dot_product": lambda x: F.scaled_dot_product_attention(x, x, x),
    "im2col": lambda x: F.unfold(x, 2, stride=2),
    "unfold": lambda x: x.unfold(2, 2, 2),
    "upsample_nearest2d": lambda x: F.interpolate(x, (20, 20)),
    "upsample_bicubic2d": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "permute": lambda x: x.permute(0, 2, 3, 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_window_to_follow_is_refused_by_its_name(name):
    class Other(Base):
        def tail(self, x):
            return super().tail(REFUSED[name](super().tail(x)))

    with pytest.raises(BadInput, match=f"cannot be followed through '[^']*{name}"):
        check(Other())


SUMS = {
    "sum of a stack": lambda x: torch.stack(quarters(x)).mean(0),
    "average of slices": lambda x: sum(quarters(x)) / 4,
    "space to depth": lambda x: torch.cat(quarters(x), 1)[:, ::4],
    "half of the size and back": lambda x: (x + F.interpolate(F.avg_pool2d(x, 2), scale_factor=2))[..., ::2, ::2],
    "average, then ReLU": lambda x: F.relu(F.avg_pool2d(x, 2)),
    "a gate": lambda x: F.avg_pool2d(x, 2) * x.mean((2, 3), keepdim=True).sigmoid(),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_are_no_max_pooling(name):
    class Average(Base):
        def tail(self, x):
            return self.last(SUMS[name](x))

    assert "max-pooling" not in failed(Average())


class WholeMap(Base):
    def __init__(self):
        super().__init__()
        self.whole = nn.Conv2d(C, C, 8)

    def classify(self, x):
        return self.head(F.adaptive_avg_pool2d(self.whole(x), 1).flatten(1))


class Products(Base):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(C, 8, 8))

    def classify(self, x):
        return self.head((x * self.weights).mean((2, 3)))


class ProductsPerClass(Products):
    def classify(self, x):
        return torch.stack([(x * (n + self.weights)).sum((1, 2, 3)) for n in range(10)], 1)


class Generalised(Base):
    def classify(self, x):
        return self.head((x.abs() + 1e-3).pow(8).mean((2, 3)).pow(1 / 8))


class LogSumExp(Base):
    def classify(self, x):
        return self.head(x.flatten(2).logsumexp(2))


class MaxThenMean(Base):
    def classify(self, x):
        return self.head(x.amax(3).mean(2))


class Einsum(Base):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(10, C, 8, 8))

    def classify(self, x):
        return torch.einsum("nchw,ochw->no", x, self.weights)


class Quarters(Base):
    """A linear layer on a flattened map of 2x2: each quarter is averaged by itself, and has weights of its own."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(C, 10) for _ in range(4))

    def classify(self, x):
        half = x.shape[-1] // 2
        quarters = [x[:, :, top : top + half, left : left + half] for top in (0, half) for left in (0, half)]
        return sum(head(quarter.mean((2, 3))) for head, quarter in zip(self.heads, quarters, strict=True))


HEADS = [WholeMap, Products, ProductsPerClass, Generalised, LogSumExp, MaxThenMean, Einsum, Quarters]


@pytest.mark.parametrize("network", HEADS)
def test_a_head_by_another_name(network):
    try:
        assert failed(network()) & {"global average pooling", "max-pooling"}
    except BadInput as refusal:
        assert "cannot be followed" in str(refusal)


class Bilinear(Base):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Bilinear(C, C, C)

    def classify(self, x):
        x = x.mean((2, 3))
        return self.head(self.hidden(x, x))


class HiddenProducts(Base):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Parameter(torch.randn(C, C))

    def classify(self, x):
        x = x.mean((2, 3))
        return self.head((x[:, None] * self.hidden).sum(2).relu())


@pytest.mark.parametrize("network", [Bilinear, HiddenProducts])
def test_a_hidden_layer_by_another_name(network):
    assert failed(network()) == {"fully connected hidden layers"}


# --- channels that are cut out, and what is refused by its own name ---


class GroupNorm(Base):
    def tail(self, x):
        return nn.GroupNorm(2, C)(super().tail(x))


class OnASphere(Base):
    """Features of length one, as in classifiers by the cosine."""

    def classify(self, x):
        return self.head(F.normalize(x.mean((2, 3))))


@pytest.mark.parametrize("network", [GroupNorm, OnASphere])
def test_what_students_write_meets_the_constraints(network):
    assert failed(network()) == set()


def test_slices_of_channels_are_followed():
    class Slices(nn.Module):
        def __init__(self, cut):
            super().__init__()
            self.stem, self.cut = nn.Conv2d(3, 8, 3), cut
            self.narrow, self.wide = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 5, padding=2)

        def forward(self, x):
            x = self.stem(x)
            return self.cut(F.relu(torch.cat([self.narrow(x), self.wide(x)], 1)))

    assert total(Slices(lambda x: x[:, :8])) == total(Slices(lambda x: x.chunk(2, 1)[0])) == 3
    assert total(Slices(lambda x: x[:, 7:])) == total(Slices(lambda x: x[:, 8:])) == total(Slices(lambda x: x)) == 7
    assert total(Slices(lambda x: x.split([4, 12], 1)[0])) == 3 and total(Slices(lambda x: x.split([4, 12], 1)[1])) == 7


def test_circular_padding_is_refused_by_its_name():
    with pytest.raises(BadInput, match="padding_mode=circular"):
        check(
            nn.Sequential(
                nn.Conv2d(3, 10, 3, padding=1, padding_mode="circular"), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            )
        )


def test_circular_padding_by_a_function_is_refused_by_its_name_too():
    class Circular(Base):
        def tail(self, x):
            return super().tail(F.pad(x, (1, 1, 1, 1), mode="circular"))

    with pytest.raises(BadInput, match="as in circular padding"):
        check(Circular())


# --- augmentation in name only ---


def named(name, parent, *args, **fields):
    """A transform of another kind, or with other deeds, under a required name."""
    made = type(name, (parent,), {})(*args)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


class Never(A.CoarseDropout):
    def should_apply(self, *args, **kwargs):
        return False


class Still(A.Affine):
    def __call__(self, *args, image=None, **kwargs):
        return {"image": image}


class Seldom(A.HorizontalFlip):
    def apply(self, image, **options):
        return image[:, ::-1].copy() if self.py_random.random() < 0.1 else image


SAVED = {}


def save(image, **options):
    SAVED["image"] = image.copy()
    return image


def restore(image, **options):
    return SAVED["image"].copy()


def vanish(image, **options):
    return None


BACK = [A.Lambda(image=save, p=1), shift_scale_rotate(), A.Lambda(image=restore, p=1)]
TINY = {"scale": (1, 1 + 1e-9), "translate_percent": 1e-9, "rotate": 1e-9}
SPECIALS = {
    "a vertical flip called horizontal": ([named("HorizontalFlip", A.VerticalFlip)], "horizontal flip"),
    "nothing called a flip": ([named("HorizontalFlip", A.NoOp, 1.0)], "horizontal flip"),
    "two flips at p = 1": ([flip(1.0), flip(1.0)], "horizontal flip"),
    "a flip and its undoing": ([flip(1.0), A.Transpose(p=1), A.VerticalFlip(p=1), A.Transpose(p=1)], "horizontal flip"),
    "a flip of p = 0.5 that flips a twentieth": ([Seldom(p=0.5)], "horizontal flip"),
    "a move that is taken back": (BACK, "shift, scale, rotate"),
    "limits of 1e-9": ([A.Affine(**TINY, p=1)], "shift, scale, rotate"),
    "one limit of 1e-9": ([A.Affine(**TINY | {"scale": (0.8, 1.2), "rotate": 15}, p=1)], "shift, scale, rotate"),
    "rotations of 1e-9": (
        [A.Affine(**TINY | {"scale": (0.8, 1.2), "translate_px": 3, "translate_percent": None}, p=1)],
        "shift, scale, rotate"),
    "an Affine that stays": ([Still(scale=(0.9, 1.1), translate_px=3, rotate=15, p=1)], "shift, scale, rotate"),
    "a blur called a hole": ([named("CoarseDropout", A.Blur, 3, 1.0, fill=0)], "coarse dropout"),
    "a hole that is never cut": (
        [Never((1, 1), (16, 16), (16, 16), fill=(125.3, 123.0, 113.9), p=1)], "coarse dropout"),
    "a hole that a resize takes away": (
        [A.Resize(512, 512), coarse_dropout(p=1), A.Resize(32, 32)], "coarse dropout"),
    "a hole that a resize makes small": (
        [A.Resize(64, 64), coarse_dropout(p=1), A.Resize(32, 32)], "hole of coarse dropout"),
    "a hole under another picture": ([coarse_dropout(p=1), A.PixelDropout(1.0, drop_value=0, p=1)], "coarse dropout"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIALS)
def test_augmentation_is_judged_by_what_it_does(name):
    parts, constraint = SPECIALS[name]
    real = {"horizontal flip": flip(), "shift, scale, rotate": shift_scale_rotate(), "coarse dropout": coarse_dropout()}
    real.pop(constraint.removeprefix("hole of "))
    table = check(Base(), A.Compose([*real.values(), *parts]))
    failing = set(table.constraint[~table.passed])
    assert failing & {constraint, f"hole of {constraint}"}


@pytest.mark.parametrize("last", [A.ToGray(1, p=1), A.Lambda(image=vanish, p=1)])
def test_a_pipeline_that_makes_no_images_is_told(last):
    with pytest.raises(BadInput, match="The pipeline makes no images of images of 32x32"):
        check(Base(), A.Compose([flip(), shift_scale_rotate(), coarse_dropout(), last]))


def test_a_rotation_of_few_degrees_is_seen_behind_crops_and_holes():
    parts = [flip(), *pad_crop(), shift_scale_rotate(degrees=3, p=0.1), coarse_dropout(p=1)]
    assert check(Base(), A.Compose(parts)).passed.all()


def test_a_pipeline_draws_on_as_if_it_had_not_been_judged():
    compose = A.Compose([flip(), shift_scale_rotate(), coarse_dropout()], seed=3)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    other = A.Compose([flip(), shift_scale_rotate(), coarse_dropout()], seed=3)
    assert check(Base(), compose).passed.all()
    assert all(np.array_equal(compose(image=image)["image"], other(image=image)["image"]) for _ in range(3))


# --- success without a table ---

NET = """
import os, sys, torch
from torch import nn

class Stop(BaseException):
    pass

class Mute(BaseException):
    def __str__(self):
        return 1 / 0

class Net(nn.Module):
    def __init__(self):
        {init}
        self.head = nn.Linear(3, 10)

    def forward(self, x):
        {forward}
        return self.head(x.mean((2, 3)))
"""
WAYS_OUT = {
    "sys.exit(0) in forward": ("super().__init__()", "sys.exit(0)", "SystemExit: 0"),
    "os._exit(0) in forward": ("super().__init__()", "os._exit(0)", r"ends its process \(status 0\)"),
    "os._exit(0) while it is made": ("os._exit(0)", "", r"ends its process \(status 0\)"),
    "an exception of its own": ("super().__init__()", "raise Stop('no more')", "Stop: no more"),
    "one that cannot be printed": ("super().__init__()", "raise Mute()", "stops with Mute.$"),
    "no super().__init__()": ("self.__dict__['head'] = None; return", "", r"without super\(\).__init__\(\)"),
    "more memory than there is": ("super().__init__()", "torch.empty(2**32)", "alloc"),
}


@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_missing_table_is_a_failure_with_a_reason(way, tmp_path):
    init, forward, words = WAYS_OUT[way]
    (tmp_path / "net.py").write_text(NET.format(init=init, forward=forward))
    result = CliRunner().invoke(main, ["check", f"{tmp_path}/net.py:Net"])
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and re.search(words, result.stderr), result.stderr


@pytest.mark.usefixtures("quick_processes")
def test_an_endless_loop_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(guarded, "SECONDS", 1)
    (tmp_path / "net.py").write_text("while True:\n    pass\n")
    result = CliRunner().invoke(main, ["check", f"{tmp_path}/net.py:Net"])
    assert result.exit_code == 2 and "endless loop" in result.stderr

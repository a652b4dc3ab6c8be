"""The table against gradients, for random networks of every kind of layer."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from helpers.engines.oracle import gradient_window
from helpers.receptive_field import effective_receptive_field, gradient_receptive_field, layer_table, total
from layers import Add, Apply, Concatenate, conv, stem

KINDS = ["plain", "valid", "max", "average", "separable", "residual", "shortcut", "inception", "functional"]


def random_layer(kind, rng):
    """Return a layer of four channels, and the factor by which it shrinks a map."""
    kernel, dilation = tuple(rng.integers(1, 5, 2).tolist()), tuple(rng.integers(1, 3, 2).tolist())
    stride = tuple(rng.choice([1, 1, 2], 2).tolist())
    odd, s = int(rng.choice([1, 3, 5])), int(rng.choice([1, 2]))
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    top, left = (int(rng.integers(0, r + 1)) for r in reach)
    asymmetric = nn.Sequential(nn.ZeroPad2d((left, reach[1] - left, top, reach[0] - top)), conv(kernel, 1, 0, dilation))
    layers = {
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
    return layers[kind]


def random_network(kind, seed):
    """Return a network with a layer of this kind among up to four others; strides divide the image by 8 at most."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    layer, shrunk = random_layer(kind, rng)
    layers = [layer]
    for other in rng.choice(KINDS, rng.integers(0, 5)):
        layer, stride = random_layer(other, rng)
        if np.multiply(shrunk, stride).max() <= 8:
            layers.insert(rng.integers(len(layers) + 1), layer)
            shrunk = np.multiply(shrunk, stride)
    ends = (
        [nn.AdaptiveAvgPool2d(1)],
        [Apply(lambda x: x.mean((2, 3)))],
        [Apply(lambda x: F.avg_pool2d(x, x.shape[2:]))],
        [],
    )
    return nn.Sequential(stem(int(rng.choice([1, 3]))), *layers, conv(1), *ends[seed % 4])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_what_the_table_says(kind):
    for seed in range(6):
        network = random_network(kind, seed)
        table = layer_table(network, (3, 48, 48))
        row = table[table.kind != "global pool"].iloc[-1]
        first, last = gradient_window(network, (3, 48, 48))
        assert np.broadcast_to(row.rf, 2).tolist() == (last - first + 1).tolist(), f"{seed}: {network}"
        assert np.broadcast_to(row.start, 2).tolist() == ((first + last) / 2).tolist(), f"{seed}: {network}"
        assert total(network, (3, 48, 48)) == np.min(row.rf)


def upsampling(rng):
    """Return a random layer that enlarges its map."""
    times, kernel = int(rng.integers(2, 4)), int(rng.integers(3, 6))
    return [
        nn.Upsample(scale_factor=times),
        nn.Upsample(scale_factor=times, mode="bilinear"),
        nn.ConvTranspose2d(4, 4, kernel, times, int(rng.integers(0, 2)), int(rng.integers(0, times))),
    ][rng.integers(3)]


def test_behind_upsampling_gradients_reach_what_the_widest_unit_sees():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        layers = [stem(3, int(rng.integers(1, 3)), 1)]
        for _ in range(rng.integers(1, 4)):
            strided = conv(int(rng.integers(1, 6)), int(rng.integers(1, 4)), 2, int(rng.integers(1, 3)))
            layers += [upsampling(rng), strided]
        network = nn.Sequential(*layers)
        field = layer_table(network, (3, 40, 40)).rf.iloc[-1]
        assert gradient_receptive_field(network, (3, 40, 40)) == (field, field), f"{seed}: {network}"


def test_what_was_made_smaller_and_large_again_meets_what_stayed():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.down, self.up = stem(), conv(3, 2, 1), nn.ConvTranspose2d(4, 4, 4, 2, 1)
            self.last = conv(padding=1, channels=(8, 4))

        def forward(self, x):
            x = self.stem(x)
            return self.last(torch.cat([x, self.up(self.down(x))], 1))

    assert layer_table(Both()).rf.tolist() == [3, 5, 7, 9] and gradient_receptive_field(Both()) == (9, 9)


@pytest.mark.parametrize("kernel", [(3, 3), (4, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_transposed_convolution_without_a_stride_has_a_window(kernel, dilation):
    network = nn.Sequential(stem(5, 2, 1), nn.ConvTranspose2d(4, 4, kernel, padding=1, dilation=dilation), nn.ReLU())
    row = layer_table(network).iloc[-1]
    first, last = gradient_window(network, (3, 32, 32))
    assert np.broadcast_to(row.rf, 2).tolist() == (last - first + 1).tolist()
    assert np.broadcast_to(row.start, 2).tolist() == ((first + last) / 2).tolist()


def test_the_oracle_measures_a_published_network():
    network = torchvision.models.squeezenet1_1(num_classes=10)
    assert gradient_receptive_field(network, (3, 64, 64)) == (total(network, (3, 64, 64)),) * 2


def test_a_map_is_found_among_several_of_the_same_operation():
    def forward(x, first, second, classifier):
        x = F.conv2d(F.conv2d(x, first.weight, padding=1), second.weight, padding=2)
        return F.conv2d(x.mean((2, 3), keepdim=True), classifier.weight)

    network = Apply(forward, stem(), conv(5), conv(1))
    assert gradient_receptive_field(network) == (total(network),) * 2 == (7, 7)


@pytest.mark.parametrize(("half", "pixels"), [(0, 3), (1, 9)])
def test_a_map_is_found_among_several_results_of_an_operation(half, pixels):
    network = Apply(lambda x, layer: layer(x).chunk(2, 1)[half], stem())
    with torch.no_grad():
        network.parts[0].weight.fill_(1)
        network.parts[0].weight[:2, :, 1:] = 0  # the first half looks at a single row
    assert np.count_nonzero(effective_receptive_field(network, torch.ones(1, 3, 32, 32))) == pixels

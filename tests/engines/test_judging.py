"""What the rules measure: on layer tables, on networks, and on pipelines whose holes are cut and looked at."""

import albumentations as A
import numpy as np
import pytest
from torch import nn

from helpers.augment import augment_image
from helpers.data import CIFAR10_MEAN as MEAN
from helpers.data import CIFAR10_STD as STD
from helpers.engines.judging import (
    best_hole,
    count_dilated,
    count_separable,
    hole_problems,
    probabilities,
    recolours,
    shifts_scales_rotates,
    walk_to_pooling,
)
from helpers.receptive_field import layer_table

GREY_LEVELS = tuple(255 * value for value in MEAN)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def hole(number=(1, 1), height=(16, 16), width=(16, 16), fill=GREY_LEVELS):
    return A.CoarseDropout(number, height, width, fill=fill)


def square(side, **options):
    return hole(height=(side, side), width=(side, side), **options)


def brighter(levels):
    return tuple(value + levels for value in GREY_LEVELS)


def normalised(levels, mean, std):
    return tuple((value / 255 - m) / s for value, m, s in zip(brighter(levels), mean, std, strict=True))


TO_FLOAT, NORMALISE, BY_OTHERS = A.ToFloat(255), A.Normalize(MEAN, STD), A.Normalize(*IMAGENET)
NOT_THE_MEAN = "fill {}, not [125.31, 122.95, 113.87]"
HOLES = {  # the hole, the transforms before it, and what is wrong
    "as asked for": (square(16), [], []),
    "after other transforms": (square(16), [A.HorizontalFlip(), A.RGBShift()], []),
    "8x8": (square(8), [], ["8 to 8 by 8 to 8 pixels"]),
    "random size": (hole(height=(8, 16), width=(8, 16)), [], ["8 to 16 by 8 to 16 pixels"]),
    "random height": (hole(height=(8, 16)), [], ["8 to 16 by 16 to 16 pixels"]),
    "a pixel too wide at times": (hole(width=(16, 17)), [], ["16 to 16 by 16 to 17 pixels"]),
    "half of the image": (square(0.5), [], []),
    "a quarter of the image": (square(0.25), [], ["8 to 8 by 8 to 8 pixels"]),
    "shares that come to 16 pixels": (hole(height=(0.5, 0.52), width=(0.5, 0.52)), [], []),
    "pixels of height, a share of width": (hole(width=(0.5, 0.5)), [], ["16 to 16 by 0 to 0 pixels"]),
    "cut off at the border": (hole(height=(16, 40)), [], ["16 to 32 by 16 to 16 pixels"]),
    "larger than the image": (square(40), [], ["cannot be cut: low >= high"]),
    "two holes": (hole(number=(2, 2)), [], ["2 to 2 holes"]),
    "one to three holes": (hole(number=(1, 3)), [], ["1 to 3 holes"]),
    "all wrong": (
        square(8, number=(1, 2), fill=0), [],
        ["1 to 2 holes", "8 to 8 by 8 to 8 pixels", NOT_THE_MEAN.format("0.0")]),
    "black": (square(16, fill=0), [], [NOT_THE_MEAN.format("0.0")]),
    "values in [0, 1] before Normalize": (square(16, fill=MEAN), [], [NOT_THE_MEAN.format([0.49, 0.48, 0.45])]),
    "within three grey levels": (square(16, fill=brighter(2.9)), [], []),
    "within three darker ones": (square(16, fill=brighter(-2.9)), [], []),
    "outside of three grey levels": (
        square(16, fill=brighter(3.1)), [], [NOT_THE_MEAN.format([128.41, 126.05, 116.97])]),
    "one number, the mean of the three": (square(16, fill=120.7), [], []),
    "one number, too dark": (square(16, fill=117.6), [], [NOT_THE_MEAN.format(117.6)]),
    "three of them are compared by channel": (square(16, fill=(120.7,) * 3), [], [NOT_THE_MEAN.format([120.7] * 3)]),
    "two channels": (
        square(16, fill=(1, 2)), [],
        ["cannot be cut: Fill value must have same number of channels as image. Got 2, expected 3"]),
    "noise": (square(16, fill="random"), [], ["fill 'random'"]),
    "painted from around": (square(16, fill="inpaint_telea"), [NORMALISE], ["fill 'inpaint_telea'"]),
    "ToFloat, values in [0, 1]": (square(16, fill=MEAN), [TO_FLOAT], []),
    "ToFloat by the kind of number": (square(16, fill=MEAN), [A.ToFloat()], []),
    "ToFloat, grey levels": (
        square(16), [TO_FLOAT], ["fill [125.31, 122.95, 113.87], not [0.49, 0.48, 0.45]"]),
    "Normalize by the mean, 0": (square(16, fill=0), [NORMALISE], []),
    "Normalize by the mean, grey levels": (
        square(16), [NORMALISE], ["fill [125.31, 122.95, 113.87], not [0.0, 0.0, 0.0]"]),
    "Normalize by other statistics, 0": (
        square(16, fill=0), [BY_OTHERS], ["fill 0.0, not [0.03, 0.12, 0.18]"]),
    "Normalize by other statistics, within": (square(16, fill=normalised(2.9, *IMAGENET)), [BY_OTHERS], []),
    "Normalize by other statistics, outside": (
        square(16, fill=normalised(-3.1, *IMAGENET)), [BY_OTHERS],
        ["fill [-0.03, 0.06, 0.13], not [0.03, 0.12, 0.18]"]),
    "ToFloat and Normalize": (square(16, fill=0), [TO_FLOAT, A.Normalize(MEAN, STD, max_pixel_value=1.0)], []),
    "Normalize by the image": (
        square(16, fill=0), [A.Normalize(normalization="image")], ["a fill in units of normalization='image'"]),
}  # fmt: skip


@pytest.mark.parametrize(("cut", "earlier", "problems"), HOLES.values(), ids=HOLES)
def test_what_is_wrong_with_a_hole(cut, earlier, problems):
    assert hole_problems(cut, earlier, MEAN, side=16) == problems


def test_size_and_colour_are_those_asked_for():
    assert hole_problems(square(8, fill=0), [], (0, 0, 0), side=8) == []


def test_looking_at_a_hole_leaves_it_alone():
    cut = square(16)
    cut.set_random_seed(5)
    before = cut.random_generator.bit_generator.state
    hole_problems(cut, [], MEAN, side=16)
    assert cut.random_generator.bit_generator.state == before


def test_the_best_hole_has_the_fewest_problems_then_the_highest_probability():
    rare, frequent, black = square(16), square(16), square(16, fill=0)
    found = [(frequent, 0.5), (rare, 0.2), (black, 0.9), (A.RGBShift(), 1), (A.Normalize(), 1), (A.HorizontalFlip(), 1)]
    problems, p, later = best_hole(found, MEAN, 16)
    assert (problems, p) == ([], 0.5)
    assert [type(transform).__name__ for transform in later if recolours(transform)] == ["RGBShift"]
    assert best_hole(found[2:], MEAN, 16)[1] == 0.9 and best_hole(found[3:], MEAN, 16) is None


def test_probabilities_are_how_often_transforms_are_applied():
    either = A.OneOf([A.HorizontalFlip(p=0.1), A.VerticalFlip(p=0.3)], p=0.8)
    found = probabilities(A.Compose([either, A.Sequential([A.Transpose(p=0.5)], p=0.5)]))
    assert [p for _, p in found] == pytest.approx([0.2, 0.6, 0.25])
    nested = A.Sequential([A.OneOf([A.Sequential([A.Transpose(p=0.5)], p=0.3)], p=0.5)], p=0.5)
    assert [p for _, p in probabilities(A.Compose([nested], p=0.5))] == pytest.approx([0.5**4])
    chosen = A.OneOf([A.Sequential([A.HorizontalFlip(p=0.5)], p=0.2), A.NoOp(p=0.6)], p=1)
    compose, image = A.Compose([chosen]), np.arange(2, dtype=np.uint8)[None, :, None].repeat(3, 2)
    share = np.mean([augment_image(compose, image, seed=0, epoch=0, index=i)[0, 0, 0] for i in range(2000)])
    assert {type(t).__name__: p for t, p in probabilities(compose)}["HorizontalFlip"] == pytest.approx(0.125)
    assert abs(share - 0.125) < 5 * (0.125 * 0.875 / 2000) ** 0.5


@pytest.mark.parametrize(
    ("options", "all_three"),
    [
        ({"translate_percent": 0.1, "scale": (0.9, 1.1), "rotate": 15}, True),
        ({"translate_px": 2, "scale": (0.9, 1.1), "rotate": 15}, True),
        ({"scale": (0.9, 1.1), "rotate": 15}, False),
        ({"translate_percent": 0.1, "rotate": 15}, False),
        ({"translate_percent": 0.1, "scale": (0.9, 1.1)}, False),
    ],
)
def test_an_affine_transform_may_do_all_three(options, all_three):
    assert shifts_scales_rotates(A.Affine(**options)) is all_three
    assert not shifts_scales_rotates(A.Rotate())


def depthwise(channels, side=3):
    return nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels)


def test_separable_convolutions_are_pairs():
    def count(*layers):
        return count_separable(layer_table(nn.Sequential(nn.Conv2d(3, 8, 3), *layers)))

    point = nn.Conv2d(8, 8, 1)
    assert count(depthwise(8), nn.ReLU(), point) == 1
    assert count(depthwise(8), point, depthwise(8), nn.Conv2d(8, 8, 1)) == 2
    assert count(depthwise(8)) == count(point) == count(point, depthwise(8)) == 0
    assert count(depthwise(8), nn.Conv2d(8, 8, 3), point) == count(depthwise(8, side=1), point) == 0


def test_a_convolution_is_dilated_where_its_kernel_has_several_taps():
    layers = nn.Conv2d(3, 8, 3, dilation=2), nn.Conv2d(8, 8, 1, dilation=2), nn.Conv2d(8, 8, (1, 3), dilation=(1, 2))
    assert count_dilated(layer_table(nn.Sequential(*layers, nn.Conv2d(8, 8, (1, 3), dilation=(2, 1))))) == 2


def test_the_walk_to_the_pooling_counts_connected_layers():
    pooled = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    tables = [
        layer_table(nn.Sequential(*pooled, nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 10))),
        layer_table(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 900, 10))),
    ]
    walks = [walk_to_pooling(table) for table in tables]
    assert walks[0] == (2, {"3", "5"}, set())
    assert walks[1][0] == 1 and walks[1][2]

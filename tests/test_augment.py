import random

import albumentations as A
import numpy as np
import pytest
import torch

from helpers.augment import (
    AUGMENTATIONS,
    augment_image,
    augmentation,
    colour,
    flip,
    pad_crop,
    shift_scale_rotate,
)
from helpers.data import CIFAR10_MEAN
from helpers.errors import BadInput
from helpers.recipes import RECIPES

KEY = {"seed": 3, "epoch": 1, "index": 7}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_pipeline_gives_normalised_float_channels_first(stand_in, name):
    tensor = augment_image(augmentation(name), stand_in.images[0], **KEY)
    assert tensor.shape == (3, 32, 32) and tensor.dtype == torch.float32
    assert -2.1 < tensor.min() < -0.5 and 0.5 < tensor.max() < 2.2  # (0 - mean) / std and (1 - mean) / std


def test_course_pipeline_has_the_three_transforms():
    names = [type(t).__name__ for t in augmentation("flip_ssr_cutout").transforms]
    assert names == ["HorizontalFlip", "ShiftScaleRotate", "CoarseDropout", "Normalize", "ToTensorV2"]


def test_augmentation_is_a_function_of_seed_epoch_and_index(stand_in):
    compose, image = augmentation("flip_ssr_cutout"), stand_in.images[0]
    first = augment_image(compose, image, **KEY)
    augment_image(compose, image, seed=9, epoch=9, index=9)  # what came in between does not matter
    assert torch.equal(first, augment_image(augmentation("flip_ssr_cutout"), image, **KEY))
    for name in KEY:
        others = [augment_image(compose, image, **KEY | {name: KEY[name] + k}) for k in range(1, 9)]
        assert not all(torch.equal(first, other) for other in others)


def test_transforms_fire_independently_of_one_another():
    compose = A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = 1
    draws = [augment_image(compose, image, seed=0, epoch=0, index=i)[..., 0] for i in range(2000)]
    corners = np.array([np.argwhere(draw)[0] for draw in draws])
    assert abs(np.corrcoef(corners.T)[0, 1]) < 5 / 2000**0.5
    assert abs(corners.mean(0) - 0.5).max() < 5 * 0.5 / 2000**0.5


@pytest.mark.parametrize("name", ["coarse_dropout", "flip_ssr_cutout", "flip_ssr_cutout_colour"])
def test_hole_is_one_square_of_16_filled_with_the_mean(name):
    """Whatever a pipeline normalises by: its hole alone, always on, over a grey image."""
    image = np.full((32, 32, 3), 250, np.uint8)
    (hole,) = [t for t in augmentation(name).transforms if isinstance(t, A.CoarseDropout)]
    hole.p = 1
    compose, places = A.Compose([hole]), set()
    for index in range(50):
        covered = augment_image(compose, image, seed=0, epoch=0, index=index)
        changed = (covered != 250).all(axis=-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed.sum() == 256 and len(rows) == len(columns) == 16
        assert np.abs(covered[changed] - 255 * np.array(CIFAR10_MEAN)).max() < 1
        places.add((rows[0], columns[0]))
    assert len(places) > 25  # of 17 x 17


def test_pad_and_crop_shifts_by_up_to_four_pixels_over_black(stand_in):
    image = np.maximum(stand_in.images[0], 1)  # no black of its own
    compose, shifts = A.Compose(pad_crop()), set()
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    windows = {(y, x): padded[y : y + 32, x : x + 32] for y in range(9) for x in range(9)}
    for index in range(200):
        cropped = augment_image(compose, image, seed=0, epoch=0, index=index)
        shifts.add(next(shift for shift, window in windows.items() if np.array_equal(window, cropped)))
    assert {0, 8} <= {y for y, _ in shifts} and {0, 8} <= {x for _, x in shifts} and len(shifts) > 60  # of 81


def test_colour_moves_each_channel_within_its_limit():
    image = np.full((4, 4, 3), 128, np.uint8)
    shift = A.Compose([colour()[0]])
    moved = np.array([augment_image(shift, image, seed=0, epoch=0, index=i)[0, 0] for i in range(600)]) - 128.0
    below = [10, 10, 15] - np.abs(moved).max(0)  # shifts are real numbers, cut off to grey levels
    assert (below >= 0).all() and (below <= 1).all()
    assert abs((moved != 0).any(1).mean() - 0.4) < 5 * (0.24 / 600) ** 0.5  # a shift by 0 is rare enough


def test_compact_135ks_pipeline_has_its_published_parameters():
    """The meaning that albumentations 1 gave to the published arguments."""
    compose = augmentation("flip_ssr_cutout_colour", RECIPES["compact_135k"].mean, RECIPES["compact_135k"].std)
    flip_, ssr, hole, rgb, light, normalise, _ = compose.transforms
    assert [t.p for t in compose.transforms] == [0.1, 0.5, 0.5, 0.4, 0.5, 1, 1]
    assert tuple(ssr.rotate) == (-15, 15) and tuple(ssr.translate_percent["x"]) == (-0.05, 0.05)
    assert tuple(ssr.scale["x"]) == (0.95, 1.05)
    assert (hole.num_holes_range, hole.hole_height_range, hole.hole_width_range) == ((1, 1), (16, 16), (16, 16))
    assert [tuple(map(int, limit)) for limit in (rgb.r_shift_limit, rgb.g_shift_limit, rgb.b_shift_limit)] == [
        (-10, 10), (-10, 10), (-15, 15)
    ]  # fmt: skip
    assert tuple(light.brightness_limit) == tuple(light.contrast_limit) == (-0.2, 0.2)
    assert normalise.mean == (0.485, 0.456, 0.406) and normalise.std == (0.229, 0.224, 0.225)


def test_shift_scale_rotate_stays_within_its_limits():
    transform = shift_scale_rotate(p=1)
    assert tuple(transform.rotate) == (-15, 15)
    assert tuple(transform.translate_percent["x"]) == (-0.0625, 0.0625)
    assert tuple(transform.scale["x"]) == (0.9, 1.1)


def test_shifts_are_whole_pixels_and_scales_independent():
    """What albumentations 2 makes of the arguments, as the docstring says."""
    transform, centre = shift_scale_rotate(p=1), np.array([15.5, 15.5, 1])
    shifts, scales = [], []
    for seed in range(400):
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        drawn = transform.get_params_dependent_on_data({"shape": (32, 32, 3)}, {})
        shifts.append((drawn["matrix"] @ centre - centre)[:2])
        scales.append((drawn["scale"]["x"], drawn["scale"]["y"]))
    assert set(np.unique(np.round(shifts, 6))) == {-1, 0, 1}
    assert abs(np.corrcoef(np.transpose(scales))[0, 1]) < 5 / 400**0.5


def test_flip_is_a_mirror(stand_in):
    image = stand_in.images[0]
    assert np.array_equal(A.Compose([flip(p=1)])(image=image)["image"], image[:, ::-1])


def test_unknown_augmentation_offers_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'flip_ssr_cutout'"):
        augmentation("flip_ssr_cutoff")

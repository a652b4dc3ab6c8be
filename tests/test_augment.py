import albumentations as A
import numpy as np
import pytest
import torch

from helpers.augment import (
    AUGMENTATIONS,
    augment_image,
    augmentation,
    coarse_dropout,
    flip,
    shift_scale_rotate,
)
from helpers.data import CIFAR10_MEAN
from helpers.errors import BadInput

KEY = {"seed": 3, "epoch": 1, "index": 7}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_pipeline_gives_normalised_float_channels_first(stand_in, name):
    tensor = augment_image(augmentation(name), stand_in.images[0], **KEY)
    assert tensor.shape == (3, 32, 32) and tensor.dtype == torch.float32
    assert tensor.min() > -2.2 and tensor.max() < 2.3  # (0 - mean) / std and (1 - mean) / std


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


def test_hole_is_one_square_of_16_filled_with_the_mean():
    image = np.full((32, 32, 3), 250, np.uint8)
    compose, places = A.Compose([coarse_dropout(p=1)]), set()
    for index in range(50):
        covered = augment_image(compose, image, seed=0, epoch=0, index=index)
        changed = (covered != 250).all(axis=-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed.sum() == 256 and len(rows) == len(columns) == 16
        assert np.abs(covered[changed] - 255 * np.array(CIFAR10_MEAN)).max() < 1
        places.add((rows[0], columns[0]))
    assert len(places) > 25  # of 17 x 17


def test_shift_scale_rotate_stays_within_its_limits():
    transform = shift_scale_rotate(p=1)
    assert tuple(transform.rotate) == (-15, 15)
    assert tuple(transform.translate_percent["x"]) == (-0.0625, 0.0625)
    assert tuple(transform.scale["x"]) == (0.9, 1.1)


def test_flip_is_a_mirror(stand_in):
    image = stand_in.images[0]
    assert np.array_equal(A.Compose([flip(p=1)])(image=image)["image"], image[:, ::-1])


def test_unknown_augmentation_offers_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'flip_ssr_cutout'"):
        augmentation("flip_ssr_cutoff")

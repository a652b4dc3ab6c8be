"""albumentations pipelines by name, and one image's augmentation as a function of seed, epoch and place."""

import os
import random
import warnings

import numpy as np
from torch import Tensor

from helpers.data import CIFAR10_MEAN, CIFAR10_STD
from helpers.engines.batched import batched as batched  # the other way to run a pipeline belongs to this one's names
from helpers.errors import BadInput, nearest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import asks the network for a newer version

import albumentations as A  # noqa: E402
import cv2  # noqa: E402
from albumentations.pytorch import ToTensorV2  # noqa: E402

Channels = tuple[float, float, float]


def flip(p: float = 0.5) -> A.HorizontalFlip:
    """Mirror left and right: a car seen from the other side is a car."""
    return A.HorizontalFlip(p=p)


def shift_scale_rotate(shift: float = 0.0625, scale: float = 0.1, degrees: float = 15, p: float = 0.5) -> A.Affine:
    """Shift by up to `shift` of the side, scale by 1 ± `scale`, rotate by up to `degrees`; the border is mirrored.

    albumentations 2 cuts a shift to whole pixels (at most 1 of 32 at 0.0625), and scales each axis by itself.
    """
    with warnings.catch_warnings():  # it only recommends Affine, its parent; this one is the challenge's by name
        warnings.filterwarnings("ignore", "ShiftScaleRotate is a special case", UserWarning)
        return A.ShiftScaleRotate(shift, scale, degrees, border_mode=cv2.BORDER_REFLECT_101, p=p)


def coarse_dropout(size: int = 16, p: float = 0.5, fill: Channels = CIFAR10_MEAN) -> A.CoarseDropout:
    """Cover one square of `size` pixels with a colour, values in [0, 1]: the data set's mean says nothing.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout (2017).
    """
    grey_levels = tuple(255 * value for value in fill)  # since Normalize comes later
    return A.CoarseDropout((1, 1), (size, size), (size, size), fill=grey_levels, p=p)


def pad_crop(pad: int = 4) -> list[A.BasicTransform]:
    """Pad every border with black and cut out a random square of the old size: a shift by up to `pad` pixels.

    Source: He et al., Deep Residual Learning (2016), section 4.2.
    """
    wide = 32 + 2 * pad
    return [A.PadIfNeeded(wide, wide, border_mode=cv2.BORDER_CONSTANT, fill=0), A.RandomCrop(32, 32)]


def colour() -> list[A.BasicTransform]:
    """Add up to 10, 10 and 15 grey levels to red, green and blue; change brightness and contrast by up to a fifth."""
    return [A.RGBShift(10, 10, 15, p=0.4), A.RandomBrightnessContrast(0.2, 0.2, p=0.5)]


def pipeline(*transforms: A.BasicTransform, mean: Channels = CIFAR10_MEAN, std: Channels = CIFAR10_STD) -> A.Compose:
    """Return the transforms followed by what every pipeline ends with: normalise, then uint8 HWC to float CHW."""
    return A.Compose([*transforms, A.Normalize(mean, std), ToTensorV2()], strict=True)


def flip_ssr_cutout(**normalisation: Channels) -> A.Compose:
    """The challenge's three transforms: horizontal flip, shift-scale-rotate, one 16x16 hole of the mean colour."""
    return pipeline(flip(), shift_scale_rotate(), coarse_dropout(), **normalisation)


def flip_ssr_cutout_colour(**normalisation: Channels) -> A.Compose:
    """The challenge's three, as compact_135k has them, with shifts of colour, brightness and contrast.

    Its published fill of 0.45, the mean of values in [0, 1], would be black in grey levels; here it is the mean.
    """
    return pipeline(flip(p=0.1), shift_scale_rotate(0.05, 0.05, 15), coarse_dropout(), *colour(), **normalisation)


def pad_crop_cutout(**normalisation: Channels) -> A.Compose:
    """Pad to 40x40, crop 32x32, cut out; the black border and the hole, 8x8 in half of the images, are chosen here."""
    return pipeline(*pad_crop(), coarse_dropout(8), **normalisation)


def light(**normalisation: Channels) -> A.Compose:
    """Flip, pad by two and crop, and in a tenth of the images the other two of the challenge, for few epochs."""
    return pipeline(flip(), *pad_crop(2), shift_scale_rotate(degrees=10, p=0.1), coarse_dropout(p=0.1), **normalisation)


def strong(**normalisation: Channels) -> A.Compose:
    """Flip, pad by four and crop, and rotate a quarter and cover a square of half the images: for a long training."""
    return pipeline(flip(), *pad_crop(), shift_scale_rotate(degrees=10, p=0.25), coarse_dropout(), **normalisation)


AUGMENTATIONS = {  # functions of mean and std
    "none": pipeline,
    "flip": lambda **normalisation: pipeline(flip(), **normalisation),
    "shift_scale_rotate": lambda **normalisation: pipeline(shift_scale_rotate(), **normalisation),
    "coarse_dropout": lambda **normalisation: pipeline(coarse_dropout(), **normalisation),
    "flip_ssr_cutout": flip_ssr_cutout,
    "flip_ssr_cutout_colour": flip_ssr_cutout_colour,
    "pad_crop_cutout": pad_crop_cutout,
    "light": light,
    "strong": strong,
}


def augmentation(name: str, mean: Channels = CIFAR10_MEAN, std: Channels = CIFAR10_STD) -> A.Compose:
    """Return the pipeline of this name; raises BadInput for an unknown one."""
    if name not in AUGMENTATIONS:
        raise BadInput(f"There is no augmentation {name!r}. {nearest(name, AUGMENTATIONS)}")
    return AUGMENTATIONS[name](mean=mean, std=std)


def augment_image(compose: A.Compose, image: np.ndarray, *, seed: int, epoch: int, index: int) -> Tensor | np.ndarray:
    """Return the image, uint8 (H, W, 3), as this epoch of a run with this seed sees it.

    All transforms draw from one generator keyed on the three numbers. albumentations' own `Compose(seed=…)` gives every
    transform a generator with the same seed, so that they fire together, and repeats itself in every worker.
    """
    generator = np.random.default_rng((seed, epoch, index))
    compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
    return compose(image=image)["image"]

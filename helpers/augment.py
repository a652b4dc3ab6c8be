"""albumentations pipelines by name, and one image's augmentation as a function of seed, epoch and place."""

import os
import random
import warnings
from collections.abc import Callable

import numpy as np
from torch import Tensor

from helpers.data import CIFAR10_MEAN, CIFAR10_STD
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
    """Shift by up to `shift` of the side, scale by 1 ± `scale`, rotate by up to `degrees`; the border is mirrored."""
    with warnings.catch_warnings():  # it only recommends Affine, its parent; this one is the course's by name
        warnings.filterwarnings("ignore", "ShiftScaleRotate is a special case", UserWarning)
        return A.ShiftScaleRotate(shift, scale, degrees, border_mode=cv2.BORDER_REFLECT_101, p=p)


def coarse_dropout(mean: Channels = CIFAR10_MEAN, size: int = 16, p: float = 0.5) -> A.CoarseDropout:
    """Cover one square of `size` pixels with the data set's mean colour.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout (2017).
    """
    fill = tuple(255 * value for value in mean)  # in grey levels, since Normalize comes later
    return A.CoarseDropout((1, 1), (size, size), (size, size), fill=fill, p=p)


def pipeline(*transforms: A.BasicTransform, mean: Channels = CIFAR10_MEAN, std: Channels = CIFAR10_STD) -> A.Compose:
    """Return the transforms followed by what every pipeline ends with: normalise, then uint8 HWC to float CHW."""
    return A.Compose([*transforms, A.Normalize(mean, std), ToTensorV2()], strict=True)


def flip_ssr_cutout(mean: Channels = CIFAR10_MEAN, std: Channels = CIFAR10_STD) -> A.Compose:
    """The course's three transforms: horizontal flip, shift-scale-rotate, one 16x16 hole of the mean colour."""
    return pipeline(flip(), shift_scale_rotate(), coarse_dropout(mean), mean=mean, std=std)


def no_augmentation(mean: Channels = CIFAR10_MEAN, std: Channels = CIFAR10_STD) -> A.Compose:
    """Normalise only: what evaluation sees."""
    return pipeline(mean=mean, std=std)


AUGMENTATIONS: dict[str, Callable[..., A.Compose]] = {
    "none": no_augmentation,
    "flip_ssr_cutout": flip_ssr_cutout,
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

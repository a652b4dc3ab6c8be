"""Batches for training and for evaluation."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from helpers.augment import augment_image, augmentation
from helpers.data import CIFAR10_MEAN, CIFAR10_STD, ImageSet
from helpers.errors import BadInput
from helpers.recipes import Recipe


class AugmentedImages(Dataset):
    """The image set as one epoch of a run sees it: item i is (float (3, H, W), label), the same in every worker."""

    def __init__(self, data: ImageSet, recipe: Recipe, seed: int, epoch: int):
        self.data, self.seed, self.epoch = data, seed, epoch
        self.compose = augmentation(recipe.augmentation, recipe.mean, recipe.std)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = augment_image(self.compose, self.data.images[index], seed=self.seed, epoch=self.epoch, index=index)
        return image, int(self.data.labels[index])


def train_loader(data: ImageSet, recipe: Recipe, *, seed: int, epoch: int, workers: int = 0) -> DataLoader:
    """Return one epoch's batches of (N, 3, H, W) float and (N,) int64, shuffled by (seed, epoch).

    Batches differ in size by one image at most, so that none is a stub whose batch statistics are noise. Raises
    BadInput for a batch larger than the data.
    """
    if recipe.batch_size > len(data):
        raise BadInput(f"A batch of {recipe.batch_size} images was asked for, but there are only {len(data)}.")
    order = np.random.default_rng((seed, epoch)).permutation(len(data))
    batches = np.array_split(order, steps_per_epoch(data, recipe))
    dataset = AugmentedImages(data, recipe, seed, epoch)
    return DataLoader(dataset, batch_sampler=[b.tolist() for b in batches], num_workers=workers, worker_init_fn=_alone)


def steps_per_epoch(data: ImageSet, recipe: Recipe) -> int:
    """Return how many batches an epoch has."""
    return math.ceil(len(data) / recipe.batch_size)


def evaluation_batches(
    images: np.ndarray | Tensor, batch_size: int = 500, mean: tuple = CIFAR10_MEAN, std: tuple = CIFAR10_STD
) -> Iterator[Tensor]:
    """Yield the images in order as normalised float (N, 3, H, W).

    `images` is uint8 (N, H, W, 3), or float (N, 3, H, W) that is normalised already and only cut into batches.
    """
    images = torch.as_tensor(images)
    for batch in images.split(batch_size):
        yield batch if batch.is_floating_point() else normalise(batch, mean, std)


def normalise(images: Tensor, mean: tuple = CIFAR10_MEAN, std: tuple = CIFAR10_STD) -> Tensor:
    """Turn uint8 (N, H, W, 3) into float (N, 3, H, W) of mean 0 and standard deviation 1 over the data set."""
    images = images.permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def _alone(worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)  # workers that each start OpenCV's threads fight over the same cores

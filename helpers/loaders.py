"""The batches of a training run."""

import math
import signal
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from helpers.augment import augment_image, augmentation, batched
from helpers.data import ImageSet
from helpers.engines import ranks
from helpers.errors import BadInput
from helpers.recipes import Recipe

Batch = tuple[Tensor, Tensor]  # float (N, 3, H, W) on the device, in channels_last layout; labels int64 (N,)


class TrainLoader:
    """The batches of a run, any epoch of it from any step on: what they hold follows from seed, epoch and place.

    The recipe's `engine` says how images are augmented. "batched": on the device, where all images lie as uint8, with
    tensor operations on whole batches. "per_image": by albumentations, one after another, in `workers` processes (by
    default two for a GPU) or in this one. "auto" takes batches unless a transform has no tensor form; `fallback_reason`
    then says which. Batches differ in size by one image at most, so that none is a stub whose batch statistics are
    noise. Of several processes that train together each gets its share of every batch.

    Raises BadInput for a batch larger than the data or smaller than the number of processes, and for an engine that
    cannot do the recipe's pipeline.
    """

    def __init__(
        self, data: ImageSet, recipe: Recipe, *, seed: int, device: torch.device | str = "cpu",
        workers: int | None = None,
    ):  # fmt: skip
        if recipe.batch_size > len(data):
            raise BadInput(f"A batch of {recipe.batch_size} images was asked for, but there are only {len(data)}.")
        self.data, self.seed, self.device = data, seed, torch.device(device)
        self.workers = (0 if self.device.type == "cpu" else 2) if workers is None else workers
        self.steps = steps_per_epoch(data, recipe)
        if len(data) // self.steps < ranks.count():
            raise BadInput(f"{ranks.count()} processes cannot share batches of {len(data) // self.steps} images.")
        self.compose = augmentation(recipe.augmentation, recipe.mean, recipe.std)
        self.pipeline, self.fallback_reason = None, ""
        if recipe.engine != "per_image":
            try:
                self.pipeline = batched(self.compose, data.images.shape[1:3])
            except BadInput as error:
                if recipe.engine == "batched":
                    raise
                self.fallback_reason = f"augmented image by image: {error}"
        self.engine = "batched" if self.pipeline else "per_image"
        if self.pipeline:
            self.images = torch.from_numpy(data.images).to(self.device)
            self.labels = torch.from_numpy(data.labels).to(self.device)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Yield the epoch's batches, shuffled by (seed, epoch), from step `first` on."""
        order = np.random.default_rng((self.seed, number)).permutation(len(self.data))
        places = [ranks.share(batch) for batch in np.array_split(order, self.steps)[first:]]
        return self._whole_batches(number, places) if self.pipeline else self._single_images(number, places)

    def _whole_batches(self, epoch: int, places: list[np.ndarray]) -> Iterator[Batch]:
        for index in places:
            rows = torch.from_numpy(index).to(self.device)
            images = self.pipeline(self.images[rows].permute(0, 3, 1, 2), seed=self.seed, epoch=epoch, index=index)
            yield images.contiguous(memory_format=torch.channels_last), self.labels[rows]

    def _single_images(self, epoch: int, places: list[np.ndarray]) -> Iterator[Batch]:
        images = AugmentedImages(self.data, self.compose, self.seed, epoch)
        batches = [index.tolist() for index in places]
        for batch, labels in DataLoader(
            images, batch_sampler=batches, num_workers=self.workers if batches else 0, worker_init_fn=_alone
        ):
            yield batch.to(self.device, memory_format=torch.channels_last), labels.to(self.device)


class AugmentedImages(Dataset):
    """The image set as one epoch of a run sees it: item i is (float (3, H, W), label), the same in every worker."""

    def __init__(self, data: ImageSet, compose: object, seed: int, epoch: int):
        self.data, self.compose, self.seed, self.epoch = data, compose, seed, epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = augment_image(self.compose, self.data.images[index], seed=self.seed, epoch=self.epoch, index=index)
        return image, int(self.data.labels[index])


def steps_per_epoch(data: ImageSet, recipe: Recipe) -> int:
    """Return how many batches an epoch has."""
    return math.ceil(len(data) / recipe.batch_size)


def _alone(worker: int) -> None:
    cv2.setNumThreads(0)  # workers that each start OpenCV's threads fight over the same cores
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the loop still wants its batch

"""Images and labels in memory: CIFAR-10, a synthetic stand-in drawn by code, splits and statistics."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.engines import batch_files, stand_in
from helpers.engines.run_directory import place
from helpers.errors import BadInput

# Per-channel mean and standard deviation of the 50,000 training images, values in [0, 1];
# `statistics(load_cifar10().images)` recomputes them, and notebook 01 asserts that it does.
CIFAR10_MEAN = (0.4913997, 0.4821584, 0.4465309)
CIFAR10_STD = (0.2470322, 0.2434851, 0.2615878)


@dataclass(frozen=True)
class ImageSet:
    """Images with their labels: uint8 (N, 32, 32, 3) and int64 (N,), the class names, "cifar10" or "synthetic"."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, index: np.ndarray) -> "ImageSet":
        """Return the images at these places, in this order."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def title(self, text: str) -> str:
        """Return a figure's title that says so when the images are not CIFAR-10."""
        return text if self.source == "cifar10" else f"{text}\n[synthetic stand-in, not CIFAR-10]"

    def describe(self) -> str:
        """Return one line for a notebook's first output: what these images are and how many."""
        name = "CIFAR-10" if self.source == "cifar10" else "SYNTHETIC STAND-IN (drawn by code, not CIFAR-10)"
        return f"{name}: {len(self):,} images of {self.images.shape[1]}x{self.images.shape[2]}"


def load_cifar10(root: str | os.PathLike = "auto", train: bool = True) -> ImageSet:
    """Load CIFAR-10's 50,000 training or 10,000 test images, or 10,000 or 2,000 of the synthetic stand-in.

    `root` is "auto" ($CIFAR10_ROOT, then `data/`, then a download to `data/`, and the stand-in when offline),
    "cifar10" (the same without the stand-in), "synthetic", or a folder that holds `cifar-10-batches-py`.
    Raises BadInput that names the folder or the damaged file.
    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009), section 3.1.
    """
    if root == "synthetic":
        return ImageSet(*stand_in.draw_stand_in(train), stand_in.CLASSES, "synthetic")
    folder, offline = _data_folder(), None
    if root not in ("auto", "cifar10"):
        folder = batch_files.existing(place(root, "The data folder"), "The data folder")
    elif os.environ.get("CIFAR10_ROOT"):
        folder = batch_files.existing(Path(os.environ["CIFAR10_ROOT"]), "$CIFAR10_ROOT")
    else:
        offline = batch_files.fetch(folder)
    if offline is None:
        return ImageSet(*batch_files.read(folder, train), "cifar10")
    if root == "cifar10":
        raise BadInput(
            f"CIFAR-10 is not in {folder} and cannot be downloaded ({offline}): connect to the internet, "
            "set CIFAR10_ROOT to a folder that holds cifar-10-batches-py, or choose the data 'synthetic'."
        )
    print("NO CIFAR-10: none found and no internet; going on with the SYNTHETIC STAND-IN drawn by code.")
    return load_cifar10("synthetic", train)


def train_val_split(data: ImageSet, holdout: float = 0.1, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """Split into a training part and a hold-out with the same share of every class (45,000 and 5,000 of CIFAR-10)."""
    if not 0 < holdout < 1:
        raise BadInput(f"The hold-out's share is {holdout}; give a number between 0 and 1, such as 0.1.")
    rng = np.random.default_rng(seed)
    held = [rng.permutation(np.flatnonzero(data.labels == c)) for c in range(len(data.classes))]
    held = np.sort(np.concatenate([index[: round(len(index) * holdout)] for index in held]))
    return data.subset(np.setdiff1d(np.arange(len(data)), held)), data.subset(held)


def take(data: ImageSet, count: int | None, seed: int = 0) -> ImageSet:
    """Return `count` images with equal numbers of every class, drawn by seed; all of them for None."""
    if count is None or count == len(data):
        return data
    classes = len(data.classes)
    if not 0 < count <= len(data) or count % classes:
        raise BadInput(f"{count} images were asked for; take a multiple of {classes} up to {len(data):,}, or None.")
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(data.labels == c))[: count // classes] for c in range(classes)]
    return data.subset(np.sort(np.concatenate(chosen)))


def statistics(images: np.ndarray) -> pd.DataFrame:
    """Return min, max, mean, std and var of each channel, of values scaled to [0, 1].

    `images` is uint8 (N, H, W, 3). Sums are exact integers: adding 51 million float32 values goes wrong in the
    seventh digit, and by how much depends on their order.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) == 0:
        raise BadInput(f"statistics takes uint8 images (N, H, W, 3), not {images.dtype} {images.shape}.")
    levels = np.arange(256)
    counts = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
    pixels = counts.sum(1)
    mean = counts @ levels / pixels
    var = counts @ levels**2 / pixels - mean**2
    low, high = np.transpose([np.flatnonzero(row)[[0, -1]] for row in counts])
    table = {"min": low / 255, "max": high / 255, "mean": mean / 255, "std": np.sqrt(var) / 255, "var": var / 255**2}
    return pd.DataFrame(table, index=pd.Index(["red", "green", "blue"], name="channel"))


def normalise(images: Tensor, mean: tuple = CIFAR10_MEAN, std: tuple = CIFAR10_STD) -> Tensor:
    """Turn uint8 (N, H, W, 3) into float (N, 3, H, W) of mean 0 and standard deviation 1 over the data set."""
    images = images.permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def _data_folder() -> Path:
    """Return `data/` at the root of a checkout, or beside the notebook where the helpers are installed alone."""
    checkout = Path(__file__).parent.parent
    return checkout / "data" if (checkout / "pyproject.toml").is_file() else Path("data")

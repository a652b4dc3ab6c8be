"""Recipes: everything that decides a training run, as data."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Literal, get_type_hints

import pandas as pd
from pydantic import Field

from helpers.data import CIFAR10_MEAN, CIFAR10_STD
from helpers.engines.accepting import accepted, number, three
from helpers.errors import BadInput, nearest

Name = Annotated[str, Field(strict=True, title="a name")]
Optimizer = Literal["adamw", "adam", "sgd", "muon"]
Schedule = Literal["triangular", "one_cycle"]
Engine = Literal["auto", "batched", "per_image"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run as data: each field with what is accepted and what it means.

    Raises BadInput for a value that is not accepted, when the recipe is made.
    """

    network: Annotated[Name, "its name in MODELS"]
    epochs: Annotated[number(1, 10_000, int), "passes over the training images"]
    batch_size: Annotated[number(2, 65_536, int), "images a step, at most"]  # batch normalisation needs two images
    optimizer: Annotated[
        Optimizer, "adamw (decoupled weight decay), adam, sgd (Nesterov momentum), or muon (orthogonalised momentum)"
    ] = "sgd"
    peak_lr: Annotated[number(1e-8, 100), "the highest learning rate of the schedule"]
    schedule: Annotated[Schedule, "triangular (straight lines) or one_cycle (half cosines)"] = "triangular"
    warmup: Annotated[number(0, 0.99), "share of the steps on which the learning rate rises to its peak"] = 0.2
    momentum: Annotated[number(0, 0.9999), "of SGD and Muon; the first beta of Adam and AdamW"] = 0.9
    weight_decay: Annotated[
        number(0, 1), "pull of convolution and linear weights towards zero: L2 in sgd and adam, decoupled in others"
    ] = 5e-4
    label_smoothing: Annotated[number(0, 0.99), "share of the target spread over all classes"] = 0.0
    dropout: Annotated[number(0, 0.99, float | None), "rate of dropout layers; None leaves their own"] = None
    first_size: Annotated[
        number(8, 32, int | None), "side of the first images, in pixels; it grows by eights to 32. None: always 32"
    ] = None
    augmentation: Annotated[Name, "its name in AUGMENTATIONS"] = "flip_ssr_cutout"
    engine: Annotated[
        Engine, "augment whole batches (batched) or image by image (per_image); auto: batched where it can"
    ] = "auto"
    mean: Annotated[three(0, 1), "subtracted from each channel, values in [0, 1]"] = CIFAR10_MEAN
    std: Annotated[three(1e-6, 1), "each channel is divided by it"] = CIFAR10_STD

    def __post_init__(self):
        for name, kind in KINDS.items():
            value = accepted(name, getattr(self, name), kind)
            object.__setattr__(self, name, value)  # 1 as 1.0, or equal recipes would have different hashes

    def table(self) -> pd.DataFrame:
        """Return a row per field: its value and what it means."""
        rows = {name: (getattr(self, name), kind.__metadata__[-1]) for name, kind in KINDS.items()}
        return pd.DataFrame(rows.values(), index=pd.Index(rows, name="field"), columns=["value", "meaning"])

    def hash(self) -> str:
        """Return 12 hexadecimal digits that change with any value; a field at its default does not count."""
        defaults = {field.name: field.default for field in fields(self)}
        chosen = {name: value for name, value in asdict(self).items() if value != defaults[name]}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


KINDS = get_type_hints(Recipe, include_extras=True)  # of the fields


OWN = dict(batch_size=128, optimizer="muon", peak_lr=0.1, warmup=0.15, label_smoothing=0.1, first_size=16)
OWN |= {"augmentation": "light"}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

# What the authors of each answer stated is listed in PUBLISHED; every other value was chosen here.
RECIPES: dict[str, Recipe] = {
    "mobilenet_c40": Recipe(network="mobilenet_c40", epochs=25, batch_size=128, peak_lr=0.1),
    # 49 steps an epoch were printed, hence batches of 1,024.
    "dilated_193k": Recipe(
        network="dilated_193k", epochs=100, batch_size=1024, optimizer="adamw", peak_lr=0.01, dropout=0.05
    ),
    "mini_resnet": Recipe(
        network="mini_resnet", epochs=24, batch_size=128, optimizer="adam", peak_lr=0.01, schedule="one_cycle",
        warmup=0.3, weight_decay=0.0, augmentation="pad_crop_cutout",
    ),
    # 391 training batches of 128 were printed.
    "wide_2m": Recipe(network="wide_2m", epochs=20, batch_size=128, peak_lr=0.05),
    # 85 % were reached "consistently" after epoch 43; how many were trained was not stated.
    "compact_135k": Recipe(
        network="compact_135k", epochs=50, batch_size=512, optimizer="adamw", peak_lr=0.01, dropout=0.02,
        augmentation="flip_ssr_cutout_colour", **IMAGENET,
    ),
    # The workbook's own; docs/how_the_networks_were_found.md says what was chosen on a hold-out and what was not.
    "fast_200k": Recipe(network="fast_200k", epochs=4, weight_decay=3e-2, **OWN),
    "best_200k": Recipe(network="best_200k", epochs=90, weight_decay=5e-3, **OWN | {"augmentation": "strong"}),
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """What the authors of an answer reported: test accuracy in %, after how many epochs, and which recipe fields."""

    accuracy: float | None
    epochs: int
    stated: tuple[str, ...]

    def __str__(self) -> str:
        reached = "no figure" if self.accuracy is None else f"{self.accuracy:.2f} %"
        return f"{reached} ({self.epochs} epochs)"


PUBLISHED: dict[str, Published] = {
    "mobilenet_c40": Published(84.64, 25, ("epochs", "augmentation")),
    "dilated_193k": Published(86.15, 100, ("epochs", "batch_size")),
    "mini_resnet": Published(None, 24, ("epochs", "optimizer", "schedule", "augmentation")),
    "wide_2m": Published(73.20, 20, ("epochs", "batch_size")),  # the best epoch's
    "compact_135k": Published(85.00, 43, ("batch_size", "dropout", "augmentation", "mean", "std")),  # "at least"
}


def recipe_named(name: str) -> Recipe:
    """Return the recipe of this name; raises BadInput for an unknown one."""
    if name not in RECIPES:
        raise BadInput(f"There is no recipe {name!r}. {nearest(name, RECIPES)}")
    return RECIPES[name]

"""Recipes: everything that decides a training run, as data."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields

import pandas as pd

from helpers.data import CIFAR10_MEAN, CIFAR10_STD
from helpers.errors import BadInput, nearest

OPTIMIZERS = ("adamw", "adam", "sgd", "muon")
SCHEDULES = ("triangular", "one_cycle", "cosine", "constant")
ENGINES = ("auto", "batched", "per_image")


def _entry(meaning: str, **kwargs):
    return field(metadata={"meaning": meaning}, **kwargs)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run as data; a wrong value is refused when the recipe is made."""

    network: str = _entry("its name in MODELS")
    epochs: int = _entry("passes over the training images")
    batch_size: int = _entry("images a step, at most")
    optimizer: str = _entry(
        "adamw (decoupled weight decay), adam, sgd (Nesterov momentum), or muon (orthogonalised momentum)",
        default="sgd",
    )
    peak_lr: float = _entry("the highest learning rate of the schedule")
    schedule: str = _entry(
        "triangular (straight lines), one_cycle (half cosines), cosine or constant (both after a straight rise)",
        default="triangular",
    )
    warmup: float = _entry("share of the steps on which the learning rate rises to its peak", default=0.2)
    momentum: float = _entry("of SGD and Muon; the first beta of Adam and AdamW", default=0.9)
    weight_decay: float = _entry(
        "pull of convolution and linear weights towards zero: L2 in sgd and adam, decoupled in others", default=5e-4
    )
    label_smoothing: float = _entry("share of the target spread over all classes", default=0.0)
    clip_norm: float | None = _entry("norm to which a longer gradient is cut; None for none", default=None)
    average: float | None = _entry(
        "share of its past that an average of the weights keeps each step; None for none", default=None
    )
    dropout: float | None = _entry("rate of the network's dropout layers; None leaves their own", default=None)
    augmentation: str = _entry("its name in AUGMENTATIONS", default="flip_ssr_cutout")
    engine: str = _entry(
        "augment whole batches (batched) or image by image (per_image); auto: batched where it can", default="auto"
    )
    mean: tuple[float, float, float] = _entry("subtracted from each channel, values in [0, 1]", default=CIFAR10_MEAN)
    std: tuple[float, float, float] = _entry("each channel is divided by it", default=CIFAR10_STD)

    def __post_init__(self):
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("engine", ENGINES)):
            if (value := getattr(self, name)) not in known:
                raise BadInput(f"There is no {name} {value!r}. {nearest(value, known)}")
        for name in ("network", "augmentation"):
            if not isinstance(value := getattr(self, name), str):
                raise BadInput(f"{name} is {value!r}; it must be a name.")
        for name, kind, low, high in _LIMITS:
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                wanted = "a whole number" if kind is int else "a number"
                raise BadInput(f"{name} is {value!r}; it must be {wanted} from {low:g} to {high:g}.")
            object.__setattr__(self, name, kind(value))  # or 1 and 1.0 would have different hashes
        for name, least in (("mean", 0.0), ("std", 1e-6)):
            values = getattr(self, name)
            numbers = isinstance(values, tuple) and all(type(v) in (int, float) and least <= v <= 1 for v in values)
            if not numbers or len(values) != 3:
                raise BadInput(f"{name} is {values!r}; it must be a tuple of three numbers from {least:g} to 1.")

    def table(self) -> pd.DataFrame:
        """Return a row per field: its value and what it means."""
        rows = {f.name: (getattr(self, f.name), f.metadata["meaning"]) for f in fields(self)}
        return pd.DataFrame(rows.values(), index=pd.Index(rows, name="field"), columns=["value", "meaning"])

    def hash(self) -> str:
        """Return 12 hexadecimal digits that change with any value."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


_LIMITS = [  # field, kind, least, most
    ("epochs", int, 1, 10_000),
    ("batch_size", int, 2, 65_536),  # batch normalisation needs two images
    ("peak_lr", float, 1e-8, 100),
    ("warmup", float, 0, 0.99),
    ("momentum", float, 0, 0.9999),
    ("weight_decay", float, 0, 1),
    ("label_smoothing", float, 0, 0.99),
    ("clip_norm", float, 1e-8, 1e8),
    ("average", float, 0, 0.99999),
    ("dropout", float, 0, 0.99),
]
_OPTIONAL = ("clip_norm", "average", "dropout")

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

"""Recipes: everything that decides a training run, as data."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields

import pandas as pd

from helpers.data import CIFAR10_MEAN, CIFAR10_STD
from helpers.errors import BadInput, nearest

OPTIMIZERS = ("adamw", "sgd")


def _entry(meaning: str, **kwargs):
    return field(metadata={"meaning": meaning}, **kwargs)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run as data; a wrong value is refused when the recipe is made."""

    network: str = _entry("its name in MODELS")
    epochs: int = _entry("passes over the training images")
    batch_size: int = _entry("images a step, at most")
    optimizer: str = _entry("adamw (decoupled weight decay), or sgd (Nesterov momentum)", default="sgd")
    peak_lr: float = _entry("the highest learning rate of the schedule")
    warmup: float = _entry("share of the steps on which the learning rate rises from 0 to its peak", default=0.2)
    momentum: float = _entry("of SGD; the first beta of AdamW", default=0.9)
    weight_decay: float = _entry("L2 penalty on convolution and linear weights only", default=5e-4)
    label_smoothing: float = _entry("share of the target spread over all classes", default=0.0)
    augmentation: str = _entry("its name in AUGMENTATIONS", default="flip_ssr_cutout")
    mean: tuple[float, float, float] = _entry("subtracted from each channel, values in [0, 1]", default=CIFAR10_MEAN)
    std: tuple[float, float, float] = _entry("each channel is divided by it", default=CIFAR10_STD)

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise BadInput(f"There is no optimizer {self.optimizer!r}. {nearest(self.optimizer, OPTIMIZERS)}")
        for name, kind, low, high in _LIMITS:
            value = getattr(self, name)
            number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                wanted = "a whole number" if kind is int else "a number"
                raise BadInput(f"{name} is {value!r}; it must be {wanted} from {low:g} to {high:g}.")

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
]

RECIPES: dict[str, Recipe] = {
    # Published: 100 epochs of 49 steps, hence batches of 1,024. Chosen here: the optimiser and its rates.
    "dilated_193k": Recipe(network="dilated_193k", epochs=100, batch_size=1024, optimizer="adamw", peak_lr=0.01),
}


@dataclass(frozen=True)
class Published:
    """What the authors of an answer to the challenge reported: test accuracy in % after so many epochs."""

    accuracy: float
    epochs: int


PUBLISHED: dict[str, Published] = {
    "dilated_193k": Published(accuracy=86.15, epochs=100),
}


def recipe_named(name: str) -> Recipe:
    """Return the recipe of this name; raises BadInput for an unknown one."""
    if name not in RECIPES:
        raise BadInput(f"There is no recipe {name!r}. {nearest(name, RECIPES)}")
    return RECIPES[name]

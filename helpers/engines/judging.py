"""What the challenge's rules measure, on a layer table, on a network and on a pipeline of augmentations."""

import os
from collections.abc import Iterable

import numpy as np
import pandas as pd
from torch import nn

from helpers.errors import BadInput

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import asks the network for a newer version

import albumentations as A  # noqa: E402

HOLE, FILL_TOLERANCE = 16, 3  # pixels; grey levels
CIFAR10_MEAN = (0.4913997, 0.4821584, 0.4465309)  # FIXME


def rows_behind_output(table: pd.DataFrame) -> set[int]:
    """Return the rows that feed the output, however far back: what else ran was thrown away."""
    found = {*table.attrs["output_rows"]}
    for row in reversed(table.index):
        if row in found:
            found.update(table.inputs[row])
    return found


def convolutions_before(table: pd.DataFrame, rows: Iterable[int]) -> set[int]:
    """Return the last convolutions before these inputs, looking through padding, crops and pooling."""
    found = set()
    for row in rows:
        if row >= 0 and table.kind[row] == "Conv2d":
            found.add(row)
        elif row >= 0 and table.output[row][1:] != (1, 1):
            found |= convolutions_before(table, table.inputs[row])
    return found


def walk_to_pooling(table: pd.DataFrame, row: int) -> tuple[int, set[str], set[str]]:
    """Return how many connected layers lie in a row from here back to the pooling, which, and where none is met."""
    if row < 0:
        return 0, set(), {"the image"}
    kind, own = table.kind[row], {table.layer[row]}
    if table.kernel[row] != 1 or table.output[row][1:] != (1, 1):
        return 0, set(), set() if kind == "global pool" else own
    depths, layers, ends = zip(*(walk_to_pooling(table, source) for source in table.inputs[row]), strict=True)
    layers, ends = set().union(*layers), set().union(*ends)
    if kind == "global pool" and ends:  # of a map that convolutions have shrunk to a single position
        return 0, set(), set()
    connected = own if kind in ("Linear", "Conv2d") else set()
    return max(depths) + len(connected), layers | connected, ends


def unregistered(model: nn.Module) -> str | None:
    """Return the name of a plain list, tuple or dict of layers, which the network does not know as its own."""
    known = set(model.modules())
    for module in known:
        for name, value in vars(module).items():
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            if any(isinstance(part, nn.Module) and part not in known for part in inside):
                return name
    return None


def probabilities(compose: A.Compose, p: float | None = None) -> list[tuple[A.BasicTransform, float]]:
    """Return a pipeline's transforms in order, each with its probability of being probabilities to an image.

    Looks into Compose, Sequential and OneOf; raises BadInput for another nested group, and for what is no pipeline.
    `p` stands in for the pipeline's own.
    """
    if not isinstance(compose, A.BaseCompose):
        kind = f"{type(compose).__module__}.{type(compose).__name__}"
        raise BadInput(f"A pipeline is an albumentations Compose; {kind} is not.")
    if not isinstance(compose, (A.Compose, A.Sequential, A.OneOf)):
        raise BadInput(f"The pipeline nests {type(compose).__name__}; accepted are Compose, Sequential and OneOf.")
    p = compose.p if p is None else p
    one = isinstance(compose, A.OneOf)  # its parts' p are their shares; the chosen one is probabilities for certain
    shares = compose.transforms_ps if one else [part.p for part in compose.transforms]
    found = []
    for part, share in zip(compose.transforms, shares, strict=True):
        found += probabilities(part, p * share) if isinstance(part, A.BaseCompose) else [(part, p * share)]
    return found


def shifts_scales_rotates(transform: object) -> bool:
    """Return whether it is an Affine (ShiftScaleRotate is one) that does all three."""
    if "Affine" not in {kind.__name__ for kind in type(transform).__mro__}:
        return False
    shifts = any(np.any(limit) for limit in (transform.translate_percent or transform.translate_px or {}).values())
    scales = any(np.any(np.array(limit) != 1) for limit in transform.scale.values())
    return shifts and scales and bool(np.any(transform.rotate))


def recolours(transform: object) -> bool:
    name, bases = type(transform).__name__, {kind.__name__ for kind in type(transform).__mro__}
    return "ImageOnlyTransform" in bases and name not in ("Normalize", "ToFloat")


def hole_problems(hole: object, earlier: list) -> list[str]:
    """Return in what the hole differs from one square of 16 pixels with the data set's mean colour."""
    problems = []
    if tuple(hole.num_holes_range) != (1, 1):
        problems.append(f"{hole.num_holes_range[0]} to {hole.num_holes_range[1]} holes")
    sides = np.array([*hole.hole_height_range, *hole.hole_width_range], float)
    if hole.hole_height_range[1] < 1:
        sides *= 32  # albumentations takes all four for shares of the image then
    if (sides.astype(int) != HOLE).any():
        problems.append("{:g} to {:g} by {:g} to {:g} pixels".format(*sides))
    return problems + _fill_problems(hole.fill, earlier)


def _fill_problems(fill: object, earlier: list) -> list[str]:
    """Return in what the fill differs from the mean colour, in the units that earlier transforms give the image."""
    bounds = np.array([[-FILL_TOLERANCE], [0], [FILL_TOLERANCE]]) + 255 * np.array(CIFAR10_MEAN)
    for transform in earlier:
        if type(transform).__name__ == "ToFloat":
            bounds = bounds / (transform.max_value or 255)
        elif type(transform).__name__ == "Normalize":
            if transform.normalization != "standard":
                return [f"a fill in units of normalization={transform.normalization!r}"]
            bounds = (bounds / transform.max_pixel_value - transform.mean) / transform.std
    try:
        colour = np.asarray(fill, float)
        low, _, high = bounds if colour.ndim else bounds.mean(1)
        right = ((low <= colour) & (colour <= high)).all()
    except (TypeError, ValueError):
        return [f"fill {fill!r}"]
    return [] if right else [f"fill {np.round(colour, 2).tolist()}, not {np.round(bounds[1], 2).tolist()}"]

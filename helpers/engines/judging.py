"""What the challenge's rules measure: on a network, on its layer table, and on an albumentations pipeline.

A table is one of `helpers.receptive_field.layer_table`. Transforms are known by the names of their classes, since
importing albumentations takes a second.
"""

from collections.abc import Iterable, Sequence
from copy import copy

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.errors import BadInput, kind_of

FILL_TOLERANCE, DRAWS = 3, 100  # grey levels; holes that are looked at, since size and number may be random
UNITS = "Normalize", "ToFloat"  # the transforms that change the units of an image and not its colours


def refuse_other_than_ten_logits(model: nn.Module) -> None:
    """Raise BadInput unless the network, in evaluation mode, gives ten logits for an image of 32x32."""
    images = torch.zeros(2, 3, 32, 32).to(next(model.parameters(), torch.zeros(())))
    with torch.no_grad(), torch.random.fork_rng():
        output = model(images)
    got = tuple(output.shape) if isinstance(output, torch.Tensor) else kind_of(output)
    if got != (2, 10):
        raise BadInput(f"The network gives {got} for two images; the challenge needs (2, 10), a logit per class.")


def as_percent(accuracy: object) -> float:
    """Return a number in percent, or a tensor or array of one, as a float; raises BadInput for anything else."""
    is_number = hasattr(accuracy, "__float__") and not isinstance(accuracy, bool) and np.ndim(accuracy) == 0
    percent = float(accuracy) if is_number else float("nan")
    if not 1 < percent <= 100:
        raise BadInput(f"The accuracy is {accuracy!r}; give it in percent, such as 86.15.")
    return percent


def convolutions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the 2-D convolutions that feed the output: what else ran was thrown away.

    Where the table's attrs have `taps`, by row which taps of a kernel matter (see `evidence`), kernels are of these.
    """
    needed = set(table.attrs["output_rows"])
    for row in reversed(table.index):
        if row in needed:
            needed.update(table.inputs[row])
    found, taps = table[(table.kind == "Conv2d") & table.index.isin(needed)], table.attrs.get("taps", {})
    kernels = [(taps[n].any(1).sum(), taps[n].any(0).sum()) if n in taps else found.kernel[n] for n in found.index]
    found = found.assign(kernel=pd.Series(kernels, found.index, object))
    return found[found.kernel.map(np.max) > 0]


def count_dilated(table: pd.DataFrame) -> int:
    """Return how many convolutions are dilated along an axis where their kernel is larger than one."""
    found = convolutions(table)
    sides = zip(found.kernel, found.dilation, strict=True)
    return sum(bool(np.any(np.greater(kernel, 1) & np.greater(dilation, 1))) for kernel, dilation in sides)


def count_separable(table: pd.DataFrame) -> int:
    """Return how many 1x1 convolutions have a depthwise one as the last convolution before them."""
    found = convolutions(table)
    wide = found.kernel.map(np.max) > 1
    depthwise = set(found.index[wide & (found.groups > 1) & (found.groups == found.channels_in)])
    pointwise, last = found[~wide & (found.groups == 1)], _last_convolutions(table)
    return sum(any(depthwise & last[row] for row in inputs) for inputs in pointwise.inputs)


def _last_convolutions(table: pd.DataFrame) -> dict[int, set[int]]:
    """Return for each row the last convolutions up to it, looking through padding, crops and pooling of maps."""
    last = {-1: set()}
    for row in table.index:
        before = set().union(*(last[i] for i in table.inputs[row])) if table.output[row][1:] != (1, 1) else set()
        last[row] = {row} if table.kind[row] == "Conv2d" else before
    return last


def walk_to_pooling(table: pd.DataFrame) -> tuple[int, set[str], set[str]]:
    """Return how many connected layers lie in a row between pooling and output, which, and where no pooling is met.

    1x1 convolutions of a single position are fully connected, too. A map of a single position cannot be pooled, and
    one whose positions have weights of their own, or are left out, is pooled in name only.
    """
    walks, weighed = {-1: (0, set(), {"the image"})}, {-1: set()}
    for row in table.itertuples():
        depth, layers, ends = _longest(walks, row.inputs)
        weighed[row.Index] = set().union(*(weighed[i] for i in row.inputs)) if row.kernel == 1 else set()
        if row.kind == "weights by position" or row.kind == "crop" and row.stride == 1:
            weighed[row.Index] = {row.layer}
        single = row.kernel == 1 and row.output[1:] == (1, 1)
        pooling = row.kind == "global pool" and not single
        if pooling or not single:
            before = set().union(*(weighed[i] for i in row.inputs))
            depth, layers, ends = 0, set(), before if pooling else {row.layer}
        elif row.kind in ("Linear", "Conv2d"):
            depth, layers = depth + 1, layers | {row.layer}
        walks[row.Index] = depth, layers, ends
    return _longest(walks, table.attrs["output_rows"])


def _longest(walks: dict[int, tuple], rows: Iterable[int]) -> tuple[int, set[str], set[str]]:
    depths, layers, ends = zip(*(walks[row] for row in rows), strict=True)
    return max(depths), set().union(*layers), set().union(*ends)


def probabilities(compose: object, p: float | None = None) -> list[tuple[object, float]]:
    """Return a pipeline's transforms in order, each with its probability of being applied to an image.

    Looks into Compose, Sequential and OneOf; raises BadInput for another nested group, and for what is no pipeline.
    `p` stands in for the pipeline's own.
    """
    if not is_a(compose, "BaseCompose"):
        kind = f"{type(compose).__module__}.{type(compose).__name__}"
        raise BadInput(f"A pipeline is an albumentations Compose; {kind} is not.")
    if not is_a(compose, "Compose", "Sequential", "OneOf"):
        raise BadInput(f"The pipeline nests {type(compose).__name__}; accepted are Compose, Sequential and OneOf.")
    p = compose.p if p is None else p
    one = is_a(compose, "OneOf")  # its parts' p are their shares; the chosen one is applied for certain
    shares = compose.transforms_ps if one else [part.p for part in compose.transforms]
    found = []
    for part, share in zip(compose.transforms, shares, strict=True):
        found += probabilities(part, p * share) if is_a(part, "BaseCompose") else [(part, p * share)]
    return found


def is_a(thing: object, *names: str) -> bool:
    """Return whether a class of the thing's, or one that it inherits from, has one of these names."""
    return any(kind.__name__ in names for kind in type(thing).__mro__)


def shifts_scales_rotates(transform: object) -> bool:
    """Return whether it is an Affine (ShiftScaleRotate is one) that does all three."""
    if not is_a(transform, "Affine"):
        return False
    shifts = any(np.any(limit) for limit in (transform.translate_percent or transform.translate_px or {}).values())
    scales = any(np.any(np.array(limit) != 1) for limit in transform.scale.values())
    return shifts and scales and bool(np.any(transform.rotate))


def best_hole(found: list[tuple], mean: Sequence[float], side: int) -> tuple[list[str], float, list] | None:
    """Return of the CoarseDropout with the fewest problems these, its probability, and the transforms after it.

    Of several the most probable; None where there is none.
    """
    transforms = [transform for transform, _ in found]
    holes = [
        (hole_problems(transform, transforms[:n], mean, side), p, transforms[n + 1 :])
        for n, (transform, p) in enumerate(found)
        if is_a(transform, "CoarseDropout")
    ]
    return min(holes, key=lambda hole: (len(hole[0]), -hole[1]), default=None)


def recolours(transform: object) -> bool:
    """Return whether a transform changes colours, and not only their units."""
    return is_a(transform, "ImageOnlyTransform") and not is_a(transform, *UNITS)


def hole_problems(hole: object, earlier: list, mean: Sequence[float], side: int) -> list[str]:
    """Return in what holes cut into images of 32x32 differ from one square of `side` pixels of the mean colour.

    `mean` has values in [0, 1]; the `earlier` transforms decide the units of the image there.
    """
    hole, blank = copy(hole), np.full((32, 32, 3), -np.inf, np.float32)
    hole.set_random_seed(0)  # the copy's: the pipeline draws on from its own generator
    try:
        drawn = [hole.get_params_dependent_on_data({"shape": blank.shape}, {})["holes"] for _ in range(DRAWS)]
        boxes = np.concatenate(drawn)  # left, top, right, bottom
        cut = hole.apply(blank, holes=boxes, seed=0)
    except Exception as error:  # it may be a transform of another kind that goes by the name
        return [f"cannot be cut: {error}"]
    counts, sides = [len(holes) for holes in drawn], boxes[:, [3, 2]] - boxes[:, [1, 0]]
    problems = []
    if max(counts) > 1:
        problems.append(f"{min(counts)} to {max(counts)} holes")
    if (sides != side).any():
        problems.append("{} to {} by {} to {} pixels".format(*np.ravel([sides.min(0), sides.max(0)], "F")))
    return problems + _fill_problems(hole.fill, cut[cut > -np.inf].reshape(-1, 3), earlier, mean)


def _fill_problems(fill: object, colours: np.ndarray, earlier: list, mean: Sequence[float]) -> list[str]:
    """Compare the colours (N, 3) with the mean in the units there, those of one number with the channels' mean."""
    if isinstance(fill, str):  # random, or painted from around
        return [f"fill {fill!r}"]
    image = np.array([[[0] * 3, [255] * 3]], np.uint8)  # black and white show the units, which are linear
    for transform in earlier:
        if is_a(transform, "Normalize") and transform.normalization != "standard":
            return [f"a fill in units of normalization={transform.normalization!r}"]
        image = transform.apply(image) if is_a(transform, *UNITS) else image
    black, white = image[0].astype(float)
    wanted, tolerance = black + (white - black) * mean, (white - black) * FILL_TOLERANCE / 255
    right = np.abs(colours - wanted) <= tolerance
    if np.ndim(fill) == 0:
        right = np.abs(colours.mean(1) - wanted.mean()) <= tolerance.mean()
    rounded = np.round(wanted, 2) + 0.0  # no -0.0
    return [] if right.all() else [f"fill {np.round(fill, 2).tolist()}, not {rounded.tolist()}"]

"""The course's challenge as a table: each constraint, what a network and its recipe make of it, and what to change."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.engines.judging import (
    convolutions_before,
    hole_problems,
    probabilities,
    recolours,
    rows_behind_output,
    shifts_scales_rotates,
    unregistered,
    walk_to_pooling,
)
from helpers.errors import BadInput, kind_of
from helpers.receptive_field import layer_table, total
from helpers.recipes import Recipe
from helpers.summary import evaluating, parameter_count

MOST_PARAMETERS, LEAST_FIELD, LEAST_ACCURACY = 200_000, 44, 85.0
LEAST_PROBABILITY, HOLE, FILL_TOLERANCE = 0.1, 16, 3  # of each transform; pixels; grey levels


def check(model: nn.Module, recipe: Recipe | object | None = None, accuracy: float | None = None) -> pd.DataFrame:
    """Return a row per constraint of the challenge: constraint, required, actual, passed, and a remark.

    The remark of a failure says what to change. Augmentation is checked where `recipe` is given, a Recipe or an
    albumentations Compose, and accuracy, in percent, where it is. The receptive field is that of the last feature map
    before global pooling; its remark also gives it with the pooling counted in, since published answers differ in that.
    Raises BadInput for what is no network from (N, 3, 32, 32) to (N, 10) logits, or cannot be followed.
    """
    table = layer_table(model)
    _refuse_other_than_ten_logits(model)
    if table.params.sum() > parameter_count(model) and (hidden := unregistered(model)):
        raise BadInput(
            f"The layers use {table.params.sum():,} weights, but the network has registered only "
            f"{parameter_count(model):,} parameters: keep {hidden!r} in nn.ModuleList, not in a list."
        )
    rows = [*_size(model), *_layers(table), *_head(table)]
    if recipe is not None:
        rows += _augmentation(recipe)
    if accuracy is not None:
        rows.append(_accuracy(accuracy))
    return pd.DataFrame(rows, columns=["constraint", "required", "actual", "passed", "remark"])


def _refuse_other_than_ten_logits(model: nn.Module) -> None:
    image = torch.zeros(2, 3, 32, 32).to(next(model.parameters(), torch.zeros(())))
    with torch.no_grad(), evaluating(model), torch.random.fork_rng():
        output = model(image)
    if not isinstance(output, torch.Tensor) or output.shape != (2, 10):
        got = tuple(output.shape) if isinstance(output, torch.Tensor) else kind_of(output)
        raise BadInput(f"The network gives {got} for two images; the challenge needs (2, 10), a logit per class.")


def _row(constraint: str, required: str, actual: object, passed: object, advice: str) -> tuple:
    return constraint, required, actual, bool(passed), "" if passed else advice


def _size(model: nn.Module) -> list[tuple]:
    count, field, pooled = parameter_count(model), total(model), total(model, with_pooling=True)
    wide = field > LEAST_FIELD
    seen = f"With the global pooling counted in it is {pooled}."
    if not wide:
        seen += " Stride earlier, dilate, or add layers: what counts is the last feature map before the pooling."
    advice = f"Remove at least {count - MOST_PARAMETERS + 1:,}: narrow the last, widest layers or make them separable."
    return [
        _row("parameters", f"< {MOST_PARAMETERS:,}", count, count < MOST_PARAMETERS, advice),
        ("receptive field", f"> {LEAST_FIELD}", field, wide, seen),
    ]


def _layers(table: pd.DataFrame) -> list[tuple]:
    convolutions = table[(table.kind == "Conv2d") & table.index.isin(rows_behind_output(table))]
    dilations = zip(convolutions.kernel, convolutions.dilation, strict=True)
    dilated = sum(bool(np.any(np.greater(kernel, 1) & np.greater(dilation, 1))) for kernel, dilation in dilations)
    wide, groups = convolutions.kernel.map(np.max) > 1, convolutions.groups
    depthwise = {*convolutions.index[wide & (groups > 1) & (groups == convolutions.channels_in)]}
    pointwise = convolutions[~wide & (groups == 1)]
    pairs = sum(bool(depthwise & convolutions_before(table, inputs)) for inputs in pointwise.inputs)
    pools = table.layer[table.kind.str.contains("max", case=False)].unique().tolist()
    return [
        _row("max-pooling", "none", len(pools), not pools,
             f"Do without {', '.join(pools)}: a convolution of stride 2 shrinks a map, too."),
        _row("depthwise-separable convolutions", ">= 1", pairs, pairs,
             "Add a depthwise convolution (groups = its input channels) with a 1x1 convolution after it."),
        _row("dilated convolutions", ">= 1", dilated, dilated,
             "Give a convolution of kernel 3 dilation=2 and padding=2."),
    ]  # fmt: skip


def _head(table: pd.DataFrame) -> list[tuple]:
    """Walk from the logits back to the pooling: 1x1 convolutions of a single position are fully connected, too."""
    depths, layers, ends = zip(*(walk_to_pooling(table, row) for row in table.attrs["output_rows"]), strict=True)
    hidden = max(*depths, 1) - 1
    connected, unpooled = (", ".join(sorted(set().union(*names))) for names in (layers, ends))
    return [
        _row("global average pooling", "before the classifier", f"no: {unpooled}" if unpooled else "yes", not unpooled,
             "Put nn.AdaptiveAvgPool2d(1) between the last feature map and the classifier."),
        _row("fully connected hidden layers", "none", hidden, hidden == 0,
             f"Leave out all but the last of {connected}."),
    ]  # fmt: skip


def _augmentation(recipe: Recipe | object) -> list[tuple]:
    from helpers.augment import augmentation  # here, since importing albumentations takes a second

    named = isinstance(recipe, Recipe)
    found = probabilities(augmentation(recipe.augmentation, recipe.mean, recipe.std) if named else recipe)
    flips = [p for transform, p in found if type(transform).__name__ == "HorizontalFlip"]
    moves = [p for transform, p in found if shifts_scales_rotates(transform)]
    transforms = [transform for transform, _ in found]
    holes = [
        (hole_problems(transform, transforms[:n]), p, transforms[n + 1 :])
        for n, (transform, p) in enumerate(found)
        if type(transform).__name__ == "CoarseDropout"
    ]
    problems, p, later = min(holes, key=lambda hole: (len(hole[0]), -hole[1]), default=([], None, []))
    rows = [
        _firing("horizontal flip", flips, "Add A.HorizontalFlip(p=0.5)."),
        _firing("shift, scale, rotate", moves, "Add A.ShiftScaleRotate(p=0.5), with all three limits above 0."),
        _firing("coarse dropout", [p] if holes else [], "Add A.CoarseDropout with p=0.5."),
    ]
    return [*rows, _hole(problems, later)] if holes else rows


def _hole(problems: list[str], later: list) -> tuple:
    remark = (
        f"Give num_holes_range=(1, 1), hole_height_range and hole_width_range=({HOLE}, {HOLE}), and as fill the mean "
        "in the units of the image there: times 255 before Normalize. albumentations 2 ignores the old max_holes, "
        "max_height and fill_value."
    )
    tinting = ", ".join(type(transform).__name__ for transform in later if recolours(transform))
    if not problems:
        remark = f"{tinting} after it changes the hole's colour, too; put it before." if tinting else ""
    size = f"1 of {HOLE}x{HOLE}"
    actual = ", ".join(problems) or f"{size}, the mean"
    return "hole of coarse dropout", f"{size}, the data set's mean", actual, not problems, remark


def _firing(name: str, probabilities: list[float], advice: str) -> tuple:
    most = max(probabilities, default=0.0)
    actual = f"p = {most:g}" if probabilities else "absent"
    return _row(name, f"p >= {LEAST_PROBABILITY}", actual, most >= LEAST_PROBABILITY, advice)


def _accuracy(accuracy: float) -> tuple:
    is_number = hasattr(accuracy, "__float__") and not isinstance(accuracy, bool) and np.ndim(accuracy) == 0
    percent = float(accuracy) if is_number else float("nan")
    if not (percent == 0 or 1 < percent <= 100):
        raise BadInput(f"The accuracy is {accuracy!r}; give it in percent, such as 86.15.")
    passed, advice = percent >= LEAST_ACCURACY, "Train longer, or change the recipe."
    return _row("accuracy, %", f">= {LEAST_ACCURACY:g}", accuracy, passed, advice)

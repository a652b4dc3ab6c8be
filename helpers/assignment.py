"""The challenge as a table: each constraint, what a network and its recipe make of it, and what to change."""

import pandas as pd
from torch import nn

from helpers.data import CIFAR10_MEAN
from helpers.engines import drawn, judging
from helpers.engines.evidence import Evidence, examine
from helpers.receptive_field import layer_table, total
from helpers.recipes import Recipe
from helpers.summary import evaluating, parameter_count

MOST_PARAMETERS, LEAST_FIELD, LEAST_ACCURACY = 200_000, 44, 85.0
LEAST_PROBABILITY, HOLE = 0.1, 16  # of each transform; pixels

UNREGISTERED = (
    "The rest is read in {}: keep modules in nn.ModuleList, parameters in nn.ParameterList, and give other tensors to "
    "register_buffer; they count, too."
)
DISGUISED = "In {} neighbours of one map meet in more than a sum, as in a maximum; have trained weights between them."
ADVICE = {
    "parameters": "Remove at least {surplus:,}: narrow the last, widest layers or make them separable.",
    "receptive field": "Stride earlier, dilate, or add layers: what counts is the last feature map before the pooling.",
    "max-pooling": "Do without {layers}: a convolution of stride 2 shrinks a map, too.",
    "depthwise-separable convolutions": "Add a depthwise convolution (groups = its input channels) with a 1x1 "
    "convolution after it.",
    "dilated convolutions": "Give a convolution of kernel 3 dilation=2 and padding=2.",
    "global average pooling": "Put nn.AdaptiveAvgPool2d(1) between the last feature map and the classifier.",
    "fully connected hidden layers": "Leave out all but the last of {layers}.",
    "horizontal flip": "Add A.HorizontalFlip(p=0.5).",
    "shift, scale, rotate": "Add A.ShiftScaleRotate(p=0.5), with all three limits above 0.",
    "coarse dropout": "Add A.CoarseDropout with p=0.5.",
    "hole of coarse dropout": f"Give num_holes_range=(1, 1), hole_height_range and hole_width_range=({HOLE}, {HOLE}), "
    "and as fill the mean in the units of the image there: times 255 before Normalize. albumentations 2 ignores the "
    "old max_holes, max_height and fill_value.",
    "accuracy, %": "Train longer, or change the recipe.",
}


def check(model: nn.Module, recipe: Recipe | object | None = None, accuracy: float | None = None) -> pd.DataFrame:
    """Return a row per constraint of the challenge: constraint, required, actual, passed, and a remark.

    The remark of a failure says what to change. Augmentation is checked where `recipe` is given, a Recipe or an
    albumentations Compose, and accuracy, in percent, where it is. The receptive field is that of the last feature map
    before global pooling; its remark also gives it with the pooling counted in, since published answers differ in that.
    Raises BadInput for what is no network from (N, 3, 32, 32) to (N, 10) logits, or cannot be followed.
    """
    table = layer_table(model)
    with evaluating(model):
        judging.refuse_other_than_ten_logits(model)
    found = examine(model)
    table.attrs["taps"] = found.taps
    rules = _network(model, table, found)
    if recipe is not None:
        rules += _augmentation(recipe)
    if accuracy is not None:
        passed = judging.as_percent(accuracy) >= LEAST_ACCURACY
        rules.append(_rule("accuracy, %", f">= {LEAST_ACCURACY:g}", accuracy, passed))
    return pd.DataFrame(rules, columns=["constraint", "required", "actual", "passed", "remark"])


def _rule(constraint: str, required: str, actual: object, passed: object, note: str = "", **found: object) -> tuple:
    advice = "" if passed else ADVICE[constraint].format(**found)
    return constraint, required, actual, bool(passed), f"{note} {advice}".strip()


def _network(model: nn.Module, table: pd.DataFrame, found: Evidence) -> list[tuple]:
    by_layers, count, told = total(model), found.count, parameter_count(model)
    surplus, field = count - MOST_PARAMETERS + 1, min(by_layers, found.field)
    note = f"With the global pooling counted in it is {total(model, with_pooling=True)}."
    if field < by_layers:
        note = f"By its layers it is {by_layers}, but with fresh weights no more of them changed the logits."
    hidden = f"parameters() tells {told:,}. {UNREGISTERED.format(', '.join(found.places))}" if count != told else ""
    met = DISGUISED.format(", ".join(sorted(set(found.disguised)))) if found.disguised else ""
    pools = {*table.layer[table.kind.str.contains("max", case=False)], *found.disguised}
    pairs, dilated = judging.count_separable(table), judging.count_dilated(table)
    depth, connected, unpooled = judging.walk_to_pooling(table)
    deep, pooled = max(depth - 1, 0), f"no: {', '.join(sorted(unpooled))}" if unpooled else "yes"
    return [
        _rule("parameters", f"< {MOST_PARAMETERS:,}", count, surplus <= 0, hidden, surplus=surplus),
        _rule("receptive field", f"> {LEAST_FIELD}", field, field > LEAST_FIELD, note),
        _rule("max-pooling", "none", len(pools), len(pools) == 0, met, layers=", ".join(sorted(pools))),
        _rule("depthwise-separable convolutions", ">= 1", pairs, pairs),
        _rule("dilated convolutions", ">= 1", dilated, dilated),
        _rule("global average pooling", "before the classifier", pooled, not unpooled),
        _rule("fully connected hidden layers", "none", deep, not deep, layers=", ".join(sorted(connected))),
    ]


def _augmentation(recipe: Recipe | object) -> list[tuple]:
    if isinstance(recipe, Recipe):
        from helpers.augment import augmentation  # here, since importing albumentations takes a second

        recipe = augmentation(recipe.augmentation, recipe.mean, recipe.std)
    found = judging.probabilities(recipe)
    flips = [p for part, p in found if judging.is_a(part, "HorizontalFlip")]
    moves = [p for part, p in found if judging.shifts_scales_rotates(part) and drawn.moves(part)]
    hole = judging.best_hole(found, CIFAR10_MEAN, HOLE)
    right = hole and not hole[0]
    share, size = drawn.holes(recipe, len(found) - len(hole[2]) - 1) if right else (1, 1)
    rules = [
        _probability("horizontal flip", flips, drawn.mirrored(recipe)),
        _probability("shift, scale, rotate", moves, drawn.turned(recipe) if moves else 1, drawn.LEAST_SHARE),
    ]
    rules.append(_probability("coarse dropout", [hole[1]] if hole else [], share))
    if 0 < size < HOLE**2 / 32**2 / 2:
        hole[0].append(f"{size:.0%} of the image at the end")
    return [*rules, _hole(*hole)] if hole else rules


def _hole(problems: list[str], p: float, later: list) -> tuple:
    tinting = ", ".join(type(transform).__name__ for transform in later if judging.recolours(transform))
    note = f"{tinting} after it changes the hole's colour, too; put it before." if tinting and not problems else ""
    actual = ", ".join(problems) or f"1 of {HOLE}x{HOLE}, the mean"
    return _rule("hole of coarse dropout", f"1 of {HOLE}x{HOLE}, the data set's mean", actual, not problems, note)


def _probability(transform: str, found: list[float], share: float = 1, least: float = 0) -> tuple:
    seen = share >= (least or max(found, default=0) / 3)  # chance goes so far once in 7,000 times, where p is 0.1
    actual = f"p = {max(found):g}" if found else "absent"
    actual += "" if seen or not found else f", seen in {share:.1%} of {drawn.IMAGES} images"
    return _rule(transform, f"p >= {LEAST_PROBABILITY}", actual, max(found, default=0) >= LEAST_PROBABILITY and seen)

"""The course's challenge as a table: each constraint, what a network and its recipe make of it, and what to change."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.data import CIFAR10_MEAN
from helpers.errors import BadInput, nearest
from helpers.models import MODELS, build, evaluating, parameter_count
from helpers.receptive_field import layer_table, total
from helpers.recipes import Recipe

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
    if table.params.sum() > parameter_count(model) and (hidden := _unregistered(model)):
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


def told(table: pd.DataFrame) -> str:
    """Return the table as text, a line for each remark, and what was not checked."""
    shown = table[["constraint", "required", "actual"]].assign(passed=table.passed.map({True: "yes", False: "NO"}))
    remarks = [f"{row.constraint}: {row.remark}" for row in table.itertuples() if row.remark]
    optional = {"augmentation": "horizontal flip", "accuracy": "accuracy, %"}
    if missing := [name for name, row in optional.items() if row not in table.constraint.values]:
        remarks.append(f"Not checked, since not given: {', '.join(missing)}.")
    return "\n".join([shown.to_string(index=False), "", *remarks])


def _refuse_other_than_ten_logits(model: nn.Module) -> None:
    image = torch.zeros(2, 3, 32, 32).to(next(model.parameters(), torch.zeros(())))
    with torch.no_grad(), evaluating(model), torch.random.fork_rng():
        output = model(image)
    if not isinstance(output, torch.Tensor) or output.shape != (2, 10):
        got = tuple(output.shape) if isinstance(output, torch.Tensor) else _kind(output)
        raise BadInput(f"The network gives {got} for two images; the challenge needs (2, 10), a logit per class.")


def _unregistered(model: nn.Module) -> str | None:
    """Return the name of a plain list, tuple or dict of layers, which the network does not know as its own."""
    known = set(model.modules())
    for module in known:
        for name, value in vars(module).items():
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            if any(isinstance(part, nn.Module) and part not in known for part in inside):
                return name
    return None


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
    convolutions = table[(table.kind == "Conv2d") & table.index.isin(_behind_output(table))]
    dilations = zip(convolutions.kernel, convolutions.dilation, strict=True)
    dilated = sum(bool(np.any(np.greater(kernel, 1) & np.greater(dilation, 1))) for kernel, dilation in dilations)
    wide, groups = convolutions.kernel.map(np.max) > 1, convolutions.groups
    depthwise = {*convolutions.index[wide & (groups > 1) & (groups == convolutions.channels_in)]}
    pointwise = convolutions[~wide & (groups == 1)]
    pairs = sum(bool(depthwise & _convolutions_before(table, inputs)) for inputs in pointwise.inputs)
    pools = table.layer[table.kind.str.contains("max", case=False)].unique().tolist()
    return [
        _row("max-pooling", "none", len(pools), not pools,
             f"Do without {', '.join(pools)}: a convolution of stride 2 shrinks a map, too."),
        _row("depthwise-separable convolutions", ">= 1", pairs, pairs,
             "Add a depthwise convolution (groups = its input channels) with a 1x1 convolution after it."),
        _row("dilated convolutions", ">= 1", dilated, dilated,
             "Give a convolution of kernel 3 dilation=2 and padding=2."),
    ]  # fmt: skip


def _behind_output(table: pd.DataFrame) -> set[int]:
    """Return the rows that feed the output, however far back: what else ran was thrown away."""
    found = {*table.attrs["output_rows"]}
    for row in reversed(table.index):
        if row in found:
            found.update(table.inputs[row])
    return found


def _convolutions_before(table: pd.DataFrame, rows: Iterable[int]) -> set[int]:
    """Return the last convolutions before these inputs, looking through padding, crops and pooling."""
    found = set()
    for row in rows:
        if row >= 0 and table.kind[row] == "Conv2d":
            found.add(row)
        elif row >= 0 and table.output[row][1:] != (1, 1):
            found |= _convolutions_before(table, table.inputs[row])
    return found


def _head(table: pd.DataFrame) -> list[tuple]:
    """Walk from the logits back to the pooling: 1x1 convolutions of a single position are fully connected, too."""
    depths, layers, ends = zip(*(_to_pooling(table, row) for row in table.attrs["output_rows"]), strict=True)
    hidden = max(*depths, 1) - 1
    connected, unpooled = (", ".join(sorted(set().union(*names))) for names in (layers, ends))
    return [
        _row("global average pooling", "before the classifier", f"no: {unpooled}" if unpooled else "yes", not unpooled,
             "Put nn.AdaptiveAvgPool2d(1) between the last feature map and the classifier."),
        _row("fully connected hidden layers", "none", hidden, hidden == 0,
             f"Leave out all but the last of {connected}."),
    ]  # fmt: skip


def _to_pooling(table: pd.DataFrame, row: int) -> tuple[int, set[str], set[str]]:
    """Return how many connected layers lie in a row from here back to the pooling, which, and where none is met."""
    if row < 0:
        return 0, set(), {"the image"}
    kind, own = table.kind[row], {table.layer[row]}
    if table.kernel[row] != 1 or table.output[row][1:] != (1, 1):
        return 0, set(), set() if kind == "global pool" else own
    depths, layers, ends = zip(*(_to_pooling(table, source) for source in table.inputs[row]), strict=True)
    layers, ends = set().union(*layers), set().union(*ends)
    if kind == "global pool" and ends:  # of a map that convolutions have shrunk to a single position
        return 0, set(), set()
    connected = own if kind in ("Linear", "Conv2d") else set()
    return max(depths) + len(connected), layers | connected, ends


def _augmentation(recipe: Recipe | object) -> list[tuple]:
    from helpers.augment import applied, augmentation  # here, since importing albumentations takes a second

    named = isinstance(recipe, Recipe)
    found = applied(augmentation(recipe.augmentation, recipe.mean, recipe.std) if named else recipe)
    flips = [p for transform, p in found if type(transform).__name__ == "HorizontalFlip"]
    moves = [p for transform, p in found if _shifts_scales_rotates(transform)]
    transforms = [transform for transform, _ in found]
    holes = [
        (_hole_problems(transform, transforms[:n]), p, transforms[n + 1 :])
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
    tinting = ", ".join(type(transform).__name__ for transform in later if _recolours(transform))
    if not problems:
        remark = f"{tinting} after it changes the hole's colour, too; put it before." if tinting else ""
    size = f"1 of {HOLE}x{HOLE}"
    actual = ", ".join(problems) or f"{size}, the mean"
    return "hole of coarse dropout", f"{size}, the data set's mean", actual, not problems, remark


def _recolours(transform: object) -> bool:
    name, bases = type(transform).__name__, {kind.__name__ for kind in type(transform).__mro__}
    return "ImageOnlyTransform" in bases and name not in ("Normalize", "ToFloat")


def _firing(name: str, probabilities: list[float], advice: str) -> tuple:
    most = max(probabilities, default=0.0)
    actual = f"p = {most:g}" if probabilities else "absent"
    return _row(name, f"p >= {LEAST_PROBABILITY}", actual, most >= LEAST_PROBABILITY, advice)


def _shifts_scales_rotates(transform: object) -> bool:
    """Return whether it is an Affine (ShiftScaleRotate is one) that does all three."""
    if "Affine" not in {kind.__name__ for kind in type(transform).__mro__}:
        return False
    shifts = any(np.any(limit) for limit in (transform.translate_percent or transform.translate_px or {}).values())
    scales = any(np.any(np.array(limit) != 1) for limit in transform.scale.values())
    return shifts and scales and bool(np.any(transform.rotate))


def _hole_problems(hole: object, earlier: list) -> list[str]:
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


def _accuracy(accuracy: float) -> tuple:
    is_number = hasattr(accuracy, "__float__") and not isinstance(accuracy, bool) and np.ndim(accuracy) == 0
    percent = float(accuracy) if is_number else float("nan")
    if not (percent == 0 or 1 < percent <= 100):
        raise BadInput(f"The accuracy is {accuracy!r}; give it in percent, such as 86.15.")
    passed, advice = percent >= LEAST_ACCURACY, "Train longer, or change the recipe."
    return _row("accuracy, %", f">= {LEAST_ACCURACY:g}", accuracy, passed, advice)


# --- A student's own file -----------------------------------------------------------------------------------------


def load_object(target: str) -> object:
    """Return what MODULE:NAME names, the module a file or one that can be imported from here.

    The module's folder stays on the path, since its functions may import from there when they are called. Raises
    BadInput when it cannot be imported, or has no such name.
    """
    place, _, name = target.partition(":")
    if not place or not name:
        raise BadInput(f"{target!r} is not of the form MODULE:NAME, such as my_network.py:Net.")
    module = _imported(place)
    try:
        return attrgetter(name)(module)
    except AttributeError:
        raise BadInput(f"{place} has no {name!r}. {nearest(name, [n for n in vars(module) if n[0] != '_'])}") from None


def _imported(place: str) -> object:
    path, in_file = Path(place), place.endswith(".py")
    if in_file and not path.is_file():
        raise BadInput(f"There is no file {place}.")
    if not in_file and (path.suffix == ".ipynb" or "/" in place):
        raise BadInput(f"{place} is neither a .py file nor the name of a module: give one of these.")
    sys.path.insert(0, str(path.resolve().parent if in_file else Path.cwd()))
    try:
        if not in_file:
            return importlib.import_module(place)
        spec = importlib.util.spec_from_file_location(f"checked_{path.stem}", place)  # whatever it is called
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # a student's module may be anything
        raise BadInput(f"{place} cannot be imported ({_told(error)}): mend it or give another module.") from error


def load_network(target: str) -> nn.Module:
    """Return the workbook's network of this name, or what MODULE:FACTORY gives: a network, its class or a function.

    Raises BadInput when the factory raises or gives something else.
    """
    if ":" not in target:
        if target not in MODELS:
            raise BadInput(f"{target!r} is no network here. {nearest(target, MODELS)} Your own is MODULE:FACTORY.")
        return build(target)
    model = _made(target)
    if not isinstance(model, nn.Module):
        raise BadInput(f"{target} gives {_kind(model)}; it must give a torch.nn.Module.")
    return model


def load_pipeline(target: str) -> object:
    """Return what MODULE:NAME gives, an albumentations Compose or a function that makes one; raises BadInput."""
    pipeline = _made(target)
    if not hasattr(pipeline, "transforms"):
        raise BadInput(f"{target} gives {_kind(pipeline)}; it must give an albumentations Compose.")
    return pipeline


def _made(target: str) -> object:
    """Return the object, or what the function or class gives."""
    found = load_object(target)
    if not (inspect.isroutine(found) or inspect.isclass(found)):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:  # a student's factory may raise anything
        raise BadInput(f"{target}() raises {_told(error)}; it is called without arguments.") from error


def _kind(thing: object) -> str:
    return "nothing: return it" if thing is None else f"something of type {type(thing).__name__}"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")

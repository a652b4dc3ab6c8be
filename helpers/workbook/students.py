"""A student's own file: the network or pipeline that MODULE:NAME names, and how it stands to the challenge."""

import importlib.util
import inspect
import sys
from operator import attrgetter
from pathlib import Path

import pandas as pd
from torch import nn

from helpers import assignment
from helpers.errors import BadInput, kind_of, nearest
from helpers.models import MODELS, build
from helpers.recipes import RECIPES, recipe_named


def judged(network: str, recipe: str | None, augmentation: str | None, accuracy: float | None) -> dict:
    """Return how a network stands to the challenge's constraints as text, and 1 when one is not met, else 0."""
    model = load_network(network)
    rules = recipe_named(recipe) if recipe is not None else RECIPES.get(network)
    if augmentation is not None:
        rules = load_pipeline(augmentation)
    table = assignment.check(model, rules, accuracy)
    return {"table": format_table(table), "status": 0 if table.passed.all() else 1}


def check(network: str, **options: object) -> int:
    """Print what `judged` finds, and return its status."""
    found = judged(network, **options)
    print(found["table"])
    return found["status"]


def format_table(table: pd.DataFrame) -> str:
    """Return the table as text, a line for each remark, and what was not checked."""
    shown = table[["constraint", "required", "actual"]].assign(passed=table.passed.map({True: "yes", False: "NO"}))
    remarks = [f"{row.constraint}: {row.remark}" for row in table.itertuples() if row.remark]
    optional = {"augmentation": "horizontal flip", "accuracy": "accuracy, %"}
    if missing := [name for name, row in optional.items() if row not in table.constraint.values]:
        remarks.append(f"Not checked, since not given: {', '.join(missing)}.")
    return "\n".join([shown.to_string(index=False), "", *remarks])


def load_network(target: str) -> nn.Module:
    """Return the workbook's network of this name, or what MODULE:FACTORY gives: a network, its class or a function.

    Raises BadInput when the factory raises or gives something else.
    """
    if ":" not in target:
        if target not in MODELS:
            raise BadInput(f"{target!r} is no network here. {nearest(target, MODELS)} Your own is MODULE:FACTORY.")
        return build(target)
    model = _make(target)
    if not isinstance(model, nn.Module):
        raise BadInput(f"{target} gives {kind_of(model)}; it must give a torch.nn.Module.")
    if "_modules" not in vars(model):
        raise BadInput(
            f"The __init__ of {type(model).__name__} begins without super().__init__(): make it the first line."
        )
    return model


def load_pipeline(target: str) -> object:
    """Return what MODULE:NAME gives, an albumentations Compose or a function that makes one; raises BadInput."""
    pipeline = _make(target)
    if not hasattr(pipeline, "transforms"):
        raise BadInput(f"{target} gives {kind_of(pipeline)}; it must give an albumentations Compose.")
    return pipeline


def _make(target: str) -> object:
    """Return the object, or what the function or class gives."""
    found = load_object(target)
    if not (inspect.isroutine(found) or inspect.isclass(found)):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:  # a student's factory may raise anything
        raise BadInput(f"{target}() raises {describe(error)}; it is called without arguments.") from error


def load_object(target: str) -> object:
    """Return what MODULE:NAME names, the module a file or one that can be imported from here.

    The module's folder stays on the path, since its functions may import from there when they are called. Raises
    BadInput when it cannot be imported, or has no such name.
    """
    place, _, name = target.partition(":")
    if not place or not name:
        raise BadInput(f"{target!r} is not of the form MODULE:NAME, such as my_network.py:Net.")
    module = _import(place)
    try:
        return attrgetter(name)(module)
    except AttributeError:
        raise BadInput(f"{place} has no {name!r}. {nearest(name, [n for n in vars(module) if n[0] != '_'])}") from None


def _import(place: str) -> object:
    path, in_file = Path(place), place.endswith(".py")
    if in_file and not path.is_file():
        raise BadInput(f"There is no file {place}.")
    if not in_file and (path.suffix == ".ipynb" or "/" in place):
        raise BadInput(f"{place} is neither a .py file nor the name of a module: give one of these.")
    sys.path.insert(0, str(path.resolve().parent if in_file else Path.cwd()))
    try:
        if not in_file:
            return importlib.import_module(place)
        spec = importlib.util.spec_from_file_location(f"checked_{path.stem}", path)  # it may be called as one of ours
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # a student's module may be anything
        raise BadInput(f"{place} cannot be imported ({describe(error)}): mend it or give another module.") from error


def describe(error: BaseException) -> str:
    """Return an exception's kind and words, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")

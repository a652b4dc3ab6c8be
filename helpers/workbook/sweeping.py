"""What `workbook sweep` does: recipes x changes x seeds, trained side by side, and a table of what came out."""

import ast
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from helpers.data import load_cifar10
from helpers.errors import BadInput, nearest
from helpers.models import MODELS, build
from helpers.recipes import KINDS, recipe_named
from helpers.runtime import banner
from helpers.sweep import Trial, summarise
from helpers.sweep import sweep as run_sweep
from helpers.workbook.trainings import hold_out

UNSAFE = re.compile(r"[^\w.=+-]+")  # in a folder's name


def sweep(
    names: Sequence[str], seeds: int = 1, changes: Sequence[str] = (), holdout: int = 0, data: str = "auto",
    out: str = "runs/sweep", **options,
) -> int:  # fmt: skip
    """Train every recipe with every change and seed, print a table of accuracies; return 1 if a trial failed, else 0.

    `options` are `jobs`, `device`, `precision` and `dask` of `helpers.sweep.sweep`.
    """
    trials = plan(names, seeds, changes)
    images = load_cifar10(data)
    print(banner(images.describe(), trials[0].seed, options.get("device", "auto")))
    train, held = hold_out(images, holdout)
    measured = {"test": load_cifar10(data, train=False)} if held is None else {"holdout": held}
    table = run_sweep(trials, train, out, **measured, **options)
    print(summarise(table).round(2).to_string())
    print(
        f"accuracy in percent of {len(next(iter(measured.values()))):,} {next(iter(measured))} images; files in {out}"
    )
    return int(table.accuracy.isna().any())


def plan(names: Sequence[str], seeds: int, changes: Sequence[str]) -> list[Trial]:
    """Return the trials; raises BadInput for an unknown recipe, field or network, or a value that is not accepted."""
    if seeds < 1:
        raise BadInput(f"{seeds} seeds were asked for; give a number from 1.")
    fields = dict(map(parse_change, changes))
    if len(fields) < len(changes):
        raise BadInput("A field is set twice: give all its values in one --set, such as peak_lr=0.05,0.1.")
    trials = []
    for name, values in product(names, product(*fields.values())):
        chosen = dict(zip(fields, values, strict=True))
        recipe = replace(recipe_named(name), **chosen)
        build(recipe.network)  # or an unknown one would be told of later
        told = [f"-{UNSAFE.sub('_', f'{field}={chosen[field]}')}" for field in fields if len(fields[field]) > 1]
        trials += [Trial("".join([name, *told]), MODELS[recipe.network], recipe, seed) for seed in range(seeds)]
    return trials


def parse_change(text: str) -> tuple[str, list]:
    """Return the field and the values of `epochs=10` or `peak_lr=0.05,0.1`; what is no literal is a name."""
    field, equals, values = text.partition("=")
    if not equals or not values:
        raise BadInput(f"The change {text!r} is not understood; write it as epochs=10, or peak_lr=0.05,0.1 for two.")
    if field not in KINDS:
        raise BadInput(f"A recipe has no field {field!r}. {nearest(field, KINDS)}")
    try:
        return field, ast.literal_eval(f"[{values}]")
    except (SyntaxError, ValueError):
        return field, values.split(",")

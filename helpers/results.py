"""Result files: what was run, on what, by which code, and what came out."""

from dataclasses import asdict
from pathlib import Path
from statistics import median

import pandas as pd
from torch import Tensor, nn

from helpers.data import ImageSet
from helpers.engines.run_directory import as_json, read_json, refusing_disk, write_atomically
from helpers.errors import BadInput
from helpers.evaluation import accuracy
from helpers.models import RELEASED
from helpers.receptive_field import total
from helpers.recipes import PUBLISHED, RECIPES, Recipe
from helpers.summary import fingerprint, parameter_count
from helpers.training import History

KINDS = {"network": str, "machine": str, "changes": dict, "versions": dict, "epochs": list, "final": dict}
KINDS |= dict.fromkeys(("seed", "parameters", "receptive_field", "train_images"), int)
# Of a run's first session; a run begun by an older version of the workbook may lack some.
ORIGIN = ("commit", "machine", "device", "precision", "processes", "threads", "versions")


def result(
    recipe: Recipe, model: nn.Module, history: History, logits: Tensor, train: ImageSet, test: ImageSet, *, seed: int,
    measured_on: str = "test",
) -> dict:  # fmt: skip
    """Return a run's record: its origin, its recipe, every epoch, and the final figures (accuracy in percent).

    `test` is what the logits are of: the test set, or images held out of the training set for `measured_on="holdout"`.
    The network of an experiment has no recipe of that name to differ from.
    """
    values, named, began = asdict(recipe), asdict(RECIPES.get(recipe.network, recipe)), history.sessions[0]
    return {
        "recipe": recipe.network,
        "recipe_hash": recipe.hash(),
        "changes": {name: value for name, value in values.items() if value != named[name]},
        "recipe_values": values,
        "network": recipe.network,
        "architecture": fingerprint(model),
        "parameters": parameter_count(model),
        "receptive_field": total(model),
        "seed": seed,
        "data_source": test.source,
        "train_images": len(train),
        "engine": history.engine,
        **{name: began.get(name) for name in ORIGIN},
        "resumed": history.sessions[1:],
        "epochs": history.rows,
        "final": {
            f"{measured_on}_accuracy": accuracy(logits, test.labels),
            "correct": int((logits.argmax(1).numpy() == test.labels).sum()),
            "seen": len(test),
            "train_minutes": sum(row["seconds"] for row in history.rows) / 60,
        },
        "published": asdict(PUBLISHED[recipe.network]) if recipe.network in PUBLISHED else None,
    }


def write_result(path: str | Path, record: dict) -> None:
    """Write the record as JSON, whole or not at all; where the disk refuses print it, and raise BadInput."""
    text = as_json(record)
    try:
        with refusing_disk(Path(path).parent):
            write_atomically(Path(path), text.encode())
    except BadInput as refused:
        print(text)
        raise BadInput(f"{refused} Printed above is what {path} would hold.") from None


def read_result(path: Path, problem: str = "is damaged: restore it, or delete it and run again") -> dict:
    """Return a run's record; raises BadInput with the path and the problem where its figures do not fit together."""
    record = read_json(path, problem)
    try:
        final, theirs = record["final"], record["published"] or {"accuracy": None, "epochs": 1}
        off = [value - 100 * final["correct"] / final["seen"] for key, value in final.items() if "accuracy" in key]
        wrong, minutes = final["seen"] - final["correct"], final["train_minutes"]
        numbers = (theirs["accuracy"] or 0, theirs["epochs"], minutes, wrong, record["parameters"])
        kinds = [isinstance(record[name], kind) for name, kind in KINDS.items()] + [isinstance(final["correct"], int)]
        rows = record["versions"]["torch"] and [row for row in record["epochs"] if isinstance(row, dict)]
        if not (all(kinds) and rows and off and sum(map(abs, off)) < 1e-6 and all(0 <= n < 1e9 for n in numbers)):
            raise ValueError("its figures are no run's")
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise BadInput(f"{path} {problem} ({error}).") from None
    return record


def usual_minutes(rows: list[dict]) -> float:
    """Return the median epoch's minutes, times the epochs: while a machine stood still or was busy does not count."""
    return len(rows) * median(row["seconds"] for row in rows) / 60


def measured() -> pd.DataFrame:
    """Return a row for each run of a recipe as it stands whose result the workbook holds; all of them on CIFAR-10.

    Of a network's runs on fewer and on more training images those on more count, as in the README. Columns: network,
    seed, parameters, images and epochs trained on, usual minutes, accuracy in percent of the test set, epochs' rows.
    """
    runs = pd.DataFrame(read_result(path) for path in sorted(RELEASED.glob("*.json")))
    runs = runs[runs.changes.str.len() == 0].rename(columns={"train_images": "images", "epochs": "rows"})
    runs = runs[runs.images == runs.groupby("network").images.transform("max")].reset_index(drop=True)
    runs["accuracy"] = runs.final.str["test_accuracy"]
    runs["epochs"], runs["minutes"] = runs.rows.str.len(), runs.rows.map(usual_minutes)
    return runs[["network", "seed", "parameters", "images", "epochs", "minutes", "accuracy", "rows"]]

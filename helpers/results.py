"""Result files: what was run, on what, by which code, and what came out."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from helpers.data import ImageSet
from helpers.engines.run_directory import write_atomically
from helpers.evaluation import accuracy
from helpers.models import RELEASED
from helpers.receptive_field import total
from helpers.recipes import PUBLISHED, RECIPES, Recipe
from helpers.summary import fingerprint, parameter_count
from helpers.training import History

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
    """Write the record as JSON, whole or not at all."""
    write_atomically(Path(path), (json.dumps(record, indent=1) + "\n").encode())


def measured() -> pd.DataFrame:
    """Return a row for each run of a recipe as it stands whose result the workbook holds; all of them on CIFAR-10.

    Of a network's runs on fewer and on more training images those on more count, as in the README. Columns: network,
    seed, parameters, images and epochs trained on, minutes, accuracy in percent of the test set, and the epochs' rows.
    """
    records = [json.loads(path.read_text("utf-8")) for path in sorted(RELEASED.glob("*.json"))]
    runs = pd.DataFrame(
        {
            **{name: record[name] for name in ("network", "seed", "parameters")},
            "images": record["train_images"],
            "epochs": len(record["epochs"]),
            "minutes": record["final"]["train_minutes"],
            "accuracy": record["final"]["test_accuracy"],
            "rows": record["epochs"],
        }
        for record in records
        if not record["changes"]
    )
    return runs[runs.images == runs.groupby("network").images.transform("max")].reset_index(drop=True)

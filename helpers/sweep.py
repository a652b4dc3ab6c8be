"""Many trainings: trials in; out come a run directory with a result for each, and a table with a row for each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # Student's t; scipy.stats takes most of a second to import
from torch import nn
from tqdm import tqdm

from helpers.data import ImageSet
from helpers.engines import cluster, pool
from helpers.engines.pool import in_order, refuse_names
from helpers.engines.run_directory import CONFIG, RESULT, WEIGHTS, RunDirectory, place, refuse_foreign, try_writing
from helpers.errors import BadInput
from helpers.evaluation import predict
from helpers.loaders import TrainLoader
from helpers.models import seeded, set_dropout
from helpers.recipes import Recipe
from helpers.results import read_result, result, write_result
from helpers.runtime import pick_device
from helpers.training import fit, run_config


@dataclass(frozen=True)
class Trial:
    """One training of a sweep; `network` makes its network, and is a function or class that can be imported."""

    name: str
    network: Callable[[], nn.Module]
    recipe: Recipe
    seed: int = 0

    @property
    def folder(self) -> str:
        """The name of its run directory."""
        return f"{self.name}-seed{self.seed}"


def sweep(
    trials: Sequence[Trial], train: ImageSet, out: str | Path, *, holdout: ImageSet | None = None,
    test: ImageSet | None = None, jobs: int | None = None, device: str = "auto", precision: str = "auto",
    dask: str | None = None, log: Callable[[str], None] | None = print,
) -> pd.DataFrame:  # fmt: skip
    """Train all trials, measure each on the hold-out or the test set, and return a row for each, in their order.

    Columns: name, seed, accuracy and train_accuracy in percent, minutes, problem ("", or why it failed). A trial's run
    directory is out/<name>-seed<seed>; `log` gets a line on each. What is done is read, and what was begun goes on.
    `jobs` processes of one thread train at once, unless given as many as there are cores or accelerators; with `dask`,
    a scheduler's address, its workers do. Ctrl-C saves what is under way, and raises Interrupted.

    Raises BadInput for a folder shared by trials or of another run, what the cluster refuses, a script without guard.
    """
    pool.end_if_importing()
    if (holdout is None) == (test is None):
        raise BadInput("Give the images to measure on: either holdout or test.")
    log = log or (lambda line: None)
    images, of, out = (test, "test", place(out)) if holdout is None else (holdout, "holdout", place(out))
    try_writing(out / RESULT)
    refuse_names([trial.folder for trial in trials])
    records = {trial.folder: _finished(trial, train, out / trial.folder, of, len(images)) for trial in trials}
    waiting = {trial.folder: trial for trial in trials if records[trial.folder] is None}
    total = len(waiting) if dask is not None else sum(trial.recipe.epochs for trial in waiting.values())
    with tqdm(desc="sweep", unit="trial" if dask is not None else "epoch", total=total, leave=False) as bar:
        work = train_trial, waiting, (train, images, of, precision), out
        options = {"workers": jobs, "tick": lambda count: bar.update(count - bar.n) if count > bar.n else None}
        if dask is not None:
            come = cluster.run_jobs(*work, address=dask, device=device, keep=(CONFIG, WEIGHTS, RESULT), **options)
        else:
            come = pool.run_jobs(*work, device=pick_device(device), **options)
        done = ((name, record, "") for name, record in records.items() if record is not None)
        outcomes = in_order(records, chain(done, come))
        rows = [_row(trial, *outcome, log) for trial, outcome in zip(trials, outcomes, strict=True)]
    return pd.DataFrame(rows)


def train_trial(trial: Trial, shared: tuple, folder: Path, told: Callable) -> dict:
    """Train in this folder, write the record of the run and return it; `told` is called after every step."""
    (train, images, of, precision), recipe = shared, trial.recipe
    model = seeded(trial.network, trial.seed)
    options = {"run_dir": folder, "seed": trial.seed, "device": told.device, "precision": precision}
    history = fit(model, train, recipe, log=None, on_step=lambda run: told(len(run.rows)), **options)
    logits = predict(model, images.images, mean=recipe.mean, std=recipe.std)
    record = result(recipe, model, history, logits, train, images, seed=trial.seed, measured_on=of)
    write_result(folder / RESULT, record)
    return record


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Return for each name n, mean and std of its accuracies, and the mean's 95 % interval (Student's t): low, high."""
    accuracies = table.groupby("name", sort=False).accuracy
    n, mean, std = accuracies.count(), accuracies.mean(), accuracies.std()
    reach = stdtrit(n - 1, 0.975) * std / np.sqrt(n)
    return pd.DataFrame({"n": n, "mean": mean, "std": std, "low": mean - reach, "high": mean + reach})


def _finished(trial: Trial, train: ImageSet, folder: Path, of: str, seen: int) -> dict | None:
    """Return the record of a trial that is done; raises BadInput if the folder holds another run, or is damaged."""
    if not (folder / CONFIG).exists():
        if folder.exists():
            refuse_foreign(folder)
        return None
    model, loader = seeded(trial.network, trial.seed), TrainLoader(train, trial.recipe, seed=trial.seed)
    set_dropout(model, trial.recipe.dropout)
    with RunDirectory(folder, run_config(model, loader, trial.recipe)):
        if not (folder / RESULT).exists():
            return None
    record = read_result(folder / RESULT, "is damaged: delete it, and run again")
    if record["final"]["seen"] != seen or f"{of}_accuracy" not in record["final"]:
        raise BadInput(f"{folder} was not measured on {seen:,} {of} images: choose another folder for that.")
    return record


def _row(trial: Trial, record: dict | None, problem: str, log: Callable[[str], None]) -> dict:
    """Tell `log` of a trial's outcome, and return its row of the table."""
    final, last = (record["final"], record["epochs"][-1]) if record else ({}, {})
    reached = final.get("holdout_accuracy", final.get("test_accuracy", np.nan))
    with tqdm.external_write_mode():
        log(f"{trial.folder}: " + (f"failed: {problem}" if problem else f"{reached:.2f} %"))
    figures = {"train_accuracy": last.get("train_accuracy"), "minutes": final.get("train_minutes"), "problem": problem}
    return {"name": trial.name, "seed": trial.seed, "accuracy": reached, **figures}

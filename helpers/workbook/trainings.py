"""What `workbook train` and `evaluate` do: notebooks 05 and 06 without a notebook."""

from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from helpers.data import ImageSet, load_cifar10, train_val_split
from helpers.engines import ranks
from helpers.engines.run_directory import RESULT, place
from helpers.errors import BadInput, check_count
from helpers.evaluation import accuracy, class_accuracy, predict
from helpers.models import build, load_trained
from helpers.recipes import recipe_named
from helpers.results import read_result, result, write_result
from helpers.runtime import banner
from helpers.training import fit


def train(
    name: str,
    seed: int = 0,
    run_dir: str | Path | None = None,
    epochs: int | None = None,
    holdout: int = 0,
    data: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    anew: bool = False,
    tensorboard: bool = False,
) -> Path:
    """Train by the named recipe, go on where a stopped run is, measure the network, write and return result.json.

    `holdout` training images, as many of each class, are left out; the accuracy is then theirs, after every epoch, and
    the test set stays closed: it is not for choosing. Without them the test set is looked at once, at the end. `anew`
    starts again in a folder that has been used. `tensorboard` writes every epoch's figures for TensorBoard, too.
    """
    if tensorboard and not find_spec("tensorboard"):
        raise BadInput("TensorBoard is not installed: pip install tensorboard, or leave the option out.")
    check_count("The seed", seed, 10**9, least=0)
    recipe = recipe_named(name)
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    folder = place(f"runs/{name}-seed{seed}" if run_dir is None else run_dir)
    images = load_cifar10(data)
    print(banner(images.describe(), seed, device))
    images, val = hold_out(images, holdout)
    model = build(recipe.network, seed)
    first = ranks.rank() == 0  # the other processes of a training have nothing to write
    on_epoch = partial(write_events, folder) if tensorboard and first else None
    where = {"run_dir": folder, "seed": seed, "device": device, "precision": precision}
    history = fit(model, images, recipe, val=val, resume=not anew, on_epoch=on_epoch, **where)
    path = folder / RESULT
    if not first:
        return path
    measured, of = (load_cifar10(data, train=False), "test") if val is None else (val, "holdout")
    logits = predict(model, measured.images, mean=recipe.mean, std=recipe.std)
    write_result(path, result(recipe, model, history, logits, images, measured, seed=seed, measured_on=of))
    kind = "test images" if val is None else "held-out images, and the test set stays closed"
    reached = f"{accuracy(logits, measured.labels):.2f} % of {len(measured):,} {measured.source} {kind}"
    print(f"{name}: {reached} after {recipe.epochs} epochs; {path}")
    return path


def hold_out(images: ImageSet, count: int) -> tuple[ImageSet, ImageSet | None]:
    """Return the images without a hold-out of `count`, as many of each class, and it; None for none."""
    if not 0 <= count < len(images) or count % 10:
        raise BadInput(f"The hold-out is {count}; give a multiple of ten from 0 to {len(images) - 10:,}.")
    return train_val_split(images, count / len(images)) if count else (images, None)


def write_events(folder: Path, row: dict) -> None:
    """Write an epoch's figures into the run's folder for TensorBoard; an epoch that is written again counts once."""
    from torch.utils.tensorboard import SummaryWriter  # here, since it is an extra

    with SummaryWriter(str(folder / "tensorboard"), purge_step=row["epoch"]) as writer:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, row["epoch"])


def evaluate(run_dir: str | Path, data: str = "auto") -> pd.DataFrame:
    """Print a finished run's accuracy on the test set, class by class, and what result.json tells; return the table."""
    model, trained = load_trained(run_dir)
    test = load_cifar10(data, train=False)
    if trained["config"]["source"] != test.source:
        print(f"Trained on {trained['config']['source']} and tested on {test.source}: this says nothing about either.")
    logits = predict(model, test.images, mean=trained["config"]["mean"], std=trained["config"]["std"])
    table = class_accuracy(logits, test.labels, test.classes)
    print(table.to_string(formatters={"accuracy": "{:.2f}".format}))
    here = accuracy(logits, test.labels)
    print(f"{here:.2f} % of {len(test):,} {test.source} test images")
    final = read_result(path)["final"] if (path := place(run_dir) / RESULT).exists() else {}
    if final.get("seen") == len(test) and f"{final.get('test_accuracy', here):.2f}" != f"{here:.2f}":
        print(f"{path} tells {final['test_accuracy']:.2f} %, of other weights or another machine.")
    return table

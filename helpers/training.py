"""fit(): one loop for every network and every recipe."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from helpers.checkpoint import load_state, save_state, save_weights
from helpers.data import ImageSet
from helpers.errors import BadInput
from helpers.evaluation import accuracy, cross_entropy, predict
from helpers.loaders import steps_per_epoch, train_loader
from helpers.recipes import Recipe
from helpers.runtime import keep_freed_memory, pick_device


@dataclass
class History:
    """What happened, epoch by epoch; losses in nats, accuracies in percent, times in seconds."""

    rows: list[dict] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """A row per epoch."""
        return pd.DataFrame(self.rows).set_index("epoch")


def fit(
    model: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    *,
    val: ImageSet | None = None,
    run_dir: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = True,
    workers: int | None = None,
    log: Callable[[str], None] | None = print,
) -> History:
    """Train the model in place by the recipe and return its history, giving `log` a line an epoch.

    With `run_dir` every epoch is saved there and a stopped run goes on after its last one, to the same end. `workers`
    are processes that load; by default none on a CPU, which has no core to spare. Raises BadInput for an empty set,
    labels that are not 0 to 9, a missing device, or a `run_dir` that holds another run.
    """
    config = _config(train, recipe, seed)
    log = log or (lambda line: None)
    device = pick_device(device)
    keep_freed_memory()
    model.to(device, memory_format=torch.channels_last)
    set_dropout(model, recipe.dropout)
    optimizer = make_optimizer(model, recipe)
    history = History(_resumed(Path(run_dir), config, model, optimizer) if run_dir and resume else [])
    if history.rows:
        log(f"resumed after epoch {len(history.rows)} of {recipe.epochs}")
    workers = (0 if device.type == "cpu" else 2) if workers is None else workers
    for epoch in range(len(history.rows), recipe.epochs):
        row = {"epoch": epoch + 1, **train_epoch(model, optimizer, train, recipe, seed, epoch, workers)}
        if val is not None:
            logits = predict(model, val.images, mean=recipe.mean, std=recipe.std)
            row |= {
                "val_loss": cross_entropy(logits, val.labels),
                "val_accuracy": accuracy(logits, val.labels),
            }
        history.rows.append(row)
        log(epoch_line(row, recipe.epochs))
        if run_dir:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save_state(Path(run_dir), {"config": config, "rows": history.rows, **state})
    if run_dir:
        save_weights(Path(run_dir), model, {"config": config, "last_epoch": history.rows[-1]})
    return history


def _resumed(run_dir: Path, config: dict, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict]:
    """Put model and optimiser in the state of the run's last whole epoch; return its rows, none for a new folder."""
    state = load_state(run_dir, config)
    if state is None:
        return []
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["rows"]


def train_epoch(model, optimizer, data: ImageSet, recipe: Recipe, seed: int, epoch: int, workers: int = 0) -> dict:
    """Train on every image once; return the loss and accuracy met on the way (augmented images, moving weights)."""
    device = next(model.parameters()).device
    steps = steps_per_epoch(data, recipe)
    loader = train_loader(data, recipe, seed=seed, epoch=epoch, workers=workers)
    bar = tqdm(loader, desc=f"epoch {epoch + 1}/{recipe.epochs}", unit="batch", leave=False)
    loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    start = time.perf_counter()
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.default_rng((seed, epoch)).integers(2**63)))  # dropout's masks
        for step, (images, labels) in enumerate(bar, start=epoch * steps):
            images = images.to(device, memory_format=torch.channels_last)
            labels = labels.to(device)
            rate = set_learning_rate(optimizer, learning_rate(recipe, step, recipe.epochs * steps))
            logits = model(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(labels)  # on the device: .item() would wait for every step
            correct += (logits.detach().argmax(1) == labels).sum()
    seconds = time.perf_counter() - start
    return {
        "lr": rate,
        "train_loss": loss_sum.item() / len(data),
        "train_accuracy": 100 * correct.item() / len(data),
        "seconds": seconds,
        "images_per_second": len(data) / seconds,
    }


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser; biases and norms (vectors) are spared the weight decay."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.peak_lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(groups, lr=recipe.peak_lr, betas=(recipe.momentum, 0.999))


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of a step, which rises to the peak and falls again.

    triangular: straight lines from and towards zero (Smith and Topin, Super-Convergence, 2018, section 3, without
    its last, flat part). one_cycle: half cosines from peak/25 up and down to peak/250,000, as PyTorch's OneCycleLR,
    whose momentum cycle is left out.
    """
    if recipe.schedule == "triangular":
        done = (step + 1) / (steps + 1)  # never 0 nor 1, so that neither the first step nor the last is lost
        rise = done / recipe.warmup if recipe.warmup else 1.0
        return recipe.peak_lr * min(rise, (1 - done) / (1 - recipe.warmup))
    top = recipe.warmup * steps - 1
    rising = step <= top
    done = (step / top if top else 1.0) if rising else (step - top) / (steps - 1 - top)
    start, end = (1 / 25, 1.0) if rising else (1.0, 1 / 250_000)
    return recipe.peak_lr * (end + (start - end) * (1 + math.cos(math.pi * done)) / 2)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """Set the rate of every parameter group, and return it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def set_dropout(model: nn.Module, rate: float | None) -> None:
    """Give every dropout layer, elementwise or of whole channels, this rate; None leaves them as they are."""
    for layer in model.modules():
        if isinstance(layer, (nn.Dropout, nn.Dropout2d)) and rate is not None:
            layer.p = rate


def epoch_line(row: dict, epochs: int) -> str:
    """Return an epoch's line for the record: no times, so that two runs print the same."""
    line = f"epoch {row['epoch']:3d}/{epochs}  lr {row['lr']:.4f}"
    line += f"  train loss {row['train_loss']:.4f}  accuracy {row['train_accuracy']:5.2f} %"
    if "val_loss" in row:
        line += f"  |  hold-out loss {row['val_loss']:.4f}  accuracy {row['val_accuracy']:5.2f} %"
    return line


def _config(train: ImageSet, recipe: Recipe, seed: int) -> dict:
    """Return what a run directory must agree on to be resumed; refuses data that cannot be trained on."""
    if len(train) == 0:
        raise BadInput("The training set is empty.")
    if not (train.labels.min() >= 0 and train.labels.max() <= 9):
        raise BadInput(f"Labels run from {train.labels.min()} to {train.labels.max()}; they must be 0 to 9.")
    if not isinstance(seed, int) or seed < 0:
        raise BadInput(f"The seed is {seed!r}; give a whole number from 0.")
    recipe_values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(recipe).items()}
    return {**recipe_values, "seed": seed, "source": train.source, "images": len(train)}

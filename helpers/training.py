"""fit(): one loop for every network and every recipe."""

import math
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from helpers.data import ImageSet
from helpers.engines import ranks
from helpers.engines.fast import half_precision, keep_freed_memory
from helpers.engines.muon import Muon, orthogonal_apart
from helpers.engines.resumable import repeatable, resumable
from helpers.engines.run_directory import WEIGHTS
from helpers.engines.stepping import Stepper, load_optimizer
from helpers.errors import BadInput
from helpers.evaluation import accuracy, predict
from helpers.loaders import TrainLoader
from helpers.models import check_seed, set_dropout
from helpers.models.weights import save_weights
from helpers.recipes import Recipe
from helpers.runtime import pick_device, session
from helpers.summary import fingerprint

MEASURED = ["seconds", "images_per_second"]  # a history's columns that differ from run to run


@dataclass
class History:
    """What happened, epoch by epoch; losses in nats, accuracies in percent, times in seconds."""

    rows: list[dict] = field(default_factory=list)
    sessions: list[dict] = field(default_factory=list)  # on what machine and by which code, one for every resumption
    engine: str = ""  # how the images were augmented

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
    precision: str = "auto",
    resume: bool = True,
    on_step: Callable[["Run"], None] | None = None,
    on_epoch: Callable[[dict], None] | None = None,
    workers: int | None = None,
    log: Callable[[str], None] | None = print,
    save_every: float = 60.0,
) -> History:
    """Train the model in place by the recipe and return its history, giving `log` a line an epoch.

    With `run_dir` the state is saved there after every epoch and every `save_every` seconds, and a stopped run goes on
    from there to the same end, bit for bit. Ctrl-C and SIGTERM then finish the step, save, and raise Interrupted.
    `on_step` is called with the run after every step, `on_epoch` with the history's new row after every epoch, each
    before the state is saved. `workers` are processes that augment image by image; a CPU has no core to spare for them.
    `precision` is "float32", "bfloat16" or "auto": half precision on a GPU, and on a CPU where it is faster.

    Raises BadInput for an empty set, labels that are not 0 to 9, a missing device or precision, a `run_dir` that cannot
    be written to, is in use or holds another run, and for a loss or gradient that is no longer finite.
    """
    _refuse(train, val, seed, workers)
    log = log or (lambda line: None)
    run = begin(model, train, recipe, seed, pick_device(device), precision, workers)
    if run.loader.fallback_reason:
        log(run.loader.fallback_reason)
    if half := run.stepper.precision:
        log(f"trained in {str(half).removeprefix('torch.')}; weights, norms' statistics and the loss in float32")
    config = run_config(model, run.loader, recipe, val)
    state = resumable(run, run_dir, config, session(run.device, half), resume=resume, every=save_every, log=log)
    with repeatable(), state as save:
        for epoch in range(len(run.rows), recipe.epochs):
            train_epoch(run, epoch, on_step, save)
            run.finish_epoch(val)
            log(epoch_line(run.rows[-1], recipe.epochs))
            if on_epoch:
                on_epoch(run.rows[-1])
            save(now=True)
        if save.folder:
            about = {"config": save.folder.config, "classes": train.classes, "last_epoch": run.rows[-1]}
            save_weights(save.folder.path / WEIGHTS, model.state_dict(), about)
    return History(run.rows, save.sessions, run.loader.engine)


def begin(
    model: nn.Module, train: ImageSet, recipe: Recipe, seed: int, device: torch.device, precision: str,
    workers: int | None = None,
) -> "Run":  # fmt: skip
    """Return a run before its first step; its model is on the device, in the layout that trains fastest."""
    keep_freed_memory()
    model.to(device, memory_format=torch.channels_last)
    set_dropout(model, recipe.dropout)
    if recipe.first_size is not None:
        try:
            predict(model, torch.zeros(1, 3, recipe.first_size, recipe.first_size))
        except RuntimeError as error:
            raise BadInput(
                f"{recipe.network} takes no images of {recipe.first_size} pixels: set no first_size."
            ) from error
    loader = TrainLoader(train, recipe, seed=seed, device=device, workers=workers)
    half = half_precision(precision, device, model, (min(recipe.batch_size, 256), 3, *train.images.shape[1:3]))
    return Run(model, recipe, loader, half)


def train_epoch(run: "Run", epoch: int, on_step: Callable | None = None, save: Callable = lambda: None) -> None:
    """Train on every image once, or on those that a stopped run has not seen yet in this epoch."""
    first = run.step - epoch * run.loader.steps
    bar = {"desc": f"epoch {epoch + 1}/{run.recipe.epochs}", "unit": "batch", "leave": False}
    started = time.perf_counter() - run.seconds
    run.model.train()
    for images, labels in tqdm(run.loader.epoch(epoch, first), initial=first, total=run.loader.steps, **bar):
        train_step(run, images, labels)
        run.seconds = time.perf_counter() - started
        if on_step:
            on_step(run)
        save()
    run.loss_sum.item()  # waits for the device
    run.seconds = time.perf_counter() - started


def train_step(run: "Run", images: Tensor, labels: Tensor) -> None:
    """Take one step: forward, loss, gradients, weights; no step on numbers that are not finite."""
    key = (run.loader.seed, run.step, *ranks.own())
    torch.manual_seed(int(np.random.default_rng(key).integers(2**63)))  # dropout's masks
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(run.recipe, run.step, run.steps)
    images = shrunk(images, run.recipe.first_size, run.step / run.steps)
    with run.stepper.autocast():  # in half precision where that is faster
        logits = run.forward(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=run.recipe.label_smoothing)
    run.optimizer.zero_grad()
    gradient_norm = run.stepper.backward(ranks.weighted(loss, len(labels)))
    run.watch(loss, gradient_norm)
    run.stepper.step()
    run.loss_sum += loss.detach() * len(labels)  # on the device: .item() would wait for every step
    run.correct += (logits.detach().argmax(1) == labels).sum()
    run.step += 1


class Run:
    """Everything that a run is between two steps; `state_dict` is what a checkpoint holds."""

    def __init__(self, model: nn.Module, recipe: Recipe, loader: TrainLoader, precision: torch.dtype | None = None):
        self.model, self.recipe, self.loader = model, recipe, loader
        self.device, self.steps = loader.device, recipe.epochs * loader.steps
        self.optimizer = make_optimizer(model, recipe)
        self.stepper = Stepper(self.optimizer, self.device, precision)
        self.forward = ranks.spread(model)  # on several devices by all of them, else the model itself
        self.step, self.rows = 0, []  # steps taken, and rows of the epochs done
        self._start_epoch()

    def _start_epoch(self) -> None:
        self.loss_sum, self.correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        self.seconds = 0.0

    @property
    def within_epoch(self) -> bool:
        """Whether steps of an epoch were taken whose row is not written yet, and more are to come."""
        return self.step % self.loader.steps > 0

    def place(self) -> str:
        """Return where the run stands, in words."""
        return f"step {self.step:,} of {self.steps:,}: {len(self.rows)} of {self.recipe.epochs} epochs done"

    def finish_epoch(self, val: ImageSet | None) -> None:
        """Add the epoch's row: what was met on the way (augmented images, moving weights), then the hold-out."""
        self.refuse_divergence()
        ranks.move_to_first(self.loss_sum, self.correct)
        seen = len(self.loader.data)
        row = {
            "epoch": len(self.rows) + 1,
            "lr": learning_rate(self.recipe, self.step - 1, self.steps),
            "train_loss": self.loss_sum.item() / seen,
            "train_accuracy": 100 * self.correct.item() / seen,
            "seconds": self.seconds,
            "images_per_second": seen / self.seconds,
        }
        if val is not None:
            logits = predict(self.model, val.images, mean=self.recipe.mean, std=self.recipe.std)
            row["val_loss"] = F.cross_entropy(logits, torch.as_tensor(val.labels)).item()  # in nats
            row["val_accuracy"] = accuracy(logits, val.labels)
        self.rows.append(row)
        self._start_epoch()

    def watch(self, loss: Tensor, gradient_norm: Tensor) -> None:
        """Let no step be taken on a loss or gradient that is not finite; a GPU is asked later, since it would wait."""
        self.stepper.watch(self.step, loss, gradient_norm)
        if self.stepper.read_at_once:
            self.refuse_divergence()

    def refuse_divergence(self) -> None:
        """Raise BadInput if a step was not finite."""
        step = self.stepper.diverged_at(self.step)
        if step is not None:
            rate = learning_rate(self.recipe, step, self.steps)
            raise BadInput(
                f"The loss or its gradient is not finite at step {step + 1:,} of {self.steps:,}, in epoch "
                f"{step // self.loader.steps + 1} at learning rate {rate:.3g}: lower peak_lr. "
                "What was saved before is sound."
            )

    def state_dict(self) -> dict:
        """Return the state as plain tensors and values; raises BadInput for one that is not finite."""
        self.refuse_divergence()
        ranks.move_to_first(self.loss_sum, self.correct)
        plain = {name: getattr(self, name) for name in ("step", "rows", "loss_sum", "correct", "seconds")}
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.stepper}
        return plain | {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict) -> None:
        """Go to the state of a run of the same recipe, on this device or another."""
        step, rows, sums = state["step"], state["rows"], [state["loss_sum"], state["correct"]]
        told = [row[name] for row in rows for name in ("lr", "train_loss", "train_accuracy", "seconds")]
        sound = type(step) is int and 0 <= step <= self.steps and len(rows) == step // self.loader.steps
        sound = sound and [row["epoch"] for row in rows] == [*range(1, len(rows) + 1)]
        sound = sound and all(map(math.isfinite, [state["seconds"], *told])) and not any(one.ndim for one in sums)
        if not sound or not all(tensor.isfinite().all() for tensor in [*sums, *state["model"].values()]):
            raise ValueError(f"no run of {self.steps:,} steps comes to it")
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.stepper.load_state_dict(state["scaler"])
        self.step, self.rows, self.seconds = state["step"], state["rows"], state["seconds"]
        first = ranks.rank() == 0  # the others start at zero
        self.loss_sum, self.correct = (first * state[name].to(self.device) for name in ("loss_sum", "correct"))


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser; biases and norms (vectors) are spared the weight decay.

    Away from a CPU it is fused: one kernel for all weights, which can leave a step out without a wait.
    """
    fused = next(model.parameters()).device.type != "cpu"
    weights = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if recipe.optimizer == "muon":
        return Muon([*orthogonal_apart(groups[0]), groups[1]], lr=recipe.peak_lr, momentum=recipe.momentum)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.peak_lr, recipe.momentum, nesterov=recipe.momentum > 0, fused=fused)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(groups, recipe.peak_lr, betas=(recipe.momentum, 0.999), fused=fused)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of a step: up to the peak on the first `warmup` of the steps, then by the schedule.

    triangular: straight down towards zero (Smith and Topin, Super-Convergence, 2018, section 3, without its last, flat
    part). one_cycle: half cosines from peak/25 up and down to peak/250,000, as PyTorch's OneCycleLR, whose momentum
    cycle is left out.
    """
    if recipe.schedule == "one_cycle":
        top = recipe.warmup * steps - 1
        rising = step <= top
        done = (step / top if top else 1.0) if rising else (step - top) / (steps - 1 - top)
        start, end = (1 / 25, 1.0) if rising else (1.0, 1 / 250_000)
        return recipe.peak_lr * (end + (start - end) * (1 + math.cos(math.pi * done)) / 2)
    done = (step + 1) / (steps + 1)  # never 0 nor 1, so that neither the first step nor the last is lost
    rise = done / recipe.warmup if recipe.warmup else 1.0
    return recipe.peak_lr * min(rise, (1 - done) / (1 - recipe.warmup))


def shrunk(images: Tensor, first_size: int | None, done: float) -> Tensor:
    """Return a step's images, smaller on the first 70 % of the steps: from `first_size` pixels up, by eights.

    A network that ends in global pooling takes any size, and a smaller one costs less; `done` is the share of steps
    taken. Source: Tan and Le, EfficientNetV2 (2021), section 4.
    """
    side = images.shape[-1]
    sizes = [*range(first_size or side, side, 8), side]
    size = sizes[min(int((len(sizes) - 1) * done / 0.7), len(sizes) - 1)]
    return images if size == side else F.interpolate(images, (size, size), mode="bilinear", antialias=True)


def epoch_line(row: dict, epochs: int) -> str:
    """Return an epoch's line for the record: no times, so that two runs print the same."""
    line = f"epoch {row['epoch']:3d}/{epochs}  lr {row['lr']:.4f}"
    line += f"  train loss {row['train_loss']:.4f}  accuracy {row['train_accuracy']:5.2f} %"
    if "val_loss" in row:
        line += f"  |  hold-out loss {row['val_loss']:.4f}  accuracy {row['val_accuracy']:5.2f} %"
    return line


def _refuse(train: ImageSet, val: ImageSet | None, seed: int, workers: int | None) -> None:
    """Raise BadInput for what cannot be trained on."""
    for name, data in (("training", train), ("hold-out", val)):
        if data is not None and len(data) == 0:
            raise BadInput(f"The {name} set is empty.")
        if data is not None and not (data.labels.min() >= 0 and data.labels.max() <= 9):
            raise BadInput(f"Labels run from {data.labels.min()} to {data.labels.max()}; they must be 0 to 9.")
    check_seed(seed)
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise BadInput(f"workers is {workers!r}; give a number of processes from 0.")


def run_config(model: nn.Module, loader: TrainLoader, recipe: Recipe, val: ImageSet | None = None) -> dict:
    """Return what a run directory must agree on to be resumed."""
    data, values = loader.data, asdict(recipe)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()} | {
        "engine": loader.engine,
        "architecture": fingerprint(model),
        "seed": loader.seed,
        "source": data.source,
        "images": len(data),
        "checksum": _checksum(data),
        "holdout": 0 if val is None else len(val),
        "holdout_checksum": 0 if val is None else _checksum(val),
    }


def _checksum(data: ImageSet) -> int:
    return zlib.crc32(data.labels.tobytes(), zlib.crc32(np.ascontiguousarray(data.images)))

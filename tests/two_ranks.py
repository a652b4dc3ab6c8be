"""A tiny training for one process or for several; tests/whole/test_ranks.py compares them."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from helpers.data import ImageSet, load_cifar10, take
from helpers.engines import ranks
from helpers.errors import Interrupted
from helpers.models import build
from helpers.models.blocks import ConvBlock
from helpers.recipes import RECIPES
from helpers.training import History, fit

# Batches of 40 and 41 of 201 images, of which two processes get shares that differ.
RECIPE = replace(RECIPES["mobilenet_c40"], epochs=2, batch_size=41, optimizer="sgd", peak_lr=0.05)
STOP = 7  # of 10 steps, within the second epoch


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = ConvBlock(3, 8, stride=2), ConvBlock(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    return nn.Sequential(*layers)


def images() -> ImageSet:
    few = take(load_cifar10("synthetic"), 210)
    return few.subset(range(201))


def train(model: nn.Module, folder: Path, **options) -> History:
    return fit(model, images(), RECIPE, val=images(), run_dir=folder, log=None, **options)


def stop_the_last(run) -> None:
    """Send a signal to one process only."""
    if run.step == STOP and ranks.rank() == ranks.count() - 1:
        signal.raise_signal(signal.SIGTERM)


def gradients() -> dict[str, torch.Tensor]:
    """Return a network's gradients on 21 images, and the norms' statistics, in float64: no rounding to hide behind."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(21, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (21,), generator=generator)
    model, own = build("mini_resnet").double().train(), torch.from_numpy(ranks.share(np.arange(21)))
    forward = ranks.spread(model)
    ranks.weighted(F.cross_entropy(forward(images[own]), labels[own]), len(own)).backward()
    return {name: weight.grad for name, weight in model.named_parameters()} | dict(model.named_buffers())


def be(rank: int, folder: Path, environment: dict[str, str]) -> None:
    """Do what a process of two does, started with the environment that torchrun gives; write down how it ended."""
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", TORCHELASTIC_RUN_ID="test")
    torch.set_num_threads(1)
    with ranks.joined():
        found = gradients()
        if rank == 0:
            torch.save(found, folder / "gradients.pt")
        try:
            train(network(), folder / "two", on_step=stop_the_last)
        except Interrupted as stopped:
            (folder / f"{rank}.txt").write_text(str(stopped))

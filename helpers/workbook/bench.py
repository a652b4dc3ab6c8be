"""`workbook bench`: the plain loop that people write against this workbook's, side by side on this machine.

Each measurement is a process of its own, or one loop's settings would help the other, and the two kinds take turns, so
that a machine that slows down slows both.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from helpers.augment import AUGMENTATIONS, augmentation, batched
from helpers.data import ImageSet
from helpers.engines.fast import keep_freed_memory, peak_memory
from helpers.engines.run_directory import RunDirectory
from helpers.errors import BadInput, nearest
from helpers.loaders import TrainLoader
from helpers.models import MODELS, build
from helpers.models.blocks import Dropout
from helpers.recipes import RECIPES, Recipe
from helpers.results import write_result
from helpers.runtime import commit, machine, pick_device, versions
from helpers.summary import multiply_adds
from helpers.training import Run, make_optimizer, set_dropout, train_step

WARM_UP = 2  # steps not counted: the first ones meet cold caches
EPOCH = 50_000  # images
SAVE_EVERY = 60.0  # seconds, as fit does


class AlbumentationsDataset(Dataset):
    """Images through albumentations one by one, as the library's own examples do it."""

    def __init__(self, data: ImageSet, compose: object):
        self.data, self.compose = data, compose

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.compose(image=self.data.images[index])["image"], int(self.data.labels[index])


def plain(recipe: Recipe, data: ImageSet, steps: int) -> dict:
    """Measure the loop of the usual tutorial: DataLoader, torch's dropout, a number read after every step."""
    device = pick_device()
    model = _with_torch_dropout(build(recipe.network)).to(device).train()
    set_dropout(model, recipe.dropout)
    compose = augmentation(recipe.augmentation, recipe.mean, recipe.std)
    loader = iter(DataLoader(AlbumentationsDataset(data, compose), recipe.batch_size, shuffle=True))
    optimizer = make_optimizer(model, recipe)
    loading, start, running_loss, correct = 0.0, 0.0, 0.0, 0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            loading, start = 0.0, time.perf_counter()
        before = time.perf_counter()
        images, labels = next(loader)
        loading += time.perf_counter() - before
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        correct += (logits.argmax(1) == labels).sum().item()
    return _pace(time.perf_counter() - start, loading, steps * recipe.batch_size)


def ours(recipe: Recipe, data: ImageSet, steps: int) -> dict:
    """Measure the steps of `fit`, and how long a state takes to be saved."""
    device = pick_device()
    keep_freed_memory()
    model = build(recipe.network).to(device, memory_format=torch.channels_last).train()
    set_dropout(model, recipe.dropout)
    run = Run(model, recipe, TrainLoader(data, recipe, seed=0, device=device))
    batches = run.loader.epoch(0)
    loading, start = 0.0, 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            loading, start = 0.0, time.perf_counter()
        before = time.perf_counter()
        images, labels = next(batches)
        loading += time.perf_counter() - before
        train_step(run, images, labels)
    run.loss_sum.item()  # waits for the device
    pace = _pace(time.perf_counter() - start, loading, steps * recipe.batch_size)
    with tempfile.TemporaryDirectory() as folder, RunDirectory(folder, {}) as kept:
        saves = [_seconds(lambda step=step: kept.save(run.state_dict(), step)) for step in range(5)]
    return pace | {"save_seconds": statistics.median(saves)}


def memory(recipe: Recipe, data: ImageSet, steps: int) -> dict:
    """Measure what a step of 512 images takes beyond what the process holds before it, in MB."""
    before = peak_memory(pick_device())
    ours(replace(recipe, batch_size=512), data, steps=1)
    return {"peak_mb": peak_memory(pick_device()) - before}


def engines(count: int = 4096, repeats: int = 7) -> dict:
    """Measure albumentations image by image against whole batches of 512, on one CPU core: images a second."""
    torch.set_num_threads(1)
    keep_freed_memory()
    images = _noise(count).images
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().split(512)
    table = {}
    for name in AUGMENTATIONS:
        compose = augmentation(name)
        pipeline = batched(compose)

        def whole(pipeline=pipeline):
            return [pipeline(t, seed=0, epoch=0, index=np.arange(len(t))) for t in tensors]

        def single(compose=compose):
            return [compose(image=image)["image"] for image in images[: count // 4]]

        whole(), single()
        times = [(_seconds(single) * 4, _seconds(whole)) for _ in range(repeats)]
        slow, fast = (count / statistics.median(column) for column in zip(*times, strict=True))
        table[name] = {"per_image": slow, "batched": fast, "ratio": fast / slow}
    before = peak_memory(torch.device("cpu"))
    kept = batched(augmentation("flip_ssr_cutout"))(
        tensors[0].repeat(8192 // len(tensors[0]), 1, 1, 1), seed=0, epoch=0, index=np.arange(8192)
    )
    extra = 1e6 * (peak_memory(torch.device("cpu")) - before) / (kept.numel() * kept.element_size())
    return {"pipelines": table, "extra_memory_batches": extra}


def _with_torch_dropout(model: nn.Module) -> nn.Module:
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, Dropout):
                setattr(module, name, nn.Dropout(layer.p))
    return model


def _pace(seconds: float, loading: float, images: int) -> dict:
    return {"images_per_second": images / seconds, "loading": loading / seconds, "gflops": _matmul_rate()}


def _matmul_rate(size: int = 1024, repeats: int = 20) -> float:
    """Return the machine's own rate of multiplying matrices, in billions of operations a second."""
    a = torch.randn(size, size, device=pick_device())
    (a @ a).sum().item()
    return repeats * 2 * size**3 / _seconds(lambda: sum(a @ a for _ in range(repeats))[0, 0].item()) / 1e9


def _seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# --- the command ------------------------------------------------------------------------------------------------------


def bench(networks: list[str], repeats: int, steps: int, batch_size: int | None, out: str | None) -> Path:
    """Measure, print a table, write everything measured as JSON; return the file.

    Every network is trained by its recipe, in batches of its size unless another is given.
    Raises BadInput for an unknown network and for counts below one.
    """
    for name in networks:
        if name not in MODELS:
            raise BadInput(f"There is no network {name!r}. {nearest(name, MODELS)}")
    batch_sizes = {name: RECIPES[name].batch_size if batch_size is None else batch_size for name in networks}
    if min(repeats, steps, *(size - 1 for size in batch_sizes.values())) < 1:
        raise BadInput("Repeats and steps must be at least 1, and a batch at least 2 images.")
    path = Path(out or f"runs/bench-{time.strftime('%Y%m%d-%H%M%S')}.json")
    if path.is_dir():
        raise BadInput(f"{path} is a folder: give --out a file's name.")
    measured: dict[str, dict[str, list]] = {name: {"plain": [], "ours": [], "memory": []} for name in networks}
    for name in networks:
        for kind in [*("plain", "ours") * repeats, "memory"]:
            measured[name][kind].append(_in_own_process(kind, name, steps, batch_sizes[name]))
        print(_line(name, batch_sizes[name], measured[name], header=name == networks[0]))
    record = {"machine": machine(), "versions": versions(), "commit": commit(), "threads": torch.get_num_threads()}
    record |= {"batch_sizes": batch_sizes, "steps": steps, "measured": measured, "engines": _in_own_process("engines")}
    print("\nAugmentation on one core, images a second:")
    print(pd.DataFrame(record["engines"]["pipelines"]).T.round({"per_image": 0, "batched": 0, "ratio": 1}).to_string())
    extra = record["engines"]["extra_memory_batches"]
    print(f"Augmenting 8,192 images at once takes the memory of {extra:.1f} times the result, itself included.")
    write_result(path, record)
    print(f"\n{record['machine']}; {path}")
    return path


def _in_own_process(*arguments: object) -> dict:
    command = [sys.executable, "-m", __spec__.name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"})
    if done.returncode:
        said = done.stderr.strip() or f"status {done.returncode}"
        raise BadInput(f"The measurement {' '.join(command[3:])} failed: {said.splitlines()[-1]}")
    return json.loads(done.stdout)


def _line(name: str, batch_size: int, measured: dict[str, list[dict]], header: bool) -> str:
    """Return a network's row of the table, under its header where asked."""

    def column(kind: str, key: str) -> list[float]:
        return [one[key] for one in measured[kind]]

    slow, fast = column("plain", "images_per_second"), column("ours", "images_per_second")
    operations = 3 * 2 * multiply_adds(build(name)) / 1e9  # forward, and two products of the same size backward
    shares = [operations * one["images_per_second"] / one["gflops"] for one in measured["ours"]]
    saving = statistics.median(column("ours", "save_seconds")) / min(SAVE_EVERY, EPOCH / statistics.median(fast))
    row = {
        "network": name,
        "batch": batch_size,
        "plain, images/s": f"{statistics.median(slow):6.0f} ({min(slow):.0f} to {max(slow):.0f})",
        "ours": f"{statistics.median(fast):6.0f} ({min(fast):.0f} to {max(fast):.0f})",
        "ratio": f"{statistics.median(fast) / statistics.median(slow):.2f}",
        "s an epoch": f"{EPOCH / statistics.median(fast):.0f}",
        "of matmul": f"{statistics.median(shares):.0%}",
        "loading": f"{statistics.median(column('ours', 'loading')):.1%}",
        "saving": f"{saving:.2%}",
        "step of 512": f"{measured['memory'][0]['peak_mb']} MB",
    }
    widths = [16, 7, 22, 22, 7, 12, 11, 9, 8, 11]
    lines = [row.keys(), row.values()] if header else [row.values()]
    return "\n".join(
        "".join(str(cell).ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _measure(arguments: list[str]) -> dict:
    """Do one measurement, as the process that was started for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["plain", "ours", "memory", "engines"])
    parser.add_argument("rest", nargs="*")
    given = parser.parse_args(arguments)
    if given.kind == "engines":
        return engines()
    network, steps, batch_size = given.rest[0], int(given.rest[1]), int(given.rest[2])
    recipe, data = (
        replace(RECIPES[network], batch_size=batch_size),
        _noise(max((WARM_UP + steps) * batch_size, (WARM_UP + 1) * 512)),
    )
    return {"plain": plain, "ours": ours, "memory": memory}[given.kind](recipe, data, steps)


def _noise(count: int) -> ImageSet:
    """Return images that nothing can be learnt from; the time of a step does not depend on what they show."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
    return ImageSet(images, rng.integers(10, size=count), (), "noise")


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1:])))

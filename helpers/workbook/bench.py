"""`workbook bench`: the plain loop that people write against this workbook's, side by side on this machine.

Each measurement is a process of its own, or one loop's settings would help the other.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from timeit import repeat, timeit

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
from helpers.models import MODELS, build, set_dropout
from helpers.models.blocks import Dropout
from helpers.recipes import RECIPES
from helpers.results import write_result
from helpers.runtime import commit, machine, pick_device, versions
from helpers.summary import multiply_adds
from helpers.training import Run, make_optimizer, train_step

WARM_UP = 2  # steps not counted: the first ones meet cold caches
ROW = "{:16}{:<7}{:22}{:22}{:7}{:12}{:11}{:9}{:8}{}".format  # of the table that is printed


def run_in_own_process(function: Callable, *arguments) -> object:
    """Return what the function returns in a new process, or raise what it raises; BadInput if the process dies."""
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(function, *arguments).result()
    except BrokenProcessPool:
        call = f"{function.__name__} {' '.join(map(str, arguments))}".strip()
        raise BadInput(f"The measurement {call} failed: its process died, perhaps for want of memory.") from None


def bench(
    networks: list[str], repeats: int, steps: int, batch_size: int | None, out: str | None, measure=run_in_own_process
) -> Path:
    """Measure, print a table, write everything measured as JSON; return the file.

    Every network, by default all, is trained by its recipe, in batches of its size unless another is given.
    `measure` calls a function with arguments. Raises BadInput for an unknown network and for counts below one.
    """
    for name in networks:
        if name not in MODELS:
            raise BadInput(f"There is no network {name!r}. {nearest(name, MODELS)}")
    sizes = {name: RECIPES[name].batch_size if batch_size is None else batch_size for name in networks or MODELS}
    if repeats < 1 or steps < 1 or min(sizes.values()) < 2:
        raise BadInput("Repeats and steps must be at least 1, and a batch at least 2 images.")
    path = Path(out or f"runs/bench-{time.strftime('%Y%m%d-%H%M%S')}.json")
    if path.is_dir():
        raise BadInput(f"{path} is a folder: give --out a file's name.")
    record = {"machine": machine(), "versions": versions(), "commit": commit()}
    record |= {"threads": torch.get_num_threads(), "batch_sizes": sizes, "steps": steps}
    print(record["machine"])
    record["measured"] = _measure_networks(sizes, repeats, steps, measure)
    memory = measure(measure_augmentation_memory)
    record["engines"] = {"pipelines": measure(time_augmentation), "extra_memory_batches": memory}
    print("\nAugmentation on one core, images a second:")
    print(pd.DataFrame(record["engines"]["pipelines"]).T.round({"per_image": 0, "batched": 0, "ratio": 1}).to_string())
    print(f"Augmenting 8,192 images at once takes the memory of {memory:.1f} times the result, itself included.")
    write_result(path, record)
    print(f"\n{path}")
    return path


def _measure_networks(batch_sizes: dict[str, int], repeats: int, steps: int, measure: Callable) -> dict[str, dict]:
    """Return each network's measurements of each kind, printing its row."""
    networks = {}
    for name, batch_size in batch_sizes.items():
        measured = networks[name] = {"plain": [], "ours": [], "memory": []}
        for _ in range(repeats):  # in turns, so that a machine that slows down slows both
            measured["plain"].append(measure(time_plain_loop, name, batch_size, steps))
            measured["ours"].append(measure(time_workbook_loop, name, batch_size, steps))
        measured["memory"].append(measure(measure_step_memory, name))
        row = _row(name, batch_size, measured)
        if len(networks) == 1:
            print(ROW(*row))
        print(ROW(*row.values()))
    return networks


def _row(name: str, batch_size: int, measured: dict[str, list[dict]]) -> dict[str, object]:
    """Return a network's row of the table, by its headings."""
    ours = pd.DataFrame(measured["ours"])
    slow, fast = pd.DataFrame(measured["plain"]).images_per_second, ours.images_per_second
    operations = 3 * 2 * multiply_adds(build(name)) / 1e9  # forward, and two products of the same size backward
    epoch = 50_000 / fast.median()  # seconds for the training images of CIFAR-10
    return {
        "network": name,
        "batch": batch_size,
        "plain, images/s": f"{slow.median():6.0f} ({slow.min():.0f} to {slow.max():.0f})",
        "ours": f"{fast.median():6.0f} ({fast.min():.0f} to {fast.max():.0f})",
        "ratio": f"{fast.median() / slow.median():.2f}",
        "s an epoch": f"{epoch:.0f}",
        "of matmul": f"{(operations * fast / ours.gflops).median():.0%}",
        "loading": f"{ours.loading.median():.1%}",
        "saving": f"{ours.save_seconds.median() / min(60, epoch):.2%}",  # fit saves every minute and every epoch
        "step of 512": f"{measured['memory'][0]['peak_mb']} MB",
    }


def time_plain_loop(network: str, batch_size: int, steps: int) -> dict[str, float]:
    """Time the loop of the usual tutorial: DataLoader, torch's dropout, a number read after every step."""
    device, recipe = pick_device(), replace(RECIPES[network], batch_size=batch_size)
    compose = augmentation(recipe.augmentation, recipe.mean, recipe.std)
    data = AlbumentationsDataset(noise((WARM_UP + steps) * batch_size), compose)
    loader = Timed(DataLoader(data, batch_size, shuffle=True))
    model = use_torch_dropout(build(network)).to(device).train()
    set_dropout(model, recipe.dropout)
    optimizer = make_optimizer(model, recipe)
    running_loss, correct = 0.0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        correct += (logits.argmax(1) == labels).sum().item()
    return loader.pace(steps * batch_size)


def time_workbook_loop(network: str, batch_size: int, steps: int) -> dict[str, float]:
    """Time the steps of `fit`, and how long a state takes to be saved."""
    device, recipe = pick_device(), replace(RECIPES[network], batch_size=batch_size)
    keep_freed_memory()
    data = noise((WARM_UP + steps) * batch_size)
    model = build(network).to(device, memory_format=torch.channels_last).train()
    set_dropout(model, recipe.dropout)
    run = Run(model, recipe, TrainLoader(data, recipe, seed=0, device=device))
    loader = Timed(run.loader.epoch(0))
    for images, labels in loader:
        train_step(run, images, labels)
    run.loss_sum.item()  # waits for the device
    pace = loader.pace(steps * batch_size)
    with tempfile.TemporaryDirectory() as folder, RunDirectory(folder, {}) as kept:
        saves = repeat(lambda: kept.save(run.state_dict(), run.step), number=1, repeat=5)
    return {**pace, "save_seconds": median(saves)}


def measure_step_memory(network: str, batch_size: int = 512) -> dict[str, int]:
    """Measure what steps of this size take beyond what the process holds before them, in MB."""
    before = peak_memory(pick_device())
    time_workbook_loop(network, batch_size, steps=1)
    return {"peak_mb": peak_memory(pick_device()) - before}


def time_augmentation(count: int = 4096, repeats: int = 7) -> dict[str, dict[str, float]]:
    """Time every pipeline image by image and in batches of 512, on one CPU core: images a second."""
    torch.set_num_threads(1)
    keep_freed_memory()
    images = noise(count).images
    return {name: _time_pipeline(augmentation(name), images, repeats) for name in AUGMENTATIONS}


def _time_pipeline(compose: object, images: np.ndarray, repeats: int) -> dict[str, float]:
    pipeline, few = batched(compose), images[: len(images) // 4]
    batches = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().split(512)
    slow, fast = [], []
    for _ in range(1 + repeats):  # in turns; the first meet cold caches
        slow.append(timeit(lambda: [compose(image=image)["image"] for image in few], number=1))
        fast.append(timeit(lambda: [pipeline(b, seed=0, epoch=0, index=np.arange(len(b))) for b in batches], number=1))
    per_image, in_batches = len(few) / median(slow[1:]), len(images) / median(fast[1:])
    return {"per_image": per_image, "batched": in_batches, "ratio": in_batches / per_image}


def measure_augmentation_memory(count: int = 8192) -> float:
    """Measure what augmenting a batch takes beyond what the process holds before it, in sizes of the result."""
    keep_freed_memory()
    images = torch.from_numpy(noise(count).images).permute(0, 3, 1, 2).contiguous()
    pipeline, cpu = batched(augmentation("flip_ssr_cutout")), torch.device("cpu")
    before = peak_memory(cpu)
    result = pipeline(images, seed=0, epoch=0, index=np.arange(count))
    return 1e6 * (peak_memory(cpu) - before) / result.nbytes


class Timed:
    """Batches that keep the time of the loop over them, without its first WARM_UP steps."""

    def __init__(self, batches: Iterable):
        self.batches, self.loading, self.start = iter(batches), 0.0, 0.0  # seconds

    def __iter__(self) -> Iterator:
        asked = time.perf_counter()
        for step, batch in enumerate(self.batches):
            self.loading += time.perf_counter() - asked
            if step == WARM_UP:
                self.loading, self.start = time.perf_counter() - asked, asked
            yield batch
            asked = time.perf_counter()

    def pace(self, images: int) -> dict[str, float]:
        """Return images a second, the share of loading, and how fast the machine multiplies matrices at that time."""
        seconds = time.perf_counter() - self.start
        return {"images_per_second": images / seconds, "loading": self.loading / seconds, "gflops": matmul_rate()}


def matmul_rate(size: int = 1024, repeats: int = 20) -> float:
    """Return the machine's own rate of multiplying matrices, in billions of operations a second."""
    a = torch.randn(size, size, device=pick_device())
    (a @ a).sum().item()
    seconds = timeit(lambda: sum(a @ a for _ in range(repeats))[0, 0].item(), number=1)
    return repeats * 2 * size**3 / seconds / 1e9


class AlbumentationsDataset(Dataset):
    """Images through albumentations one by one, as the library's own examples do it."""

    def __init__(self, data: ImageSet, compose: object):
        self.data, self.compose = data, compose

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.compose(image=self.data.images[index])["image"], int(self.data.labels[index])


def use_torch_dropout(model: nn.Module) -> nn.Module:
    """Replace this workbook's dropout layers by torch's."""
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, Dropout):
                setattr(module, name, nn.Dropout(layer.p))
    return model


def noise(count: int) -> ImageSet:
    """Return images that nothing can be learnt from; the time of a step does not depend on what they show."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
    return ImageSet(images, rng.integers(10, size=count), (), "noise")

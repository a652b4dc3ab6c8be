"""`workbook bench`: the plain loop that people write against this workbook's, side by side on this machine.

Each measurement is a process of its own, or one loop's settings would help the other.
"""

import os
import tempfile
import time
import warnings
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
from torch.profiler import profile
from torch.utils.data import DataLoader, Dataset

from helpers.augment import AUGMENTATIONS, augmentation, batched
from helpers.data import ImageSet
from helpers.engines.fast import keep_freed_memory, multiplies_in_half, peak_memory
from helpers.engines.run_directory import RunDirectory, place, try_writing
from helpers.errors import BadInput, nearest
from helpers.models import MODELS, build, set_dropout
from helpers.models.blocks import Dropout
from helpers.recipes import RECIPES
from helpers.results import write_result
from helpers.runtime import commit, machine, pick_device, session, versions
from helpers.summary import multiply_adds
from helpers.training import Run, begin, make_optimizer, train_step

WARM_UP = 2  # steps not counted: the first ones meet cold caches
ROW = "{:16}{:<7}{:22}{:22}{:7}{:20}{:12}{:11}{:9}{:8}{}".format  # of the table that is printed

OPERATIONS = {  # torch's own names on a CPU and a GPU
    "convolution": {"aten::mkldnn_convolution", "aten::cudnn_convolution", "aten::_slow_conv2d_forward"},
    "its gradients": {"aten::convolution_backward"},
    "batch norm": {"aten::native_batch_norm", "aten::cudnn_batch_norm"},
    "its gradient": {"aten::native_batch_norm_backward", "aten::cudnn_batch_norm_backward"},
    "activation": {"aten::clamp_min", "aten::clamp", "aten::threshold_backward", "aten::hardtanh_backward"},
    "sums and products": {"aten::add", "aten::add_", "aten::mul", "aten::copy_"},
}


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
    path = place(f"runs/bench-{time.strftime('%Y%m%d-%H%M%S')}.json" if out is None else out, "The file's name")
    if path.is_dir():
        raise BadInput(f"{path} is a folder: give --out a file's name.")
    try_writing(path)  # now, and not when all is measured
    kinds = ["float32", "bfloat16"] if multiplies_in_half(pick_device()) else ["float32"]
    record = {"machine": machine(), "versions": versions(), "commit": commit()}
    record |= {"threads": torch.get_num_threads(), "batch_sizes": sizes, "steps": steps}
    record["matmul_gflops"] = {kind: measure(matmul_rate, kind) for kind in kinds}
    rates = ", ".join(f"{rate:,.0f} in {kind}" for kind, rate in record["matmul_gflops"].items())
    print(f"{record['machine']}, {torch.backends.cpu.get_cpu_capability()}; matrix products in GFLOP/s: {rates}")
    record["measured"] = _measure_networks(sizes, repeats, steps, measure)
    record["step_shares"] = {name: measure(profile_step, name, size) for name, size in sizes.items()}
    record["pipelines"] = measure(time_augmentation)
    _print_table("Where the time of a step goes, in percent", 100 * pd.DataFrame(record["step_shares"]).T)
    _print_table("Augmentation on one core, images a second", pd.DataFrame(record["pipelines"]).T)
    write_result(path, record)
    print(f"\n{path}")
    return path


def _print_table(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}:\n{table.round(1).to_string()}")


def _measure_networks(batch_sizes: dict[str, int], repeats: int, steps: int, measure: Callable) -> dict[str, dict]:
    """Return each network's measurements of each kind, printing its row."""
    networks = {}
    for name, batch_size in batch_sizes.items():
        measured = networks[name] = {"plain": [], "ours": [], "auto": [], "memory": []}
        for _ in range(repeats):  # in turns, so that a machine that slows down slows all
            measured["plain"].append(measure(time_plain_loop, name, batch_size, steps))
            measured["ours"].append(measure(time_workbook_loop, name, batch_size, steps, "float32"))
            if multiplies_in_half(pick_device()):
                measured["auto"].append(measure(time_workbook_loop, name, batch_size, steps, "auto"))
        measured["memory"].append(measure(measure_step_memory, name))
        row = _row(name, batch_size, measured)
        if len(networks) == 1:
            print(ROW(*row))
        print(ROW(*row.values()))
    return networks


def _row(name: str, batch_size: int, measured: dict[str, list[dict]]) -> dict[str, object]:
    """Return a network's row of the table, by its headings."""
    ours = pd.DataFrame(measured["ours"])
    auto = "float32"  # where nothing multiplies in half precision
    if measured["auto"]:
        auto = f"{median(m['images_per_second'] for m in measured['auto']):6.0f} in {measured['auto'][-1]['precision']}"
    slow, fast = pd.DataFrame(measured["plain"]).images_per_second, ours.images_per_second
    operations = 3 * 2 * multiply_adds(build(name)) / 1e9  # forward, and two products of the same size backward
    epoch = 50_000 / fast.median()  # seconds for the training images of CIFAR-10
    return {
        "network": name,
        "batch": batch_size,
        "plain, images/s": f"{slow.median():6.0f} ({slow.min():.0f} to {slow.max():.0f})",
        "ours, float32": f"{fast.median():6.0f} ({fast.min():.0f} to {fast.max():.0f})",
        "ratio": f"{fast.median() / slow.median():.2f}",
        "precision auto": auto,
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


def time_workbook_loop(network: str, batch_size: int, steps: int, precision: str) -> dict[str, object]:
    """Time the steps of `fit` in this precision, and how long a state takes to be saved."""
    run = begin_run(network, batch_size, steps, precision)
    loader = Timed(run.loader.epoch(0))
    for images, labels in loader:
        train_step(run, images, labels)
    run.loss_sum.item()  # waits for the device
    pace = loader.pace(steps * batch_size)
    with tempfile.TemporaryDirectory() as folder, RunDirectory(folder, {}) as kept:
        saves = repeat(lambda: kept.save(run.state_dict(), run.step), number=1, repeat=5)
    return {**pace, "precision": session(run.device, run.stepper.precision)["precision"], "save_seconds": median(saves)}


def begin_run(network: str, batch_size: int, steps: int, precision: str) -> Run:
    """Return a run of `fit` before its first step, whose epochs have WARM_UP and `steps` more."""
    data, recipe = noise((WARM_UP + steps) * batch_size), replace(RECIPES[network], batch_size=batch_size)
    return begin(build(network).train(), data, recipe, 0, pick_device(), precision)


def profile_step(network: str, batch_size: int) -> dict[str, float]:
    """Return the share of each kind of operation in a step of `fit`; what numpy does (dropout's bits) is the rest."""
    os.environ["KINETO_LOG_LEVEL"] = "99"  # the profiler's library would tell of GPUs that are not there
    run = begin_run(network, batch_size, 1, "auto")
    *warm_up, last = run.loader.epoch(0)
    for images, labels in warm_up:
        train_step(run, images, labels)
    with warnings.catch_warnings(action="ignore"), profile() as profiled:
        started = time.perf_counter()
        train_step(run, *last)
        run.loss_sum.item()  # waits for the device
        seconds = time.perf_counter() - started
    times = "self_device_time_total" if run.device.type == "cuda" else "self_cpu_time_total"  # in microseconds
    spent = {event.key: getattr(event, times) / 1e6 / seconds for event in profiled.key_averages()}
    shares = {kind: sum(spent.get(name, 0) for name in names) for kind, names in OPERATIONS.items()}
    return {**shares, "rest": 1 - sum(shares.values())}


def measure_step_memory(network: str, batch_size: int = 512) -> dict[str, int]:
    """Measure what steps of this size take beyond what the process holds before them, in MB."""
    before = peak_memory(pick_device())
    time_workbook_loop(network, batch_size, 1, "auto")
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


def matmul_rate(precision: str = "float32") -> float:
    """Return the machine's own rate of multiplying matrices, in billions of operations a second."""
    size, repeats = 1024, 20
    a = torch.randn(size, size, device=pick_device(), dtype=getattr(torch, precision))
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
    for layer in model.modules():
        if isinstance(layer, Dropout):
            layer.__class__ = nn.Dropout
    return model


def noise(count: int) -> ImageSet:
    """Return images that nothing can be learnt from; the time of a step does not depend on what they show."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
    return ImageSet(images, rng.integers(10, size=count), (), "noise")

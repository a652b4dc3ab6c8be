"""Kill a training again and again: its end must be that of one left alone, bit for bit.

`make faults` runs this file, which kills FAULT_KILLS times (100); test_faults.py does so with fewer. FAULT_SEED draws
the moments: after a random time, or at a random event of those that `watched` tells of, half-way through writing
among them. Torch takes seconds to import, so that happens once, and every training is forked off.
"""

import itertools
import json
import mmap
import os
import random
import signal
import tempfile
import threading
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

from helpers.data import ImageSet, load_cifar10, take
from helpers.recipes import RECIPES
from helpers.training import MEASURED, History, fit

RECIPE = replace(RECIPES["dilated_193k"], epochs=3, batch_size=50, augmentation="pad_crop_cutout")
WATCHED = [  # whatever changes the disk
    *((Path, name) for name in ("write_bytes", "unlink")),
    *((os, name) for name in ("open", "fsync", "replace")),
]


def network() -> nn.Module:
    """A small network with every kind of layer that keeps a state, the same each time."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=4), nn.ReLU(), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def images() -> ImageSet:
    return take(load_cifar10("synthetic", train=False), 200)


def train(folder: Path, data: ImageSet, recipe=RECIPE, log: Callable[[str], None] | None = None, **kwargs) -> History:
    """Train a new network, saving at every step."""
    val = data.subset(slice(50))
    return fit(network(), data, recipe, val=val, run_dir=folder, device="cpu", log=log, save_every=0, **kwargs)


@contextmanager
def watched(act: Callable[[str, str], None]) -> Iterator[None]:
    """Call act("in" or "half-way through" or "after", name) as anything comes to the functions in WATCHED."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in WATCHED:
            call = _telling(f"{owner.__name__}.{name}", getattr(owner, name), act)
            patch.setattr(owner, name, call)
        yield


def _telling(name: str, real: Callable, act: Callable[[str, str], None]) -> Callable:
    def call(*args, **kwargs):
        act("in", name)
        if name == "Path.write_bytes":
            path, content = args
            real(path, content[: len(content) // 2])
            act("half-way through", name)
        result = real(*args, **kwargs)
        act("after", name)
        return result

    return call


# --- what must hold -----------------------------------------------------------------------------------------------


def newest_step(folder: Path) -> int:
    """Return the newest checkpoint's step, 0 for none, having seen that none is torn."""
    found = sorted(folder.glob("step-*.pt"))
    for path in found:
        with zipfile.ZipFile(path) as file:
            assert file.testzip() is None, f"{path} is torn"
    return int(found[-1].stem.split("-")[1]) if found else 0


def assert_same_end(folder: Path, whole: Path) -> None:
    """Compare two finished runs: the last state and the weights, without what is measured."""
    assert newest_step(folder) == newest_step(whole) > 0
    first, second = (torch.load(max(run.glob("step-*.pt")), weights_only=True) for run in (folder, whole))
    assert {"model", "optimizer", "rows"} <= set(first)
    for part in second:
        assert states_equal(first[part], second[part]), f"{part} differs in {folder}"
    assert states_equal(*(load_file(run / "model.safetensors") for run in (folder, whole)))
    left = {path.name for path in folder.iterdir() if not path.name.startswith("step-")}
    assert left == {".lock", "config.json", "model.safetensors"}


def states_equal(first: object, second: object) -> bool:
    """Compare two states, tensors bit by bit, leaving out what is measured."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        keys = [key for key in first if key not in MEASURED]
        return set(first) == set(second) and all(states_equal(first[key], second[key]) for key in keys)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(states_equal, first, second))
    return first == second


# --- killing ------------------------------------------------------------------------------------------------------


class Killer:
    """Trains in processes of its own and kills them; `hits` counts where."""

    def __init__(self, folder: Path, data: ImageSet, seed: int):
        self.folder, self.data, self.chance, self.hits = folder, data, random.Random(seed), Counter()
        tqdm.set_lock(threading.RLock())  # its own is shared by all children: one killed with it would stop the next
        self.note = mmap.mmap(-1, 80)  # shared with the trainings: the last event of the one that was killed
        train(folder / "first", data)  # here, so that what is imported or kept at first use is so for all
        started = time.monotonic()
        train(folder / "whole", data)
        self.seconds = time.monotonic() - started

    def attempt(self, folder: Path, after: float | None = None, event: int = 0, kind: str = "") -> str | None:
        """Train, killed `after` seconds or at the event of this number and kind; return where, None at the end."""
        self._write("before the first event")
        if (child := os.fork()) == 0:
            self._train_and_exit(folder, event, kind)
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL), f"the training ended with {status}"
        return self.note[:].rstrip(b"\0").decode() if status else None

    def kill_until_it_ends(self, folder: Path, most: int) -> None:
        """Start the run and kill it, up to `most` times, until it comes to its end; compare that."""
        step = 0
        for kills in itertools.count():
            when = [
                {"after": self.chance.uniform(0, self.seconds / 2)},
                {"event": self.chance.randint(1, 60)},  # of some 20 a step
                {"event": self.chance.randint(1, 3), "kind": "half-way through"},  # of one a step
            ][kills % 3]
            hit = self.attempt(folder, **when if kills < most else {})
            if hit is None:
                break
            self.hits[hit] += 1
            assert newest_step(folder) >= step, f"saved steps were lost by the kill {hit}"
            step = newest_step(folder)
            assert not (folder / "config.json").exists() or json.loads((folder / "config.json").read_text())
        assert_same_end(folder, self.folder / "whole")

    def _train_and_exit(self, folder: Path, event: int, kind: str) -> None:
        count = itertools.count(1)

        def act(moment: str, name: str) -> None:
            self._write(f"{moment} {name}")
            if moment.startswith(kind) and next(count) == event:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            with watched(act):
                train(folder, self.data, on_step=lambda run: act("after", "a step"))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _write(self, text: str) -> None:
        self.note[:] = text.encode().ljust(len(self.note), b"\0")


def main() -> None:
    wanted, seed = (int(os.environ.get(name, default)) for name, default in (("FAULT_KILLS", 100), ("FAULT_SEED", 0)))
    print(f"FAULT_KILLS={wanted} FAULT_SEED={seed}", flush=True)
    torch.set_num_threads(1)  # others would not survive a fork
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        killer = Killer(Path(folder), images(), seed)
        for number in itertools.count(1):
            killer.kill_until_it_ends(killer.folder / f"run-{number}", wanted - killer.hits.total())
            if killer.hits.total() >= wanted:
                break
    for where, count in sorted(killer.hits.items()):
        print(f"{count:5d} {where}")
    print(f"{killer.hits.total()} kills in {time.monotonic() - started:.0f} s")
    print(f"{number} runs ended as the one that was left alone, bit for bit")


if __name__ == "__main__":
    main()

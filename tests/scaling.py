"""How time grows with threads, processes and trials on this machine: the points of docs/beyond_one_machine.md.

`make scaling` runs this, on a machine that does nothing else; started by torchrun it is one of several processes.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from helpers.data import load_cifar10, take
from helpers.engines import ranks
from helpers.models import MODELS, build
from helpers.recipes import RECIPES
from helpers.runtime import machine
from helpers.sweep import Trial, sweep
from helpers.training import fit

NAME, IMAGES, TRIALS = "mobilenet_c40", 2000, 4
RECIPE = replace(RECIPES[NAME], epochs=2)


def images_per_second(threads: int) -> float:
    """Return the second epoch's speed, of all processes together."""
    torch.set_num_threads(threads)
    return fit(build(NAME), take(load_cifar10("synthetic"), IMAGES), RECIPE, log=None).rows[-1]["images_per_second"]


def measure() -> None:
    print(f"{machine()}, {NAME}, {IMAGES:,} images, images a second")
    threads = torch.get_num_threads()
    for count in sorted({1, threads}):
        print(f"{images_per_second(count):6.0f}  one process, threads: {count}", flush=True)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(threads),
        __file__,
    ]
    together = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    print(f"{float(together):6.0f}  one training, processes of one thread: {threads}", flush=True)
    few, test = take(load_cifar10("synthetic"), IMAGES), take(load_cifar10("synthetic", train=False), 500)
    trials = [Trial(NAME, MODELS[NAME], RECIPE, seed) for seed in range(TRIALS)]
    for jobs in sorted({1, threads}):
        with tempfile.TemporaryDirectory() as out:
            started = time.perf_counter()
            sweep(trials, few, Path(out), test=test, jobs=jobs, log=None)
            seconds = time.perf_counter() - started
        speed = TRIALS * RECIPE.epochs * IMAGES / seconds
        print(f"{speed:6.0f}  {TRIALS} trials, start and test included, at once: {jobs}", flush=True)


if __name__ == "__main__":
    with ranks.joined():
        if ranks.count() > 1:
            speed = images_per_second(1)
            if ranks.rank() == 0:
                print(speed)
        else:
            measure()

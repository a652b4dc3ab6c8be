"""Six trials on a Dask cluster of this machine's processes, some of which are killed: results are as without Dask.

`make cluster` runs this. Each round prints a line; an assertion or a timeout ends it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

from helpers.data import load_cifar10, take
from helpers.errors import BadInput
from helpers.models import AblationNet
from helpers.recipes import Recipe
from helpers.sweep import Trial, sweep
from helpers.training import MEASURED

RECIPE = Recipe(network="ablation", epochs=3, batch_size=50, optimizer="adamw", peak_lr=0.005, augmentation="flip")
TRIALS = [Trial(name, AblationNet, RECIPE, seed) for name in ("a", "b") for seed in range(3)]
DASK = [sys.executable, "-m", "dask"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@contextmanager
def scheduler_with(workers, folder, environments=({}, {})):
    """Give the address, the scheduler's process, and those of the workers' nannies."""
    file = folder / f"scheduler-{time.time_ns()}.json"
    place = ["--scheduler-file", str(file), "--no-dashboard"]
    scheduler = subprocess.Popen([*DASK, "scheduler", *place, "--host", "127.0.0.1", "--port", "0"], **QUIET)
    nannies = [
        subprocess.Popen([*DASK, "worker", *place, "--nthreads", "1"], env=os.environ | environment, **QUIET)
        for environment in environments[:workers]
    ]
    while not file.exists():
        time.sleep(0.1)
    try:
        yield json.loads(file.read_text())["address"], scheduler, nannies
    finally:
        for process in (*nannies, scheduler):
            process.terminate()
        for process in (*nannies, scheduler):
            process.wait()


def records(out):
    """Return what the result files say, without what differs from run to run."""
    found = {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("*/result.json"))}
    for record in found.values():
        del record["final"]["train_minutes"]
        record["epochs"] = [{k: v for k, v in row.items() if k not in MEASURED} for row in record["epochs"]]
    return found


def kill_later(pid_of, out, finished):
    """Kill a process when so many trials have finished."""

    def wait_and_kill():
        while len(list(out.glob("*/result.json"))) < finished:
            time.sleep(0.05)
        os.kill(pid_of(), signal.SIGKILL)

    Thread(target=wait_and_kill, daemon=True).start()


def worker_of(nanny):
    """Return the process that a nanny watches over."""
    return int(Path(f"/proc/{nanny.pid}/task/{nanny.pid}/children").read_text().split()[-1])


def main():
    train = take(load_cifar10("synthetic"), 500)
    options = {"holdout": take(load_cifar10("synthetic", train=False), 100), "device": "cpu", "log": None}
    options["precision"] = "float32"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.monotonic()
        told = lambda text: print(f"{time.monotonic() - started:5.0f} s  {text}", flush=True)  # noqa: E731
        sweep(TRIALS, train, folder / "here", jobs=1, **options)
        told("six trials, one after another on this machine")
        expected = records(folder / "here")
        assert len(expected) == 6
        with scheduler_with(2, folder) as (address, scheduler, nannies):
            sweep(TRIALS, train, folder / "there", dask=address, **options)
            assert records(folder / "there") == expected
            told("the same on two workers: equal result files but for the times")
            kill_later(lambda: worker_of(nannies[0]), folder / "killed", finished=1)
            sweep(TRIALS, train, folder / "killed", dask=address, **options)
            assert records(folder / "killed") == expected
            told("a worker killed in the middle: all six, and equal again")
            kill_later(lambda: scheduler.pid, folder / "lost", finished=2)
            try:
                sweep(TRIALS, train, folder / "lost", dask=address, **options)
                raise AssertionError("the scheduler was not killed in time")
            except BadInput as error:
                told(f"the scheduler killed: {error}")
            left = records(folder / "lost")
            assert 2 <= len(left) < 6
        sweep(TRIALS, train, folder / "lost", jobs=2, **options)
        assert records(folder / "lost") == expected
        told(f"a second call, here: the other {6 - len(left)} are trained, and all are equal")
        kill_a_parent(folder / "orphans")
        told("a sweep's own process killed: those that trained for it ended by themselves")


def kill_a_parent(out):
    """Kill the process of a sweep while two others train for it; raises AssertionError if these are not gone then."""
    with subprocess.Popen([sys.executable, __file__, str(out)], **QUIET) as parent:
        while len(list(out.glob("*/config.json"))) < 2:
            time.sleep(0.1)
        family = descendants(parent.pid)
        parent.kill()
    for _ in range(300):
        if not [pid for pid in family if Path(f"/proc/{pid}").exists()]:
            return
        time.sleep(0.1)
    raise AssertionError("they still run after half a minute")


def descendants(pid):
    """Return the processes that this one started, and those that they did."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [grandchild for child in children for grandchild in descendants(child)]


if __name__ == "__main__":
    if sys.argv[1:]:
        few, recipe = take(load_cifar10("synthetic"), 500), replace(RECIPE, epochs=1000)
        sweep([Trial("long", AblationNet, recipe, seed) for seed in (0, 1)], few, sys.argv[1], holdout=few, jobs=2)
    else:
        main()

"""Jobs in processes of this machine: one thread each, stopped together, and a death costs nothing but its own job."""

import os
import pickle
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partialmethod
from multiprocessing import connection, current_process, get_context, parent_process
from multiprocessing.context import BaseContext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm import tqdm

from helpers.engines.fence import start
from helpers.engines.resumable import Stop
from helpers.errors import BadInput, Interrupted

OPTIMISERS = "torch._dynamo"  # the first step of any of them imports it, for seconds
UNGUARDED = 79  # exit code of a process that was about to start others while it imported the script that started it
DEATHS = 2  # of a job's process, after which it is not tried again
Outcome = tuple[str, object, str]  # a job's name, what it returned, and what went wrong ("" for nothing)


def run_jobs(
    function: Callable, jobs: dict[str, object], shared: object, out: Path, *, workers: int | None,
    device: torch.device, tick: Callable[[int], None],
) -> Iterator[Outcome]:  # fmt: skip
    """Yield each job's outcome; it is `function(job, shared, out / name, told)`, in one of `workers` processes.

    `told` has the process's `device`; called with a number after every step, it adds that up for `tick` and passes a
    stop on as SIGTERM. Ctrl-C and SIGTERM are told to every job, which saves and ends; then Interrupted is raised. A
    job whose process dies is done again. Raises BadInput for what cannot be pickled, and less than one worker.
    """
    places = devices(device)
    workers = workers_for(device) if workers is None else workers
    if workers < 1:
        raise BadInput(f"{workers} processes were asked for; give a number from 1.")
    if not jobs:
        return
    context = processes_for(function)
    stop, progress = context.RawValue("b"), context.RawArray("i", len(jobs))
    with Stop() as signals, TemporaryDirectory() as folder:
        content = _write(Path(folder) / "jobs", function, jobs, shared)
        pool = _Pool(jobs, lambda place: _Child(context, content, out, stop, progress, places[place % len(places)]))
        try:
            while pool.start(0 if stop.value else workers):
                yield from pool.ended()
                tick(sum(progress))
                stop.value = signals.signum is not None
            pool.refuse_stopped(len(jobs), out, signals.signum or signal.SIGTERM)
        finally:
            stop.value = True
            pool.close()


def processes_for(function: Callable) -> BaseContext:
    """Return how processes start: clean ones, since a copy of this one would have its locks and a dead CUDA.

    On Linux they are copies of one that has imported what the function needs and done nothing else: no wait for torch.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, function.__module__, OPTIMISERS])
    return context


def end_if_importing() -> None:
    """End this process if all it does is to import the script that has started it; `run_jobs` there says why."""
    if getattr(current_process(), "_inheriting", False):
        os._exit(UNGUARDED)


def refuse_names(names: Sequence[str]) -> None:
    """Raise BadInput for names of jobs that cannot be those of folders, or are alike where capitals do not count."""
    folded = Counter(name.casefold() for name in names)
    for name in names:
        if not name or name != Path(name).name or set(name) & set('<>:"|?*\\') or name.startswith("."):
            raise BadInput(f"{name!r} cannot be a folder's name: give another name.")
        if folded[name.casefold()] > 1:
            raise BadInput(f"Two are called {name!r}: give each name and seed once.")


def in_order(names: Iterable[str], outcomes: Iterator[Outcome]) -> Iterator[tuple[object, str]]:
    """Yield value and problem of each name, in this order, each as soon as it has come."""
    come = {}
    for name in names:
        while name not in come:
            ended, *come[ended] = next(outcomes)
        yield come[name]
    list(outcomes)  # so that what gave them comes to its end


def devices(device: torch.device) -> list[str]:
    """Return the device's name, or where it names a kind of accelerator those of all that are there."""
    if device.type == "cpu" or device.index is not None:
        return [str(device)]
    return [f"{device.type}:{number}" for number in range(torch.accelerator.device_count())]


def workers_for(device: torch.device) -> int:
    """Return how many processes there are unless a number is given: one for each core, or for each accelerator."""
    if device.type != "cpu":
        return len(devices(device))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write(path: Path, *content: object) -> Path:
    """Write what every process reads: faster than a pipe to each, one after another."""
    try:
        path.write_bytes(pickle.dumps(content))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise BadInput(f"This cannot be sent to another process ({error}): give what can be imported.") from None
    return path


class _Child:
    """A process that does one job after another."""

    def __init__(self, context, *arguments):
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *arguments))
        start(self.process)
        theirs.close()  # or its end would not be noticed

    def answer(self) -> tuple[str, object]:
        """Return what became of the job; "died" and an exit code where the process is gone."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return "died", self.process.exitcode


class _Pool:
    """Which job waits, which runs in which process, and which was stopped."""

    def __init__(self, jobs: dict[str, object], make: Callable[[int], _Child]):
        self.waiting, self.make, self.deaths = list(jobs), make, Counter()
        self.children: dict[int, _Child] = {}  # by place
        self.busy: dict[int, str] = {}  # the names of their jobs
        self.stopped: list[str] = []

    def start(self, workers: int) -> bool:
        """Give the free ones of so many processes a job; return whether any job runs."""
        for place in range(workers):
            if self.waiting and place not in self.busy:
                if place not in self.children:
                    self.children[place] = self.make(place)
                self.busy[place] = self.waiting.pop(0)
                self.children[place].pipe.send(self.busy[place])
        return bool(self.busy)

    def ended(self) -> Iterator[Outcome]:
        """Wait a moment; yield the outcomes of jobs that ended."""
        ready = connection.wait([self.children[place].pipe for place in self.busy], timeout=0.2)
        for place in [place for place in self.busy if self.children[place].pipe in ready]:
            name, (what, value) = self.busy.pop(place), self.children[place].answer()
            if (what, value) == ("died", UNGUARDED):
                raise BadInput('Each process imports the script: put its work under `if __name__ == "__main__":`.')
            if what == "died":
                del self.children[place]
                self.deaths[name] += 1
            if what in ("done", "failed"):
                yield name, *((value, "") if what == "done" else (None, value))
            elif what == "stopped":
                self.stopped.append(name)
            elif self.deaths[name] < DEATHS:
                self.waiting.insert(0, name)
            else:
                yield name, None, f"its process died {DEATHS} times, at last with exit code {value}"

    def refuse_stopped(self, total: int, out: Path, signum: int) -> None:
        """Raise Interrupted if not all jobs came to their end."""
        if left := len(self.waiting) + len(self.stopped):
            raise Interrupted(
                f"Stopped: {total - left} of {total} are done, and what was under way is saved in {out}. The same "
                "command or call goes on from there.",
                signum,
            )

    def close(self) -> None:
        for child in self.children.values():
            child.pipe.close()
        for child in self.children.values():
            child.process.join()


class _Told:
    """What a job knows of the process it runs in."""

    def __init__(self, device: str, place: int, stop, progress):
        self.device, self.place, self.stop, self.progress = device, place, stop, progress

    def __call__(self, done: int) -> None:
        self.progress[self.place] = done
        if self.stop.value:  # the training's own handler saves, and ends it before the next step
            signal.raise_signal(signal.SIGTERM)


def _serve(pipe, content: Path, out: Path, stop, progress, device: str) -> None:
    """Do the jobs whose names come through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent says when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)  # the parent has a bar for all
    try:
        while name := pipe.recv():
            pipe.send(_do(name, content, out, stop, progress, device))
    except (EOFError, OSError):  # the parent is done, or gone
        pass


def _do(name: str, content: Path, out: Path, stop, progress, device: str) -> tuple[str, object]:
    try:
        with content.open("rb") as file:
            function, jobs, shared = pickle.load(file)
        told = _Told(device, list(jobs).index(name), stop, progress)
        return "done", function(jobs[name], shared, out / name, told)
    except Interrupted as stopped:
        return "stopped", str(stopped)
    except Exception as error:
        return "failed", in_words(error)


def _end_with_parent() -> None:
    parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)  # a training saves its state first


def in_words(error: Exception) -> str:
    """Return what a job failed of, on one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, BadInput) else f"{type(error).__name__}: {text}"

"""What makes a run safe to stop: a state saved when it is due, and signals that wait until it is."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from helpers.engines.run_directory import RunDirectory
from helpers.errors import BadInput, Interrupted


@contextmanager
def repeatable() -> Iterator[None]:
    """Leave the global generators as they were, and let cuDNN choose the same algorithms every time."""
    with torch.random.fork_rng(), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        yield


class Stop:
    """Keeps Ctrl-C and SIGTERM, in `signum`, until they can be obeyed; a second one acts as it did before.

    A signal that is ignored from the start, as SIGINT is in a shell's background jobs, stays ignored. At the end of the
    `with` a signal that nobody obeyed is raised again.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.before: dict[int, object] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is not threading.main_thread():  # no other may set handlers
            return self
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
        for number in self.before:  # all known now, since a signal may ask for its own at once
            signal.signal(number, self._keep)
        return self

    def __exit__(self, kind, *error) -> None:
        for number in self.before:
            self._restore(number)
        if self.signum is not None and kind is None:
            signal.raise_signal(self.signum)

    def _keep(self, number: int, frame: object) -> None:
        self.signum = number
        self._restore(number)

    def _restore(self, number: int) -> None:
        signal.signal(number, self.before[number] or signal.SIG_DFL)  # None: another language's handler


class Saver:
    """Saves a run's state when it is due, and then obeys a signal that came; without a folder it does nothing.

    A run has `step` and `steps` (taken, and in all), `within_epoch` (whether more steps come before its epoch's row),
    `place()` in words, and as plain tensors and values all it is between steps: `state_dict()`, `load_state_dict()`.
    """

    def __init__(self, run: object, folder: RunDirectory | None, session: dict, stop: Stop, every: float):
        self.run, self.folder, self.stop, self.every = run, folder, stop, every
        self.sessions = folder.sessions if folder else [session]
        self.saved = time.monotonic()

    def __call__(self, now: bool = False) -> None:
        """Save `now`, or if `every` seconds have passed or a signal has come; after a signal raise Interrupted."""
        waited = self.stop.signum is not None or time.monotonic() - self.saved >= self.every
        due = now or (waited and self.run.within_epoch)  # after an epoch's last step its row comes first
        if self.folder is None or not due:
            return
        self.folder.save(self.run.state_dict(), self.run.step)
        self.saved = time.monotonic()
        if self.stop.signum is not None:
            raise Interrupted(
                f"Stopped after step {self.run.step:,} of {self.run.steps:,}. The state is saved in "
                f"{self.folder.path}; the same command or call goes on from there.",
                self.stop.signum,
            )


@contextmanager
def resumable(
    run, path: str | Path | None, config: dict, session: dict, *, resume: bool, every: float, log: Callable[[str], None]
) -> Iterator[Saver]:
    """Go to the newest state in the folder, if one lies there, and give what saves the next ones there.

    `config` is what a run must agree on to be resumed, `session` what is noted of each time that it goes on: code,
    machine, versions. Without a path nothing is saved and signals act as ever.
    """
    if path is None:
        yield Saver(run, None, session, Stop(), every)
        return
    with RunDirectory(path, config, resume) as folder:
        state = folder.load(log)
        if state is not None:
            try:
                run.load_state_dict(state)
            except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
                raise BadInput(
                    f"The state in {folder.path} is of another version of the workbook ({error!r}): "
                    "finish the run with that one, or choose another folder."
                ) from error
            log(f"resumed after {run.place()}")
            del state  # or it would lie in memory until the run's end
        if run.step < run.steps:
            for name in folder.add_session({"from_step": run.step, **session}):
                log(f"going on with another {name}: the end may differ from an uninterrupted run's in its last digits")
        with Stop() as stop:
            yield Saver(run, folder, session, stop, every)

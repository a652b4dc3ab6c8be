"""What makes a run safe to stop: a state saved when it is due, and signals that wait until it is."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from helpers.engines import ranks
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

    def __init__(self, run: object, folder: RunDirectory | None, path: object, session: dict, stop: Stop, every: float):
        self.run, self.folder, self.path, self.stop, self.every = run, folder, path, stop, every
        self.sessions = folder.sessions if folder else [session]
        self.saved = time.monotonic()

    def __call__(self, now: bool = False) -> None:
        """Save `now`, or if `every` seconds have passed or a signal has come; after a signal raise Interrupted."""
        if self.path is None:
            return
        late = time.monotonic() - self.saved >= self.every
        signum, late = ranks.agree(self.stop.signum or 0, int(late))  # all stop and save after the same step
        # After an epoch's last step its row comes first.
        if not now and not ((signum or late) and self.run.within_epoch):
            return
        state = self.run.state_dict()
        if self.folder:
            self.folder.save(state, self.run.step)
        self.saved = time.monotonic()
        if signum:
            raise Interrupted(
                f"Stopped after step {self.run.step:,} of {self.run.steps:,}. The state is saved in "
                f"{self.path}; the same command or call goes on from there.",
                signum,
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
        yield Saver(run, None, None, session, Stop(), every)
        return
    with RunDirectory(path, config, resume) if ranks.rank() == 0 else nullcontext() as folder:
        state = ranks.from_first(folder.load(log) if folder else None)
        if state is not None:
            try:
                if folder and not folder.sessions:
                    raise ValueError("its config.json names no session")
                run.load_state_dict(state)
            except Exception as error:  # whatever the content led to
                raise BadInput(
                    f"The state in {path} is of another version of the workbook, or no run's ({error!r}): "
                    "finish the run with that one, or choose another folder."
                ) from error
            log(f"resumed after {run.place()}")
            del state  # or it would lie in memory until the run's end
        if folder and run.step < run.steps:
            for name in folder.add_session({"from_step": run.step, **session}):
                log(f"going on with another {name}: the end may differ from an uninterrupted run's in its last digits")
        with Stop() as stop:
            yield Saver(run, folder, path, session, stop, every)

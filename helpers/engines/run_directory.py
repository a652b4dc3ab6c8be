"""A run on disk: a training state that is either old or new, never torn, and never two runs in one folder."""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from helpers.errors import BadInput

CONFIG, WEIGHTS, RESULT = "config.json", "model.safetensors", "result.json"  # what is left of a finished run
ANEW = "start again (resume=False, on the command line --anew)"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside `path`, flush it to disk and rename it, so that `path` is old or new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        _flush(partial, os.O_RDWR)  # Windows flushes only what may be written to
        os.replace(partial, path)
        if os.name == "posix":  # the folder itself, or a power cut could undo the renaming; Windows opens no folders
            _flush(path.parent, os.O_RDONLY)
    finally:
        partial.unlink(missing_ok=True)


def _flush(path: Path, flags: int) -> None:
    """Wait until what was written is on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def refusing_disk(folder: Path) -> Iterator[None]:
    """Raise BadInput when the disk refuses."""
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be written to ({error.strerror or error}): mend that or choose another folder, and run "
            "again; what was saved before is sound."
        ) from error


def read_json(path: Path, problem: str) -> dict:
    """Return a file's content; raises BadInput with the path and the problem where it cannot be read."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} {problem} ({error}).") from None


class RunDirectory:
    """The folder of one training run, locked while it is open.

    It holds `config.json` (what the run is, and by which code and machine, for every resumption), the two newest
    checkpoints, and at the end the weights. Opening raises BadInput for a folder that cannot be written to,
    that another process trains in, or that holds another run, showing what differs.
    """

    def __init__(self, path: str | Path, config: dict, resume: bool = True):
        self.path, self.config, self.resume = Path(path), config, resume
        self.sessions: list[dict] = []

    def __enter__(self) -> "RunDirectory":
        with refusing_disk(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = FileLock(self.path / ".lock", timeout=0)  # the system's own lock: it dies with its process
            try:
                self.lock.acquire()
                self._claim()
            except Timeout:
                raise BadInput(f"Another process trains in {self.path}: wait, or choose another folder.") from None
            except BaseException:
                self.lock.release()
                raise
        return self

    def __exit__(self, *error) -> None:
        self.lock.release()

    def _claim(self) -> None:
        path = self.path / CONFIG
        for stale in self.path.glob(".*.partial"):  # of a process that was killed while it wrote
            stale.unlink()
        if not self.resume:
            for old in [self.path / WEIGHTS, *self.checkpoints(), path]:  # last the config: it says whose they are
                old.unlink(missing_ok=True)
        if not path.exists():
            if self.checkpoints():
                raise BadInput(f"{path} is missing, which says whose checkpoints these are: choose another folder.")
            return self._write_config()
        try:
            theirs, self.sessions = map(json.loads(path.read_text()).__getitem__, ("run", "sessions"))
            differing = [key for key in {**theirs, **self.config} if theirs.get(key) != self.config.get(key)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{path} is damaged ({error}): choose another folder, or {ANEW}.") from None
        if differing:
            values = ", ".join(f"{k} {theirs.get(k)!r} there and {self.config.get(k)!r} now" for k in differing)
            raise BadInput(f"{self.path} holds another run ({values}): choose another folder, or {ANEW}.")

    def _write_config(self) -> None:
        text = json.dumps({"run": self.config, "sessions": self.sessions}, indent=1) + "\n"
        write_atomically(self.path / CONFIG, text.encode())

    def add_session(self, session: dict) -> list[str]:
        """Note that the run goes on; return what of code, machine and versions is another than the last time."""
        last = self.sessions[-1] if self.sessions else session
        self.sessions.append(session)
        with refusing_disk(self.path):
            self._write_config()
        return [name for name, value in session.items() if name != "from_step" and last.get(name) != value]

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        return sorted(self.path.glob("step-*.pt"), reverse=True)  # step-<steps done>.pt

    def save(self, state: dict, step: int) -> None:
        """Write the state, plain tensors and values, as the newest checkpoint; raises BadInput when the disk does."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with refusing_disk(self.path):
            write_atomically(self.path / f"step-{step:09d}.pt", buffer.getvalue())
            for old in self.checkpoints()[2:]:  # the one before stays, in case the disk damages the newest
                old.unlink()

    def load(self, log: Callable[[str], None]) -> dict | None:
        """Return the newest sound state, None for a new folder; `log` is told of damaged ones.

        Raises BadInput when all are damaged. Nothing in a file is executed, whatever it holds.
        """
        found = self.checkpoints()
        for place, path in enumerate(found):
            try:
                state = read_state(path)
            except Exception as error:  # whatever the content led to
                log(f"{path} is damaged ({type(error).__name__} while reading)")
                continue
            for damaged in found[:place]:
                damaged.rename(damaged.with_suffix(".damaged"))  # or it would count as one of the newest
            return state
        if found:
            raise BadInput(f"Every checkpoint in {self.path} is damaged: delete the folder to train from the start.")
        return None


def read_state(path: Path) -> dict:
    """Return a checkpoint's state; raises whatever the disk, zipfile or torch makes of a damaged one.

    A checkpoint is a zip with a CRC-32 of each member, which torch itself does not compare.
    """
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(f"the checksum of {damaged} is another one")
    return torch.load(path, map_location="cpu", weights_only=True)

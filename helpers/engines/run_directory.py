"""A run on disk: a training state that is either old or new, never torn, and never two runs in one folder."""

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from helpers.errors import BadInput

CONFIG, WEIGHTS, RESULT = "config.json", "model.safetensors", "result.json"  # what is left of a finished run
ANEW = "start again (resume=False, on the command line --anew)"
OWN = {".lock": b"", WEIGHTS: b"workbook", RESULT: b'"recipe"'}  # what stands in those that a run has written
PARTIAL = re.compile(r"\.(config\.json|model\.safetensors|result\.json|step-\d{9}\.pt)\.\d+\.partial")


def place(path: str | Path, what: str = "The run's folder") -> Path:
    """Return the path, one's own `~` expanded; raises BadInput for an empty one, another's, and what is no UTF-8."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    text = os.path.expanduser(text) if Path(text).parts[:1] == ("~",) else text
    if not text.strip() or text[0] == "~" or text != text.encode("utf-8", "replace").decode():
        raise BadInput(f"{what} is {str(path)!r}; give a name that is not empty, in UTF-8, of no other's home.")
    return Path(text)


def try_writing(path: Path) -> None:
    """Write a file beside `path` and take it away again; raises BadInput where none can be written."""
    with refusing_disk(path.parent):
        write_atomically(probe := path.with_name(f".{path.name}.{os.getpid()}.probe"), b"?")
        probe.unlink()


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


def as_json(content: dict) -> str:
    """Return an object as JSON, with a digest of all that it says."""
    return json.dumps({**content, "digest": _digest(content)}, indent=1) + "\n"


def _digest(content: dict) -> str:
    told = json.loads(json.dumps({**content, "digest": ""}))  # as it is read again: keys are text
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def read_json(path: Path, problem: str) -> dict:
    """Return a file's object; raises BadInput with the path and the problem for none, and one with a false digest."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError("it is a pipe or a device")  # reading one may never end
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        if content.pop("digest", None) not in (None, _digest(content)):  # an older version writes none
            raise ValueError("its digest is another one")
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} {problem} ({error}).") from None


class RunDirectory:
    """The folder of one training run, locked while it is open.

    It holds `config.json` (what the run is, and by which code and machine, for every resumption), the two newest
    checkpoints, and at the end the weights. Opening raises BadInput for a folder that cannot be written to,
    that another process trains in, or that holds another run, showing what differs.
    """

    def __init__(self, path: str | Path, config: dict, resume: bool = True):
        self.path, self.config, self.resume = place(path), config, resume
        self.sessions: list[dict] = []

    def __enter__(self) -> "RunDirectory":
        with refusing_disk(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_foreign(self.path)  # before the lock's file is made
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
            if PARTIAL.fullmatch(stale.name):
                stale.unlink()
        if path.exists() and not self.resume:  # the result first, the config last: it says whose they are
            for old in [self.path / RESULT, self.path / WEIGHTS, *self.checkpoints(), path]:
                old.unlink(missing_ok=True)
        if not path.exists():
            return self._write_config()
        theirs, self.sessions = read_config(self.path)
        refuse_another(self.path, theirs, {**dict.fromkeys(theirs), **self.config})

    def _write_config(self) -> None:
        write_atomically(self.path / CONFIG, as_json({"run": self.config, "sessions": self.sessions}).encode())

    def add_session(self, session: dict) -> list[str]:
        """Note that the run goes on; return what of code, machine and versions is another than the last time."""
        last = self.sessions[-1] if self.sessions else session
        self.sessions.append(session)
        with refusing_disk(self.path):
            self._write_config()
        return [name for name, value in session.items() if name != "from_step" and last.get(name) != value]

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        return sorted(self.path.glob(f"step-{'[0-9]' * 9}.pt"), reverse=True)  # step-<steps done>.pt

    def save(self, state: dict, step: int) -> None:
        """Write the state, plain tensors and values, as the newest checkpoint; raises BadInput when the disk does."""
        buffer = io.BytesIO()
        torch.save({**state, "of_run": _digest(self.config)}, buffer)
        with refusing_disk(self.path):
            write_atomically(self.path / f"step-{step:09d}.pt", buffer.getvalue())
            for old in self.checkpoints()[2:]:  # the one before stays, in case the disk damages the newest
                old.unlink()

    def load(self, log: Callable[[str], None]) -> dict | None:
        """Return the newest sound state, None for a new folder; `log` is told of damaged ones.

        Raises BadInput when all are damaged, and for another run's. Nothing in a file is executed, whatever it holds.
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
            if state.pop("of_run", None) != _digest(self.config):
                raise BadInput(f"{path} is of another run than {self.path / CONFIG}: take it away, or {ANEW}.")
            return state
        if found:
            raise BadInput(f"Every checkpoint in {self.path} is damaged: delete the folder to train from the start.")
        return None


def read_config(folder: Path) -> tuple[dict, list[dict]]:
    """Return what the run in this folder is, and its sessions; raises BadInput where its config names none."""
    problem = f"is damaged, or no run's: choose another folder, or delete {folder} to start again"
    content = read_json(folder / CONFIG, problem)
    run, sessions = content.get("run"), content.get("sessions")
    if not (isinstance(run, dict) and isinstance(sessions, list) and all(isinstance(one, dict) for one in sessions)):
        raise BadInput(f"{folder / CONFIG} {problem} (it names no run and sessions).")
    return run, sessions


def refuse_another(folder: Path, theirs: dict, ours: dict) -> None:
    """Raise BadInput where the folder's run has other values than these, showing what differs."""
    differing = [key for key in ours if theirs.get(key) != ours[key]]
    if differing:
        values = ", ".join(f"{key} {theirs.get(key)!r} there and {ours[key]!r} now" for key in differing)
        raise BadInput(f"{folder} holds another run ({values}): choose another folder, or {ANEW}.")


def check_folder(name: str, folder: str, run: dict | None = None) -> str:
    """Make the folder that the parameter of this name gives, and return it, `~` expanded.

    Raises BadInput where nothing can be written, and for a folder of another run than one of these values.
    """
    path = place(folder, name)
    try_writing(path / CONFIG)
    if run and (path / CONFIG).exists():
        refuse_another(path, read_config(path)[0], run)
    return str(path)


def refuse_foreign(folder: Path) -> None:
    """Raise BadInput for a folder with a file that no run has written, and that one would take or replace.

    With a run's config in it a folder is a run's, whatever else lies there; without one it has to be empty.
    """
    found = {path.name for path in folder.iterdir() if not PARTIAL.fullmatch(path.name)}
    foreign = {name for name in found & set(OWN) if not _is_own(folder / name)}
    if CONFIG not in found:
        foreign |= found - {".lock"}
    if foreign:
        why = ", ".join(sorted(foreign)) + ("" if CONFIG in found else f"; {CONFIG} is missing")
        raise BadInput(f"{folder} holds what no run has written, or what is damaged ({why}): choose another folder.")
    if CONFIG in found:
        read_config(folder)


def _is_own(path: Path) -> bool:
    content, mark = path.read_bytes() if path.is_file() else b"?", OWN[path.name]
    return mark in content if mark else not content


def read_state(path: Path) -> dict:
    """Return a checkpoint's state; raises whatever the disk, zipfile or torch makes of a damaged one.

    A checkpoint is a zip with a CRC-32 of each member, which torch itself does not compare.
    """
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(f"the checksum of {damaged} is another one")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    return state

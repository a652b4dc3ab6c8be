"""Work on a student's code in a process of its own, with limits: `workbook check` and `workbook grade` share it."""

import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock, Timer

from helpers.engines import fence
from helpers.errors import BadInput

SECONDS, GIGABYTES = 180, 8  # a check takes seconds, and a gigabyte at most
LONGEST, FOR_READING = 2**20, 10  # bytes of an answer, and seconds in which it is read
KEPT = {"PATH", "LANG", "TZ", "OMP_WAIT_POLICY", "SYSTEMROOT"}  # of the environment, in an enclosed process
DATA_SET = "cifar-10-batches-py"
NOTEBOOKS_NEED = "helpers.sweep", "helpers.plots", "matplotlib.font_manager"  # imported once, not by each student
ONE_AT_A_TIME = Lock()

# On Linux processes are copies of one that has imported what is needed and never runs a student's code itself.
CONTEXT = get_context("forkserver" if sys.platform == "linux" else "spawn")


def check(**options: object) -> int:
    """Print how a network stands to the challenge; return 1 when a constraint is not met.

    What the code prints goes to standard error. Raises BadInput when its process ends without a table, for whatever
    reason: a table is the only success.
    """
    told = ask("students:judged", options["network"], options, SECONDS, GIGABYTES)["answer"]
    print(told["table"])
    return told["status"]


def ask(work: str, name: str, options: dict, seconds: float, gigabytes: float, folder="", hidden=()) -> dict:
    """Return a dict of the `answer` that the function `work`, ROOM:FUNCTION, gives, and of what the fence has to tell.

    With `folder` the process is enclosed in that folder, sees those called `hidden` empty, and what it prints is
    thrown away. Raises BadInput with `name` and the reason where there is no answer.
    """
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_work, args=(theirs, work, name, options, seconds, gigabytes, folder, hidden))
    told, late = b"", False
    timer = Timer(seconds + FOR_READING, _kill, [process])  # a part of an answer would be waited for without end
    try:
        _start(process)
        theirs.close()
        with suppress(EOFError, OSError):
            ours.recv_bytes()  # all is imported, and now time runs
            timer.start()
            late = not ours.poll(seconds)
            told = b"" if late else ours.recv_bytes(LONGEST)
    finally:
        timer.cancel()
        _kill(process)
        with ONE_AT_A_TIME:
            process.join()
    return _read(told, name, late, seconds, process.exitcode)


def _start(process: BaseProcess) -> None:
    """Start a process of one thread as a clean one."""
    if sys.platform == "linux":
        CONTEXT.set_forkserver_preload(["helpers.workbook.handed_in", *NOTEBOOKS_NEED])
    with ONE_AT_A_TIME:
        fence.start(process, OMP_NUM_THREADS="1")


def _kill(process: BaseProcess) -> None:
    """End a process and all that it has started."""
    with suppress(OSError, AttributeError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(OSError, AttributeError):  # Windows has no groups
        process.kill()


def _read(told: bytes, name: str, late: bool, seconds: float, status: int) -> dict:
    """Return what was told; raises BadInput with why nothing was."""
    how = f"status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
    reason = f"{name} ends its process ({how}) before there is an answer; leave out what exits."
    if late:
        reason = f"{name} gives no answer within {seconds:g} seconds: look for an endless loop."
    found = {"refused": reason}
    with suppress(ValueError, RecursionError):
        found = json.loads(told)
    if "refused" in found:
        raise BadInput(found["refused"])
    return found


def _work(pipe: Connection, work: str, name: str, options: dict, seconds: float, gigabytes: float, folder: str,
          hidden: list[str]) -> None:  # fmt: skip
    """Send what the work gives, or why it gives nothing, and end without the code's last words."""
    room, function = work.split(":")
    work, told = getattr(import_module(f"helpers.workbook.{room}"), function), {"conduct": []}
    with suppress(AttributeError):
        os.setsid()  # a group of its own
    fence.limit(seconds, gigabytes)
    os.dup2(2, 1)
    pipe.send_bytes(b"ready")
    if folder:
        told["open"] = fence.enclose(folder, hidden)
        _settle(folder)
        fence.watch(folder, DATA_SET, told["conduct"])
    try:
        told["answer"] = work(**options)
    except BadInput as refusal:
        told["refused"] = str(refusal)
    except BaseException as error:  # a student's code may raise anything, also what cannot be printed
        words = ""
        with suppress(BaseException):
            words = ": " + " ".join(str(error).split())[:200]
        told["refused"] = f"{name} stops with {type(error).__name__}{words}."
    sys.stdout.flush()
    pipe.send_bytes(json.dumps(told).encode())
    os._exit(0)


def _settle(folder: str) -> None:
    """Live in the folder, with hardly an environment, and print nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir(folder)
    for name in set(os.environ) - KEPT:
        del os.environ[name]
    os.environ["HOME"] = tempfile.tempdir = folder
    sys.dont_write_bytecode = True

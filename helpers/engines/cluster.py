"""Jobs on a Dask cluster: function, data and results travel through the scheduler, and no folder is shared."""

import hashlib
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import torch

from helpers.engines.pool import Outcome, in_words
from helpers.engines.resumable import Stop
from helpers.engines.run_directory import refusing_disk, write_atomically
from helpers.errors import BadInput, Interrupted

CONNECT_TIMEOUT, WORKER_TIMEOUT = 5, 30  # seconds until there must be a scheduler, and a worker
ADDRESS = re.compile(r"((tcp|tls)://)?[^/]+:\d+")
ROUNDS = 3  # in which lost jobs are given out again
SAME_CODE = "install the same commit of the workbook and the same torch on every machine of the cluster"

_one_at_a_time = threading.Lock()  # a training uses its process's one random generator


def run_jobs(
    function: Callable, jobs: dict[str, object], shared: object, out: Path, *, address: str, device: str,
    keep: Sequence[str], tick: Callable[[int], None], workers: None = None,
) -> Iterator[Outcome]:  # fmt: skip
    """Yield each job's outcome; it is `function(job, shared, folder, told)`, on one of the workers.

    The folder is a temporary one; the files in it called as in `keep` are then written, in this order, to out / name.
    A job whose worker is lost begins anew on another. Raises BadInput where there is no scheduler or no worker, for a
    worker with other code, and when the scheduler is lost; Interrupted after Ctrl-C and SIGTERM.
    """
    if workers is not None:
        raise BadInput("A number of processes is for this machine: on a cluster start as many workers as are wanted.")
    waiting = dict(jobs)
    if not jobs:
        return
    with Stop() as signals, _connected(address) as client:
        for _ in range(ROUNDS):
            futures = _give_out(client, address, function, waiting, shared, device, keep) if waiting else {}
            for name, future in _ended(futures, client, address):
                if signals.signum is not None:
                    client.cancel(list(futures.values()))
                    done = len(jobs) - len(waiting)
                    raise Interrupted(
                        f"Stopped: {done} of {len(jobs)} are done. The same command or call goes on with the others; "
                        "what was under way on the cluster begins anew.",
                        signals.signum,
                    )
                if future is not None and future.status != "cancelled":  # with the data, which the last worker had
                    del waiting[name]
                    tick(len(jobs) - len(waiting))
                    yield _received(name, future, out)
        for name in waiting:
            yield name, None, f"its worker was lost {ROUNDS} times"


def _give_out(client, address: str, function: Callable, jobs: dict, shared: object, device: str, keep: Sequence[str]):
    """Return each job's future by name."""
    work = partial(_work, function, code=code_here(), device=device, keep=keep)
    try:
        data = client.scatter(shared, broadcast=True, hash=False)
        return {name: client.submit(work, job, data, key=f"{name}-{uuid4()}") for name, job in jobs.items()}
    except OSError as error:  # a connection's, or no worker came in time
        raise _lost(address, in_words(error)) from None


def _ended(futures: dict[str, object], client, address: str) -> Iterator[tuple[str, object]]:
    """Yield names and futures that are done, and between them ("", None) so that the caller looks for a signal."""
    while futures:
        time.sleep(0.1)
        if client.status != "running":
            raise _lost(address, client.status)
        for name in [name for name, future in futures.items() if future.done()]:
            yield name, futures.pop(name)
        yield "", None


def _received(name: str, future, out: Path) -> Outcome:
    """Write a job's files and return its outcome; raises BadInput for a worker that cannot do any job."""
    from distributed import KilledWorker

    try:
        what, value, files = future.result()
    except KilledWorker as error:
        return name, None, in_words(error)
    except Exception as error:  # the function is never left by one
        raise BadInput(f"A worker cannot do the work ({in_words(error)}): {SAME_CODE}.") from None
    if what == "refused":
        raise BadInput(value)
    with refusing_disk(out / name):
        for file, content in files.items():
            write_atomically(out / name / file, content)
    return name, *((value, "") if what == "done" else (None, value))


@cache  # the code that runs, and not what the files hold later
def code_here() -> str:
    """Return what decides a job's numbers beside the job: the helpers' code, and torch."""
    package, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n{path.read_text('utf-8')}".encode())
    return f"helpers {digest.hexdigest()[:12]} with torch {torch.__version__}"


def _connected(address: str):
    """Return a client of the scheduler, with at least one worker there."""
    try:
        from distributed import Client
    except ImportError:
        raise BadInput("Dask is not installed: pip install distributed, or leave the cluster out.") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it tells of a lost scheduler is told here
    try:
        if not ADDRESS.fullmatch(address):  # told of it by the client itself, no other client could be made
            raise ValueError("an address is such as tcp://10.0.0.1:8786")
        client = Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"There is no Dask scheduler at {address!r} ({error}): start one with `dask scheduler`, and give "
            "the address that it prints."
        ) from None
    try:
        client.wait_for_workers(1, timeout=WORKER_TIMEOUT)
    except TimeoutError:
        client.close()
        raise BadInput(f"No worker has come to {address}: start some with `dask worker {address}`.") from None
    return client


def _lost(address: str, why: str) -> BadInput:
    return BadInput(f"The Dask cluster at {address} is lost ({why}): start it again; the same call then goes on.")


class _Told:
    """What a job knows of the worker that it runs on."""

    def __init__(self, device: str, worker: object):
        self.device, self.tasks, self.key = device, worker.state.tasks, worker.get_current_task()

    def __call__(self, done: int) -> None:
        task = self.tasks.get(self.key)
        if task is None or task.state == "cancelled":
            raise Interrupted("Nobody waits for this any more.", signal.SIGTERM)


def _work(function: Callable, job: object, shared: object, *, code: str, device: str, keep: Sequence[str]) -> tuple:
    """Do a job on a worker: what became of it, its value or what went wrong, and the files to keep."""
    from distributed import get_worker

    worker, own = get_worker(), code_here()
    if own != code:
        return "refused", f"The worker at {worker.address} has {own}, this machine {code}: {SAME_CODE}.", {}
    with _one_at_a_time, TemporaryDirectory() as folder:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            value = function(job, shared, Path(folder), _Told(device, worker))
        except Exception as error:
            return "failed", in_words(error), {}
        finally:
            torch.set_num_threads(before)
        return "done", value, {name: (Path(folder) / name).read_bytes() for name in keep}

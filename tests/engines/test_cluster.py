"""Jobs on a Dask cluster; `make cluster` has one of several processes, and kills them."""

import logging
import sys
import threading
import time
import warnings

import pytest

from helpers.engines import cluster
from helpers.errors import BadInput

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install distributed")


running = threading.Semaphore(1)


def work(job, shared, folder, told):
    told(1)
    if job == "fail":
        raise BadInput("This one cannot.")
    if job.startswith("alone"):
        alone = running.acquire(blocking=False)
        time.sleep(0.1)
        running.release()
    (folder / "a.txt").write_text(job + shared)
    (folder / "b.txt").write_text("left out")
    return f"{job} on {told.device}" if not job.startswith("alone") else "alone" if alone else "together"


@pytest.fixture(scope="module")
def address():
    """A scheduler and a worker, two threads of which share this process."""
    with warnings.catch_warnings(), distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://", dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    ) as local:  # fmt: skip
        yield local.scheduler_address


def run(jobs, out, address):
    jobs = {name: name for name in jobs}
    options = {"address": address, "device": "cpu", "keep": ["a.txt"], "tick": lambda done: None}
    return {name: (value, problem) for name, value, problem in cluster.run_jobs(work, jobs, str(out), out, **options)}


def test_files_values_and_problems_come_back(address, tmp_path):
    come = run(["one", "fail", "two"], tmp_path, address)
    done = {name: (f"{name} on cpu", "") for name in ("one", "two")}
    assert come == {**done, "fail": (None, "This one cannot.")}
    files = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"{name}/a.txt": f"{name}{tmp_path}" for name in done}


def test_a_worker_does_one_job_at_a_time(address, tmp_path):
    come = run(["alone 1", "alone 2", "alone 3", "alone 4"], tmp_path, address)
    assert {value for value, _ in come.values()} == {"alone"}


def test_a_worker_with_other_code_is_refused_by_its_address(address, tmp_path, monkeypatch):
    def code():
        here = threading.current_thread() is threading.main_thread()
        return "helpers of tomorrow" if here else "helpers of today"

    monkeypatch.setattr(cluster, "code_here", code)
    with pytest.raises(BadInput, match="at tcp://127.0.0.1:[0-9]+ has helpers of today, this machine helpers of tom"):
        run(["one"], tmp_path, address)


@pytest.mark.parametrize("address", ["nowhere", "http://a:1", "tcp://127.0.0.1:1", ""])
def test_no_scheduler_is_told_within_seconds(address, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT", 0.5)
    with pytest.raises(BadInput, match="There is no Dask scheduler at"):
        run(["one"], tmp_path, address)


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match="pip install distributed"):
        run(["one"], tmp_path, "tcp://127.0.0.1:1")

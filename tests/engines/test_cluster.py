"""Jobs on a Dask cluster of processes of this machine: what they return, and what is lost on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers.engines import cluster
from helpers.errors import BadInput

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(not find_spec("distributed"), reason="needs Dask: pip install distributed")


def work(job, shared, folder, told):
    told(1)
    if job == "fail":
        raise BadInput("This one cannot.")
    (folder / "a.txt").write_text(job + shared)
    (folder / "b.txt").write_text("left out")
    if job == "kill" and not (mark := Path(shared) / "killed").exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A scheduler and two workers, each a process; the workers come back when they are killed."""
    file, log = tmp_path_factory.mktemp("dask") / "scheduler.json", subprocess.DEVNULL
    options = {"stdout": log, "stderr": log}
    options["env"] = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    dask = [sys.executable, "-m", "dask"]
    place = ["--scheduler-file", file, "--no-dashboard"]
    started = [subprocess.Popen([*dask, "scheduler", *place, "--host", "127.0.0.1", "--port", "0"], **options)]
    started += [subprocess.Popen([*dask, "worker", *place, "--nthreads", "1"], **options) for _ in range(2)]
    while not file.exists():
        time.sleep(0.05)
    yield json.loads(file.read_text())["address"]
    for process in reversed(started):
        process.terminate()
    for process in started:
        process.wait()


def run(jobs, out, address):
    jobs = {name: name for name in jobs}
    options = {"address": address, "device": "cpu", "keep": ["a.txt"], "tick": lambda done: None}
    return {name: (value, problem) for name, value, problem in cluster.run_jobs(work, jobs, str(out), out, **options)}


def test_files_and_problems_come_back_and_a_killed_worker_is_replaced(address, tmp_path):
    come = run(["one", "fail", "kill", "two"], tmp_path, address)
    done = {name: (name, "") for name in ("one", "kill", "two")}
    assert come == {**done, "fail": (None, "This one cannot.")} and (tmp_path / "killed").exists()
    assert {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.txt")} == {
        f"{name}/a.txt": f"{name}{tmp_path}" for name in done
    }


def test_a_worker_with_other_code_is_refused_by_its_address(address, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "code_here", lambda: "helpers of tomorrow")
    with pytest.raises(BadInput, match="worker at tcp://127.0.0.1:[0-9]+ has helpers .* this machine helpers of tomor"):
        run(["one"], tmp_path, address)


@pytest.mark.parametrize("address", ["nowhere", "http://a:1", "tcp://127.0.0.1:1"])
def test_no_scheduler_is_told_within_seconds(address, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT", 0.5)
    with pytest.raises(BadInput, match="There is no Dask scheduler at"):
        run(["one"], tmp_path, address)


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match="pip install distributed"):
        run(["one"], tmp_path, "tcp://127.0.0.1:1")

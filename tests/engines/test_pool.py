"""Jobs in processes: what each returns, what goes wrong in one, and how all are stopped.

That they end with a parent that is killed, `make cluster` shows.
"""

import os
import signal
import time

import pytest
import torch

from helpers.engines import pool
from helpers.errors import BadInput, Interrupted

pytestmark = pytest.mark.usefixtures("quick_processes")


def work(job, shared, folder, told):
    """A job by the number it is given: a sum, an error, a death, or a wait for the signal to stop."""
    told(1)
    folder.mkdir(parents=True, exist_ok=True)
    if job == "fail":
        raise BadInput("This one cannot.")
    if job == "die" or (job == "die once" and not (folder / "died").exists()):
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "wait":
        signal.signal(signal.SIGTERM, _stopped)
        (folder / "waits").write_text(str(os.getpid()))
        while True:
            told(1)
            time.sleep(0.01)
    return shared, torch.get_num_threads(), told.device, str(folder)


def _stopped(number, frame):
    raise Interrupted("saved", number)


def run(jobs, out, workers=2, tick=lambda done: None):
    jobs = {name: name for name in jobs}
    return pool.run_jobs(work, jobs, 7, out, workers=workers, device=torch.device("cpu"), tick=tick)


def test_a_job_that_fails_or_dies_leaves_the_others_alone(tmp_path):
    counted = []
    outcomes = dict(
        (name, (value, problem))
        for name, value, problem in run(["sum", "fail", "die", "die once", "other"], tmp_path, tick=counted.append)
    )
    for name in ("sum", "other", "die once"):
        assert outcomes[name] == ((7, 1, "cpu", str(tmp_path / name)), "")
    assert outcomes["fail"] == (None, "This one cannot.")
    assert outcomes["die"] == (None, "its process died 2 times, at last with exit code -9")
    assert counted == sorted(counted) and counted[-1] == 5


def test_a_signal_is_told_to_all_jobs_and_they_end_before_the_call_does(tmp_path):
    told = []

    def tick(done):
        if (tmp_path / "wait/waits").exists() and not told:  # a second one would not wait
            told.append(signal.raise_signal(signal.SIGINT))

    with pytest.raises(Interrupted, match="0 of 2 are done, and what was under way is saved") as stopped:
        list(run(["wait", "sum"], tmp_path, workers=1, tick=tick))
    assert stopped.value.signum == signal.SIGINT and not (tmp_path / "sum").exists()


@pytest.mark.parametrize("names", [["a", "A"], ["a/b"], [".a"], [""], ["a:b"]])
def test_names_that_cannot_be_folders_are_refused(names):
    with pytest.raises(BadInput):
        pool.refuse_names(names)
    pool.refuse_names(["no dilation-seed0", "peak_lr=0.05-seed1"])


def test_what_cannot_be_sent_to_a_process_is_one_sentence(tmp_path):
    with pytest.raises(BadInput, match="cannot be sent to another process"):
        list(pool.run_jobs(lambda: 0, {"a": 1}, 0, tmp_path, workers=1, device=torch.device("cpu"), tick=print))
    with pytest.raises(BadInput, match="0 processes"):
        list(run(["sum"], tmp_path, workers=0))


def test_outcomes_are_put_in_order():
    come = iter([("b", 2, ""), ("a", 1, ""), ("c", None, "no")])
    assert list(pool.in_order("abc", come)) == [[1, ""], [2, ""], [None, "no"]]

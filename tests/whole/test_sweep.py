"""A sweep gives what its trials give by themselves, goes on where it was stopped, and does nothing twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from torch import nn

from helpers.data import take
from helpers.errors import BadInput, Interrupted
from helpers.evaluation import accuracy, predict
from helpers.models import seeded
from helpers.recipes import Recipe
from helpers.sweep import Trial, summarise, sweep
from helpers.training import MEASURED, fit

RECIPE = Recipe(network="tiny", epochs=2, batch_size=50, peak_lr=0.05, augmentation="none")

pytestmark = pytest.mark.usefixtures("quick_processes")


class Tiny(nn.Sequential):
    """The least network: a convolution of stride 4, the global average, a linear layer."""

    def __init__(self, channels=4):
        pooling = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(nn.Conv2d(3, channels, 4, 4), nn.ReLU(), *pooling, nn.Linear(channels, 10))


TRIALS = [
    Trial("four", Tiny, RECIPE, seed=0),
    Trial("four", Tiny, RECIPE, seed=1),
    Trial("eight", partial(Tiny, channels=8), RECIPE, seed=0),
    Trial("too large", Tiny, replace(RECIPE, batch_size=300), seed=0),
]


def records(out):
    """Return the records of all results in the folder, without what differs from run to run."""
    found = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/result.json")}
    for record in found.values():
        record["epochs"] = [{k: v for k, v in row.items() if k not in MEASURED} for row in record["epochs"]]
        del record["final"]["train_minutes"], record["resumed"]
    return found


@pytest.fixture(scope="module")
def swept(few, tmp_path_factory):
    """The folder of a sweep, its table, and the lines that it printed."""
    out, lines = tmp_path_factory.mktemp("sweep"), []
    return out, sweep(TRIALS, few, out, holdout=take(few, 100), jobs=2, device="cpu", log=lines.append), lines


def test_each_trial_is_what_it_is_by_itself_and_a_failure_is_told(few, swept):
    out, table, lines = swept
    assert list(table.name) == ["four", "four", "eight", "too large"] and list(table.seed) == [0, 1, 0, 0]
    model, held = seeded(Tiny, 1), take(few, 100)
    fit(model, few, RECIPE, seed=1, device="cpu", log=None)
    assert table.accuracy[1] == accuracy(predict(model, held.images), held.labels)
    told = "A batch of 300 images was asked for, but there are only 200."
    assert table.problem.tolist() == ["", "", "", told] and table.accuracy.isna().tolist() == [False] * 3 + [True]
    assert lines[0].startswith("four-seed0: ") and lines[3] == f"too large-seed0: failed: {told}"
    final = records(out)["eight-seed0"]["final"]
    assert final.keys() == {"holdout_accuracy", "correct", "seen"}, "and the test set stays closed"


def test_what_is_done_is_read_and_not_done_again(few, swept, monkeypatch):
    out, table, _ = swept
    monkeypatch.setattr("helpers.engines.pool._Child", None)  # no process can start
    again = sweep(TRIALS[:3], few, out, holdout=take(few, 100), jobs=2, device="cpu", log=None)
    assert again.equals(table[:3])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trials": [replace(TRIALS[0], recipe=replace(RECIPE, epochs=3))]}, "epochs 2 there and 3 now"),
        ({"trials": [replace(TRIALS[0], network=partial(Tiny, channels=5))]}, "architecture"),
        ({"holdout": None, "test": 100}, "not measured on 100 test images"),
        ({"holdout": 50}, "not measured on 50 holdout images"),
        ({"holdout": None}, "either holdout or test"),
        ({"trials": [TRIALS[0], replace(TRIALS[0], recipe=replace(RECIPE, epochs=3))]}, "Two are called 'four-seed0'"),
        ({"trials": [replace(TRIALS[0], name="../four")]}, "cannot be a folder's name"),
        ({"trials": [Trial("new", lambda: Tiny(), RECIPE)]}, "cannot be sent to another process"),
        ({"trials": [replace(TRIALS[0], seed=9)], "jobs": 0}, "0 processes"),
        ({"trials": [replace(TRIALS[0], seed=9)], "dask": "nowhere"}, "no Dask scheduler at 'nowhere'"),
        ({"trials": [replace(TRIALS[0], seed=9)], "dask": "tcp://x:1", "jobs": 2}, "start as many workers"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(few, swept, change, words):
    out, _, _ = swept
    options = {"trials": TRIALS[:1], "holdout": 100, "test": None, "jobs": None} | change
    images = {key: options.pop(key) for key in ("holdout", "test")}
    images = {key: take(few, count) for key, count in images.items() if count}
    if "dask" in change:
        pytest.importorskip("distributed")
    before = records(out)
    with pytest.raises(BadInput, match=words):
        sweep(options.pop("trials"), few, out, **images, **options, device="cpu")
    assert records(out) == before


def test_a_damaged_result_is_named(few, swept, tmp_path):
    shutil.copytree(swept[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "four-seed0/result.json").write_text('{"recipe": ')
    with pytest.raises(BadInput, match="result.json is damaged: delete it"):
        sweep(TRIALS[:1], few, tmp_path, holdout=take(few, 100), device="cpu")


def test_a_stopped_sweep_goes_on_to_the_same_end(few, tmp_path):
    long = Trial("long", Tiny, replace(RECIPE, epochs=40))
    options = {"holdout": take(few, 100), "jobs": 1, "device": "cpu", "log": None}

    def stop():
        while not list(tmp_path.glob("*/step-*.pt")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted, match="0 of 1 are done"):
        sweep([long], few, tmp_path, **options)
    assert list(tmp_path.glob("*/step-*.pt")) and not list(tmp_path.glob("*/result.json"))
    (accuracy_of_it,) = sweep([long], few, tmp_path, **options).accuracy
    model, held = seeded(Tiny, 0), take(few, 100)
    history = fit(model, few, long.recipe, device="cpu", log=None)
    assert accuracy_of_it == accuracy(predict(model, held.images), held.labels)
    assert records(tmp_path)["long-seed0"]["epochs"] == [
        {key: value for key, value in row.items() if key not in MEASURED} for row in history.rows
    ]


def test_the_summary_is_students(swept):
    table = summarise(swept[1])
    first = swept[1].accuracy[:2]
    assert table.n.tolist() == [2, 1, 0] and table["mean"]["four"] == first.mean()
    assert table.high["four"] - first.mean() == pytest.approx(12.7062 * first.std() / 2**0.5, rel=1e-4)
    assert table[["std", "low", "high"]].loc["eight"].isna().all()


SCRIPT = """
from helpers.data import load_cifar10, take
from helpers.sweep import sweep
from test_sweep import TRIALS

few = take(load_cifar10("synthetic", train=False), 60)
table = sweep(TRIALS[:2], few, "out", holdout=few, jobs=2, log=None)
"""


@pytest.mark.parametrize("guarded", [True, False])
def test_a_users_script_is_told_what_to_write_and_processes_import_nothing_from_here(guarded, tmp_path):
    script, here = tmp_path / "script/own.py", tmp_path / "here"
    for folder in (script.parent, here):
        folder.mkdir()
    (here / "selectors.py").write_text("open('was_imported', 'w').close()\nfrom no_such_package import *\n")
    work = SCRIPT.replace("table =", 'if __name__ == "__main__":\n    table =') if guarded else SCRIPT
    script.write_text(work)
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, script], cwd=here, env=environment, capture_output=True, text=True)
    assert not (here / "was_imported").exists(), done.stderr
    assert (done.returncode == 0) == guarded and done.stderr.count("Traceback") == (not guarded), done.stderr
    if not guarded:
        assert done.stderr.splitlines()[-1].endswith('put its work under `if __name__ == "__main__":`.')

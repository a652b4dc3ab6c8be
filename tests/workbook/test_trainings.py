import errno
import json
import os
import signal
import sys
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from helpers.data import take
from helpers.results import write_result
from helpers.training import fit
from helpers.workbook import sweeping, trainings
from toy import run_command


@pytest.fixture
def little(few, monkeypatch, tmp_path):
    """The commands in an empty folder, with 200 images to train and 100 to test on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainings, "load_cifar10", lambda root, train=True: few if train else take(few, 100))
    monkeypatch.setattr(sweeping, "load_cifar10", trainings.load_cifar10)
    return tmp_path


def test_train_and_evaluate_from_the_command_line(little, capsys):
    assert run_command("train", "mobilenet_c40", "--epochs", 1, "--seed", 4, "--run-dir", "run") == 0
    record = json.loads((little / "run/result.json").read_text())
    assert (record["seed"], record["train_images"], record["changes"]) == (4, 200, {"epochs": 1})
    printed = capsys.readouterr().out.splitlines()
    assert "seed 4" in printed[0] and printed[-1].endswith("after 1 epochs; run/result.json")

    assert run_command("evaluate", "run") == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 13 and printed[-1].startswith(f"{record['final']['test_accuracy']:.2f} % of 100 synthetic")

    record["final"] |= {"correct": 99, "test_accuracy": 99.0}
    (little / "run/result.json").write_text(json.dumps(record))  # with the digest of what it was
    assert run_command("evaluate", "run") == 2 and "its digest is another one" in capsys.readouterr().err
    write_result(little / "run/result.json", {name: value for name, value in record.items() if name != "digest"})
    assert run_command("evaluate", "run") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("run/result.json tells 99.00 %")


def test_a_disk_that_is_full_at_the_result_loses_nothing(little, monkeypatch, capsys):
    arguments, real = ("train", "mobilenet_c40", "--epochs", 1, "--run-dir", "run"), os.replace

    def full_at_the_result(source, target):
        if Path(target).name == "result.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_at_the_result)
        assert run_command(*arguments) == 2
    told = capsys.readouterr()
    assert "No space left on device" in told.err and "Traceback" not in told.err and "Printed above" in told.err
    printed = json.loads(told.out[told.out.index("\n{\n") :])
    assert run_command(*arguments) == 0  # trains nothing more
    assert printed == json.loads((little / "run/result.json").read_text())


def test_a_home_is_expanded(little, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(little / "home"))
    assert run_command("train", "mobilenet_c40", "--epochs", 1, "--run-dir", "~/run") == 0
    assert (little / "home/run/result.json").exists() and not (little / "~").exists()
    assert run_command("evaluate", "~/run") == 0


def test_interrupted_training_says_how_it_goes_on_and_does(little, monkeypatch, capsys):
    arguments = ("train", "mobilenet_c40", "--epochs", 2, "--holdout", 40)
    stopped_after_a_step = partial(fit, on_step=lambda run: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr(trainings, "fit", stopped_after_a_step)
    assert run_command(*arguments) == 143
    told = capsys.readouterr().err
    assert "Stopped after step 1 of 4" in told and "runs/mobilenet_c40-seed0" in told and "Traceback" not in told
    monkeypatch.setattr(trainings, "fit", fit)
    assert run_command(*arguments) == 0
    assert "resumed after step 1 of 4" in capsys.readouterr().out
    record = json.loads((little / "runs/mobilenet_c40-seed0/result.json").read_text())
    assert record["train_images"] == 160
    assert record["final"]["holdout_accuracy"] == record["epochs"][-1]["val_accuracy"]
    assert run_command(*arguments, "--seed", 1, "--run-dir", "runs/mobilenet_c40-seed0") == 2
    assert "seed 0 there and 1 now" in capsys.readouterr().err
    anew = ("--seed", 1, "--run-dir", "runs/mobilenet_c40-seed0", "--anew", "--epochs", 1)
    assert run_command(*arguments, *anew) == 0


@pytest.fixture
def events(monkeypatch):
    """Put a writer in TensorBoard's place; return what it wrote: a folder to its names, values and steps."""
    folders = {}

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            before = folders.get(folder, [])
            self.written = folders[folder] = [entry for entry in before if entry[2] < purge_step]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def add_scalar(self, name, value, step):
            self.written.append((name, value, step))

    installed, within_torch = ModuleType("tensorboard"), ModuleType("torch.utils.tensorboard")
    installed.__spec__ = ModuleSpec("tensorboard", None)
    within_torch.SummaryWriter = SummaryWriter
    for module in (installed, within_torch):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return folders


def test_with_a_holdout_the_test_set_stays_closed(little, few, monkeypatch, capsys):
    def load(root, train=True):
        assert train, "the test set is opened"
        return few

    monkeypatch.setattr(trainings, "load_cifar10", load)
    assert run_command("train", "wide_2m", "--epochs", 1, "--holdout", 40) == 0
    assert "% of 40 synthetic held-out images, and the test set stays closed" in capsys.readouterr().out
    final = json.loads((little / "runs/wide_2m-seed0/result.json").read_text())["final"]
    assert final["seen"] == 40 and "test_accuracy" not in final


def test_tensorboard_gets_every_figure_of_every_epoch_once(little, events):
    options = ("--epochs", 2, "--holdout", 40, "--run-dir", "run", "--tensorboard")
    assert run_command("train", "mobilenet_c40", *options) == 0
    rows = json.loads((little / "run/result.json").read_text())["epochs"]
    expected = [
        (name, value, row["epoch"])
        for row in rows
        for name, value in row.items()
        if name != "epoch" and value is not None
    ]
    assert events == {"run/tensorboard": expected}
    assert {"train_loss", "val_accuracy", "lr"} <= {name for name, _, _ in expected}
    trainings.write_events(Path("run"), rows[-1])  # a kill before the state was saved
    assert events == {"run/tensorboard": expected}


@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "mobilnet_c40"), "Did you mean 'mobilenet_c40'?"),
        (("train", "wide_2m", "--device", "cuda:99"), "device 'cuda:99'"),
        (("train", "wide_2m", "--device", "cpu:x"), "device 'cpu:x' cannot be used"),
        (("train", "wide_2m", "--seed", 2**64), "seed is 18446744073709551616"),
        (("train", "wide_2m", "--seed", 10**9 + 1), "give a whole number from 0 to 1,000,000,000"),
        (("train", "wide_2m", "--holdout", 7), "multiple of ten"),
        (("train", "wide_2m", "--epochs", 0), "epochs is 0"),
        (("train", "wide_2m", "--tensorboard"), "TensorBoard is not installed"),
        (("evaluate", "nowhere"), "does not exist"),
        (("train", "wide_2m", "--run-dir", ""), "The run's folder is ''"),
        (("train", "wide_2m", "--run-dir", "~nobody-of-this-name/x"), "The run's folder is"),
        (("evaluate", ""), "The run's folder is ''"),
        (("sweep", "wide_2m", "--out", ""), "The run's folder is ''"),
        (("sweep", "wide_2m", "--out", "/dev/null/x"), "cannot be written to"),
        (("sweep", "wide_2m", "--dask", ""), "no Dask scheduler at ''"),
        (("bench", "--out", ""), "The file's name is ''"),
        (("check", "wide_2m", "--recipe", ""), "no recipe ''"),
        (("check", "wide_2m", "--augmentation", ""), "'' is not of the form MODULE:NAME"),
        (("check", "wide_2m", "--accuracy", 0), "The accuracy is 0.0; give it in percent"),
        (("bench", "wide"), "Did you mean 'wide_2m'?"),
        (("bench", "--steps", 0), "at least 1"),
    ],
)
def test_a_mistake_is_one_sentence(little, monkeypatch, arguments, words, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    assert run_command(*arguments) == 2
    told = capsys.readouterr().err.split("\r")[-1]  # a bar that was begun is wiped away before
    assert words in told and told.startswith("workbook: ") and told.count("\n") == 1

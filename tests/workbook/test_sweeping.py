import json

import pytest

from helpers.data import take
from helpers.workbook import sweeping
from toy import run_command

pytestmark = pytest.mark.usefixtures("quick_processes")


@pytest.fixture
def little(few, monkeypatch, tmp_path):
    """The command in an empty folder, with 200 images to train on, 100 to test on, and no look at the test set."""
    monkeypatch.chdir(tmp_path)
    opened = []

    def load(root, train=True):
        opened.append(train)
        return few if train else take(few, 100)

    monkeypatch.setattr(sweeping, "load_cifar10", load)
    return opened


def names(*words, **options):
    return [trial.folder for trial in sweeping.plan(words, options.get("seeds", 1), options.get("changes", ()))]


def test_a_plan_is_recipes_by_changes_by_seeds_and_names_what_differs():
    assert names("wide_2m", seeds=2) == ["wide_2m-seed0", "wide_2m-seed1"]
    (trial,) = sweeping.plan(["wide_2m"], 1, ["epochs=3", "augmentation=flip", "dropout=None", "mean=(0.5,0.5,0.5)"])
    recipe = trial.recipe
    assert (recipe.epochs, recipe.augmentation, recipe.dropout, recipe.mean) == (3, "flip", None, (0.5, 0.5, 0.5))
    grid = names("wide_2m", "mini_resnet", changes=["peak_lr=0.05,0.1", "schedule=one_cycle,triangular"])
    assert len(grid) == 8 and grid[0] == "wide_2m-peak_lr=0.05-schedule=one_cycle-seed0"
    (a, b) = sweeping.plan(["wide_2m"], 1, ["network=mini_resnet,wide_2m"])
    assert (a.network.__name__, b.network.__name__) == ("MiniResNet", "Wide2m")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("wide_m",), "Did you mean 'wide_2m'?"),
        (("wide_2m", "--set", "epoch=3"), "no field 'epoch'. Did you mean 'epochs'?"),
        (("wide_2m", "--set", "epochs=many"), "epochs is 'many'"),
        (("wide_2m", "--set", "epochs"), "not understood"),
        (("wide_2m", "--set", "network=wide"), "no network 'wide'"),
        (("wide_2m", "--set", "epochs=3", "--set", "epochs=4"), "set twice"),
        (("wide_2m", "wide_2m"), "Two are called 'wide_2m-seed0'"),
        (("wide_2m", "--set", "peak_lr=0.1,0.10"), "Two are called"),
        (("wide_2m", "--seeds", 0), "0 seeds"),
        (("wide_2m", "--holdout", 7), "multiple of ten"),
        (("wide_2m", "--jobs", 0), "0 processes"),
        (("wide_2m", "--device", "cuda:99"), "device 'cuda:99'"),
        (("wide_2m", "--dask", "nowhere"), "no Dask scheduler at 'nowhere'"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_trained(little, tmp_path, arguments, words, capsys):
    assert run_command("sweep", *arguments) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("workbook: ") == 1 and "Traceback" not in told
    assert not list(tmp_path.glob("runs/**/config.json"))


def test_the_command_writes_results_prints_a_table_and_has_status_1_for_a_failure(little, tmp_path, capsys):
    arguments = ("wide_2m", "--set", "epochs=1", "batch_size=100,1000", "--holdout", 100, "--jobs", 1, "--out", "o")
    assert run_command("sweep", *arguments) == 1
    out = capsys.readouterr().out
    assert "wide_2m-batch_size=1000-seed0: failed: A batch of 1000 images was asked for" in out
    assert "accuracy in percent of 100 holdout images" in out
    record = json.loads((tmp_path / "o/wide_2m-batch_size=100-seed0/result.json").read_text())
    assert record["changes"] == {"epochs": 1, "batch_size": 100} and "holdout_accuracy" in record["final"]
    assert little == [True], "the test set stays closed"

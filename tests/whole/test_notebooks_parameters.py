"""Notebooks run with every name that their parameters advertise; all seven tell every other value in a sentence.

Other values of 04 to 07 take trainings, too long for a test.
"""

import functools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from helpers import assignment, data, plots, receptive_field
from helpers.augment import AUGMENTATIONS
from helpers.engines.run_directory import RunDirectory
from helpers.errors import BadInput
from helpers.models import MODELS
from helpers.recipes import RECIPES
from helpers.summary import fingerprint
from helpers.workbook import running
from helpers.workbook.parameters import NOTEBOOKS, parameters, settings
from toy import run_cells

LARGEST = 10**9
QUICK = {  # by what a notebook's stem begins with
    "01": {},
    "02": {"COUNTED_DRAWS": 20, "DRAWS": 2, "BATCH_SIZE": 2},
    "03": {"IMAGES": 2, "SEEDS": 1},
}
ADVERTISED = [("02", {"AUGMENTATION": name}) for name in AUGMENTATIONS]
ADVERTISED += [("03", {"NETWORK": name}) for name in MODELS]
ADVERTISED += [("01", {"SEED": LARGEST, "IMAGES_PER_CLASS": 20})]
ADVERTISED += [("02", {"SEED": LARGEST, "COUNTED_DRAWS": 1, "DRAWS": 1, "BATCH_SIZE": 64})]
ADVERTISED += [("03", {"SEED": LARGEST, "IMAGES": 1})]
REFUSED = [(notebook, "SEED", value) for notebook in QUICK for value in (-1, LARGEST + 1, 0.5, "0", True)]
REFUSED += [("01", "IMAGES_PER_CLASS", value) for value in (0, -1, 21, 2.0)]
REFUSED += [("02", "AUGMENTATION", value) for value in ("flipp", "", 3)]
REFUSED += [("02", name, 0) for name in ("DRAWS", "COUNTED_DRAWS", "BATCH_SIZE")]
REFUSED += [("02", name, 10**6) for name in ("DRAWS", "COUNTED_DRAWS", "BATCH_SIZE")]
REFUSED += [("03", "NETWORK", value) for value in ("mini_resnet2", "", None)]
REFUSED += [("03", "IMAGES", 0), ("03", "IMAGES", 2001), ("03", "SEEDS", 0), ("03", "SEEDS", "3")]
REFUSED += [("03", "SHEET", value) for value in ("x.csv", "", "nowhere/x.xlsx", 5)]
TRAINED = ("04", "05", "06", "07")
REFUSED += [(notebook, "SEED", value) for notebook in TRAINED for value in (-1, LARGEST + 1, 0.5, "0", True)]
REFUSED += [(notebook, "LEAST_TEST_ACCURACY", value) for notebook in ("05", "06") for value in (-1, 101, "85", None)]
REFUSED += [(notebook, "TRAIN_IMAGES", value) for notebook in ("04", "05") for value in (0, 45_010, 1001, -10, "all")]
REFUSED += [(notebook, "HOLDOUT_IMAGES", value) for notebook in ("04", "05") for value in (0, 5010, 15, 10.0)]
REFUSED += [(notebook, "EPOCHS", value) for notebook in ("04", "05") for value in (0, 1001, -1, 1.5)]
REFUSED += [(notebook, "BATCH_SIZE", value) for notebook in ("04", "05") for value in (0, 1, 1001, 64.0)]
REFUSED += [(notebook, "PEAK_LR", value) for notebook in ("04", "05") for value in (0, -0.1, 1, float("nan"), "0.1")]
REFUSED += [
    (notebook, "RUN_DIR", value)
    for notebook in ("04", "05", "07")
    for value in ("", "  ", "~no-such-user/x", "~nobody/x", 5, "/proc/x")
]
REFUSED += [("04", name, value) for name in ("RUNS", "LONG_EPOCHS") for value in (0, 1001, 2.0)]
REFUSED += [("04", "RANGE_STEPS", value) for value in (0, 19, 1001, 20.0)]
REFUSED += [("04", "PACE_IMAGES", value) for value in (0, 5010, 55)] + [("04", "BATCH_SIZE", 501)]
REFUSED += [("04", "LEAST_GAIN_OF_NORM", value) for value in (-1, 101, "3")]
REFUSED += [("05", "RECIPE", value) for value in ("fast", "", 3)] + [("05", "DRIVE", "no"), ("05", "TRAIN_IMAGES", 40)]
REFUSED += [("05", name, value) for name in ("TEST_IMAGES", "SHORT_IMAGES") for value in (0, 15, 50_000)]
REFUSED += [("06", "NETWORK", value) for value in ("fast", "", 3)]
REFUSED += [("06", "COMPARED", value) for value in (["fast_200k", "fast"], "fast_200k", [3])]
REFUSED += [("06", "RUN_DIR", value) for value in ("nowhere", " ", 5)]
REFUSED += [("06", "PICTURE", value) for value in ("nowhere.png", ".", 5)]
REFUSED += [("06", "TEST_IMAGES", value) for value in (490, 505, 10_010, "all")]
REFUSED += [("06", "DAMAGED_IMAGES", value) for value in (0, 10_001, 50.0)] + [
    ("06", "MISTAKES", value) for value in (7, 65)
]
REFUSED += [("06", name, value) for name in ("SMALL_TRAIN_IMAGES", "SMALL_EPOCHS") for value in (0, 50_010, 7.5)]


REFUSED += [("07", f"{name}_EPOCHS", value) for name in ("MINUTE", "SWEEP", "LONG") for value in (0, 1001, 1.5)]
REFUSED += [("07", f"{name}_IMAGES", value) for name in ("MINUTE", "SWEEP", "LONG") for value in (40, 135, 50_010)]
REFUSED += [("07", "HOLDOUT_IMAGES", 5010), ("07", "TEST_IMAGES", 10_010), ("07", "LEAST_TEST_ACCURACY", 101)]


def run(notebook, values):
    (path,) = NOTEBOOKS.glob(f"{notebook}_*.ipynb")
    run_cells(path, values)


@pytest.fixture(scope="module")
def stand_ins():
    return {train: data.take(data.load_cifar10("synthetic", train), 2000) for train in (True, False)}


@pytest.fixture(scope="module")
def measured():
    """Keep what has been measured of a network: each run of 03 measures the same five on the same noise."""
    kept = {}

    @functools.wraps(receptive_field.effective_receptive_field)
    def measure(model, images, input_size=None, original=receptive_field.effective_receptive_field):
        first = next(model.parameters()).flatten()[:3].tolist()
        key = fingerprint(model), *first, images.shape, images[0, 0, 0, 0].item()
        if key not in kept:
            kept[key] = original(model, images, input_size)
        return kept[key]

    return measure


@pytest.fixture
def quickly(monkeypatch, tmp_path, measured, checked, stand_ins):
    """Use few stand-in images; draw no pixels, since figures have tests of their own; write into a temporary folder."""
    monkeypatch.setattr(data, "load_cifar10", lambda root, train=True: stand_ins[train])
    monkeypatch.setattr(plots, "image_grid", lambda images, *_, **__: np.stack(images))
    monkeypatch.setattr(plots, "visualise", lambda images, draws, _: np.stack([images, *draws]))
    monkeypatch.setattr(assignment, "check", checked)
    monkeypatch.setattr(receptive_field, "effective_receptive_field", measured)
    monkeypatch.setattr(FigureCanvasAgg, "draw", lambda canvas: None)
    monkeypatch.setattr(plots, "save", lambda *_: None)
    monkeypatch.setattr(plots, "name_points", lambda *_: None)  # it asks where the drawn names lie
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("notebook", "values"), ADVERTISED, ids=str)
def test_an_advertised_value_runs_to_the_end(notebook, values, quickly, capsys):
    run(notebook, QUICK[notebook] | values)
    assert "yes" in capsys.readouterr().out  # the last cell's list of what the run shown is asked for


TINY = {"HOLDOUT_IMAGES": 50, "TRAIN_IMAGES": 100, "SHORT_IMAGES": 50, "EPOCHS": 1, "BATCH_SIZE": 25}
TINY_TOO = {"TEST_IMAGES": 500, "DAMAGED_IMAGES": 2, "SMALL_TRAIN_IMAGES": 50, "SMALL_EPOCHS": 1}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_in_05(name, quickly, capsys, monkeypatch):
    monkeypatch.setattr(plots, "image_grid", lambda *_, **__: None)
    run("05", TINY | {"RECIPE": name, "TEST_IMAGES": 50})
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{name}: ") and "of 50 synthetic test images after 1 epochs" in line for line in lines)


@pytest.mark.parametrize("name", RECIPES)
def test_every_network_is_looked_into_in_06(name, quickly, capsys, monkeypatch):
    monkeypatch.setattr(plots, "image_grid", lambda *_, **__: None)
    run("06", TINY_TOO | {"NETWORK": name, "COMPARED": []})
    assert f"{name}: {name}, 50 synthetic training images, 1 epochs" in capsys.readouterr().out


@pytest.mark.parametrize(("notebook", "name", "value"), REFUSED)
def test_another_value_is_one_sentence_before_anything_is_computed(notebook, name, value, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load_cifar10", lambda *_, **__: pytest.fail("the data was loaded first"))
    with pytest.raises(BadInput, match=r"^[^\n]+[.?]$") as error:
        run(notebook, {name: value})
    told = [repr(entry) for entry in value] if isinstance(value, list) else [repr(value), str(value)]
    assert any(one in str(error.value) for one in told)


LATER = {("06", "RUN_DIR"), ("06", "PICTURE")}  # what they name may be made by the run


@pytest.mark.parametrize(("notebook", "name", "value"), [one for one in REFUSED if one[:2] not in LATER])
def test_a_run_tells_it_before_any_notebook_is_executed(notebook, name, value, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (path,) = NOTEBOOKS.glob(f"{notebook}_*.ipynb")
    with pytest.raises(BadInput, match=rf"^{path.stem}: [^\n]+[.?]$"):
        running.try_checks(path.stem, parameters(path) | {name: value})


@pytest.mark.parametrize("profile", ["quick", "class", "full"])
def test_the_profiles_values_are_none_of_these(profile, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for stem, values in settings(profile).items():
        running.try_checks(stem, values)


def test_a_folder_of_another_run_is_told_before_anything_is_computed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load_cifar10", lambda *_, **__: pytest.fail("the data was loaded first"))
    first = RunDirectory("mine", {"network": "fast_200k", "epochs": 3})
    with (
        first,
        pytest.raises(BadInput, match="^mine holds another run .epochs 3 there and 4 now, batch_size None"),
    ):
        run("05", {"RUN_DIR": "mine", "EPOCHS": 4})

"""Notebooks 01 to 03 run with every value that their parameters advertise, and refuse every other in one sentence."""

import functools

import nbformat
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helpers import data, plots, receptive_field
from helpers.augment import AUGMENTATIONS
from helpers.errors import BadInput
from helpers.models import MODELS
from helpers.summary import fingerprint
from helpers.workbook.parameters import NOTEBOOKS

LARGEST = 2**63 - 1
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
REFUSED = [(notebook, "SEED", value) for notebook in QUICK for value in (-1, 2**63, 0.5, "0")]
REFUSED += [("01", "IMAGES_PER_CLASS", value) for value in (0, -1, 21, 2.0)]
REFUSED += [("02", "AUGMENTATION", value) for value in ("flipp", "", 3)]
REFUSED += [("02", name, 0) for name in ("DRAWS", "COUNTED_DRAWS", "BATCH_SIZE")]
REFUSED += [("02", name, 10**6) for name in ("DRAWS", "COUNTED_DRAWS", "BATCH_SIZE")]
REFUSED += [("03", "NETWORK", value) for value in ("mini_resnet2", "", None)]
REFUSED += [("03", "IMAGES", 0), ("03", "IMAGES", 2001), ("03", "SEEDS", 0), ("03", "SEEDS", "3")]
REFUSED += [("03", "SHEET", value) for value in ("x.csv", "", "nowhere/x.xlsx", 5)]


def run(notebook, values):
    """Run all code cells of a notebook but the first, which is Colab's, in one namespace."""
    (path,) = NOTEBOOKS.glob(f"{notebook}_*.ipynb")
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"][1:]
    variables = {}
    for cell in cells:
        exec(compile(cell.source, f"{path.stem} {cell.id}", "exec"), variables)
        if "parameters" in cell.metadata.get("tags", []):
            assert values.keys() <= variables.keys()
            variables.update(values)
    return variables


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
def quickly(monkeypatch, tmp_path, measured, stand_ins):
    """Use few stand-in images; draw no pixels, since figures have tests of their own; write into a temporary folder."""
    monkeypatch.setattr(data, "load_cifar10", lambda root, train=True: stand_ins[train])
    monkeypatch.setattr(plots, "image_grid", lambda images, *_, **__: np.stack(images))
    monkeypatch.setattr(plots, "visualise", lambda images, draws, _: np.stack([images, *draws]))
    monkeypatch.setattr(receptive_field, "effective_receptive_field", measured)
    monkeypatch.setattr(FigureCanvasAgg, "draw", lambda canvas: None)
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("notebook", "values"), ADVERTISED, ids=str)
def test_an_advertised_value_runs_to_the_end(notebook, values, quickly, capsys):
    run(notebook, QUICK[notebook] | values)
    assert "yes" in capsys.readouterr().out  # the last cell's list of what the run shown is asked for


@pytest.mark.parametrize(("notebook", "name", "value"), REFUSED)
def test_another_value_is_one_sentence_before_anything_is_computed(notebook, name, value, monkeypatch):
    monkeypatch.setattr(data, "load_cifar10", lambda *_, **__: pytest.fail("the data was loaded first"))
    with pytest.raises(BadInput, match=r"^[^\n]+[.?]$") as error:
        run(notebook, {name: value})
    assert repr(value) in str(error.value)

"""The released weights: right and wrong, image by image, as they were when they were released."""

import json

import nbformat
import numpy as np
import pytest
from safetensors import safe_open
from scipy.stats import binomtest

from helpers.assignment import check
from helpers.data import load_cifar10
from helpers.errors import BadInput
from helpers.evaluation import predict
from helpers.models import MODELS, load_released, load_trained, weights
from helpers.models.weights import RESULTS
from helpers.recipes import PUBLISHED, RECIPES
from helpers.results import read_result
from helpers.workbook.parameters import NOTEBOOKS, ROOT

FILES = sorted(weights.RELEASED.glob("*.safetensors"))
SOME = 300  # of the 10,000 test images; tests/whole takes them all
MEETS_ALL = {"mobilenet_c40", "dilated_193k", "fast_200k", "best_200k"}


def header(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_released_weights_give_the_answers_that_were_recorded(path, cifar10_root):
    test, told = load_cifar10(cifar10_root, train=False), header(path)
    logits = predict(
        load_released(path.stem), test.images[:SOME], mean=json.loads(told["mean"]), std=json.loads(told["std"])
    )
    wrong = np.flatnonzero(logits.argmax(1).numpy() != test.labels[:SOME]).tolist()
    assert wrong == [index for index in load_trained(path.stem)[1]["wrong"] if index < SOME]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_released_network_is_its_results(path):
    told, result = header(path), json.loads((weights.RELEASED / f"{path.stem}-seed0.json").read_text())
    assert path.stat().st_size < 1e6 and told["seed"] == "0" and told["data_source"] == "cifar10"
    assert 10_000 - len(load_trained(path.stem)[1]["wrong"]) == result["final"]["correct"]
    assert told["commit"] == result["commit"] and float(told["accuracy"]) == result["final"]["test_accuracy"]
    recipe = RECIPES[path.stem]
    assert (tuple(json.loads(told["mean"])), tuple(json.loads(told["std"]))) == (recipe.mean, recipe.std)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_released_networks_are_those_that_the_checker_passes(path):
    passed = check(load_released(path.stem), RECIPES[path.stem], float(header(path)["accuracy"])).passed.all()
    assert passed == (path.stem in MEETS_ALL)


def test_absent_damaged_and_foreign_weights_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.models.RELEASED", tmp_path)
    with pytest.raises(BadInput, match="no released weights of 'mini_resnet'; released are none"):
        load_released("mini_resnet")
    path = tmp_path / "mini_resnet.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(BadInput, match="is damaged"):
        load_released("mini_resnet")
    with pytest.raises(BadInput, match="'wide_2m'; released are mini_resnet"):
        load_released("wide_2m")
    for network, words in (("wide_2m", "another network than today's"), ("compact_135k", "are those of compact_135k")):
        tensors = MODELS["compact_135k"]().state_dict()
        recipe = RECIPES[network]
        config = {"network": network, "source": "cifar10", "mean": recipe.mean, "std": recipe.std}
        weights.save_weights(path, tensors, {"config": config, "classes": list("abcdefghij")})
        with pytest.raises(BadInput, match=words):
            load_released("mini_resnet")


def test_the_card_tells_the_robustness_that_notebook_06_has_measured():
    notebook = nbformat.read(NOTEBOOKS / "06_misclassification_analysis.ipynb", 4)
    (cell,) = [cell for cell in notebook.cells if "damaged.assign(undamaged" in cell.source]
    heads, *rows = [line.split() for line in cell.outputs[-1].data["text/plain"].splitlines()]
    card = (NOTEBOOKS / "results/README.md").read_text("utf-8")
    assert {row[0] for row in rows} == {path.stem for path in FILES}
    for row in [["network", *heads], *rows]:
        assert f"| {' | '.join(row)} |\n" in card


def test_the_readme_compares_the_best_network_with_the_best_earlier_answer():
    records = [read_result(path) for path in RESULTS.glob("*.json")]
    scores = {r["network"]: r["final"]["test_accuracy"] for r in records if not r["changes"] and r["seed"] == 0}
    earlier = max(PUBLISHED, key=scores.get)
    first, second = (set(load_trained(name)[1]["wrong"]) for name in ("best_200k", earlier))
    alone = len(second - first), len(first - second)
    chance = binomtest(alone[0], sum(alone)).pvalue
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"`best_200k` and `{earlier}`, the best of the earlier answers: {alone[0]} test images" in readme
    assert f"{alone[1]} that only the second has (McNemar's test: a chance of {chance:.0e} between equals" in readme

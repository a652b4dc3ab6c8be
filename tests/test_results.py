import json
from dataclasses import replace

import pytest
import torch

from helpers import results
from helpers.data import take
from helpers.models import build
from helpers.recipes import RECIPES
from helpers.results import outdated, result, write_result
from helpers.training import History, set_dropout
from helpers.workbook.parameters import ROOT

RECIPE = replace(RECIPES["dilated_193k"], epochs=2, mean=(0.5, 0.5, 0.5))


SESSION = {"commit": "a", "machine": "toy", "device": "cpu", "threads": 1, "versions": {"torch": "2"}}


@pytest.fixture
def record(few, tmp_path):
    """A record as a file gives it back."""
    model = build(RECIPE.network)
    set_dropout(model, RECIPE.dropout)
    logits = torch.nn.functional.one_hot(torch.from_numpy(few.labels), 10).float()
    history = History([{"epoch": epoch, "seconds": 30.0} for epoch in (1, 2)], [SESSION], "batched")
    write_result(tmp_path / "r.json", result(RECIPE, model, history, logits, few, few, seed=3))
    return json.loads((tmp_path / "r.json").read_text())


def test_record_says_what_was_run_on_what_and_what_came_out(few, tmp_path):
    few_wrong = take(few, 100)
    logits = torch.zeros(100, 10).index_fill_(1, torch.tensor([3]), 1.0)
    model = build(RECIPE.network)
    record = result(
        RECIPE,
        model,
        History([{"epoch": 1, "seconds": 90.0}], [SESSION, {"commit": "b"}], "batched"),
        logits,
        few,
        few_wrong,
        seed=3,
    )
    correct = int((few_wrong.labels == 3).sum())
    assert record["final"] == {"test_accuracy": correct, "correct": correct, "seen": 100, "train_minutes": 1.5}
    assert (record["seed"], record["train_images"], record["data_source"]) == (3, 200, "synthetic")
    assert (record["parameters"], record["receptive_field"]) == (193_535, 151)
    assert record["changes"] == {"epochs": 2, "mean": (0.5, 0.5, 0.5)}
    assert record["published"]["accuracy"] == 86.15
    assert (record["commit"], record["threads"], record["engine"]) == ("a", 1, "batched")
    assert record["resumed"] == [{"commit": "b"}]


def test_record_is_outdated_once_its_recipe_or_network_changes(record, monkeypatch):
    assert outdated(record) is None
    monkeypatch.setitem(RECIPES, "dilated_193k", replace(RECIPES["dilated_193k"], weight_decay=0.1))
    assert "recipe 'dilated_193k' has changed" in outdated(record)
    monkeypatch.undo()
    monkeypatch.setattr(results, "build", lambda name: build(name, dilation=3))
    assert "network 'dilated_193k' has changed" in outdated(record)
    monkeypatch.undo()
    assert "no recipe 'gone'" in outdated(record | {"recipe": "gone"})
    assert "no depth any more" in outdated(record | {"changes": {"depth": 3}})


def test_committed_results_belong_to_the_recipes_and_networks_of_today():
    paths = sorted((ROOT / "notebooks/results").glob("*.json"))
    assert paths
    assert {path.name: outdated(json.loads(path.read_text())) for path in paths} == {path.name: None for path in paths}


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_result(tmp_path / "r.json", {"a": 1})
    with pytest.raises(TypeError):
        write_result(tmp_path / "r.json", {"a": object()})
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": 1} and len(list(tmp_path.iterdir())) == 1

"""That the published results belong to the recipes and networks of today."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from helpers.models import build, set_dropout
from helpers.recipes import RECIPES
from helpers.results import result, write_result
from helpers.summary import fingerprint
from helpers.training import History
from helpers.workbook.parameters import ROOT

RECIPE = replace(RECIPES["dilated_193k"], epochs=2, mean=(0.5, 0.5, 0.5))
SESSION = {"commit": "a", "machine": "toy", "device": "cpu", "threads": 1, "versions": {"torch": "2"}}


def outdated(record: dict) -> str | None:
    """Return why a record no longer belongs to the recipe or the network of its name; None if it does."""
    recipe, changes = RECIPES.get(record["recipe"]), record.get("changes")
    if recipe is None or changes is None:
        return f"there is no recipe {record['recipe']!r}, or the record does not say how its own differed"
    if unknown := set(changes) - set(asdict(recipe)):
        return f"recipes have no {', '.join(sorted(unknown))} any more"
    recipe = replace(recipe, **{name: tuple(v) if isinstance(v, list) else v for name, v in changes.items()})
    values = json.loads(json.dumps(asdict(recipe)))
    defaults_changed = any(record["recipe_values"].get(name, value) != value for name, value in values.items())
    if recipe.hash() != record["recipe_hash"] or defaults_changed:  # the hash leaves out what is at its default
        return f"the recipe {record['recipe']!r} has changed since"
    model = build(record["network"])
    set_dropout(model, recipe.dropout)
    if fingerprint(model) != record["architecture"]:
        return f"the network {record['network']!r} has changed since"
    return None


@pytest.fixture
def record(few, tmp_path):
    """A record as a file gives it back."""
    model = build(RECIPE.network)
    set_dropout(model, RECIPE.dropout)
    logits = torch.nn.functional.one_hot(torch.from_numpy(few.labels), 10).float()
    history = History([{"epoch": epoch, "seconds": 30.0} for epoch in (1, 2)], [SESSION], "batched")
    write_result(tmp_path / "r.json", result(RECIPE, model, history, logits, few, few, seed=3))
    return json.loads((tmp_path / "r.json").read_text())


def test_record_is_outdated_once_its_recipe_or_network_changes(record, few):
    assert outdated(record) is None
    changed = replace(RECIPES["dilated_193k"], weight_decay=0.1)
    assert "recipe 'dilated_193k' has changed" in outdated(record | {"recipe_hash": changed.hash()})
    values = record["recipe_values"] | {"momentum": 0.95}  # as when the default was another one
    assert "recipe 'dilated_193k' has changed" in outdated(record | {"recipe_values": values})
    other = build("dilated_193k", dilation=3)
    set_dropout(other, RECIPE.dropout)
    logits, history = torch.zeros(len(few), 10), History([{"epoch": 1, "seconds": 1.0}], [SESSION], "batched")
    theirs = json.loads(json.dumps(result(RECIPE, other, history, logits, few, few, seed=3)))
    assert "network 'dilated_193k' has changed" in outdated(theirs)
    assert "no recipe 'gone'" in outdated(record | {"recipe": "gone"})
    assert "no depth any more" in outdated(record | {"changes": {"depth": 3}})


def test_committed_results_belong_to_the_recipes_and_networks_of_today():
    paths = sorted((ROOT / "notebooks/results").rglob("*.json"))
    assert len({path.parent for path in paths}) == 2, "results on the test set, and trials on the hold-out"
    assert {path.name: outdated(json.loads(path.read_text())) for path in paths} == {path.name: None for path in paths}

import json
from dataclasses import replace

import pytest
import torch

from helpers import results
from helpers.data import take
from helpers.engines.run_directory import read_json
from helpers.models import build
from helpers.recipes import RECIPES
from helpers.results import result, usual_minutes, write_result
from helpers.training import History

RECIPE = replace(RECIPES["dilated_193k"], epochs=2, mean=(0.5, 0.5, 0.5))


SESSION = {"commit": "a", "machine": "toy", "device": "cpu", "threads": 1, "versions": {"torch": "2"}}


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


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_result(tmp_path / "r.json", {"a": 1})
    with pytest.raises(TypeError):
        write_result(tmp_path / "r.json", {"a": object()})
    assert read_json(tmp_path / "r.json", "is damaged") == {"a": 1} and len(list(tmp_path.iterdir())) == 1


def test_measured_takes_whole_recipes_and_of_each_network_the_most_images(tmp_path, monkeypatch):
    (path,) = results.RELEASED.glob("mini_resnet-seed0.json")
    record = json.loads(path.read_text())
    few, changed = record | {"train_images": 45_000}, record | {"seed": 7, "changes": {"epochs": 2}}
    for number, one in enumerate((few, record, record | {"seed": 1}, changed)):
        write_result(tmp_path / f"{number}.json", one)
    monkeypatch.setattr(results, "RELEASED", tmp_path)
    runs = results.measured()
    assert list(zip(runs.network, runs.seed, runs.images, strict=True)) == [
        ("mini_resnet", seed, 50_000) for seed in (0, 1)
    ]
    assert runs.accuracy[0] == record["final"]["test_accuracy"] and runs.rows[0] == record["epochs"]


def test_an_epoch_in_which_the_machine_stood_still_counts_as_another():
    assert usual_minutes([{"seconds": 60.0}, {"seconds": 6000.0}, {"seconds": 60.0}]) == 3.0

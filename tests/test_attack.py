"""That `make attack` tells what is wrong, and finds nothing wrong in a few random attacks."""

import json

import pytest

import attack
from helpers.engines.evidence import examine
from helpers.receptive_field import total


@pytest.mark.parametrize("tried", [attack.idle, attack.pooling, attack.honest])
def test_random_attacks_are_told(tried):
    counts = attack.counted(tried, 2, seed=1)
    assert counts["told"] == 2 and not counts["wrong"]


def test_a_checker_that_believes_the_layers_is_wrong(monkeypatch):
    monkeypatch.setattr("helpers.assignment.examine", lambda model: examine(model)._replace(field=total(model)))
    assert attack.counted(attack.idle, 5, seed=1)["wrong"]


def test_flipped_bits_are_told_where_there_is_a_digest_only(tmp_path):
    run = attack.finished(tmp_path / "run", attack.faults.images())
    for path, read in attack.answers(run):
        counts = attack.flips(path, read, 20, seed=0)
        assert counts["told"] > 10 and not counts["wrong"], path.name
    (tmp_path / "plain.json").write_text(json.dumps({"accuracy": 85.25}))
    counts = attack.flips(tmp_path / "plain.json", lambda: json.loads((tmp_path / "plain.json").read_text()), 200, 0)
    assert counts["wrong"]

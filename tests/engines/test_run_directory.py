import json
import os
import random

import pytest
import torch

from helpers.engines.run_directory import WEIGHTS, RunDirectory, read_state, write_atomically
from helpers.errors import BadInput

CONFIG = {"network": "tiny", "seed": 0}


def opened(path, config=CONFIG, **kwargs):
    return RunDirectory(path, config, **kwargs)


def names(path):
    return sorted(entry.name for entry in path.iterdir() if entry.name != ".lock")


def test_state_comes_back_as_it_was(tmp_path):
    state = {"model": {"w": torch.randn(4)}, "rows": [{"epoch": 1, "loss": 0.1}], "step": 3}
    with opened(tmp_path) as run:
        run.save(state, 3)
    with opened(tmp_path) as run:
        again = run.load(print)
    assert torch.equal(again["model"].pop("w"), state["model"].pop("w")) and again == state


def test_new_folder_has_no_state_and_says_what_the_run_is(tmp_path):
    with opened(tmp_path / "runs/first") as run:
        assert run.load(print) is None
    written = json.loads((tmp_path / "runs/first/config.json").read_text())
    assert written == {"run": CONFIG, "sessions": []}


def test_two_newest_checkpoints_are_kept(tmp_path):
    with opened(tmp_path) as run:
        for step in (8, 9, 10, 11):
            run.save({"step": step}, step)
        assert [path.name for path in run.checkpoints()] == ["step-000000011.pt", "step-000000010.pt"]
        assert run.load(print) == {"step": 11}


def test_folder_of_another_run_is_refused_and_stays_as_it_was(tmp_path):
    with opened(tmp_path) as run:
        run.save({"step": 1}, 1)
    before = names(tmp_path)
    with pytest.raises(BadInput, match="seed 0 there and 1 now, clip None there and 2 now"):
        opened(tmp_path, {"network": "tiny", "seed": 1, "clip": 2}).__enter__()
    assert names(tmp_path) == before
    with opened(tmp_path) as run:  # it is not locked any more
        assert run.load(print) == {"step": 1}


def test_start_anew_leaves_nothing_of_the_run_before(tmp_path):
    with opened(tmp_path) as run:
        run.save({"step": 1}, 1)
        (tmp_path / WEIGHTS).write_bytes(b"weights")
    with opened(tmp_path, {"network": "other"}, resume=False) as run:
        assert names(tmp_path) == ["config.json"] and run.load(print) is None


def test_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def full(source, target):
        assert source.read_bytes() == b"new" and source.parent == path.parent  # whole before it takes the place
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path):
    write_atomically(tmp_path / "new/file", b"new")
    assert (tmp_path / "new/file").read_bytes() == b"new" and names(tmp_path / "new") == ["file"]


def test_no_flipped_bit_of_a_checkpoint_goes_unnoticed(tmp_path):
    """torch.load alone misses nearly all of them."""
    with opened(tmp_path) as run:
        run.save({"w": torch.randn(300), "step": 1}, 1)
        path = run.checkpoints()[0]
    content, chance, noticed = path.read_bytes(), random.Random(0), 0
    sound = torch.load(path, weights_only=True)
    for _ in range(300):
        place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        try:
            state = read_state(path)
        except Exception:
            noticed += 1
        else:  # a bit of the padding between the members
            assert torch.equal(state["w"], sound["w"]) and state["step"] == 1
    assert noticed > 200

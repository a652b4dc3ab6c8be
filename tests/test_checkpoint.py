import os

import pytest
import torch
from torch import nn

from helpers.checkpoint import (
    has_weights,
    load_state,
    load_weights,
    save_state,
    save_weights,
    write_atomically,
)
from helpers.errors import BadInput

CONFIG = {"network": "tiny", "seed": 0}


def tiny(name="tiny"):
    return nn.Linear(3, 2)


def test_state_comes_back_as_it_was(tmp_path):
    tensor = torch.randn(4)
    save_state(tmp_path, {"config": CONFIG, "model": {"w": tensor}, "rows": [{"epoch": 1}]})
    state = load_state(tmp_path, CONFIG)
    assert torch.equal(state["model"]["w"], tensor) and state["rows"] == [{"epoch": 1}]


def test_new_folder_has_no_state(tmp_path):
    assert load_state(tmp_path, CONFIG) is None and not has_weights(tmp_path)


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b"\x80\x04." + b[3:]])
def test_damaged_state_is_named(tmp_path, damage):
    save_state(tmp_path, {"config": CONFIG, "rows": []})
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInput, match="checkpoint.pt is damaged"):
        load_state(tmp_path, CONFIG)


def test_a_pickle_that_would_run_code_does_not(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"config": CONFIG, "rows": Hostile()}, tmp_path / "checkpoint.pt")
    with pytest.raises(BadInput, match="damaged"):
        load_state(tmp_path, CONFIG)
    assert not (tmp_path / "ran").exists()


def test_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half(partial):
        partial.write_text("ne")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, half)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_weights_come_back_with_their_metadata(tmp_path):
    model = tiny()
    save_weights(tmp_path, model, {"config": CONFIG})
    again, metadata = load_weights(tmp_path, tiny)
    assert has_weights(tmp_path) and metadata == {"config": CONFIG}
    assert torch.equal(model.weight, again.weight) and torch.equal(model.bias, again.bias)


def test_missing_and_damaged_weights_are_named(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        load_weights(tmp_path, tiny)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(BadInput, match="model.safetensors is damaged"):
        load_weights(tmp_path, tiny)

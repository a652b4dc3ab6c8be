import pytest
import torch
from safetensors import safe_open
from torch import nn

from helpers.engines.run_directory import WEIGHTS
from helpers.errors import BadInput
from helpers.models.weights import has_weights, load_weights, save_weights

CONFIG = {"network": "tiny", "seed": 0}


def tiny():
    return nn.Linear(3, 2)


def test_weights_come_back_with_their_metadata(tmp_path):
    model, path = tiny(), tmp_path / WEIGHTS
    save_weights(path, model.state_dict(), {"config": CONFIG}, {"seed": "3"})
    tensors, metadata = load_weights(path)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["seed"] == "3"
    assert has_weights(tmp_path) and metadata == {"config": CONFIG}
    assert torch.equal(model.weight, tensors["weight"]) and torch.equal(model.bias, tensors["bias"])


def flip_a_bit(content):
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]  # among the numbers, where safetensors sees none


def test_missing_and_damaged_weights_are_named(tmp_path):
    path = tmp_path / WEIGHTS
    with pytest.raises(BadInput, match="does not exist: run notebook 05"):
        load_weights(path)
    save_weights(path, tiny().state_dict(), {"config": CONFIG})
    content = path.read_bytes()
    for damaged in (b"", b"\x00" * 20, content[:-4], content[:30], flip_a_bit(content)):
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match="model.safetensors is damaged"):
            load_weights(path)
    save_weights(path, tiny().state_dict(), {"config": {}})
    with pytest.raises(BadInput, match="model.safetensors is damaged"):
        load_weights(path)


def test_weights_that_the_system_refuses_to_write_are_told(tmp_path):
    """Here by a limit to the size of files, which unlike a patched function is met by any library's code."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(BadInput, match="File too large"):
            save_weights(tmp_path / WEIGHTS, nn.Linear(100, 10).state_dict(), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not has_weights(tmp_path) and not list(tmp_path.iterdir())

import json
import random
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from helpers.engines.run_directory import WEIGHTS
from helpers.errors import BadInput
from helpers.models import weights
from helpers.models.weights import has_weights, load_weights, save_weights

CONFIG = {"network": "tiny", "seed": 0, "source": "synthetic", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
ABOUT = {"config": CONFIG, "classes": list("abcdefghij")}


def tiny():
    return nn.Linear(3, 2)


def test_weights_come_back_with_their_metadata(tmp_path):
    model, path = tiny(), tmp_path / WEIGHTS
    save_weights(path, model.state_dict(), ABOUT, {"seed": "3"})
    tensors, metadata = load_weights(path)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["seed"] == "3"
    assert has_weights(tmp_path) and metadata == ABOUT
    assert torch.equal(model.weight, tensors["weight"]) and torch.equal(model.bias, tensors["bias"])


def flip_a_bit(content):
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]  # among the numbers, where safetensors sees none


def test_missing_and_damaged_weights_are_named(tmp_path):
    path = tmp_path / WEIGHTS
    with pytest.raises(BadInput, match="does not exist: run notebook 05"):
        load_weights(path)
    save_weights(path, tiny().state_dict(), ABOUT)
    content = path.read_bytes()
    for damaged in (b"", b"\x00" * 20, content[:-4], content[:30], flip_a_bit(content)):
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match="model.safetensors is damaged"):
            load_weights(path)
    save_weights(path, tiny().state_dict(), {"config": {}})
    with pytest.raises(BadInput, match="model.safetensors is damaged"):
        load_weights(path)


def flipped(content, places, chance):
    """Return the content with one bit of one of the places flipped."""
    at = chance.choice(places)
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def test_no_flipped_bit_of_the_header_goes_unnoticed(tmp_path):
    """Of the spaces that pad it some become others that JSON skips, too: then nothing has changed."""
    path, chance, noticed = tmp_path / WEIGHTS, random.Random(0), 0
    save_weights(path, tiny().state_dict(), ABOUT, {"mean": "[0.5, 0.4, 0.3]"})
    content, before = path.read_bytes(), load_weights(path)
    header = range(8 + int.from_bytes(content[:8], "little"))
    for _ in range(700):
        path.write_bytes(flipped(content, header, chance))
        try:
            tensors, metadata = load_weights(path)
        except BadInput:
            noticed += 1
        else:
            assert metadata == before[1] and torch.equal(tensors["weight"], before[0]["weight"])
    assert noticed > 650


@pytest.mark.parametrize("name", [path.stem for path in sorted(weights.RELEASED.glob("*.safetensors"))])
def test_no_flipped_bit_of_a_released_header_goes_unnoticed(name, tmp_path):
    path, chance = tmp_path / f"{name}.safetensors", random.Random(0)
    shutil.copy(weights.RELEASED / path.name, path)
    load_weights(path)
    content = path.read_bytes()
    text = range(8, len(content[: 8 + int.from_bytes(content[:8], "little")].rstrip()))
    for _ in range(40):
        path.write_bytes(flipped(content, text, chance))
        with pytest.raises(BadInput):
            load_weights(path)


CHANGES = [{"classes": value} for value in (None, ["a"], [1] * 10)] + [{"config": value} for value in (None, [1])]
CHANGES += [{"config": CONFIG | {"std": value}} for value in ([0.2, 0, 0.2], None, [0.1, float("nan"), 0.1])]
CHANGES += [{"config": CONFIG | {"mean": value}} for value in (3, ["a", "b", "c"], [0.1, 0.2], {})]
CHANGES += [{"config": CONFIG | {name: value}} for name in ("network", "source") for value in (["wide_2m"], None, 5)]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_crafted_metadata_with_the_right_digest_are_one_sentence(tmp_path, change):
    save_weights(tmp_path / WEIGHTS, tiny().state_dict(), ABOUT | change)
    with pytest.raises(BadInput, match="model.safetensors is damaged"):
        load_weights(tmp_path / WEIGHTS)


@pytest.mark.parametrize("name", ["classes", "config", *sorted(set(CONFIG) - {"seed"})])
def test_missing_metadata_are_one_sentence(tmp_path, name):
    about = {**ABOUT, "config": {key: value for key, value in CONFIG.items() if key != name}}
    about.pop(name, None)
    save_weights(tmp_path / WEIGHTS, tiny().state_dict(), about)
    with pytest.raises(BadInput, match="model.safetensors is damaged"):
        load_weights(tmp_path / WEIGHTS)


@pytest.mark.parametrize("texts", [None, {}, {"workbook": "3"}, {"workbook": '"text"'}, {"workbook": "["}])
def test_another_programs_weights_are_one_sentence(tmp_path, texts):
    save_file(tiny().state_dict(), tmp_path / WEIGHTS, texts)
    with pytest.raises(BadInput, match="model.safetensors is damaged"):
        load_weights(tmp_path / WEIGHTS)


def test_weights_that_are_not_finite_are_told(tmp_path):
    model = tiny()
    model.weight.data[0, 0] = float("nan")
    save_weights(tmp_path / WEIGHTS, model.state_dict(), ABOUT)
    with pytest.raises(BadInput, match="a weight is not finite"):
        load_weights(tmp_path / WEIGHTS)


def write_config(folder, config):
    (folder / "config.json").write_text(json.dumps({"run": config, "sessions": []}))


def test_weights_of_another_run_in_a_folder_are_told(tmp_path):
    save_weights(tmp_path / WEIGHTS, tiny().state_dict(), ABOUT)
    write_config(tmp_path, CONFIG)
    assert load_weights(tmp_path / WEIGHTS)[1] == ABOUT
    write_config(tmp_path, CONFIG | {"seed": 1})
    with pytest.raises(BadInput, match="is of another run than .*config.json names"):
        load_weights(tmp_path / WEIGHTS)


def test_weights_without_a_digest_are_damaged(tmp_path):
    save_file(tiny().state_dict(), tmp_path / WEIGHTS, {"workbook": json.dumps(ABOUT)})
    with pytest.raises(BadInput, match="is damaged .its digest is missing"):
        load_weights(tmp_path / WEIGHTS)


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

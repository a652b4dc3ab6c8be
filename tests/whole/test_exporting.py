import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from helpers.engines.run_directory import WEIGHTS
from helpers.evaluation import predict
from helpers.models import MODELS, build, load_trained
from helpers.models.weights import save_weights
from toy import run_command

CONFIG = {"mean": [0.49, 0.48, 0.45], "std": [0.25, 0.24, 0.26]}
ORIGIN = {"source": "synthetic", "seed": 0}
IMAGES = np.random.default_rng(0).integers(256, size=(5, 32, 32, 3), dtype=np.uint8)


def write_run(folder, name):
    """Make a run folder of an untrained network that has seen a few images in training mode, as norms remember."""
    model = build(name).train()
    model(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    config = {"network": name, **CONFIG, **ORIGIN}
    save_weights(Path(folder, WEIGHTS), model.state_dict(), {"config": config, "classes": tuple("abcdefghij")})


@pytest.mark.parametrize("name", MODELS)
def test_the_file_gives_torchs_answers_for_batches_of_any_size(tmp_path, name, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run("run", name)
    assert run_command("export", "run", "--out", "net.onnx") == 0
    assert capsys.readouterr().out == f"net.onnx: {name} for pixel values in [0, 1]\n"
    expected = predict(load_trained("run")[0], IMAGES, **CONFIG).numpy()
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    pixels = (IMAGES.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    for count in (1, 5):
        (logits,) = session.run(["logits"], {"pixels": pixels[:count]})
        assert logits.shape == (count, 10) and abs(logits - expected[:count]).max() < 1e-4
    assert np.ptp(expected) > 0.01  # answers that differ
    said = session.get_modelmeta().custom_metadata_map
    assert "pixel" not in said["network"] and "in [0, 1], red first" in said["input"]
    assert (said["network"], said["classes"]) == (name, "a, b, c, d, e, f, g, h, i, j")
    onnx.checker.check_model(onnx.load("net.onnx"))
    assert str(Path(torch.__file__).parent).encode() not in Path("net.onnx").read_bytes()  # nobody's folders
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "run"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fast_200k", "--out", "photo.jpg"), "'photo.jpg'; give a name that ends in .onnx"),
        (("fast_200k", "--out", ""), "''; give a name that ends in .onnx"),
        (("fast_200k", "--out", "folder.onnx"), "'folder.onnx'; give"),
        (("nowhere", "--out", "a.onnx"), "nowhere"),
        (("mini_resnt", "--out", "a.onnx"), "mini_resnt"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, arguments, words, capsys):
    monkeypatch.chdir(tmp_path)
    Path("folder.onnx").mkdir()
    assert run_command("export", *arguments) == 2
    told = capsys.readouterr().err
    assert words in told and told.startswith("workbook: ") and told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


def test_without_the_extra_it_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    assert run_command("export", "fast_200k", "--out", str(tmp_path / "a.onnx")) == 2
    assert 'onnxscript: pip install "cifar10-workbook[export]"' in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.onnx, "export", MagicMock())  # which takes seconds
    Path("net.onnx").write_bytes(b"old")

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run_command("export", "fast_200k", "--out", "net.onnx") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert Path("net.onnx").read_bytes() == b"old"

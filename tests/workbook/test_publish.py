import errno
import json
import os
import shutil
from base64 import b64decode, b64encode
from dataclasses import replace
from io import BytesIO

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbformat.v4 import new_code_cell, new_output
from PIL import Image
from safetensors import safe_open
from torch.nn.functional import cross_entropy

from helpers.errors import BadInput
from helpers.evaluation import predict
from helpers.models import build, load_trained
from helpers.models.weights import WEIGHTS, load_weights, save_weights
from helpers.plots import curves
from helpers.recipes import RECIPES
from helpers.results import result, write_result
from helpers.training import fit
from helpers.workbook import publish
from toy import code, make_workbook, write_notebook


def png(pixels):
    """Return the pixels as a PNG in base64, as notebooks hold it."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return b64encode(file.getvalue()).decode()


PHOTOGRAPH = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
FIGURE = new_output("display_data", {"image/png": PHOTOGRAPH, "text/plain": "<Figure size 640x480 with 1 Axes>"})
RECORD = {
    "network": "dilated_193k",
    "parameters": 193535,
    "receptive_field": 47,
    "train_images": 45_000,
    "seed": 1,
    "changes": {},
    "machine": "2-core Toy",
    "versions": {"torch": "2.15.0"},
    "epochs": [{"seconds": 1851.0}, {"seconds": 1851.0}],  # 61.7 minutes
    "final": {"test_accuracy": 80.1, "correct": 8010, "seen": 10000, "train_minutes": 61.7},
    "published": {"accuracy": 86.15, "epochs": 100},
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    root = make_workbook(tmp_path / "toy", monkeypatch)
    for stem in ("01_first", "02_second", "03_third"):
        write_notebook(root / f"notebooks/{stem}.ipynb", code("print(STEPS)"), code("plot()"))
    return root


def everything(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


# --- render ---


def make_run(root, name="20260101-000000-full", profile="full", data="cifar10", output="2\n"):
    """Write a run as `workbook run` leaves it, with papermill's traces."""
    run = root / "runs" / name
    for folder in (run / "images", run / "checkpoints/dilated"):
        folder.mkdir(parents=True)
    stems = [path.stem for path in sorted((root / "notebooks").glob("*.ipynb"))]
    for stem in stems:
        notebook = nbformat.read(root / f"notebooks/{stem}.ipynb", 4)
        for count, cell in enumerate(notebook.cells[1:]):
            cell.execution_count = count + 1
            cell.metadata["papermill"] = {"duration": 1.0}
            cell.metadata.setdefault("tags", [])
        notebook.cells[3].outputs = [new_output("stream", text=output)]
        notebook.cells[4].outputs = [FIGURE]
        notebook.metadata["papermill"] = {"output_path": str(run)}
        notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
        nbformat.write(notebook, run / f"{stem}.ipynb")
    (run / "images/curve.png").write_bytes(b"png")
    (run / "checkpoints/dilated/result.json").write_text(json.dumps(RECORD))
    summary = {"profile": profile, "data_source": data, "notebooks": dict.fromkeys(stems)}
    (run / "summary.json").write_text(json.dumps(summary))
    return run


def test_render_brings_outputs_figures_and_results_and_no_trace_of_the_run(toy):
    make_run(toy, "20260101-000000-full", output="1\n")
    make_run(toy, "20260102-000000-full")
    make_run(toy, "20260103-000000-quick", profile="quick")
    shutil.rmtree(make_run(toy, "20260104-000000-full") / "images")
    (toy / "runs/20260104-000000-full/summary.json").unlink()  # interrupted
    before = nbformat.read(toy / "notebooks/01_first.ipynb", 4)
    publish.render()
    text = (toy / "notebooks/01_first.ipynb").read_text()
    after = nbformat.reads(text, 4)
    assert [cell.get("execution_count") for cell in after.cells] == [None, 1, 2, 3, 4]
    assert after.cells[3].outputs[0].text == "2\n"
    assert after.cells[4].outputs == [FIGURE]
    assert [(c.source, c.metadata, c.id) for c in after.cells] == [(c.source, c.metadata, c.id) for c in before.cells]
    assert "papermill" not in text and "3.11.7" not in text
    assert after.metadata.kernelspec.name == "python3"
    assert (toy / "images/curve.png").read_bytes() == b"png"
    assert "80.10 %" in (toy / "README.md").read_text()


def test_a_drawing_is_stored_in_256_colours_and_a_photograph_as_it_is():
    file = BytesIO()
    curves({"a": pd.Series([1, 3, 2]), "b": pd.Series([2, 2, 5])}, "A drawing", "step", "rate").savefig(file)
    drawn = np.asarray(Image.open(file).convert("RGB")).astype(int)
    stored = publish.smaller_png(b64encode(file.getvalue()).decode())
    assert abs(np.asarray(Image.open(BytesIO(b64decode(stored))).convert("RGB")) - drawn).max() <= publish.UNSEEN
    assert len(b64decode(stored)) < 0.5 * len(file.getvalue())
    assert publish.smaller_png(PHOTOGRAPH) == PHOTOGRAPH


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"profile": "quick"}, "profile 'quick' on cifar10 data; only full runs on CIFAR-10"),
        ({"data": "synthetic"}, "on synthetic data"),
        ({"output": "in /home/somebody/data\n"}, r"cell \[3\] has the absolute path '/home/somebody/data'"),
    ],
)
def test_render_refuses_a_run_that_is_not_for_publication_and_writes_nothing(toy, change, told):
    run = make_run(toy, **change)
    before = everything(toy)
    with pytest.raises(BadInput, match=told):
        publish.render(run)
    assert everything(toy) == before


def test_render_takes_the_results_of_a_sweep_that_looked_at_the_test_set(toy):
    run = make_run(toy)
    for name, accuracy in (("tested", "test_accuracy"), ("chosen", "holdout_accuracy")):
        folder = run / f"checkpoints/experiments/{name}-seed1"
        folder.mkdir(parents=True)
        record = RECORD | {"seed": 2, "final": {**RECORD["final"], accuracy: 70.0, "correct": 7000}}
        (folder / "result.json").write_text(json.dumps(record))
    held = json.loads((folder / "result.json").read_text())
    del held["final"]["test_accuracy"]
    (folder / "result.json").write_text(json.dumps(held))
    publish.render()
    results = {path.name for path in (toy / "notebooks/results").glob("*.json")}
    assert results == {f"dilated_193k-seed{seed}-{RECORD['train_images']}images.json" for seed in (1, 2)}
    with pytest.raises(BadInput, match="dilated_193k is a hold-out's"):
        publish.format_results([held])


def test_render_refuses_code_that_changed_since_the_run(toy):
    make_run(toy)
    write_notebook(toy / "notebooks/02_second.ipynb", code("print(STEPS + 1)"), code("plot()"))
    before = everything(toy)
    with pytest.raises(BadInput, match="02_second has other code"):
        publish.render()
    assert everything(toy) == before


def test_render_refuses_injected_parameters(toy):
    run = make_run(toy)
    notebook = nbformat.read(run / "03_third.ipynb", 4)
    notebook.cells.insert(3, new_code_cell("STEPS = 9", metadata={"tags": ["injected-parameters"]}))
    nbformat.write(notebook, run / "03_third.ipynb")
    with pytest.raises(BadInput, match="03_third has other code or parameters"):
        publish.render()


@pytest.mark.parametrize("summary", [None, "", '{"profile": "fu'])
def test_render_refuses_a_run_that_did_not_finish(toy, summary):
    path = make_run(toy) / "summary.json"
    path.unlink()
    if summary is not None:
        path.write_text(summary)
    with pytest.raises(BadInput, match="is no finished run"):
        publish.render(path.parent)


@pytest.mark.parametrize(
    "summary",
    [[], 3, None, "x", {}, {"notebooks": []}, {"notebooks": {}}, {"notebooks": {"01_first": None}}, {"notebooks": 3}],
    ids=str,
)
def test_render_refuses_a_summary_of_another_shape_and_an_empty_run(toy, summary, capsys):
    run = make_run(toy)
    if isinstance(summary, dict) and summary.get("notebooks") != {"01_first": None}:
        summary = {"profile": "full", "data_source": "cifar10", **summary}
    (run / "summary.json").write_text(json.dumps(summary))
    before = everything(toy)
    with pytest.raises(BadInput, match="summary.json is missing or damaged"):
        publish.render(run)
    assert everything(toy) == before and "Rendered" not in capsys.readouterr().out


@pytest.mark.parametrize("text", [None, "", "[]", "3", "{}", '{"cells": 3}', '{"cells": [3], "nbformat": 4}'])
def test_render_refuses_what_is_no_notebook(toy, text):
    run = make_run(toy)
    (run / "02_second.ipynb").unlink()
    if text is not None:
        (run / "02_second.ipynb").write_text(text)
    before = everything(toy)
    with pytest.raises(BadInput, match="02_second.ipynb is missing or no notebook"):
        publish.render(run)
    assert everything(toy) == before


def test_render_refuses_notebooks_that_are_not_the_workbooks(toy):
    run = make_run(toy)
    summary = json.loads((run / "summary.json").read_text())
    summary["notebooks"]["99_other"] = None
    (run / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(BadInput, match="notebooks that the workbook does not have: 99_other"):
        publish.render(run)
    with pytest.raises(BadInput, match="The run's folder is ''"):
        publish.render("")


def test_render_without_a_full_run_says_how_to_make_one(toy):
    make_run(toy, profile="quick", name="20260101-000000-quick")
    with pytest.raises(BadInput, match="make full"):
        publish.render()


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (new_output("error", ename="ValueError", evalue="", traceback=[]), ["the error ValueError"]),
        (new_output("stream", name="stderr", text="UserWarning: no"), ["a warning or a message on stderr"]),
        (new_output("stream", text=" 40%|####      | 2/5"), ["a progress bar"]),
        (new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}}), ["a progress bar"]),
        (new_output("stream", text="see 'C:\\Users\\me'"), ["the absolute path"]),
        (new_output("execute_result", {"text/html": '<img src="/files/a.png">'}), ["the absolute path"]),
        (new_output("stream", text="93 % at 12/50, img/s, https://a.org/b/c, runs/a/b, and/or/not"), []),
        (new_output("execute_result", {"text/html": "<td>1</td></tr></table>"}), []),
        (FIGURE, []),
    ],
)
def test_what_must_not_stand_in_a_committed_output_is_found(output, told):
    problems = publish.output_problems(new_code_cell("", outputs=[output]))
    assert len(problems) == len(told)
    assert all(problem.startswith(start) for problem, start in zip(problems, told, strict=True))


# --- readme ---


def test_the_readme_has_a_row_for_each_network_from_its_runs_at_full_length(toy):
    """Not from a shorter run, nor from one on fewer images."""
    small = RECORD | {"network": "a_small", "seed": 0, "published": None, "changes": {"epochs": 2}}
    better = RECORD["final"] | {"test_accuracy": 99.0, "correct": 9900}
    others = {
        "b": RECORD,
        "a": small,
        "c": RECORD | {"changes": {"epochs": 1}, "final": better},
        "d": RECORD | {"train_images": 40_000, "final": better, "seed": 0},
        "e": RECORD
        | {"seed": 2, "machine": "H200", "final": RECORD["final"] | {"test_accuracy": 81.1, "correct": 8110}},
    }
    for name, record in others.items():
        (toy / f"notebooks/results/{name}.json").write_text(json.dumps(record))
    text = "<!-- headline -->\n<!-- /headline -->\nbefore\n<!-- results -->\nold\n<!-- /results -->\nafter\n"
    lines = publish.insert_results(text).partition("<!-- /headline -->\n")[2].splitlines()
    assert lines[:2] == ["before", "<!-- results -->"] and lines[-2:] == ["<!-- /results -->", "after"]
    assert lines[4:6] == [
        "| a_small | – | – | 0 | – | 193,535 | 47 | – | – | – |",
        "| dilated_193k | 80.60 ± 0.71 % | 79.3 to 80.9 | 2 | 86.15 % (100 epochs) | 193,535 | 47 | 2 | 45,000 | 62 |",
    ]
    assert lines[2].count("|") == lines[3].count("|") == lines[4].count("|") == 11
    assert lines[7].endswith("Machine: 2-core Toy, torch 2.15.0; H200, torch 2.15.0.")


def test_the_headline_has_the_workbooks_own_networks_at_full_length():
    ours = RECORD | {"network": "fast_200k", "published": None}
    second = ours | {"seed": 2, "final": ours["final"] | {"test_accuracy": 81.1, "correct": 8110}}
    short = ours | {"network": "best_200k", "changes": {"epochs": 1}}
    lines = publish.format_headline([RECORD, second, ours, short]).splitlines()
    assert lines[2:] == ["| `.venv/bin/workbook train fast_200k` | 80.60 ± 0.71 % (2 seeds) | 2 | 62 |"]
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")


def test_the_interval_is_wilsons_by_hand():
    p, n, z = 0.8, 10, 1.96
    middle, reach = (p + z**2 / (2 * n)), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = (100 * (middle + side * reach) / (1 + z**2 / n) for side in (-1, 1))
    few = RECORD["final"] | {"test_accuracy": 80.0, "correct": 8, "seen": 10}
    assert f"| {low:.1f} to {high:.1f} |" in publish.format_results([RECORD | {"final": few}])


def test_a_readme_without_markers_and_a_damaged_result_are_named(toy):
    with pytest.raises(BadInput, match="README.md has no lines"):
        publish.insert_results("no markers")
    (toy / "notebooks/results/a.json").write_text("{")
    with pytest.raises(BadInput, match="a.json is damaged"):
        publish.insert_results("<!-- headline -->\n<!-- /headline -->\n<!-- results -->\n<!-- /results -->")


def without(name):
    return {key: value for key, value in RECORD.items() if key != name}


def final(**changes):
    return RECORD | {"final": RECORD["final"] | changes}


WRONG = {
    "a list": [],
    "a number": 3,
    "nothing": {},
    "an accuracy that is not correct / seen": final(test_accuracy=85.1),
    "an accuracy in words": final(test_accuracy="80.1"),
    "an accuracy without a value": final(test_accuracy=float("nan")),
    "more right than seen": final(test_accuracy=200.0, correct=20000),
    "nothing seen": final(seen=0),
    "fewer parameters than none": RECORD | {"parameters": -10},
    "more parameters than a number holds": RECORD | {"parameters": 10**400},
    "half an image": final(correct=8010.0),
    "minutes in words": final(train_minutes="x"),
    "no epochs": RECORD | {"epochs": []},
    "epochs in words": RECORD | {"epochs": ["x"]},
    "versions in words": RECORD | {"versions": "x"},
    "a published figure in words": RECORD | {"published": {"accuracy": "x", "epochs": 1}},
    "a seed in words": RECORD | {"seed": "x"},
    "parameters in words": RECORD | {"parameters": "x"},
    **{f"no {name}": without(name) for name in RECORD},
}


@pytest.mark.parametrize("record", WRONG.values(), ids=WRONG)
def test_a_result_of_another_shape_is_named(toy, record):
    (toy / "notebooks/results/a.json").write_text(json.dumps(record))
    before = everything(toy)
    with pytest.raises(BadInput, match="a.json is damaged"):
        publish.readme()
    assert everything(toy) == before
    (toy / "notebooks/results/a.json").unlink()
    run = make_run(toy)
    (run / "checkpoints/dilated/result.json").write_text(json.dumps(record))
    before = everything(toy)
    with pytest.raises(BadInput, match="result.json is damaged"):
        publish.render(run)
    assert everything(toy) == before


def test_a_readme_that_cannot_be_written_stays_as_it_was(toy, monkeypatch):
    (toy / "notebooks/results/a.json").write_text(json.dumps(RECORD))
    before = (toy / "README.md").read_text()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        publish.readme()
    assert (toy / "README.md").read_text() == before


# --- release ---


SHORT = replace(RECIPES["mini_resnet"], epochs=1, batch_size=50)


@pytest.fixture(scope="module")
def trained(few, tmp_path_factory):
    """The folder of a run that passes for one on CIFAR-10."""
    model, folder = build("mini_resnet"), tmp_path_factory.mktemp("trained") / "run"
    history = fit(model, few, SHORT, run_dir=folder, log=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "mini_resnet", SHORT)
        record = result(SHORT, model, history, predict(model, few.images), few, few, seed=0)
    write_result(folder / "result.json", record | {"data_source": "cifar10", "train_images": 50_000})
    return folder


@pytest.fixture
def finished(trained, few, tmp_path, monkeypatch):
    """A copy of the run, for which its recipe is as it stands, and the folder that it is released into."""
    monkeypatch.setitem(RECIPES, "mini_resnet", SHORT)
    folder, target = shutil.copytree(trained, tmp_path / "run"), tmp_path / "released"
    monkeypatch.setattr(publish, "RELEASED", target)
    monkeypatch.setattr(publish, "load_cifar10", lambda root, train: few)
    monkeypatch.setattr(publish, "readme", lambda: None)
    return folder, target


def test_released_weights_say_what_they_are_and_what_they_get_wrong(finished, few, monkeypatch):
    folder, target = finished
    publish.release(folder)
    record = json.loads((target / "mini_resnet-seed0.json").read_text())
    with safe_open(target / "mini_resnet.safetensors", framework="pt") as file:
        header = file.metadata()
    assert (header["recipe"], header["seed"], header["data_source"]) == ("mini_resnet", "0", "cifar10")
    assert json.loads(header["mean"]) == record["recipe_values"]["mean"] and len(json.loads(header["std"])) == 3
    assert float(header["accuracy"]) == record["final"]["test_accuracy"] and header["commit"] == record["commit"]
    monkeypatch.setattr("helpers.models.RELEASED", target)
    model, metadata = load_trained("mini_resnet")
    logits = predict(model, few.images)
    answers = logits.argmax(1).numpy()
    assert metadata["wrong"] == [i for i in range(200) if answers[i] != few.labels[i]]
    halves = [cross_entropy(logits[::2] / heat, torch.from_numpy(few.labels[::2])).item() for heat in around(metadata)]
    assert min(halves) == halves[1], "no temperature near it has a smaller loss on every second image"


def around(metadata):
    return [metadata["temperature"] * change for change in (0.95, 1, 1.05)]


FINAL = {"correct": 200, "seen": 200, "train_minutes": 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"changes": {"epochs": 2}}, "no run of a recipe as it stands"),
        ({"data_source": "synthetic"}, "no run of a recipe as it stands"),
        ({"train_images": 45_000}, "no run of a recipe as it stands"),
        ({"final": FINAL | {"holdout_accuracy": 100.0}}, "no run of a recipe as it stands"),
        ({"final": FINAL | {"test_accuracy": 100.0}}, "recorded 200 right answers, and here gives"),
        ({"recipe": "../elsewhere"}, "the result of another run than its weights"),
        ({"seed": 3}, "the result of another run than its weights"),
    ],
)
def test_only_what_a_recipe_gives_on_the_test_set_is_released(finished, changes, words):
    folder, target = finished
    record = json.loads((folder / "result.json").read_text())
    write_result(folder / "result.json", record | changes)
    with pytest.raises(BadInput, match=words):
        publish.release(folder)
    assert not target.exists()


def test_weights_of_a_later_seed_or_of_a_large_network_stay_out(finished):
    folder, target = finished
    record = json.loads((folder / "result.json").read_text())
    tensors, metadata = load_weights(folder / WEIGHTS)
    for seed, parameters in ((1, record["parameters"]), (0, 250_000)):
        write_result(folder / "result.json", record | {"seed": seed, "parameters": parameters})
        config = metadata["config"] | {"seed": seed}
        (folder / "config.json").write_text(json.dumps({"run": config, "sessions": []}))
        save_weights(folder / WEIGHTS, tensors, metadata | {"config": config})
        publish.release(folder)
        assert (target / f"mini_resnet-seed{seed}.json").exists() and not list(target.glob("*.safetensors"))

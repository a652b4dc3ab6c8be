"""What commands write into the repository: a full run's outputs, and the README's table of results."""

import json
import re
import shutil
from base64 import b64decode, b64encode
from io import BytesIO
from itertools import groupby
from pathlib import Path

import nbformat
import numpy as np
from nbformat import NotebookNode
from PIL import Image, ImageChops
from scipy.stats import binomtest

from helpers.analysis import temperature
from helpers.data import load_cifar10
from helpers.engines.run_directory import RESULT, place, read_json, write_atomically
from helpers.errors import BadInput
from helpers.evaluation import predict
from helpers.models import load_trained
from helpers.models.weights import RELEASED, save_weights
from helpers.results import read_result, usual_minutes, write_result
from helpers.workbook.parameters import ROOT, notebooks, read_notebook

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
# Two or more names after slashes, or a drive's letter, at a word's start: no URL, no ratio, no HTML tag.
ABSOLUTE_PATH = re.compile(r"""(?:^|[\s'"(=\[])((?:/[\w.+-]+){2,}|[A-Za-z]:\\\w+)""", re.MULTILINE)
OWN = ("fast_200k", "best_200k")  # the workbook's networks, which the README names first
UNSEEN = 9  # of 255: a change of a pixel's colour that nobody sees


def render(run: str | Path | None = None) -> None:
    """Write a full run's outputs, figures and results into notebooks/, images/ and notebooks/results/.

    `run` is the run's folder; without it the newest full run of all notebooks. Raises BadInput, and writes
    nothing, unless the run is whole, on CIFAR-10, and of the code that the notebooks hold now.
    """
    folder = place(run) if run is not None else _newest_full_run()
    summary = _read_summary(folder)
    if summary["profile"] != "full" or summary["data_source"] != "cifar10":
        raise BadInput(
            f"{folder.name} is a run of the profile {summary['profile']!r} on {summary['data_source']} data; "
            "only full runs on CIFAR-10 are rendered: make one with `make full`."
        )
    if unknown := sorted(set(summary["notebooks"]) - set(notebooks())):
        raise BadInput(f"{folder} has run notebooks that the workbook does not have: {', '.join(unknown)}.")
    rendered = {
        stem: _take_outputs(stem, read_notebook(folder / f"{stem}.ipynb", "run it again with `make full`"))
        for stem in summary["notebooks"]
    }
    records = {path: read_result(path) for path in folder.glob(f"checkpoints/**/{RESULT}")}
    for stem, notebook in rendered.items():
        nbformat.write(notebook, notebooks()[stem])
    for path in folder.glob("images/*.png"):
        shutil.copy(path, ROOT / "images")
    for path, record in records.items():  # one on a hold-out is no result yet
        if "test_accuracy" in record["final"]:
            name = f"{record['network']}-seed{record['seed']}-{record['train_images']}images.json"
            shutil.copy(path, ROOT / "notebooks" / "results" / name)
    readme()
    print(f"Rendered {', '.join(rendered)} from {folder.name}.")


def _newest_full_run() -> Path:
    whole = [path.parent for path in sorted((ROOT / "runs").glob("*-full/summary.json"))]
    complete = [folder for folder in whole if set(_read_summary(folder)["notebooks"]) == set(notebooks())]
    if not complete:
        raise BadInput("There is no full run of all notebooks in runs/: make one with `make full`.")
    return complete[-1]


def _read_summary(folder: Path) -> dict:
    problem = "is missing or damaged, so this is no finished run: run it again"
    summary = read_json(folder / "summary.json", problem)
    stems = summary.get("notebooks")
    if not isinstance(stems, dict) or not stems or not {"profile", "data_source"} <= set(summary):
        raise BadInput(f"{folder / 'summary.json'} {problem} (it names no notebook that was run).")
    return summary


def _take_outputs(stem: str, executed: NotebookNode) -> NotebookNode:
    """Return the repository's notebook with the outputs of an executed copy that has the same code."""
    notebook = read_notebook(notebooks()[stem], "put the committed one back")
    ours, theirs = ([cell for cell in n.cells if cell.cell_type == "code"] for n in (notebook, executed))
    if [cell.source for cell in ours] != [cell.source for cell in theirs]:
        raise BadInput(f"{stem} has other code or parameters than the run had: run it again with `make full`.")
    for our, their in zip(ours, theirs, strict=True):
        our.outputs, our.execution_count = their.outputs, their.execution_count
        if problems := output_problems(our):
            raise BadInput(f"{stem} cannot be rendered: cell [{our.execution_count}] has {problems[0]}; mend it.")
        for output in our.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller_png(output.data["image/png"])
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def smaller_png(png: str) -> str:
    """Return a PNG (base64) in 256 colours where nobody sees it, as in drawings, which makes it a third as large."""
    image = Image.open(BytesIO(b64decode(png))).convert("RGB")  # figures are opaque
    few, file = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE), BytesIO()
    if max(most for _, most in ImageChops.difference(image, few.convert("RGB")).getextrema()) > UNSEEN:
        return png
    few.save(file, "PNG", optimize=True)
    return b64encode(file.getvalue()).decode()


def output_problems(cell: NotebookNode) -> list[str]:
    """Return what must not stand in a committed output: error, stderr, progress bar, absolute path."""
    problems = []
    for output in cell.outputs:
        data = output.get("data", {})
        text = "\n".join([output.get("text", ""), *(data[kind] for kind in data if kind.startswith("text/"))])
        if output.output_type == "error":
            problems.append(f"the error {output.ename}")
        if output.get("name") == "stderr":
            problems.append(f"a warning or a message on stderr ({text.strip()[:80]!r})")
        if "widget-view" in str(list(data)) or re.search(r"\d+%\|", text):
            problems.append("a progress bar")
        problems += [f"the absolute path {path!r}" for path in ABSOLUTE_PATH.findall(text)]
    return problems


def release(run_dir: str | Path) -> None:
    """Take a finished run's result, and of seed 0 the weights, into notebooks/results/; write the README's table.

    Weights over a megabyte stay out. Raises BadInput unless the run is a recipe's as it stands, on CIFAR-10, and its
    weights give here the right answers that it recorded.
    """
    notebooks()  # or this is no clone, and has nowhere to put it
    record = read_result(place(run_dir) / RESULT, "is no finished run's: train with `workbook train`")
    final, recipe = record["final"], record.get("recipe")
    whole = (record.get("data_source"), record["train_images"]) == ("cifar10", 50_000)
    if record["changes"] or not whole or "test_accuracy" not in final:
        raise BadInput(f"{run_dir} is no run of a recipe as it stands, on all of CIFAR-10, measured on its test set.")
    (model, metadata), test = load_trained(run_dir), load_cifar10("cifar10", train=False)
    values = metadata["config"]
    if (recipe, record["seed"]) != (values["network"], values.get("seed")):
        raise BadInput(f"{run_dir} has the result of another run than its weights are of: put its own back.")
    logits = predict(model, test.images, mean=values["mean"], std=values["std"])
    wrong = np.flatnonzero(logits.argmax(1).numpy() != test.labels).tolist()
    if len(test) - len(wrong) != final["correct"]:
        raise BadInput(f"{run_dir} recorded {final['correct']} right answers, and here gives {len(test) - len(wrong)}.")
    write_result(RELEASED / f"{recipe}-seed{record['seed']}.json", record)
    if record["seed"] == 0 and 4 * record["parameters"] < 1e6:  # the first seed, not the best; four bytes each
        header = {name: str(record.get(name)) for name in ("recipe", "seed", "data_source", "commit")}
        header |= {"accuracy": str(final["test_accuracy"]), **{key: json.dumps(values[key]) for key in ("mean", "std")}}
        path, metadata["wrong"] = RELEASED / f"{recipe}.safetensors", wrong
        metadata["temperature"] = temperature(logits[::2], test.labels[::2])  # it has seen all training images
        save_weights(path, model.state_dict(), metadata, header)
    readme()


def readme() -> None:
    """Write the tables of results into the README and the released weights' card."""
    notebooks()  # or this is no clone, and has none of them
    for page in PAGES:
        path = ROOT / page
        write_atomically(path, insert_results(path.read_text("utf-8"), page).encode())  # a full disk would empty it


def insert_results(text: str, page: str = "README.md") -> str:
    """Return the page with its tables of results as the files in notebooks/results/ give them."""
    records = [read_result(path) for path in sorted((ROOT / "notebooks" / "results").glob("*.json"))]
    for name in PAGES[page]:
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not end:
            raise BadInput(f"{page} has no lines <!-- {name} --> and <!-- /{name} -->: put them around the table.")
        text = before + start + TABLES[name](records) + end + after
    return text


def format_headline(records: list[dict]) -> str:
    """Return a Markdown table of the workbook's own networks: the command, the accuracy, and how long it takes."""
    lines = ["| command, after `make install` | test accuracy | epochs | minutes |", "|---|---:|---:|---:|"]
    for name in OWN:
        if runs := _at_full_length([record for record in records if record["network"] == name]):
            accuracy, minutes = _mean_and_spread(runs), np.mean([usual_minutes(run["epochs"]) for run in runs])
            seeds = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
            row = f"| `.venv/bin/workbook train {name}` | {accuracy} ({seeds}) | {len(runs[0]['epochs'])} "
            lines.append(f"{row}| {minutes:.0f} |")
    return "\n".join(lines) + "\n"


def format_results(records: list[dict]) -> str:
    """Return a Markdown table, a row for each network from its runs at the recipe's length, and a line on machines.

    Of runs on fewer and on more training images those on more count. The interval is Wilson's, of the first seed.
    """
    if not records:
        return "No results yet.\n"
    for record in records:
        if "test_accuracy" not in record["final"]:
            raise BadInput(f"A result of {record['network']} is a hold-out's: take it out of notebooks/results/.")
    records = sorted(records, key=lambda record: (record["network"], record["seed"]))
    lines = [
        "| network | measured | interval | seeds | published | parameters | receptive field | epochs | images | min |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [_format_row(list(runs)) for _, runs in groupby(records, key=lambda record: record["network"])]
    machines = sorted({f"{r['machine']}, torch {r['versions']['torch']}" for r in records})
    seen = " or ".join(sorted({f"{r['final']['seen']:,}" for r in records}))
    lines += ["", f"Accuracy on {seen} test images after the last epoch. Machine: {'; '.join(machines)}."]
    return "\n".join(lines) + "\n"


def format_released(records: list[dict]) -> str:
    """Return the table of the networks whose weights are released."""
    return format_results([record for record in records if (RELEASED / f"{record['network']}.safetensors").is_file()])


def _format_row(runs: list[dict]) -> str:
    """Return the row of a network's runs; a dash for what no run at the recipe's length has measured yet."""
    about, published = runs[0], runs[0]["published"] or {"accuracy": None}
    theirs = f"{published['accuracy']:.2f} % ({published['epochs']} epochs)" if published["accuracy"] else "–"
    known = f"{theirs} | {about['parameters']:,} | {about['receptive_field']}"
    whole = _at_full_length(runs)
    if not whole:
        return f"| {about['network']} | – | – | 0 | {known} | – | – | – |"
    low, high = binomtest(whole[0]["final"]["correct"], whole[0]["final"]["seen"]).proportion_ci(method="wilson")
    minutes = np.mean([usual_minutes(run["epochs"]) for run in whole])
    row = f"| {about['network']} | {_mean_and_spread(whole)} | {100 * low:.1f} to {100 * high:.1f} | {len(whole)} "
    return row + f"| {known} | {len(whole[0]['epochs'])} | {whole[0]['train_images']:,} | {minutes:.0f} |"


def _at_full_length(runs: list[dict]) -> list[dict]:
    """Return the runs of a recipe as it stands, of these the ones on the most images, by seed."""
    whole = [run for run in runs if not run["changes"]]
    most = max([run["train_images"] for run in whole], default=0)
    return sorted((run for run in whole if run["train_images"] == most), key=lambda run: run["seed"])


def _mean_and_spread(runs: list[dict]) -> str:
    accuracies = [run["final"]["test_accuracy"] for run in runs]
    spread = f" ± {np.std(accuracies, ddof=1):.2f}" if len(runs) > 1 else ""
    return f"{np.mean(accuracies):.2f}{spread} %"


TABLES = {"headline": format_headline, "results": format_results, "released": format_released}
PAGES = {"README.md": ("headline", "results"), "notebooks/results/README.md": ("released",)}

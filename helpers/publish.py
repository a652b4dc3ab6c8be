"""What commands write into the repository: a full run's outputs, the notebooks' links, the README's table."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.errors import BadInput
from helpers.profiles import ROOT, notebooks, tagged

GITHUB = "https://github.com/"
COLAB = "https://colab.research.google.com"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
# Two or more names after slashes, or a drive's letter, at a word's start: no URL, no ratio, no HTML tag.
ABSOLUTE_PATH = re.compile(r"""(?:^|[\s'"(=\[])((?:/[\w.+-]+){2,}|[A-Za-z]:\\\w+)""", re.MULTILINE)


# --- render -------------------------------------------------------------------------------------------------


def render(run: str | Path | None = None) -> None:
    """Write a full run's outputs, figures and results into notebooks/, images/ and notebooks/results/.

    `run` is the run's folder; without it the newest full run of all notebooks. Raises BadInput, and writes
    nothing, unless the run is whole, on CIFAR-10, and of the code that the notebooks hold now.
    """
    folder = Path(run) if run else _newest_full_run()
    summary = _summary(folder)
    if summary["profile"] != "full" or summary["data_source"] != "cifar10":
        raise BadInput(
            f"{folder.name} is a run of the profile {summary['profile']!r} on {summary['data_source']} data; "
            "only full runs on CIFAR-10 are rendered: make one with `make full`."
        )
    rendered = {stem: _with_outputs(stem, nbformat.read(folder / f"{stem}.ipynb", 4)) for stem in summary["notebooks"]}
    for stem, notebook in rendered.items():
        nbformat.write(notebook, notebooks()[stem])
    for pattern, target in (("images/*.png", "images"), ("results/*.*", "notebooks/results")):
        for path in folder.glob(pattern):
            shutil.copy(path, ROOT / target)
    readme()
    print(f"Rendered {', '.join(rendered)} from {folder.name}.")


def _newest_full_run() -> Path:
    whole = [path.parent for path in sorted((ROOT / "runs").glob("*-full/summary.json"))]
    complete = [folder for folder in whole if set(_summary(folder)["notebooks"]) == set(notebooks())]
    if not complete:
        raise BadInput("There is no full run of all notebooks in runs/: make one with `make full`.")
    return complete[-1]


def _summary(folder: Path) -> dict:
    return _json(folder / "summary.json", "is missing or damaged, so this is no finished run: run it again")


def _json(path: Path, problem: str) -> dict:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} {problem} ({error}).") from None


def _with_outputs(stem: str, executed: NotebookNode) -> NotebookNode:
    """Return the repository's notebook with the outputs of an executed copy that has the same code."""
    notebook = nbformat.read(notebooks()[stem], 4)
    ours, theirs = ([cell for cell in n.cells if cell.cell_type == "code"] for n in (notebook, executed))
    if [cell.source for cell in ours] != [cell.source for cell in theirs]:
        raise BadInput(f"{stem} has other code or parameters than the run had: run it again with `make full`.")
    for our, their in zip(ours, theirs, strict=True):
        our.outputs, our.execution_count = their.outputs, their.execution_count
        for problem in output_problems(our):
            raise BadInput(f"{stem} cannot be rendered: cell [{our.execution_count}] has {problem}; mend it.")
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


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


# --- links --------------------------------------------------------------------------------------------------


def links(repository: str | None = None) -> None:
    """Write the repository's address, a new one or the present, and the version wherever they are linked."""
    old, version = address()
    new = repository or old
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", new):
        raise BadInput(f"{new!r} is no repository on GitHub; give OWNER/REPO.")
    linked = {stem: nbformat.read(path, 4) for stem, path in notebooks().items()}
    for stem, notebook in linked.items():
        title = tagged(notebook, "title", stem)
        title.source = title_cell(title.source, stem, list(linked), new, version)
        tagged(notebook, "bootstrap", stem).source = bootstrap_cell(new, version)
    for stem, notebook in linked.items():
        nbformat.write(notebook, notebooks()[stem])
    for path in (ROOT / "README.md", ROOT / "pyproject.toml"):
        path.write_text(readdressed(path.read_text("utf-8"), old, new, version), "utf-8")


def address() -> tuple[str, str]:
    """Return the repository as OWNER/REPO, and the version, from pyproject.toml, the one place of both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project["urls"]["Repository"].removeprefix(GITHUB), project["version"]


def readdressed(text: str, old: str, new: str, version: str) -> str:
    """Return the text with every link to the repository at its new address, and Colab's at this version."""
    text = re.sub(rf"({GITHUB}|{COLAB}/github/){re.escape(old)}(?![\w-])", rf"\g<1>{new}", text)
    return re.sub(rf"({COLAB}/github/{re.escape(new)}/blob/)[^/]+", rf"\g<1>v{version}", text)


def title_cell(source: str, stem: str, stems: list[str], repository: str, version: str) -> str:
    """Return a title cell: its first line, the Colab badge, the neighbours' links for Jupyter and Colab."""

    def colab(other: str) -> str:
        return f"{COLAB}/github/{repository}/blob/v{version}/notebooks/{other}.ipynb"

    place = stems.index(stem)
    neighbours = [
        f"{word}: [{other.replace('_', ' ')}]({other}.ipynb) ([Colab]({colab(other)}))"
        for word, others in (("Previous", stems[:place][-1:]), ("Next", stems[place + 1 :][:1]))
        for other in others
    ]
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab(stem)})"
    return "\n\n".join([source.split("\n")[0], badge, " · ".join(neighbours)])


def bootstrap_cell(repository: str, version: str) -> str:
    """Return the cell that installs the helpers in Colab, without their dependencies: Colab has its own."""
    return f"""\
# In Colab, install the helpers of this notebook's version; elsewhere do nothing.
import sys

if "google.colab" in sys.modules:
    %pip install --quiet --no-deps "cifar10-workbook @ git+{GITHUB}{repository}@v{version}\""""


# --- readme -------------------------------------------------------------------------------------------------


def readme() -> None:
    """Write the README's table of results."""
    path = ROOT / "README.md"
    path.write_text(with_results(path.read_text("utf-8")), "utf-8")


def with_results(text: str) -> str:
    """Return the README with its table of results as the files in notebooks/results/ give it."""
    problem = "is damaged: restore it from git or train again"
    records = [_json(path, problem) for path in sorted((ROOT / "notebooks" / "results").glob("*.json"))]
    marked = re.compile("(<!-- results -->\n).*(<!-- /results -->)", re.DOTALL)
    if not marked.search(text):
        raise BadInput("README.md has no lines <!-- results --> and <!-- /results -->: put them around the table.")
    return marked.sub(lambda found: found[1] + results_table(records) + found[2], text)


def results_table(records: list[dict]) -> str:
    """Return a Markdown table, a row for the longest run of each network and seed, and a line with the machines."""
    if not records:
        return "No results yet.\n"
    lines = [
        "| network | parameters | receptive field | published | measured here | epochs | trained on | minutes | seed |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    longest = {(r["network"], r["seed"]): r for r in sorted(records, key=lambda record: len(record["epochs"]))}
    for _, r in sorted(longest.items()):
        published, final = r["published"], r["final"]
        figure = published and published["accuracy"]
        theirs = f"{figure:.2f} % ({published['epochs']} epochs)" if figure else "–"
        cells = [r["network"], f"{r['parameters']:,}", r["receptive_field"], theirs, f"{final['test_accuracy']:.2f} %"]
        cells += [len(r["epochs"]), f"{r['train_images']:,}", f"{final['train_minutes']:.0f}", r["seed"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    machines = sorted({f"{r['machine']}, torch {r['versions']['torch']}" for r in longest.values()})
    seen = " or ".join(sorted({f"{r['final']['seen']:,}" for r in longest.values()}))
    lines += ["", f"Accuracy on {seen} test images after the last epoch. Machine: {'; '.join(machines)}."]
    return "\n".join(lines) + "\n"

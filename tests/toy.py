"""A toy workbook in a temporary folder and the command line, for the tests of what runs and publishes notebooks."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.workbook import parameters as notebook_parameters
from helpers.workbook import publish, running
from helpers.workbook.__main__ import main


def code(source, *tags):
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def write_notebook(path, *cells, parameters="STEPS = 2  # how many"):
    """Write a notebook with the cells that all notebooks have, and these."""
    opening = [
        new_markdown_cell("# A toy", metadata={"tags": ["title"]}),
        code("pass", "bootstrap"),
        code(parameters, "parameters"),
    ]
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(new_notebook(cells=[*opening, *cells], metadata=metadata), path)


def run_cells(path, values):
    """Run all code cells of a notebook but the first, which is Colab's, in one namespace, and return it.

    What cells display is printed.
    """
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"][1:]
    variables = {"display": print}
    for cell in cells:
        exec(compile(cell.source, f"{path.stem} {cell.id}", "exec"), variables)
        if "parameters" in cell.metadata.get("tags", []):
            assert values.keys() <= variables.keys()
            variables.update(values)
    return variables


def make_workbook(root, monkeypatch):
    """Make the folders of an empty workbook at `root`, and let the helpers take it for theirs."""
    for folder in ("notebooks/profiles", "notebooks/results", "images", "runs"):
        (root / folder).mkdir(parents=True)
    (root / "notebooks/profiles/quick.yaml").write_text("{}\n")
    for page, names in publish.PAGES.items():
        (root / page).write_text("# Toy\n\n" + "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in names))
    monkeypatch.setattr(notebook_parameters, "NOTEBOOKS", root / "notebooks")
    monkeypatch.setattr(running, "RUNS", root / "runs")
    monkeypatch.setattr(running, "write_pages", lambda folder: "No pages.")  # they take half a minute
    monkeypatch.setattr(publish, "ROOT", root)
    monkeypatch.chdir(root)
    return root


def run_command(*arguments):
    """Return the exit status of `workbook` with these arguments, or the message that it ends with."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)), prog_name="workbook")
    return ended.value.code

"""The page on networks that do not learn: its committed outputs, and that it runs on the stand-in."""

import re

import nbformat
import pytest

from helpers.workbook import parameters, publish, running
from helpers.workbook.parameters import NOTEBOOKS, ROOT, find_cell
from toy import run_cells

PAGE = ROOT / "docs/my_network_does_not_learn.ipynb"
FEW = {"DATA": "synthetic", "IMAGES": 1000, "EPOCHS": 3}


@pytest.fixture(scope="module")
def page():
    return nbformat.read(PAGE, 4)


@pytest.fixture(scope="module")
def code_cells(page):
    return [cell for cell in page.cells if cell.cell_type == "code"]


def test_it_has_the_form_of_a_notebook_and_is_none_of_the_numbered(page, code_cells):
    nbformat.validate(page)
    assert page.metadata.kernelspec.name == "python3"
    assert [cell.metadata.get("tags") for cell in code_cells[:2]] == [["bootstrap"], ["parameters"]]
    for tag in ("title", "headline"):
        find_cell(page, tag)
    headings = re.findall(r"^## (.+)", "\n".join(cell.source for cell in page.cells), re.MULTILINE)
    assert [heading[:2] for heading in headings if heading[0].isdigit()] == [*(f"{n}." for n in range(1, 10)), "10"]
    assert headings[-5:] == ["What happened", "Checks", "Takeaways", "Exercises", "Next"]
    assert 20 <= len(code_cells) <= 40 and max(len(cell.source.splitlines()) for cell in code_cells) <= 40
    assert PAGE.stem not in parameters.notebooks()


def test_its_links_to_notebooks_land(page):
    text = "\n".join(cell.source for cell in page.cells)
    linked = set(re.findall(r"\]\(\.\./notebooks/(\w+\.ipynb)\)", text))
    assert linked and all((NOTEBOOKS / name).is_file() for name in linked)


def test_its_outputs_are_of_a_run_on_cifar10_from_top_to_bottom(page, code_cells):
    assert [cell.execution_count for cell in code_cells] == list(range(1, len(code_cells) + 1))
    assert [problem for cell in code_cells for problem in publish.output_problems(cell)] == []
    assert running.output_text(next(output for cell in code_cells for output in cell.outputs)).startswith("CIFAR-10: ")
    assert running.headline(page)
    images = [
        kind for cell in code_cells for output in cell.outputs for kind in output.get("data", {}) if "image" in kind
    ]
    assert 5 <= len(images) <= 10 and set(images) == {"image/png"}
    assert PAGE.stat().st_size < 400_000


def test_its_lesson_holds_on_the_stand_in_too(tmp_path, monkeypatch, capsys):
    """Every symptom appears with other images and shorter runs: its own checks stop it otherwise."""
    monkeypatch.chdir(tmp_path)
    run_cells(PAGE, FEW)
    assert capsys.readouterr().out.startswith("SYNTHETIC STAND-IN")

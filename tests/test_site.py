"""The site's sources, without building it; `make browser` builds it and opens every page."""

import json
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import nbformat
import pytest

from helpers.workbook.parameters import ROOT

MAKE = ROOT / "docs/site/make.py"


@pytest.fixture(scope="module")
def make():
    spec = spec_from_file_location("site_make", MAKE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(make):
    return make.pages()


@pytest.fixture(scope="module")
def notebooks(make, pages):
    paths = make.notebooks()
    return {name: make.page_of(nbformat.read(path, 4), name, {*pages, *paths}) for name, path in paths.items()}


def test_without_the_extra_a_sentence_says_so():
    code = f"import runpy, sys; sys.modules['myst_nb'] = None; runpy.run_path({str(MAKE)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "The site needs myst_nb, of the extra `site`: run `make site`, or pip install -e '.[site]'.\n"
    )


def test_a_notebook_without_outputs_is_named(make):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    with pytest.raises(SystemExit, match=r"notebooks/08_new\.ipynb has no outputs.*`make render`"):
        make.page_of(notebook, "notebooks/08_new.ipynb", set())


def test_links_hold_or_are_text(make, monkeypatch):
    text = "[a](../README.md) [b](../helpers/data.py) [c](glossary.md#stride) [d](https://a.b) ![e](../images/f.png)"
    expected = "[a](../index.md) b [c](glossary.md#stride) [d](https://a.b) ![e](../images/f.png)"
    monkeypatch.setattr(make, "ADDRESS", "")
    assert make.linked(text, "docs/x.md", {"docs/glossary.md"}) == expected
    monkeypatch.setattr(make, "ADDRESS", "https://github.com/me/x")
    there = f"[b](https://github.com/me/x/blob/{make.TAG}/helpers/data.py)"
    assert make.linked(text, "docs/x.md", {"docs/glossary.md"}) == expected.replace(" b ", f" {there} ")


def test_the_home_page_has_the_results_and_the_figures_of_the_two_networks(pages):
    home = pages["index.md"]
    assert "[[" not in home and "| 193,626 | 113 |" in home
    assert re.search(r"`fast_200k`: \*\*8[5-7]\.\d\d ± 0\.\d\d %\*\* of the test images, \d+ seeds, 183,922 param", home)


def test_each_solution_stands_below_its_exercise_and_each_figure_has_a_text(make, notebooks):
    placed, figures = {}, 0
    for name, notebook in notebooks.items():
        for cell, after in zip(notebook.cells, [*notebook.cells[1:], {}], strict=True):
            for exercise in re.findall(r'exercises\.check\("([\d.]+)"', cell.source):
                placed[exercise] = exercise in make.solutions(name)
                text = after.get("source", "")
                assert placed[exercise] == text.startswith(f"<details><summary>Solution of {exercise}</summary>\n\n")
            if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
                figures += 1
                assert re.match(r"Figure: \S.{4,}\. The text beside it", cell.metadata.mystnb.image.alt)
    assert placed["07.1"] and placed["07.6"] and figures > 40


def test_the_glossary_is_in_order_and_the_reference_has_each_file(pages):
    words = re.findall(r"^## (.+)\n", pages["docs/glossary.md"], re.MULTILINE)
    assert 25 <= len(words) <= 40 and words == sorted(words, key=str.lower)
    names = {path.stem for path in (ROOT / "helpers").glob("[a-z]*.py")} | {"models"}
    assert {name for name in pages if name.startswith("api/")} == {f"api/{name}.md" for name in names}
    assert ".. autofunction:: helpers.receptive_field.to_xlsx" in pages["api/receptive_field.md"]


def test_the_site_of_a_run_has_its_notebooks_and_says_whose_they_are(make, tmp_path):
    run = tmp_path / "20261128-quick"
    run.mkdir()
    (run / "03_receptive_field.ipynb").touch()
    with pytest.raises(SystemExit, match=r"quick has no summary\.json that can be read: give with RUN the folder"):
        make.pages(run)
    done = {"03_receptive_field": {"seconds": 9.5, "headline": "45 | 73"}}
    summary = {"data_source": "synthetic", "machine": "a machine", "versions": {"torch": "2.15"}, "notebooks": done}
    (run / "summary.json").write_text(json.dumps(summary))
    home = make.pages(run)["index.md"]
    assert home.startswith("# The run 20261128-quick\n\nData: synthetic. a machine, torch 2.15.\n")
    assert "| [03_receptive_field](notebooks/03_receptive_field.ipynb) | 9.5 | 45 / 73 |\n\n```{toctree}" in home
    assert "[[" not in home and "full run" not in home
    paths = make.notebooks(run)
    assert paths.pop("notebooks/03_receptive_field.ipynb") == run / "03_receptive_field.ipynb"
    assert [*paths] == ["docs/my_network_does_not_learn.ipynb"]

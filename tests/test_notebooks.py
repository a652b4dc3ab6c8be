"""The committed notebooks: their form, their outputs, and that their parameters and profiles agree."""

import re

import nbformat
import pytest

from helpers.workbook import parameters, publish, running
from helpers.workbook.parameters import NOTEBOOKS, ROOT, find_cell

STEMS = [
    "01_data_statistics",
    "02_augmentation_preview",
    "03_receptive_field",
    "04_architecture_experiments",
    "05_training",
    "06_misclassification_analysis",
    "07_your_own_network",
]
KNOWN_TAGS = {
    "title",
    "bootstrap",
    "parameters",
    "headline",
    "nbval-ignore-output",
    "why-timings",
    "why-versions",
}


def tags(cell):
    return set(cell.metadata.get("tags", []))


@pytest.fixture(params=STEMS)
def stem(request):
    return request.param


@pytest.fixture
def notebook(stem):
    return nbformat.read(NOTEBOOKS / f"{stem}.ipynb", 4)


@pytest.fixture
def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_seven():
    assert list(parameters.notebooks()) == STEMS


def test_it_opens_as_all_do(notebook, code_cells):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown" and "title" in tags(notebook.cells[0])
    assert re.match(r"# \S", notebook.cells[0].source)
    assert [tags(cell) for cell in code_cells[:2]] == [{"bootstrap"}, {"parameters"}]


def test_it_closes_as_all_do(notebook):
    headings = re.findall(r"^## (.+)", "\n".join(cell.source for cell in notebook.cells), re.MULTILINE)
    assert headings[-5:] == ["What happened", "Checks", "Takeaways", "Exercises", "Next"]


def test_its_tags_are_known_and_used_once(notebook):
    used = [tag for cell in notebook.cells for tag in tags(cell)]
    assert set(used) <= KNOWN_TAGS
    assert [used.count(tag) for tag in ("title", "bootstrap", "parameters", "headline")] == [1, 1, 1, 1]


def test_an_ignored_output_has_a_reason(notebook):
    for cell in notebook.cells:
        ignored = "nbval-ignore-output" in tags(cell)
        assert ignored == bool(tags(cell) & {"why-timings", "why-versions"}), cell.source


def test_its_parameters_are_literals_each_with_a_comment(stem, notebook):
    lines = find_cell(notebook, "parameters").source.splitlines()
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]* = [^#]+  # .+", line) for line in lines)
    values = parameters.parameters(NOTEBOOKS / f"{stem}.ipynb")
    assert len(values) == len(lines)
    assert {type(value) for value in values.values()} <= set(parameters.KINDS)
    assert values["DATA"] == "auto" and type(values["SEED"]) is int


def test_it_is_read_in_small_steps(notebook, code_cells):
    lessons = [cell for cell in code_cells if "exercises.check(" not in cell.source]  # exercises are to do, not to read
    assert 20 <= len(lessons) <= 40
    assert max(len(cell.source.splitlines()) for cell in code_cells) <= 40
    assert not any(cell.source.isspace() or cell.source == "" for cell in notebook.cells)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.search(r"@[A-Z]+@|TODO|FIXME|XXX", text)


def test_it_is_small_and_has_few_figures_all_png(stem, code_cells):
    assert (NOTEBOOKS / f"{stem}.ipynb").stat().st_size < 800_000
    kinds = [kind for cell in code_cells for output in cell.outputs for kind in output.get("data", {})]
    images = [kind for kind in kinds if kind.startswith("image/")]
    assert len(images) <= 12
    assert set(images) <= {"image/png"}


def test_it_was_run_from_top_to_bottom(code_cells):
    assert [cell.execution_count for cell in code_cells] == list(range(1, len(code_cells) + 1))


def test_its_outputs_show_no_error_warning_bar_or_path(code_cells):
    assert [problem for cell in code_cells for problem in publish.output_problems(cell)] == []


def test_it_is_rendered_on_cifar10_with_a_headline_of_one_line(notebook, code_cells):
    first = next(output for cell in code_cells for output in cell.outputs)
    assert running.output_text(first).startswith("CIFAR-10: ")
    (output,) = find_cell(notebook, "headline").outputs
    assert running.headline(notebook) == running.output_text(output).strip()


def test_a_second_run_is_compared_with_something(notebook):
    assert running.compared_cells(notebook) >= 5


@pytest.mark.parametrize("name", ["quick", "class"])
def test_a_profile_changes_parameters_that_exist(name):
    changed, full = parameters.settings(name), parameters.settings("full")
    assert changed.keys() == full.keys()
    assert changed != full


def test_a_class_sees_more_than_a_quick_run_and_less_than_a_full_one():
    quick, some, full = (parameters.settings(name) for name in ("quick", "class", "full"))
    for stem in STEMS:
        for name, value in full[stem].items():
            if re.search("IMAGES|EPOCHS|RUNS|DRAWS|SEEDS", name):
                assert quick[stem][name] <= some[stem][name] <= value, (stem, name)


@pytest.mark.parametrize("page", publish.PAGES)
def test_a_page_has_the_results_of_today(page):
    text = (ROOT / page).read_text("utf-8")
    assert text == publish.insert_results(text, page)

"""Editions for a class: what students get, what a teacher gets, and folders that are not ours."""

import json
import os
import re

import nbformat
import pytest

from helpers import exercises
from helpers.errors import BadInput
from helpers.workbook import editions
from helpers.workbook.parameters import NOTEBOOKS, notebooks
from toy import code, make_workbook, run_command, write_notebook

SOLVED = '"""Solutions."""\n\nimport math\n\n# %% 01.1\nanswer = math.prod([2, 3])\n'
QUESTION = 'answer = ...  # a number\nexercises.check("01.1", answer)'
STEMS = list(notebooks())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Both editions of the committed notebooks: their folders by name."""
    folders = {name: tmp_path_factory.mktemp("editions") / name for name in ("student", "teacher")}
    for name, folder in folders.items():
        assert run_command("edition", name, "--out", folder) == 0
    return folders


def read(folder, stem):
    return nbformat.read(folder / f"notebooks/{stem}.ipynb", 4)


def is_solution(cell):
    return "solution" in cell.metadata.get("tags", [])


@pytest.mark.parametrize("name", ["student", "teacher"])
@pytest.mark.parametrize("stem", STEMS)
def test_a_notebook_is_valid_and_its_links_lead_to_files(made, name, stem):
    notebook = read(made[name], stem)
    nbformat.validate(notebook)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith("http")]
    assert links and all((made[name] / "notebooks" / link).is_file() for link in links)


@pytest.mark.parametrize("stem", STEMS)
def test_the_students_are_the_committed_ones_without_outputs(made, stem):
    theirs, ours = read(made["student"], stem), read(NOTEBOOKS.parent, stem)
    assert not any(cell.outputs or cell.execution_count for cell in theirs.cells if cell.cell_type == "code")
    for cell in ours.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    assert theirs == ours


def test_no_solution_is_in_a_students_notebook(made):
    text = "".join(path.read_text("utf-8") for path in made["student"].rglob("*.*"))
    lines = [line for path in NOTEBOOKS.glob("solutions/*.py") for line in path.read_text("utf-8").splitlines()]
    telling = [line for line in lines if line.startswith("# %%") or re.match(r"\w+ = ", line)]
    assert telling and not [line for line in telling if json.dumps(line)[1:-1] in text]


@pytest.mark.parametrize("stem", STEMS)
def test_a_teachers_notebook_is_the_committed_one_with_a_folded_solution_below_each_exercise(made, stem):
    cells = read(made["teacher"], stem).cells
    assert [cell for cell in cells if not is_solution(cell)] == read(NOTEBOOKS.parent, stem).cells
    asked = [name for name in exercises.EXERCISES if name.startswith(stem[:2])]
    solved = [cell for cell in cells if is_solution(cell)]
    assert [cell.outputs[0].text.splitlines()[-1] for cell in solved] == [f"{name}: passed" for name in asked]
    for before, cell in zip(cells, cells[1:], strict=False):
        if is_solution(cell):
            assert cell.source.splitlines()[-1] == before.source.splitlines()[-1]
            assert cell.metadata.jupyter.source_hidden and "hide-input" in cell.metadata.tags


def test_a_teachers_solutions_pass_in_the_order_of_the_notebook(made, capsys):
    for stem in STEMS:
        variables = {"exercises": exercises}
        for cell in read(made["teacher"], stem).cells:
            if is_solution(cell):
                exec(cell.source, variables)
                assert capsys.readouterr().out == cell.outputs[0].text


# --- what is refused ---


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A notebook with an exercise, whose answer is 6, and a solution."""
    root = make_workbook(tmp_path / "toy", monkeypatch)
    monkeypatch.setattr(editions, "NOTEBOOKS", root / "notebooks")
    monkeypatch.setattr(exercises, "EXERCISES", {"01.1": [(lambda answer: "" if answer == 6 else "no", "hint", "6")]})
    write_notebook(root / "notebooks/01_first.ipynb", code(QUESTION))
    (root / "notebooks/solutions").mkdir()
    (root / "notebooks/solutions/01.py").write_text(SOLVED)
    return root


def refusal(toy, name="teacher"):
    """Return the one sentence with which an edition is refused; nothing has been written then."""
    before = sorted(toy.rglob("*"))
    with pytest.raises(BadInput, match=r"^[^\n]+[.?]$") as error:
        editions.edition(name, toy / "out")
    assert sorted(toy.rglob("*")) == before
    return str(error.value)


def test_the_header_of_the_solutions_goes_with_each(toy):
    editions.edition("teacher", toy / "out")
    cell = read(toy / "out", "01_first").cells[-1]
    assert cell.source == 'import math\n\nanswer = math.prod([2, 3])\n\nexercises.check("01.1", answer)'
    assert (cell.id, cell.outputs[0].text) == ("solution-01-1", "01.1: passed\n")


def test_a_notebook_without_exercises_needs_no_solutions(toy):
    write_notebook(toy / "notebooks/02_second.ipynb", code("print(1)"))
    editions.edition("teacher", toy / "out")
    assert read(toy / "out", "02_second") == read(toy, "02_second")


def test_an_unknown_edition_is_refused(toy):
    assert refusal(toy, "techer") == "There is no edition 'techer'. Did you mean 'teacher'?"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("01.1", "01.2", "Exercise 01.1 has no solution"),
        ("# %%", "# %% 01.7\n# %%", "Solutions of exercises that no notebook asks: 01.7"),
        ("[2, 3]", "[2, 2]", "The solution of 01.1 does not pass (01.1: not yet."),
        ("[2, 3]", "[2, 3", "The solution of 01.1 does not pass (SyntaxError: "),
        ("math.prod", "math.product", "The solution of 01.1 does not pass (AttributeError: "),
        ("answer =", "other =", "The solution of 01.1 does not pass (NameError: "),
    ],
)
def test_solutions_that_do_not_fit_are_refused(toy, before, after, told):
    (toy / "notebooks/solutions/01.py").write_text(SOLVED.replace(before, after))
    assert told in refusal(toy)


def test_an_exercise_without_any_solutions_file_is_refused_for_the_teacher_only(toy):
    (toy / "notebooks/solutions/01.py").unlink()
    assert "Exercise 01.1 has no solution" in refusal(toy)
    editions.edition("student", toy / "out")


@pytest.mark.parametrize("name", ["student", "teacher"])
@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"cells": 3}', "\x00"])
def test_a_damaged_notebook_is_named(toy, name, text):
    (toy / "notebooks/01_first.ipynb").write_text(text)
    assert "01_first.ipynb is missing or no notebook" in refusal(toy, name)


@pytest.mark.parametrize("held", ["mine.txt", "edition.json", "notebooks/01_first.ipynb"])
def test_a_folder_with_other_things_is_left_alone(toy, held):
    (toy / "out" / held).parent.mkdir(parents=True)
    (toy / "out" / held).write_text("mine")
    assert "holds other things than the teacher's edition" in refusal(toy)
    assert (toy / "out" / held).read_text() == "mine"


def test_an_edition_is_replaced_by_itself_and_never_by_the_other(toy):
    (toy / "out").mkdir()
    editions.edition("teacher", toy / "out")
    (toy / "out/notebooks/01_first.ipynb").write_text("spoilt")
    (toy / "out/notes.txt").write_text("mine")
    editions.edition("teacher", toy / "out")
    assert is_solution(read(toy / "out", "01_first").cells[-1])
    assert (toy / "out/notes.txt").read_text() == "mine"
    assert "holds other things than the student's edition" in refusal(toy, "student")


def test_a_place_that_cannot_be_written_to_is_one_sentence(toy):
    (toy / "out").write_text("a file")
    assert "cannot be written to" in refusal(toy)
    with pytest.raises(BadInput, match="The edition's folder is ''"):
        editions.edition("student", "")


def test_a_linked_file_comes_along(toy):
    (toy / "images/a.png").write_bytes(b"picture")
    cell = nbformat.v4.new_markdown_cell("![a](../images/a.png) and [here](../README.md#toy)")
    write_notebook(toy / "notebooks/01_first.ipynb", code(QUESTION), cell)
    editions.edition("student", toy / "out")
    assert (toy / "out/images/a.png").read_bytes() == b"picture" and (toy / "out/README.md").is_file()
    assert sorted(os.listdir(toy / "out")) == ["README.md", "edition.json", "images", "notebooks"]

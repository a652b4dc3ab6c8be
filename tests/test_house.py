"""The house: who may know whom, and how large each room may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
HELPERS = ROOT / "helpers"
MOST_LINES = {"*.py": 2064, "engines/*.py": 3137, "workbook/*.py": 2110}
LONGEST_FUNCTION = 25  # lines beside signature and docstring
ONE_SCREEN = 60  # lines of a network's file
MOST_OF_EXERCISES = 110  # lines of a notebook's


def lines_of(path):
    return len(path.read_text("utf-8").splitlines())


def test_no_storey_looks_up():
    """By the contract in pyproject.toml, which also names every file, so that a new one has to find its storey."""
    done = subprocess.run([sys.executable.replace("python", "lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def imported_by(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_import_the_thin_module_and_the_networks_only(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code" and "%" not in cell.source.split("(")[0]:
            for name in imported_by(cell.source.replace("%pip", "pass #")):
                assert not name.startswith(("helpers.engines", "helpers.workbook")), name


@pytest.mark.parametrize(("pattern", "most"), MOST_LINES.items())
def test_a_room_is_read_in_one_sitting(pattern, most):
    assert sum(map(lines_of, HELPERS.glob(pattern))) <= most


def test_a_network_is_read_on_one_screen():
    networks = [
        path for path in (HELPERS / "models").glob("*.py") if path.stem not in ("__init__", "blocks", "weights")
    ]
    assert len(networks) >= 6 and {path.stem: lines_of(path) for path in networks if lines_of(path) > ONE_SCREEN} == {}


def test_a_notebooks_exercises_are_few_and_short():
    counted = {path.name: lines_of(path) for path in HELPERS.glob("exercises/notebook_*.py")}
    assert counted and {name: count for name, count in counted.items() if count > MOST_OF_EXERCISES} == {}


def body_lines(function):
    """Return the lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    functions = {
        f"{path.relative_to(HELPERS)}:{node.name}": body_lines(node)
        for path in HELPERS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(functions) > 100
    assert {name: count for name, count in functions.items() if count > LONGEST_FUNCTION} == {}


def test_the_map_is_eight_lines():
    text = (HELPERS / "__init__.py").read_text("utf-8")
    assert len(text.splitlines()) == 8
    for storey in ("helpers/*.py", "helpers/models/", "helpers/engines/", "helpers/workbook/", "helpers/errors.py"):
        assert storey in text

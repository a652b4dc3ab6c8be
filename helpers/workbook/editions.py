"""Write the notebooks for a class: the student's without outputs, the teacher's with solutions that were tried."""

import contextlib
import io
import json
import os
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

from helpers import exercises
from helpers.engines.run_directory import place, refusing_disk, write_atomically
from helpers.errors import BadInput, nearest
from helpers.workbook.parameters import NOTEBOOKS, notebooks, read_notebook

MARK = "edition.json"  # says which edition a folder holds, and that the command made it
CHECK = re.compile(r'^exercises\.check\("([\d.]+)", \w+\)', re.MULTILINE)
LINK = re.compile(r"\]\((\.\./[^)#\s]+)")  # to a file of the repository
FOLDED = {"jupyter": {"source_hidden": True}, "tags": ["solution", "hide-input"]}


def edition(name: str, out: str | Path) -> None:
    """Write an edition of all notebooks, and the files that they link, into a folder.

    Raises BadInput, and writes nothing, for an unknown edition, a damaged notebook, a solution that is missing,
    superfluous or does not pass, and a folder that holds anything but this edition.
    """
    if name not in ("student", "teacher"):
        raise BadInput(f"There is no edition {name!r}. {nearest(name, ('student', 'teacher'))}")
    folder, left = place(out, "The edition's folder"), solutions() if name == "teacher" else {}
    files = {MARK: json.dumps({"edition": name}).encode()}  # written first: a folder half written is known, too
    for path in notebooks().values():
        notebook = read_notebook(path, "put the committed one back")
        for link in LINK.findall("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")):
            files[os.path.normpath(f"notebooks/{link}")] = (path.parent / link).read_bytes()
        for_students(notebook) if name == "student" else for_teachers(notebook, left)
        files[f"notebooks/{path.name}"] = (nbformat.writes(notebook) + "\n").encode()
    if left:
        raise BadInput(f"Solutions of exercises that no notebook asks: {', '.join(left)}; take them out.")
    with refusing_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not ((folder / MARK).is_file() and (folder / MARK).read_bytes() == files[MARK]):
            raise BadInput(f"{folder} holds other things than the {name}'s edition: choose a new or an empty folder.")
        for file, content in files.items():
            write_atomically(folder / file, content)
    print(f"The {name}'s edition of {len(notebooks())} notebooks is in {folder / 'notebooks'}.")


def for_students(notebook: NotebookNode) -> None:
    """Take all outputs away, so that a guess is a guess."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def for_teachers(notebook: NotebookNode, left: dict[str, str]) -> None:
    """Put below each exercise its solution, taken from these, and what the check says of it, which must be "passed"."""
    cells, notebook.cells = notebook.cells, []
    for cell in cells:
        notebook.cells.append(cell)
        for asked in CHECK.finditer(cell.source if cell.cell_type == "code" else ""):
            if asked[1] not in left:
                raise BadInput(f"Exercise {asked[1]} has no solution: write one in notebooks/solutions/.")
            notebook.cells.append(_solution_cell(asked[1], f"{left.pop(asked[1])}\n\n{asked[0]}"))


def solutions() -> dict[str, str]:
    """Return by the exercise the code of each solution, below what its file imports for all of them."""
    found = {}
    for path in sorted(NOTEBOOKS.glob("solutions/*.py")):
        header, *cells = path.read_text("utf-8").split("\n# %% ")
        for name, _, code in (cell.partition("\n") for cell in cells):
            found[name] = (header.split('"""')[-1].rstrip() + f"\n\n{code}").strip()
    return found


def _solution_cell(name: str, source: str) -> NotebookNode:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(source, {"exercises": exercises})
    except Exception as error:  # whatever is wrong with it
        printed.write(f"{type(error).__name__}: {error}")
    if not printed.getvalue().endswith(f"{name}: passed\n"):
        raise BadInput(f"The solution of {name} does not pass ({' '.join(printed.getvalue().split())}): mend it.")
    outputs = [new_output("stream", name="stdout", text=printed.getvalue())]
    return new_code_cell(source, id=f"solution-{name.replace('.', '-')}", metadata=FOLDED, outputs=outputs)

"""The notebooks, their parameters, and the profiles that set them, checked before a notebook runs."""

import ast
from collections.abc import Iterable
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from helpers.errors import BadInput, nearest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"

Value = bool | int | float | str | list
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}


def notebooks() -> dict[str, Path]:
    """Return the numbered notebooks by stem, in order; raises BadInput outside a clone of the repository."""
    found = {path.stem: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise BadInput(f"There are no notebooks in {NOTEBOOKS}: run the `workbook` of a clone of the repository.")
    return found


def notebook_named(name: str) -> str:
    """Return the stem of the notebook with this number, stem or file name."""
    for stem in notebooks():
        if name.removesuffix(".ipynb") == stem or name.zfill(2) == stem[:2]:
            return stem
    raise BadInput(f"There is no notebook {name!r}. {nearest(name, notebooks())}")


def read_notebook(path: Path, advice: str) -> NotebookNode:
    """Return the notebook in this file; raises BadInput, with what to do, where there is none that is valid."""
    try:
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, nbformat.ValidationError) as error:
        why = str(error).strip().partition("\n")[0]
        raise BadInput(f"{path} is missing or no notebook ({why}): {advice}.") from None
    return notebook


def find_cell(notebook: NotebookNode, tag: str, name: str = "A notebook") -> NotebookNode:
    """Return the notebook's one cell with this tag."""
    cells = [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise BadInput(f"{name} has {len(cells)} cells tagged {tag!r}; tag exactly one.")
    return cells[0]


def parameters(path: Path) -> dict[str, Value]:
    """Return the names and literals in the notebook's cell tagged `parameters`."""
    cell = find_cell(nbformat.read(path, 4), "parameters", path.name)
    try:
        lines = ast.parse(cell.source).body
        return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
    except (SyntaxError, ValueError, AttributeError) as error:
        raise BadInput(f"The parameters of {path.name} are not lines of NAME = literal: {error}.") from error


def profile(name: str) -> dict[str, dict[str, Value]]:
    """Return what a profile sets: a notebook's stem to its parameters to their values; "full" sets nothing."""
    if name == "full":
        return {}
    files = {path.stem: path for path in (NOTEBOOKS / "profiles").glob("*.yaml")}
    if name not in files:
        raise BadInput(f"There is no profile {name!r}. {nearest(name, ['full', *files])}")
    try:
        values = yaml.safe_load(files[name].read_text("utf-8"))
    except yaml.YAMLError as error:
        raise BadInput(f"{files[name].name} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict) or not all(isinstance(chosen, dict) for chosen in values.values()):
        raise BadInput(f"{files[name].name} must give, under each notebook's name, values for its parameters.")
    return {notebook_named(str(stem)): chosen for stem, chosen in values.items()}


def parse_change(text: str) -> tuple[str, str, Value]:
    """Return the notebook, parameter and value of a command line's `05.EPOCHS=3`; no literal means text."""
    name, equals, value = text.partition("=")
    notebook, dot, parameter = name.partition(".")
    if not equals or not dot:
        raise BadInput(f"The change {text!r} is not understood; write it as 05.EPOCHS=3.")
    try:
        return notebook_named(notebook), parameter, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return notebook_named(notebook), parameter, value


def settings(
    name: str, only: Iterable[str] = (), changes: Iterable[str] = (), data: str | None = None
) -> dict[str, dict[str, Value]]:
    """Return each chosen notebook's parameters: its own, then the profile's, `data` and the single changes.

    Raises BadInput for an unknown profile, notebook or parameter, and for a value of the wrong kind.
    """
    own = {stem: parameters(path) for stem, path in notebooks().items()}
    wanted = {stem: dict(own[stem]) for stem in own}
    given = [(stem, key, value) for stem, values in profile(name).items() for key, value in values.items()]
    given += [(stem, "DATA", data) for stem in own if data is not None and "DATA" in own[stem]]
    given += [parse_change(text) for text in changes]
    for stem, key, value in given:
        if key not in own[stem]:
            raise BadInput(f"{stem} has no parameter {key!r}. {nearest(key, own[stem])}")
        if not _alike(value, default := own[stem][key]):
            raise BadInput(f"{key} of {stem} is {value!r}; it must be {KINDS[type(default)]}, such as {default!r}.")
        wanted[stem][key] = value
    chosen = sorted({notebook_named(entry) for entry in only}) or list(wanted)
    return {stem: wanted[stem] for stem in chosen}


def _alike(value: Value, own: Value) -> bool:
    """Return whether a value is of the kind of the notebook's own; whole numbers are numbers too."""
    if isinstance(own, list) and isinstance(value, list):
        return not own or all(_alike(entry, own[0]) for entry in value)
    return type(value) is type(own) or (type(own) is float and type(value) is int)

"""How the answers stand that a reader has put into the cells of a notebook, whatever its checks have printed there."""

import ast
from contextlib import suppress

from helpers.engines.answering import verdict
from helpers.exercises import EXERCISES

DEFINITIONS = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef


def standing(cells: list[str]) -> dict[str, str]:
    """Return how each exercise of a notebook stands, in the words of `check`; `cells` are its code cells' sources.

    The cell of an exercise is run. Of the others only imports, functions, classes and constants are, so that no
    training starts; an answer that needs more does not pass. Nothing that a cell raises is raised.
    """
    known = {name: tuple(cases) for name, cases in EXERCISES.items()}  # before any cell is run
    variables, stands = {"__name__": "notebook", "display": id}, {}
    for source in cells:
        with suppress(SyntaxError, ValueError):  # what is not Python has no exercise
            lines = [line for line in source.split("\n") if line[:1] not in ("%", "!")]
            _run(ast.parse("\n".join(lines)).body, variables, known, stands)
    notebooks = {name.split(".")[0] for name in stands}
    return {name: stands.get(name, "not attempted") for name in known if name.split(".")[0] in notebooks}


def _run(body: list[ast.stmt], variables: dict, known: dict, stands: dict[str, str]) -> None:
    """Run what is needed of a cell, and note how the answers in it stand."""
    asked = {node: found for node in body if (found := _asked(node, known))}
    for node in body:
        constant = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        answer, problem = ..., ""
        try:
            if node in asked:
                answer = eval(compile(ast.Expression(asked[node][1]), "answer", "eval"), variables)
            elif asked or constant or isinstance(node, DEFINITIONS):
                exec(compile(ast.Module([node], []), "cell", "exec"), variables)
        except (Exception, SystemExit) as error:
            problem = f"not yet. It raises {type(error).__name__}."
        if node in asked:
            name = asked[node][0]
            stands[name] = problem or verdict(known[name], answer, 1)


def _asked(node: ast.stmt, known: dict) -> tuple[str, ast.expr] | None:
    """Return exercise and answer of a statement such as `exercises.check("07.1", answer)`, and None of another."""
    call = getattr(node, "value", None)
    if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "check" and len(call.args) > 1:
        name = getattr(call.args[0], "value", None)
        return (name, call.args[1]) if isinstance(name, str) and name in known else None
    return None

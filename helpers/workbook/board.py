"""What `workbook board` does: a class's answers and the workbook's own in one ranking."""

from pathlib import Path

import pandas as pd

from helpers import assignment
from helpers.engines.run_directory import place, read_json, refusing_disk, write_atomically
from helpers.errors import BadInput
from helpers.models import MODELS, RELEASED, build
from helpers.recipes import RECIPES
from helpers.results import measured, read_result

COLUMNS = ["answer", "accuracy", "parameters", "minutes", "constraints"]


def board(folder: str, out: str | None) -> None:
    """Print the answers by accuracy, then parameters, then minutes; raises BadInput for no folder and foreign files."""
    source = place(folder, "The folder of grades and results")
    if not source.is_dir():
        raise BadInput(f"There is no folder {source}: give one with grades.json of `workbook grade`, or result files.")
    runs, rows = measured().groupby("network")[["accuracy", "parameters", "minutes"]].mean(), []
    paths = sorted(source.glob("*.json")) if source.resolve() != RELEASED.resolve() else []
    if out and place(out).resolve() in [path.resolve() for path in paths]:
        raise BadInput(f"{out} is one of the files that are ranked: give --out another name.")
    for path in paths:
        rows += _answers(path)
    rows += [{"answer": name, **row} for name, row in runs.to_dict("index").items()]
    rows = [row | {"constraints": row.get("constraints") or _met(row["answer"])} for row in rows]
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values(
        ["accuracy", "parameters", "minutes"], ascending=[False, True, True]
    )
    table.insert(0, "rank", range(1, len(table) + 1))
    formats = {"accuracy": "{:.2f}".format, "parameters": "{:,.0f}".format, "minutes": "{:.0f}".format}
    print(table.to_string(index=False, na_rep="", formatters=formats))
    if out:
        with refusing_disk(place(out).parent):
            write_atomically(place(out), table.to_csv(index=False).encode("utf-8", "backslashreplace"))


def _answers(path: Path) -> list[dict]:
    """Return what a file's answers reached; print why a result has no place in the ranking."""
    read = read_json(path, "is neither grades.json nor the result of a training")
    if "students" in read:
        return [{"answer": one["student"], **one} for one in read["students"] if one["accuracy"] is not None]
    final = read_result(path)["final"] if "final" in read else {}
    if "test_accuracy" not in final or (read["data_source"], final["seen"]) != ("cifar10", 10_000):
        print(f"left out: {path.name}, which is no result on CIFAR-10's whole test set")
        return []
    figures = {"accuracy": final["test_accuracy"], "minutes": final["train_minutes"]}
    return [{"answer": read["network"], "parameters": read["parameters"], **figures}]


def _met(name: str) -> str:
    """Return whether one of the workbook's networks meets all constraints but the accuracy, which stands beside it."""
    return "met" if name in MODELS and assignment.check(build(name), RECIPES[name]).passed.all() else "not met"

"""What `workbook board` does: a class's answers and the workbook's own in one ranking."""

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
    for path in sorted(source.glob("*.json")) if source.resolve() != RELEASED.resolve() else []:
        read = read_json(path, "is neither grades.json nor the result of a training")
        if "students" in read:
            rows += [{"answer": one["student"], **one} for one in read["students"] if one["accuracy"] is not None]
        else:
            read = read_result(path)
            figures = {"accuracy": read["final"].get("test_accuracy"), "minutes": read["final"]["train_minutes"]}
            rows.append({"answer": read["network"], "parameters": read["parameters"], **figures})
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


def _met(name: str) -> str:
    """Return whether one of the workbook's networks meets all constraints but the accuracy, which stands beside it."""
    return "met" if name in MODELS and assignment.check(build(name), RECIPES[name]).passed.all() else "not met"

"""What `workbook grade` does: a class's files checked, their accuracy computed again, their exercises counted."""

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from helpers.assignment import LEAST_ACCURACY
from helpers.data import load_cifar10, take
from helpers.engines.pool import workers_for
from helpers.engines.run_directory import place, refusing_disk, write_atomically
from helpers.errors import BadInput, check_count
from helpers.pictures import printable
from helpers.workbook.guarded import DATA_SET, ask

GIGABYTES, LARGEST = 4, 200 * 10**6  # memory of a process, bytes of a student's files
PICKLES = ".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt"
SAME = 0.1  # points: two classes that are as likely may change places on another machine
NONE = BadInput, OSError, LookupError, TypeError, ValueError, AttributeError  # what an answer that is none raises
COLUMNS = "constraint", "required", "actual", "passed", "remark"
SHOWN = "student", "verdict", "parameters", "receptive field", "accuracy", "exercises", "reason"


def grade(folder: str, jobs: int | None, images: int, data: str, seconds: float, out: str) -> None:
    """Grade each .py file and folder in `folder`, print a line for each, and write grades.csv and grades.json.

    Raises BadInput for no folder, none in it, and what cannot be written.
    """
    begun, out = time.monotonic(), place(out)
    found = _students(place(folder), out.resolve())
    jobs = min(len(found), jobs or workers_for(torch.device("cpu")))
    with TemporaryDirectory() as scratch, ThreadPoolExecutor(jobs) as pool:
        one = partial(_graded, test=_test_set(data, images, scratch), seconds=seconds, hidden=_data_sets(data))
        try:
            students = list(tqdm(pool.map(one, found), total=len(found), unit="student", leave=False))
        except BaseException:  # Ctrl-C, say
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.kill()
            raise
    _print(students)
    print(f"\n{len(students)} students in {time.monotonic() - begun:.0f} seconds.")
    if loose := {what for student in students for what in student["open"]}:
        print(f"What this system does not hold back: {', '.join(sorted(loose))}.")
    table = pd.DataFrame([{"student": student["student"], **row} for student in students for row in student["rows"]])
    with refusing_disk(out):
        write_atomically(out / "grades.csv", table.to_csv(index=False).encode("utf-8", "backslashreplace"))
        write_atomically(out / "grades.json", (json.dumps({"students": students}, indent=1) + "\n").encode())
    print(f"All rows are in {out / 'grades.csv'} and {out / 'grades.json'}.")


def _students(folder: Path, out: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadInput(f"There is no folder {printable(folder)}: give one with a .py file or a folder for each.")
    paths = [path for path in sorted(folder.iterdir()) if path.name[0] not in "._"]
    paths = [path for path in paths if not out.is_relative_to(path.resolve())]  # where the grades go is no student
    found = [path for path in paths if path.is_dir() or path.suffix == ".py"]
    if len(found) < len(paths):
        print("Not graded, since neither .py nor folder:", *(printable(p.name) for p in paths if p not in found))
    if not found:
        raise BadInput(f"{printable(folder)} holds no student: give a folder with a .py file or a folder for each.")
    return found


def _test_set(data: str, count: int, scratch: str) -> tuple[str, np.ndarray, str] | None:
    """Write the test images, without labels, and return the file, the labels, and where they are from."""
    if not count:
        return None
    test, file = load_cifar10(data, train=False), f"{scratch}/images.npy"
    check_count("The number of images", count, len(test))
    test = take(test, count)
    np.save(file, test.images)
    return file, test.labels, test.source


def _data_sets(data: str) -> list[str]:
    """Return the folders in which the test set's labels may lie."""
    roots = [data, os.environ.get("CIFAR10_ROOT", ""), "data", Path(__file__).parents[2] / "data"]
    places = [path if path.name == DATA_SET else path / DATA_SET for path in map(Path, roots)]
    return [str(path.resolve()) for path in places if path.is_dir()]


def _graded(path: Path, test: tuple | None, seconds: float, hidden: list[str]) -> dict:
    """Return what is found out about a student, with a row for each constraint."""
    told, rows, files = {"student": printable(path.name), "open": [], "accuracy": None, "minutes": None}, [], []
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:

        def asked(work: str, **options: str) -> object:
            found = ask(f"handed_in:{work}", told["student"], options, seconds, GIGABYTES, folder, hidden)
            told["open"] = found["open"]
            rows.extend(
                ("conduct", "keeps to itself", f"it {what}", False, "") for what in dict.fromkeys(found["conduct"])
            )
            return found["answer"]

        try:
            files = _copied(path, Path(folder))
            found = asked("constraints")
            rows += [(str(name), *values, bool(passed), remark) for name, *values, passed, remark in found["rows"]]
            rows += _accuracy(asked, files, test, found["architecture"], told) if test else []
        except NONE as refusal:
            rows.append(("file", "can be read", "no", False, str(refusal)))
        rows += [_exercises(asked, name) for name in files if name.endswith(".ipynb")]
    return told | _summary(rows) | {"rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows]}


def _copied(path: Path, folder: Path) -> list[str]:
    """Copy a student's files, the network as my_network.py, and return their names; raises BadInput."""
    root, found = (path, sorted(path.rglob("*"))) if path.is_dir() else (path.parent, [path])
    files = [file for file in found if file.is_file() and not (path.is_dir() and file.is_symlink())]
    code = [file for file in files if file.suffix == ".py" and file.parent == root]
    code = [file for file in code if file.name == "my_network.py"] or code
    if len(code) != 1:
        raise BadInput(
            f"Without my_network.py, it has {len(code)} .py files: hand in one; no pipe and no link is read."
        )
    if sum(file.stat().st_size for file in files) > LARGEST:
        raise BadInput(f"The files have more than {LARGEST // 10**6} MB together: hand in the network and its weights.")
    for file in files:
        target = folder / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    shutil.copyfile(code[0], folder / "my_network.py")
    return sorted(file.name for file in files if file.parent == root)


def _accuracy(asked: Callable, files: list[str], test: tuple, architecture: str, told: dict) -> list[tuple]:
    """Return the row of the accuracy that the weights have, and one for a record that claims another."""
    row, (images, labels, source) = ("accuracy, %", f">= {LEAST_ACCURACY:g}"), test
    weights = [name for name in files if name.endswith(".safetensors")]
    weights = [name for name in weights if name == "model.safetensors"] or weights
    if len(weights) != 1:
        pickled = [
            f"{name} is a pickle, which can run code, and stays unread. " for name in files if name.endswith(PICKLES)
        ]
        wanted = "".join(pickled[:1]) + "Hand in the weights as model.safetensors."
        return [(*row, "none", False if pickled or weights else None, wanted)]
    try:
        answer = asked("classes", weights=weights[0], images=images)
        accuracy = 100 * float(np.mean(np.reshape(answer["classes"], labels.shape) == labels))
        if answer["architecture"] != architecture:
            raise BadInput("It is another network than the one that was checked: make the same each time.")
    except NONE as refusal:
        return [(*row, "none", False, str(refusal))]
    remark = f"Of {len(labels):,} images of {source}, normalised by {answer['normalised']}."
    told["accuracy"], rows = accuracy, [(*row, accuracy, accuracy >= LEAST_ACCURACY, remark)]
    record = asked("record", seen=len(labels), source=source) if "record.json" in files else {}
    told["minutes"], claim = record.get("minutes"), record.get("claim")
    if claim is not None and abs(claim - accuracy) > SAME:
        rows.append(("record", accuracy, claim, False, "record.json claims another accuracy than the weights have."))
    return rows


def _exercises(asked: Callable, name: str) -> tuple:
    """Return the row of a notebook, which is no constraint."""
    row = f"exercises of {printable(name)}", "all passed"
    try:
        stands = asked("exercises", notebook=name)
        passed = [exercise for exercise, words in stands.items() if words == "passed"]
        left = "; ".join(f"{exercise} {words}" for exercise, words in stands.items() if exercise not in passed)
        return *row, f"{len(passed)} of {len(stands)}", None, left
    except NONE as refusal:
        return *row, "0 of 0", None, str(refusal)


def _summary(rows: list[tuple]) -> dict:
    """Return the verdict over all rows, the first reason, and the figures that a line shows."""
    actual = {name: value for name, _, value, *_ in rows}
    failed = [row for row in rows if row[3] is False]
    notes = failed or [row for row in rows if row[3] is None and (row[0] == "accuracy, %" or row[2] == "0 of 0")]
    exercises = [value for name, value in actual.items() if name.startswith("exercises of")]
    counted = [sum(int(value.split(" of ")[n]) for value in exercises) for n in (0, 1)]
    return {
        "verdict": "not met" if failed else "met" if isinstance(actual.get("accuracy, %"), float) else "open",
        "constraints": "not met" if [row for row in failed if row[0] != "accuracy, %"] else "met",
        **{name: actual.get(name) for name in ("parameters", "receptive field")},
        "exercises": "{} of {}".format(*counted) if exercises else None,
        "reason": "{0}: {2}. {4}".format(*notes[0]) if notes else "",
    }


def _print(students: list[dict]) -> None:
    """Print a line for each student under a line of names, in columns."""
    lines = [SHOWN, *([_text(student[name]) for name in SHOWN] for student in students)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
    return printable(" ".join(str(value or "").split())[:110])

"""A class's files graded by the command, once: each gets its verdict and its reason, and harms nobody else's."""

import csv
import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from helpers import assignment
from helpers.data import load_cifar10, take
from helpers.evaluation import accuracy, predict
from helpers.models import RELEASED
from helpers.results import read_result
from helpers.workbook import grading
from helpers.workbook.__main__ import main
from helpers.workbook.parameters import NOTEBOOKS

ROOT = Path(__file__).resolve().parents[2]
STUDENTS = ROOT / "tests" / "students"
MET = {"correct.py", "correct_class.py", "prints.py"}
UNMET = {  # the constraints that a file does not meet
    "too_many_parameters.py": {"parameters"},
    "narrow_field.py": {"receptive field"},
    "max_pooling.py": {"max-pooling"},
    "no_separable.py": {"depthwise-separable convolutions"},
    "no_dilation.py": {"dilated convolutions"},
    "no_pooling.py": {"global average pooling"},
    "hidden_layer.py": {"fully connected hidden layers"},
    "no_flip.py": {"horizontal flip"},
    "no_hole.py": {"coarse dropout"},
    "no_pipeline.py": {"augmentation"},
    "buffers.py": {"parameters"},
    "plain_tensors.py": {"parameters"},
    "unused_layers.py": {"depthwise-separable convolutions"},
    "negative_minimum.py": {"max-pooling"},
    "amax.py": {"max-pooling"},
    "sly.py": {"conduct"},
    "swallowed": {"conduct"},
    "natively": {"accuracy, %"},
    "other_weights": {"accuracy, %"},
    "torn_weights": {"accuracy, %"},
    "pickled": {"accuracy, %"},
    "false_record": {"accuracy, %", "record"},
    "weighted": {"accuracy, %"},
}
REFUSED = {  # the words of why a file cannot be judged
    "loops.py": "no answer within",
    "sleeps.py": "no answer within",
    "eats_memory.py": "MemoryError",
    "exits.py": "SystemExit: 0",
    "leaves.py": "ends its process (status 0)",
    "crashes.py": "SIGSEGV",
    "forks.py": "it starts a process",
    "starts.py": "it starts a process",
    "writes_outside.py": "outside its folder",
    "connects.py": "it opens a connection",
    "labels.py": "reads what lies in cifar-10-batches-py",
    "raises.py": "KeyError: 'width'",
    "missing_package.py": "No module named 'no_such_package_here'",
    "defines_nothing.py": "defines none of factory",
    "empty.py": "defines none of factory",
    "number.py": "type int",
    "fifo": "0 .py files",
    "two_files": "2 .py files",
    "no_code": "0 .py files",
    "linked": "0 .py files",
    "no_python.py": "SyntaxError",
}
OPEN = {"broken_notebook", "solved", "endless_notebook"}  # no weights are handed in
LABELS = "with {} open({!r}, 'rb') as file:\n    print(file.read())\n"
NATIVELY = "import ctypes\nassert ctypes.CDLL(None).creat({!r}, 0o600) < 0, 'it was written'\n"


class Runs:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def factory():
    """Return the network of the correct student, with weights that are always the same."""
    spec = importlib.util.spec_from_file_location("correct", STUDENTS / "correct.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return module.factory()


def hand_in(folder, extra="", **files):
    """Make a student's folder with the correct network, and these files."""
    folder.mkdir()
    (folder / "my_network.py").write_text((STUDENTS / "correct.py").read_text() + extra)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())


def notebook(solutions):
    """Return notebook 07 with these sources in the place of what makes its answers."""
    book = nbformat.read(next(NOTEBOOKS.glob("07_*")), 4)
    for cell in book.cells:
        for name, source in solutions.items():
            if cell.cell_type == "code" and f'exercises.check("{name}"' in cell.source:
                cell.source = source + "\n" + cell.source.splitlines()[-1]
    return nbformat.writes(book)


def solutions():
    cells = (NOTEBOOKS / "solutions" / "07.py").read_text("utf-8").split("# %% ")[1:]
    return dict(cell.split("\n", 1) for cell in cells)


def make_hard_ones(place, class_):
    """Make the students that no repository can hold: pipes, weights, pickles, notebooks."""
    weights = place / "model.safetensors"
    save_file(factory().state_dict(), weights)
    labels = place / "data" / "cifar-10-batches-py" / "test_batch"
    labels.parent.mkdir(parents=True)
    labels.write_bytes(b"labels")
    save_file({"0.weight": torch.zeros(8, 3, 5, 5)}, place / "other.safetensors")
    record = read_result(RELEASED / "fast_200k-seed0.json")  # without its digest, so that it can be changed
    record["final"] |= {"seen": 100, "correct": 95, "test_accuracy": 95.0}
    hand_in(class_ / "weighted", model__safetensors=weights.read_bytes())
    false = json.dumps(record | {"data_source": "synthetic"})
    hand_in(class_ / "false_record", model__safetensors=weights.read_bytes(), record__json=false)
    hand_in(class_ / "other_weights", model__safetensors=(place / "other.safetensors").read_bytes())
    hand_in(class_ / "torn_weights", model__safetensors=weights.read_bytes()[:-9])
    hand_in(class_ / "pickled", model__pt=pickle.dumps(Runs(str(place / "was_run"))))
    swallowed = LABELS.format("suppress(OSError),", str(labels)).replace(
        "with", "from contextlib import suppress\nwith"
    )
    hand_in(class_ / "swallowed", swallowed)
    hand_in(
        class_ / "natively", NATIVELY.format(str(place / "written").encode()), model__safetensors=weights.read_bytes()
    )
    hand_in(class_ / "broken_notebook", my__ipynb="{'cells': [")
    hand_in(class_ / "solved", my__ipynb=notebook(solutions() | {"07.1": "classifier_parameters = 3"}))
    hand_in(class_ / "endless_notebook", my__ipynb=notebook({"07.1": "while True:\n    pass"}))
    for name in ("fifo", "two_files", "no_code", "linked"):
        (class_ / name).mkdir()
    (class_ / "linked" / "my_network.py").symlink_to(labels)
    os.mkfifo(class_ / "fifo" / "my_network.py")
    for name in ("a.py", "b.py"):
        shutil.copy(STUDENTS / "correct.py", class_ / "two_files" / name)
    (class_ / "no_python.py").write_text("def factory(:\n")
    (class_ / "readme.txt").write_text("not a student")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with the class, graded on 100 images of the stand-in."""
    if sys.platform == "win32":
        pytest.skip("there are no pipes with a name")
    place = tmp_path_factory.mktemp("grading")
    shutil.copytree(STUDENTS, place / "class", ignore=shutil.ignore_patterns("__pycache__"))
    make_hard_ones(place, place / "class")
    command = [sys.executable, "-m", "helpers.workbook", "grade", "class", "--data", "synthetic", "--images", "100"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "CIFAR10_ROOT": str(place / "data"), "TQDM_DISABLE": "1"}
    seconds = int(os.environ.get("GRADE_SECONDS", "10"))  # make attack, which may run beside other work, gives more
    command += ["--seconds", str(seconds), "--jobs", "4", "--out", "grades"]  # most that wait sleep
    told = {"capture_output": True, "text": True, "timeout": 30 * seconds}
    done = subprocess.run(command, cwd=place, env=environment, **told)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    (place / "printed.txt").write_text(done.stdout)
    return place


@pytest.fixture(scope="module")
def graded(place):
    students = json.loads((place / "grades" / "grades.json").read_text())["students"]
    return {student["student"]: student for student in students}


def failed(student):
    return {row["constraint"] for row in student["rows"] if row["passed"] is False}


def need_namespaces(place):
    """Skip a test of what only a system with namespaces holds back."""
    if "does not hold back" in (place / "printed.txt").read_text():
        pytest.skip("this system gives no namespaces")


def test_the_class_is_large_and_everyone_is_graded(graded):
    assert len(list(STUDENTS.glob("*.py"))) >= 25
    assert graded.keys() == MET | UNMET.keys() | REFUSED.keys() | OPEN


@pytest.mark.parametrize("name", sorted(MET | OPEN))
def test_who_meets_all_constraints_lacks_only_the_weights(name, graded):
    assert graded[name]["verdict"] == "open" and graded[name]["constraints"] == "met" and failed(graded[name]) == set()
    assert len(graded[name]["rows"]) >= 12 and "model.safetensors" in graded[name]["reason"]


@pytest.mark.parametrize("name", UNMET)
def test_what_is_not_met_is_told(name, graded, place):
    if name == "natively":
        need_namespaces(place)
    assert graded[name]["verdict"] == "not met" and failed(graded[name]) == UNMET[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_has_a_reason(name, graded):
    student = graded[name]
    assert student["verdict"] == "not met" and REFUSED[name] in student["reason"] and "\n" not in student["reason"]


def test_the_accuracy_is_that_of_the_weights(graded):
    test = take(load_cifar10("synthetic", train=False), 100)
    expected = accuracy(predict(factory(), test.images), test.labels)
    assert graded["weighted"]["accuracy"] == pytest.approx(expected)
    row = {row["constraint"]: row for row in graded["weighted"]["rows"]}["accuracy, %"]
    assert row["remark"] == "Of 100 images of synthetic, normalised by the pipeline's Normalize."


def test_a_record_that_claims_more_is_told(graded):
    row = graded["false_record"]["rows"][-1]
    assert row["constraint"] == "record" and row["actual"] == 95 and row["required"] == graded["weighted"]["accuracy"]
    assert graded["false_record"]["minutes"] > 1


def test_weights_are_refused_with_their_reason(graded, place):
    assert "another network: 14 tensors differ" in graded["other_weights"]["reason"]
    assert "damaged" in graded["torn_weights"]["reason"]
    assert "pickle, which can run code" in graded["pickled"]["reason"] and not (place / "was_run").exists()


def test_exercises_are_counted_by_the_checks_themselves(graded):
    assert graded["solved"]["exercises"] == "5 of 6"
    row = {row["constraint"]: row for row in graded["solved"]["rows"]}["exercises of my.ipynb"]
    assert row["remark"].startswith("07.1 not yet. It is too few.")
    assert graded["broken_notebook"]["exercises"] == graded["endless_notebook"]["exercises"] == "0 of 0"
    remarks = {name: graded[name]["rows"][-1]["remark"] for name in ("broken_notebook", "endless_notebook")}
    assert "is no notebook" in remarks["broken_notebook"] and "no answer within" in remarks["endless_notebook"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux encloses a process")
def test_nothing_is_left_behind(place):
    need_namespaces(place)
    names = {path.name for path in place.iterdir()}
    assert names == {"class", "data", "grades", "model.safetensors", "other.safetensors", "printed.txt"}
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(place) not in running


def test_the_table_has_a_row_for_each_student_and_constraint(place, graded):
    with (place / "grades" / "grades.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(student["rows"]) for student in graded.values())
    printed = (place / "printed.txt").read_text()
    assert "readme.txt" in printed and f"{len(graded)} students in" in printed
    for name, student in graded.items():
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{name} ")]
        assert student["verdict"] in line and student["reason"][:60].rstrip() in line


def invoke(*arguments):
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("made", [False, True])
def test_no_folder_and_no_students_are_a_sentence(made, tmp_path):
    folder = tmp_path / "class"
    if made:
        folder.mkdir()
    done = invoke("grade", str(folder), "--images", "0")
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert ("holds no student" if made else "There is no folder") in done.stderr


def test_where_the_grades_go_is_no_student(tmp_path):
    (tmp_path / "ada.py").touch()
    (tmp_path / "runs/grades").mkdir(parents=True)
    assert grading._students(tmp_path, tmp_path / "runs/grades") == [tmp_path / "ada.py"]
    assert grading._students(tmp_path, tmp_path / "elsewhere") == [tmp_path / "ada.py", tmp_path / "runs"]


def test_the_board_ranks_students_among_the_workbooks_own(place, checked, monkeypatch):
    monkeypatch.setattr(assignment, "check", checked)
    done = invoke("board", str(place / "grades"), "--out", str(place / "grades" / "board.csv"))
    assert done.exit_code == 0, done.output
    with (place / "grades" / "board.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    answers = [row["answer"] for row in rows]
    assert answers[0] == "best_200k" and {"fast_200k", "compact_135k", "weighted", "false_record"} < set(answers)
    assert np.all(np.diff([float(row["accuracy"]) for row in rows]) <= 0)
    met = {row["answer"]: row["constraints"] for row in rows}
    assert met["weighted"] == met["fast_200k"] == "met" and met["compact_135k"] == met["false_record"] == "not met"
    assert done.stdout.count("\n") == len(rows) + 1


def test_a_board_of_foreign_files_is_a_sentence(tmp_path):
    (tmp_path / "other.json").write_text("[]")
    done = invoke("board", str(tmp_path))
    assert done.exit_code == 2 and "neither grades.json nor" in done.stderr
    assert "There is no folder" in invoke("board", str(tmp_path / "absent")).stderr


def test_the_board_ranks_only_what_was_measured_on_the_whole_test_set(tmp_path, checked, monkeypatch):
    """A training on the stand-in or on a hold-out has no place among the others, and is named."""
    monkeypatch.setattr(assignment, "check", checked)
    record = read_result(RELEASED / "fast_200k-seed0.json")
    final = record["final"]
    written = {
        "whole": record | {"network": "mine"},
        "stand_in": record | {"data_source": "synthetic"},
        "few": record | {"final": final | {"test_accuracy": 90.0, "correct": 9, "seen": 10}},
        "held": record
        | {"final": {k: v for k, v in final.items() if "test" not in k} | {"holdout_accuracy": final["test_accuracy"]}},
        "config": {"run": {}, "sessions": []},
    }
    for name, content in written.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    done = invoke("board", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert sum(" mine " in line for line in done.stdout.splitlines()) == 1
    for name in written.keys() - {"whole"}:
        assert f"left out: {name}.json, which is no result on CIFAR-10's whole test set" in done.stdout


def test_the_board_does_not_write_over_what_it_ranks(tmp_path):
    before = (RELEASED / "fast_200k-seed0.json").read_bytes()
    (tmp_path / "mine.json").write_bytes(before)
    done = invoke("board", str(tmp_path), "--out", str(tmp_path / "mine.json"))
    assert done.exit_code == 2 and "another name" in done.stderr
    assert (tmp_path / "mine.json").read_bytes() == before

"""A student's own file: what MODULE:NAME gives, and what is printed about it."""

import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner
from torch import nn

from helpers import assignment
from helpers.errors import BadInput
from helpers.models import build
from helpers.receptive_field import layer_table
from helpers.recipes import RECIPES
from helpers.workbook.__main__ import main
from helpers.workbook.students import check, format_table, load_network, load_object, load_pipeline

STUDENT = """
from torch import nn
import albumentations as A
from part import WIDTH

class Net(nn.Sequential):
    def __init__(self, classes=10):
        super().__init__(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, classes))

def make():
    return Net()

def broken():
    raise KeyError("width")

def number():
    return 3

def exits():
    raise SystemExit("no gpu")

def forgets():
    Net()

def needs(mean):
    pass

ready, AUGMENTATION = Net(), A.Compose([A.HorizontalFlip(p=0.5)])
"""


@pytest.fixture
def student(tmp_path, monkeypatch):
    (tmp_path / "student_net.py").write_text(STUDENT)
    (tmp_path / "part.py").write_text("WIDTH = 8\n")
    (tmp_path / "typo.py").write_text("def f(:\n")
    (tmp_path / "stops.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("student_net", "part", "typo", "stops"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "target",
    ["student_net.py:Net", "student_net:Net", "student_net:make", "student_net.py:ready", "{}/student_net.py:make"],
)
def test_a_students_file_is_loaded(student, target):
    assert len(layer_table(load_network(target.format(student)))) == 3


NOT_LOADED = {
    "student_net.py:Nett": "Did you mean 'Net'",
    "absent.py:Net": "no file absent.py",
    "absent:Net": "No module named 'absent'",
    "typo.py:f": "SyntaxError",
    "stops.py:f": "SystemExit: 3",
    "student_net:broken": "raises KeyError",
    "student_net:number": "gives something of type int",
    "student_net:Net.forward": "raises TypeError",
    "student_net:AUGMENTATION": "type Compose",
    "student_net:exits": "raises SystemExit: no gpu",
    "net.ipynb:Net": "neither a .py file",
    "./net:Net": "neither a .py file",
    "student_net:forgets": "gives nothing: return it",
    "student_net:": "MODULE:NAME",
    ":Net": "MODULE:NAME",
    "dilated_139k": "Did you mean 'dilated_193k'",
}


@pytest.mark.parametrize(("target", "words"), NOT_LOADED.items())
def test_what_cannot_be_loaded_is_told_in_a_sentence(student, target, words):
    with pytest.raises(BadInput, match=words) as refusal:
        load_network(target)
    assert "\n" not in str(refusal.value)


NO_PIPELINE = {
    "student_net.py:needs": "raises TypeError",
    "student_net.py:forgets": "gives nothing",
    "student_net.py:ready.weights": "has no 'ready.weights'",
    "student_net.py:number": "type int; it must give an albumentations Compose",
}


@pytest.mark.parametrize(("target", "words"), NO_PIPELINE.items())
def test_what_is_no_pipeline_is_told_in_a_sentence(student, target, words):
    with pytest.raises(BadInput, match=words) as refusal:
        load_pipeline(target)
    assert "\n" not in str(refusal.value)


def test_a_network_is_no_pipeline(student):
    with pytest.raises(BadInput, match="type Net; it must give an albumentations Compose"):
        check("student_net.py:Net", recipe=None, augmentation="student_net.py:ready", accuracy=None)


def test_load_object_gives_whatever_is_named(student):
    assert load_object("student_net:AUGMENTATION").transforms[0].p == 0.5
    assert isinstance(load_object("student_net.py:ready"), nn.Sequential)


def test_check_says_what_to_change(student, capsys):
    pipeline = "student_net.py:AUGMENTATION"
    assert check("student_net.py:Net", recipe=None, augmentation=pipeline, accuracy=70.0) == 1
    out = capsys.readouterr().out
    for words in ("receptive field", "p = 0.5", "absent", "Give a convolution of kernel 3 dilation=2", "70"):
        assert words in out
    assert "Not checked" not in out


def test_a_file_may_be_called_as_one_of_ours(student, capsys):
    (student / "helpers.py").write_text(STUDENT)
    assert check("helpers.py:Net", recipe=None, augmentation="helpers.py:AUGMENTATION", accuracy=None) == 1
    assert "p = 0.5" in capsys.readouterr().out


def test_check_of_the_workbooks_own_takes_their_recipe(capsys):
    assert check("dilated_193k", recipe=None, augmentation=None, accuracy=None) == 0
    assert "Not checked, since not given: accuracy." in capsys.readouterr().out
    assert check("compact_135k", recipe="mini_resnet", augmentation=None, accuracy=None) == 1
    assert "absent" in capsys.readouterr().out


def test_a_pipeline_goes_before_the_recipes(student, capsys):
    check("dilated_193k", recipe="dilated_193k", augmentation="student_net.py:AUGMENTATION", accuracy=None)
    assert "absent" in capsys.readouterr().out
    with pytest.raises(BadInput, match="no recipe 'dilated'"):
        check("dilated_193k", recipe="dilated", augmentation="student_net.py:AUGMENTATION", accuracy=None)


@pytest.mark.usefixtures("quick_processes")
def test_the_command_passes_its_options_on(student):
    options = ["--augmentation", "student_net.py:AUGMENTATION", "--accuracy", "70"]
    result = CliRunner().invoke(main, ["check", "student_net.py:Net", *options])
    assert result.exit_code == 1 and "p = 0.5" in result.stdout and "70" in result.stdout


@pytest.mark.usefixtures("quick_processes")
def test_the_command_on_bad_input_is_one_sentence():
    result = CliRunner().invoke(main, ["check", "dilated"])
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1


def test_nothing_is_left_out_of_the_table():
    table = assignment.check(build("dilated_193k"), replace(RECIPES["dilated_193k"], augmentation="none"))
    text = format_table(table)
    assert all(name in text for name in table.constraint) and text.count("NO") == 3

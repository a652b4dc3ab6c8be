"""The Makefile: its help, and the rule that makes .venv, in a temporary folder with a script in Python's place."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from helpers.workbook.parameters import ROOT

# Notes how it is called, and puts itself into the environment that it is told to make.
PYTHON = """#!/bin/sh
echo "$0 $*" >> calls
case "$*" in
  "-c "*) exec REAL -c "import sys; sys.version_info = tuple(map(int, '${VERSION:-3.12.1}'.split('.'))); $2" ;;
  "-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m uv "*) exit ${OFFLINE:-0} ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    """A folder with what the rule reads, its files an hour old."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "python").write_text(PYTHON.replace("REAL", sys.executable))
    (tmp_path / "python").chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
        age(tmp_path / name, 3600)
    return tmp_path


def age(path, seconds):
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def make(project, *arguments, **environment):
    """Return what `make` does in the folder: its status and output, and in `calls` what was called."""
    (project / "calls").write_text("")
    command = ["make", "PYTHON=./python", *arguments]
    done = subprocess.run(command, cwd=project, env=os.environ | environment, capture_output=True, text=True)
    done.calls = [line.split(" ", 1) for line in (project / "calls").read_text().splitlines()]
    return done


def test_it_installs_once_with_the_exact_versions_and_its_own_python(project):
    done = make(project, "install", VIRTUAL_ENV="/somewhere/else")
    assert done.returncode == 0, done.stderr
    assert "takes from half a minute to a few, once" in done.stdout
    _, made, installer, packages = done.calls
    assert made == ["./python", "-m venv --clear .venv"]
    assert installer[0] == packages[0] == ".venv/bin/python"
    assert installer[1].endswith("--constraint constraints.txt uv")
    installed = "--python .venv/bin/python --constraint constraints.txt --editable .[test]"
    assert packages[1] == f"-m uv pip install --compile-bytecode {installed}"
    again = make(project, "install")
    assert again.returncode == 0 and again.calls == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_it_installs_anew_when_a_requirement_changes(project, name):
    make(project, "install")
    age(project / ".venv/installed", 60)
    (project / name).write_text("changed")
    assert len(make(project, "install").calls) == 4
    assert make(project, "install").calls == []


def test_an_installation_that_failed_does_not_count(project):
    assert make(project, "install", OFFLINE="1").returncode != 0
    assert not (project / ".venv/installed").exists()
    assert len(make(project, "install").calls) == 4


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13"])
def test_an_old_python_is_told_what_to_do_and_leaves_the_environment_alone(project, version):
    make(project, "install")
    age(project / ".venv/installed", 60)
    (project / "pyproject.toml").write_text("changed")
    done = make(project, "install", VERSION=version)
    assert done.returncode != 0 and len(done.calls) == 1
    found = f"Python {version[:-3]} was found; the workbook needs 3.11 or newer: run `make run PYTHON=python3.12`."
    assert done.stderr.splitlines()[0] == found
    assert (project / ".venv/installed").exists()


@pytest.mark.parametrize("version", ["3.11.0", "3.13.2", "4.0.0"])
def test_a_new_python_is_accepted(project, version):
    assert make(project, "install", VERSION=version).returncode == 0


def test_help_names_each_target():
    targets = re.search(r"\.PHONY: (.*)", (ROOT / "Makefile").read_text())[1].split()
    printed = subprocess.run(["make", "-s"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [line.split()[1] for line in printed.splitlines()] == targets
    assert {"run", "test", "full", "render", "lint", "clean"} <= set(targets)

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import install

SCRIPT = Path(install.__file__)


@pytest.fixture
def project(tmp_path):
    """A folder with what the installer reads, and the installer."""
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers/install.py").write_bytes(SCRIPT.read_bytes())
    for name in install.INPUTS:
        (tmp_path / name).write_text("")
    return tmp_path


def run(project, **environment):
    """Run the installer as make does; return its status and its last line on stderr."""
    command = [sys.executable, project / "helpers/install.py"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, (done.stderr.splitlines() or [""])[-1]


def test_an_old_python_can_read_it():
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text(), feature_version=(3, 6))))
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    assert imported <= set(sys.stdlib_module_names)
    assert not any(isinstance(node, ast.ImportFrom) for node in nodes)


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 0), (3, 10, 13)])
def test_an_old_python_is_told_what_to_do(version):
    found = f"Python {version[0]}.{version[1]} was found at"
    with pytest.raises(SystemExit, match=f"{found} .*; the workbook needs 3.11 .* `make run PYTHON=python3.12`"):
        install.check_python(version)


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 13, 2), (4, 0, 0)])
def test_a_new_python_is_accepted(version):
    install.check_python(version)


@pytest.mark.parametrize("missing", ["ensurepip", "venv"])
def test_a_python_without_venv_is_told_what_to_install(project, missing):
    (project / f"stubs/{missing}").mkdir(parents=True)
    (project / f"stubs/{missing}/__init__.py").write_text("raise ImportError")  # Debian's python3 is like this
    status, told = run(project, PYTHONPATH=str(project / "stubs"))
    assert status == 1
    assert "sudo apt install python3." in told and told.startswith("The Python at")
    assert not (project / ".venv").exists()


def test_without_internet_it_says_so_and_leaves_nothing_that_counts(project):
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}
    status, told = run(project, **nowhere)
    assert status == 1
    assert told.startswith("Installing failed at `python -m pip install")
    assert "check the internet connection" in told
    assert not (project / ".venv/workbook.stamp").exists()


def test_an_unwritable_folder_is_one_sentence(project):
    (project / ".venv").touch()  # for root, too, no environment can be made here
    status, told = run(project)
    assert status == 1 and told.startswith("Installing failed")


@pytest.fixture
def installed(project, monkeypatch):
    """A finished .venv, as far as the installer looks, and a count of how often it is made anew."""
    monkeypatch.setattr(install, "ROOT", str(project))
    made = []

    def make_venv(venv):
        made.append(venv)
        os.makedirs(os.path.join(venv, "bin"), exist_ok=True)
        Path(venv, "bin/python").unlink(missing_ok=True)
        Path(venv, "bin/python").symlink_to(sys.executable)

    monkeypatch.setattr(install, "make_venv", make_venv)
    install.main()
    return made


def test_nothing_is_installed_when_nothing_changed(installed):
    install.main()
    assert len(installed) == 1


@pytest.mark.parametrize("change", ["pyproject.toml", "constraints.txt", "stamp", "python", "interpreter"])
def test_a_changed_or_broken_environment_is_made_anew(installed, project, change, monkeypatch):
    if change in install.INPUTS:
        (project / change).write_text("torch==3.0.0")
    elif change == "stamp":  # the last installation was interrupted
        (project / ".venv/workbook.stamp").unlink()
    elif change == "python":  # the Python that it was made with was removed
        (project / ".venv/bin/python").unlink()
        (project / ".venv/bin/python").symlink_to(project / "gone")
    else:
        monkeypatch.setattr(sys, "version", "3.99.0")
    install.main()
    assert len(installed) == 2
    install.main()
    assert len(installed) == 2


def test_a_moved_project_is_installed_anew(installed, project, monkeypatch):
    moved = project.rename(project.with_name("moved"))
    monkeypatch.setattr(install, "ROOT", str(moved))
    install.main()
    assert len(installed) == 2


def test_an_interrupted_installation_ends_with_130_and_does_not_count(project, monkeypatch, capsys):
    def interrupted(venv):
        os.makedirs(os.path.join(venv, "bin"))
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "ROOT", str(project))
    monkeypatch.setattr(install, "make_venv", interrupted)
    with pytest.raises(SystemExit) as exit:
        install.main()
    assert exit.value.code == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (project / ".venv/workbook.stamp").exists()

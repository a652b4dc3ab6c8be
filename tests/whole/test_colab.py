"""Colab's first cell, run for real: torch and the rest are installed already, the helpers are not."""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from packaging.requirements import Requirement

from helpers.workbook.parameters import ROOT, find_cell, notebooks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FIRST = next(iter(notebooks().values()))
BOOTSTRAP = find_cell(nbformat.read(FIRST, 4), "bootstrap").source  # the same everywhere, as tests/test_address.py says

# What the helpers need of Colab's preinstalled packages; papermill, nbval, nbconvert are not among them.
PREINSTALLED = [
    *("torch", "torchvision", "numpy", "pandas", "albumentations", "safetensors", "torchsummary"),
    *("matplotlib", "seaborn", "openpyxl", "tqdm", "pyyaml", "ipykernel", "pip"),
]

SESSION = """
import sys
import google.colab  # Colab's kernels have it loaded
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell(open("bootstrap.py").read()).raise_error()
shell.run_cell("from helpers import " + ", ".join(sys.argv[1:])).raise_error()
shell.run_cell("from helpers.models import load_released; load_released('compact_135k')").raise_error()
shell.run_cell("import helpers; print(helpers.__file__)").raise_error()
"""


def imported_modules() -> list[str]:
    """Return the helpers' modules that the notebooks import."""
    cells = [cell for path in notebooks().values() for cell in nbformat.read(path, 4).cells]
    lines = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    named = re.findall(r"^from helpers\.(\w+)", lines, re.MULTILINE)
    listed = re.findall(r"^from helpers import (.+)$", lines, re.MULTILINE)
    return sorted({*named, *(name.strip() for line in listed for name in line.split(","))})


def closure(names: list[str]) -> list[Distribution]:
    """Return the installed distributions of these names and all that they require on this machine."""
    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = distribution(name)
        required = map(Requirement, found[name].requires or [])
        waiting += [r.name for r in required if not r.marker or r.marker.evaluate({"extra": ""})]
    return list(found.values())


def link(distributions: list[Distribution], site: Path) -> None:
    """Make the distributions importable from another site-packages folder."""
    for one in distributions:
        for top in {file.parts[0] for file in one.files if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(one.locate_file(top))


def wheel(one: Distribution, folder: Path) -> None:
    """Pack an installed distribution, so that pip can build with it offline."""
    folder.mkdir()
    with zipfile.ZipFile(folder / f"{one.name}-{one.version}-py3-none-any.whl", "w") as packed:
        for file in one.files:
            if ".." not in file.parts and file.suffix != ".pyc":
                packed.write(one.locate_file(file), file)


@pytest.fixture
def colab(tmp_path):
    """A bare environment with what Colab has; return its Python."""
    venv.create(tmp_path / "colab", symlinks=True)
    (site,) = (tmp_path / "colab/lib").glob("python*/site-packages")
    link(closure(PREINSTALLED), site)
    (site / "google/colab").mkdir(parents=True)
    (site / "google/colab/__init__.py").touch()
    return tmp_path / "colab/bin/python"


@pytest.fixture
def repository(checkout):
    """The repository as it would be published, with its address and the version's tag."""
    subprocess.run([sys.executable, checkout / "docs/address.py", "me/workbook"], check=True)
    name = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (["init"], ["add", "--all"], ["commit", "--message", "publish"], ["tag", f"v{PROJECT['version']}"]):
        subprocess.run(["git", *name, *command], cwd=checkout, check=True, capture_output=True)
    return checkout


def test_the_first_cell_installs_the_helpers_in_colab(tmp_path, colab, repository):
    first = nbformat.read(repository / "notebooks" / FIRST.name, 4)
    (tmp_path / "bootstrap.py").write_text(find_cell(first, "bootstrap").source)
    wheel(distribution("setuptools"), tmp_path / "wheels")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        # git takes the temporary repository for the address in the cell
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/me/workbook",
        # the only package from outside that pip would fetch is what builds the helpers
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    assert importable(colab, "import helpers", environment) != 0
    command = [colab, "-c", SESSION, *imported_modules()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(tmp_path / "colab") in done.stdout.splitlines()[-1]
    assert importable(colab, "import papermill", environment) != 0  # --no-deps brought nothing else


def importable(python, statement, environment):
    done = subprocess.run([python, "-c", statement], cwd=python.parent, env=environment, stderr=subprocess.DEVNULL)
    return done.returncode


def test_the_first_cell_does_nothing_elsewhere():
    assert "google.colab" not in sys.modules
    exec(BOOTSTRAP, {})


@pytest.mark.parametrize(("wanted", "mounted", "folder"), [
    (True, ["/content/drive"], "/content/drive/MyDrive/checkpoints/fast_200k"),
    (False, [], "checkpoints/fast_200k"),
])  # fmt: skip
def test_notebook_05_keeps_its_run_on_drive_where_the_reader_asks_for_it(monkeypatch, wanted, mounted, folder):
    cells = nbformat.read(next(path for path in notebooks().values() if path.name.startswith("05")), 4).cells
    (source,) = (cell.source for cell in cells if cell.cell_type == "code" and "drive.mount" in cell.source)
    calls, colab = [], ModuleType("google.colab")
    colab.drive = SimpleNamespace(mount=calls.append)
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    names = {"sys": sys, "DRIVE": wanted, "RUN_DIR": "checkpoints/fast_200k"}
    exec(source, names)
    assert calls == mounted and names["RUN_DIR"] == folder

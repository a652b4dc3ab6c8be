import ast
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distributions, entry_points, version

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from helpers.workbook.__main__ import main
from helpers.workbook.parameters import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
REQUIREMENTS = RUNTIME + [Requirement(line) for line in PROJECT["optional-dependencies"]["test"]]
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()

IMPORT_NAMES = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml", "jupyter-client": "jupyter_client"}
NOT_IMPORTED = {"jupyter", "nbval"}  # programs
CONDA_NAMES = {"torch": "pytorch", "jupyter-client": "jupyter_client"}


def test_environment_yml_lists_what_pyproject_does():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    listed = [entry for entry in entries if isinstance(entry, str) and entry != "pip"]
    python = listed.pop(0)
    assert re.fullmatch(r"python =3\.\d+", python) and pip.pop() == "--editable ."
    image = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text("utf-8"))["image"]
    for found in (python.partition("=")[2], image.partition(":")[2]):
        assert SpecifierSet(PROJECT["requires-python"]).contains(found)
    wanted = {CONDA_NAMES.get(r.name, r.name): r.specifier for r in REQUIREMENTS}
    assert {r.name: r.specifier for r in map(Requirement, listed + pip)} == wanted
    assert len(listed + pip) == len(wanted)


def test_constraints_are_plain_and_name_each_package_once():
    names = [re.fullmatch(r"([a-z0-9-]+)==[0-9][0-9a-z.]*", line)[1] for line in CONSTRAINTS]
    assert len(set(names)) == len(names)


def test_constraints_hold_each_requirement_within_its_bounds():
    exact = dict(line.split("==") for line in CONSTRAINTS)
    for requirement in REQUIREMENTS:
        assert requirement.specifier.contains(exact[canonicalize_name(requirement.name)]), requirement


def test_constraints_name_all_that_the_requirements_bring():
    named = dict(line.split("==") for line in CONSTRAINTS)
    waiting, seen = [(r.name, r.extras) for r in REQUIREMENTS], set()
    while waiting:
        name, extras = waiting.pop()
        name = canonicalize_name(name)
        if (name, *extras) not in seen:
            seen.add((name, *extras))
            assert name in named
            waiting += required_here(name, extras, named[name])
    assert len(seen) > len(REQUIREMENTS)


def required_here(name, extras, pinned):
    """Return what an installed distribution of the pinned version requires on this machine."""
    found = [d for d in distributions(name=name) if d.version.startswith(pinned)]  # 2.15.0 may be 2.15.0+cu132
    required = [Requirement(line) for one in found[:1] for line in one.requires or []]
    wanted = [{"extra": extra} for extra in ("", *extras)]
    here = [r for r in required if not r.marker or any(map(r.marker.evaluate, wanted))]
    return [(r.name, r.extras) for r in here]


def imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def notebook_sources():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "code":
                yield re.sub(r"^( *)[%!].*$", r"\1pass", cell.source, flags=re.MULTILINE)


def test_what_is_imported_is_required_and_what_is_required_is_imported():
    sources = [path.read_text() for path in (ROOT / "helpers").rglob("*.py")] + list(notebook_sources())
    found = {name for source in sources for name in imported(source)} - set(sys.stdlib_module_names)
    required = {IMPORT_NAMES.get(r.name, r.name) for r in RUNTIME if r.name not in NOT_IMPORTED}
    wanted = [line for name in ("cluster", "explain") for line in PROJECT["optional-dependencies"][name]]
    extra = {Requirement(line).name for line in wanted}  # each is asked for where it is used
    assert extra < found
    assert found - extra - {"helpers", "IPython", "google"} == required  # the last two are what runs a notebook


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_this_environment_is_within_the_bounds(requirement):
    assert requirement.specifier.contains(version(requirement.name))


def test_one_file_imports_papermill():
    found = [p.name for p in (ROOT / "helpers").rglob("*.py") if "papermill" in set(imported(p.read_text()))]
    assert found == ["running.py"]


def test_the_command_is_installed():
    assert version("cifar10-workbook") == PROJECT["version"]
    (command,) = entry_points(group="console_scripts", name="workbook")
    assert command.load() is main


def test_ci_runs_the_two_commands_and_what_stands_for_them_without_make():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert runs["workbook"] == ["make run", "make test"]
    page = (ROOT / "docs/commands.md").read_text("utf-8")
    assert all(f"\n{command}\n" in page for command in runs["without-make"]) and len(runs["without-make"]) == 3
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_the_citation_the_changelog_and_the_licences_are_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[1]
    assert newest == f"{PROJECT['version']} ({citation['date-released']})"
    page = (ROOT / "docs/licences.md").read_text("utf-8")
    assert re.findall(r"^\| ([a-z-]+) \|", page, re.MULTILINE)[2:] == [r.name for r in RUNTIME]


def test_a_release_holds_what_it_should(checkout):
    """The sdist is the checkout, so that its tests run; the wheel is the helpers, with results and released weights."""
    tracked = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file()}
    for left in ("runs/a/result.json", "data/x.bin", "tests/__pycache__/a.pyc", "notebooks/.ipynb_checkpoints/a.ipynb"):
        (checkout / left).parent.mkdir(parents=True, exist_ok=True)
        (checkout / left).write_bytes(b"left over")
    code = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True, capture_output=True)
    (sdist,), (wheel,) = checkout.glob("dist/*.tar.gz"), checkout.glob("dist/*.whl")
    with tarfile.open(sdist) as packed:
        files = {member.name.partition("/")[2] for member in packed.getmembers() if member.isfile()}
    own = {name for name in files - tracked if not name.startswith("cifar10_workbook.egg-info/")}
    assert own == {"PKG-INFO", "setup.cfg"} and tracked - files == {".gitignore"}
    names = [re.sub(r"^[^/]+/data/", "", name) for name in zipfile.ZipFile(wheel).namelist()]
    share = "share/cifar10-workbook/"
    shared = {name.removeprefix(share) for name in names if name.startswith(share)}
    results = {name.removeprefix("notebooks/results/") for name in tracked if name.startswith("notebooks/results/")}
    assert shared == results and "best_200k.safetensors" in shared
    others = {name for name in names if not name.startswith((share, "cifar10_workbook-"))}
    assert others == {name for name in tracked if name.startswith("helpers/")}

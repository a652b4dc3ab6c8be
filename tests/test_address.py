"""The public address: as long as none is set nobody meets a link to nowhere, and one command sets it everywhere."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

from helpers.workbook.parameters import ROOT, find_cell, notebooks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ADDRESS, TAG = PROJECT["urls"].get("Repository", ""), f"v{PROJECT['version']}"
PATHS = [*notebooks().values(), ROOT / "docs/my_network_does_not_learn.ipynb"]
STEMS = [path.stem for path in notebooks().values()]
SET = "https://github.com/me/x"
README = (ROOT / "README.md").read_text("utf-8")

specification = importlib.util.spec_from_file_location("address", ROOT / "docs/address.py")
address = importlib.util.module_from_spec(specification)
specification.loader.exec_module(address)


def written(path, place, tag="v9.9.9"):
    """Return the notebook with this address."""
    notebook = nbformat.read(path, 4)
    address.write_into(notebook, path.relative_to(ROOT), place, tag, PROJECT["name"])
    return notebook


def link(path):
    return f"https://colab.research.google.com/github/me/x/blob/v9.9.9/{path}"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_has_the_address_of_the_project_and_gets_another(path):
    committed = nbformat.read(path, 4)
    assert written(path, ADDRESS, TAG) == committed
    changed = written(path, SET)
    assert changed != committed
    address.write_into(changed, path.relative_to(ROOT), ADDRESS, TAG, PROJECT["name"])
    assert changed == committed


@pytest.mark.parametrize("stem", STEMS)
def test_the_title_has_a_badge_and_the_neighbours(stem):
    place = STEMS.index(stem)
    links = [f"[![Open in Colab]({address.COLAB}/assets/colab-badge.svg)]({link(f'notebooks/{stem}.ipynb')})"]
    for word, neighbours in (("Previous", STEMS[:place][-1:]), ("Next", STEMS[place + 1 :][:1])):
        for name in neighbours:
            links.append(
                f"{word}: [{name.replace('_', ' ')}]({name}.ipynb) ([Colab]({link(f'notebooks/{name}.ipynb')}))"
            )
    title = find_cell(written(ROOT / f"notebooks/{stem}.ipynb", SET), "title").source
    _, _, badge, _, neighbours = title.split("\n")
    assert [badge, *neighbours.split(" · ")] == links


def test_the_page_links_back_to_notebook_05_in_colab():
    title = find_cell(written(PATHS[-1], SET), "title").source
    assert f"]({link('docs/my_network_does_not_learn.ipynb')})" in title
    assert f"(../notebooks/05_training.ipynb) ([Colab]({link('notebooks/05_training.ipynb')}))" in title


def test_colab_installs_the_version_of_the_tag_or_says_what_is_missing():
    command = f'%pip install --quiet --no-deps "{PROJECT["name"]} @ git+{SET}@v9.9.9"'
    for path in PATHS:
        assert command in find_cell(written(path, SET), "bootstrap").source
        assert "no public address" in find_cell(written(path, ""), "bootstrap").source


def test_the_readme_links_every_notebook_in_colab_or_none():
    assert address.in_readme(README, ADDRESS, TAG) == README
    assert address.NO_ADDRESS in README or ADDRESS
    changed = address.in_readme(README, SET, "v9.9.9")
    assert address.HAS_ADDRESS in changed and address.NO_ADDRESS not in changed
    assert re.findall(r"https://colab[^)\s]+", changed) == [link(f"notebooks/{stem}.ipynb") for stem in STEMS]
    assert address.in_readme(changed, ADDRESS, TAG) == README


@pytest.mark.skipif(bool(ADDRESS), reason="the address is set")
def test_nobody_meets_a_link_to_nowhere(checkout):
    paths = [*checkout.rglob("*.md"), *checkout.rglob("*.ipynb")]
    assert len(paths) > 10
    for path in paths:
        assert not re.search(r"colab\.research|github\.com/OWNER", path.read_text("utf-8")), path


@pytest.mark.parametrize("wrong", ["me", "https://github.com/me/x", "me/x/y", ""])
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(SystemExit, match=f"^{wrong!r} is no address: give OWNER/NAME"):
        address.main(wrong)


def test_an_empty_argument_is_no_missing_one():
    done = subprocess.run([sys.executable, Path(ROOT, "docs/address.py"), ""], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("'' is no address: give OWNER/NAME")

"""The page for teachers agrees with the notebooks, the exercises and the command that it speaks of."""

import re
import shlex

import click
import nbformat
import pytest

from helpers.exercises import EXERCISES
from helpers.workbook import parameters
from helpers.workbook.__main__ import main
from helpers.workbook.parameters import ROOT, find_cell

PAGE = (ROOT / "docs/teaching.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)+)", PAGE, re.MULTILINE))
COMMANDS = re.findall(r"`workbook ([^`]+)`", PAGE)
NOTEBOOKS = parameters.notebooks()


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_each_notebook_has_a_section_with_all_that_a_teacher_asks(stem):
    title = find_cell(nbformat.read(NOTEBOOKS[stem], 4), "title").source.splitlines()[0]
    section = SECTIONS[title.removeprefix("# ")]
    for part in ("**Needs**", "**In class**", "students can\n", "Questions to discuss\n", "Common errors\n"):
        assert part in section
    parts = re.split("students can|Questions to discuss|Common errors", section)[1:]
    assert [len(re.findall("^- ", part, re.MULTILINE)) >= 4 for part in parts] == [True] * 3
    assert re.search(rf"^\| {stem[:2]} \| *[\d.]+ \|", PAGE, re.MULTILINE), "its minutes"


def test_the_exercises_named_are_there():
    named = set(re.findall(r"\b0\d\.\d+\b", PAGE))
    assert named and named <= set(EXERCISES)


@pytest.mark.parametrize("words", COMMANDS)
def test_the_commands_named_are_understood(words):
    name, *arguments = shlex.split(words)
    given = (
        main.commands[name].make_context(name, arguments, parent=click.Context(main, **main.context_settings)).params
    )
    if "profile" in given:
        assert parameters.profile(given["profile"])


def test_the_makefile_has_the_targets_named():
    targets = (ROOT / "Makefile").read_text()
    assert all(f"\n{name}:" in targets for name in re.findall(r"`make (\w+)`", PAGE))


def test_what_is_handed_in_is_what_notebook_07_writes():
    source = "\n".join(cell.source for cell in nbformat.read(NOTEBOOKS["07_your_own_network"], 4).cells)
    for name in ("my_network.py", "model.safetensors", "record.json", "factory()", "trained()", "my_augmentation("):
        assert name in source and name in PAGE
    asked = re.findall(r"^(\d)\. \*", source.split("## Step 12")[1], re.MULTILINE)
    (rubric,) = [text for heading, text in SECTIONS.items() if heading.startswith("A rubric")]
    assert re.findall(r"^\| (\d) ", rubric, re.MULTILINE) == asked


def test_links_lead_to_files_and_lines_are_no_longer_than_a_screen():
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", PAGE) if not link.startswith("http")]
    assert links and all((ROOT / "docs" / link).is_file() for link in links)
    named = re.findall(r"`((?:notebooks|helpers)/[\w./]+)`", PAGE)
    assert named and all((ROOT / name).exists() for name in named)
    assert 200 <= len(PAGE.splitlines()) <= 350 and max(map(len, PAGE.splitlines())) <= 120

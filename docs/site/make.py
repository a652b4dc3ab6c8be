"""Build the site into build/site: `make site`.

The source has the repository's folders, so links between pages and notebooks hold as they are. Notebooks keep the
outputs that are committed; nothing is run. A solution stands below its exercise, closed until it is clicked.
With `make site RUN=runs/…` notebooks and home page are those of that run, and the site lies in its folder, where
`workbook run` writes it by itself.
"""

import ast
import json
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Paths = dict[str, Path]  # where the notebook lies that the site has under this name
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ADDRESS = PROJECT.get("urls", {}).get("Repository", "")
TAG = f"v{PROJECT['version']}"

MOVED = {"README.md": "index.md", "docs/site/explorer.md": "explorer.md"}  # whose place in the site is another

COLAB = r"https://colab\.research\.google\.com[^)]*"
BADGE = re.compile(rf"\[!\[[^]]*\]\([^)]*\)\]\({COLAB}\)\n*| \(\[Colab\]\({COLAB}\)\)")
LINK = re.compile(r"(?<!!)\[([^]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
SOLUTION = "<details><summary>Solution of {name}</summary>\n\n```python\n{code}\n```\n\n</details>"


def main(run: Path | None = None) -> None:
    """Build the site, of the repository or of a run; whatever is missing is said in a sentence."""
    try:
        import myst_nb  # noqa: F401
        import sphinx_book_theme  # noqa: F401
        from sphinx.cmd.build import main as sphinx
    except ImportError as error:
        sys.exit(f"The site needs {error.name}, of the extra `site`: run `make site`, or pip install -e '.[site]'.")
    started = time.perf_counter()
    paths, texts, place = notebooks(run), pages(run), run.resolve() if run else ROOT / "build"
    source, doctrees, target = place / "site-src", place / "site-doctrees", place / "site"
    write_source(texts, paths, source)
    shutil.rmtree(target, ignore_errors=True)
    arguments = ["-W", "--keep-going", "-q", "-c", HERE, "-d", doctrees, source, target]
    if sphinx([str(argument) for argument in arguments]):
        sys.exit("The site has warnings, which stand above: mend the pages that they name.")
    for folder in (source, doctrees):
        shutil.rmtree(folder)
    for path in target.rglob("*.map"):  # for who debugs the theme
        path.unlink()
    for name, path in paths.items():  # what the download button gives is the notebook as it is
        shutil.copy(path, target / "_sources" / name)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) / 1e6
    print(f"{target / 'index.html'}: {size:.1f} MB in {time.perf_counter() - started:.0f} s")


def notebooks(run: Path | None = None) -> Paths:
    """Return where each notebook lies, by its path in the site."""
    numbered = (run or ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")
    beside = {f"docs/{path.name}": path for path in sorted(ROOT.glob("docs/*.ipynb"))}
    return {f"notebooks/{path.name}": path for path in sorted(numbered)} | beside


def pages(run: Path | None = None) -> dict[str, str]:
    """Return the text of each Markdown page by its path in the site."""
    own = {path.name: path.read_text("utf-8") for path in HERE.glob("*.md")}
    own["index.md"] = with_run(own["index.md"], run) if run else with_results(own["index.md"])
    shown = [*ROOT.glob("docs/*.md"), ROOT / "notebooks/results/README.md"]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in shown}
    return own | texts | dict(reference())


def write_source(texts: dict[str, str], paths: Paths, source: Path) -> None:
    """Write pages, notebooks and pictures into this folder."""
    known = {*texts, *paths}
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "images", source / "images")
    for name in known:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (source / name).write_text(linked(text, name, known), "utf-8")
    for name, path in paths.items():
        nbformat.write(page_of(nbformat.read(path, 4), name, known), source / name)


def linked(text: str, page: str, known: set[str]) -> str:
    """Return Markdown whose links to what the site does not hold lead to the repository, or are plain text."""

    def place(found: re.Match) -> str:
        target = (ROOT / page).parent.joinpath(found[2]).resolve()
        inside = target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else ""
        if inside in known:
            return found[0]
        if inside in MOVED:
            return f"[{found[1]}]({'../' * page.count('/')}{MOVED[inside]}{found[3] or ''})"
        kind = "tree" if target.is_dir() else "blob"
        return f"[{found[1]}]({ADDRESS}/{kind}/{TAG}/{inside})" if ADDRESS and inside else found[1]

    return LINK.sub(place, BADGE.sub("", text))


def page_of(notebook: nbformat.NotebookNode, name: str, known: set[str]) -> nbformat.NotebookNode:
    """Return the notebook as a page: links that hold, pictures with a text, solutions below their exercises."""
    if not any(cell.get("outputs") for cell in notebook.cells):
        sys.exit(f"{name} has no outputs, and a page shows them: run it in full, and `make render`.")
    cells, heading, answers = [], "", solutions(name)
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            heading = ([heading] + re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE))[-1]
            cell.source = linked(cell.source, name, known)
            continue
        if "bootstrap" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("hide-cell")
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            cell.metadata["mystnb"] = {"image": {"alt": description(cell.source, heading)}}
        for exercise in re.findall(r"exercises\.check\(\"([\d.]+)\"", cell.source):
            if exercise in answers:
                cells.append(nbformat.v4.new_markdown_cell(SOLUTION.format(name=exercise, code=answers[exercise])))
    notebook.cells = cells
    return notebook


def description(code: str, heading: str) -> str:
    """Return what stands for a figure where it cannot be seen: its title, "…" for a run's figures, or the heading."""
    nodes = list(ast.walk(ast.parse(re.sub(r"(?m)^%", "#", code))))
    filled = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    pieces = [piece for node in filled for piece in node.values]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and node not in pieces]
    texts += ["".join(p.value if isinstance(p, ast.Constant) else "…" for p in node.values) for node in filled]
    titles = [text for text in texts if isinstance(text, str) and re.match(r"[A-Z…].* .* .* ", text)]
    told = re.sub("[`*_]", "", titles[-1] if titles else heading).rstrip(".?: ")
    return f"Figure: {told}. The text beside it says what it shows."


def solutions(name: str) -> dict[str, str]:
    """Return the code of each solution of a notebook by its exercise's name."""
    from helpers.workbook import editions

    return {exercise: code for exercise, code in editions.solutions().items() if exercise[:2] == Path(name).name[:2]}


def with_run(text: str, run: Path) -> str:
    """Return the home page with what a run says of itself in place of all that stands above its lists of pages."""
    try:
        told = json.loads((run / "summary.json").read_text("utf-8"))
    except (OSError, ValueError):
        sys.exit(f"{run} has no summary.json that can be read: give with RUN the folder of a run that went through.")
    facts = [told["machine"], *(f"{package} {number}" for package, number in told["versions"].items())]
    rows = [
        f"| [{stem}](notebooks/{stem}.ipynb) | {one['seconds']} | {one['headline'].replace('|', '/')} |"
        for stem, one in told["notebooks"].items()
    ]
    lines = [f"# The run {run.resolve().name}", "", f"Data: {told['data_source']}. {', '.join(facts)}.", ""]
    lines += ["| notebook | seconds | result |", "|---|---:|---|", *rows, "", text[text.index("```{toctree}") :]]
    return "\n".join(lines)


def with_results(text: str) -> str:
    """Return the home page with the table of results, and `network column` in double brackets as its cells say."""
    from helpers.results import read_result
    from helpers.workbook.publish import format_results

    table = format_results([read_result(path) for path in sorted(ROOT.glob("notebooks/results/*.json"))])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    cells = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows}

    def cell(found: re.Match) -> str:
        return table if found[1] == "results" else cells[found[1]][found[2]]

    return re.sub(r"\[\[(\w+) ?(.*?)\]\]", cell, text)


def reference() -> Iterator[tuple[str, str]]:
    """Give a page for each file of the thin module and one for the networks, filled from docstrings."""
    files = {path.stem: [path] for path in sorted(ROOT.glob("helpers/[a-z]*.py"))}
    files["models"] = sorted(ROOT.glob("helpers/models/*.py"))
    for stem, paths in files.items():
        lines = [f"# helpers.{stem}", "", "```{eval-rst}"]
        for path in paths:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            passed_on = re.findall(r"import (\w+) as \1$", path.read_text("utf-8"), re.MULTILINE)
            lines += [f".. automodule:: {module}", "   :members:", ""]
            lines += [line for name in passed_on for line in (f".. autofunction:: {module}.{name}", "")]
        yield f"api/{stem}.md", "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))

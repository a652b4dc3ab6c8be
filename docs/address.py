"""Write the repository's public address wherever a reader meets it: `python docs/address.py OWNER/NAME`.

Without an argument the address in pyproject.toml is kept, and links follow the version. As long as there is none, no
notebook and no page links to Colab, and Colab's first cell says what is missing.
"""

import os
import re
import sys
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
COLAB = "https://colab.research.google.com"
OPEN = "- **Open in Colab**: "  # how the README's line begins
NO_ADDRESS = OPEN + "not yet, since this copy has no public address; `make address REPOSITORY=OWNER/NAME` gives it one."
HAS_ADDRESS = OPEN + "by the links in the table above; the site's pages have buttons for Colab and Binder."
NOTEBOOK_LINK = re.compile(r"\[[^\]]+\]\(([\w./]+\.ipynb)\)")


def main(place: str | None) -> None:
    """Write the address OWNER/NAME, or the one that pyproject.toml has, into all files that name it."""
    if place is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", place):
        sys.exit(f"{place!r} is no address: give OWNER/NAME, as in https://github.com/OWNER/NAME.")
    project = ROOT / "pyproject.toml"
    if place is not None:
        text = project.read_text("utf-8")
        line = f'Repository = "https://github.com/{place}"\n'
        project.write_text(re.sub(r"(?<=\[project\.urls\]\n).*\n", line, text), "utf-8")
    settings = tomllib.loads(project.read_text("utf-8"))["project"]
    address, tag = settings["urls"].get("Repository", ""), f"v{settings['version']}"
    readme = ROOT / "README.md"
    readme.write_text(in_readme(readme.read_text("utf-8"), address, tag), "utf-8")
    for path in (*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("docs/*.ipynb")):
        notebook = nbformat.read(path, 4)
        write_into(notebook, path.relative_to(ROOT), address, tag, settings["name"])
        nbformat.write(notebook, path)


def in_readme(text: str, address: str, tag: str) -> str:
    """Return the README with a link to Colab in each row of its table of notebooks, or without, and a line on it."""
    opened = HAS_ADDRESS if address else NO_ADDRESS
    lines = [opened if line.startswith(OPEN) else line for line in without_colab(text).split("\n")]
    return "\n".join(with_links(line, Path(), address, tag) if line.startswith("| [0") else line for line in lines)


def write_into(notebook: nbformat.NotebookNode, path: Path, address: str, tag: str, name: str) -> None:
    """Write badge, links and what Colab installs into the notebook that lies at `path` in the repository."""
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "title" in tags:
            heading, *rest = without_colab(cell.source).split("\n")
            badge = [f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab(path, address, tag)})", ""]
            links = [with_links(line, path.parent, address, tag) for line in rest[1:]]
            cell.source = "\n".join([heading, "", *(badge if address else []), *links])
        if "bootstrap" in tags:
            cell.source = bootstrap(address, tag, name)


def without_colab(text: str) -> str:
    text = re.sub(rf"\[!\[Open in Colab\]\([^)]*\)\]\({COLAB}[^)]*\)\n\n", "", text)
    return re.sub(rf" \(\[Colab\]\({COLAB}[^)]*\)\)", "", text)


def with_links(line: str, folder: Path, address: str, tag: str) -> str:
    """Return the line with a link to Colab behind each link to a notebook, which is relative to the folder."""
    if not address:
        return line

    def linked(found: re.Match) -> str:
        path = Path(os.path.normpath(folder / found[1]))
        return f"{found[0]} ([Colab]({colab(path, address, tag)}))"

    return NOTEBOOK_LINK.sub(linked, line)


def colab(path: Path, address: str, tag: str) -> str:
    """Return where Colab opens the notebook as it is at the tag."""
    return f"{COLAB}/github/{address.removeprefix('https://github.com/')}/blob/{tag}/{path.as_posix()}"


def bootstrap(address: str, tag: str, name: str) -> str:
    """Return the first cell of code, the same in every notebook."""
    install = f'%pip install --quiet --no-deps "{name} @ git+{address}@{tag}"'
    missing = 'sys.exit("Colab cannot install the helpers: this copy has no public address (README, Open in Colab).")'
    return (
        "# In Colab, install the helpers of this notebook's version; elsewhere do nothing.\nimport sys\n\n"
        f'if "google.colab" in sys.modules:\n    {install if address else missing}'
    )


if __name__ == "__main__":
    main(*sys.argv[1:] or [None])

"""How Sphinx builds the site; `make site` calls it."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from make import ADDRESS, PROJECT, TAG

project = "CIFAR-10 workbook"
author = "the maintainers of the CIFAR-10 workbook"
release = PROJECT["version"]
extensions = ["myst_nb", "sphinx.ext.autodoc"]
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_favicon = "static/favicon.svg"
html_use_index = html_domain_indices = False  # the search finds names
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_sourcelink_suffix = ""  # a notebook is downloaded as .ipynb
html_show_copyright = html_show_sphinx = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],
    "use_download_button": True,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
}
if ADDRESS:
    html_theme_options |= {
        "repository_url": ADDRESS,
        "repository_branch": TAG,
        "path_to_docs": "",
        "use_repository_button": True,
        "launch_buttons": {
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        },
    }


def plain_docstring(app, what, name, thing, options, lines) -> None:
    """Make the house's docstrings reStructuredText: code in backticks, and a list of what begins with `name: `."""
    text = re.sub(r"[*|]|_(?!\w)", r"\\\g<0>", "\n".join(lines))
    text = re.sub(r"`([^`]+)`(\w?)", r"``\1``\\ \2", text)
    paragraphs = text.split("\n\n")
    for number, paragraph in enumerate(paragraphs):
        items = re.sub(r"(?m)^([a-z]\w*(?:, \w+)*): ", r"* *\1*: ", paragraph)
        if items.startswith("* "):
            paragraphs[number] = re.sub(r"\n *(?!\* )", "\n  ", items)
    lines[:] = "\n\n".join(paragraphs).split("\n")


def setup(app) -> None:
    app.connect("autodoc-process-docstring", plain_docstring)

"""Give a notebook's figures 256 colours where nobody sees it, as `workbook render` does: the argument is its path."""

import sys

import nbformat

from helpers.workbook.publish import smaller_png

notebook = nbformat.read(sys.argv[1], 4)
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = smaller_png(output.data["image/png"])
nbformat.write(notebook, sys.argv[1])

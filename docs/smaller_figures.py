"""Give a notebook's figures a palette of 256 colours, which halves their size: `smaller_figures.py NOTEBOOK`."""

import base64
import io
import sys

import nbformat
from PIL import Image

notebook = nbformat.read(sys.argv[1], 4)
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        if "image/png" in output.get("data", {}):
            figure = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
            written = io.BytesIO()
            figure.quantize(256, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
            output.data["image/png"] = base64.b64encode(written.getvalue()).decode()
nbformat.write(notebook, sys.argv[1])

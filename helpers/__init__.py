"""A thin module and what carries it, in four storeys; a storey knows only those below it.

helpers/*.py      what the notebooks import: data, networks, recipes, training, measuring, drawing
helpers/models/   one network, one file, one screen
helpers/engines/  what makes it right, fast and safe; nobody needs to open it to follow a notebook
helpers/workbook/ the command `workbook`, and all that touches notebooks as files; above the other three
helpers/errors.py how a mistake is told; below everything
"""

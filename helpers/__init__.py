"""A thin module and what carries it; a storey knows only those below it.

helpers/workbook/  the command `workbook`, and all that touches notebooks as files
helpers/*.py       what the notebooks import: data, augmentation, recipes, training, measuring, drawing
helpers/models/    beside them: one network, one file, one screen
helpers/engines/   what makes it right, fast and safe; nobody needs to open it to follow a notebook
helpers/errors.py  how a mistake is told
"""

"""The command `workbook`, and all that touches notebooks as files."""

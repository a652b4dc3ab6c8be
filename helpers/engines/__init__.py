"""What makes the workbook right, fast and safe: tensors, arrays, tables and dicts in and out, no notebook in sight."""

"""A layer table as a spreadsheet whose formulas compute the receptive field anew."""

from pathlib import Path

import numpy as np
import pandas as pd

from helpers.errors import BadInput


def to_xlsx(table: pd.DataFrame, path: str | Path) -> None:
    """Write a `layer_table` whose formulas compute k_eff, size, jump, rf and start anew at any change of a layer.

    A sheet for both axes, or one for height and one for width where they differ. Raises BadInput for a network that
    makes maps larger: the units of such a map have windows of several sizes.
    """
    if set(table.kind) & {"Upsample", "ConvTranspose2d"}:
        raise BadInput("A spreadsheet's formulas do not follow upsampling: leave the sheet out.")
    height, width = (_sheet(table, axis) for axis in (0, 1))
    sheets = {"receptive field": height} if height.equals(width) else {"height": height, "width": width}
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        for title, lines in sheets.items():
            lines.to_excel(book, sheet_name=title, index=False, freeze_panes=(1, 1))
            book.sheets[title].column_dimensions["A"].width = 32


HEADER = ["layer", "kind", "inputs", "channels", "groups", "params", "kernel", "stride", "dilation"]  # A to I
HEADER += ["padding before", "padding after", "k_eff", "size", "jump", "first", "last", "rf", "start"]  # J to R


def _sheet(table: pd.DataFrame, axis: int) -> pd.DataFrame:
    """Return the lines for one axis: the image, then one for each row of the table."""
    channels, *size = table.attrs["input_size"]
    image = ["image", None, None, channels] + [None] * 8 + [size[axis], 1, 0, 0, 1, 0]
    lines = [_line(row, n, axis) for n, row in enumerate(table.to_dict("records"), start=3)]
    return pd.DataFrame([image, *lines], columns=HEADER, dtype=object)


def _line(row: dict, n: int, axis: int) -> list:
    """Return line `n`, computed from the lines that feed it: the outermost pixels of their windows, moved on."""
    size, jump, first, last = (",".join(f"{column}{i + 3}" for i in row["inputs"]) for column in "MNOP")
    kernel, stride, dilation = (np.broadcast_to(row[key], 2).tolist()[axis] for key in HEADER[6:9])
    padding = row["padding"]
    sides = padding if np.size(padding) == 4 else np.broadcast_to(padding, 2).repeat(2).tolist()
    before, after = sides[2 * axis : 2 * axis + 2]
    whole = row["kind"].startswith("global") or row["kind"] == "flatten"
    names = ", ".join("image" if i < 0 else f"line {i + 3}" for i in row["inputs"])
    layer = [row["layer"], row["kind"], names, row["output"][0], row["groups"], row["params"]]
    window = [f"=MAX({size})" if whole else kernel, stride, dilation, before, after]
    formulas = [
        f"=I{n}*(G{n}-1)+1",
        f"=INT((MAX({size})+J{n}+K{n}-L{n})/H{n})+1",
        f"=IF(OR(MAX({size})=1,MAX({jump})=MIN({jump})),MAX({jump})*H{n},NA())",
        f"=MIN({first})-J{n}*N{n}/H{n}",
        f"=MAX({last})+(L{n}-1-J{n})*N{n}/H{n}",
        f"=P{n}-O{n}+1",
        f"=(O{n}+P{n})/2",
    ]
    return layer + window + formulas

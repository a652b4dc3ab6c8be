"""The spreadsheet, computed anew by another program, against the table."""

import shutil
import subprocess
import warnings

import openpyxl
import pytest
from torch import nn

from helpers.errors import BadInput
from helpers.receptive_field import layer_table, to_xlsx
from layers import Add, Concatenate, conv, head, stem


def recomputed(path):
    """Return {sheet: list of lines} with the values of all formulas, by LibreOffice if there is one."""
    if office := shutil.which("soffice"):
        out = path.parent / "recomputed"
        command = [office, "--headless", f"-env:UserInstallation={out.as_uri()}-home", "--convert-to", "xlsx"]
        subprocess.run([*command, "--outdir", out, path], check=True, capture_output=True, timeout=120)
        book = openpyxl.load_workbook(out / path.name, data_only=True)
        return {sheet.title: [[cell.value for cell in line] for line in sheet] for sheet in book}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import formulas

        book = formulas.ExcelModel().loads(str(path)).finish()
        values = {key.upper(): cells.value[0, 0] for key, cells in book.calculate().items() if ":" not in key}
    sheets = openpyxl.load_workbook(path)
    return {
        sheet.title: [
            [values.get(f"'[{path.name}]{sheet.title}'!{c.coordinate}".upper()) for c in line] for line in sheet
        ]
        for sheet in sheets
    }


def columns(book, sheet="receptive field"):
    """Return [size, jump, rf, start] of each line of a recomputed book, but for the image's."""
    header, _, *lines = book[sheet]
    wanted = [header.index(name) for name in ("size", "jump", "rf", "start")]
    return [[line[i] for i in wanted] for line in lines]


def expected(table, axis=0):
    values = [[row.output[1 + axis], row.jump, row.rf, row.start] for row in table.itertuples()]
    return [[v[axis] if isinstance(v, tuple) else v for v in line] for line in values]


def edited(path, **cells):
    book = openpyxl.load_workbook(path)
    for coordinate, value in cells.items():
        book.active[coordinate] = value
    book.save(path)
    return path


def branched(kernel=3):
    residual = nn.Sequential(conv(padding=2, dilation=2), nn.ReLU(), conv(padding=1))
    pools = nn.MaxPool2d(3, 2, ceil_mode=True), nn.ZeroPad2d((1, 0, 1, 0)), nn.AvgPool2d(2)
    return nn.Sequential(stem(kernel), Add(residual, nn.Identity()), *pools, head())


def test_the_spreadsheet_computes_the_table_and_follows_a_change(tmp_path):
    path = tmp_path / "table.xlsx"
    table = layer_table(branched())
    to_xlsx(table, path)
    formulas_in = [cell.value for cell in openpyxl.load_workbook(path).active[4]][11:]
    assert len(formulas_in) == 7 and all(value.startswith("=") for value in formulas_in)
    assert columns(recomputed(path)) == expected(table)
    wider = layer_table(branched(kernel=5))
    assert wider.rf.tolist() != table.rf.tolist()
    assert columns(recomputed(edited(path, G3=5))) == expected(wider)


def test_the_spreadsheet_shows_branches_whose_jumps_no_longer_agree(tmp_path):
    path = tmp_path / "table.xlsx"
    to_xlsx(layer_table(branched()), path)
    strided = recomputed(edited(path, H5=2))  # one branch of the residual addition has got a stride
    _, jump, rf, _ = columns(strided)[3]  # of the max-pooling behind it
    assert "#N/A" in str(jump) and "#N/A" in str(rf)


def test_the_spreadsheet_joins_pools_of_different_jumps(tmp_path):
    early = nn.Sequential(conv(padding=1), nn.AdaptiveAvgPool2d(1))
    late = nn.Sequential(conv(stride=2, padding=1), nn.AdaptiveAvgPool2d(1))
    table = layer_table(nn.Sequential(stem(), Concatenate(early, late), conv(1, channels=(8, 10))))
    to_xlsx(table, tmp_path / "table.xlsx")
    assert columns(recomputed(tmp_path / "table.xlsx")) == expected(table)


def test_a_rectangular_table_has_a_sheet_for_each_axis(tmp_path):
    def network(stride):
        return nn.Sequential(conv((3, 5), stride, (1, 0), channels=(3, 4)), nn.ZeroPad2d((3, 1, 0, 0)), conv(), head())

    path, table = tmp_path / "table.xlsx", layer_table(network((1, 2)))
    to_xlsx(table, path)
    book = recomputed(path)
    assert columns(book, "height") == expected(table, 0)
    assert columns(book, "width") == expected(table, 1)
    assert columns(recomputed(edited(path, H3=2)), "height") == expected(layer_table(network(2)))


def test_upsampling_has_no_formulas(tmp_path):
    with pytest.raises(BadInput, match="do not follow upsampling"):
        to_xlsx(layer_table(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2))), tmp_path / "table.xlsx")
    assert not list(tmp_path.iterdir())

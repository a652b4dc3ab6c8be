from functools import partial

import pytest

from helpers.errors import BadInput
from helpers.workbook import parameters, publish
from toy import code, make_workbook, write_notebook


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Two notebooks, the second with a parameter of every kind."""
    root = make_workbook(tmp_path / "toy", monkeypatch)
    write_notebook(root / "notebooks/01_first.ipynb")
    every_kind = 'STEPS = 2\nRATE = 0.1\nNAME = "x"\nFLAG = True\nDEPTHS = [1, 2]'
    write_notebook(root / "notebooks/02_second.ipynb", parameters=every_kind)
    return root


def refusal(*arguments, **options):
    """Return the sentence with which settings are refused."""
    with pytest.raises(BadInput) as error:
        parameters.settings(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("7", "no notebook '7'. Known: 01_first, 02_second."),
        ("01_frst", "no notebook '01_frst'. Did you mean '01_first'?"),
    ],
)
def test_an_unknown_notebook_is_refused(toy, name, told):
    assert told in refusal("quick", only=[name])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("02.STPES=3", "02_second has no parameter 'STPES'. Did you mean 'STEPS'?"),
        ("STEPS=3", "write it as 05.EPOCHS=3"),
        ("02.STEPS", "write it as 05.EPOCHS=3"),
        ("02.STEPS=many", "STEPS of 02_second is 'many'; it must be a whole number, such as 2."),
        ("02.STEPS=2.0", "a whole number"),
        ("02.STEPS=True", "a whole number"),
        ("02.RATE=fast", "a number, such as 0.1"),
        ("02.RATE=True", "a number"),
        ("02.NAME=3", "text"),
        ("02.FLAG=1", "true or false"),
        ("02.DEPTHS=1", "a list"),
        ("02.DEPTHS=[1, 'a']", "a list"),
    ],
)
def test_a_change_of_a_wrong_name_or_kind_is_refused(toy, change, told):
    assert told in refusal("quick", changes=["01.STEPS=3", change])


@pytest.mark.parametrize(
    ("yaml", "told"),
    [
        ("01_frist: {STEPS: 3}", "no notebook '01_frist'. Did you mean '01_first'?"),
        ("01_first: {STEP: 3}", "01_first has no parameter 'STEP'. Did you mean 'STEPS'?"),
        ("02_second: {RATE: 1e-3}", "RATE of 02_second is '1e-3'; it must be a number"),
        ("01_first: 3", "quick.yaml must give"),
        ("{", "quick.yaml is not YAML"),
    ],
)
def test_a_wrong_profile_is_refused(toy, yaml, told):
    (toy / "notebooks/profiles/quick.yaml").write_text(yaml)
    assert told in refusal("quick")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("quik", "no profile 'quik'. Did you mean 'quick'?"),
        ("ful", "no profile 'ful'. Did you mean 'full'?"),
        ("other", "no profile 'other'. Known: full, quick."),
    ],
)
def test_an_unknown_profile_is_refused(toy, name, told):
    assert told in refusal(name)


def test_parameters_come_from_the_notebook_the_profile_and_the_command_line_in_this_order(toy):
    (toy / "notebooks/profiles/quick.yaml").write_text("02_second: {STEPS: 3, RATE: 1}")
    chosen = parameters.settings("quick", only=["2"], changes=["02.RATE=1e-3", "02.NAME=auto"])
    expected = {"STEPS": 3, "RATE": 0.001, "NAME": "auto", "FLAG": True, "DEPTHS": [1, 2]}
    assert chosen == {"02_second": expected}


def test_the_full_profile_changes_nothing(toy):
    (toy / "notebooks/profiles/quick.yaml").write_text("02_second: {STEPS: 3}")
    assert parameters.profile("full") == {}
    own = {stem: parameters.parameters(path) for stem, path in parameters.notebooks().items()}
    assert parameters.settings("full") == own
    assert own["02_second"]["STEPS"] == 2


def test_data_go_to_the_notebooks_that_read_some(toy):
    write_notebook(toy / "notebooks/03_third.ipynb", parameters='DATA = "auto"')
    chosen = parameters.settings("quick", only=["1", "03"], data="synthetic")
    assert chosen == {"01_first": {"STEPS": 2}, "03_third": {"DATA": "synthetic"}}


@pytest.mark.parametrize("lines", ["STEPS = 1 + len('a')", "STEPS == 2", "STEPS =", "STEPS: int = 2", "print()"])
def test_parameters_that_are_no_literals_are_refused(toy, lines):
    write_notebook(toy / "notebooks/01_first.ipynb", parameters=lines)
    assert "01_first.ipynb are not lines of NAME = literal" in refusal("quick")


@pytest.mark.parametrize(("tags", "count"), [(["parameters"], 2), ([], 0)])
def test_a_notebook_has_one_cell_of_parameters(toy, tags, count):
    path = toy / "notebooks/01_first.ipynb"
    if tags:
        write_notebook(path, code("STEPS = 3", *tags))
    else:
        path.write_text(path.read_text().replace('"parameters"', '"other"'))
    assert f"01_first.ipynb has {count} cells tagged 'parameters'; tag exactly one." in refusal("quick")


def test_without_notebooks_the_command_says_where_to_run_it(tmp_path, monkeypatch):
    make_workbook(tmp_path / "empty", monkeypatch)
    with pytest.raises(BadInput, match="run the `workbook` of a clone"):
        parameters.notebooks()
    for write in (publish.readme, partial(publish.release, "runs/a")):  # nor do they write where a wheel is installed
        with pytest.raises(BadInput, match="run the `workbook` of a clone"):
            write()

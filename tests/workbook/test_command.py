import io
import os
import subprocess
import sys

import click
import pytest

from helpers.workbook import publish
from helpers.workbook.__main__ import main
from helpers.workbook.parameters import ROOT
from toy import make_workbook, run_command, write_notebook


@pytest.fixture
def toy(tmp_path, monkeypatch):
    root = make_workbook(tmp_path / "toy", monkeypatch)
    write_notebook(root / "notebooks/01_first.ipynb")
    return root


def test_bad_input_is_one_sentence_and_status_2(toy, capsys):
    assert run_command("run", "--only", "01", "--set", "01.STPES=3") == 2
    told = "workbook: 01_first has no parameter 'STPES'. Did you mean 'STEPS'?\n"
    assert capsys.readouterr() == ("", told)
    assert not any((toy / "runs").iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--profil", "quick"], "No such option"),
        (["run", "05"], "unexpected extra argument"),
        (["run", "--only"], "requires an argument"),
        (["run", "--data", "cifar10", "synthetic"], "unexpected extra argument"),
        (["train", "wide_2m", "--epochs", "many"], "'many' is not a valid integer"),
        (["train"], "Missing argument 'RECIPE'"),
        (["predict", "folder"], "Missing argument 'IMAGE...'"),
        (["links"], "No such command 'links'"),
    ],
)
def test_what_the_command_line_does_not_know_is_told_with_status_2(toy, arguments, told, capsys):
    assert run_command(*arguments) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert not any((toy / "runs").iterdir())


@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize(("network", "status"), [("dilated_193k", 0), ("compact_135k", 1)])
def test_check_has_status_1_when_a_rule_is_not_met(network, status, capsys):
    assert run_command("check", network) == status
    assert ("NO" in capsys.readouterr().out.split()) == bool(status)


def understood(*words):
    """Return what `workbook run` takes these words for."""
    whole = click.Context(main, **main.context_settings)  # click remembers the help option of a command's first context
    return main.commands["run"].make_context("run", list(words), parent=whole).params


def test_an_option_takes_several_values_at_once_or_is_given_several_times():
    given = understood("--only", "04", "05", "--profile", "full", "--set", "05.EPOCHS=3", "04.A=[1]", "--only", "06")
    assert given["only"] == ("04", "05", "06")
    assert given["changes"] == ("05.EPOCHS=3", "04.A=[1]")
    assert (given["profile"], given["data"], given["out"]) == ("full", None, None)
    nothing = understood()
    assert (nothing["only"], nothing["changes"], nothing["profile"]) == ((), (), "quick")


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_says_what_it_does(name, capsys):
    assert run_command(name, "-h") == 0
    assert main.commands[name].get_short_help_str(70) in capsys.readouterr().out


def test_the_commands_are_all_there():
    expected = "run verify render release readme edition check grade board train sweep evaluate predict export bench"
    assert set(main.commands) == set(expected.split())


@pytest.mark.parametrize(("set_before", "after"), [(None, "passive"), ("active", "active")])
def test_threads_wait_without_spinning_unless_the_caller_says_otherwise(toy, set_before, after, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", str(set_before))
    if set_before is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    assert run_command("run", "--only", "7") == 2
    assert os.environ["OMP_WAIT_POLICY"] == after


def test_it_is_a_module_too_and_help_comes_without_heavy_imports():
    program = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('heavy:', {'torch', 'numpy', 'papermill', 'nbformat'} & set(sys.modules)))\n"
        "sys.argv = ['workbook', '--help']\n"
        "runpy.run_module('helpers.workbook', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "Usage: workbook [OPTIONS] COMMAND" in done.stdout
    assert {"run", "verify", "render", "check", "train", "bench"} <= set(done.stdout.split())
    assert done.stdout.endswith("heavy: set()\n")


# --- streams ---

# The streams are left open, as by a program that ends.
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture
def printing(monkeypatch):
    """A command that prints what ASCII has not and what is no UTF-8, as a file's name may be."""
    monkeypatch.setattr(publish, "readme", lambda: print("87.0 ± 0.2 · caf\udce9"))


@pytest.mark.parametrize(("encoding", "printed"), [("ascii", b"87.0 \\xb1 0.2"), ("utf-8", "87.0 ± 0.2".encode())])
def test_whatever_the_output_is_encoded_in_something_is_printed(printing, monkeypatch, encoding, printed):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert run_command("readme") == 0
    assert written.getvalue().startswith(printed) and written.getvalue().endswith(b"caf\\udce9\n")


@unclosed
def test_an_output_that_is_closed_from_the_start_is_done_without(printing, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert run_command("readme") == 0


@unclosed
def test_a_full_output_is_one_sentence(printing, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))  # noqa: SIM115
    assert run_command("readme") == 2
    told = capsys.readouterr().err
    assert (
        "No space left on device" in told and told.startswith("workbook: the system refuses") and told.count("\n") == 1
    )


@unclosed
def test_a_full_output_and_a_full_error_output_end_without_a_traceback(printing, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, open("/dev/full", "w"))  # noqa: SIM115
    assert run_command("readme") == 2


@unclosed
def test_a_closed_pipe_ends_quietly(printing, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    assert run_command("readme") == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("output", "status", "words"), [(">&-", 0, ""), ("> /dev/full", 2, "No space left on device"), ("| :", 0, "")]
)
def test_help_into_any_output_has_no_traceback(output, status, words):
    command = f"sleep 0; {sys.executable} -m helpers.workbook --help {output}"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status and words in done.stderr and done.stderr.count("\n") == bool(words)


@pytest.mark.usefixtures("quick_processes")
def test_names_that_are_no_utf_8_are_told(capsys):
    for command in ("evaluate", "release", "render"):
        assert run_command(command, "caf\udce9") == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert run_command("check", "caf\udce9") == 2

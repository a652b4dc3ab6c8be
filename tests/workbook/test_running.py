import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
from errno import EADDRINUSE

import nbformat
import pytest
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_core.utils import ensure_event_loop
from nbformat.v4 import new_markdown_cell, new_output

from helpers.errors import BadInput
from helpers.workbook import __main__, parameters, running
from toy import code, make_workbook, write_notebook

LOADED = type("ImageSet", (), {"source": "cifar10"})


@pytest.fixture
def toy(tmp_path, monkeypatch):
    return make_workbook(tmp_path / "toy", monkeypatch)


def workbook_command(monkeypatch, *arguments):
    """Return the exit status of the command line, as the console script would give it."""
    monkeypatch.setattr(sys, "argv", ["workbook", *arguments])
    try:
        return __main__.main()
    except SystemExit as exit:
        return exit.code


# --- what is refused before anything runs ---


@pytest.fixture
def two(toy):
    parameters = 'STEPS = 2\nRATE = 0.1\nNAME = "x"\nFLAG = True\nDEPTHS = [1, 2]'
    write_notebook(toy / "notebooks/01_first.ipynb")
    write_notebook(toy / "notebooks/02_second.ipynb", parameters=parameters)
    return toy


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--profile", "quik"], "no profile 'quik'. Did you mean 'quick'?"),
        (["--only", "7"], "no notebook '7'. Known: 01_first, 02_second."),
        (["--only", "01_frst"], "no notebook '01_frst'. Did you mean '01_first'?"),
        (["--set", "02.STPES=3"], "02_second has no parameter 'STPES'. Did you mean 'STEPS'?"),
        (["--set", "STEPS=3"], "write it as 05.EPOCHS=3"),
        (["--set", "02.STEPS=many"], "STEPS of 02_second is 'many'; it must be a whole number, such as 2."),
        (["--set", "02.STEPS=2.0"], "a whole number"),
        (["--set", "02.STEPS=True"], "a whole number"),
        (["--set", "02.RATE=fast"], "a number, such as 0.1"),
        (["--set", "02.RATE=True"], "a number"),
        (["--set", "02.NAME=3"], "text"),
        (["--set", "02.FLAG=1"], "true or false"),
        (["--set", "02.DEPTHS=1"], "a list"),
        (["--set", "02.DEPTHS=[1, 'a']"], "a list"),
    ],
)
def test_a_wrong_name_or_value_is_one_line_and_status_2(two, arguments, told, monkeypatch, capsys):
    assert workbook_command(monkeypatch, "run", *arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not any((two / "runs").iterdir())


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
def test_a_wrong_profile_is_refused(two, yaml, told):
    (two / "notebooks/profiles/quick.yaml").write_text(yaml)
    with pytest.raises(BadInput) as error:
        running.run("quick")
    assert told in str(error.value)
    assert not any((two / "runs").iterdir())


def test_parameters_come_from_the_notebook_the_profile_and_the_command_line_in_this_order(two):
    (two / "notebooks/profiles/quick.yaml").write_text("02_second: {STEPS: 3, RATE: 1}")
    chosen = parameters.settings("quick", only=["2"], changes=["02.RATE=1e-3", "02.NAME=auto"])
    expected = {"STEPS": 3, "RATE": 0.001, "NAME": "auto", "FLAG": True, "DEPTHS": [1, 2]}
    assert chosen == {"02_second": expected}


@pytest.mark.parametrize("parameters", ["STEPS = 1 + len('a')", "STEPS == 2", "STEPS ="])
def test_parameters_that_are_no_literals_are_refused(two, parameters):
    write_notebook(two / "notebooks/01_first.ipynb", parameters=parameters)
    with pytest.raises(BadInput, match="01_first.ipynb are not lines of NAME = literal"):
        parameters.settings("quick")


def test_without_notebooks_the_command_says_where_to_run_it(toy):
    with pytest.raises(BadInput, match="clone of the repository"):
        parameters.notebooks()


def test_runs_that_cannot_be_written_to_are_one_sentence(two, monkeypatch, capsys):
    (two / "runs").rmdir()
    (two / "runs").touch()  # for root, too, no folder can be made here
    assert workbook_command(monkeypatch, "run") == 2
    assert "cannot be made (Not a directory): give with --out a new one" in capsys.readouterr().err


def test_a_run_never_writes_into_an_existing_folder(two, monkeypatch, capsys):
    assert workbook_command(monkeypatch, "run", "--out", "notebooks") == 2
    assert "cannot be made (File exists)" in capsys.readouterr().err


def test_a_run_goes_on_in_the_folder_of_an_earlier_one(two, monkeypatch):
    (two / "earlier/checkpoints").mkdir(parents=True)
    (two / "earlier/summary.json").write_text("stale")
    assert workbook_command(monkeypatch, "run", "--only", "01", "--out", "earlier") == 0
    assert json.loads((two / "earlier/summary.json").read_text())["notebooks"]


# --- data ---


@pytest.fixture
def data_notebook(toy):
    write_notebook(toy / "notebooks/01_first.ipynb", parameters='DATA = "auto"')
    return toy


def test_damaged_data_stops_everything_before_a_notebook_starts(data_notebook, monkeypatch, capsys):
    def damaged(root):
        raise BadInput("data_batch_1 is damaged.")

    monkeypatch.setattr(running, "load_cifar10", damaged)
    assert workbook_command(monkeypatch, "run") == 2
    assert capsys.readouterr().err == "workbook: data_batch_1 is damaged.\n"
    assert not any((data_notebook / "runs").iterdir())


def test_relative_folders_of_data_are_the_callers_not_the_kernels(data_notebook, monkeypatch):
    seen = []
    monkeypatch.setattr(running, "load_cifar10", lambda root: seen.append(root) or LOADED)
    monkeypatch.setenv("CIFAR10_ROOT", "images")
    chosen = parameters.settings("quick", data="notebooks")
    assert running._load_data(chosen) == "cifar10"
    assert seen == [chosen["01_first"]["DATA"]] == [str(data_notebook / "notebooks")]
    assert os.environ["CIFAR10_ROOT"] == str(data_notebook / "images")


def test_a_run_that_fell_back_to_the_stand_in_stays_with_it(data_notebook, monkeypatch):
    monkeypatch.setattr(running, "load_cifar10", lambda root: type("ImageSet", (), {"source": "synthetic"}))
    chosen = parameters.settings("quick")
    assert running._load_data(chosen) == "synthetic"
    assert chosen["01_first"]["DATA"] == "synthetic"


# --- a run ---


def test_a_run_leaves_notebooks_pages_and_a_summary_in_one_folder(toy, monkeypatch, capfd):
    bar = "from tqdm import tqdm\nfor step in tqdm(range(STEPS)):\n    open('steps', 'w').write(str(step))"
    link = new_markdown_cell("[next](02_second.ipynb)")
    write_notebook(
        toy / "notebooks/01_first.ipynb", link, code(bar), code("print('made', flush=True); print(STEPS)", "headline")
    )
    last_words = "import atexit, os\natexit.register(os.write, 2, b'an assertion failed')"  # as libzmq does at times
    write_notebook(
        toy / "notebooks/02_second.ipynb", code(last_words), code("print('read', open('steps').read())", "headline")
    )
    (toy / "notebooks/profiles/quick.yaml").write_text("01_first: {STEPS: 5}")

    assert workbook_command(monkeypatch, "run") == 0
    (run,) = (toy / "runs").iterdir()
    out, err = capfd.readouterr()
    assert err == "" and (run / "kernels.log").read_text() == "an assertion failed"
    printed = out.splitlines()
    assert [line.split()[0] for line in printed[:3]] == ["notebook", "01_first", "02_second"]
    assert printed[1].endswith("  made 5") and printed[2].endswith("  read 4")
    assert printed[-1] == f"Data: none. Open runs/{run.name}/index.html"

    summary = json.loads((run / "summary.json").read_text())
    assert summary["notebooks"]["01_first"]["parameters"] == {"STEPS": 5}
    assert summary["notebooks"]["01_first"]["headline"] == "made 5"
    assert summary["notebooks"]["01_first"]["peak_mb"] > 10
    assert 'href="02_second.html"' in (run / "01_first.html").read_text()
    assert 'href="02_second.html"' in (run / "index.html").read_text()

    first, second = (nbformat.read(run / name, 4).cells for name in ("01_first.ipynb", "02_second.ipynb"))
    assert [output.name for cell in first for output in cell.get("outputs", [])] == ["stdout"]  # no bar's stderr
    assert ["injected-parameters"] in [cell.metadata.get("tags") for cell in first]
    assert ["injected-parameters"] not in [cell.metadata.get("tags") for cell in second]  # its own values hold


def failing_run(toy, source, monkeypatch):
    """Run two notebooks, the first with this cell; return what the command ends with and the run's folder."""
    write_notebook(toy / "notebooks/01_first.ipynb", code(source))
    write_notebook(toy / "notebooks/02_second.ipynb")
    status = workbook_command(monkeypatch, "run")
    (run,) = (toy / "runs").iterdir()
    assert not (run / "summary.json").exists()
    assert not (run / "02_second.ipynb").exists()
    return status, run


def test_a_failing_cell_is_shown_with_its_error_and_what_was_not_run(toy, monkeypatch):
    told, run = failing_run(toy, "total = STEPS + 1\ntotal / 0", monkeypatch)
    assert "01_first failed in cell [3]" in told
    assert "    total = STEPS + 1\n    total / 0" in told
    assert "ZeroDivisionError: division by zero" in told
    assert "\x1b" not in told
    assert f"See runs/{run.name}/01_first.ipynb. Not run: 02_second." in told


def test_bad_input_in_a_cell_is_its_sentence_without_traceback(toy, monkeypatch):
    source = "from helpers.errors import BadInput\nraise BadInput('epochs is 0; it must be 1 or more.')"
    told, _ = failing_run(toy, source, monkeypatch)
    assert "\n\nepochs is 0; it must be 1 or more.\n\n" in told
    assert "Traceback" not in told


def test_the_death_of_a_kernel_is_one_sentence(toy, monkeypatch, caplog):
    told, _ = failing_run(toy, "import os; os._exit(1)", monkeypatch)
    ensure_event_loop().run_until_complete(asyncio.sleep(0))
    gc.collect()  # asyncio logs a lost task's traceback when the task is collected
    assert not caplog.records
    assert told.startswith("The kernel of 01_first failed (Kernel died)") and told.count("\n") == 0


def test_a_kernel_that_does_not_start_is_one_sentence(toy, tmp_path, monkeypatch, capfd, caplog):
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit(1)")
    monkeypatch.setitem(running.KERNEL_ENVIRONMENT, "PYTHONPATH", str(tmp_path))
    told, _ = failing_run(toy, "pass", monkeypatch)
    assert told.startswith("The kernel of 01_first failed (Kernel died before replying")
    assert capfd.readouterr().err == "" and not caplog.records


@pytest.mark.parametrize("error", [NoSuchKernel("python3"), OSError(EADDRINUSE, "in use")])
def test_a_kernel_without_specification_or_port_is_one_sentence(toy, error, monkeypatch):
    async def refuse(self, **kwargs):
        raise error

    monkeypatch.setattr(running.Kernel, "start_kernel", refuse)
    told, _ = failing_run(toy, "pass", monkeypatch)
    assert told.startswith("The kernel of 01_first failed (") and told.count("\n") == 0


def test_ctrl_c_ends_the_kernel_and_leaves_no_whole_run(toy, monkeypatch, capsys):
    started = "open('pid.tmp', 'w').write(str(os.getpid())); os.rename('pid.tmp', 'pid')"

    def interrupt():
        while not (written := list((toy / "runs").glob("*/pid"))):
            time.sleep(0.05)
        kernels.append(int(written[0].read_text()))
        os.kill(os.getpid(), signal.SIGINT)

    kernels = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    threading.Thread(target=interrupt, daemon=True).start()
    status, _ = failing_run(toy, f"import os, time; {started}; time.sleep(60)", monkeypatch)
    signal.signal(signal.SIGINT, before)
    assert status == 130
    assert "interrupted" in capsys.readouterr().err
    with pytest.raises(ProcessLookupError):
        os.kill(kernels[0], 0)


# --- a second run ---


def test_verify_passes_a_workbook_that_gives_the_same_twice(toy, capfd, monkeypatch):
    write_notebook(toy / "notebooks/01_first.ipynb", code("open('a', 'x')\nprint(STEPS)"))
    assert workbook_command(monkeypatch, "verify") == 0
    assert "3 passed" in capfd.readouterr().out.splitlines()[-1]


def test_the_second_run_fails_on_a_last_digit_and_heeds_ignore_tags(toy, capfd):
    path = toy / "notebooks/01_first.ipynb"
    write_notebook(path, code("print(0.1 + 0.2)"), code("print(1)", "nbval-ignore-output", "why-timings"))
    notebook = nbformat.read(path, 4)
    for count, cell in enumerate(notebook.cells[1:]):
        cell.execution_count = count + 1
    for cell in notebook.cells[3:]:
        cell.outputs = [new_output("stream", text="0.30000000000000003\n")]
    nbformat.write(notebook, path)
    assert running._nbval(path.parent) == 1
    assert "1 failed, 3 passed" in capfd.readouterr().out.splitlines()[-1]


def test_verify_refuses_a_notebook_that_compares_nothing(toy, monkeypatch, capsys):
    figure = "from matplotlib.figure import Figure; display(Figure())"
    write_notebook(toy / "notebooks/01_first.ipynb", code(figure), code("print(1)", "nbval-ignore-output"))
    assert workbook_command(monkeypatch, "verify") == 2
    assert "01_first has no output that is compared" in capsys.readouterr().err

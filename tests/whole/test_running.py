import asyncio
import gc
import json
import os
import re
import signal
import threading
import time
from errno import EADDRINUSE
from html.parser import HTMLParser
from types import SimpleNamespace

import nbformat
import pytest
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbformat.v4 import new_markdown_cell, new_output

from helpers.errors import BadInput
from helpers.workbook import parameters, running
from toy import code, make_workbook, run_command, write_notebook

WRITE_PAGES = running.write_pages  # which toy workbooks do without


@pytest.fixture
def toy(tmp_path, monkeypatch):
    return make_workbook(tmp_path / "toy", monkeypatch)


# --- what is refused before anything runs ---


def test_runs_that_cannot_be_written_to_are_one_sentence(toy, capsys):
    write_notebook(toy / "notebooks/01_first.ipynb")
    (toy / "runs").rmdir()
    (toy / "runs").touch()  # for root, too, no folder can be made here
    assert run_command("run") == 2
    assert "cannot be made (Not a directory): give with --out a new one" in capsys.readouterr().err


def test_a_run_never_writes_into_an_existing_folder(toy, capsys):
    write_notebook(toy / "notebooks/01_first.ipynb")
    assert run_command("run", "--out", "notebooks") == 2
    assert "cannot be made (File exists)" in capsys.readouterr().err


def test_a_folder_with_ones_own_checkpoints_is_no_earlier_run(toy, capsys):
    write_notebook(toy / "notebooks/01_first.ipynb")
    before = (toy / "notebooks/01_first.ipynb").read_bytes()
    (toy / "notebooks/checkpoints").mkdir()  # as the notebooks leave one where they are run in Jupyter
    (toy / "notebooks/summary.json").write_text("mine")
    assert run_command("run", "--out", "notebooks") == 2
    assert "cannot be made (File exists)" in capsys.readouterr().err
    assert (toy / "notebooks/summary.json").read_text() == "mine"
    assert (toy / "notebooks/01_first.ipynb").read_bytes() == before


@pytest.mark.parametrize("out", ["", "~nobody-of-this-name/run", "caf\udce9"])
def test_an_empty_name_an_unknown_home_and_no_utf_8_are_refused(toy, out, capsys):
    write_notebook(toy / "notebooks/01_first.ipynb")
    assert run_command("run", "--out", out) == 2
    told = capsys.readouterr().err
    assert "The run's folder is" in told and told.count("\n") == 1


def test_two_runs_within_a_second_have_a_folder_each(toy, monkeypatch):
    seconds = iter(["20260101-000000", "20260101-000000", "20260101-000000", "20260101-000001"])
    monkeypatch.setattr(running.time, "strftime", lambda form: next(seconds))
    folders = [running._run_folder("quick", None) for _ in range(2)]
    assert [folder.name for folder in folders] == ["20260101-000000-quick", "20260101-000001-quick"]


# --- data ---


@pytest.fixture
def data_notebook(toy):
    write_notebook(toy / "notebooks/01_first.ipynb", parameters='DATA = "auto"')
    return toy


def test_damaged_data_stops_everything_before_a_notebook_starts(data_notebook, monkeypatch, capsys):
    def damaged(root):
        raise BadInput("data_batch_1 is damaged.")

    monkeypatch.setattr(running, "load_cifar10", damaged)
    assert run_command("run") == 2
    assert capsys.readouterr().err == "workbook: data_batch_1 is damaged.\n"
    assert not any((data_notebook / "runs").iterdir())


def test_relative_folders_of_data_are_the_callers_not_the_kernels(data_notebook, monkeypatch):
    seen = []
    images = SimpleNamespace(source="cifar10")
    monkeypatch.setattr(running, "load_cifar10", lambda root: seen.append(root) or images)
    monkeypatch.setenv("CIFAR10_ROOT", "images")
    chosen = parameters.settings("quick", data="notebooks")
    assert running.load_data(chosen) == "cifar10"
    assert seen == [chosen["01_first"]["DATA"]] == [str(data_notebook / "notebooks")]
    assert os.environ["CIFAR10_ROOT"] == str(data_notebook / "images")


def test_a_run_that_fell_back_to_the_stand_in_stays_with_it(data_notebook, monkeypatch):
    monkeypatch.setattr(running, "load_cifar10", lambda root: SimpleNamespace(source="synthetic"))
    chosen = parameters.settings("quick")
    assert running.load_data(chosen) == "synthetic"
    assert chosen["01_first"]["DATA"] == "synthetic"


# --- a run ---


def test_a_run_leaves_notebooks_pages_and_a_summary_in_one_folder(toy, capfd):
    link = new_markdown_cell("[next](02_second.ipynb)")
    bar = "from tqdm import tqdm\nfor step in tqdm(range(STEPS)):\n    open('steps', 'w').write(str(step))"
    printing = "print('made', flush=True); print(STEPS, RATE)"
    first = "STEPS = 2\nRATE = 0.1"
    write_notebook(toy / "notebooks/01_first.ipynb", link, code(bar), code(printing, "headline"), parameters=first)
    last_words = "import atexit, os\natexit.register(os.write, 2, b'an assertion failed')"  # as libzmq does at times
    write_notebook(
        toy / "notebooks/02_second.ipynb", code(last_words), code("print('read', open('steps').read())", "headline")
    )
    write_notebook(toy / "notebooks/03_third.ipynb", code("1 / 0"))
    (toy / "notebooks/profiles/quick.yaml").write_text("01_first: {STEPS: 5}")

    assert run_command("run", "--only", "1", "2", "--set", "01.RATE=0.2") == 0
    (run,) = (toy / "runs").glob("*-quick")
    out, err = capfd.readouterr()
    assert err == "" and (run / "kernels.log").read_text() == "an assertion failed"
    printed = out.splitlines()
    assert [line.split()[0] for line in printed[:3]] == ["notebook", "01_first", "02_second"]
    assert printed[1].endswith("  made 5 0.2") and printed[2].endswith("  read 4")
    assert printed[-1] == "Data: none. No pages."

    summary = json.loads((run / "summary.json").read_text())
    assert summary["notebooks"].keys() == {"01_first", "02_second"}
    assert summary["notebooks"]["01_first"]["parameters"] == {"STEPS": 5, "RATE": 0.2}
    assert summary["notebooks"]["01_first"]["headline"] == "made 5 0.2"

    first, second = (nbformat.read(run / name, 4).cells for name in ("01_first.ipynb", "02_second.ipynb"))
    assert [output.name for cell in first for output in cell.get("outputs", [])] == ["stdout"]  # no bar's stderr
    assert ["injected-parameters"] in [cell.metadata.get("tags") for cell in first]
    assert ["injected-parameters"] not in [cell.metadata.get("tags") for cell in second]  # its own values hold


def test_the_pages_of_a_run_are_the_sites_and_open_without_the_internet(toy, capfd, monkeypatch):
    monkeypatch.setattr(running, "write_pages", WRITE_PAGES)
    link = new_markdown_cell("[next](02_second.ipynb) and [another](05_training.ipynb)")
    for number, name in (("1", "first"), ("2", "second")):
        write_notebook(toy / f"notebooks/0{number}_{name}.ipynb", link, code(f"print('made {number}')", "headline"))
    run = running.run()
    pages = run / "site"
    assert capfd.readouterr().out.endswith(f"Open runs/{run.name}/site/index.html\n")
    index, first = ((pages / name).read_text() for name in ("index.html", "notebooks/01_first.html"))
    assert 'href="notebooks/02_second.html"' in index and "made 2" in index
    assert 'href="02_second.html"' in first and "made 1" in first and "05_training.html" not in first
    assert requested(index) == requested(first) == [] and sorted(path.name for path in run.glob("site*")) == ["site"]


def test_why_there_are_no_pages_is_told(tmp_path):
    assert running.write_pages(tmp_path).startswith(f"There are no pages: {tmp_path} has no summary.json")


def test_a_value_out_of_range_is_told_before_the_first_notebook_runs(toy, capfd):
    asked = f"{running.CHECKS}.\nif STEPS > 9:\n    raise BadInput('STEPS is large.')\nimages = load_images()"
    imports = "from pathlib import Path\nfrom helpers.errors import BadInput"
    write_notebook(toy / "notebooks/01_first.ipynb", code("print('ran')"))
    write_notebook(toy / "notebooks/02_second.ipynb", code(imports), code(asked))
    assert run_command("run", "--set", "02.STEPS=10") == 2
    assert capfd.readouterr() == ("", "workbook: 02_second: STEPS is large.\n") and not list((toy / "runs").iterdir())


@pytest.mark.parametrize(("callers", "kernels"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_kernels_wait_as_the_caller_says_draw_no_bars_and_plot_into_the_notebook(callers, kernels, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    for name, value in {"MPLBACKEND": "agg", "MINE": "1", **callers}.items():
        monkeypatch.setenv(name, value)
    environment = running.kernel_environment()
    assert (environment["OMP_WAIT_POLICY"], environment["MINE"], environment["TQDM_DISABLE"]) == (kernels, "1", "1")
    assert environment["MPLBACKEND"] == "module://matplotlib_inline.backend_inline"


class Requests(HTMLParser):
    """Collects the addresses on the internet that a browser asks for when it opens a page."""

    def __init__(self):
        super().__init__()
        self.found, self.within = [], ""

    def handle_starttag(self, tag, attributes):
        self.within = tag
        names = {"href"} if tag == "link" else {"src", "srcset", "data", "poster", "background"}
        self.found += [value for name, value in attributes if name in names and re.match(r"\s*(https?:)?//", value)]

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, text):
        if self.within == "style":
            text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)  # licences name their addresses
            self.found += re.findall(r"(?:@import|url\()\W*(?:https?:)?//[^\s)]+", text)
        if self.within == "script":
            self.found += re.findall(r"https?://[^\s\"']+", text)


def requested(page):
    parser = Requests()
    parser.feed(page)
    return parser.found


def failing_run(toy, source, *arguments):
    """Run two notebooks, the first with this cell; return what the command ends with and the run's folder."""
    write_notebook(toy / "notebooks/01_first.ipynb", code(source))
    write_notebook(toy / "notebooks/02_second.ipynb")
    status = run_command("run", *arguments)
    (run,) = (toy / "runs").iterdir()
    assert not (run / "summary.json").exists()
    assert not (run / "02_second.ipynb").exists()
    return status, run


def test_a_failing_cell_is_shown_with_its_error_and_what_was_not_run(toy):
    told, run = failing_run(toy, "total = STEPS + 1\ntotal / 0")
    assert "01_first failed in cell [3]" in told
    assert "    total = STEPS + 1\n    total / 0" in told
    assert "ZeroDivisionError: division by zero" in told
    assert "\x1b" not in told
    assert f"See runs/{run.name}/01_first.ipynb. Not run: 02_second." in told


def test_a_run_goes_on_in_an_earlier_folder_and_bad_input_in_a_cell_is_its_sentence(toy):
    (toy / "runs/earlier/checkpoints").mkdir(parents=True)
    (toy / "runs/earlier/checkpoints/state").write_text("epochs is 0; it must be 1 or more.")
    (toy / "runs/earlier/summary.json").write_text("of the earlier run")
    (toy / "runs/earlier/kernels.log").touch()
    source = "from helpers.errors import BadInput\nraise BadInput(open('checkpoints/state').read())"
    told, _ = failing_run(toy, source, "--out", "runs/earlier")
    assert "\n\nepochs is 0; it must be 1 or more.\n\n" in told
    assert "Traceback" not in told


def test_the_death_of_a_kernel_is_one_sentence(toy, caplog):
    told, _ = failing_run(toy, "import os; os._exit(1)")
    ensure_event_loop().run_until_complete(asyncio.sleep(0))
    gc.collect()  # asyncio logs a lost task's traceback when the task is collected
    assert not caplog.records
    assert told.startswith("The kernel of 01_first failed (Kernel died)") and told.count("\n") == 0


def test_a_kernel_that_does_not_start_is_one_sentence(toy, tmp_path, monkeypatch, capfd, caplog):
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told, _ = failing_run(toy, "pass")
    assert told.startswith("The kernel of 01_first failed (Kernel died before replying")
    assert capfd.readouterr().err == "" and not caplog.records


@pytest.mark.parametrize("error", [NoSuchKernel("python3"), OSError(EADDRINUSE, "in use")])
def test_a_kernel_without_specification_or_port_is_one_sentence(toy, error, monkeypatch):
    async def refuse(self, **kwargs):
        raise error

    monkeypatch.setattr(AsyncKernelManager, "start_kernel", refuse)
    told, _ = failing_run(toy, "pass")
    assert told.startswith("The kernel of 01_first failed (") and told.count("\n") == 0


@pytest.fixture
def heeding_ctrl_c():
    """Let SIGINT interrupt, which a shell's background jobs ignore from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_kernel_and_leaves_no_whole_run(toy, heeding_ctrl_c, capsys, number, expected):
    started = "open('pid.tmp', 'w').write(str(os.getpid())); os.rename('pid.tmp', 'pid')"

    def interrupt():
        while not (written := list((toy / "runs").glob("*/pid"))):
            time.sleep(0.05)
        kernels.append(int(written[0].read_text()))
        os.kill(os.getpid(), number)

    kernels = []
    threading.Thread(target=interrupt, daemon=True).start()
    status, _ = failing_run(toy, f"import os, time; {started}; time.sleep(60)")
    assert status == expected
    assert "what was not finished counts for nothing" in capsys.readouterr().err
    with pytest.raises(ProcessLookupError):
        os.kill(kernels[0], 0)


# --- a second run ---


def test_verify_passes_a_workbook_that_gives_the_same_twice(toy, capfd):
    write_notebook(toy / "notebooks/01_first.ipynb", code("open('a', 'x')\nprint(STEPS)"))
    assert run_command("verify") == 0
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
    assert running.compare_outputs(path.parent) == 1
    assert "1 failed, 3 passed" in capfd.readouterr().out.splitlines()[-1]


def test_verify_refuses_a_notebook_that_compares_nothing(toy, capsys):
    figure = "class Figure:\n    __repr__ = lambda self: '<Figure size 640x480 with 1 Axes>'\nFigure()"
    write_notebook(toy / "notebooks/01_first.ipynb", code(figure), code("print(1)", "nbval-ignore-output"))
    assert run_command("verify") == 2
    assert "01_first has no output that is compared" in capsys.readouterr().err

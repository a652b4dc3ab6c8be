"""Run the notebooks into a folder of their own, and check that a second run gives the same."""

import ast
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable
from contextlib import chdir
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError, strip_color
from tqdm.auto import tqdm

from helpers.data import load_cifar10
from helpers.engines.run_directory import place
from helpers.errors import BadInput, Interrupted
from helpers.results import write_result
from helpers.runtime import commit, machine, versions
from helpers.workbook.parameters import ROOT, Value, notebooks, parameters, settings

RUNS = ROOT / "runs"
SUMMARY = "summary.json"  # written last: a folder without it is no whole run
KERNEL_LOG = "kernels.log"  # what kernels write to their terminal, such as why one crashed
VERIFY_TIMEOUT = 1200  # seconds after which nbval gives a cell up; a run waits for as long as it takes
CHECKS = "# A wrong parameter is told here"  # how a notebook's cell begins that checks its parameters
ROW = "{:<32} {:>8}  {}".format  # of the table that a run prints


def kernel_environment() -> dict[str, str]:
    """Return the caller's environment with what kernels need beside it."""
    environment = os.environ.copy()
    environment.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, and why is said there
    environment["TQDM_DISABLE"] = "1"  # no bar is frozen into an output; tqdm reads this when it is imported
    environment["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import would ask the network for a newer version
    environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # figures inline, whatever CI sets
    return environment


class Kernel(AsyncKernelManager):
    """A kernel with the environment above, whose last words go to a file in the folder that it works in."""

    async def start_kernel(self, *, cwd: str, **kwargs) -> None:
        with open(Path(cwd) / KERNEL_LOG, "a") as log:
            await super().start_kernel(cwd=cwd, env=kernel_environment(), stderr=log, **kwargs)


def run(
    profile: str = "quick",
    only: Iterable[str] = (),
    changes: Iterable[str] = (),
    data: str | None = None,
    out: str | Path | None = None,
    pages: bool = True,
) -> Path:
    """Execute the notebooks with a profile's parameters in a new folder, and return the folder.

    `out` may also be the folder of an earlier run, whose checkpoints the trainings go on from; `pages` builds the site.
    Raises BadInput before anything runs for a wrong name or value, damaged data, or an unusable folder;
    SystemExit with the cell and its error when a notebook fails.
    """
    chosen = settings(profile, only, changes, data)
    source, out = load_data(chosen), None if out is None else place(out)
    with TemporaryDirectory() as empty, chdir(out if out and (out / "checkpoints").is_dir() else empty):
        for stem, values in chosen.items():
            try_checks(stem, values)
    folder = _run_folder(profile, out)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # which would leave the kernel alone
        signal.signal(signal.SIGTERM, _end)
    for name in ("papermill", "asyncio"):  # each would add a traceback to the sentence on a kernel's failure
        logging.getLogger(name).disabled = True
    done = {}
    print(ROW("notebook", "seconds", "result"))
    for stem in tqdm(chosen, desc=profile, unit="notebook", disable=None, leave=False):
        done[stem] = _run_notebook(stem, chosen[stem], folder, waiting=list(chosen)[len(done) + 1 :])
        tqdm.write(ROW(stem, done[stem]["seconds"], done[stem]["headline"]))
    summary = {"profile": profile, "data_source": source, "commit": commit(), "machine": machine()}
    summary |= {"versions": versions(), "notebooks": done}
    write_result(folder / SUMMARY, summary)
    print(f"\nData: {source}. {write_pages(folder) if pages else ''}")
    return folder


def try_checks(stem: str, values: dict[str, Value]) -> None:
    """Run what a notebook asks of its parameters before it loads or computes anything; raises BadInput as it does."""
    cells = [cell.source for cell in nbformat.read(notebooks()[stem], 4).cells if cell.cell_type == "code"]
    end = next((i + 1 for i, source in enumerate(cells) if source.startswith(CHECKS)), 0)
    lines, variables = ast.parse("\n".join(cells[2:end])).body, dict(values)  # from the imports on
    for line in takewhile(lambda line: isinstance(line, ast.ImportFrom) or "load_" not in ast.unparse(line), lines):
        try:
            exec(compile(ast.Module([line], []), stem, "exec"), variables)
        except BadInput as error:
            raise BadInput(f"{stem}: {error}") from None


def load_data(chosen: dict[str, dict[str, Value]]) -> str:
    """Load each data set named, so that a damaged file is found before a notebook starts; return the sources.

    Folders become absolute, since kernels work elsewhere. An "auto" that fell back to the stand-in stays with
    it, lest an internet connection that comes back mix two data sets in one run.
    """
    if os.environ.get("CIFAR10_ROOT"):
        os.environ["CIFAR10_ROOT"] = os.path.abspath(os.environ["CIFAR10_ROOT"])
    with_data = [values for values in chosen.values() if "DATA" in values]
    roots, sources = {}, set()
    for root in {values["DATA"] for values in with_data}:
        path = root if root in ("auto", "cifar10", "synthetic") else os.path.abspath(place(root, "The data folder"))
        source = load_cifar10(path).source
        roots[root] = "synthetic" if source == "synthetic" else path
        sources.add(source)
    for values in with_data:
        values["DATA"] = roots[values["DATA"]]
    return " and ".join(sorted(sources)) or "none"


def _end(number: int, frame: object) -> None:
    raise Interrupted("ended; what was not finished counts for nothing, run it again.", number)


def _run_folder(profile: str, out: Path | None) -> Path:
    folder = out or RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{profile}"
    earlier = out and (folder / "checkpoints").is_dir() and (folder / KERNEL_LOG).is_file()
    try:
        folder.mkdir(parents=True, exist_ok=bool(earlier))
        (folder / SUMMARY).unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, FileExistsError) and out is None:  # another run began in this second
            time.sleep(0.1)
            return _run_folder(profile, None)
        raise BadInput(
            f"The run's folder {folder} cannot be made ({error.strerror}): "
            "give with --out a new one in a place that can be written to, or one with checkpoints to go on from."
        ) from error
    return folder.resolve()


def _run_notebook(stem: str, values: dict[str, Value], folder: Path, waiting: list[str]) -> dict:
    """Execute one notebook in the folder, and return its part of the summary."""
    not_run = f" Not run: {', '.join(waiting)}." if waiting else ""
    start = time.monotonic()
    try:
        executed = _execute(notebooks()[stem], values, folder)
    except PapermillExecutionError as error:
        copy = os.path.relpath(folder / f"{stem}.ipynb")
        sys.exit(f"{_failure(stem, error)}\n\nSee {copy}.{not_run}")
    except (NoSuchKernel, RuntimeError, OSError) as error:
        log = os.path.relpath(folder / KERNEL_LOG)
        sys.exit(f"The kernel of {stem} failed ({error}): see {log}, free memory or disk space and run again.{not_run}")
    seconds = round(time.monotonic() - start, 1)
    return {"seconds": seconds, "headline": headline(executed), "parameters": values}


def _execute(source: Path, values: dict[str, Value], folder: Path) -> NotebookNode:
    """Execute a notebook with these parameters in the folder, leave it there, and return it."""
    own = parameters(source)
    return papermill.execute_notebook(
        nbformat.read(source, 4),
        re.sub("([{}])", r"\1\1", str(folder / source.name)),  # papermill takes paths for templates
        # Only what differs is injected, so that a full run executes the notebooks as they are.
        {name: value for name, value in values.items() if value != own[name]},
        kernel_name="python3",
        kernel_manager_class=Kernel,
        coalesce_streams=True,  # what is printed is one output, however the kernel happened to send it
        extra_arguments=["--log-level=CRITICAL"],  # kernels tell the terminal how they connect and end
        resources={"metadata": {"path": str(folder)}},  # the kernel's working directory
        progress_bar={"desc": source.stem, "disable": None, "leave": False},
    )


def _failure(stem: str, error: PapermillExecutionError) -> str:
    """Return the failing cell's source and error: bad input's sentence, or the traceback without colours."""
    message = error.evalue if error.ename == BadInput.__name__ else strip_color("\n".join(error.traceback))
    source = textwrap.indent(error.source, "    ")
    return f"\n{stem} failed in cell [{error.exec_count}]:\n\n{source}\n\n{message}"


def headline(notebook: NotebookNode) -> str:
    """Return what the cell tagged `headline` printed, on one line."""
    cells = [cell for cell in notebook.cells if "headline" in cell.metadata.get("tags", [])]
    return " ".join(" ".join(output_text(output) for cell in cells for output in cell.outputs).split())


def output_text(output: NotebookNode) -> str:
    """Return a cell output's plain text: what was printed, or the last value's representation."""
    return output.get("text") or output.get("data", {}).get("text/plain", "")


def write_pages(folder: Path) -> str:
    """Build the site of a run into its folder; return what to open, or why there is nothing."""
    done = subprocess.run([sys.executable, ROOT / "docs/site/make.py", folder], capture_output=True, text=True)
    if done.returncode:
        return f"There are no pages: {done.stderr.strip().splitlines()[-1]}"
    return f"Open {os.path.relpath(folder / 'site' / 'index.html')}"


def verify() -> int:
    """Run the quick profile, execute its notebooks again, compare the outputs; return pytest's exit status.

    The second run happens in a folder that holds the notebooks alone, so that it reads nothing of the first.
    Raises BadInput when a notebook has no output that would be compared.
    """
    first = run("quick", pages=False)
    second = first.with_name(f"{first.name}-again")
    second.mkdir()
    for stem in notebooks():
        if not compared_cells(nbformat.read(first / f"{stem}.ipynb", 4)):
            raise BadInput(f"{stem} has no output that is compared: print one in a cell without an ignore tag.")
        shutil.copy(first / f"{stem}.ipynb", second)
    return compare_outputs(second)


def compare_outputs(folder: Path) -> int:
    """Execute the notebooks and compare their outputs with those they hold; return pytest's exit status."""
    options = ["-p", "nbval.plugin", "--nbval", "--nbval-current-env", f"--nbval-cell-timeout={VERIFY_TIMEOUT}"]
    options += ["-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider"]  # without the repository's settings
    command = [sys.executable, "-m", "pytest", *options, "."]
    environment = kernel_environment()
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # other plugins take seconds to import
    return subprocess.run(command, cwd=folder, env=environment).returncode


def compared_cells(notebook: NotebookNode) -> int:
    """Return how many cells have an output that nbval compares; a figure's text says only how large it is."""
    ignored = {"nbval-ignore-output", "nbval-skip"}
    cells = [cell for cell in notebook.cells if not ignored & set(cell.metadata.get("tags", []))]
    texts = [[output_text(output) for output in cell.get("outputs", [])] for cell in cells]
    return sum(any(text and not text.startswith("<Figure") for text in cell) for cell in texts)

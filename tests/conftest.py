"""Fixtures: the stand-in, and real CIFAR-10 where it lies at hand (in CI it does)."""

import os
import shutil
import signal
import subprocess
import sys
from multiprocessing import forkserver, get_context
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch loads: no spinning where a core is shared

import pytest

from helpers.workbook import guarded

ROOT = Path(__file__).resolve().parent.parent

# jsonschema takes this for not installed: it would make 38 grammars of addresses at import, which takes 1.5 seconds.
sys.modules["rfc3987_syntax"] = None

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: one core each; what starts them needs no torch
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def obeyed_signals():
    """Let each test meet signals as a program in the foreground does; a shell's background jobs ignore Ctrl-C."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def quick_processes():
    """Start what a sweep's and a checker's processes are copies of, with all imports done once for every test."""
    if sys.platform == "linux":
        needed = ["helpers.workbook.handed_in", *guarded.NOTEBOOKS_NEED, "torch._dynamo"]
        get_context("forkserver").set_forkserver_preload(needed)
        forkserver.ensure_running()


@pytest.fixture(scope="session")
def stand_in():
    from helpers.data import load_cifar10

    return load_cifar10("synthetic")


@pytest.fixture(scope="session")
def few(stand_in):
    from helpers.data import take

    return take(stand_in, 200)


@pytest.fixture(scope="session")
def checked():
    """What checks a network as `assignment.check` does, and each kind, weights and recipe only once."""
    from helpers.assignment import check
    from helpers.summary import fingerprint

    kept = {}

    def checked(model, *given):
        key = fingerprint(model), *next(model.parameters()).flatten()[:3].tolist(), *map(repr, given)
        if key not in kept:
            kept[key] = check(model, *given)
        return kept[key].copy()

    return checked


@pytest.fixture(scope="session")
def cifar10_root():
    if "CIFAR10_ROOT" not in os.environ:
        pytest.skip("needs real CIFAR-10: set CIFAR10_ROOT to the folder that holds cifar-10-batches-py")
    return os.environ["CIFAR10_ROOT"]


@pytest.fixture
def checkout(tmp_path):
    """What git takes of the working tree, in a folder of its own."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a checkout with git: this folder is none")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    return tmp_path / "checkout"

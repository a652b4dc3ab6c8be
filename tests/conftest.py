"""Fixtures: the stand-in, and real CIFAR-10 where it lies at hand (in CI it does)."""

import os
import shutil
import signal
import subprocess
import sys
from multiprocessing import forkserver, get_context

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch loads: no spinning where a core is shared

import pytest
import torch

from helpers.data import load_cifar10, take
from helpers.workbook.parameters import ROOT

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: one core each
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
    """Start what a sweep's processes are copies of, with all imports done once for every test."""
    if sys.platform == "linux":
        get_context("forkserver").set_forkserver_preload(["helpers.sweep", "torch._dynamo"])
        forkserver.ensure_running()


@pytest.fixture(scope="session")
def stand_in():
    return load_cifar10("synthetic")


@pytest.fixture(scope="session")
def few(stand_in):
    return take(stand_in, 200)


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

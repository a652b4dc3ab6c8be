"""Fixtures: the stand-in, and real CIFAR-10 where it lies at hand (in CI it does)."""

import os

import pytest
import torch

from helpers.data import load_cifar10, take

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: one core each
    torch.set_num_threads(1)


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

import platform
import subprocess
import sys

import pytest
import torch

from helpers.errors import BadInput, nearest
from helpers.runtime import banner, machine, pick_device, versions


def test_auto_finds_a_device_that_works():
    assert torch.zeros(1, device=pick_device("auto")).item() == 0


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "cpu:x"])
def test_absent_device_is_named(name):
    with pytest.raises(BadInput, match=f"device '{name}'"):
        pick_device(name)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_kept_memory_comes_back_without_page_faults():
    """In a process of its own, since what was asked for once holds to the end."""
    script = """
import resource, torch
from helpers.runtime import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(16, 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
keep_freed_memory()
for _ in range(4):  # until the heap has grown
    faults()
print(before, faults())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert after < before / 10


def test_banner_names_data_seed_device_and_versions():
    line = banner("CIFAR-10: 10 images", 7, "cpu")
    assert "CIFAR-10: 10 images" in line and "seed 7" in line and "cpu" in line
    assert all(number in line for number in versions().values())


def test_machine_is_not_empty():
    assert "core" in machine()


def test_nearest_offers_the_closest_name_or_all():
    assert nearest("EPOCH", ["EPOCHS", "SEED"]) == "Did you mean 'EPOCHS'?"
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."

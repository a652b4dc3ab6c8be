import pytest
import torch

from helpers.errors import BadInput
from helpers.runtime import banner, machine, pick_device, versions


def test_auto_finds_a_device_that_works():
    assert torch.zeros(1, device=pick_device("auto")).item() == 0


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "cpu:x"])
def test_absent_device_is_named(name):
    with pytest.raises(BadInput, match=f"device '{name}'"):
        pick_device(name)


def test_banner_names_data_seed_device_and_versions():
    line = banner("CIFAR-10: 10 images", 7, "cpu")
    assert "CIFAR-10: 10 images" in line and "seed 7" in line and "cpu" in line
    assert all(number in line for number in versions().values())


def test_machine_is_not_empty():
    assert "core" in machine()

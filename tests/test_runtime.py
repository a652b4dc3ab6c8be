import pytest
import torch

from helpers.errors import BadInput, nearest
from helpers.runtime import banner, keep_freed_memory, machine, pick_device, versions


def test_auto_finds_a_device_that_works():
    assert torch.zeros(1, device=pick_device("auto")).item() == 0


@pytest.mark.parametrize("name", ["tpu", "cuda:99" if not torch.cuda.is_available() else "tpu"])
def test_absent_device_is_named(name):
    with pytest.raises(BadInput, match="not on this machine"):
        pick_device(name)


def test_keeping_memory_is_harmless_to_ask_for_twice():
    keep_freed_memory()
    keep_freed_memory()
    assert torch.ones(1000, 1000).sum() == 1e6


def test_banner_names_data_seed_device_and_versions():
    line = banner("CIFAR-10: 10 images", 7, "cpu")
    assert "CIFAR-10: 10 images" in line and "seed 7" in line and "cpu" in line
    assert all(number in line for number in versions().values())


def test_machine_is_not_empty():
    assert "core" in machine()


def test_nearest_offers_the_closest_name_or_all():
    assert nearest("EPOCH", ["EPOCHS", "SEED"]) == "Did you mean 'EPOCHS'?"
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."

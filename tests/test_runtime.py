import pytest
import torch

from helpers.errors import BadInput
from helpers.runtime import banner, check_folder, machine, pick_device, versions


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


@pytest.mark.parametrize("folder", ["", " ", "~no-such-user/runs", 5, None])
def test_what_is_no_folder_is_one_sentence(folder):
    with pytest.raises(BadInput, match=r"^RUN_DIR is .*\.$"):
        check_folder("RUN_DIR", folder)


def test_a_folder_that_cannot_be_made_is_told_and_one_that_can_is_empty(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be written to"):
        check_folder("RUN_DIR", str(tmp_path / "file/runs"))
    check_folder("RUN_DIR", str(tmp_path / "a/b"))
    assert (tmp_path / "a/b").is_dir() and not any((tmp_path / "a/b").iterdir())

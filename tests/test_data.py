import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from helpers import data
from helpers.data import CIFAR10_MEAN, CIFAR10_STD, load_cifar10, statistics, take, train_val_split
from helpers.engines import batch_files
from helpers.errors import BadInput

# Reported for the dilated_193k answer: mean, std and var per channel of the training and the test images.
PUBLISHED = {
    True: [
        (0.49139968, 0.48215827, 0.44653124),
        (0.24703233, 0.24348505, 0.26158768),
        (0.061024975, 0.05928497, 0.06842812),
    ],
    False: [
        (0.49421427, 0.48513183, 0.45040932),
        (0.24665256, 0.24289224, 0.26159248),
        (0.06083748, 0.058996636, 0.06843062),
    ],
}


# --- Real CIFAR-10 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [True, False])
def test_cifar10_has_the_published_statistics(cifar10_root, train):
    images = load_cifar10(cifar10_root, train)
    table = statistics(images.images)
    assert images.images.shape == (50_000 if train else 10_000, 32, 32, 3)
    assert images.source == "cifar10" and images.classes[3] == "cat"
    assert table["min"].eq(0).all() and table["max"].eq(1).all()
    # The published figures are sums of float32, good to 5e-7; ours are exact.
    for column, values in zip(("mean", "std", "var"), PUBLISHED[train], strict=True):
        assert np.allclose(table[column], values, rtol=0, atol=5e-7)


def test_constants_are_the_statistics_of_the_training_images(cifar10_root):
    table = statistics(load_cifar10(cifar10_root).images)
    assert np.allclose(table["mean"], CIFAR10_MEAN, rtol=0, atol=5e-8)
    assert np.allclose(table["std"], CIFAR10_STD, rtol=0, atol=5e-8)


def test_cifar10_reads_what_torchvision_reads(cifar10_root):
    from torchvision.datasets import CIFAR10

    ours, theirs = load_cifar10(cifar10_root, train=False), CIFAR10(cifar10_root, train=False)
    assert np.array_equal(ours.images, theirs.data)
    assert ours.labels.tolist() == theirs.targets and list(ours.classes) == theirs.classes


def test_split_is_45000_and_5000(cifar10_root):
    training_part, holdout = train_val_split(load_cifar10(cifar10_root))
    assert np.bincount(training_part.labels).tolist() == [4500] * 10
    assert np.bincount(holdout.labels).tolist() == [500] * 10


def test_root_may_name_the_inner_folder(cifar10_root):
    assert len(load_cifar10(Path(cifar10_root) / "cifar-10-batches-py", train=False)) == 10_000


def link(root, folder):
    """Give a folder the batch files by links, since a copy of 180 MB takes long."""
    inner = "cifar-10-batches-py"
    shutil.copytree(Path(root).resolve() / inner, Path(folder) / inner, copy_function=os.symlink)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_file_is_named(cifar10_root, tmp_path, name):
    link(cifar10_root, tmp_path)
    path = tmp_path / "cifar-10-batches-py" / name
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:-10])
    with pytest.raises(BadInput, match=f"{name} is damaged"):
        load_cifar10(tmp_path)
    path.unlink()
    with pytest.raises(BadInput, match=f"{name} is missing"):
        load_cifar10(tmp_path, train=False)


# --- Where the images come from -----------------------------------------------------------------------------------


@pytest.fixture
def no_data_at_hand(monkeypatch, tmp_path):
    monkeypatch.delenv("CIFAR10_ROOT", raising=False)
    monkeypatch.setattr(data, "_data_folder", lambda: tmp_path / "data")


@pytest.fixture
def offline(no_data_at_hand, monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")  # the discard port: nobody answers


def test_auto_falls_back_to_the_stand_in_offline_and_says_so_first(offline, capsys):
    assert load_cifar10("auto", train=False).source == "synthetic"
    assert capsys.readouterr().out.splitlines()[0].startswith("NO CIFAR-10")


def test_cifar10_never_falls_back(offline):
    with pytest.raises(BadInput, match="cannot be downloaded"):
        load_cifar10("cifar10")


@pytest.fixture
def online(no_data_at_hand, monkeypatch, tmp_path):
    """An internet in which the address can be reached: a file's."""
    from torchvision.datasets import CIFAR10

    (tmp_path / "cifar.tar.gz").write_bytes(b"")
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "cifar.tar.gz").as_uri())


def test_auto_downloads_to_the_data_folder_when_online(online, cifar10_root, monkeypatch, tmp_path):
    from torchvision.datasets import CIFAR10

    def copy(self):
        link(cifar10_root, self.root)

    monkeypatch.setattr(CIFAR10, "download", copy)
    assert load_cifar10("auto", train=False).source == "cifar10"
    assert (tmp_path / "data" / "cifar-10-batches-py").is_dir()


@pytest.mark.parametrize(
    "failure", [ConnectionResetError("reset"), TimeoutError("timed out"), RuntimeError("corrupted")]
)
def test_download_that_breaks_off_is_one_sentence_and_no_stand_in(online, monkeypatch, failure):
    from torchvision.datasets import CIFAR10

    def broken(self):
        assert socket.getdefaulttimeout() == batch_files.STALL_TIMEOUT
        raise failure

    monkeypatch.setattr(CIFAR10, "download", broken)
    with pytest.raises(BadInput, match="could not be downloaded"):
        load_cifar10("auto")
    assert socket.getdefaulttimeout() is None


def test_a_path_means_that_folder_and_nothing_else(tmp_path):
    with pytest.raises(BadInput, match="holds no folder cifar-10-batches-py"):
        load_cifar10(tmp_path)


def test_a_wrong_environment_variable_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match=r"\$CIFAR10_ROOT"):
        load_cifar10("auto")


# --- The stand-in -------------------------------------------------------------------------------------------------


def test_stand_in_is_deterministic_balanced_and_labelled(stand_in):
    again = load_cifar10("synthetic")
    assert np.array_equal(stand_in.images, again.images) and np.array_equal(stand_in.labels, again.labels)
    assert stand_in.images.dtype == np.uint8 and stand_in.labels.dtype == np.int64
    assert np.bincount(stand_in.labels).tolist() == [1000] * 10
    assert "SYNTHETIC" in stand_in.describe() and "synthetic" in stand_in.title("A figure")
    assert not np.array_equal(load_cifar10("synthetic", train=False).images[:10], stand_in.images[:10])


# --- Splits, samples, statistics ----------------------------------------------------------------------------------


def test_split_is_stratified_disjoint_and_fixed_by_its_seed(stand_in):
    training_part, holdout = train_val_split(stand_in)
    known = {image.tobytes() for image in training_part.images}
    assert len(training_part) + len(holdout) == len(stand_in)
    assert not any(image.tobytes() in known for image in holdout.images)
    assert np.bincount(holdout.labels).tolist() == [100] * 10
    assert np.array_equal(holdout.images, train_val_split(stand_in)[1].images)
    assert not np.array_equal(holdout.images, train_val_split(stand_in, seed=1)[1].images)


def test_take_draws_every_class_evenly(stand_in):
    assert np.bincount(take(stand_in, 50).labels).tolist() == [5] * 10
    assert take(stand_in, None) is stand_in


@pytest.mark.parametrize("count", [0, -10, 55, 20_000])
def test_take_refuses_what_it_cannot_draw_evenly(stand_in, count):
    with pytest.raises(BadInput, match="multiple of 10"):
        take(stand_in, count)


@pytest.mark.parametrize("holdout", [0, 1, -0.5])
def test_split_refuses_an_impossible_share(stand_in, holdout):
    with pytest.raises(BadInput, match="between 0 and 1"):
        train_val_split(stand_in, holdout)


def test_statistics_are_numpys_in_double_precision(stand_in):
    values, table = stand_in.images[:500] / 255, statistics(stand_in.images[:500])
    for column in ("min", "max", "mean", "std", "var"):
        assert np.allclose(table[column], getattr(values, column)(axis=(0, 1, 2)), rtol=1e-11, atol=0)


def test_statistics_refuse_floats():
    with pytest.raises(BadInput, match="uint8"):
        statistics(np.zeros((2, 4, 4, 3), np.float32))


@pytest.mark.parametrize("root", ["", "~nobody-of-this-name/data"])
def test_a_data_folder_has_a_name(root):
    with pytest.raises(BadInput, match="The data folder is"):
        load_cifar10(root)

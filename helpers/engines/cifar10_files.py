"""CIFAR-10's files: found, downloaded, and read with every one checked."""

import socket
import urllib.request
from pathlib import Path

import numpy as np

from helpers.errors import BadInput

CONNECT_TIMEOUT = 5  # seconds: an offline laptop must fall back at once, not after minutes
STALL_TIMEOUT = 60  # seconds without a byte after which a download has failed


def dataset():
    from torchvision.datasets import CIFAR10  # here, since importing torchvision takes seconds

    return CIFAR10


def data_folder() -> Path:
    """Return `data/` at the root of a checkout, or beside the notebook where the helpers are installed alone."""
    checkout = Path(__file__).parents[2]
    return checkout / "data" if (checkout / "pyproject.toml").is_file() else Path("data")


def download(folder: Path) -> str | None:
    """Download CIFAR-10 to the folder unless it is there; return why its server cannot be reached within seconds."""
    if (folder / dataset().base_folder).is_dir():
        return None
    request = urllib.request.Request(dataset().url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT).close()
    except OSError as error:  # URLError is one, and holds the reason
        return str(getattr(error, "reason", error))
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_TIMEOUT)  # torchvision sets none and would wait forever
    try:
        dataset()(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"CIFAR-10 could not be downloaded to {folder} ({error}): run it again, or set CIFAR10_ROOT to a copy."
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return None


def existing(folder: Path, name: str) -> Path:
    """Return the folder that holds the files; raises BadInput, which calls it by `name`, if it holds none."""
    folder = folder.parent if folder.name == dataset().base_folder else folder
    if not (folder / dataset().base_folder).is_dir():
        raise BadInput(
            f"{name} {str(folder)!r} holds no folder {dataset().base_folder}; "
            "give the folder that contains it, or choose the data 'auto' or 'synthetic'."
        )
    return folder


def read(folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return images, labels and class names, read by torchvision, which checks each file but does not name one."""
    from torchvision.datasets.utils import check_integrity

    kind = dataset()
    try:
        read = kind(folder, train)
    except RuntimeError:
        files = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
        paths = {folder / kind.base_folder / name: md5 for name, md5 in files}
        damaged = next(path for path, md5 in paths.items() if not check_integrity(path, md5))
        what = "is damaged" if damaged.exists() else "is missing"
        raise BadInput(f"{damaged} {what}: delete {damaged.parent} and download or copy CIFAR-10 again.") from None
    labels = np.array(read.targets, np.int64)
    return np.ascontiguousarray(read.data), labels, tuple(read.classes)

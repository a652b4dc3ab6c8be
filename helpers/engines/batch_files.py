"""CIFAR-10's batch files on a disk: found, fetched where the internet is at hand, checked, read."""

import socket
import urllib.request
from pathlib import Path

import numpy as np

from helpers.errors import BadInput

CONNECT_TIMEOUT = 5  # seconds: an offline laptop must fall back at once, not after minutes
STALL_TIMEOUT = 60  # seconds without a byte after which a download has failed
FOLDER = "cifar-10-batches-py"


def fetch(folder: Path) -> str | None:
    """Download CIFAR-10 unless the folder holds it; return why its server cannot be reached, or None when it is there.

    Raises BadInput for a download that breaks off.
    """
    from torchvision.datasets import CIFAR10  # here, since importing torchvision takes seconds

    if (folder / FOLDER).is_dir():
        return None
    request = urllib.request.Request(CIFAR10.url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT).close()
    except OSError as error:  # URLError is one, and holds the reason
        return str(getattr(error, "reason", error))
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_TIMEOUT)  # torchvision sets none and would wait forever
    try:
        CIFAR10(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"CIFAR-10 could not be downloaded to {folder} ({error}): run it again, or set CIFAR10_ROOT to a copy."
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return None


def existing(folder: Path, name: str) -> Path:
    """Return the folder that holds the folder of batch files; raises BadInput that calls it `name` if there is none."""
    folder = folder.parent if folder.name == FOLDER else folder
    if not (folder / FOLDER).is_dir():
        raise BadInput(
            f"{name} {str(folder)!r} holds no folder {FOLDER}; "
            "give the folder that contains it, or choose the data 'auto' or 'synthetic'."
        )
    return folder


def read(folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return images, uint8 (N, 32, 32, 3), labels, int64 (N,), and the classes' names.

    torchvision reads them and checks every file; BadInput names the damaged one, which it does not.
    """
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    try:
        found = CIFAR10(folder, train)
    except RuntimeError:
        files = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
        paths = {folder / FOLDER / name: md5 for name, md5 in files}
        damaged = next(path for path, md5 in paths.items() if not check_integrity(path, md5))
        what = "is damaged" if damaged.exists() else "is missing"
        raise BadInput(f"{damaged} {what}: delete {damaged.parent} and download or copy CIFAR-10 again.") from None
    return np.ascontiguousarray(found.data), np.array(found.targets, np.int64), tuple(found.classes)

"""The machine under the workbook: its device, its versions, and the line that names both."""

import platform
from importlib.metadata import version

import torch

from helpers.engines import ranks
from helpers.engines.origin import commit as commit
from helpers.engines.origin import machine as machine
from helpers.engines.run_directory import check_folder as check_folder
from helpers.errors import BadInput

PACKAGES = ("torch", "torchvision", "albumentations", "numpy")


def pick_device(device: str = "auto") -> torch.device:
    """Return the device of this name; "auto" takes an accelerator where there is one. Raises BadInput if absent."""
    kinds = ["cpu"]
    if torch.accelerator.is_available():
        kinds.append(torch.accelerator.current_accelerator().type)
    if device == "auto":
        return torch.device(kinds[-1])
    if str(device).split(":")[0] not in kinds:
        raise BadInput(f"The device {device!r} is not on this machine; it has {', '.join(kinds)}.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a number that is not there, or no number
        raise BadInput(f"The device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return torch.device(device)


def versions() -> dict[str, str]:
    """Return the versions that decide a run's numbers, Python's first."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def session(device: torch.device, precision: torch.dtype | None = None) -> dict:
    """Return what can change a run's last digits: code, machine, device, precision, processes, threads, versions."""
    where = {"commit": commit(), "machine": machine(), "device": str(device)}
    where["precision"] = str(precision or torch.float32).removeprefix("torch.")
    return where | {"processes": ranks.count(), "threads": torch.get_num_threads(), "versions": versions()}


def banner(data: str, seed: int, device: str = "auto") -> str:
    """Return the line that opens every notebook: the data's source, seed, device and versions."""
    numbers = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"{data} · seed {seed} · {pick_device(device)} · {numbers}"

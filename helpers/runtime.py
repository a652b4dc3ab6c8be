"""The machine under the workbook: its device, its versions, and the line that names both."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from helpers.engines import ranks
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


def machine() -> str:
    """Return the processor and, where there is one, the GPU, in words."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()}-core {_processor()}{gpu}"


def commit() -> str | None:
    """Return the helpers' commit, with "+changes" when files differ from it; None outside a checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", folder, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def session(device: torch.device, precision: torch.dtype | None = None) -> dict:
    """Return what can change a run's last digits: code, machine, device, precision, processes, threads, versions."""
    where = {"commit": commit(), "machine": machine(), "device": str(device)}
    where["precision"] = str(precision or torch.float32).removeprefix("torch.")
    return where | {"processes": ranks.count(), "threads": torch.get_num_threads(), "versions": versions()}


def banner(data: str, seed: int, device: str = "auto") -> str:
    """Return the line that opens every notebook: the data's source, seed, device and versions."""
    numbers = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"{data} · seed {seed} · {pick_device(device)} · {numbers}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

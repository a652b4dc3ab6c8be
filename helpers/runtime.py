"""The machine under the workbook: its device, its memory allocator, and the line that names both."""

import ctypes
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

from helpers.errors import BadInput

PACKAGES = ("torch", "torchvision", "albumentations", "numpy")


def pick_device(device: str = "auto") -> torch.device:
    """Return the device of this name; "auto" takes CUDA, then Apple's MPS, then the CPU. Raises BadInput if absent."""
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if found[name]))
    kind = str(device).split(":")[0]
    if not found.get(kind):
        raise BadInput(
            f"The device {device!r} is not on this machine; it has {', '.join(d for d in found if found[d])}."
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a number that is not there, or no number
        raise BadInput(f"The device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return torch.device(device)


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks instead of returning them to the kernel after each step.

    A training step frees and takes the same gigabyte again, and every page comes back through a page fault.
    Environment variables would come too late in a running kernel. Other C libraries have no such call.
    """
    if platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_mmap_threshold = -1, -3  # names and numbers from glibc's malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_mmap_threshold, 2**30) or libc.mallopt(m_mmap_threshold, 2**25)  # the most before glibc 2.35


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """Return the half precision in which this device multiplies faster: bfloat16, else float16; None for none."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def peak_memory(device: torch.device) -> int | None:
    """Return the most memory held so far, in MB: by torch on a GPU, else by this process; None where none can tell."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6)
    if resource is None:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024  # bytes there, kibibytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


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
        return subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


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

"""What makes a step faster on the same machine: memory that is kept, and half precision."""

import ctypes
import platform

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None


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

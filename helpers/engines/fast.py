"""What makes a step faster on the same machine: memory that is kept, and half precision."""

import copy
import ctypes
import platform
from timeit import repeat

import torch
from torch import nn

from helpers.errors import BadInput, nearest

try:
    import resource
except ImportError:  # Windows
    resource = None

PRECISIONS = ("auto", "float32", "bfloat16")


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


def half_precision(wanted: str, device: torch.device, model: nn.Module, shape: tuple[int, ...]) -> torch.dtype | None:
    """Return the half precision to train the model in, on batches of this shape; None for float32.

    "auto" is bfloat16, else float16, on a GPU; on a CPU it is bfloat16 if that has units which multiply in it (AMX) and
    the model is then faster. Raises BadInput for a precision that is unknown or that the device has not.
    """
    if wanted not in PRECISIONS:
        raise BadInput(f"There is no precision {wanted!r}. {nearest(wanted, PRECISIONS)}")
    gpu = device.type == "cuda"
    supported = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else device.type == "cpu"
    if wanted == "bfloat16" and not supported:
        raise BadInput(f"The device {str(device)!r} does not compute in bfloat16: choose auto or float32.")
    if wanted == "auto" and gpu:
        return torch.bfloat16 if supported else torch.float16
    taken = wanted == "auto" and multiplies_in_half(device) and is_faster(torch.bfloat16, model, shape)
    return torch.bfloat16 if wanted == "bfloat16" or taken else None


def multiplies_in_half(device: torch.device) -> bool:
    """Return whether the device has units that multiply matrices in half precision; torch before 2.13 cannot tell."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cuda" or (device.type == "cpu" and capabilities.get("amx_bf16", False))


def is_faster(precision: torch.dtype, model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Try whether the model takes less than four fifths of the time in this precision, forward and backward.

    A layer for which the library has no kernel in half precision can make all of it several times slower.
    """
    images = torch.zeros(shape).contiguous(memory_format=torch.channels_last)
    model = copy.deepcopy(model).train()

    def seconds(half: bool) -> float:
        with torch.autocast("cpu", precision, enabled=half):
            return min(repeat(lambda: model(images).float().sum().backward(), number=1, repeat=3))

    with torch.random.fork_rng():
        return seconds(True) < 0.8 * seconds(False)


def peak_memory(device: torch.device) -> int | None:
    """Return the most memory held so far, in MB: by torch on a GPU, else by this process; None where none can tell."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6)
    if resource is None:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024  # bytes there, kibibytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)

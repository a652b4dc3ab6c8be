"""What makes a step faster on the same machine: memory that is kept, half precision, two layers computed anew."""

import ctypes
import platform

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


class Dropout(nn.Dropout):
    """Elementwise dropout with the masks of a faster generator on a CPU; the same distribution, in any shape.

    torch draws one number after another there, which costs more than the convolution before it. Here each element
    gets 16 random bits, so that `p` is met to within 1/65,536. The masks follow from torch's generator, so a seed
    decides them. Source: Srivastava et al., Dropout (2014), section 4; scaled in training, as in torch.
    """

    def forward(self, features: Tensor) -> Tensor:
        dense = features.is_contiguous() or features.is_contiguous(memory_format=torch.channels_last)
        if not self.training or not self.p or features.device.type != "cpu" or not dense:
            return super().forward(features)
        generator = np.random.Generator(np.random.SFC64(torch.randint(2**62, ()).item()))
        words = generator.integers(2**64, size=-(-features.numel() // 4), dtype=np.uint64)
        keep = words.view(np.int16) >= round(self.p * 65536) - 32768  # faster than in torch
        scale = torch.from_numpy(keep * np.float32(1 / (1 - self.p))).to(features.dtype)
        return features * scale.as_strided(features.shape, features.stride())


class PhaseGridConv2d(nn.Conv2d):
    """A dilated 3x3 convolution, computed in training as ordinary ones on the grids of every d-th row and column.

    (N, channels_in, H, W) to (N, channels, H, W), the same function: stride 1, padding d, H and W multiples of d.
    CPU libraries have fast gradients for ordinary convolutions only. In evaluation it is the one convolution that
    tools which follow a network's operations understand.
    Source: Chen et al., DeepLab (2018), section 3.1, the second of its two ways.
    """

    def __init__(self, channels_in: int, channels: int, *, dilation: int, groups: int = 1, bias: bool = True):
        super().__init__(channels_in, channels, 3, padding=dilation, dilation=dilation, groups=groups, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return super().forward(features)
        d, (n, c, h, w) = self.dilation[0], features.shape
        grids = features.permute(0, 2, 3, 1).reshape(n, h // d, d, w // d, d, c).permute(0, 2, 4, 1, 3, 5)
        grids = grids.reshape(n * d * d, h // d, w // d, c).permute(0, 3, 1, 2)
        grids = F.conv2d(grids, self.weight, self.bias, padding=1, groups=self.groups)
        grids = grids.permute(0, 2, 3, 1).reshape(n, d, d, h // d, w // d, -1).permute(0, 3, 1, 4, 2, 5)
        return grids.reshape(n, h, w, -1).permute(0, 3, 1, 2)

"""The building blocks that several networks share, from small to large, each taught once.

Blocks are `nn.Sequential`s: torchsummary then lists their layers and not the blocks themselves.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        scale = torch.from_numpy(keep * np.float32(1 / (1 - self.p))).as_strided(features.shape, features.stride())
        return (features * scale).to(features.dtype)  # rounded once: in half precision the scale itself would be off


class PhaseGridConv2d(nn.Conv2d):
    """A dilated 3x3 convolution, computed in training as ordinary ones on the grids of every d-th row and column.

    (N, channels_in, H, W) to (N, channels, H, W), the same function: stride 1, padding d.
    CPU libraries have fast gradients for ordinary convolutions only. In evaluation it is the one convolution that
    tools which follow a network's operations understand.
    Source: Chen et al., DeepLab (2018), section 3.1, the second of its two ways.
    """

    def __init__(self, channels_in: int, channels: int, *, dilation: int, groups: int = 1, bias: bool = True):
        super().__init__(channels_in, channels, 3, padding=dilation, dilation=dilation, groups=groups, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        d, (n, c, h, w) = self.dilation[0], features.shape
        if not self.training or h % d or w % d:  # a map that the grids do not fill
            return super().forward(features)
        grids = features.permute(0, 2, 3, 1).reshape(n, h // d, d, w // d, d, c).permute(0, 2, 4, 1, 3, 5)
        grids = grids.reshape(n * d * d, h // d, w // d, c).permute(0, 3, 1, 2)
        grids = F.conv2d(grids, self.weight, self.bias, padding=1, groups=self.groups)
        grids = grids.permute(0, 2, 3, 1).reshape(n, d, d, h // d, w // d, -1).permute(0, 3, 1, 4, 2, 5)
        return grids.reshape(n, h, w, -1).permute(0, 3, 1, 2)


class ConvBlock(nn.Sequential):
    """A convolution without bias (the norm has one), then ReLU, batch normalisation and dropout.

    (N, channels_in, H, W) to (N, channels, H/stride, W/stride), since the padding equals the dilation.
    """

    def __init__(self, channels_in: int, channels: int, stride: int = 1, dilation: int = 1, dropout: float = 0.0):
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, stride, padding=dilation, dilation=dilation, bias=False),
            *after_convolution(channels, dropout),
        )


class SeparableBlock(nn.Sequential):
    """A depthwise-separable convolution: 3x3 within each channel, then 1x1 across channels.

    (N, channels_in, H, W) to (N, channels, H, W), for 9·in + in·out weights instead of 9·in·out.
    Source: Howard et al., MobileNets (2017), section 3.1.
    """

    def __init__(self, channels_in: int, channels: int, dropout: float = 0.0):
        super().__init__(
            nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
            nn.Conv2d(channels_in, channels, 1, bias=False),
            *after_convolution(channels, dropout),
        )


def after_convolution(channels: int, dropout: float) -> list[nn.Module]:
    """Return what follows every convolution of these networks: ReLU, batch normalisation, dropout."""
    return [nn.ReLU(), nn.BatchNorm2d(channels), Dropout(dropout)]


def conv_layer(
    channels_in: int, channels: int, *, stride: int = 1, dilation: int = 1, separable: bool = False, norm: bool = True,
    phase_grid: bool = False,
) -> list[nn.Module]:  # fmt: skip
    """Return a 3x3 convolution, plain or depthwise-separable, then batch normalisation, unless without, and ReLU.

    With `phase_grid` a plain dilated one is computed on grids.
    """
    window = {"stride": stride, "padding": dilation, "dilation": dilation}
    if phase_grid:
        convolution = [PhaseGridConv2d(channels_in, channels, dilation=dilation, bias=not norm)]
    elif separable:
        depthwise = nn.Conv2d(channels_in, channels_in, 3, groups=channels_in, bias=False, **window)
        convolution = [depthwise, nn.Conv2d(channels_in, channels, 1, bias=not norm)]
    else:
        convolution = [nn.Conv2d(channels_in, channels, 3, bias=not norm, **window)]
    return [*convolution, *([nn.BatchNorm2d(channels)] if norm else []), nn.ReLU()]


class Residual(nn.Sequential):
    """Adds its input to what its layers make of it: (N, C, H, W) to the same.

    Source: He et al., Deep Residual Learning (2016), section 3.1.
    """

    def forward(self, features: Tensor) -> Tensor:
        return features + super().forward(features)


class InvertedResidual(Residual):
    """Expand to more channels (1x1), convolve each by itself (3x3), project back (1x1) without activation, and add.

    (N, C, H, W) to the same. The projection is linear, since a ReLU on few channels would lose information.
    Source: Sandler et al., MobileNetV2 (2018), section 3.3.
    """

    def __init__(self, channels: int, expansion: int):
        wide = channels * expansion
        super().__init__(
            *(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)),
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions added to their input, which a 1x1 convolution brings to their shape where that changes.

    (N, channels_in, H, W) to (N, channels, H/stride, W/stride).
    Source: He et al., Deep Residual Learning (2016), section 3.3, option B.
    """

    def __init__(self, channels_in: int, channels: int, stride: int = 1):
        super().__init__()
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)),
        )
        projection = [nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)]
        self.shortcut = nn.Sequential(*(projection if stride != 1 or channels_in != channels else []))
        self.activation = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.convolutions(features) + self.shortcut(features))

"""The building blocks that several networks share, from small to large, each taught once.

Blocks are `nn.Sequential`s: torchsummary then lists their layers and not the blocks themselves.
"""

from torch import Tensor, nn

from helpers.engines.fast import Dropout, PhaseGridConv2d


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

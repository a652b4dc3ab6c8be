"""The building blocks that several networks share, from small to large, each taught once.

Blocks are `nn.Sequential`s: torchsummary then lists their layers and not the blocks themselves.
"""

from torch import nn


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
    return [nn.ReLU(), nn.BatchNorm2d(channels), nn.Dropout(dropout)]

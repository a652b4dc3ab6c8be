"""Plain, dilated, strided and depthwise convolutions with 1x1 transitions that pad: 134,722 parameters."""

from torch import Tensor, nn

from helpers.models.blocks import after_convolution


class Compact135k(nn.Module):
    """A network whose published table gives every layer: (N, 3, 32, 32) float to (N, 10) logits.

    The table prints neither padding nor dilation. With padding 1 everywhere its shapes follow, and only one layer
    can be the dilated one that its authors name: the third convolution, which makes 30x30 of 32x32.
    """

    def __init__(self, dropout: float = 0.02):
        super().__init__()

        def conv(channels_in: int, channels: int, kernel: int = 3, **options) -> nn.Conv2d:
            return nn.Conv2d(channels_in, channels, kernel, bias=False, padding=1, **options)

        self.features = nn.Sequential(
            *(conv(3, 10), *after_convolution(10, dropout)),
            *(conv(10, 24), *after_convolution(24, dropout)),
            *(conv(24, 32, dilation=2), conv(32, 64), *after_convolution(64, dropout)),
            *(conv(64, 32, 1), *after_convolution(32, dropout)),  # the padding makes 32x32 of 30x30
            *(conv(32, 32, 2, stride=2), conv(32, 64), *after_convolution(64, dropout)),
            *(conv(64, 96), *after_convolution(96, dropout)),
            *(conv(96, 64, 2, stride=2), conv(64, 64, groups=64), *after_convolution(64, dropout)),
            *(conv(64, 16, 1), *after_convolution(16, dropout)),  # and 11x11 of 9x9
        )
        self.head = nn.Sequential(nn.AvgPool2d(11), nn.Conv2d(16, 10, 1, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images)).flatten(1)

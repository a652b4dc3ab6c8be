"""Blueprint-separable residual units, deep and thin: 193,626 parameters."""

from torch import Tensor, nn

from helpers.models.blocks import PhaseGridConv2d, Residual


class Best200k(nn.Module):
    """The workbook's own network for the highest accuracy: (N, 3, 32, 32) float to (N, 10) logits.

    A 1x1 convolution and then a depthwise 3x3 one have an eighth of a dense one's parameters, which leaves room for
    depth: sixteen of them, in pairs, each pair added to its input. Norm and ReLU come first, so that the sums between
    the pairs stay untouched. Sources: Haase and Amthor, Rethinking Depthwise Separable Convolutions (2020), section 3,
    for the order; He et al., Identity Mappings in Deep Residual Networks (2016), section 4.
    """

    def __init__(self, widths: tuple[int, int, int] = (24, 64, 128), pairs: tuple[int, int] = (4, 4)):
        super().__init__()
        stem, narrow, wide = widths
        self.features = nn.Sequential(
            nn.Conv2d(3, stem, 3, padding=1, bias=False),
            *down(stem, narrow),
            *(pair(narrow) for _ in range(pairs[0])),
            *down(narrow, wide),
            *(pair(wide) for _ in range(pairs[1] - 1)),
            pair(wide, dilation=2),
            *(nn.BatchNorm2d(wide), nn.ReLU()),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, 10, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images)).flatten(1)


def down(channels_in: int, channels: int) -> list[nn.Module]:
    """Return what halves a map: norm, ReLU, depthwise 3x3 of stride 2, 1x1 to the new width."""
    mixing = nn.Conv2d(channels_in, channels, 1, bias=False)
    return [nn.BatchNorm2d(channels_in), nn.ReLU(), depthwise(channels_in, stride=2), mixing]


def pair(channels: int, dilation: int = 1) -> Residual:
    """Return two units of norm, ReLU, 1x1 and depthwise 3x3, added to their input; the second may be dilated."""
    second = (
        depthwise(channels)
        if dilation == 1
        else PhaseGridConv2d(channels, channels, dilation=dilation, groups=channels, bias=False)
    )
    return Residual(*unit(channels, depthwise(channels)), *unit(channels, second))


def unit(channels: int, depthwise: nn.Conv2d) -> list[nn.Module]:
    """Return norm, ReLU and a 1x1 convolution before the depthwise one."""
    return [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False), depthwise]


def depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution within each channel."""
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)

"""Inverted residuals between strided convolutions, in four blocks C1 to C4 and a head."""

from torch import Tensor, nn

from helpers.models.blocks import ConvBlock, Dropout, InvertedResidual, SeparableBlock

WIDTHS = (24, 32, 48, 64)  # channels of C1 to C4, on maps of 32, 16, 8 and 4 pixels


class MobileNetC40(nn.Module):
    """A network in the manner of MobileNetV2: (N, 3, 32, 32) float to (N, 10) logits, fewer than 200,000 parameters.

    Published are its parts: C1-C2-C3-C40, three 3x3 convolutions of stride 2 in place of pooling, expand, depthwise
    and pointwise convolutions with residual connections, one depthwise-separable and one dilated layer, and global
    average pooling. Widths, depths and where each part stands were not, and are chosen here.
    """

    def __init__(self, expansion: int = 3, dilation: int = 2, dropout: float = 0.0):
        super().__init__()
        c1, c2, c3, c4 = WIDTHS
        self.features = nn.Sequential(
            ConvBlock(3, c1),
            InvertedResidual(c1, 2),  # C1; expanding by less where a map has 1,024 places
            ConvBlock(c1, c2, stride=2),
            InvertedResidual(c2, expansion),  # C2
            InvertedResidual(c2, expansion),
            ConvBlock(c2, c3, stride=2),
            InvertedResidual(c3, expansion),  # C3
            ConvBlock(c3, c3, dilation=dilation),
            InvertedResidual(c3, expansion),
            ConvBlock(c3, c4, stride=2),
            SeparableBlock(c4, 96),  # C4
            InvertedResidual(96, expansion),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), Dropout(dropout), nn.Conv2d(96, 10, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images)).flatten(1)

"""Four blocks of depthwise-separable, plain, dilated and strided convolutions: 193,535 parameters."""

from torch import Tensor, nn

from helpers.models.blocks import ConvBlock, SeparableBlock

WIDTHS = (32, 40, 44, 48)  # channels of the four blocks, on maps of 32, 16, 8 and 4 pixels


class Dilated193k(nn.Module):
    """An all-convolutional network: (N, 3, 32, 32) float to (N, 10) logits, no pooling before the global one.

    Its published table gives layers, shapes and counts but neither says which convolutions are dilated nor the
    dropout rate: here the third of each block is dilated by 2, and dropout is 0.05.
    """

    def __init__(self, dilation: int = 2, dropout: float = 0.05):
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [
                SeparableBlock(channels_in, channels, dropout=dropout),
                ConvBlock(channels, channels, dropout=dropout),
                ConvBlock(channels, channels, dilation=dilation, dropout=dropout),
                ConvBlock(channels, channels, stride=1 if channels == WIDTHS[-1] else 2, dropout=dropout),
            ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(WIDTHS[-1]), nn.Conv2d(WIDTHS[-1], 10, 1, bias=False)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images)).flatten(1)

"""A residual network of 14 layers for 32x32 images."""

from torch import Tensor, nn

from helpers.models.blocks import BasicBlock, Dropout

WIDTHS = (16, 32, 64)  # channels of the three stages, on maps of 32, 16 and 8 pixels


class MiniResNet(nn.Module):
    """The residual network that He et al. made for CIFAR-10, with two blocks a stage: (N, 3, 32, 32) to (N, 10) logits.

    Its authors published only that they followed ResNet. It has neither a dilated nor a depthwise-separable layer.
    Source: He et al., Deep Residual Learning (2016), section 4.2, with n = 2 and projection shortcuts (option B).
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        stem = [nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
        blocks = [
            block
            for channels_in, channels in zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True)
            for block in (BasicBlock(channels_in, channels, channels // channels_in), BasicBlock(channels, channels))
        ]
        self.features = nn.Sequential(*stem, *blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Dropout(dropout), nn.Linear(WIDTHS[-1], 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

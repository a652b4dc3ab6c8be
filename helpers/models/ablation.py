"""The common base of the architecture experiments: every ingredient of the challenge is a switch."""

import torch
from torch import Tensor, nn

from helpers.models.blocks import Dropout, Residual, conv_layer

POOLING = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class AblationNet(nn.Module):
    """A small residual network that leaves 32x32 at once: (N, 3, 32, 32) float to (N, 10) logits.

    The defaults are the base; each argument changes one thing. `dilation` is that of the first residual pair; `view`
    cuts an image into squares of so many pixels, which the network sees one by one, and averages their logits;
    `separable=False` makes the last two convolutions plain; `shrink` is "stride", or "max" or "average", which pool 2x2
    after the convolution instead; `gap=False` flattens the last map, 4x4, into the fully connected classifier;
    `norm=False` leaves batch normalisation out; `residual=False` the additions; `dropout` follows every activation,
    on single elements, or on whole channels with `channel_dropout=True`.
    """

    def __init__(
        self, dilation: int = 2, view: int = 32, separable: bool = True, shrink: str = "stride", gap: bool = True,
        norm: bool = True, residual: bool = True, dropout: float = 0.0, channel_dropout: bool = False,
    ):  # fmt: skip
        super().__init__()
        drop = nn.Dropout2d if channel_dropout else Dropout

        def layer(channels_in: int, channels: int, smaller: bool = False, **options) -> list[nn.Module]:
            pooling = [POOLING[shrink](2)] if smaller and shrink in POOLING else []
            stride = 2 if smaller and not pooling else 1
            return [*conv_layer(channels_in, channels, stride=stride, norm=norm, **options), drop(dropout), *pooling]

        join = Residual if residual else nn.Sequential
        self.features = nn.Sequential(
            *layer(3, 24),
            *layer(24, 40, smaller=True),
            join(*layer(40, 40, dilation=dilation), *layer(40, 40, dilation=dilation)),
            *layer(40, 64, smaller=True),
            join(*layer(64, 64), *layer(64, 64)),
            *layer(64, 128, smaller=True, separable=separable),
            join(*layer(128, 128, separable=separable)),
        )
        pooling = [nn.AdaptiveAvgPool2d(1)] if gap else []
        self.head = nn.Sequential(*pooling, nn.Flatten(), nn.Linear(128 if gap else 128 * 4 * 4, 10))
        self.view = view

    def forward(self, images: Tensor) -> Tensor:
        corners = range(0, images.shape[-1], self.view)
        squares = [images[:, :, y : y + self.view, x : x + self.view] for y in corners for x in corners]
        logits = self.head(self.features(torch.cat(squares)))
        return sum(logits.chunk(len(squares))) / len(squares)

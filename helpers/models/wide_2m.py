"""Four blocks of convolutions and two fully connected layers: ten times the challenge's parameters."""

from torch import Tensor, nn

from helpers.models.blocks import Dropout, conv_layer

WIDTHS = (32, 64, 128, 256)  # channels of C1 to C4, which end on maps of 16, 8, 4 and 4 pixels
HIDDEN = 400  # units of the hidden fully connected layer


class Wide2m(nn.Module):
    """A reconstruction: (N, 3, 32, 32) float to (N, 10) logits, 2,033,050 parameters where 2,034,040 were published.

    Its layer table was not published, only its parts: convolution blocks C1 to C4, batch normalisation, fully connected
    layers, and the count. Each switch takes away one of the ingredients whose effect its authors reported.
    """

    def __init__(self, norm: bool = True, separable: bool = True, dilated: bool = True, dropout: float = 0.0):
        super().__init__()

        c1, c2, c3, c4 = WIDTHS
        dilation = 2 if dilated else 1

        def layer(channels_in: int, channels: int, **options) -> list[nn.Module]:
            return conv_layer(channels_in, channels, norm=norm, **options)

        self.features = nn.Sequential(
            *(*layer(3, c1), *layer(c1, c1, stride=2)),
            *(*layer(c1, c2, dilation=dilation), *layer(c2, c2, stride=2)),
            *(*layer(c2, c3, dilation=dilation), *layer(c3, c3, stride=2)),
            *(*layer(c3, c4, separable=separable), *layer(c4, c4, separable=separable)),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(c4 * 4 * 4, HIDDEN), nn.ReLU(), Dropout(dropout), nn.Linear(HIDDEN, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

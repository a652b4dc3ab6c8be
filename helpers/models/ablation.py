"""The common base of the architecture experiments: every ingredient of the challenge is a switch."""

from torch import Tensor, nn

from helpers.models.blocks import Dropout, Residual, conv_layer


class AblationNet(nn.Module):
    """A small residual network that leaves 32x32 at once: (N, 3, 32, 32) float to (N, 10) logits.

    The defaults are the base; each argument changes one thing. `dilation` is that of the first residual pair;
    `separable=False` makes the last two convolutions plain; `max_pool=True` shrinks maps by 2x2 max-pooling after the
    convolution instead of by its stride; `gap=False` flattens the last map, 4x4, into the fully connected classifier;
    `norm=False` leaves batch normalisation out; `residual=False` the additions; `dropout` follows every activation,
    on single elements, or on whole channels with `channel_dropout=True`. `phase_grid=True` computes the dilated pair on
    grids, which changes the time and not the function.
    """

    def __init__(
        self, dilation: int = 2, separable: bool = True, max_pool: bool = False, gap: bool = True,
        norm: bool = True, residual: bool = True, dropout: float = 0.0, channel_dropout: bool = False,
        phase_grid: bool = False,
    ):  # fmt: skip
        super().__init__()
        drop = nn.Dropout2d if channel_dropout else Dropout

        def layer(channels_in: int, channels: int, shrink: bool = False, **options) -> list[nn.Module]:
            stride = 2 if shrink and not max_pool else 1
            pooling = [nn.MaxPool2d(2)] if shrink and max_pool else []
            return [*conv_layer(channels_in, channels, stride=stride, norm=norm, **options), drop(dropout), *pooling]

        dilated = {"dilation": dilation, "phase_grid": phase_grid}
        join = Residual if residual else nn.Sequential
        self.features = nn.Sequential(
            *layer(3, 24),
            *layer(24, 40, shrink=True),
            join(*layer(40, 40, **dilated), *layer(40, 40, **dilated)),
            *layer(40, 64, shrink=True),
            join(*layer(64, 64), *layer(64, 64)),
            *layer(64, 128, shrink=True, separable=separable),
            join(*layer(128, 128, separable=separable)),
        )
        pooling = [nn.AdaptiveAvgPool2d(1)] if gap else []
        self.head = nn.Sequential(*pooling, nn.Flatten(), nn.Linear(128 if gap else 128 * 4 * 4, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

"""What readers may answer to the exercises of notebook 07."""

from torch import nn


def separable(channels_in, channels):
    depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in)
    return nn.Sequential(depthwise, nn.Conv2d(channels_in, channels, 1))


def steps_network(*dilations, side=32):
    """Return the network of notebook 07's second step with these dilations at 8x8."""
    shrinking = [nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 2, 1)]
    spread = [nn.Conv2d(32, 32, 3, padding=d, dilation=d) for d in dilations]
    layers = [part for layer in [*shrinking, *spread] for part in (layer, nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 8 * 8, 10))


def small_network(dilation=2, pooling=nn.AdaptiveAvgPool2d, width=32):
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), *separable(16, width), nn.ReLU()),
        *(nn.Conv2d(width, 16, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=dilation, dilation=dilation), nn.ReLU()) * 2,
        *(nn.Conv2d(16, width, 3, padding=1), nn.ReLU()),
        *(pooling(1), nn.Flatten(), nn.Linear(width, 10)),
    )


def no_padding(channels_in, channels):
    depthwise = nn.Conv2d(channels_in, channels_in, 3, groups=channels_in)
    return nn.Sequential(depthwise, nn.Conv2d(channels_in, channels, 1))


def mixed_first(channels_in, channels):
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 1), nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    )


def for_eight_only(channels_in, channels):
    return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, channels, 1))


# An answer to an exercise, and words of the hint that it should get.
WRONG = [
    ("07.1", 330, "each pixel"),  # as if the map were pooled
    ("07.1", 32 * 32 * 10 + 10, "each pixel"),  # one channel
    ("07.1", 327_680, "Not every parameter is a weight"),  # without biases
    ("07.2", lambda i, o, k, g: i * o * k**2 // g, "Not every parameter is a weight"),
    ("07.2", lambda i, o, k, g: o * (i // g * k + 1), "two sides"),
    ("07.2", lambda i, o, k, g: o * (i * k**2 + 1), "groups"),
    ("07.3", 7, "more than one pixel"),  # strides left out
    ("07.3", 15, "Whose view"),  # each stride counted for its own layer
    ("07.5", no_padding, "side should stay"),
    ("07.5", lambda i, o: nn.Conv2d(i, o, 3, padding=1), "each channel by itself"),
    ("07.5", mixed_first, "each channel by itself"),
    ("07.5", lambda i, o: nn.Conv2d(i, o, 3, padding=1, groups=i), "each channel by itself"),
    ("07.5", for_eight_only, "both arguments"),
    ("07.4", lambda: steps_network(2, 2, 1, 1), "for nothing"),
    ("07.4", lambda: steps_network(2, 2, 2), "most pixels"),
    ("07.6", lambda: small_network(dilation=1), "says what to change"),
    ("07.6", lambda: small_network(pooling=nn.AdaptiveMaxPool2d), "says what to change"),
    ("07.6", lambda: small_network(width=140), "where they are"),
]

# What no hint to a wrong answer may contain: the beginning of the right one.
HIDDEN = {"07.1": "327", "07.2": "448", "07.3": "9"}  # 448: of (3, 16, 3, 1)

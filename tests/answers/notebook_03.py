"""What readers may answer to the exercises of notebook 03."""

import math

from torch import nn

from helpers.models import build


def changed(strided=(), dilated=(), padded=True):
    """Return dilated_193k without the strides of some stages and with doubled dilations in others."""
    model = build("dilated_193k")
    for stage in strided:
        model.features[stage][0].stride = (1, 1)
    for stage in dilated:
        for layer in model.features[stage].modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                layer.dilation = (2 * layer.dilation[0],) * 2
                layer.padding = layer.dilation if padded else layer.padding
    return model


def dilated_by(*dilations):
    channels = [3] + [4] * len(dilations)
    sides = zip(channels, channels[1:], dilations, strict=False)
    return nn.Sequential(*(nn.Conv2d(i, o, 3, padding=d, dilation=d) for i, o, d in sides))


def plain(field):
    return dilated_by(*[1] * ((field - 1) // 2))


# An answer to an exercise, and words of the hint that it should get.
WRONG = [
    ("03.1", 12, "overlap"),
    ("03.1", 81, "overlap"),
    ("03.1", 6, "each of the others"),
    ("03.1", 3, "each of the others"),
    ("03.2", lambda least, kernel: (least - 1) / (kernel - 1), "half of a layer"),
    ("03.2", lambda least, kernel: least // kernel, "each layer adds"),
    ("03.2", lambda least, kernel: (least - 1) // (kernel - 1), "each layer adds"),
    ("03.2", lambda least, kernel: math.ceil((least - 1) / (kernel - 1)), "Equal is not more"),
    ("03.2", lambda least, kernel: (least - 1) // 2 + 1, "both arguments"),
    ("03.3", lambda r, j, k, s, d: r + d * (k - 1) * j, "receptive field first"),
    ("03.3", lambda r, j, k, s, d: (j * s, r + d * (k - 1) * j), "receptive field first"),
    ("03.3", lambda r, j, k, s, d: (r + d * k * j, j * s), "first to the last weight"),
    ("03.3", lambda r, j, k, s, d: (r + (k - 1) * j, j * s), "step from weight to weight"),
    ("03.3", lambda r, j, k, s, d: (r + d * (k - 1), j * s), "stand in the image"),
    ("03.3", lambda r, j, k, s, d: (r + d * (k - 1) * j * s, j * s), "its own layer"),
    ("03.3", lambda r, j, k, s, d: (r + d * (k - 1) * j, j + s - 1 if s == 1 else 2 * j), "not use"),
    ("03.3", lambda r, j, k, s, d: (r + 2 * d * j, j * s), "not use"),
    ("03.4", lambda: build("dilated_193k"), "still halves"),
    ("03.4", lambda: changed(dilated=[12, 13, 14, 15]), "still halves"),
    ("03.4", lambda: build("fast_200k"), "Only strides"),
    ("03.4", lambda: changed([3]), "first two strides"),
    ("03.4", lambda: changed([11], [12, 13, 14, 15], padded=False), "its kernel grows"),
    ("03.4", lambda: changed([11], [13], padded=False), "its kernel grows"),
    ("03.4", lambda: changed([11]), "half as many"),
    ("03.4", lambda: changed([11], [14]), "half as many"),
    ("03.5", 27, "Not all paths"),
    ("03.5", 9, "Not all paths"),
    ("03.5", 3, "come back"),  # of two layers
    ("03.5", 1, "come back"),  # straight on
    ("03.6", plain, "2 pixels each"),
    ("03.6", lambda field: nn.Sequential(nn.Conv2d(3, 4, field)), "2 pixels each"),
    ("03.6", lambda field: dilated_by(1, 2, 4, 8), "adds 2·d"),
    ("03.6", lambda field: dilated_by((field - 1) // 2), "side by side"),
    ("03.6", lambda field: dilated_by(1, 3, (field - 9) // 2), "every odd field"),
    ("03.6", lambda field: dilated_by(1, 3, 9), "every odd field"),
]

# What no hint to a wrong answer may contain: the beginning of the right one.
HIDDEN = {"03.1": "9", "03.2": "23", "03.4": r"features(\.11|\[)", "03.5": "7"}

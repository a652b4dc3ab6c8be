"""What readers may answer to the exercises of notebook 06."""

import numpy as np
import torch
from torch import nn


class Asking(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network


class Once(Asking):
    def forward(self, images):
        return self.network(images)


class MirrorOnly(Asking):
    def forward(self, images):
        return self.network(images.flip(-1))


class Summed(Asking):
    def forward(self, images):
        return self.network(images) + self.network(images.flip(3))


class UpsideDown(Asking):
    def forward(self, images):
        return (self.network(images) + self.network(images.flip(2))) / 2


class Probabilities(Asking):
    def forward(self, images):
        return (self.network(images).softmax(1) + self.network(images.flip(3)).softmax(1)) / 2


def places(logits, labels, first, last):
    ranked = logits.argsort(dim=1, descending=True)[:, first:last]
    return (ranked == torch.as_tensor(labels)[:, None]).any(1).double().mean().item()


def trusting(confidence, is_right, wanted):
    """Believe the confidences."""
    return 100 * (confidence >= wanted / 100).mean()


def one_after_another(confidence, is_right, wanted, sort=True, stop=False):
    """Try the most confident one, two, three, without a look at equals."""
    order = np.argsort(-confidence, kind="stable") if sort else np.arange(len(confidence))
    most = 0.0
    for count in range(1, len(order) + 1):
        if 100 * is_right[order[:count]].mean() >= wanted:
            most = 100 * count / len(order)
        elif stop:
            break
    return most


def at_once(confidence, is_right, wanted):
    """Give no answer at all a mean of nothing."""
    kept = [confidence >= least for least in np.unique(confidence)]
    return max(100 * one.mean() for one in kept if 100 * is_right[one].mean() >= wanted)


# An answer to an exercise, and words of the hint that it should get.
WRONG = [
    ("06.1", 0.0186, "In points"),
    ("06.1", 0.59, "a thousand images"),  # of 10,000
    ("06.1", 0.95, "standard error"),
    ("06.1", 3.1, "every second"),  # at 50 %
    ("06.1", 3.72, "To one side"),
    ("06.1", 5, "To one side"),
    ("06.2", lambda m, c: m[c, c] / m[:, c].sum(), "In %"),
    ("06.2", lambda m, c: 100 * m[c, c] / m[c].sum(), "A row is"),
    ("06.2", lambda m, c: 100 * m[c, c] / m.sum(), "share of which"),
    ("06.2", lambda m, c: 100 * m[c, c] / m[:, c].sum().item(), "the division"),
    ("06.2", lambda m, c: 100 * m[1, 1] / m[:, 1].sum(), "the division"),
    ("06.3", lambda z, y: places(z, y, 0, 2), "In %"),
    ("06.3", lambda z, y: 100 * places(z, y, 0, 1), "counts as well"),
    ("06.3", lambda z, y: 100 * places(z, y, 1, 2), "comes first"),
    ("06.3", lambda z, y: 100 * places(z, y, 0, 3), "first two only"),
    ("06.3", lambda z, y: 100 * places(z, y, 0, 2) * len(y) / 5, "share of how many"),
    ("06.4", 10_000, "the largest"),
    ("06.4", 500, "the largest"),
    ("06.5", Once, "two questions"),
    ("06.5", MirrorOnly, "two questions"),
    ("06.5", Summed, "A mean"),
    ("06.5", UpsideDown, "Which dimension"),
    ("06.5", Probabilities, "Of the logits"),
    ("06.6", trusting, "not accuracy"),
    ("06.6", lambda c, r, w: one_after_another(c, r, w) / 100, "in %"),
    ("06.6", lambda c, r, w: one_after_another(c, r, w, sort=False), "Who comes first"),
    ("06.6", lambda c, r, w: one_after_another(c, r, w, stop=True), "may rise again"),
    ("06.6", one_after_another, "Who decides"),
    ("06.6", at_once, "say nothing"),
]

# What no hint to a wrong answer may contain: the beginning of the right one.
HIDDEN = {"06.1": r"1\.8", "06.2": "62", "06.3": "60", "06.4": "0"}

"""The exercises of notebook 06."""

import operator

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from helpers.engines.answering import Case, attempted, compares, differs, guess, measures

MATRIX = np.array([[8, 2, 0], [1, 5, 4], [0, 1, 9]])
LOGITS = torch.tensor([[5.0, 1, 0, 2], [1, 0, 3, 2], [0, 1, 2, 3], [4, 0, 3, 1], [0, 2, 1, 4]])
LABELS = np.array([0, 3, 0, 3, 1])
IMAGES = torch.linspace(-1, 2, 2 * 3 * 4 * 5).view(2, 3, 4, 5).sin()
FALLING, RIGHT = np.array([0.5, 0.4, 0.3, 0.2]), np.array([True, True, False, True])


def _half_width() -> float:
    found = binomtest(900, 1000).proportion_ci(method="wilson")
    return 50 * (found.high - found.low)


def _precision(matrix: np.ndarray, c: int) -> float:
    return 100 * matrix[c, c] / max(1, matrix[:, c].sum())


def _top_two(logits: Tensor, labels: np.ndarray) -> float:
    return 100 * (logits.topk(2).indices == torch.as_tensor(labels)[:, None]).any(1).double().mean().item()


def _answered(confidence: np.ndarray, is_right: np.ndarray, wanted: float) -> float:
    kept = [confidence >= least for least in np.unique(confidence)]
    return max((100 * one.mean() for one in kept if 100 * is_right[one].mean() >= wanted), default=0.0)


class _Edges(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        parts = images[..., 0], images[:, :, 0], images[:, 0]
        return torch.stack([part.flatten(1).mean(1) for part in parts], dim=1)


def _mixes(model: nn.Module, network: nn.Module, plain: float, mirrored: float) -> bool:
    """Return whether a network gives so much of what another says of images, and so much of their mirror images."""
    wanted = plain * network(IMAGES) + mirrored * network(IMAGES.flip(3))
    return torch.allclose(attempted(model(IMAGES.clone())), wanted, atol=1e-6)


EXERCISES: dict[str, list[Case]] = {
    # how far Wilson's interval of 900 in 1,000 reaches, in points
    "06.1": [
        (guess(lambda given, right: given < 0.4 * right, _half_width, "It is too small."),
         "In points, and of a thousand images.", "Of a class there are a tenth as many images as in the test set."),
        (guess(lambda given, right: given < 0.85 * right, _half_width, "It is too small."),
         "A standard error covers two of three cases.", "For 95 of 100 it takes nearly two of them."),
        (guess(lambda given, right: given > 1.15 * right, _half_width, "It is too large."),
         "To one side; and nine of ten is less uncertain than every second.", "One answer spreads by √(p (1 − p))."),
    ],
    # a function: of the images called a class, how many are of it
    "06.2": [
        (compares(lambda given, right: not differs(100 * given, right), _precision, "It is a share.", MATRIX, 1),
         "In %, please.", "Times 100."),
        (compares(lambda given, right: not differs(given, 50), _precision, "It tells how many were found.", MATRIX, 1),
         "A row is the true class.", "All images that were called a class stand in its column."),
        (compares(differs, _precision, "It is wrong for the second of three classes.", MATRIX, 1),
         "A share of which images?", "Of those in the column, not of all."),
        (compares(differs, _precision, "It is wrong for a class that no image was called.", MATRIX * [0, 1, 1], 0),
         "What becomes of the division?", "A column of zeros: let it give zero."),
    ],
    # a function: how often the label is among the two largest logits
    "06.3": [
        (compares(lambda given, right: not differs(100 * given, right), _top_two, "It is a share.", LOGITS, LABELS),
         "In %, please.", "Times 100."),
        (compares(lambda given, right: not differs(given, 20), _top_two, "It is the accuracy.", LOGITS, LABELS),
         "The second largest logit counts as well.", "logits.topk(2).indices has both."),
        (compares(lambda given, right: not differs(given, 40), _top_two, "It counts the second only.", LOGITS, LABELS),
         "A label that comes first is among the first two.", "First or second: any(1) of the two."),
        (compares(differs, _top_two, "It is wrong for images not shown.", LOGITS[:3], LABELS[2:]),
         "The first two only; and a share of how many?", "topk(2), and the number of labels."),
    ],
    # how many answers a temperature changes
    "06.4": [
        (guess(operator.ne, lambda: int(((LOGITS / 0.5).argmax(1) != LOGITS.argmax(1)).sum()), "It is not that many."),
         "Which logit is the largest, before and after?", "Two numbers divided by one positive one keep their order."),
    ],
    # a network that asks another one twice
    "06.5": [
        (measures(lambda *both: not _mixes(*both, 1, 0) and not _mixes(*both, 0, 1), "It asks once.", _Edges()),
         "An image and its mirror image make two questions.", "images.flip(…) is the second one."),
        (measures(lambda *both: not _mixes(*both, 1, 1), "Its logits are twice as large.", _Edges()),
         "A mean, not a sum.", "Divide by the number of answers."),
        (measures(lambda model, _: torch.allclose(model(IMAGES), model(IMAGES.flip(3))), "A mirror matters.", _Edges()),
         "Which dimension of (N, C, H, W) runs from left to right?", "The last one: flip(3)."),
        (measures(lambda *both: _mixes(*both, 0.5, 0.5), "It is not their mean.", _Edges()),
         "Of the logits, as they are.", "No softmax, and each of the two counts as much."),
    ],
    # a function: how many answers can be given if so many have to be right
    "06.6": [
        (compares(differs, _answered, "It is wrong for a modest network.", FALLING, RIGHT, 90),
         "Confidence is not accuracy: count, in %, who is right.", "Of the most confident images, that is."),
        (compares(differs, _answered, "It is wrong for images in another order.", FALLING[::-1], RIGHT[::-1], 90),
         "Who comes first?", "Sort by confidence, the largest first."),
        (compares(differs, _answered, "It gives up too early.", FALLING, RIGHT, 75),
         "What falls below may rise again.", "Try every number of answers, and take the largest that will do."),
        (compares(differs, _answered, "It is wrong for two equals.", np.array([0.5, 0.4, 0.4, 0.2]), RIGHT, 90),
         "Who decides which of two equals answers?", "A confidence from which on all answer: both, or neither."),
        (compares(differs, _answered, "It is wrong where none will do.", FALLING, ~RIGHT, 80),
         "Perhaps it should say nothing at all.", "Then it answers none."),
    ],
}  # fmt: skip

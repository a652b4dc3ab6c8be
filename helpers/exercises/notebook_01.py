"""The exercises of notebook 01."""

import operator
from collections.abc import Callable

import numpy as np

from helpers.data import CIFAR10_MEAN, CIFAR10_STD, ImageSet, statistics, train_val_split
from helpers.engines.answering import Case, Problem, alike, gives, guess
from helpers.errors import BadInput, kind_of
from helpers.recipes import Recipe

DARK = np.random.default_rng(0).integers(0, 16, (2, 3, 3, 3), np.uint8)  # whose squares fit into uint8
BRIGHT = np.concatenate([DARK, 200 + DARK])
TWO = np.array([[0, 0], [0, 1]])  # an image that is all black, and one that is half white
WITHIN = TWO.std(axis=1).mean()
WHITE = (1 - CIFAR10_MEAN[0]) / CIFAR10_STD[0]  # red, normalised
SORTED = np.repeat([0, 1, 2], 20)
MIXED = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [50, 30, 20, 10]))


def _spread(images: np.ndarray) -> np.ndarray:
    return statistics(images)["std"].to_numpy()


def _normalises(right: Callable[..., bool]) -> Problem:
    def problem(answer: object) -> str:
        if not isinstance(answer, Recipe):
            raise BadInput(f"It should be a recipe, and is {kind_of(answer)}.")
        low, high = (np.array([[0], [1]]) - answer.mean) / answer.std
        return "" if right(low, high) else f"0 becomes {low.round(2)}, and 255 becomes {high.round(2)}."

    return problem


def _are_places(made: object, labels: np.ndarray, share: float) -> bool:
    places = np.asarray(made)
    known = places.dtype.kind in "iu" and np.isin(places, np.arange(len(labels))).all()
    return known and places.shape == np.unique(places).shape


def _is_stratified(made: object, labels: np.ndarray, share: float) -> bool:
    _, held = train_val_split(ImageSet(labels, labels, (*map(str, np.unique(labels)),), "made up"), share)
    return np.array_equal(np.bincount(labels[np.asarray(made)], minlength=len(held.classes)), np.bincount(held.labels))


def _merged(number: int, told: str, *parts: list[float]) -> Problem:
    """Return the problem of a function that merges mean (0) or standard deviation (1) of two parts wrongly."""
    given = [statistic for part in parts for statistic in (len(part), np.mean(part), np.std(part))]
    right = (np.mean, np.std)[number](np.concatenate(parts))
    return gives(lambda made, *_: np.shape(made) == (2,) and alike(made[number], right), told, *given)


EXERCISES: dict[str, list[Case]] = {
    "01.1": [  # a function: the standard deviation of each channel
        (gives(lambda made, _: np.shape(made) == (3,), "It does not give three numbers.", DARK),
         "Which axes are summed over, and which axis stays?", "Axes 0, 1 and 2 are images, rows and columns."),
        (gives(lambda made, images: not alike(made, 255 * _spread(images)), "These are grey levels.", DARK),
         "The scale from 0 to 1 is asked for.", "255 in the images is 1 on that scale."),
        (gives(lambda made, images: not alike(made, images.std((1, 2)).mean(0) / 255), "It is another one.", DARK),
         "All pixels of all images are one heap.", "Do not take a standard deviation of each image first."),
        (gives(lambda made, images: alike(made, _spread(images)), "For images of dark pixels it is wrong.", DARK),
         "The variance is the mean of the squares less the square of the mean.",
         "Take the root of it. And divide by the number of values, not by one less."),
        (gives(lambda made, images: alike(made, _spread(images)), "Only for dark pixels it is right.", BRIGHT),
         "The largest number of uint8 is 255. What is the square of 16 there?", "Turn the images into int64 first."),
    ],
    "01.2": [  # standard deviations within a black image and within one that is half white, averaged
        (guess(lambda given, right: round(given, 2) == TWO.std().round(2), WITHIN, "It is that of all pixels."),
         "Look at one image by itself. How far are its pixels from its own mean?", "A black image has no spread."),
        (guess(operator.gt, WITHIN, "It is too large."),
         "There are two images, and one of them has no spread.", "Take it of each image, then average the two."),
        (guess(operator.lt, WITHIN, "It is too small."),
         "The pixels of the second image are 0 and 1, and its mean is 0.5.", "How far from 0.5 is each of its pixels?"),
    ],
    "01.3": [  # what 255 becomes in the red channel
        (guess(lambda given, right: given > 100, WHITE, "It is far too large."),
         "Mean and standard deviation belong to the scale from 0 to 1.", "255 in an image is 1 on that scale."),
        (guess(lambda given, right: given > right + 0.1, WHITE, "It is too large."),
         "First the mean is subtracted. Which standard deviation divides?", "Divide by that of all pixels: 0.2470."),
        (guess(lambda given, right: given < right - 0.1, WHITE, "It is too small."),
         "The distance from the mean is counted in standard deviations.", "Subtract 0.4914; then divide by 0.2470."),
    ],
    "01.4": [  # a recipe: 0 becomes -1 and 255 becomes 1
        (_normalises(lambda low, high: alike(high - low, [2] * 3)), "What decides how far apart they are?",
         "The subtracted mean moves both alike; dividing by the standard deviation draws them apart."),
        (_normalises(lambda low, high: alike(high, [1] * 3)), "Which value lies half way, and has to become 0?",
         "The mean is what becomes 0."),
    ],
    "01.5": [  # a function: the places of a hold-out with the same share of each class
        (gives(_are_places, "It does not give places: whole numbers, each once.", SORTED, 0.1),
         "Say where they stand: not their labels, and not True or False for each.", "np.flatnonzero finds places."),
        (gives(_is_stratified, "For three classes, one after the other, the classes get unequal shares.", SORTED, 0.1),
         "Neither chance nor order looks at the classes.", "Choose class by class: labels == c says where one is."),
        (gives(_is_stratified, "It is wrong for labels that are not shown.", MIXED, 0.2),
         "Classes may be of different size, and the share another.", "Of each class take its size times the share."),
    ],
    "01.6": [  # a function: mean and standard deviation of two parts together, from those of each
        (_merged(0, "The mean is wrong.", [1, 3], [0, 4, 0, 4, 0, 4, 9]), "The parts are not of the same size.",
         "Each mean counts as often as its part has values."),
        (_merged(1, "The standard deviation is wrong where the means are equal.", [1, 3], [0, 4, 0, 4]),
         "Which can be averaged, standard deviations or variances?", "Average variances by count; then the root."),
        (_merged(1, "The standard deviation is wrong where the means differ.", [1, 3], [9]),
         "Two parts may each have no spread, and still lie far apart.",
         "Each part adds its variance and the squared distance of its mean from the common one."),
    ],
}  # fmt: skip

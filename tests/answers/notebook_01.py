"""What readers may answer to the exercises of notebook 01."""

from dataclasses import replace

import numpy as np

from helpers.recipes import RECIPES


def in_uint8(images):
    values = images.reshape(-1, 3)
    return ((values**2).mean(axis=0) - values.mean(axis=0) ** 2) ** 0.5 / 255


def variance(images):
    return (images / 255).var(axis=(0, 1, 2))


def first_tenth(labels, share):
    return np.arange(round(len(labels) * share))


def by_chance(labels, share):
    return np.random.default_rng(0).choice(len(labels), round(len(labels) * share), replace=False)


def of_equal_number(labels, share):
    count = round(len(labels) * share / len(np.unique(labels)))
    return np.concatenate([np.flatnonzero(labels == c)[:count] for c in np.unique(labels)])


def always_a_tenth(labels, share):
    of_classes = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    return np.concatenate([places[: len(places) // 10] for places in of_classes])


def labels_themselves(labels, share):
    return labels[: round(len(labels) * share)]


def yes_or_no(labels, share):
    return np.arange(len(labels)) % round(1 / share) == 0


def unweighted(count_a, mean_a, std_a, count_b, mean_b, std_b):
    return (mean_a + mean_b) / 2, (std_a + std_b) / 2


def deviations_averaged(count_a, mean_a, std_a, count_b, mean_b, std_b):
    count = count_a + count_b
    return (count_a * mean_a + count_b * mean_b) / count, (count_a * std_a + count_b * std_b) / count


def variances_averaged(count_a, mean_a, std_a, count_b, mean_b, std_b):
    count = count_a + count_b
    mean = (count_a * mean_a + count_b * mean_b) / count
    return mean, ((count_a * std_a**2 + count_b * std_b**2) / count) ** 0.5


def normalising_by(mean, std, network="fast_200k"):
    return replace(RECIPES[network], mean=(mean,) * 3, std=(std,) * 3)


# An answer to an exercise, and words of the hint that it should get.
WRONG = [
    ("01.1", lambda images: images.std() / 255, "which axis stays"),
    ("01.1", lambda images: images.std(axis=(1, 2)) / 255, "which axis stays"),
    ("01.1", lambda images: images.std(axis=(0, 1, 2)), "scale from 0 to 1"),
    ("01.1", lambda images: images.std(axis=(1, 2)).mean(axis=0) / 255, "one heap"),
    ("01.1", variance, "less the square"),
    ("01.1", lambda images: images.std(axis=(0, 1, 2), ddof=1) / 255, "less the square"),
    ("01.1", in_uint8, "square of 16"),
    ("01.2", 0.43, "one image by itself"),
    ("01.2", 0.5, "one of them has no spread"),  # the second image alone
    ("01.2", 0.125**0.5, "one of them has no spread"),  # variances averaged
    ("01.2", 0, "its mean is 0.5"),
    ("01.3", (255 - 0.4914) / 0.2470, "scale from 0 to 1"),
    ("01.3", (1 - 0.4914) / 0.2023, "Which standard deviation"),
    ("01.3", 1, "counted in standard deviations"),
    ("01.3", 0.51, "counted in standard deviations"),
    ("01.4", RECIPES["fast_200k"], "how far apart"),
    ("01.4", normalising_by(0.5, 0.25), "how far apart"),
    ("01.4", normalising_by(0, 1), "how far apart"),
    ("01.4", normalising_by(0, 0.5), "half way"),
    ("01.5", labels_themselves, "not their labels"),
    ("01.5", yes_or_no, "True or False"),
    ("01.5", first_tenth, "Neither chance nor order"),
    ("01.5", by_chance, "Neither chance nor order"),
    ("01.5", of_equal_number, "different size"),
    ("01.5", always_a_tenth, "different size"),
    ("01.6", unweighted, "not of the same size"),
    ("01.6", deviations_averaged, "standard deviations or variances"),
    ("01.6", variances_averaged, "lie far apart"),
]

# What no hint to a wrong answer may contain: the beginning of the right one.
HIDDEN = {"01.2": "0[.]25", "01.3": "2[.][01]", "01.4": "mean=|std=", "01.5": "concatenate"}

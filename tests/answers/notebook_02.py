"""What readers may answer to the exercises of notebook 02."""

import random

import numpy as np

from helpers.augment import augmentation, coarse_dropout, flip, pipeline, shift_scale_rotate


def flip_the_others(images, which):
    flipped = images.copy()
    flipped[~which] = images[~which][:, :, ::-1]
    return flipped


def flip_upside_down(images, which):
    flipped = images.copy()
    flipped[which] = images[which][:, ::-1]
    return flipped


def flip_colours(images, which):
    flipped = images.copy()
    flipped[which] = images[which][..., ::-1]
    return flipped


def flip_in_place(images, which):
    images[which] = images[which][:, :, ::-1]
    return images


def flip_and_sort(images, which):
    return np.concatenate([images[~which], images[which][:, :, ::-1]])


def cut_swapped(image, top, left, size, colour):
    covered = image.copy()
    covered[max(left, 0) : left + size, max(top, 0) : top + size] = colour
    return covered


def cut_to_size(image, top, left, size, colour):
    covered = image.copy()
    covered[top:size, left:size] = colour
    return covered


def cut_inside_only(image, top, left, size, colour):
    covered = image.copy()
    covered[top : top + size, left : left + size] = colour
    return covered


def cut_in_place(image, top, left, size, colour):
    image[max(top, 0) : top + size, max(left, 0) : left + size] = colour
    return image


def shift_by(*key):
    return np.random.default_rng(key).integers(-4, 5, size=2)


def shift_by_two_generators(*key):
    return np.random.default_rng(key).integers(-4, 5), np.random.default_rng(key).integers(-4, 5)


def course_with(hole=None, p=0.2):
    return pipeline(flip(p=p), shift_scale_rotate(p=0.1), hole or coarse_dropout(p=0.1))


# An answer to an exercise, and words of the hint that it should get.
WRONG = [
    ("02.1", lambda images, which: images[:, :, ::-1], "where it says False"),
    ("02.1", flip_the_others, "where it says False"),
    ("02.1", flip_upside_down, "one axis more"),
    ("02.1", flip_colours, "Only left and right"),
    ("02.1", flip_and_sort, "keeps its place"),
    ("02.1", lambda images, which: images, "Only left and right"),
    ("02.1", flip_in_place, "needed again"),
    ("02.2", 50, "how high"),
    ("02.2", 0.25, "100 %"),
    ("02.2", 16, "How many such holes"),
    ("02.3", cut_swapped, "Rows come first"),
    ("02.3", cut_to_size, "begins at `top`"),
    ("02.3", lambda image, *_: image, "begins at `top`"),
    ("02.3", cut_inside_only, "from the end"),
    ("02.3", cut_in_place, "needed again"),
    ("02.4", 87.5, "those left alone"),
    ("02.4", 50, "that half"),
    ("02.4", 50 / 3, "that half"),
    ("02.4", 0.125, "100 %"),
    ("02.4", 0, "three coins"),
    ("02.5", augmentation("flip_ssr_cutout"), "fire"),
    ("02.5", course_with(p=0.05), "checker does not"),
    ("02.5", course_with(coarse_dropout(p=0.1, fill=(0, 0, 0))), "checker does not"),
    ("02.5", augmentation("pad_crop_cutout"), "checker does not"),
    ("02.5", augmentation("none"), "checker does not"),
    ("02.6", lambda seed, epoch, place: shift_by(seed, epoch, place)[0], "to the right"),
    ("02.6", lambda seed, epoch, place: shift_by(seed, epoch, place) / 4, "to the right"),
    ("02.6", lambda *_: (random.randint(-4, 4), random.randint(-4, 4)), "three numbers may decide"),
    ("02.6", lambda seed, epoch, place: shift_by(seed, place), "All three numbers count"),
    ("02.6", lambda seed, epoch, place: shift_by(seed), "All three numbers count"),
    ("02.6", lambda seed, epoch, place: shift_by(seed + epoch + place), "the same as 0 + 1"),
    ("02.6", lambda seed, epoch, place: shift_by(seed, 100 * epoch + place), "the same as 0 + 1"),
    ("02.6", shift_by_two_generators, "Two generators"),
    ("02.6", lambda *key: np.random.default_rng(key).integers(-4, 4, size=2), "the range end"),
]

# What no hint to a wrong answer may contain: the beginning of the right one.
HIDDEN = {"02.2": "25 ?%", "02.3": "max", "02.4": "12", "02.6": r"default_rng\(\("}

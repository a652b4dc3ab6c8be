"""The exercises of notebook 02."""

from collections.abc import Callable

import numpy as np

from helpers import assignment
from helpers.engines.answering import Case, Problem, alike, gives, guess
from helpers.engines.drawn import outcomes
from helpers.engines.judging import probabilities
from helpers.models import build

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
NONE, ALL, SOME = np.zeros(4, bool), np.ones(4, bool), np.array([False, True, True, False])
FLIPPED = np.stack([IMAGES[0], *np.flip(IMAGES[1:3], 2), IMAGES[3]])
HOLE = 6, [125, 122, 113]
COVERED, UNTOUCHED = 100 * assignment.HOLE**2 / 32**2, 100 * 0.5**3  # %
STARTS = [(0, 0, 0), (1, 0, 0), (0, 1, 0), *((0, 0, 10**power) for power in range(5))]  # seed, epoch, first place


def _is_cut(made: object, image: np.ndarray, top: int, left: int, size: int, colour: list[int]) -> bool:
    rows, columns = np.indices(image.shape[:2])
    inside = (top <= rows) & (rows < top + size) & (left <= columns) & (columns < left + size)
    return alike(made, np.where(inside[..., None], colour, image))


def _told(told: str, wrong: Callable[[object], bool]) -> Problem:
    return lambda answer: told if wrong(answer) else ""


def _writes(answer: Callable, images: np.ndarray, *arguments: object) -> bool:
    given = images.copy()
    answer(given, *arguments)
    return not np.array_equal(given, images)


def _unmet(answer: object) -> str:
    probabilities(answer)  # raises BadInput for what is no pipeline, None among it
    table = assignment.check(build("fast_200k"), answer)
    unmet = table[~table.passed].itertuples()
    return " ".join(f"{row.constraint}: {row.required} is required, {row.actual} is found." for row in unmet)


def _too_busy(answer: object) -> str:
    from helpers.augment import augmentation  # here, since importing albumentations takes a second

    images, alone = outcomes(answer, IMAGES[0]), outcomes(augmentation("none"), IMAGES[0])
    same = np.isclose(images, alone, atol=1e-4).all((1, 2, 3)).mean()
    return "" if same >= 0.5 else f"Of {len(images)} draws it leaves {same:.0%} as they are."


def _shifts(answer: Callable, seed: int = 0, epoch: int = 0, first: int = 0) -> np.ndarray:
    return np.array([answer(seed, epoch, place) for place in range(first, first + 100)], int)


EXERCISES: dict[str, list[Case]] = {
    "02.1": [  # a function: a batch of which some images are flipped
        (gives(lambda made, images, _: alike(made, images), "It changes images that should stay.", IMAGES, NONE),
         "Flip an image where `which` says True, and leave it where it says False.", "images[which] are to flip."),
        (gives(lambda made, images, _: not alike(made, images[:, ::-1]), "They are upside down.", IMAGES, ALL),
         "A batch has one axis more than an image.", "Its axes are image, row, column, channel."),
        (gives(lambda made, *_: alike(made, FLIPPED), "With some to flip it is wrong.", IMAGES, SOME),
         "Only left and right change places, and an image keeps its place.", "The third axis is columns."),
        (_told("It writes into the images that it is given.", lambda answer: _writes(answer, IMAGES, ALL)),
         "The data set is needed again, in the next epoch.", "Make a copy first, and write into that."),
    ],
    "02.2": [  # the share of an image that a hole of 16x16 covers, in %
        (guess(lambda given, right: given > right, COVERED, "It is too large."),
         "The hole is half as wide as the image, and how high?", "Count the pixels of the hole and of the image."),
        (guess(lambda given, right: given < right, COVERED, "It is too small."),
         "The whole image is 100 %. How many such holes would fill it?", "Count the pixels of both."),
    ],
    "02.3": [  # a function: an image with a hole
        (gives(lambda made, image, top, left, *hole: not _is_cut(made, image, left, top, *hole),
               "Rows and columns are swapped.", IMAGES[0], 2, 9, *HOLE), "Rows come first.", "image[rows, columns]"),
        (gives(_is_cut, "A hole inside the image is wrong.", IMAGES[0], 2, 9, *HOLE),
         "Where does a slice end that begins at `top`?", "Rows from top to top + size, not from top to size."),
        (gives(_is_cut, "A hole over the upper left corner is wrong.", IMAGES[0], -3, -2, *HOLE),
         "image[-3:3] is empty: Python counts -3 from the end.", "Begin at row 0 where `top` is negative."),
        (_told("It writes into the image that it is given.", lambda answer: _writes(answer, IMAGES[0], 2, 9, *HOLE)),
         "The image is needed again, in the next epoch.", "Make a copy first, and write into that."),
    ],
    "02.4": [  # the share of draws that three transforms of p=0.5 leave as they are, in %
        (guess(lambda given, right: given > 50, UNTOUCHED, "It is too large."),
         "Which draws are meant, changed ones or those left alone?", "None of the three may fire."),
        (guess(lambda given, right: given > right + 1, UNTOUCHED, "It is too large."),
         "One coin leaves half of the draws alone. And the next, of that half?", "Multiply the three probabilities."),
        (guess(lambda given, right: given < right - 1, UNTOUCHED, "It is too small."),
         "All draws are 100 %, and three coins are thrown.", "Multiply the three probabilities."),
    ],
    "02.5": [  # a pipeline: gentle, and under the challenge's rules
        (_unmet, "The challenge's checker does not pass this.", "Start from the challenge's, and change only p."),
        (_too_busy, "How often does no transform fire?", "Make p smaller, and let pipeline(…) add the end."),
    ],
    "02.6": [  # a function: the shift of an image, by seed, epoch and place
        (gives(lambda made, *_: np.shape(made) == (2,) and {*made} <= {*range(-4, 5)},
               "It does not give two whole numbers from -4 to 4.", 0, 0, 0),
         "How far down, and how far to the right?", "Return a pair."),
        (_told("Asked again, it gives other shifts.", lambda answer: not alike(_shifts(answer), _shifts(answer))),
         "Nothing but the three numbers may decide.", "Make a generator in the function, keyed on them."),
        (_told("Another seed, epoch or place gives the same shifts.",
               lambda answer: len({_shifts(answer, *start).tobytes() for start in STARTS}) < len(STARTS)),
         "All three numbers count, each by itself: 1 + 0 is the same as 0 + 1.",
         "np.random.default_rng takes a tuple of three."),
        (_told("Down and right are always the same.", lambda answer: not np.ptp(_shifts(answer), axis=1).any()),
         "Two generators with one seed draw the same.", "Draw both from one generator."),
        (_told("Some of the nine steps never come.", lambda answer: {*_shifts(answer).flat} != {*range(-4, 5)}),
         "Where does the range end?", "integers(low, high) leaves out high."),
    ],
}  # fmt: skip

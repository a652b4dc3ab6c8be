"""The exercises of notebook 05."""

import math
import operator
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from helpers.engines.answering import Case, attempted, compares, differs, gives, guess
from helpers.loaders import steps_per_epoch
from helpers.recipes import RECIPES, Recipe
from helpers.training import learning_rate

OURS = RECIPES["fast_200k"]


def _steps(recipe: Recipe = OURS) -> int:
    return recipe.epochs * steps_per_epoch(range(45_000), recipe)


def _cosine(done: float, peak: float, warmup: float) -> float:
    falling = (done - warmup) / (1 - warmup)
    return peak * (done / warmup if done < warmup else (1 + math.cos(math.pi * falling)) / 2)


def _top(recipe: Recipe) -> float:
    return max(range(_steps(recipe)), key=lambda step: learning_rate(recipe, step, _steps(recipe))) / _steps(recipe)


def _pair(weight: float, gradient: float, velocity: float, rate: float, momentum: float) -> tuple[float, float]:
    velocity = momentum * velocity + gradient
    return weight - rate * velocity, velocity


def _epoch(answer: Callable, *address: int) -> list[int]:
    return [image for step in range(5) for image in np.ravel(attempted(answer(*address, step, 23, 5))).tolist()]


EXERCISES: dict[str, list[Case]] = {
    # the steps of the whole run
    "05.1": [
        (guess(lambda given, right: given < 1000, _steps, "It is far too few."), "An epoch is one pass over them.",
         "Multiply the steps of an epoch by the number of epochs."),
        (guess(lambda given, right: given < right - 3, _steps, "It is too few."), "What becomes of those left over?",
         "In every epoch the images left over make one batch more: round up."),
        (guess(operator.lt, _steps, "It is too few."), "Does a batch reach from one epoch into the next?",
         "Round up in each epoch, then multiply."),
        (guess(operator.gt, _steps, "It is too many."), "A step takes a whole batch.", "Divide by the images a step."),
    ],
    # a function: a straight line up, half a cosine down
    "05.2": [
        (compares(differs, _cosine, "For (0.1, 0.4, 0.2), halfway up, it is wrong.", 0.1, 0.4, 0.2),
         "The way up is a straight line.", "It is the peak times done / warmup."),
        (compares(differs, _cosine, "For (0.2, 0.4, 0.2), at the top, it is not the peak.", 0.2, 0.4, 0.2),
         "Where does the cosine begin?", "The share of the way down counts from warmup, and runs from 0 to 1."),
        (compares(differs, _cosine, "For (0.6, 0.4, 0.2), halfway down, it is wrong.", 0.6, 0.4, 0.2),
         "A cosine falls from 1 to -1.", "One more, and then half of it, falls from 1 to 0."),
        (compares(differs, _cosine, "It is wrong for numbers that are not shown.", 0.9, 3.0, 0.3),
         "Half a cosine is no straight line.", "math.cos of pi times the share of the way down."),
    ],
    # a recipe: twice the passes in as many steps
    "05.3": [
        (lambda answer: "" if isinstance(answer, Recipe) else "It is no Recipe.",
         "The notebook makes one near its top.", "replace(recipe_named(…), …) gives one."),
        (lambda recipe: "" if recipe.epochs == 8 else "It has not 8 epochs.", "A pass over the images is an epoch.",
         "replace(recipe_named(…), epochs=…) changes the number."),
        (lambda recipe: "" if _steps(recipe) == _steps() else "The steps are not as many.", "How many images a step?",
         "Twice the passes in as many steps: twice the images a step."),
        (lambda recipe: "" if abs(_top(recipe) - 0.1) < 0.005 else "The rate is highest elsewhere.",
         "Which field is a share of the steps?", "The rate rises during the warmup."),
        (lambda recipe: "" if replace(recipe, epochs=4, batch_size=128, warmup=0.15) == OURS else "More is changed.",
         "replace keeps what it does not name.", "Three fields are enough."),
    ],
    # the loss of ten classes at equal odds
    "05.4": [
        (guess(lambda given, right: given < 0.5, lambda: math.log(10), "It is too small."), "A probability is no loss.",
         "The loss is minus the logarithm of the probability of the right class."),
        (guess(lambda given, right: given < right - 0.01, lambda: math.log(10), "It is too small."),
         "Which logarithm? And the share of wrong answers is no loss.", "The natural one: math.log."),
        (guess(lambda given, right: given > right + 0.01, lambda: math.log(10), "It is too large."),
         "Nats, not bits; and a number of classes is no loss.", "The natural logarithm: math.log."),
    ],
    # a function: a step with momentum
    "05.5": [
        (gives(lambda pair, *of: pair[0] < 1, "From rest the weight does not go down.", 1, 0.5, 0, 0.1, 0.9),
         "Against the gradient, and with the velocity as it is now.", "First the velocity, then the weight."),
        (gives(lambda pair, *of: not differs(pair[0], _pair(*of)[0]), "The first step is wrong.", 1, 0.5, 0, 0.1, 0.9),
         "From rest a step is the rate times the gradient.", "The gradient is added to the velocity as it is."),
        (gives(lambda pair, *of: not differs(pair[1], _pair(*of)[1]), "The velocity is wrong.", 1, 0.5, 2, 0.1, 0.9),
         "The rate changes from step to step: where does it belong?", "To the weight's step, not to the velocity."),
        (gives(lambda pair, *of: not differs(pair[0], _pair(*of)[0]), "It is wrong for others.", 3, 1, -2, 1, 0.5),
         "Does it use all five?", "The step is the rate times the new velocity."),
    ],
    # a function: the images of a step, by their address
    "05.6": [
        (lambda answer: "" if _epoch(answer, 0, 0) == _epoch(answer, 0, 0) else "Asked again, it gives other images.",
         "Whose generator is drawn from?", "The numbers of np.random.default_rng follow from what it is given."),
        (lambda answer: "" if len(set(_epoch(answer, 3, 2))) == len(_epoch(answer, 3, 2)) else "An image comes twice.",
         "Does each step draw an order of its own?", "One order for the whole epoch; a step takes its piece of it."),
        (lambda answer: "" if sorted(_epoch(answer, 3, 2)) == [*range(23)] else "An image is missing in the epoch.",
         "What becomes of the images left over?", "They are a batch as well, if a smaller one."),
        (lambda answer: "" if sorted(_epoch(answer, 3, 2)) != _epoch(answer, 3, 2) else "It does not shuffle.",
         "No generator is asked.", "A generator has a method permutation."),
        (lambda answer: "It repeats." if _epoch(answer, 0, 1) in (_epoch(answer, 0, 0), _epoch(answer, 1, 1)) else "",
         "Seed and epoch are both part of the address.", "Another seed, or another epoch, gives another order."),
        (lambda answer: "" if _epoch(answer, 0, 1) != _epoch(answer, 1, 0) else "Orders recur with seed + epoch.",
         "A sum forgets what it was made of.", "np.random.default_rng takes a tuple, too."),
    ],
}  # fmt: skip

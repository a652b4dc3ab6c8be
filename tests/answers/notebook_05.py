"""What readers may answer to the exercises of notebook 05."""

import math
from dataclasses import replace

import numpy as np

from helpers.recipes import RECIPES, Recipe

OURS = RECIPES["fast_200k"]


def whole_cosine(done, peak, warmup):
    """Return a rate that falls from the first step on."""
    return peak * (1 + math.cos(math.pi * done)) / 2


def never_risen(done, peak, warmup):
    """Return a rate whose fall does not begin where the rise ends."""
    return peak * min(done / warmup, (1 + math.cos(math.pi * done)) / 2)


def down_to_minus(done, peak, warmup):
    return peak * min(done / warmup, math.cos(math.pi * max(0, done - warmup) / (1 - warmup)))


def quarter(done, peak, warmup):
    return peak * min(done / warmup, math.cos(math.pi / 2 * max(0, done - warmup) / (1 - warmup)))


def triangular(done, peak, warmup):
    return peak * min(done / warmup, (1 - done) / (1 - warmup))


def uphill(weight, gradient, velocity, rate, momentum):
    velocity = momentum * velocity + gradient
    return weight + rate * velocity, velocity


def late(weight, gradient, velocity, rate, momentum):
    """Move by the velocity that was there before."""
    return weight - rate * velocity, momentum * velocity + gradient


def averaged(weight, gradient, velocity, rate, momentum):
    velocity = momentum * velocity + (1 - momentum) * gradient
    return weight - rate * velocity, velocity


def nesterov(weight, gradient, velocity, rate, momentum):
    velocity = momentum * velocity + gradient
    return weight - rate * (gradient + momentum * velocity), velocity


def with_rate(weight, gradient, velocity, rate, momentum):
    velocity = momentum * velocity - rate * gradient
    return weight + velocity, velocity


def without_velocity(weight, gradient, velocity, rate, momentum):
    return weight - rate * gradient, momentum * velocity + gradient


def cut(order, step, batch_size):
    return order[step * batch_size : (step + 1) * batch_size]


def from_global(seed, epoch, step, images, batch_size):
    return cut(np.random.permutation(images), step, batch_size)


def new_order_each_step(seed, epoch, step, images, batch_size):
    return np.random.default_rng((seed, epoch, step)).permutation(images)[:batch_size]


def without_rest(seed, epoch, step, images, batch_size):
    order = np.random.default_rng((seed, epoch)).permutation(images)
    return cut(order[: images // batch_size * batch_size], step, batch_size)


def sorted_images(seed, epoch, step, images, batch_size):
    return cut(np.arange(images), step, batch_size)


def same_each_epoch(seed, epoch, step, images, batch_size):
    return cut(np.random.default_rng(seed).permutation(images), step, batch_size)


def same_each_seed(seed, epoch, step, images, batch_size):
    return cut(np.random.default_rng(epoch).permutation(images), step, batch_size)


def summed(seed, epoch, step, images, batch_size):
    return cut(np.random.default_rng(seed + epoch).permutation(images), step, batch_size)


# An answer to an exercise, and words of the hint that it should get.
WRONG = [
    ("05.1", 352, "one pass"),
    ("05.1", 4 * (45_000 // 128), "left over"),
    ("05.1", 4 * 45_000 / 128, "reach from one epoch"),
    ("05.1", math.ceil(4 * 45_000 / 128), "reach from one epoch"),
    ("05.1", 4 * 45_000, "whole batch"),
    ("05.2", whole_cosine, "straight line"),
    ("05.2", never_risen, "cosine begin"),
    ("05.2", down_to_minus, "from 1 to -1"),
    ("05.2", quarter, "from 1 to -1"),
    ("05.2", triangular, "no straight line"),
    ("05.3", OURS, "an epoch"),
    ("05.3", {"epochs": 8}, "makes one"),
    ("05.3", replace(OURS, epochs=8, warmup=0.1), "images a step"),
    ("05.3", replace(OURS, epochs=8, batch_size=64, warmup=0.1), "images a step"),
    ("05.3", replace(OURS, epochs=8, batch_size=256), "share of the steps"),
    ("05.3", replace(OURS, epochs=8, batch_size=256, warmup=0.1, peak_lr=0.2), "does not name"),
    ("05.3", Recipe(network="fast_200k", epochs=8, batch_size=256, peak_lr=0.1, warmup=0.1), "does not name"),
    ("05.4", 0.1, "no loss"),
    ("05.4", 0.9, "share of wrong answers"),
    ("05.4", 1.0, "Which logarithm"),
    ("05.4", math.log2(10), "Nats"),
    ("05.4", 10, "number of classes"),
    ("05.5", uphill, "Against the gradient"),
    ("05.5", late, "as it is now"),
    ("05.5", averaged, "From rest"),
    ("05.5", nesterov, "From rest"),
    ("05.5", with_rate, "changes from step to step"),
    ("05.5", without_velocity, "all five"),
    ("05.6", from_global, "Whose generator"),
    ("05.6", new_order_each_step, "order of its own"),
    ("05.6", without_rest, "left over"),
    ("05.6", sorted_images, "No generator"),
    ("05.6", same_each_epoch, "part of the address"),
    ("05.6", same_each_seed, "part of the address"),
    ("05.6", summed, "A sum forgets"),
]

# What no hint to a wrong answer may contain: the beginning of the right one.
HIDDEN = {"05.1": "2,?81", "05.3": "256", "05.4": r"2\.3", "05.6": r"default_rng\(\("}

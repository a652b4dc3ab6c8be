"""Solutions of notebook 05, a cell each: `workbook edition teacher` puts them below the cells they solve."""

import math
from dataclasses import replace

import numpy as np

from helpers.recipes import recipe_named

# %% 05.1
all_of_them = 4 * math.ceil(45_000 / 128)


# %% 05.2
def cosine_rate(done, peak, warmup):
    if done < warmup:
        return peak * done / warmup
    return peak * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2


# %% 05.3
longer = replace(recipe_named("fast_200k"), epochs=8, batch_size=256, warmup=0.1)

# %% 05.4
loss_of_guessing = math.log(10)  # minus the logarithm of a tenth


# %% 05.5
def momentum_step(weight, gradient, velocity, rate, momentum):
    velocity = momentum * velocity + gradient
    return weight - rate * velocity, velocity


# %% 05.6
def images_of_step(seed, epoch, step, images, batch_size):
    order = np.random.default_rng((seed, epoch)).permutation(images)
    return order[step * batch_size : (step + 1) * batch_size]

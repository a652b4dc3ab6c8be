"""Solutions of notebook 02, a cell each: `workbook edition teacher` puts them below the cells they solve."""

import numpy as np

from helpers.augment import coarse_dropout, flip, pipeline, shift_scale_rotate


# %% 02.1
def flip_some(images, which):
    flipped = images.copy()
    flipped[which] = images[which][:, :, ::-1]
    return flipped


# %% 02.2
covered_share = 25  # half as wide and half as high


# %% 02.3
def cut_out(image, top, left, size, colour):
    covered = image.copy()
    covered[max(top, 0) : top + size, max(left, 0) : left + size] = colour
    return covered


# %% 02.4
left_alone = 12.5  # 0.5 * 0.5 * 0.5

# %% 02.5
gentle = pipeline(flip(p=0.2), shift_scale_rotate(p=0.1), coarse_dropout(p=0.1))


# %% 02.6
def shift(seed, epoch, place):
    return np.random.default_rng((seed, epoch, place)).integers(-4, 5, size=2)

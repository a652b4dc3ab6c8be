"""What an albumentations pipeline does to drawn images, whatever its classes are called and their fields say."""

import random
from copy import deepcopy

import numpy as np

from helpers.engines.judging import probabilities
from helpers.errors import BadInput

IMAGES, LEAST_SHARE = 200, 0.03  # images, and of them; a rotation may be too small to be seen
LEAST_HOLE = 0.01  # of the final image
LEAST_SHIFT, LEAST_SCALE, LEAST_TURN = 0.5, 0.01, 1.0  # pixels, ratio and degrees that can be seen at 32x32
ROWS, COLUMNS = np.mgrid[:32, :32].astype(np.float32)


def outcomes(pipeline: object, image: np.ndarray) -> np.ndarray:
    """Return what a copy of a pipeline or transform makes of the image in 200 draws, float (200, H, W, channels)."""
    pipeline = deepcopy(pipeline)
    pipeline.set_random_state(np.random.default_rng(0), random.Random(0))
    try:
        images = np.stack([np.asarray(pipeline(image=image)["image"], float) for _ in range(IMAGES)])
        return images if images.shape[-1] == 3 else images.transpose(0, 2, 3, 1)
    except Exception as error:  # a transform may be anyone's
        raise BadInput(f"The pipeline makes no images of images of 32x32 ({error!r:.200}); mend it.") from error


def mirrored(pipeline: object) -> float:
    """Return in which share of the images left and right change places: they grow brighter to the other side."""
    images = outcomes(pipeline, np.repeat(40 + 5 * COLUMNS[..., None], 3, 2).astype(np.uint8)).mean((1, 3))
    middle = images.shape[1] // 2
    return float((images[:, :middle].mean(1) > images[:, -middle:].mean(1)).mean())


def turned(pipeline: object) -> float:
    """Return in which share of the images columns lean in the end, as only a rotation makes them."""
    images = outcomes(pipeline, np.repeat(8 * COLUMNS[..., None], 3, 2).astype(np.uint8)).mean(3)
    steps = images[:, 8:] - images[:, :-8], images[:, :, 8:] - images[:, :, :-8]
    down, across = (np.abs(np.median(step, (1, 2))) for step in steps)  # most steps touch no hole
    return float((down > np.tan(np.radians(LEAST_TURN)) * across).mean())


def moves(transform: object) -> bool:
    """Return whether a transform shifts, scales and rotates by amounts that can be seen: by where pixels come from."""
    images = outcomes(transform, np.stack([COLUMNS / 32, ROWS / 32, 0 * ROWS], 2))[:, 8:24, 8:24, :2]
    to = np.stack([COLUMNS[8:24, 8:24], ROWS[8:24, 8:24], 1 + 0 * ROWS[8:24, 8:24]], 2).reshape(256, 3)
    fits = np.stack([np.linalg.lstsq(to, 32 * image.reshape(256, 2), rcond=None)[0] for image in images])
    turns = np.degrees(np.arctan2(fits[:, 1, 0] - fits[:, 0, 1], fits[:, 0, 0] + fits[:, 1, 1]))
    scales = np.abs(np.linalg.svd(fits[:, :2], compute_uv=False) - 1).max(1)
    shifts = np.abs([15.5, 15.5, 1] @ fits - 15.5).max(1)
    visible = np.array([shifts >= LEAST_SHIFT, scales >= LEAST_SCALE, np.abs(turns) >= LEAST_TURN])
    return bool(visible.any(1).all() and visible.any(0).mean() >= LEAST_SHARE)


def holes(pipeline: object, number: int) -> tuple[float, float]:
    """Return in which share of the images the hole of this transform is seen, and the median share that it covers.

    Two runs that differ in its colour alone show it; a third, in which the image has the second colour as well, shows
    how much they differ where it covers a pixel entirely.
    """
    made = []
    for grey, fill in ((0, 0), (0, 255), (255, 255)):
        changed = deepcopy(pipeline)
        probabilities(changed)[number][0].fill = fill
        made.append(outcomes(changed, np.full((32, 32, 3), grey, np.uint8)))
    seen, whole = (np.abs(other - made[0]).sum(-1) for other in made[1:])
    covered = ((seen >= 0.8 * whole) & (seen > 0)).mean((1, 2))
    found = covered[covered >= LEAST_HOLE]
    return len(found) / IMAGES, float(np.median(found)) if len(found) else 0.0

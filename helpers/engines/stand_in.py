"""The synthetic stand-in for CIFAR-10: images drawn by code, for machines without the data and the internet."""

import numpy as np

_SHAPES = {
    "disk": lambda u, v: u**2 + v**2 < 1,
    "ring": lambda u, v: (u**2 + v**2 < 1) & (u**2 + v**2 > 0.3),
    "square": lambda u, v: np.maximum(abs(u), abs(v)) < 0.85,
    "triangle": lambda u, v: (v < 0.7) & (v > 1.9 * abs(u) - 1.0),
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) < 0.3) & (np.maximum(abs(u), abs(v)) < 1),
}
CLASSES = tuple(f"{texture} {shape}" for shape in _SHAPES for texture in ("plain", "striped"))


def draw_stand_in(train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return 10,000 training or 2,000 test images of five shapes, each plain or striped, and their labels.

    They are uint8 (N, 32, 32, 3) and int64 (N,). Place, size, rotation, colours, light and noise vary, so that no pixel
    by itself tells the class.
    """
    count, seed = (10_000, 1) if train else (2_000, 2)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % len(CLASSES))
    images = np.concatenate([_draw(part, rng) for part in np.array_split(labels, count // 1000)])
    return images, labels.astype(np.int64)


def _draw(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    def per_image(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (len(labels), 1, 1)).astype(np.float32)

    y, x = np.mgrid[-15.5:16, -15.5:16].astype(np.float32)
    x, y = x - per_image(-5, 5), y - per_image(-5, 5)
    angle, size = per_image(-0.35, 0.35), per_image(7, 12)
    u, v = (x * np.cos(angle) + y * np.sin(angle)) / size, (y * np.cos(angle) - x * np.sin(angle)) / size
    inside = np.zeros_like(u, dtype=bool)
    for number, shape in enumerate(_SHAPES.values()):
        chosen = labels // 2 == number
        inside[chosen] = shape(u[chosen], v[chosen])
    direction = per_image(0, np.pi)  # stripes of any direction, 4 to 6 pixels from one to the next
    wave = np.sin((x * np.cos(direction) + y * np.sin(direction)) * 2 * np.pi / per_image(4, 6) + per_image(0, 6))
    striped = inside & (wave > 0) & (labels % 2 == 1)[:, None, None]
    ground, ink, second = _colours(len(labels), rng)
    image = np.where(inside[..., None], np.where(striped[..., None], second, ink), ground)
    light = 1 + per_image(-0.015, 0.015) * x + per_image(-0.015, 0.015) * y
    image = image * light[..., None] + rng.normal(0, 0.06, image.shape).astype(np.float32)
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def _colours(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return ground, ink and stripe colours (count, 1, 1, 3) that differ from one another by at least 0.25."""
    colours = rng.uniform(0, 1, (3, count, 1, 1, 3)).astype(np.float32)
    pairs = ((0, 1), (1, 2), (0, 2))
    while (close := np.any([abs(colours[a] - colours[b]).max(-1) < 0.25 for a, b in pairs], axis=0).ravel()).any():
        colours[:, close] = rng.uniform(0, 1, (3, close.sum(), 1, 1, 3)).astype(np.float32)
    return list(colours)

"""An albumentations pipeline on whole batches: the same transforms as tensor operations, on the CPU or a GPU.

albumentations spends some hundred microseconds of Python on an image of 32x32. Here every transform is read out of the
pipeline once, its parameters are drawn for all images together, and it is applied to those that it fires for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.errors import BadInput

Size = tuple[int, int]  # height, width
Parameters = dict[str, np.ndarray]  # an entry per image
Condition = tuple[int, float, float]  # the random number of this stream lies from `low` to below `high`


@dataclass(frozen=True)
class Step:
    """A transform as tensor operations on maps of one size.

    `draw` makes its parameters from (N, uniforms) numbers in [0, 1); `apply` takes images (N, 3, H, W), which it never
    writes over, and the parameters. `size` is the maps' size afterwards, None if it stays; `changes_kind` says that
    size or type of number is another one then, in which no two images of a batch may differ.
    """

    apply: Callable[..., Tensor]
    uniforms: int = 0
    draw: Callable[[np.ndarray], Parameters] = lambda u: {}
    size: Size | None = None
    changes_kind: bool = False


@dataclass(frozen=True)
class Drawn:
    """What a step does to a batch: to which images (rows), and with which parameters, an entry for each row."""

    step: Step
    rows: np.ndarray
    parameters: Parameters


class BatchedPipeline:
    """A callable, made by `batched`: uint8 (N, 3, H, W) in, what the pipeline gives out, normalised float as a rule.

    What happens to an image is a function of seed, epoch and the image's place in the data set, `index`, alone:
    neither the batch nor the device matters.
    """

    def __init__(self, steps: list[tuple[Step, list[Condition]]], image_size: Size):
        self.steps, self.image_size = steps, image_size

    def __call__(self, images: Tensor, *, seed: int, epoch: int, index: Tensor | np.ndarray) -> Tensor:
        """Augment the images; raises BadInput for images or places of another kind or shape."""
        _check(images, self.image_size, seed, epoch, index)
        return self.apply(images, self.draw(seed=seed, epoch=epoch, index=index))

    def draw(self, *, seed: int, epoch: int, index: Tensor | np.ndarray) -> list[Drawn]:
        """Return what each transform will do, in order, drawn from (seed, epoch, index)."""
        places = torch.as_tensor(index).cpu().numpy().astype(np.uint64)
        key = _mix(np.array([seed], np.uint64))
        keys = _mix(_mix(key ^ np.uint64(epoch)) ^ places)
        drawn = []
        for number, (step, conditions) in enumerate(self.steps):
            fires = np.ones(len(keys), bool)
            for stream, low, high in conditions:
                u = _uniform(keys, stream, 1)[:, 0]
                fires &= (low <= u) & (u < high)
            rows = np.flatnonzero(fires)
            u = _uniform(keys[rows], (1 << 20) + number, step.uniforms)  # the streams below say which ones fire
            drawn.append(Drawn(step, rows, step.draw(u)))
        return drawn

    def apply(self, given: Tensor, drawn: list[Drawn]) -> Tensor:
        """Return the images after what was drawn, in memory of their own."""
        images = given.contiguous()
        for part in drawn:
            if len(part.rows) == len(images):
                images = part.step.apply(images, **part.parameters).contiguous()
            elif len(part.rows):
                images = _unshare(images, given)
                rows = torch.from_numpy(part.rows).to(images.device)
                changed = part.step.apply(images.index_select(0, rows), **part.parameters)
                _words(images).index_copy_(0, rows, _words(changed.contiguous()))
        return _unshare(images, given)


def _unshare(images: Tensor, given: Tensor) -> Tensor:
    """Return a copy of images that still are the memory given, which belongs to the caller."""
    return images.clone() if images.data_ptr() == given.data_ptr() else images


def _words(images: Tensor) -> Tensor:
    """Return the same memory as 64-bit words, a row per image, where it divides: copied several times faster."""
    rows = images.flatten(1)
    return rows.view(torch.int64) if rows.shape[1] * rows.element_size() % 8 == 0 else rows


def _check(images: Tensor, size: Size, seed: int, epoch: int, index: Tensor | np.ndarray) -> None:
    wanted = (3, *size)
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.shape[1:] != wanted:
        given = f"{images.dtype} {tuple(images.shape)}" if hasattr(images, "dtype") else type(images).__name__
        raise BadInput(f"A batched pipeline takes a uint8 tensor (N, {', '.join(map(str, wanted))}), not {given}.")
    n, places = len(images), np.shape(index)
    if n == 0 or places != (n,):
        raise BadInput(f"{n} images have places {places}; give at least one, and each its place.")
    index = torch.as_tensor(index)
    whole = all(isinstance(number, (int, np.integer)) and number >= 0 for number in (seed, epoch))
    if not whole or index.is_floating_point() or index.min() < 0:
        raise BadInput("The seed, the epoch and the images' places must be whole numbers from 0.")


def batched(compose: object, image_size: Size = (32, 32)) -> BatchedPipeline:
    """Compile an albumentations Compose to tensor operations on batches of images of this size.

    Raises BadInput that names a transform or an option which is not supported, and the transforms which are.
    """
    if _name(compose) != "Compose":
        raise BadInput(f"A pipeline is an albumentations Compose, {_name(compose)} is not; build one.")
    if compose.processors or compose.additional_targets:
        raise BadInput("The pipeline has targets other than the image, which batches have not; leave them out.")
    steps, size = [], tuple(image_size)
    for transform, conditions in _leaves(compose):
        if _name(transform) not in _STEPS:
            known = ", ".join(_STEPS) + ", Compose, Sequential, OneOf"
            raise BadInput(f"{_name(transform)} cannot be applied to whole batches; these can: {known}.")
        step = _STEPS[_name(transform)](transform, size)
        if step.changes_kind and conditions:
            raise BadInput(f"{_name(transform)} changes size or type of an image: give it p=1, outside of OneOf.")
        steps.append((step, conditions))
        size = step.size or size
    return BatchedPipeline(steps, tuple(image_size))


def _mix(x: np.ndarray) -> np.ndarray:
    """Scramble 64-bit numbers (SplitMix64: Steele et al., Fast Splittable Pseudorandom Number Generators, 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _uniform(keys: np.ndarray, stream: int, count: int) -> np.ndarray:
    """Return `count` numbers in [0, 1) for each key, (N, count), other ones for each stream."""
    numbers = _mix(_mix(keys ^ np.uint64(stream << 20))[:, None] + np.arange(count, dtype=np.uint64))
    return (numbers >> np.uint64(11)).astype(float) * 2.0**-53


def _leaves(compose: object) -> list[tuple[object, list[Condition]]]:
    """Return the pipeline's transforms in order, each with the conditions that must all hold for it to be applied."""
    leaves, streams = [], count()

    def coin(p: float) -> list[Condition]:
        return [(next(streams), 0.0, p)] if p < 1 else []

    def walk(part: object, conditions: list[Condition]) -> None:
        if _name(part) == "OneOf":
            stream, ends = next(streams), np.cumsum(part.transforms_ps)
            ends[-1:] = 1.0  # sums of rounded shares may end below it
            choices = [[(stream, low, high)] for low, high in pairwise(np.append(0.0, ends))]
        elif _name(part) in ("Compose", "Sequential"):
            choices = [coin(child.p) for child in part.transforms]
        else:
            leaves.append((part, conditions))
            return
        for child, choice in zip(part.transforms, choices, strict=True):
            walk(child, conditions + choice)

    walk(compose, coin(compose.p))
    return leaves


def _name(transform: object) -> str:
    return type(transform).__name__


def _only(transform: object, **accepted: object) -> None:
    """Refuse a transform with an option that has another value than the one accepted."""
    for option, value in accepted.items():
        given = getattr(transform, option)
        if given != value:
            raise BadInput(f"{_name(transform)} with {option}={given!r} is not supported in batches; use {value!r}.")


def _between(u: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return limits[0] + u * (limits[1] - limits[0])


def _integer(u: np.ndarray, low: int, high: int | np.ndarray) -> np.ndarray:
    """Return whole numbers from `low` to `high`, both included."""
    return low + np.floor(u * (high - low + 1)).astype(np.int64)


def _colour(fill: object) -> Tensor:
    """Return one number or one for each channel as (1, 3, 1, 1)."""
    try:
        channels = torch.tensor(np.broadcast_to(np.asarray(fill, float), 3).tolist(), dtype=torch.float64)
    except (TypeError, ValueError):
        message = f"The fill {fill!r} is not supported in batches; give a number or one for each channel."
        raise BadInput(message) from None
    return channels.view(1, 3, 1, 1)


def _affine(transform: object, size: Size) -> Step:
    _only(transform, interpolation=cv2.INTER_LINEAR, fit_output=False, balanced_scale=False)
    modes = {cv2.BORDER_REFLECT_101: "reflection", cv2.BORDER_REPLICATE: "border", cv2.BORDER_CONSTANT: "zeros"}
    if transform.border_mode not in modes:
        raise BadInput(f"{_name(transform)} with border_mode={transform.border_mode} is not supported in batches.")
    mode, fill = modes[transform.border_mode], _colour(transform.fill)

    def apply(images: Tensor, matrix: np.ndarray) -> Tensor:
        grid = _sampling_grid(torch.from_numpy(np.linalg.inv(matrix)).to(images.device, torch.float32), size)
        if mode == "zeros":  # the fill becomes the zero that lies outside
            colour = fill.to(grid)
            warped = F.grid_sample(images.float() - colour, grid, "bilinear", mode, align_corners=True).add_(colour)
        else:
            warped = F.grid_sample(images.float(), grid, "bilinear", mode, align_corners=True)
        return warped if images.is_floating_point() else warped.round_().to(images.dtype)

    return Step(apply, 7, lambda u: {"matrix": _matrices(transform, u, size)})


def _sampling_grid(back: Tensor, size: Size) -> Tensor:
    """Return where each output pixel comes from, x and y from -1 to 1, (N, H, W, 2), for matrices (N, 3, 3)."""
    height, width = size
    x, y = torch.arange(width, device=back.device), torch.arange(height, device=back.device)[:, None]
    unit = torch.tensor([2 / (width - 1), 2 / (height - 1)], device=back.device).view(2, 1, 1, 1)
    a, b, c = (unit * back[:, :2, :, None, None]).unbind(2)
    return (a * x + (b * y + (c - 1))).permute(0, 2, 3, 1)  # made as (N, 2, H, W): lines are written at once


def _matrices(transform: object, u: np.ndarray, size: Size) -> np.ndarray:
    """Return (N, 3, 3): scale, rotate, shear and shift about the centre, as albumentations composes them."""
    height, width = size
    shift_x, shift_y = _shifts(transform, u[:, 0], "x", width), _shifts(transform, u[:, 1], "y", height)
    scale_x = _between(u[:, 2], transform.scale["x"])
    scale_y = scale_x if transform.keep_ratio else _between(u[:, 3], transform.scale["y"])
    angle = np.deg2rad(_between(u[:, 4], transform.rotate))
    shear_x, shear_y = (np.deg2rad(_between(u[:, 5 + k], transform.shear[axis])) for k, axis in enumerate("xy"))
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    away = _matrix(1, 0, -centre_x, 0, 1, -centre_y)
    scale = _matrix(scale_x, 0, 0, 0, scale_y, 0)
    rotate = _matrix(np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0)
    shear = _matrix(1, np.tan(-shear_x), 0, np.tan(-shear_y), 1, 0)
    back = _matrix(1, 0, centre_x + shift_x, 0, 1, centre_y + shift_y)
    return back @ shear @ rotate @ scale @ away


def _shifts(transform: object, u: np.ndarray, axis: str, side: int) -> np.ndarray:
    """Return shifts along an axis in whole pixels, to which albumentations cuts shares of the side."""
    if transform.translate_px is None:
        return np.trunc(_between(u, transform.translate_percent[axis]) * side)
    return _integer(u, *map(int, transform.translate_px[axis]))


def _matrix(*entries: float | np.ndarray) -> np.ndarray:
    """Return (N, 3, 3) with these two rows above (0, 0, 1); an entry is one number or (N,)."""
    return np.stack(np.broadcast_arrays(*entries, 0, 0, 1), -1).reshape(-1, 3, 3)


def _pad(transform: object, size: Size) -> Step:
    _only(transform, border_mode=cv2.BORDER_CONSTANT, position="center")
    _only(transform, pad_height_divisor=None, pad_width_divisor=None)
    height, width = max(transform.min_height, size[0]), max(transform.min_width, size[1])
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    fill = _colour(transform.fill)

    def apply(images: Tensor) -> Tensor:
        padded = fill.to(images).expand(len(images), 3, height, width).clone()
        padded[:, :, top : top + size[0], left : left + size[1]] = images
        return padded

    return Step(apply, size=(height, width), changes_kind=True)


def _crop(transform: object, size: Size) -> Step:
    _only(transform, pad_if_needed=False)
    height, width = transform.height, transform.width
    if height > size[0] or width > size[1]:
        raise BadInput(f"RandomCrop to {height}x{width} does not fit into {size[0]}x{size[1]}; pad the images first.")

    def draw(u: np.ndarray) -> Parameters:
        return {"top": _integer(u[:, 0], 0, size[0] - height), "left": _integer(u[:, 1], 0, size[1] - width)}

    def apply(images: Tensor, top: np.ndarray, left: np.ndarray) -> Tensor:
        windows = images.unfold(2, height, 1).unfold(3, width, 1)  # (N, 3, tops, lefts, height, width), a view
        rows = np.arange(len(top))
        if images.device.type == "cpu":  # numpy copies whole lines where torch copies one number after another
            return torch.from_numpy(windows.numpy()[rows, :, top, left])
        rows, top, left = (torch.from_numpy(v).to(images.device) for v in (rows, top, left))
        return windows[rows, :, top, left]

    return Step(apply, 2, draw, size=(height, width), changes_kind=True)


def _holes(transform: object, size: Size) -> Step:
    fewest, most = transform.num_holes_range
    fill = _colour(transform.fill)
    shares = transform.hole_height_range[1] < 1  # of the image's sides

    def sides(u: np.ndarray, limits: tuple[float, float], side: int) -> np.ndarray:
        if shares:
            return (side * _between(u, limits)).astype(np.int64)
        return _integer(u, int(limits[0]), int(min(limits[1], side)))

    def draw(u: np.ndarray) -> Parameters:
        count, u = _integer(u[:, 0], fewest, most), u[:, 1:].reshape(len(u), most, 4)
        height = sides(u[..., 0], transform.hole_height_range, size[0])
        width = sides(u[..., 1], transform.hole_width_range, size[1])
        top, left = _integer(u[..., 2], 0, size[0] - height), _integer(u[..., 3], 0, size[1] - width)
        exists = np.arange(most) < count[:, None]
        return {"holes": np.stack([left, top, left + width * exists, top + height * exists], -1)}

    def apply(images: Tensor, holes: np.ndarray) -> Tensor:
        covered = _cover(torch.from_numpy(holes).to(images.device), size).to(images.dtype)
        return (images * (1 - covered)).addcmul_(fill.to(images), covered)  # several times faster than torch.where

    return Step(apply, 1 + 4 * most, draw)


def _cover(holes: Tensor, size: Size) -> Tensor:
    """Return 1 within an image's holes (left, top, right, bottom), (N, holes, 4), and 0 elsewhere, (N, 1, H, W)."""
    y, x = (torch.arange(side, device=holes.device) for side in size)
    covered = torch.zeros(len(holes), *size, dtype=torch.uint8, device=holes.device)
    for hole in holes.unbind(1):
        left, top, right, bottom = hole.T[:, :, None]
        rows, columns = ((y >= top) & (y < bottom)).byte(), ((x >= left) & (x < right)).byte()
        covered |= rows[:, :, None] * columns[:, None, :]
    return covered[:, None]


def _shift_colours(transform: object, size: Size) -> Step:
    limits = np.array(transform.noise_params["ranges"]).T  # shares of the range of values

    def apply(images: Tensor, shift: np.ndarray) -> Tensor:
        white = 1 if images.is_floating_point() else 255
        levels = (white * shift).astype(np.float32 if white == 1 else np.int16)  # cut to whole grey levels
        return (images + torch.from_numpy(levels).to(images.device)[:, :, None, None]).clamp_(0, white).to(images.dtype)

    return Step(apply, 3, lambda u: {"shift": _between(u, limits)})


def _light(transform: object, size: Size) -> Step:
    _only(transform, brightness_by_max=True, ensure_safe_range=False)
    contrast, brightness = transform.contrast_limit, transform.brightness_limit

    def apply(images: Tensor, alpha: np.ndarray, beta: np.ndarray) -> Tensor:
        white = 1 if images.is_floating_point() else 255
        factors = np.stack([alpha, white * beta])[..., None, None, None]
        alpha, beta = torch.from_numpy(factors).to(images.device, torch.float32)
        return (images.float() * alpha).add_(beta).clamp_(0, white).to(images.dtype)

    return Step(apply, 2, lambda u: {"alpha": 1 + _between(u[:, 0], contrast), "beta": _between(u[:, 1], brightness)})


def _grey(transform: object, size: Size) -> Step:
    _only(transform, num_output_channels=3, method="weighted_average")

    def apply(images: Tensor) -> Tensor:
        weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
        grey = (images.float() * weights).sum(1, keepdim=True)
        return (grey if images.is_floating_point() else grey.round_()).to(images.dtype).expand_as(images)

    return Step(apply)


def _normalise(transform: object, size: Size) -> Step:
    _only(transform, normalization="standard")
    mean, scale = (torch.as_tensor(v).view(1, -1, 1, 1) for v in (transform.mean_np, transform.denominator))

    def apply(images: Tensor) -> Tensor:
        return images.to(torch.float32, copy=True).sub_(mean.to(images.device)).mul_(scale.to(images.device))

    return Step(apply, changes_kind=True)


_STEPS: dict[str, Callable[[object, Size], Step]] = {
    "HorizontalFlip": lambda transform, size: Step(lambda images: images.flip(-1)),
    "VerticalFlip": lambda transform, size: Step(lambda images: images.flip(-2)),
    "ShiftScaleRotate": _affine,
    "Affine": _affine,
    "PadIfNeeded": _pad,
    "RandomCrop": _crop,
    "CoarseDropout": _holes,
    "RGBShift": _shift_colours,
    "RandomBrightnessContrast": _light,
    "ToGray": _grey,
    "Normalize": _normalise,
    "ToTensorV2": lambda transform, size: Step(lambda images: images),
}

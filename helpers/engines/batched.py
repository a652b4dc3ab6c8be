"""An albumentations pipeline on whole batches: the same transforms as tensor operations, on the CPU or a GPU.

albumentations spends some hundred microseconds of Python on an image of 32x32. Here every transform is read out of the
pipeline once, its parameters are drawn for all images together, and it is applied to those that it fires for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.errors import BadInput

Size = tuple[int, int]  # height, width
Parameters = dict[str, np.ndarray]  # an entry per image


@dataclass(frozen=True)
class Step:
    """A transform as tensor operations.

    `draw` makes parameters of `uniforms` numbers in [0, 1) per image, (N, uniforms), and the maps' size; `apply` takes
    images (N, 3, H, W) and the parameters. `resized` gives the size afterwards; `changes_kind` says that size or type
    of number is another one then, which no two images of a batch may differ in.
    """

    apply: Callable[..., Tensor]
    uniforms: int = 0
    draw: Callable[[np.ndarray, Size], Parameters] = lambda u, size: {}
    resized: Callable[[Size], Size] = lambda size: size
    changes_kind: bool = False


@dataclass(frozen=True)
class Part:
    """A transform of the pipeline, compiled for maps of one size.

    It is applied to an image when the random number of every stream in `conditions` lies between its two bounds.
    """

    transform: object
    step: Step
    size: Size
    conditions: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class Drawn:
    """What a part does to a batch: to which images (rows), and with which parameters, an entry for each."""

    part: Part
    rows: np.ndarray
    parameters: Parameters


class BatchedPipeline:
    """A callable, made by `batched`: uint8 (N, 3, H, W) in, what the pipeline gives out, normalised float as a rule.

    What happens to an image is a function of seed, epoch and the image's place in the data set, `index`, alone:
    neither the batch nor the device matters.
    """

    def __init__(self, compose: object, image_size: Size = (32, 32)):
        self.image_size = tuple(image_size)
        self.parts: list[Part] = []
        size = self.image_size
        for transform, conditions in _leaves(compose):
            step = _step(transform, size)
            if step.changes_kind and conditions:
                raise BadInput(f"{_name(transform)} changes size or type of an image: give it p=1, outside of OneOf.")
            self.parts.append(Part(transform, step, size, conditions))
            size = step.resized(size)

    def __call__(self, images: Tensor, *, seed: int, epoch: int, index: Tensor | np.ndarray) -> Tensor:
        """Augment the images; raises BadInput for images or places of another kind or shape."""
        wanted = (3, *self.image_size)
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.shape[1:] != wanted:
            given = f"{images.dtype} {tuple(images.shape)}" if hasattr(images, "dtype") else type(images).__name__
            raise BadInput(f"A batched pipeline takes a uint8 tensor (N, {', '.join(map(str, wanted))}), not {given}.")
        if len(images) == 0 or tuple(np.shape(index)) != (len(images),):
            raise BadInput(
                f"{len(images)} images have places {np.shape(index)}; give at least one, and each its place."
            )
        places, whole = torch.as_tensor(index), (int, np.integer)
        if (
            places.is_floating_point()
            or places.min() < 0
            or not all(isinstance(n, whole) and n >= 0 for n in (seed, epoch))
        ):
            raise BadInput("The seed, the epoch and the images' places must be whole numbers from 0.")
        return self.apply(images, self.draw(seed=seed, epoch=epoch, index=index))

    def draw(self, *, seed: int, epoch: int, index: Tensor | np.ndarray) -> list[Drawn]:
        """Return what each transform will do, in order, drawn from (seed, epoch, index)."""
        places = torch.as_tensor(index).cpu().numpy().astype(np.uint64)
        keys = _mix(_mix(_mix(np.full(len(places), seed, np.uint64)) ^ np.uint64(epoch)) ^ places)
        drawn = []
        for number, part in enumerate(self.parts):
            fires = np.ones(len(keys), bool)
            for stream, low, high in part.conditions:
                u = _uniform(keys, stream, 1)[:, 0]
                fires &= (low <= u) & (u < high)
            rows = np.flatnonzero(fires)
            u = _uniform(keys[rows], _PARAMETERS + number, part.step.uniforms)
            drawn.append(Drawn(part, rows, part.step.draw(u, part.size)))
        return drawn

    def apply(self, images: Tensor, drawn: list[Drawn]) -> Tensor:
        """Return the images after what was drawn."""
        images = images.clone(memory_format=torch.contiguous_format)  # parts of it are written over
        for done in drawn:
            if len(done.rows) == len(images):
                images = done.part.step.apply(images, **done.parameters)
            elif len(done.rows):
                rows = torch.from_numpy(done.rows).to(images.device)
                changed = done.part.step.apply(images.index_select(0, rows), **done.parameters)
                _words(images)[rows] = _words(changed.contiguous())
        return images


def _words(images: Tensor) -> Tensor:
    """Return the same memory as 64-bit words, a row per image, where it divides: copied several times faster."""
    rows = images.flatten(1)
    return rows.view(torch.int64) if rows.shape[1] * rows.element_size() % 8 == 0 else rows


def batched(compose: object, image_size: Size = (32, 32)) -> BatchedPipeline:
    """Compile an albumentations Compose to tensor operations on batches of images of this size.

    Raises BadInput that names a transform or an option which is not supported, and the transforms which are.
    """
    if _name(compose) != "Compose":
        raise BadInput(f"A pipeline is an albumentations Compose, {_name(compose)} is not; build one.")
    if compose.processors or compose.additional_targets:
        raise BadInput("The pipeline has targets other than the image, which batches have not; leave them out.")
    return BatchedPipeline(compose, image_size)


# --- random numbers as a function of a key --------------------------------------------------------------------------

_PARAMETERS = 1 << 20  # streams of random numbers below it decide which transforms fire, those above how


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


def _leaves(compose: object) -> list[tuple[object, tuple]]:
    """Return the pipeline's transforms in order, each with the conditions under which it is applied."""
    streams = iter(range(_PARAMETERS))

    def coin(p: float) -> tuple:
        return ((next(streams), 0.0, p),) if p < 1 else ()

    def walk(part: object, conditions: tuple) -> list[tuple[object, tuple]]:
        if not hasattr(part, "transforms"):
            return [(part, conditions)]
        if _name(part) == "OneOf":
            stream, ends = next(streams), [0.0, *np.cumsum(part.transforms_ps)[:-1], 1.0]
            inner = [conditions + ((stream, *ends[n : n + 2]),) for n in range(len(part.transforms))]
        elif _name(part) in ("Compose", "Sequential"):
            inner = [conditions + coin(t.p) for t in part.transforms]
        else:
            raise _unsupported(part)
        return [leaf for t, c in zip(part.transforms, inner, strict=True) for leaf in walk(t, c)]

    return walk(compose, coin(compose.p))


# --- the transforms ---------------------------------------------------------------------------------------------------


def _name(transform: object) -> str:
    return type(transform).__name__


def _unsupported(what: object) -> BadInput:
    known = ", ".join([*_STEPS, "Compose, Sequential, OneOf"])
    return BadInput(f"{_name(what)} cannot be applied to whole batches; these can: {known}.")


def _step(transform: object, size: Size) -> Step:
    if _name(transform) not in _STEPS:
        raise _unsupported(transform)
    return _STEPS[_name(transform)](transform, size)


def _only(transform: object, **accepted: object) -> None:
    """Refuse a transform with an option that has another value than the one accepted."""
    for option, value in accepted.items():
        if (given := getattr(transform, option)) != value:
            raise BadInput(f"{_name(transform)} with {option}={given!r} is not supported in batches; use {value!r}.")


def _between(u: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return limits[0] + u * (limits[1] - limits[0])


def _integer(u: np.ndarray, low: int, high: int | np.ndarray) -> np.ndarray:
    """Return whole numbers from `low` to `high`, both included."""
    return low + np.floor(u * (high - low + 1)).astype(np.int64)


def _channels(value: object, like: Tensor) -> Tensor:
    """Return one number or three as the images' type has them, (1, 3, 1, 1)."""
    try:
        numbers = torch.tensor(np.broadcast_to(np.asarray(value, float), 3).copy())
    except (TypeError, ValueError):
        raise BadInput(
            f"The fill {value!r} is not supported in batches; give a number or one for each channel."
        ) from None
    return numbers.to(like.device, like.dtype).view(1, 3, 1, 1)


def _like(values: Tensor, images: Tensor) -> Tensor:
    """Return float values in the images' type; grey levels are cut to 0 to 255."""
    return values if images.is_floating_point() else values.clamp(0, 255).to(images.dtype)


def _affine(transform: object, size: Size) -> Step:
    _only(transform, interpolation=cv2.INTER_LINEAR, fit_output=False, balanced_scale=False)
    modes = {cv2.BORDER_REFLECT_101: "reflection", cv2.BORDER_REPLICATE: "border", cv2.BORDER_CONSTANT: "zeros"}
    if transform.border_mode not in modes:
        raise BadInput(f"{_name(transform)} with border_mode={transform.border_mode} is not supported in batches.")
    _channels(transform.fill, torch.zeros(()))

    def draw(u: np.ndarray, size: Size) -> Parameters:
        return {"matrix": _matrices(transform, u, size)}

    def apply(images: Tensor, matrix: np.ndarray) -> Tensor:
        height, width = images.shape[-2:]
        back = torch.from_numpy(np.linalg.inv(matrix)).to(images.device, torch.float32)[:, :, :, None]
        x, y = torch.arange(width, device=images.device), torch.arange(height, device=images.device)[:, None]
        grid = torch.empty(len(images), height, width, 2, device=images.device)
        for axis, side in enumerate((width, height)):  # where each output pixel comes from, from -1 to 1
            a, b, c = (2 / (side - 1) * back[:, axis, k, :, None] for k in range(3))
            torch.add(a * x, b * y + (c - 1), out=grid[..., axis])
        mode = modes[transform.border_mode]
        fill = _channels(transform.fill, grid) if mode == "zeros" else 0
        warped = F.grid_sample(images.float() - fill, grid, "bilinear", mode, align_corners=True) + fill
        return warped if images.is_floating_point() else warped.round_().to(images.dtype)

    return Step(apply, 7, draw)


def _matrices(transform: object, u: np.ndarray, size: Size) -> np.ndarray:
    """Return (N, 3, 3): scale, rotate, shear and shift about the centre, as albumentations composes them."""
    height, width = size
    shift_x, shift_y, scale_x, scale_y, angle, shear_x, shear_y = u.T
    if transform.translate_px is not None:
        shifts = [_integer(v, *map(int, transform.translate_px[k])) for v, k in ((shift_x, "x"), (shift_y, "y"))]
    else:
        shares = transform.translate_percent or {"x": (0, 0), "y": (0, 0)}
        shifts = [_between(shift_x, shares["x"]) * width, _between(shift_y, shares["y"]) * height]
    shifts = np.trunc(shifts)  # albumentations shifts by whole pixels
    scales = [_between(scale_x, transform.scale["x"]), _between(scale_y, transform.scale["y"])]
    if transform.keep_ratio:
        scales[1] = scales[0]
    angle = np.deg2rad(_between(angle, transform.rotate))
    tangents = [np.tan(np.deg2rad(-_between(v, transform.shear[k]))) for v, k in ((shear_x, "x"), (shear_y, "y"))]
    zero, one = np.zeros(len(u)), np.ones(len(u))

    def matrices(*entries: np.ndarray) -> np.ndarray:
        return np.stack([*entries, zero, zero, one], -1).reshape(-1, 3, 3)

    centre_x, centre_y = (width - 1) / 2 * one, (height - 1) / 2 * one
    away = matrices(one, zero, -centre_x, zero, one, -centre_y)
    scale = matrices(scales[0], zero, zero, zero, scales[1], zero)
    rotate = matrices(np.cos(angle), np.sin(angle), zero, -np.sin(angle), np.cos(angle), zero)
    shear = matrices(one, tangents[0], zero, tangents[1], one, zero)
    back = matrices(one, zero, centre_x + shifts[0], zero, one, centre_y + shifts[1])
    return back @ shear @ rotate @ scale @ away


def _pad(transform: object, size: Size) -> Step:
    _only(
        transform, pad_height_divisor=None, pad_width_divisor=None, position="center", border_mode=cv2.BORDER_CONSTANT
    )
    high, wide = max(transform.min_height - size[0], 0), max(transform.min_width - size[1], 0)

    def apply(images: Tensor) -> Tensor:
        padded = _channels(transform.fill, images).expand(len(images), 3, size[0] + high, size[1] + wide).clone()
        padded[:, :, high // 2 : high // 2 + size[0], wide // 2 : wide // 2 + size[1]] = images
        return padded

    return Step(apply, resized=lambda size: (size[0] + high, size[1] + wide), changes_kind=True)


def _crop(transform: object, size: Size) -> Step:
    _only(transform, pad_if_needed=False)
    height, width = transform.height, transform.width
    if height > size[0] or width > size[1]:
        raise BadInput(f"RandomCrop to {height}x{width} does not fit into {size[0]}x{size[1]}; pad the images first.")

    def draw(u: np.ndarray, size: Size) -> Parameters:
        return {"top": _integer(u[:, 0], 0, size[0] - height), "left": _integer(u[:, 1], 0, size[1] - width)}

    def apply(images: Tensor, top: np.ndarray, left: np.ndarray) -> Tensor:
        windows = images.unfold(2, height, 1).unfold(3, width, 1)  # (N, 3, tops, lefts, height, width), a view
        rows = np.arange(len(top))
        if images.device.type == "cpu":  # numpy copies whole lines where torch copies one number after another
            return torch.from_numpy(windows.numpy()[rows, :, top, left])
        rows, top, left = (torch.from_numpy(v).to(images.device) for v in (rows, top, left))
        return windows[rows, :, top, left]

    return Step(apply, 2, draw, lambda size: (height, width), changes_kind=True)


def _holes(transform: object, size: Size) -> Step:
    _channels(transform.fill, torch.zeros(()))
    fewest, most = transform.num_holes_range
    pixels = transform.hole_height_range[1] >= 1

    def sides(u: np.ndarray, limits: tuple[float, float], whole: int) -> np.ndarray:
        if pixels:
            return _integer(u, int(limits[0]), int(min(limits[1], whole)))
        return (whole * _between(u, limits)).astype(np.int64)

    def draw(u: np.ndarray, size: Size) -> Parameters:
        count, u = _integer(u[:, 0], fewest, most), u[:, 1:].reshape(len(u), most, 4)
        high, wide = (
            sides(u[..., 0], transform.hole_height_range, size[0]),
            sides(u[..., 1], transform.hole_width_range, size[1]),
        )
        top, left = _integer(u[..., 2], 0, size[0] - high), _integer(u[..., 3], 0, size[1] - wide)
        there = np.arange(most) < count[:, None]
        return {"holes": np.stack([left, top, left + wide * there, top + high * there], -1)}

    def apply(images: Tensor, holes: np.ndarray) -> Tensor:
        y, x = (torch.arange(n, device=images.device) for n in images.shape[-2:])
        covered = torch.zeros(len(images), len(y), len(x), dtype=torch.uint8, device=images.device)
        for hole in torch.as_tensor(holes, device=images.device).unbind(1):
            left, top, right, bottom = hole.T[:, :, None]
            rows, columns = ((y >= top) & (y < bottom)).byte(), ((x >= left) & (x < right)).byte()
            covered |= rows[:, :, None] * columns[:, None, :]
        covered = covered[:, None].to(images.dtype)  # sums of products take a fourth of the time of torch.where
        return images * (1 - covered) + _channels(transform.fill, images) * covered

    return Step(apply, 1 + 4 * most, draw)


def _shift_colours(transform: object, size: Size) -> Step:
    limits = np.array(transform.noise_params["ranges"])

    def draw(u: np.ndarray, size: Size) -> Parameters:
        return {"shift": limits[:, 0] + u * (limits[:, 1] - limits[:, 0])}  # shares of the range of values

    def apply(images: Tensor, shift: np.ndarray) -> Tensor:
        if images.is_floating_point():
            return (images + torch.from_numpy(shift).to(images.dtype).to(images.device)[:, :, None, None]).clamp(0, 1)
        levels = torch.from_numpy((255 * shift).astype(np.int16)).to(images.device)  # cut to whole grey levels
        return _like(images + levels[:, :, None, None], images)

    return Step(apply, 3, draw)


def _light(transform: object, size: Size) -> Step:
    _only(transform, brightness_by_max=True, ensure_safe_range=False)

    def draw(u: np.ndarray, size: Size) -> Parameters:
        contrast, brightness = transform.contrast_limit, transform.brightness_limit
        return {"alpha": 1 + _between(u[:, 0], contrast), "beta": _between(u[:, 1], brightness)}

    def apply(images: Tensor, alpha: np.ndarray, beta: np.ndarray) -> Tensor:
        most = 1 if images.is_floating_point() else 255
        alpha, beta = (torch.as_tensor(v, dtype=torch.float32, device=images.device) for v in (alpha, beta * most))
        lit = images.float() * alpha.view(-1, 1, 1, 1) + beta.view(-1, 1, 1, 1)
        return lit.clamp(0, 1) if images.is_floating_point() else _like(lit, images)

    return Step(apply, 2, draw)


def _grey(transform: object, size: Size) -> Step:
    _only(transform, num_output_channels=3, method="weighted_average")

    def apply(images: Tensor) -> Tensor:
        weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
        grey = (images.float() * weights).sum(1, keepdim=True)
        return _like(grey if images.is_floating_point() else grey.round(), images).expand_as(images)

    return Step(apply)


def _normalise(transform: object, size: Size) -> Step:
    _only(transform, normalization="standard")

    def apply(images: Tensor) -> Tensor:
        mean, scale = (
            torch.as_tensor(v).to(images.device).view(1, -1, 1, 1) for v in (transform.mean_np, transform.denominator)
        )
        return images.float().sub_(mean).mul_(scale)

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

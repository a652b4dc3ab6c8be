"""What a network does, in place of what its layers say: the numbers it reads, which taps matter, what a unit sees.

Layers are tried with fresh weights, in double precision: a network may keep its weights where no copy of it finds
them, so the ones it has are exchanged for the time of a trial and put back.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from helpers.engines.oracle import Attached, Locator, Summing, unit_gradient
from helpers.engines.tracing import Map, black_images, tensors_in
from helpers.errors import BadInput

TRIALS, MATTERS, SEEN, SEEN_EVENLY = 3, 1e-5, 1e-6, 1e-12  # fresh weights tried; shares of the largest effect
GATED = (1e-3,)  # where a product with a gate, as in spatial attention, has a slope
LEVELS = 1e-100, 1.0, 300.0  # of images: near zero all activations have a slope, unless the network centres its input


class Evidence(NamedTuple):
    """What was found, by trials where it can be."""

    count: int  # numbers that the network has
    places: list[str]  # that read those which are no parameters
    field: int
    taps: dict[int, np.ndarray]  # by the row of a convolution, which of its taps change the logits
    disguised: list[str]  # pooling by another name


class Reading(Locator):
    """Notes each tensor that comes from outside of the pass: what it is to its operation, where, whether it is trained.

    Also the weights of convolutions by row, and the maps that are summarised, by their makers.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__(images)
        self.outside: dict[int, tuple[Tensor, str, str, bool]] = {}  # by id
        self.held = {id(self.leaf): self.leaf, id(self.image): self.image}  # so that no address is given away again
        self.made, self.known = {address(tensor) for tensor in self.held.values()}, set()
        self.weights: dict[int, Tensor] = {}
        self.last: dict[tuple, Tensor] = {}

    def record(self, func, args: tuple, kwargs: dict, outputs: list[Tensor]) -> None:
        name, names = func._schema.name, [argument.name for argument in func._schema.arguments]
        for role, value in [*zip(names, args, strict=False), *kwargs.items()]:
            for tensor in tensors_in(value):
                in_code = name == "aten::lift_fresh" and tensor.ndim == 0  # as 0.5 is
                made = id(tensor) in self.held or address(tensor) in self.made
                if tensor.numel() and not made and not in_code:
                    self.outside.setdefault(id(tensor), (tensor, role, self.place(), tensor.requires_grad))
                    self.known.add(address(tensor))
        read, rows = [(t, self.maps[t]) for t in tensors_in((args, kwargs)) if t in self.maps], len(self.rows)
        super().record(func, args, kwargs, outputs)
        self.held.update((id(tensor), tensor) for tensor in outputs)
        self.made |= {address(tensor) for tensor in outputs} - self.known
        if name == "aten::convolution" and len(self.rows) > rows:
            self.weights[rows] = args[1]
        if any(self.maps[tensor].unpooled for tensor in outputs if tensor in self.maps):
            self.last.update((m.maker, tensor) for tensor, m in read if m.dims and not m.unpooled)


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def numbers(reading: Reading, model: nn.Module) -> tuple[int, list[str]]:
    """Return how many numbers a network has, parameters and all else that a pass reads, and where that else is read.

    Memory that is shared counts once; statistics of norms and of PyTorch's own parametrisations do not count.
    """
    modules = [model]  # not model.modules(), which a network may redefine
    for module in modules:
        modules += [child for child in module._modules.values() if child is not None and child not in modules]
    aside = {id(buffer) for module in modules if _keeps_statistics(module) for buffer in module._buffers.values()}
    own = {id(p): p for module in modules for p in module._parameters.values() if p is not None}
    read = {key: entry for key, entry in reading.outside.items() if key not in aside}
    stored: dict[int, list[Tensor]] = {}
    for tensor in ({key: tensor for key, (tensor, *_) in read.items()} | own).values():
        stored.setdefault(address(tensor), []).append(tensor)
    sizes = [(sum(t.numel() for t in ts), ts[0].untyped_storage().nbytes() // ts[0].itemsize) for ts in stored.values()]
    return sum(map(min, sizes)), sorted({place for key, (_, _, place, _) in read.items() if key not in own})


def _keeps_statistics(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._NormBase) or type(module).__module__.startswith("torch.nn.utils")


@contextmanager
def fresh(reading: Reading, corner: int | None = None, taps: dict[int, np.ndarray] | None = None) -> Iterator[None]:
    """Give what is trained new weights, norms the statistics that they begin with, and the rest its own, in double.

    Weights have both signs, or with a `corner` are positive, and that tap of each kernel is the heaviest by far.
    Kernels keep but the `taps` given by row.
    """
    entries = [entry for entry in reading.outside.values() if entry[0].is_floating_point()]
    alive = {id(reading.weights[row]): torch.from_numpy(kept) for row, kept in (taps or {}).items()}
    saved, standard = [(tensor, tensor.data) for tensor, *_ in entries], torch.get_default_dtype()
    statistics = {"running_mean": torch.zeros_like, "running_var": torch.ones_like}
    try:
        torch.set_default_dtype(torch.double)
        for tensor, role, _, trained in entries:
            data = tensor.data.double()
            data = _weights(data, role, corner) if trained else statistics.get(role, torch.clone)(data)
            tensor.data = data * alive[id(tensor)].to(data) if id(tensor) in alive else data
            if tensor.is_leaf and tensor.ndim > 2:
                tensor.requires_grad_()  # frozen weights matter, too
        yield
    finally:
        torch.set_default_dtype(standard)
        for tensor, data in saved:
            tensor.data = data
            if tensor.is_leaf:
                tensor.requires_grad_(reading.outside[id(tensor)][3])


def _weights(data: Tensor, role: str, corner: int | None) -> Tensor:
    if data.ndim < 2:
        return (torch.rand_like(data) + 0.5) * (role != "bias")
    inputs = data.numel() / len(data)
    if corner is None:
        return torch.randn_like(data) * (2 / inputs) ** 0.5  # keeps the scale of a map
    weights = (torch.rand_like(data) + 0.5) * 0.1 / inputs
    weights[(..., *[corner] * (data.ndim - 2))] *= 20 * data[0, 0].numel()
    return weights


@torch.enable_grad()
def effects(model: nn.Module, reading: Reading) -> tuple[dict[int, np.ndarray], set[int]]:
    """Return by row which taps of a convolution change the logits, and the numbers of the summarised maps that do."""
    taps, heeded = {}, set()
    for trial in range(TRIALS):
        torch.manual_seed(trial)
        with fresh(reading), suppress(BadInput), Attached():
            trace = Reading(torch.randn_like(reading.leaf, dtype=torch.double))
            trace.run(model)
            used = [*trace.weights.values(), *trace.last.values()]
            asked = [tensor for tensor in used if tensor.requires_grad]  # another is fixed by the code
            total = (trace.output * torch.randn_like(trace.output)).sum() + 0 * trace.leaf.sum()
            slopes = dict(zip(map(id, asked), torch.autograd.grad(total, asked, allow_unused=True), strict=True))
            slopes = [0 if slopes.get(id(tensor)) is None else slopes[id(tensor)] for tensor in used]
            shares = [(tensor * slope).detach().abs().cpu() for tensor, slope in zip(used, slopes, strict=True)]
            least = MATTERS * max((share.sum() for share in shares[: len(trace.weights)]), default=0)
            for row, share in zip(trace.weights, shares, strict=False):
                if share.ndim == 4:
                    taps[row] = taps.get(row, False) | (share.sum((0, 1)) > least).numpy()
            heeded |= {n for n, share in enumerate(shares[len(trace.weights) :]) if share.sum() > least}
    if not heeded:
        raise BadInput("No change of its weights changes the network's logits: do without no_grad, item() and casts.")
    return taps, heeded


@torch.enable_grad()
def seen(model: nn.Module, reading: Reading, taps: dict[int, np.ndarray], heeded: set[int]) -> int:
    """Return the receptive field that gradients confirm, of the summarised maps that matter the widest.

    Each is tried on an image that is large enough, where corners of kernels are heavy, so that the outermost pixels
    count as much as the central ones; where it takes none, on one of its own size. Of height and width the smaller.
    """
    with fresh(reading, 0), Summing():
        trace = Reading(reading.leaf.detach().double())
        trace.run(model)
    widest = 0
    for number, (maker, tensor) in enumerate(trace.last.items()):
        m = trace.maps[tensor]
        if number in heeded and m.rf.min() > widest:
            large = (m.rf + reading.leaf.shape[-1] + 2 * m.period) // m.period * m.period
            reached = partial(_reached, model, reading, taps, maker)
            found = _extent(reached, m, large, reading.leaf, LEVELS)
            if (found < m.rf).any():
                found = np.maximum(found, _extent(reached, m, large, reading.leaf, GATED))
            widest = max(widest, int(min(*m.rf, *found)))
    return widest


def _extent(reached: Callable, m: Map, large: np.ndarray, image: Tensor, levels: tuple) -> np.ndarray:
    """Return how many pixels, (height, width), the central unit heeds."""
    ends, side = [reached(large, levels, corner) for corner in (0, -1)], np.array(image.shape[-2:])
    if None not in ends:
        return ends[1][1] - ends[0][0] + 1
    first, last = reached(side, levels) or (np.zeros(2), -np.ones(2))
    whole = (last - first + 1 > np.minimum(m.rf, side) - m.period).all()  # of what is wider no more can be seen
    return m.rf if whole else last - first + 1


def _reached(model: nn.Module, reading: Reading, taps: dict, maker: tuple, side: np.ndarray, levels, corner=None):
    """Return the first and the last pixel, (row, column) each, that the central unit heeds, or None."""
    for level in levels:
        torch.manual_seed(0)
        images = level * (torch.rand(1, reading.leaf.shape[1], *side.tolist(), dtype=torch.double) + 0.5)
        with fresh(reading, corner, taps), suppress(BadInput), Summing():
            gradient, _ = unit_gradient(model, images.to(reading.leaf.device), maker)
            reached = np.argwhere(gradient > (SEEN_EVENLY if corner is None else SEEN) * gradient.max())
            return reached.min(axis=0), reached.max(axis=0)
    return None


def examine(model: nn.Module) -> Evidence:
    """Try a network on images of 32x32; raises BadInput where its logits cannot be traced back to its weights."""
    with torch.random.fork_rng(), torch.enable_grad():
        reading = Reading(black_images(model, (3, 32, 32)))
        reading.run(model)
        taps, heeded = effects(model, reading)
        return Evidence(*numbers(reading, model), seen(model, reading, taps, heeded), taps, reading.disguised)

"""What a network does, in place of what its layers say: the numbers it reads, which taps matter, what a unit sees.

Layers are tried with fresh weights, in double precision: a network may keep its weights where no copy of it finds
them, so the ones it has are exchanged for the time of a trial and put back.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from helpers.engines.oracle import Locator, Summing, unit_gradient
from helpers.engines.tracing import black_images, tensors_in
from helpers.errors import BadInput

TRIALS, MATTERS, SEEN, EVEN = 3, 1e-5, 1e-6, 1e-12  # fresh weights tried; shares of the largest effect
LEVELS = 1e-100, 1.0, 300.0  # of images: near zero all activations have a slope, unless the network centres its input


class Reading(Locator):
    """Notes each tensor that comes from outside the pass, what it is to the operation, and who reads it first."""

    def __init__(self, images: Tensor) -> None:
        super().__init__(images)
        self.outside: dict[int, list[tuple[Tensor, str, str, bool]]] = {}  # by the address of their storage
        self.inside = {self.leaf.data_ptr(), self.image.data_ptr()}
        self.held: list[Tensor] = []  # so that no address is given away again
        self.weights: dict[int, Tensor] = {}  # of convolutions, by row
        self.made: dict[tuple, Tensor] = {}  # maps by their makers
        self.last: dict[tuple, tuple[int, int]] = {}  # makers of maps that are then summarised, and what a unit sees

    def record(self, func, args: tuple, kwargs: dict, outputs: list[Tensor]) -> None:
        names = [argument.name for argument in func._schema.arguments]
        for name, value in [*zip(names, args, strict=False), *kwargs.items()]:
            for tensor in tensors_in(value):
                self.read(tensor, name, func._schema.name)
        read = [self.maps[tensor] for tensor in tensors_in((args, kwargs)) if tensor in self.maps]
        rows = len(self.rows)
        super().record(func, args, kwargs, outputs)
        self.held += outputs
        self.inside |= {address(tensor) for tensor in outputs} - set(self.outside)
        if func._schema.name == "aten::convolution" and len(self.rows) > rows:
            self.weights[rows] = args[1]
        self.made.update((self.maps[tensor].maker, tensor) for tensor in outputs if tensor in self.maps)
        if any(self.maps[tensor].unpooled for tensor in outputs if tensor in self.maps):
            self.last.update((m.maker, m.before_pooling()) for m in read if m.dims and not m.unpooled)

    def read(self, tensor: Tensor, name: str, operation: str) -> None:
        """Note a tensor that no operation of this pass has made; a plain number in the code is none."""
        written = operation == "aten::lift_fresh" and tensor.ndim == 0
        if tensor.numel() and address(tensor) not in self.inside and not written:
            known = self.outside.setdefault(address(tensor), [])
            if all(other is not tensor for other, *_ in known):
                steady = self.running and getattr(self.running[-1][1], "momentum", None) == 0
                name = "steady" if steady and name in ("running_mean", "running_var") else name
                known.append((tensor, name, self.place(), tensor.requires_grad))


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Return a network's modules, whatever it has made of `modules()` and `parameters()`."""
    found = [model]
    for module in found:
        found += [child for child in module._modules.values() if child is not None and child not in found]
    return found


def numbers(reading: Reading, model: nn.Module) -> tuple[int, dict[str, int]]:
    """Return how many numbers a network has, and by place how many of them are no parameter of a module.

    These are the parameters, and all else that a pass reads, shared memory once; the statistics of norms and of
    PyTorch's own parametrisations are left out.
    """
    modules, places = modules_of(model), {}
    aside = {id(b) for m in modules if type(m).__module__.startswith("torch.nn.utils") for b in m._buffers.values()}
    shown = {}
    for parameter in (p for module in modules for p in module._parameters.values() if p is not None):
        shown[address(parameter)] = elements(parameter) | shown.get(address(parameter), False)
    for tensor, name, place, _ in (entry for entries in reading.outside.values() for entry in entries):
        if id(tensor) not in aside and name not in ("running_mean", "running_var", "steady"):
            before = shown.get(address(tensor), False)
            shown[address(tensor)] = elements(tensor) | before
            if new := int(shown[address(tensor)].sum() - np.sum(before)):
                places[place] = places.get(place, 0) + new
    return sum(int(mark.sum()) for mark in shown.values()), places


def elements(tensor: Tensor) -> np.ndarray:
    """Return which elements of its storage a tensor shows, a flag for each."""
    marks = np.zeros(tensor.untyped_storage().nbytes() // tensor.element_size(), bool)
    places = torch.arange(len(marks)).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
    marks[places.numpy()] = True
    return marks


@contextmanager
def fresh(reading: Reading, value: Callable[[Tensor, str], Tensor], alive: dict | None = None) -> Iterator[None]:
    """Give what is trained new numbers, norms the statistics that they begin with, and the rest its own, in double.

    `alive` has by a tensor's id which taps it keeps.
    """
    entries = [entry for entries in reading.outside.values() for entry in entries]
    saved = [(tensor, tensor.data, tensor.requires_grad) for tensor, *_ in entries if tensor.is_floating_point()]
    standard = torch.get_default_dtype()
    start = {"running_mean": torch.zeros_like, "running_var": torch.ones_like}
    try:
        torch.set_default_dtype(torch.double)
        for tensor, name, _, trained in entries:
            if tensor.is_floating_point():
                data = tensor.data.double()
                data = value(data, name) if trained else start.get(name, torch.clone)(data)
                tensor.data = data * alive[id(tensor)] if alive and id(tensor) in alive else data
                if tensor.is_leaf and tensor.ndim > 2:
                    tensor.requires_grad_()  # frozen weights matter, too
        yield
    finally:
        torch.set_default_dtype(standard)
        for tensor, data, trained in saved:
            tensor.data = data
            if tensor.is_leaf:
                tensor.requires_grad_(trained)


def signed(data: Tensor, name: str) -> Tensor:
    """Return weights of both signs that keep the scale of a map, and small biases."""
    if data.ndim < 2:
        return (torch.rand_like(data) + 0.5) * (0.1 if name == "bias" else 1)
    return torch.randn_like(data) * (2 * len(data) / data.numel()) ** 0.5


def positive(data: Tensor, name: str, corner: int | None = None) -> Tensor:
    """Return positive weights, and no bias; of a kernel's taps one corner may be the heaviest by far."""
    weights = torch.rand_like(data) + 0.5
    if data.ndim < 2:
        return weights * (name != "bias")
    weights = weights * len(data) / data.numel()
    if corner is not None and data.ndim > 2:
        taps = data[0, 0].numel()
        weights = weights * 0.1
        weights[(..., *[corner] * (data.ndim - 2))] *= 20 * taps
    return weights


@torch.enable_grad()
def effects(model: nn.Module, reading: Reading) -> tuple[dict[int, np.ndarray], dict[int, Tensor], set[int]]:
    """Return which taps of a convolution change the logits, by row and by id, and the numbers of the maps that do."""
    taps, alive, heeded = {}, {}, set()
    for trial in range(TRIALS):
        torch.manual_seed(trial)
        with fresh(reading, signed), suppress(BadInput):
            trace = Reading(torch.randn(reading.image.shape).to(reading.image.device, torch.double))
            trace.run(model)
            used = [*trace.weights.values(), *(trace.made[maker] for maker in trace.last)]
            asked = [tensor for tensor in used if tensor.requires_grad]  # another is fixed by the code
            total = (trace.output * torch.randn_like(trace.output)).sum() + 0 * trace.leaf.sum()
            grads = dict(zip(map(id, asked), torch.autograd.grad(total, asked, allow_unused=True), strict=True))
            grads = [grads.get(id(tensor)) for tensor in used]
            shares = [t.abs() * (0 if g is None else g.abs()) for g, t in zip(grads, used, strict=True)]
            shares = [share.detach().cpu() for share in shares]
            most = max((share.sum() for share in shares[: len(trace.weights)]), default=0)
            for (row, weight), share in zip(trace.weights.items(), shares, strict=False):
                if share.ndim == 4:
                    found = share.sum((0, 1)) > MATTERS * most
                    taps[row] = taps.get(row, False) | found.numpy()
                    alive[id(weight)] = alive.get(id(weight), False) | found.to(weight.device)
            heeded |= {n for n, share in enumerate(shares[len(trace.weights) :]) if share.sum() > MATTERS * most}
    if not heeded:
        raise BadInput(
            "No change of the network's weights changes its logits; build it without no_grad, detach and item(), and with "
            "one precision."
        )
    return taps, {key: mask for key, mask in alive.items() if not mask.all()}, heeded


@torch.enable_grad()
def seen(model: nn.Module, reading: Reading, alive: dict[int, Tensor], heeded: set[int]) -> int:
    """Return the receptive field that gradients confirm, of the summarised maps that matter the widest.

    Each is tried on an image that is large enough, where the corners of kernels are heavy, so that the outermost pixels
    count as much as the central ones; where it takes none, on one of its own size. Of height and width the smaller.
    """
    with fresh(reading, positive), Summing():
        trace = Reading(reading.leaf.detach().double())
        trace.run(model)
    widest = 0
    for number, maker in enumerate(trace.last):
        m = trace.maps[trace.made[maker]]
        if number in heeded and m.rf.min() > widest:
            side = m.rf + trace.image.shape[-1] + 2 * m.jump
            ends = [_reached(model, reading, maker, side // m.jump * m.jump, corner, alive) for corner in (0, -1)]
            if any(end is None for end in ends):
                own = _reached(model, reading, maker, np.array(trace.image.shape[-2:]), None, alive)
                ends = [own, own] if own is not None else [np.zeros((2, 2)), -np.ones((2, 2))]
            widest = max(widest, int(min(m.rf.min(), *(ends[1][1] - ends[0][0] + 1))))
    return widest


def _reached(model: nn.Module, reading: Reading, maker: tuple, side: np.ndarray, corner: int | None, alive: dict):
    """Return the first and the last pixel, (row, column) each, that the central unit heeds, or None if there is none."""
    share = EVEN if corner is None else SEEN
    for level in LEVELS:
        torch.manual_seed(0)
        images = level * (torch.rand(1, reading.image.shape[1], *side.tolist(), dtype=torch.double) + 0.5)
        with fresh(reading, partial(positive, corner=corner), alive), suppress(BadInput), Summing():
            gradient, _ = unit_gradient(model, images.to(reading.image.device), maker)
            reached = np.argwhere(gradient > share * gradient.max())
            return np.array([reached.min(axis=0), reached.max(axis=0)])
    return None


@dataclass(frozen=True)
class Evidence:
    """What was found: numbers, where those that are no parameters are read, the field, taps by row, disguised pools."""

    count: int
    places: dict[str, int]
    field: int
    taps: dict[int, np.ndarray]
    disguised: list[str]


def examine(model: nn.Module) -> Evidence:
    """Try a network on images of 32x32; raises BadInput where its logits cannot be traced back to its weights."""
    with torch.random.fork_rng():
        reading = Reading(black_images(model, (3, 32, 32)))
        with torch.enable_grad():
            reading.run(model)
        taps, alive, heeded = effects(model, reading)
        count, places = numbers(reading, model)
        return Evidence(count, places, seen(model, reading, alive, heeded), taps, reading.disguised)

"""One forward pass, watched operation by operation: which feature map each tensor is, and a row per layer.

PyTorch reports every operation, so functional calls and any control flow are followed. An operation that leaves
positions where they are passes its map on, one with a handler here moves it, and any other is refused. Left out is
what reaches a unit through a summary of a whole map: the gate of squeeze-and-excitation (a pooled map multiplied
back), the moments of group and layer norm.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from helpers.errors import BadInput

Pair = int | Sequence[int] | np.ndarray  # of the height and of the width, or of both
HEIGHT_WIDTH = (-2, -1)
COLUMNS = ["layer", "kind", "kernel", "stride", "dilation", "padding", "groups"]
COLUMNS += ["output", "params", "jump", "rf", "start", "inputs", "channels_in"]


@dataclass(frozen=True, eq=False)
class Map:
    """A feature map: its size and its units' windows, arrays (height, width).

    The first P units have windows of their own, (P, 2), and P units further on all have moved by the period. P is 1,
    but behind upsampling, whose neighbours see the same.
    """

    size: np.ndarray
    period: np.ndarray
    first: np.ndarray
    last: np.ndarray
    dims: tuple[int, ...] = HEIGHT_WIDTH  # the dimensions that hold positions; none once they are pooled away
    rows: tuple[int, ...] = (-1,)  # of the table, that it comes from; -1 is the image
    unpooled: tuple[int, int] | None = None  # once a whole map is pooled: the receptive field that it had
    maker: tuple = ()  # what made it, or the map that was pooled, if the trace keeps account of that
    parts: tuple = ()  # of a concatenation of channels: how many each has, and its map or None
    copies: frozenset = frozenset({(-1, 0, 0, 0, 0)})  # windows on maps of the same numbers: row, first and last pixels

    @property
    def rf(self) -> np.ndarray:
        return (self.last - self.first).max(axis=0) + 1

    @property
    def jump(self) -> np.ndarray:
        whole, rest = np.divmod(self.period, len(self.first))
        return self.period / len(self.first) if rest.any() else whole

    def before_pooling(self) -> tuple[int, int]:
        return self.unpooled or tuple(self.rf.tolist())

    def window(self, low: np.ndarray, high: np.ndarray, **changes: object) -> "Map":
        """Return the map whose first units see the units from `low` to `high`, (P, 2) each, of this one."""
        of, n = len(self.first), len(low)
        ends = (self.first, low), (self.last, high)
        first, last = (pixels[units % of, (0, 1)] + units // of * self.period for pixels, units in ends)
        moved = [*first.sum(0) - n * self.first.sum(0) // of, *last.sum(0) - n * self.last.sum(0) // of]
        copies = {(row, *(np.multiply(window, n) // of + moved).tolist()) for row, *window in self.copies}
        return replace(self, first=first, last=last, parts=(), copies=frozenset(copies), **changes)

    def repeated(self, phases: int) -> "Map":
        """Return the same map with so many windows of its own."""
        units = np.arange(phases)[:, None] + np.zeros(2, int)
        return replace(self.window(units, units, period=self.period * phases // len(self.first)), parts=self.parts)


class Operation:
    """An operation that PyTorch has run on a map: its arguments by name, the first of them, and its first result."""

    def __init__(self, func, args: tuple, kwargs: dict, out: Tensor) -> None:
        parameters = func._schema.arguments
        self.name = func._schema.name.removeprefix("aten::").removesuffix("_")
        self.in_place, self.pointwise = func._schema.is_mutable, torch.Tag.pointwise in func.tags
        self.given = {parameter.name: kwargs.get(parameter.name, parameter.default_value) for parameter in parameters}
        self.given.update((parameter.name, value) for parameter, value in zip(parameters, args, strict=False))
        self.x, self.out = args[0], out

    def connects(self, maps: list[Map], known: Mapping) -> bool:
        """Return whether, where no positions are left, it is a fully connected layer: by name, or by many weights."""
        if self.name in CONNECTED and len(maps) == 1 and self.out.ndim < 4:
            return True
        tensors = tensors_in(self.given)
        features = max((tensor.numel() for tensor in tensors if tensor in known), default=0)
        return self.name != "convolution" and any(t.numel() > features for t in tensors if t not in known)

    def weighs(self, m: Map, known: Mapping) -> bool:
        """Return whether it treats the positions of a map differently, as a product with a number for each does."""
        others = [tensor for tensor in tensors_in(self.given) if tensor not in known]
        by_position = any(t.ndim >= -dim and t.shape[dim] > 1 for t in others for dim in m.dims)
        return self.pointwise and by_position and self.name not in ("add", "sub", "rsub")


class Trace(TorchDispatchMode):
    """Knows of each tensor computed from the image which map it is, and writes a row per layer with a window."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        pixels = Map(np.array(image.shape[-2:]), np.ones(2, int), np.zeros((1, 2), int), np.zeros((1, 2), int))
        self.image, self.maps = image, WeakTensorKeyDictionary({image: pixels})
        self.rows: list[dict] = []  # with the keys COLUMNS
        self.running: list[tuple[str, nn.Module]] = []
        self.counted: dict[int, Tensor] = {}  # parameters so far, by address; held, so that it stays theirs
        self.covering: set[int] = set()  # rows of average pools whose window is the whole map
        self.disguised: list[str] = []  # pooling by another name
        self.output: object = None

    def run(self, model: nn.Module) -> Map:
        """Run the network once on the image; return the map that its output is, of several the widest."""
        try:
            with _watch(model, self):
                output = self.output = model(self.image)
        except BadInput:
            raise
        except Exception as error:  # a network may be anyone's and raise anything
            shape, reason = ", ".join(map(str, self.image.shape[1:])), " ".join(str(error).split()).split(". ")[0]
            raise BadInput(
                f"The network does not take (N, {shape}): {self.place()} stops with {type(error).__name__} "
                f"({reason:.200}); mend it, or give the input_size that it is made for."
            ) from error
        maps = [self.maps[tensor] for tensor in tensors_in(output) if tensor in self.maps]
        if not maps:
            raise BadInput(
                "The network's output is not computed from its input by PyTorch operations; return a tensor."
            )
        return max(maps, key=Map.before_pooling)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # PyTorch's default imports its compiler here, which takes seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.record(func, args, kwargs, tensors_in(result))
        return result

    def record(self, func, args: tuple, kwargs: dict, outputs: list[Tensor]) -> None:
        """Note which map the outputs of an operation are, if it has read one."""
        maps = [self.maps[tensor] for tensor in tensors_in((args, kwargs)) if tensor in self.maps]
        if maps and outputs:
            op = Operation(func, args, kwargs, outputs[0])
            if not op.name.startswith("new_") and not op.name.endswith("_like"):
                m, end = self.follow(op, maps), 0
                for out in outputs[:1] if "norm" in op.name else outputs:  # a norm's others are moments
                    start, end = end, end + out.shape[1:2].numel()
                    split = op.name.startswith("split") and m.parts
                    self.maps[out] = self.channels(op, m, start, end) if split else m

    def follow(self, op: Operation, maps: list[Map]) -> Map:
        """Return the map that the result is, given the maps that the operation has read."""
        positions = {dim for m in maps for dim in m.dims}
        if not positions and op.connects(maps, self.maps):
            return self.connect(op, self.merge(op, maps))
        if not positions and (op.name != "convolution" or op.out.ndim != 4):
            return self.merge(op, maps)
        ndim = op.out.ndim
        along_channels = op.name in ALONG_ONE_DIMENSION and op.given["dim"] % ndim - ndim not in positions
        if op.pointwise or op.name in PASSING or along_channels:
            return self.pass_on(op, maps)
        handler, source = HANDLERS.get(op.name), maps[0]
        partial = source.dims not in (HEIGHT_WIDTH, ()) and handler not in (_reduce, _reshape)
        if handler is None or partial or op.x not in self.maps or any(m.dims for m in maps[1:]):
            attends = source.dims == (-1,) and handler in (None, _permute)
            self.refuse(op.name + " of single positions, as in attention" * attends)
        return handler(self, op, source)

    def pass_on(self, op: Operation, maps: list[Map]) -> Map:
        """Return the union of maps that keep their positions; refuse to write where another view keeps its old map."""
        union = self.merge(op, maps)
        if op.name == "cat" and op.given["dim"] % op.out.ndim == 1:
            parts = [(tensor.shape[1], self.maps.get(tensor)) for tensor in op.given["tensors"]]
            union = replace(union, parts=tuple(part for n, m in parts for part in (m and m.parts or [(n, m)])))
        if op.weighs(union, self.maps):
            union = self.write_row("weights by position", union, tuple(op.out.shape[-3:]), op.out.shape[-3:-2].numel())
        if op.in_place:
            whole = op.x.untyped_storage().nbytes() == op.x.numel() * op.x.element_size()
            if op.x not in self.maps or not (whole or self.maps[op.x].rows == union.rows):
                self.refuse(f"{op.name}_ on a part of a tensor")
        return union

    def merge(self, op: Operation, maps: list[Map]) -> Map:
        """Return the union of maps that meet; a single value spread over a map is a gate, and left out."""
        maps = [m for m in maps if m.dims] or maps
        maps = [m for m in maps if m.size.max() > 1] or maps
        if len(phases := {len(m.first) for m in maps}) > 1:
            maps = [m.repeated(math.lcm(*phases)) for m in maps]
        copies = self.copied(op, maps)
        dims, sizes = {m.dims for m in maps}, {tuple(m.size.tolist()) for m in maps}
        if len(dims) > 1 or dims == {HEIGHT_WIDTH} and sizes != {op.out.shape[-2:]}:
            self.refuse(op.name)
        jumps = sorted({tuple(m.jump.tolist()) for m in maps})
        if maps[0].dims and len(jumps) > 1:
            raise BadInput(
                f"The branches that meet at {op.name!r} in {self.place()} have jumps "
                f"{' and '.join(str(_plain_pair(jump)) for jump in jumps)}; give them the same product of strides."
            )
        widest = max(maps, key=Map.before_pooling)
        period = np.max([m.period for m in maps], axis=0)
        first, last = np.min([m.first for m in maps], axis=0), np.max([m.last for m in maps], axis=0)
        rows = tuple(sorted({row for m in maps for row in m.rows}))
        unpooled = widest.unpooled if all(m.unpooled for m in maps) else None
        parts = maps[0].parts if len(maps) == 1 else ()
        moved = {"period": period, "first": first, "last": last, "rows": rows, "unpooled": unpooled}
        return replace(widest, **moved, parts=parts, copies=copies)

    def copied(self, op: Operation, maps: list[Map]) -> frozenset:
        """Return the windows on maps of the same numbers; note pooling that goes by another name.

        That is, copies of a map that are shifted against each other meet in anything but a sum (a maximum, or a ReLU
        of their difference), or an average has its root or logarithm taken.
        """
        copies = frozenset().union(*(m.copies for m in maps))
        shifted = len({row for row, *_ in copies}) < len(copies)
        averaged = any(window[:2] != window[2:] for _, *window in copies)
        linear = op.name in LINEAR - (set() if len(maps) == 1 else {"mul", "div", *CONNECTED})
        by_channel = all(t.shape == op.out.shape and 0 not in t.stride() for t in tensors_in(op.given))
        quotient = op.name == "div" and len(maps) > 1 and by_channel  # not by a norm of all channels
        bent = op.pointwise and op.name not in LINEAR | PASSING | ACTIVATIONS
        pooled = shifted and not linear or averaged and (bent or quotient)
        if pooled:
            self.disguised.append(self.label(op.name))
        return frozenset() if pooled or op.name == "linalg_vector_norm" else copies  # once is enough

    def channels(self, op: Operation, m: Map, start: int, end: int) -> Map:
        """Return the map of a slice of concatenated channels: the parts that it touches."""
        of = [part for n, part in m.parts for _ in range(n)][start:end]  # by channel; None where it is no map
        touched = [part for part in dict.fromkeys(of) if part]
        return self.merge(op, touched) if touched else replace(m, parts=())

    def slide(self, kind: str, op: Operation, m: Map, kernel=1, stride=1, dilation=1, before=0, after=0, **more) -> Map:
        """Write the row of a window, each argument a Pair, over a padded map; what ceil_mode adds is padding after."""
        window = kernel, stride, dilation, before, after
        kernel, stride, dilation, before, after = (np.broadcast_to(value, 2) for value in window)
        size, reach = np.array(op.out.shape[-2:]), dilation * (kernel - 1)
        after = np.maximum(after, (size - 1) * stride + reach + 1 - before - m.size)
        padding = _plain_pair(before) if (before == after).all() else tuple(np.ravel([before, after], "F").tolist())
        unpooled = m.unpooled if (kernel == 1).all() else None  # a window sees a map again
        low = np.arange(len(m.first))[:, None] * stride - before
        moved = m.window(low, low + reach, size=size, period=m.period * stride, unpooled=unpooled)
        own = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
        return self.write_row(kind, moved, tuple(op.out.shape[-3:]), op.x.shape[-3], **own, **more)

    def enlarge(self, kind: str, op: Operation, m: Map, low: np.ndarray, high: np.ndarray, **own: object) -> Map:
        """Write the row of a layer whose map has several units for one; they see the units from `low` to `high`."""
        larger = m.window(low, high, size=np.array(op.out.shape[-2:]), unpooled=None)
        return self.write_row(kind, larger, tuple(op.out.shape[-3:]), op.x.shape[-3], **own)

    def pool(self, kind: str, op: Operation, m: Map) -> Map:
        """Write the row of a layer that sees its whole map."""
        whole = np.zeros((1, 2), int), m.size[None] - 1
        pooled = m.window(*whole, size=np.ones(2, int), dims=(), unpooled=m.before_pooling())
        channels_in = op.x.shape[1:].numel() // int(m.size.prod())
        return self.write_row(kind, pooled, (op.out.shape[1:].numel(), 1, 1), channels_in, kernel=m.size)

    def connect(self, op: Operation, m: Map) -> Map:
        """Write the row of a fully connected layer."""
        tensors = tensors_in(op.given)
        x, channels = next(tensor for tensor in tensors if tensor in self.maps), 1 if op.name == "convolution" else -1
        params = self.count_new([tensor for tensor in tensors if tensor not in self.maps])
        return self.write_row("Linear", m, (op.out.shape[channels], 1, 1), x.shape[channels], True, params=params)

    def count_new(self, parameters: list[Tensor]) -> int:
        """Return how many numbers these hold that no earlier row has counted."""
        new = {tensor.data_ptr(): tensor for tensor in parameters if tensor.data_ptr() not in self.counted}
        self.counted.update(new)
        return sum(tensor.numel() for tensor in new.values())

    def write_row(self, kind: str, m: Map, output: tuple, channels_in: int, learned=False, **window: object) -> Map:
        """Write the row of the layer that makes a map, without a window but for what is given; return the map."""
        row = {"layer": self.label(kind), "kind": kind, "inputs": m.rows, "output": output}
        row.update(kernel=1, stride=1, dilation=1, padding=0, groups=1, params=0, channels_in=channels_in)
        row.update(window, jump=m.jump, rf=m.rf, start=(m.first[0] + m.last[0]) / 2)
        for name in ("kernel", "stride", "dilation", "jump", "rf", "start"):
            row[name] = _plain_pair(row[name])
        self.rows.append(row)
        own = frozenset({(len(self.rows) - 1, 0, 0, 0, 0)})
        return replace(m, rows=(len(self.rows) - 1,), copies=own if learned else m.copies)

    def label(self, call: str) -> str:
        """Return the path of the module that runs, with the call where it is no layer of PyTorch's."""
        path, module = self.running[-1]
        bases = [base for base in type(module).__mro__ if base.__module__.startswith("torch.nn.modules.")]
        is_layer = len(bases) > 1 and not any(module.children())  # more than nn.Module itself
        return ".".join(filter(None, [path, "" if is_layer else call.lower().replace(" ", "_")]))

    def place(self) -> str:
        path = self.running[-1][0] if self.running else ""
        return f"layer {path!r}" if path else "the network's own forward"

    def refuse(self, what: str) -> NoReturn:
        mode = getattr(self.running[-1][1], "padding_mode", "zeros") if self.running else "zeros"
        what = what if mode == "zeros" else f"padding_mode={mode}"
        what += " (as in circular padding)" * (what == "copy")
        raise BadInput(
            f"The receptive field cannot be followed through {what!r} in {self.place()}; accepted are 2-D "
            "convolutions, pooling, padding, crops, norms, element-wise operations, sums and concatenations."
        )


def _convolve(trace: Trace, op: Operation, m: Map) -> Map:
    weight, padding = op.given["weight"], op.given["padding"]
    one_unit = max(*weight.shape[2:], *op.out.shape[2:]) == 1
    if op.out.ndim != 4 or not (m.dims or one_unit):
        trace.refuse(f"convolution to {tuple(op.out.shape[1:])}")
    kernel, stride, dilation = weight.shape[2:], op.given["stride"], op.given["dilation"]
    learned = weight.requires_grad or isinstance(weight, nn.Parameter) and _has_taps(weight)  # or it may move a map
    params = trace.count_new(tensors_in([weight, op.given["bias"]]))
    own = {"groups": op.given["groups"], "learned": learned, "params": params}
    if op.given["transposed"]:
        padding = np.multiply(dilation, np.subtract(kernel, 1)) - padding
        if np.max(stride) > 1:
            return _convolve_between(trace, op, m, kernel, stride, dilation, padding, own)
    return trace.slide("Conv2d", op, m, kernel, stride, dilation, padding, padding, **own)


def _has_taps(weight: Tensor) -> bool:
    return bool((weight.flatten(2).count_nonzero(2) > 1).any())


def _convolve_between(trace: Trace, op: Operation, m: Map, kernel, stride, dilation, before, own: dict) -> Map:
    """A transposed convolution with a stride: one of stride 1 over the map, with zeros between its units."""
    if min(stride) != max(stride) or min(kernel) < max(stride) or max(dilation) > 1:
        trace.refuse("transposed convolution with gaps, or strides that differ")
    start, times = np.arange(stride[0] * len(m.first))[:, None] - before, stride[0]
    own |= {"kernel": kernel, "stride": stride, "padding": _plain_pair(op.given["padding"])}
    return trace.enlarge("ConvTranspose2d", op, m, -(-start // times), (start + kernel - 1) // times, **own)


def _upsample(trace: Trace, op: Operation, m: Map) -> Map:
    (times, other), rest = np.divmod(op.out.shape[-2:], m.size)
    if rest.any() or times != other or op.given.get("align_corners"):
        trace.refuse(f"{op.name} by no whole factor")
    units, smooth = np.arange(times * len(m.first))[:, None] + np.zeros(2, int), "bilinear" in op.name
    low, high = (2 * units + 1 - times, 2 * units + times) if smooth else (2 * units, 2 * units)
    own = {"kernel": 1 + smooth, "stride": 1 / times}
    return trace.enlarge("Upsample", op, m, low // (2 * times), high // (2 * times), **own)


def _pool(trace: Trace, op: Operation, m: Map) -> Map:
    kernel, padding = op.given["kernel_size"], op.given["padding"]
    window = kernel, op.given["stride"] or kernel, op.given.get("dilation", 1), padding, padding
    average = op.name == "avg_pool2d"
    pooled = trace.slide("AvgPool2d" if average else "MaxPool2d", op, m, *window)
    if average and pooled.size.max() == 1 and (np.subtract(kernel, padding) >= m.size).all():
        trace.covering.update(pooled.rows)
        return replace(pooled, unpooled=m.before_pooling())
    return pooled


def _pool_adaptively(trace: Trace, op: Operation, m: Map) -> Map:
    average = "avg" in op.name
    if op.out.shape[-2:] == (1, 1):
        return trace.pool("global pool" if average else "global max pool", op, m)
    window, rest = np.divmod(m.size, op.out.shape[-2:])
    if rest.any():
        trace.refuse(f"{op.name} with windows of unequal size")
    return trace.slide("AdaptiveAvgPool2d" if average else "AdaptiveMaxPool2d", op, m, window, window)


def _reduce(trace: Trace, op: Operation, m: Map) -> Map:
    dims = op.given.get("dim")
    dims = [dims] if isinstance(dims, int) else dims or range(op.x.ndim)
    gone = {dim % op.x.ndim - op.x.ndim for dim in dims}  # counted from the end
    left = [dim for dim in m.dims if dim not in gone]
    average = op.name in ("mean", "sum")
    m = replace(m, copies=trace.copied(op, [m]))
    if m.dims != tuple(left) and left and not average:
        trace.disguised.append(trace.label(op.name))
    if m.dims and not left:
        return trace.pool("global pool" if average else f"global {op.name.removeprefix('a')} pool", op, m)
    shift = 0 if op.given.get("keepdim") else 1
    return replace(m, dims=tuple(dim + shift * sum(g > dim for g in gone) for dim in left))


def _pad(trace: Trace, op: Operation, m: Map) -> Map:
    sides = op.given["pad"] if op.name == "constant_pad_nd" else op.given["padding"]
    (left, right), (top, bottom) = sides[:2], sides[2:4] or (0, 0)
    if left == right == top == bottom == 0:
        return m
    return trace.slide("pad", op, m, before=(top, left), after=(bottom, right))


def _crop(trace: Trace, op: Operation, m: Map) -> Map:
    dim = op.given["dim"] % op.x.ndim - op.x.ndim  # counted from the end
    start, end, step = slice(op.given["start"], op.given["end"], op.given["step"]).indices(op.x.shape[dim])
    if dim not in HEIGHT_WIDTH or op.x.shape == op.out.shape:
        return trace.channels(op, m, start, end) if m.parts and dim == 1 - op.x.ndim else m
    here = np.array([dim == -2, dim == -1])
    stride, before = np.where(here, step, 1), np.where(here, -start, 0)
    return trace.slide("crop", op, m, stride=stride, before=before, after=-m.size)


def _permute(trace: Trace, op: Operation, m: Map) -> Map:
    if (op.out.shape[-2:], op.out.stride()[-2:]) != (op.x.shape[-2:], op.x.stride()[-2:]):  # others in memory
        trace.refuse(op.name)
    return m


def _reshape(trace: Trace, op: Operation, m: Map) -> Map:
    """Height and width stay, as in a channel shuffle, or are flattened, together or with the channels."""
    if m.dims == HEIGHT_WIDTH and op.out.shape[-2:] == tuple(m.size.tolist()):
        return m
    if m.size.max() == 1:
        return replace(m, dims=(), unpooled=m.before_pooling())
    if op.out.ndim == 2 and len(op.out) == len(op.x):
        return trace.pool("flatten", op, m)
    if m.dims != HEIGHT_WIDTH or op.out.shape[-1] != m.size.prod():
        trace.refuse(op.name)
    return replace(m, dims=(-1,))


HANDLERS = {
    "convolution": _convolve,
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d"), _pool),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d"), _pool_adaptively),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "std", "var", "linalg_vector_norm"), _reduce),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _pad),
    **dict.fromkeys(("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d"), _upsample),
    "slice": _crop,
    **dict.fromkeys(("permute", "transpose"), _permute),
    **dict.fromkeys(("view", "_unsafe_view", "squeeze", "unsqueeze"), _reshape),
}
# These leave every position where it is, beside what PyTorch itself marks as pointwise.
PASSING = {"native_batch_norm", "cudnn_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update"}
PASSING |= {"_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "native_group_norm"}
PASSING |= {"native_layer_norm", "native_dropout", "rrelu_with_noise", "hardswish", "_prelu_kernel"}
PASSING |= {"log_sigmoid_forward", "channel_shuffle", "native_channel_shuffle"}
PASSING |= {"alias", "clone", "detach", "expand", "_to_copy"}
CONNECTED = {"addmm", "mm", "bmm", "baddbmm", "convolution"}  # fully connected layers, where no positions are left
# The first add up shifted copies of a map at most; what is neither may take apart what an average joined, as roots do.
LINEAR = {"add", "sub", "rsub", "neg", "mul", "div", "mean", "sum", "cat", "stack", "split", "split_with_sizes"}
LINEAR |= {"slice"} | CONNECTED | (PASSING - {"hardswish", "_prelu_kernel", "log_sigmoid_forward", "rrelu_with_noise"})
ACTIVATIONS = {"relu", "clamp", "clamp_min", "clamp_max", "hardtanh", "threshold", "leaky_relu", "elu", "celu", "selu"}
ACTIVATIONS |= {"gelu", "silu", "mish", "softplus", "sigmoid", "tanh", "hardsigmoid", "hardswish"}
ACTIVATIONS |= {"gt", "ge", "lt", "le"}  # gates that are open or shut
ALONG_ONE_DIMENSION = {"cat", "stack", "split", "split_with_sizes", "glu", "_softmax", "_log_softmax"}


def tensors_in(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _plain_pair(pair: Pair) -> object:
    height, width = np.broadcast_to(pair, 2).tolist()
    return height if height == width else (height, width)


@contextmanager
def _watch(model: nn.Module, trace: Trace) -> Iterator[None]:
    """Evaluate the network with `trace` knowing which module runs; leave modes, hooks and generators as they were."""
    with ExitStack() as stack:
        for path, module in model.named_modules():
            stack.callback(setattr, module, "training", module.training)
            at = "".join(filter(str.isprintable, path)), module  # a name may be anything
            stack.enter_context(module.register_forward_pre_hook(lambda *_, at=at: trace.running.append(at)))
            stack.enter_context(module.register_forward_hook(lambda *_: trace.running.pop() and None))
        stack.enter_context(torch.random.fork_rng([tensor.device for tensor in trace.maps if tensor.is_cuda]))
        stack.enter_context(trace)
        model.eval()
        yield


def black_images(model: nn.Module, input_size: Sequence[int]) -> Tensor:
    """Return two black images, in the precision and on the device of the network, or raise `BadInput`."""
    if not isinstance(model, nn.Module):
        raise BadInput(f"A network is an instance of torch.nn.Module, {model!r:.80} is not; build one.")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise BadInput("A scripted network cannot be watched; give the one that torch.jit.script was given.")
    state = [*model.named_parameters(), *model.named_buffers()]
    lazy = [name for name, tensor in state if is_lazy(tensor)]
    if lazy:
        raise BadInput(f"The parameter {lazy[0]!r} has no shape yet; run the network on one batch first.")
    sizes = input_size if isinstance(input_size, Sequence) else ()
    if len(sizes) != 3 or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise BadInput(f"input_size is {input_size!r}; give three positive whole numbers, (channels, height, width).")
    like = next((tensor for _, tensor in state if tensor.is_floating_point()), torch.zeros(()))
    return like.new_zeros(2, *input_size)


def name_global_pools(table: pd.DataFrame, covering: set[int]) -> None:
    """Rename an AvgPool2d of a whole map if no window follows: at the head only is it global pooling."""
    behind = list(table.attrs["output_rows"])
    while behind:
        row = behind.pop()
        if row in covering:
            table.loc[row, "kind"] = "global pool"
        elif row >= 0 and table.kernel[row] == 1:
            behind += table.inputs[row]

"""What one unit of a feature map can see of the image: a row per layer, for any network.

Along each axis a unit sees an interval of pixels, its window. A layer of kernel k, dilation d, stride s and
leading padding p turns the first unit's window [first, last] into [first - p j, last + (d (k - 1) - p) j], and
the jump j from one unit to the next into s j. So rf = last - first + 1 grows by d (k - 1) j; padding moves the
window and does not widen it. Where branches meet, a unit sees the union of their windows. Source: Araujo, Norris
and Sim, "Computing Receptive Fields of Convolutional Neural Networks" (Distill 2019).

One forward pass is watched operation by operation, so functional calls and any control flow are followed, and
what acts on positions in an unknown way is refused. Left out is what reaches a unit through a summary of a whole
map: the gate of squeeze-and-excitation (a pooled map multiplied back), the moments of group and layer norm.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
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


@dataclass(frozen=True)
class Map:
    """A feature map; its size, jump and the first unit's window are arrays (height, width)."""

    size: np.ndarray
    jump: np.ndarray
    first: np.ndarray
    last: np.ndarray
    dims: tuple[int, ...] = HEIGHT_WIDTH  # the dimensions that hold positions; none once they are pooled away
    rows: tuple[int, ...] = (-1,)  # of the table, that it comes from; -1 is the image
    made: int = 0  # the number of the operation that made it, or the map that was pooled
    unpooled: tuple[int, int] | None = None  # once a whole map is pooled: the receptive field that it had

    @property
    def rf(self) -> np.ndarray:
        return self.last - self.first + 1

    def before_pooling(self) -> tuple[int, int]:
        return self.unpooled or tuple(self.rf.tolist())


class Trace(TorchDispatchMode):
    """Knows of each tensor computed from the image which map it is, and writes a row per layer with a window.

    `kept` becomes the result of the operation whose number is `keep`.
    """

    def __init__(self, image: Tensor, keep: int = 0) -> None:
        super().__init__()
        one, zero = np.ones(2, int), np.zeros(2, int)
        self.maps = WeakTensorKeyDictionary()
        self.maps[image] = Map(np.array(image.shape[-2:]), one, zero, zero)
        self.rows: list[tuple] = []  # values of COLUMNS
        self.running: list[tuple[str, nn.Module]] = []
        self.counted: dict[int, Tensor] = {}  # parameters so far, by address; held, so that it stays theirs
        self.done, self.keep, self.kept = 0, keep, None if keep else image
        self.covering: set[int] = set()  # rows of average pools whose window is the whole map

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # PyTorch's default imports its compiler here, which takes seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.done += 1
        outputs = _tensors(result)
        if self.done == self.keep:
            self.kept = outputs[0]
        name = func._schema.name.removeprefix("aten::").removesuffix("_")
        maps = [self.maps[tensor] for tensor in _tensors((args, kwargs)) if tensor in self.maps]
        if maps and outputs and not name.startswith("new_") and not name.endswith("_like"):
            found = self.follow(func, name, args, kwargs or {}, maps, outputs[0])
            if found.dims == HEIGHT_WIDTH and not found.unpooled:
                found = replace(found, made=self.done)
            for output in outputs:
                self.maps[output] = found
        return result

    def follow(self, func, name: str, args: tuple, kwargs: dict, maps: list[Map], out: Tensor) -> Map:
        """Return the map that `out` is, given the maps of the tensors that the operation has read."""
        positions = {dim for m in maps for dim in m.dims}
        if not positions and name in CONNECTED and len(maps) == 1 and out.ndim < 4:
            return self.connected(1 if name == "convolution" else -1, _tensors(args), maps[0], out)
        if not positions and (name != "convolution" or out.ndim != 4):
            return self.merged(name, maps, out)
        given = {a.name: a.default_value for a in func._schema.arguments} | kwargs
        given |= {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)}
        along = from_end(given.get("dim", 0), out.ndim) if name in ALONG_ONE_DIMENSION else None
        if torch.Tag.pointwise in func.tags or name in PASSING or (along and along not in positions):
            found = self.merged(name, maps, out)
            if func._schema.is_mutable and not self.whole(args[0], found):
                self.refuse(f"{name}_ on a part of a tensor")
            return found
        handler, source = HANDLERS.get(name), maps[0]
        partial = source.dims not in (HEIGHT_WIDTH, ()) and handler not in (_reduction, _reshape)
        if handler is None or partial or args[0] not in self.maps or any(m.dims for m in maps[1:]):
            self.refuse(name)
        return handler(self, name, given, args[0], source, out)

    def whole(self, target: Tensor, found: Map) -> bool:
        """Return whether a write in place leaves no other view of the same memory with an outdated map."""
        complete = target.untyped_storage().nbytes() == target.numel() * target.element_size()
        return target in self.maps and (complete or self.maps[target].rows == found.rows)

    def merged(self, name: str, maps: list[Map], out: Tensor) -> Map:
        """Return the union of maps that meet; a single value spread over a map is a gate, and left out."""
        maps = [m for m in maps if m.dims] or maps
        maps = [m for m in maps if m.size.max() > 1] or maps
        m = maps[0]
        if any(other.dims != m.dims or not _fits(other, out) for other in maps):
            self.refuse(name)
        jumps = sorted({tuple(other.jump.tolist()) for other in maps})
        if m.dims and len(jumps) > 1:
            raise BadInput(
                f"The branches that meet at {name!r} in {self.place()} have jumps "
                f"{' and '.join(str(plain_pair(jump)) for jump in jumps)}; give them the same product of strides."
            )
        widest = max(maps, key=Map.before_pooling)
        return replace(
            widest,
            jump=np.max([other.jump for other in maps], axis=0),
            first=np.min([other.first for other in maps], axis=0),
            last=np.max([other.last for other in maps], axis=0),
            rows=tuple(sorted({row for other in maps for row in other.rows})),
            unpooled=widest.unpooled if all(other.unpooled for other in maps) else None,
        )

    def slid(
        self, kind: str, m: Map, out: Tensor, kernel: Pair = 1, stride: Pair = 1, dilation: Pair = 1,
        before: Pair = 0, after: Pair = 0, channels_in: int = 0, **counts: int
    ) -> Map:  # fmt: skip
        """Write the row of a sliding window with padding before and after; ceil_mode counts as padding after."""
        kernel, stride, dilation, before = (np.broadcast_to(v, 2) for v in (kernel, stride, dilation, before))
        size, reach = np.array(out.shape[-2:]), dilation * (kernel - 1)
        after = np.maximum(after, (size - 1) * stride + reach + 1 - before - m.size)
        padding = plain_pair(before) if (before == after).all() else tuple(np.ravel([before, after], "F").tolist())
        moved = replace(
            m,
            size=size,
            jump=m.jump * stride,
            first=m.first - before * m.jump,
            last=m.last + (reach - before) * m.jump,
            unpooled=m.unpooled if (kernel == 1).all() else None,  # a window sees a map again
        )
        output = tuple(out.shape[-3:])
        return self.row(kind, moved, output, channels_in or output[0], kernel, stride, dilation, padding, **counts)

    def pooled(self, kind: str, m: Map, x: Tensor, out: Tensor) -> Map:
        """Write the row of a layer that sees its whole map."""
        last = m.last + (m.size - 1) * m.jump
        pooled = replace(m, size=np.ones(2, int), last=last, dims=(), unpooled=m.before_pooling())
        channels_in = x.shape[1:].numel() // int(m.size.prod())
        return self.row(kind, pooled, (out.shape[1:].numel(), 1, 1), channels_in, m.size)

    def connected(self, dim: int, tensors: list[Tensor], m: Map, out: Tensor) -> Map:
        """Write the row of a fully connected layer, whose channels lie along `dim`."""
        (x,) = [tensor for tensor in tensors if tensor in self.maps]
        params = self.parameters(*[tensor for tensor in tensors if tensor is not x])
        return self.row("Linear", m, (out.shape[dim], 1, 1), x.shape[dim], params=params)

    def parameters(self, *tensors: Tensor | None) -> int:
        """Return how many numbers these hold that no earlier row has counted."""
        given = {tensor.data_ptr(): tensor for tensor in tensors if tensor is not None}
        new = {address: tensor for address, tensor in given.items() if address not in self.counted}
        self.counted |= new
        return sum(tensor.numel() for tensor in new.values())

    def row(
        self, kind: str, m: Map, output: tuple, channels_in: int, kernel: Pair = 1, stride: Pair = 1,
        dilation: Pair = 1, padding: object = 0, groups: int = 1, params: int = 0
    ) -> Map:  # fmt: skip
        path, module = self.running[-1]
        layer = ".".join(filter(None, [path, "" if _is_layer(module) else kind.lower().replace(" ", "_")]))
        window = (*map(plain_pair, (kernel, stride, dilation)), padding, groups)
        seen = map(plain_pair, (m.jump, m.rf, (m.first + m.last) / 2))
        self.rows.append((layer, kind, *window, output, params, *seen, m.rows, channels_in))
        return replace(m, rows=(len(self.rows) - 1,))

    def place(self) -> str:
        path = self.running[-1][0] if self.running else ""
        return f"layer {path!r}" if path else "the network's own forward"

    def refuse(self, what: str) -> NoReturn:
        raise BadInput(
            f"The receptive field cannot be followed through {what!r} in {self.place()}; accepted are 2-D "
            "convolutions, pooling, padding, crops, norms, element-wise operations, sums and concatenations."
        )


def _convolution(trace: Trace, name: str, given: dict, x: Tensor, m: Map, out: Tensor) -> Map:
    weight, bias, padding = given["weight"], given["bias"], given["padding"]
    if given["transposed"] or out.ndim != 4 or not (m.dims or {*weight.shape[2:], *out.shape[2:]} == {1}):
        trace.refuse("transposed convolution" if given["transposed"] else f"convolution to {tuple(out.shape[1:])}")
    window = weight.shape[2:], given["stride"], given["dilation"], padding, padding, x.shape[1]
    return trace.slid("Conv2d", m, out, *window, groups=given["groups"], params=trace.parameters(weight, bias))


def _pool(trace: Trace, name: str, given: dict, x: Tensor, m: Map, out: Tensor) -> Map:
    kernel, padding = given["kernel_size"], given["padding"]
    kind = "AvgPool2d" if name == "avg_pool2d" else "MaxPool2d"
    slid = trace.slid(kind, m, out, kernel, given["stride"] or kernel, given.get("dilation", 1), padding, padding)
    if kind == "AvgPool2d" and slid.size.max() == 1 and (np.subtract(kernel, padding) >= m.size).all():
        trace.covering.update(slid.rows)
        return replace(slid, unpooled=m.before_pooling())
    return slid


def _adaptive_pool(trace: Trace, name: str, given: dict, x: Tensor, m: Map, out: Tensor) -> Map:
    if out.shape[-2:] == (1, 1):
        return trace.pooled("global pool" if "avg" in name else "global max pool", m, x, out)
    window, rest = np.divmod(m.size, out.shape[-2:])
    if rest.any():
        trace.refuse(f"{name} with windows of unequal size")
    kind = "AdaptiveAvgPool2d" if "avg" in name else "AdaptiveMaxPool2d"
    return trace.slid(kind, m, out, window, window)


def _reduction(trace: Trace, name: str, given: dict, x: Tensor, m: Map, out: Tensor) -> Map:
    dims = given.get("dim")
    dims = [dims] if isinstance(dims, int) else dims or range(x.ndim)
    gone = {from_end(dim, x.ndim) for dim in dims}
    left = [dim for dim in m.dims if dim not in gone]
    if m.dims and not left:
        kind = "global pool" if name in ("mean", "sum") else f"global {name.removeprefix('a')} pool"
        return trace.pooled(kind, m, x, out)
    shift = 0 if given.get("keepdim") else 1
    return replace(m, dims=tuple(dim + shift * sum(g > dim for g in gone) for dim in left))


def _pad(trace: Trace, name: str, given: dict, x: Tensor, m: Map, out: Tensor) -> Map:
    left, right, top, bottom = [*(given.get("pad") or given["padding"]), 0, 0, 0, 0][:4]
    if left == right == top == bottom == 0:
        return m
    return trace.slid("pad", m, out, before=(top, left), after=(bottom, right))


def _crop(trace: Trace, name: str, given: dict, x: Tensor, m: Map, out: Tensor) -> Map:
    dim = from_end(given["dim"], x.ndim)
    if dim not in HEIGHT_WIDTH or x.shape == out.shape:
        return m
    start, _, step = slice(given["start"], given["end"], given["step"]).indices(x.shape[dim])
    here = np.array([dim == -2, dim == -1])
    stride, before = np.where(here, step, 1), np.where(here, -start, 0)
    return trace.slid("crop", m, out, stride=stride, before=before, after=-m.size)


def _permutation(trace: Trace, name: str, given: dict, x: Tensor, m: Map, out: Tensor) -> Map:
    if (out.shape[-2:], out.stride()[-2:]) != (x.shape[-2:], x.stride()[-2:]):  # they are others in memory
        trace.refuse(name)
    return m


def _reshape(trace: Trace, name: str, given: dict, x: Tensor, m: Map, out: Tensor) -> Map:
    """Height and width stay, as in a channel shuffle, or are flattened, together or with the channels."""
    if m.dims == HEIGHT_WIDTH and _fits(m, out):
        return m
    if m.size.max() == 1:
        return replace(m, dims=(), unpooled=m.before_pooling())
    if out.ndim == 2 and len(out) == len(x):
        return trace.pooled("flatten", m, x, out)
    if m.dims != HEIGHT_WIDTH or out.shape[-1] != m.size.prod():
        trace.refuse(name)
    return replace(m, dims=(-1,))


HANDLERS = {
    "convolution": _convolution,
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d"), _pool),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pool),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "std", "var", "linalg_vector_norm"), _reduction),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _pad),
    "slice": _crop,
    **dict.fromkeys(("permute", "transpose"), _permutation),
    **dict.fromkeys(("view", "_unsafe_view", "squeeze", "unsqueeze"), _reshape),
}
PASSING = {  # leave every position where it is, beside what PyTorch itself marks as pointwise
    *("native_batch_norm", "cudnn_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update"),
    *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    *("native_group_norm", "native_layer_norm"),
    *("hardswish", "_prelu_kernel", "log_sigmoid_forward", "rrelu_with_noise", "native_dropout"),
    *("alias", "clone", "detach", "expand", "channel_shuffle", "native_channel_shuffle", "_to_copy"),
}
CONNECTED = {"addmm", "mm", "bmm", "baddbmm", "convolution"}  # fully connected layers, where no positions are left
ALONG_ONE_DIMENSION = {"cat", "split", "split_with_sizes", "glu", "_softmax", "_log_softmax"}


def _fits(m: Map, out: Tensor) -> bool:
    return m.dims != HEIGHT_WIDTH or tuple(out.shape[-2:]) == tuple(m.size.tolist())


def _is_layer(module: nn.Module) -> bool:
    bases = [base for base in type(module).__mro__ if base.__module__.startswith("torch.nn.modules.")]
    return len(bases) > 1 and not any(module.children())  # more than nn.Module itself


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def from_end(dim: int, ndim: int) -> int:
    return dim - ndim if dim >= 0 else dim


def plain_pair(pair: Pair) -> object:
    height, width = np.broadcast_to(pair, 2).tolist()
    return height if height == width else (height, width)


@contextmanager
def _watched(model: nn.Module, trace: Trace) -> Iterator[None]:
    """Evaluate the network with `trace` knowing which module runs; leave modes, hooks and generators as they were."""
    with ExitStack() as stack:
        for path, module in model.named_modules():
            stack.callback(setattr, module, "training", module.training)
            at = path, module
            stack.enter_context(module.register_forward_pre_hook(lambda *_, at=at: trace.running.append(at)))
            stack.enter_context(module.register_forward_hook(lambda *_: trace.running.pop() and None))
        stack.enter_context(torch.random.fork_rng([tensor.device for tensor in trace.maps if tensor.is_cuda]))
        stack.enter_context(trace)
        model.eval()
        yield


def follow(model: nn.Module, image: Tensor, trace: Trace) -> Map:
    """Run the network once on a batch of images; return the map that its output is."""
    try:
        with _watched(model, trace):
            output = model(image)
    except BadInput:
        raise
    except Exception as error:  # a network may be anyone's and raise anything
        shape, reason = ", ".join(map(str, image.shape[1:])), " ".join(str(error).split()).split(". ")[0]
        raise BadInput(
            f"The network does not take (N, {shape}): {trace.place()} stops with {type(error).__name__} "
            f"({reason:.200}); mend it, or give the input_size that it is made for."
        ) from error
    maps = [trace.maps[tensor] for tensor in _tensors(output) if tensor in trace.maps]
    if not maps:
        raise BadInput("The network's output is not computed from its input by PyTorch operations; return a tensor.")
    return max(maps, key=Map.before_pooling)


def black_images(model: nn.Module, input_size: Sequence[int]) -> Tensor:
    """Return two black images, in the precision and on the device of the network, or raise `BadInput`."""
    if not isinstance(model, nn.Module):
        raise BadInput(f"A network is an instance of torch.nn.Module, {model!r:.80} is not; build one.")
    state = [*model.named_parameters(), *model.named_buffers()]
    lazy = [name for name, tensor in state if is_lazy(tensor)]
    if lazy:
        raise BadInput(f"The parameter {lazy[0]!r} has no shape yet; run the network on one batch first.")
    sizes = input_size if isinstance(input_size, Sequence) else ()
    if len(sizes) != 3 or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise BadInput(f"input_size is {input_size!r}; give three positive whole numbers, (channels, height, width).")
    like = next((tensor for _, tensor in state if tensor.is_floating_point()), torch.zeros(()))
    return like.new_zeros(2, *input_size)

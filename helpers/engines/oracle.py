"""The receptive field measured by gradients: what the recurrence computes, seen from the other side."""

import copy
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from helpers.engines.tracing import HEIGHT_WIDTH, Trace, black_images
from helpers.errors import BadInput


def gradient_receptive_field(model: nn.Module, input_size: Sequence[int] = (3, 32, 32)) -> tuple[int, int]:
    """Measure what `total` computes, (height, width), by the pixels that the gradient of a central unit reaches.

    A copy has positive weights, and activations near zero, where all have a slope. What the table leaves out is cut.
    Adaptive pooling to several units cannot be measured so: its windows grow with the image.
    """
    first, last = gradient_window(model, input_size)
    return tuple((last - first + 1).tolist())


@torch.enable_grad()
def gradient_window(model: nn.Module, input_size: Sequence[int]) -> np.ndarray:
    """Return ((top, left), (bottom, right)) of the first unit's window, measured at a central unit and moved back."""
    image = black_images(model, input_size).to("cpu", torch.double)
    model = copy.deepcopy(model).to("cpu", torch.double)
    for name, parameter in model.named_parameters():
        value = 1 / parameter[0].numel() if parameter.ndim > 1 else float(not name.endswith("bias"))
        nn.init.constant_(parameter.requires_grad_(False), value)
    with Summing():
        last = Locator(image).run(model)
        steps = 2 * np.array(last.before_pooling()) // last.period + 2  # whole ones, so that branches still fit
        side = image.shape[-2:] + steps * last.period
        gradient, moved = unit_gradient(model, image.new_full((1, input_size[0], *side.tolist()), 1e-30), last.maker)
    reached = np.argwhere(gradient > 0)
    return np.array([reached.min(axis=0), reached.max(axis=0)]) - moved


def unit_gradient(model: nn.Module, images: Tensor, maker: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Return |gradient| (H, W) of a central unit of the map that `maker` makes, and its pixels from the first.

    Where neighbours have windows of their own it is the widest.
    """
    trace = Locator(images, maker)
    with suppress(BadInput):  # a head made for another size may fail, but only after the map is there
        trace.run(model)
    gradient = None
    if trace.located is not None and trace.located.requires_grad:
        m = trace.maps[trace.located]
        phases, widest = len(m.first), (m.last - m.first).argmax(axis=0)
        row, column = unit = np.array(trace.located.shape[-2:]) // 2 // phases * phases + widest
        (gradient,) = torch.autograd.grad(trace.located[..., row, column].sum(), trace.leaf, allow_unused=True)
    if gradient is None or not gradient.any():
        raise BadInput("No gradient of the central unit comes back to the image; build the network without no_grad.")
    return gradient.abs().mean((0, 1)).cpu().double().numpy(), unit // phases * m.period


class Locator(Trace):
    """Names what makes each map, and locates the tensor that a maker makes of images of another size.

    A maker is (layer, operation, how often it ran there, number of its output). Some maps have no row to name them by.
    """

    def __init__(self, images: Tensor, maker: tuple = ()) -> None:
        self.leaf = images.detach().requires_grad_()
        super().__init__(self.leaf + 0)  # a layer that works in place may not do so on a leaf
        self.calls, self.maker = Counter(), maker
        self.located = None if maker else self.image

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if (kwargs or {}).get("dtype") == torch.float and self.leaf.dtype == torch.double:
            kwargs = {**kwargs, "dtype": torch.double}  # a network that casts to float32 is measured in double, too
        return super().__torch_dispatch__(func, types, args, kwargs)

    def record(self, func, args: tuple, kwargs: dict, outputs: list[Tensor]) -> None:
        super().record(func, args, kwargs, outputs)
        call = self.place(), func._schema.name
        self.calls[call] += 1
        for number, output in enumerate(outputs):
            maker, m = (*call, self.calls[call], number), self.maps.get(output)
            if m is not None and m.dims == HEIGHT_WIDTH and not m.unpooled:
                self.maps[output] = replace(m, maker=maker)
            if maker == self.maker:
                self.located = output


class Attached(TorchFunctionMode):
    """Lets gradients through detach(): with t - t.detach() a layer has a slope and no effect."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return args[0] if func in (Tensor.detach, torch.detach) else func(*args, **(kwargs or {}))


class Summing(Attached):
    """Makes layers sums with positive weights: maxima add up; norms, dropout and summaries of whole maps are cut."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (F.batch_norm, F.group_norm, F.instance_norm, F.layer_norm, F.dropout, F.dropout2d):
            return args[0]
        if func in (F.max_pool2d, torch.max_pool2d):
            return _sum_pool(*args, **(kwargs or {}))
        func = torch.mean if func in (torch.amax, Tensor.amax) else func
        result = super().__torch_function__(func, types, args, kwargs)
        summary = func in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d, torch.mean, Tensor.mean)
        whole = summary and (result.ndim != 4 or max(result.shape[-2:]) == 1)
        return result.detach() if whole else result


def _sum_pool(x: Tensor, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_) -> Tensor:
    """Add up the windows of F.max_pool2d, whose own gradient reaches a single pixel of each."""
    height, width = F.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode).shape[-2:]
    stride, channels = stride or kernel_size, x.shape[1]
    beyond = int(np.max(stride))  # what ceil_mode reaches at most
    ones = x.new_ones(channels, 1, *np.broadcast_to(kernel_size, 2).tolist())
    sums = F.conv2d(F.pad(x, (0, beyond, 0, beyond)), ones, None, stride, padding, dilation, channels)
    return sums[..., :height, :width]

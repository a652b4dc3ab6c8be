"""What a network is: its parameters, its multiply-adds, its fingerprint, and torchsummary's table of it."""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import torch
from torch import nn


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers the network stores as parameters, frozen ones included, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def fingerprint(model: nn.Module) -> str:
    """Return 12 hexadecimal digits that change with any layer, option or shape, and not with the weights."""
    layers = [(path, type(module).__name__, _numbers(module)) for path, module in model.named_modules()]
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    return hashlib.sha256(json.dumps([layers, shapes], default=repr).encode()).hexdigest()[:12]


def _numbers(module: nn.Module) -> dict[str, object]:
    """Return a layer's own numbers; not its `repr`, which changes with the version of torch."""
    names = ("kernel_size", "stride", "padding", "padding_mode", "dilation", "groups", "output_size", "p", "eps")
    return {name: getattr(module, name) for name in (*names, "view") if hasattr(module, name)}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Give the model in evaluation mode; afterwards every module of it is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield model.eval()
    finally:
        for module, mode in modes.items():
            module.training = mode


def multiply_adds(model: nn.Module) -> int:
    """Return the multiplications with addition that one image costs, in convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode  # here, since it imports triton, for half a second

    with torch.no_grad(), FlopCounterMode(display=False) as counter, evaluating(model):
        model(torch.zeros(1, 3, 32, 32, device=next(model.parameters()).device))
    return counter.get_total_flops() // 2  # the counter takes a multiply-add for two operations


def summary(model: nn.Module) -> str:
    """Return torchsummary's table: a row per layer with output shape and parameters, and the totals.

    torchsummary itself prints, runs a training-mode forward pass that moves the batch statistics, and draws from the
    global generator; here the network and the generator stay as they were. Its total is checked against the network.
    """
    from torchsummary import summary as print_summary

    device = next(model.parameters()).device
    text = io.StringIO()
    try:
        with evaluating(model), torch.no_grad(), torch.random.fork_rng(), redirect_stdout(text):
            print_summary(model.cpu(), (3, 32, 32), device="cpu")
    finally:
        model.to(device)
    if f"Total params: {parameter_count(model):,}\n" not in text.getvalue():
        raise RuntimeError("torchsummary's total differs from the network's parameters: it missed or repeated some.")
    return text.getvalue()

"""torchsummary's table of a network, without its side effects."""

import io
from contextlib import redirect_stdout

import torch
from torch import nn

from helpers.models import evaluating, parameter_count


def summary(model: nn.Module, input_size: tuple[int, int, int] = (3, 32, 32)) -> str:
    """Return torchsummary's table: a row per layer with output shape and parameters, and the totals.

    torchsummary itself prints, runs a training-mode forward pass that moves the batch statistics, and draws from the
    global generator; here the network and the generator stay as they were. Its total is checked against the network.
    """
    from torchsummary import summary as print_summary

    device = next(model.parameters()).device
    text = io.StringIO()
    try:
        with evaluating(model), torch.no_grad(), torch.random.fork_rng(), redirect_stdout(text):
            print_summary(model.cpu(), input_size, device="cpu")
    finally:
        model.to(device)
    if f"Total params: {parameter_count(model):,}\n" not in text.getvalue():
        raise RuntimeError("torchsummary's total differs from the network's parameters: it missed or repeated some.")
    return text.getvalue()

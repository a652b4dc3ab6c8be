import pytest
import torch
from torch import nn

from helpers.engines.stepping import Stepper

CPU = torch.device("cpu")


def line():
    """A weight of 1, its optimiser, and nothing else."""
    weight = nn.Parameter(torch.ones(1))
    return weight, torch.optim.SGD([weight], lr=0.1)


def take_step(stepper, weight, factor=1.0, step=0):
    stepper.optimizer.zero_grad()
    loss = (weight * factor).sum()
    norm = stepper.backward(loss)
    stepper.watch(step, loss, norm)
    stepper.step()
    return norm


def test_a_step_is_the_optimisers_own():
    weight, optimizer = line()
    assert take_step(Stepper(optimizer, CPU), weight, factor=3.0).item() == 3
    assert weight.item() == pytest.approx(1 - 0.1 * 3)


def test_the_first_step_that_is_not_finite_is_remembered():
    weight, optimizer = line()
    stepper = Stepper(optimizer, CPU)
    for step, factor in enumerate((1.0, float("inf"), 1.0, float("nan"))):
        assert stepper.diverged_at(step) == (None if step < 2 else 1)
        take_step(stepper, weight, factor, step)


def test_scaled_gradients_leave_out_steps_that_overflow_until_the_scale_fits():
    weight, optimizer = line()
    stepper = Stepper(optimizer, CPU, torch.float16, scale=2.0**127)
    for step in range(8):
        before, scale = weight.item(), 2.0 ** max(127 - step, 123)
        take_step(stepper, weight, 16.0, step)  # a gradient of 16 times the scale; float32 ends at 2^128
        assert (weight.item() != before) == (scale == 2.0**123)
    assert stepper.diverged_at(8) is None


def test_the_scale_is_part_of_the_state():
    weight, optimizer = line()
    stepper, other = (Stepper(optimizer, CPU, torch.float16, scale=scale) for scale in (2.0**127, 4.0))
    take_step(stepper, weight, 16.0)
    other.load_state_dict(stepper.state_dict())
    take_step(stepper, weight, 16.0)
    take_step(other, weight, 16.0)
    assert other.state_dict() == stepper.state_dict() and other.state_dict()["scale"] == 2.0**125


def test_float16_without_a_scale_that_fits_is_divergence():
    weight, optimizer = line()
    stepper = Stepper(optimizer, CPU, torch.float16, scale=2.0)
    weight.register_hook(lambda gradient: gradient * float("nan"))
    for step in range(3):
        assert stepper.diverged_at(step) == (None if step < 2 else 1)
        take_step(stepper, weight, 1.0, step)

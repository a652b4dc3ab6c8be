"""From a loss to the next weights: in half precision where that is faster, and never by numbers that are not finite."""

import torch
from torch import Tensor, nn


class Stepper:
    """Takes the steps of an optimiser, and remembers the first whose loss or gradient was not finite.

    In float16 the loss is scaled up, by `scale` at first, so that small gradients do not vanish; a step that overflows
    is left out and halves the scale. With `read_at_once`, as on a CPU, the caller asks `diverged_at` before each step;
    on a GPU that would wait for every step: there a step that is not finite and all after it leave the weights alone.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, device: torch.device, precision: torch.dtype | None = None, *,
        scale: float = 2.0**16, read_at_once: bool | None = None,
    ):  # fmt: skip
        self.optimizer, self.device, self.precision = optimizer, device, precision
        self.read_at_once = device.type == "cpu" if read_at_once is None else read_at_once
        self.scaler = torch.amp.GradScaler(device.type, scale, enabled=precision == torch.float16)
        self.first_bad = torch.tensor(-1, device=device)  # step; on the device, as are the numbers it is found by

    def autocast(self) -> torch.autocast:
        """Return the context for forward pass and loss."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision is not None)

    def backward(self, loss: Tensor) -> Tensor:
        """Add the gradients up; return the norm of all of them together."""
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        return nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])

    def watch(self, step: int, loss: Tensor, gradient_norm: Tensor) -> None:
        """Remember the step if a number is not finite, and keep the weights from it."""
        finite = torch.isfinite(loss.detach())
        if not self.scaler.is_enabled():  # the scaler tries scales that are too large, and leaves such steps out
            finite = finite & torch.isfinite(gradient_norm)
        self.first_bad = torch.where((self.first_bad < 0) & ~finite, step, self.first_bad)
        if not self.read_at_once and not self.scaler.is_enabled():  # or the scaler sets it
            self.optimizer.found_inf = (self.first_bad >= 0).float()

    def diverged_at(self, steps: int) -> int | None:
        """Return the first of the steps taken that was not finite, None for none; this waits for a GPU."""
        step = self.first_bad.item()
        if step < 0 and self.scaler.is_enabled() and self.scaler.get_scale() < 1:  # no scale is small enough
            step = steps - 1
        return step if step >= 0 else None

    def step(self) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state_dict(self) -> dict:
        """Return what the next step depends on: the scale."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.scaler.load_state_dict(state)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Give the optimiser what it kept of its steps; its options stay, which recipe and device decide.

    Raises ValueError, or whatever torch makes of it, for a state that cannot be this optimiser's.
    """
    for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True):
        saved.update({name: value for name, value in own.items() if name != "params"})
    optimizer.load_state_dict(state)
    adaptive = isinstance(optimizer, torch.optim.Adam)  # AdamW is one, too
    wanted = {"step", "exp_avg", "exp_avg_sq"} if adaptive else {"momentum_buffer"}
    for weight, kept in optimizer.state.items():  # nothing of a weight without gradients
        if set(kept) != wanted or not all(v.shape in (weight.shape, ()) and v.isfinite().all() for v in kept.values()):
            raise ValueError(f"its optimiser keeps other numbers than {', '.join(sorted(wanted))}")

"""Muon: momentum whose steps are orthogonalised."""

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum; in groups with `orthogonal=True` a step moves all directions of a weight alike.

    A weight (out, ...) counts as a matrix (out, the rest). Weight decay is decoupled from the gradient. While
    `found_inf` is a tensor other than 0, as torch's fused optimisers have it, the weights stay.
    Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024).
    """

    def __init__(self, groups: list[dict], lr: float, momentum: float = 0.95):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False})

    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in (p for p in group["params"] if p.grad is not None):
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
                direction = weight.grad + group["momentum"] * velocity
                if group["orthogonal"]:
                    direction = orthogonalised(direction.flatten(1)).view(weight.shape)
                moved = (weight * (1 - group["lr"] * group["weight_decay"])).add_(direction, alpha=-group["lr"])
                weight.copy_(moved if self.found_inf is None else torch.where(self.found_inf > 0, weight, moved))


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return a matrix of the same singular vectors, its singular values near 1 times the root of max(1, rows/columns).

    The iteration is Jordan's (2024), after Newton and Schulz; it needs products of matrices only.
    """
    a, b, c = 3.4445, -4.7750, 2.0315  # Jordan's coefficients: singular values end near 1, fast
    rows, columns = matrix.shape
    x = matrix / (matrix.norm() + 1e-7)
    x = x.T if rows > columns else x
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    x = x.T if rows > columns else x
    return x * max(1.0, rows / columns) ** 0.5


def orthogonal_apart(group: dict) -> list[dict]:
    """Split a parameter group in two: convolutions across channels, to be orthogonalised, and the rest."""
    mixing = [p for p in group["params"] if p.ndim == 4 and p.shape[1] > 1]
    others = [p for p in group["params"] if not any(p is one for one in mixing)]
    return [{**group, "params": mixing, "orthogonal": True}, {**group, "params": others}]

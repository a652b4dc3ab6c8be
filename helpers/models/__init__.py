"""The workbook's networks by name; each maps (N, 3, 32, 32) float to (N, 10) logits."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.errors import BadInput, nearest
from helpers.models.ablation import AblationNet
from helpers.models.compact_135k import Compact135k
from helpers.models.dilated_193k import Dilated193k
from helpers.models.mini_resnet import MiniResNet
from helpers.models.mobilenet_c40 import MobileNetC40
from helpers.models.wide_2m import Wide2m

__all__ = [
    "MODELS",
    "AblationNet",
    "build",
    "check_seed",
    "evaluating",
    "fingerprint",
    "multiply_adds",
    "parameter_count",
    "seeded",
]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_c40": MobileNetC40,
    "dilated_193k": Dilated193k,
    "mini_resnet": MiniResNet,
    "wide_2m": Wide2m,
    "compact_135k": Compact135k,
}


def build(name: str, seed: int = 0, **changes) -> nn.Module:
    """Return a new network whose first weights depend on the seed alone; `changes` go to its factory.

    Raises BadInput for an unknown name. The global random generator is left as it was.
    """
    if name not in MODELS:
        raise BadInput(f"There is no network {name!r}. {nearest(name, MODELS)}")
    check_seed(seed)
    return seeded(MODELS[name], seed, **changes)


def check_seed(seed: int) -> None:
    """Raise BadInput unless every random generator takes this seed."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise BadInput(f"The seed is {seed!r}; give a whole number from 0 to 2^63 - 1.")


def seeded(factory: Callable[..., nn.Module], seed: int = 0, **changes) -> nn.Module:
    """Return what the factory makes of `changes`, with first weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(**changes)


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers the network stores as parameters, frozen ones included, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def fingerprint(model: nn.Module) -> str:
    """Return 12 hexadecimal digits that change with any layer, option or shape, and not with the weights."""
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    return hashlib.sha256(f"{model} {shapes}".encode()).hexdigest()[:12]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Give the model in evaluation mode; afterwards every module of it is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield model.eval()
    finally:
        for module, mode in modes.items():
            module.training = mode


def multiply_adds(model: nn.Module, input_size: tuple[int, int, int] = (3, 32, 32)) -> int:
    """Return the multiplications with addition that one image costs, in convolutions and matrix products."""
    image = torch.zeros(1, *input_size, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, evaluating(model):
        model(image)
    return counter.get_total_flops() // 2  # the counter takes a multiply-add for two operations

"""The workbook's networks by name; each maps (N, 3, 32, 32) float to (N, 10) logits."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from helpers.engines.run_directory import WEIGHTS, place
from helpers.errors import BadInput, nearest
from helpers.models.ablation import AblationNet
from helpers.models.best_200k import Best200k
from helpers.models.compact_135k import Compact135k
from helpers.models.dilated_193k import Dilated193k
from helpers.models.fast_200k import Fast200k
from helpers.models.mini_resnet import MiniResNet
from helpers.models.mobilenet_c40 import MobileNetC40
from helpers.models.weights import RELEASED, has_weights, load_weights
from helpers.models.wide_2m import Wide2m

__all__ = ["MODELS", "AblationNet", "build", "check_seed", "has_weights", "load_released", "load_trained", "seeded"]
__all__ += ["RELEASED", "set_dropout"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_c40": MobileNetC40,
    "dilated_193k": Dilated193k,
    "mini_resnet": MiniResNet,
    "wide_2m": Wide2m,
    "compact_135k": Compact135k,
    "fast_200k": Fast200k,
    "best_200k": Best200k,
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
    """Raise BadInput unless every random generator takes this seed: readers give one up to 10^9, code draws more."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise BadInput(f"The seed is {seed!r}; give a whole number from 0 to 2^63 - 1.")


def seeded(factory: Callable[..., nn.Module], seed: int = 0, **changes) -> nn.Module:
    """Return what the factory makes of `changes`, with first weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(**changes)


def set_dropout(model: nn.Module, rate: float | None) -> None:
    """Give every dropout layer, elementwise or of whole channels, this rate; None leaves them as they are."""
    for layer in model.modules():
        if isinstance(layer, (nn.Dropout, nn.Dropout2d)) and rate is not None:
            layer.p = rate


def load_trained(run_dir: str | Path) -> tuple[nn.Module, dict]:
    """Return the network that a finished training run left in its folder, ready to evaluate, and its metadata.

    The metadata is a dict: `config` (what the run was), `classes`, `last_epoch` (its row of the history). In place of a
    folder, the name of a network stands for the weights released in notebooks/results/; their metadata has `wrong`, the
    places of the test images that they got wrong. Raises BadInput that names a missing or damaged file, or weights of
    another network than today's.
    """
    tensors, metadata = load_weights(_released(run_dir) if run_dir in MODELS else place(run_dir) / WEIGHTS)
    name = metadata["config"]["network"]
    model = build(name)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise BadInput(f"{run_dir} holds another network than today's {name}: train again.") from error
    if run_dir in MODELS and name != run_dir:
        raise BadInput(f"The released weights of {run_dir} are those of {name}: restore the file.")
    return model.eval(), metadata


def load_released(name: str) -> nn.Module:
    """Return the network of this name with the weights released in notebooks/results/, ready to evaluate.

    Images are normalised as the recipe of this name says. Raises BadInput as `load_trained` does.
    """
    if name not in MODELS:
        raise BadInput(f"There is no network {name!r}. {nearest(name, MODELS)}")
    return load_trained(name)[0]


def _released(name: str) -> Path:
    """Return the file of a network's released weights; raises BadInput where there is none."""
    files = {path.stem: path for path in sorted(RELEASED.glob("*.safetensors"))}
    if name not in files:
        known = f"released are {', '.join(files) or 'none'}"
        raise BadInput(f"There are no released weights of {name!r}; {known}. Or train it: workbook train {name}.")
    return files[name]

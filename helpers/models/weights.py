"""A trained network's weights on disk: a file that cannot run code, with what is said about them in its header."""

import hashlib
import json
import sysconfig
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from helpers.engines.accepting import accepted, three
from helpers.engines.run_directory import CONFIG, WEIGHTS, place, read_config, refusing_disk, write_atomically
from helpers.errors import BadInput

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"  # of a checkout; where it is installed, beside its data
RELEASED = RESULTS if RESULTS.is_dir() else Path(sysconfig.get_path("data"), "share", "cifar10-workbook")


def save_weights(path: Path, tensors: dict[str, Tensor], metadata: dict, header: dict[str, str] | None = None) -> None:
    """Write the weights, whole or not at all; raises BadInput when the disk refuses.

    `header` are texts that any reader of safetensors finds beside the metadata. One digest covers both and the weights.
    """
    tensors = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    texts = {**(header or {}), "workbook": json.dumps(metadata)}
    content = save(tensors, {**texts, "digest": _digest(tensors, texts)})  # save_file has partial files of its own
    with refusing_disk(path.parent):
        write_atomically(path, content)


def has_weights(run_dir: str | Path) -> bool:
    """Return whether a finished training run lies in this folder."""
    return (place(run_dir) / WEIGHTS).exists()


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Return the weights by name, and the metadata; raises BadInput that names a missing or damaged file.

    A file in a run's folder has to be of the run that the config beside it names.
    """
    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if texts.pop("digest", None) != _digest(tensors, texts):
            raise ValueError("its digest is missing or another one")
        metadata = json.loads(texts["workbook"])
        _refuse_metadata(metadata)
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("a weight is not finite")
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist: run notebook 05 first, or give the folder of a finished run.") from None
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is damaged ({error}): restore it, or delete it and train again.") from error
    config = path.with_name(CONFIG)
    if path.name == WEIGHTS and config.exists() and read_config(path.parent)[0] != metadata["config"]:
        raise BadInput(f"{path} is of another run than {config} names: put its own back, or train again.")
    return tensors, metadata


def load_foreign(path: str | Path, model: nn.Module) -> dict[str, tuple]:
    """Give the model the weights of anyone's safetensors file; return the images' mean and std if its header has them.

    Raises BadInput for a damaged file, weights that are not finite, and another network's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path} is damaged ({error}): write it with safetensors.torch.save_file.") from None
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if differ := sorted(name for name in {**wanted, **found} if wanted.get(name) != found.get(name)):
        raise BadInput(f"{path} is of another network: {len(differ)} tensors differ, the first of them {differ[0]!r}.")
    if wild := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise BadInput(f"{path} holds numbers that are not finite in {wild[0]!r}: the training has diverged.")
    nn.Module.load_state_dict(model, tensors)
    try:
        config = json.loads(header["workbook"])["config"]
        kinds = {"mean": three(0, 1), "std": three(1e-6, 1)}
        return {name: accepted(name, tuple(config[name]), kind) for name, kind in kinds.items()}
    except (LookupError, TypeError, ValueError, RecursionError):  # BadInput is one of these
        return {}


def _refuse_metadata(metadata: dict) -> None:
    """Raise ValueError, KeyError or TypeError for metadata by which nobody could use the weights."""
    config, classes = metadata["config"], metadata["classes"]
    if not isinstance(config["network"], str) or not isinstance(config["source"], str):
        raise ValueError("its network or the data's source has no name")
    if not isinstance(classes, list) or len(classes) != 10 or not all(isinstance(name, str) for name in classes):
        raise ValueError("it does not name ten classes")
    accepted("mean", tuple(config["mean"]), three(0, 1))
    accepted("std", tuple(config["std"]), three(1e-6, 1))


def _digest(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    """Return a digest of the texts and of each weight's name, kind, shape and values; safetensors has no checksum."""
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]

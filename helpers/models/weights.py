"""A trained network's weights on disk: a file that cannot run code, with what is said about them in its header."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from helpers.engines.run_directory import WEIGHTS, refusing_disk, write_atomically
from helpers.errors import BadInput


def save_weights(run_dir: Path, model: nn.Module, metadata: dict) -> None:
    """Write the weights, whole or not at all; raises BadInput when the disk refuses."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    described = json.dumps({**metadata, "digest": _digest(tensors)})
    content = save(tensors, {"workbook": described})  # save_file has partial files and errors of its own
    with refusing_disk(run_dir):
        write_atomically(run_dir / WEIGHTS, content)


def has_weights(run_dir: str | Path) -> bool:
    """Return whether a finished training run lies in this folder."""
    return (Path(run_dir) / WEIGHTS).exists()


def load_weights(run_dir: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Return the weights by name, and the metadata; raises BadInput that names a missing or damaged file."""
    path = Path(run_dir) / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["workbook"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if metadata.pop("digest") != _digest(tensors):
            raise ValueError("its digest is another one")
        metadata["config"]["network"]  # or nobody knows whose weights they are
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist: run notebook 05 first, or give the folder of a finished run.") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is damaged ({error}): delete it and train again.") from error
    return tensors, metadata


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return a digest of names and values: safetensors itself has no checksum."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return digest.hexdigest()[:16]

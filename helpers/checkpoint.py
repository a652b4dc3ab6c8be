"""A training state on disk that is either old or new, never torn."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from helpers.errors import BadInput

CHECKPOINT, WEIGHTS = "checkpoint.pt", "model.safetensors"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, flush it to disk and rename it, so that `path` is old or new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_state(run_dir: Path, state: dict) -> None:
    """Write the state, plain tensors and values, as the run's newest checkpoint."""
    write_atomically(run_dir / CHECKPOINT, lambda path: torch.save(state, path))


def load_state(run_dir: Path, config: dict) -> dict | None:
    """Return the run's newest checkpoint, or None for a new folder.

    Raises BadInput for a damaged file, and for a run with another recipe, seed or data, showing what differs.
    """
    path = run_dir / CHECKPOINT
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damaged byte led to
        raise BadInput(f"{path} is damaged ({type(error).__name__}): delete it to train from the start.") from error
    theirs = state["config"]
    if differing := [key for key in config if config[key] != theirs.get(key)]:
        values = ", ".join(f"{key} {theirs.get(key)!r} there and {config[key]!r} now" for key in differing)
        raise BadInput(f"{run_dir} holds another run ({values}): choose another folder, or resume=False to start anew.")
    return state


def save_weights(run_dir: Path, model: nn.Module, metadata: dict) -> None:
    """Write the trained network's weights as safetensors, with the metadata as JSON in its header."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    header = {"workbook": json.dumps(metadata)}
    write_atomically(run_dir / WEIGHTS, lambda path: save_file(tensors, path, metadata=header))


def has_weights(run_dir: str | Path) -> bool:
    """Return whether a finished training run lies in this folder."""
    return (Path(run_dir) / WEIGHTS).exists()


def load_weights(run_dir: str | Path, build: Callable[[str], nn.Module]) -> tuple[nn.Module, dict]:
    """Return the trained network, made by `build` from its name, and its metadata (config, epochs, accuracies).

    Raises BadInput that names a missing or damaged file.
    """
    path = Path(run_dir) / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["workbook"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist: run notebook 05 first, or give the folder of a finished run.") from None
    except (SafetensorError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged ({error}): delete it and train again.") from error
    model = build(metadata["config"]["network"])
    model.load_state_dict(tensors)
    return model, metadata

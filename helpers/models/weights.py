"""A trained network's weights on disk: a file that cannot run code, with what is said about them in its header."""

import hashlib
import json
import sysconfig
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from helpers.engines.run_directory import WEIGHTS, refusing_disk, write_atomically
from helpers.errors import BadInput

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"  # of a checkout; where it is installed, beside its data
RELEASED = RESULTS if RESULTS.is_dir() else Path(sysconfig.get_path("data"), "share", "cifar10-workbook")


def save_weights(path: Path, tensors: dict[str, Tensor], metadata: dict, header: dict[str, str] | None = None) -> None:
    """Write the weights, whole or not at all; raises BadInput when the disk refuses.

    `header` are texts that any reader of safetensors finds beside the metadata.
    """
    tensors = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    described = json.dumps({**metadata, "digest": _digest(tensors)})
    content = save(tensors, {**(header or {}), "workbook": described})  # save_file has partial files of its own
    with refusing_disk(path.parent):
        write_atomically(path, content)


def has_weights(run_dir: str | Path) -> bool:
    """Return whether a finished training run lies in this folder."""
    return (Path(run_dir) / WEIGHTS).exists()


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Return the weights by name, and the metadata; raises BadInput that names a missing or damaged file."""
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
        raise BadInput(f"{path} is damaged ({error}): restore it, or delete it and train again.") from error
    return tensors, metadata


def _digest(tensors: dict[str, Tensor]) -> str:
    """Return a digest of names and values: safetensors itself has no checksum."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return digest.hexdigest()[:16]

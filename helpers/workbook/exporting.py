"""What `workbook export` does: a trained network as an ONNX file, for programs that know neither torch nor this."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from helpers.engines.run_directory import refusing_disk, write_atomically
from helpers.errors import BadInput
from helpers.models import load_trained


class FromPixels(nn.Module):
    """A network with its normalisation: (N, 3, 32, 32) float in [0, 1] to logits (N, 10)."""

    def __init__(self, model: nn.Module, mean: list[float], std: list[float]):
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model((pixels - self.mean) / self.std)


def export(run_dir: str, out: str) -> None:
    """Write a finished run's network, or the released one of this name, as an ONNX file for batches of any size."""
    if Path(out).suffix != ".onnx" or Path(out).is_dir():
        raise BadInput(f"The file to write is {out!r}; give a name that ends in .onnx.")
    if missing := [name for name in ("onnx", "onnxscript") if not find_spec(name)]:
        raise BadInput(f'An export needs {" and ".join(missing)}: pip install "cifar10-workbook[export]".')
    model, trained = load_trained(run_dir)
    config, example = trained["config"], torch.zeros(2, 3, 32, 32)
    network = FromPixels(model, config["mean"], config["std"]).eval()
    named = {"input_names": ["pixels"], "output_names": ["logits"], "dynamic_shapes": {"pixels": {0: Dim("N")}}}
    program = torch.onnx.export(network, (example,), dynamo=True, verbose=False, **named)
    pixels = "(N, 3, 32, 32) float32 in [0, 1], red first; normalised within the file"
    program.model.metadata_props.update(network=config["network"], input=pixels, classes=", ".join(trained["classes"]))
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # paths of this machine among them
    with refusing_disk(Path(out).parent):
        write_atomically(Path(out), program.model_proto.SerializeToString())
    print(f"{out}: {config['network']} for pixel values in [0, 1]")

"""One training on several devices: what the processes that torchrun started (ranks) share, and what each does alone.

Without torchrun there is one rank, and nothing here changes a number.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from helpers.errors import BadInput


def count() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number; the first, 0, owns the run's folder."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes if torchrun started this one; raises BadInput when one of them is lost."""
    if not dist.is_torchelastic_launched():
        yield
        return
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in ("gloo", "NCCL")):
            raise
        raise BadInput(
            "Another process of this training is lost, so this one stops. What was saved before is sound: "
            f"the same command goes on from there. ({str(error).splitlines()[0][:120]})"
        ) from error
    finally:
        dist.destroy_process_group()


def share(index: np.ndarray) -> np.ndarray:
    """Return this rank's part of a batch's places; parts differ in size by one at most."""
    return np.array_split(index, count())[rank()]


def own() -> tuple[int, ...]:
    """Return what tells this rank's random numbers from those of the others; nothing on the first."""
    return (rank(),) if rank() else ()


def weighted(loss: Tensor, images: int) -> Tensor:
    """Return the mean loss of these images so weighted that the mean over all ranks is that of the whole batch."""
    if count() == 1:
        return loss
    everywhere = torch.tensor(float(images))  # on the CPU, or a GPU would be waited for
    dist.all_reduce(everywhere)
    return loss * (count() * images / everywhere.item())


def agree(*numbers: int) -> list[int]:
    """Return the largest of each number over all ranks."""
    if count() == 1:
        return list(numbers)
    largest = torch.tensor(numbers)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.tolist()


def move_to_first(*sums: Tensor) -> None:
    """Add every rank's sums to the first's, in place, and leave zeros on the others."""
    for tensor in sums if count() > 1 else ():
        dist.all_reduce(tensor)
        tensor.mul_(rank() == 0)


def from_first(value: object) -> object:
    """Return the first rank's value."""
    if count() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def spread(model: nn.Module) -> nn.Module:
    """Return what runs the model and adds up all ranks' gradients; its batch norms see the whole batch from now on.

    Raises BadInput for another kind of batch normalisation than that of maps.
    """
    if count() == 1:
        return model
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = BatchNorm2d
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise BadInput(f"{type(module).__name__} is not made for several processes; train this network with one.")
    return DistributedDataParallel(model)


class BatchNorm2d(nn.BatchNorm2d):
    """torch's own layer, in training by the mean and variance of all ranks' maps together; on any device.

    It bears the same name, since the network is the same. torch.nn.SyncBatchNorm does this on GPUs only.
    """

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or count() == 1:
            return super().forward(features)
        own = features.numel() / features.shape[1]
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        var, mean = (part.double() for part in torch.var_mean(wide, (0, 2, 3), correction=0))
        sums = Sum.apply(torch.stack([own * mean, own * (var + mean**2), torch.full_like(mean, own)]))
        everywhere, mean = sums[2], sums[0] / sums[2]
        var = sums[1] / everywhere - mean**2  # in float64, or digits would be lost
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((var * everywhere / (everywhere - 1)).to(self.running_var), self.momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return features * scale.to(features)[:, None, None] + shift.to(features)[:, None, None]


class Sum(torch.autograd.Function):
    """A sum over all ranks, whose gradient is the sum of all ranks' gradients."""

    @staticmethod
    def forward(context: object, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return Sum.forward(context, gradient)

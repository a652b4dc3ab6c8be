"""How hard the stand-in is; what it is like is tested with the other data."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers.data import load_cifar10, normalise, take
from helpers.engines.fast import keep_freed_memory
from helpers.models import seeded


def small_network():
    """Four convolutions, three of them strided: the least that tells the stand-in's classes apart in seconds."""

    def unit(ins, outs, stride):
        return [nn.Conv2d(ins, outs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outs), nn.ReLU()]

    layers = [*unit(3, 16, 2), *unit(16, 32, 2), *unit(32, 64, 2), *unit(64, 64, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def test_stand_in_is_too_hard_for_a_linear_classifier_and_not_for_the_network(stand_in):
    keep_freed_memory()
    test = take(load_cifar10("synthetic", train=False), 1000)

    images, labels = normalise(torch.from_numpy(stand_in.images)), torch.from_numpy(stand_in.labels)
    images = images.contiguous(memory_format=torch.channels_last)

    def accuracy_after(model, steps, peak):
        model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters())
        for step in range(steps):
            batch = torch.randint(10_000, (50,), generator=generator)
            optimizer.param_groups[0]["lr"] = peak * min(5 * (step + 1) / steps, 1.25 * (1 - step / steps))
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        with torch.inference_mode():
            logits = model.eval()(normalise(torch.from_numpy(test.images)))
        return 100 * (logits.argmax(1).numpy() == test.labels).mean()

    generator = torch.Generator().manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    assert accuracy_after(linear, steps=1000, peak=1e-3) < 30  # chance is 10
    assert accuracy_after(seeded(small_network), steps=600, peak=1e-2) > 80  # three epochs

"""How hard the stand-in is; what it is like is tested with the other data."""

import torch
import torch.nn.functional as F

from helpers.data import load_cifar10, normalise
from helpers.engines.fast import keep_freed_memory
from helpers.models import AblationNet, seeded


def test_stand_in_is_too_hard_for_a_linear_classifier_and_not_for_the_network(stand_in):
    keep_freed_memory()
    test = load_cifar10("synthetic", train=False)

    def accuracy_after(model, steps, peak):
        images, labels = normalise(torch.from_numpy(stand_in.images)), torch.from_numpy(stand_in.labels)
        images = images.contiguous(memory_format=torch.channels_last)
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
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    assert accuracy_after(linear, steps=1000, peak=1e-3) < 30  # chance is 10
    assert accuracy_after(seeded(AblationNet), steps=200, peak=5e-3) > 80  # one epoch

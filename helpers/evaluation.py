"""Logits once, every metric from them."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from helpers.data import CIFAR10_MEAN, CIFAR10_STD, normalise
from helpers.summary import evaluating


def predict(
    model: nn.Module, images: np.ndarray | Tensor, *, mean: tuple = CIFAR10_MEAN, std: tuple = CIFAR10_STD
) -> Tensor:
    """Return logits (N, 10) on the CPU, in evaluation mode and without gradients; the model's mode is left as it was.

    `images` is uint8 (N, H, W, 3), normalised here by `mean` and `std`, or normalised float (N, 3, H, W).
    """
    device, logits = next(model.parameters()).device, []
    with torch.inference_mode(), evaluating(model):
        for batch in torch.as_tensor(images).split(500):
            batch = batch if batch.is_floating_point() else normalise(batch, mean, std)
            logits.append(model(batch.to(device, memory_format=torch.channels_last)).float().cpu())
    return torch.cat(logits).clone()  # a clone outside inference mode is an ordinary tensor


def accuracy(logits: Tensor, labels: np.ndarray) -> float:
    """Return correct / seen in percent."""
    return 100 * (logits.argmax(1) == torch.as_tensor(labels)).double().mean().item()


def confusion_matrix(logits: Tensor, labels: np.ndarray) -> np.ndarray:
    """Return counts (10, 10): row the true class, column the predicted one."""
    classes = logits.shape[1]
    pairs = torch.as_tensor(labels) * classes + logits.argmax(1)
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes).numpy()


def class_accuracy(logits: Tensor, labels: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return correct, seen and accuracy in percent of every class."""
    matrix = confusion_matrix(logits, labels)
    table = pd.DataFrame({"correct": matrix.diagonal(), "seen": matrix.sum(1)}, index=pd.Index(classes, name="class"))
    return table.assign(accuracy=100 * table.correct / table.seen)


def mistakes(logits: Tensor, labels: np.ndarray) -> pd.DataFrame:
    """Return the misclassified images, the most confident first: index, true and predicted class, confidence."""
    confidence, predicted = logits.softmax(1).max(1)
    table = pd.DataFrame({"true": labels, "predicted": predicted.numpy(), "confidence": confidence.numpy()})
    wrong = table[table.true != table.predicted].rename_axis("index").reset_index()
    return wrong.sort_values("confidence", ascending=False, kind="stable", ignore_index=True)

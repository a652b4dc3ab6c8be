"""Questions to a trained network: damaged images, whether its confidence can be trusted, where it looked."""

from importlib.util import find_spec

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from helpers.errors import BadInput, nearest
from helpers.summary import evaluating

# What strengths 1 to 5 mean, kind by kind, of values in [0, 1].
CORRUPTIONS: dict[str, tuple[float, ...]] = {
    "noise": (0.02, 0.04, 0.06, 0.09, 0.12),  # standard deviation of what is added to every value
    "blur": (0.5, 0.75, 1.0, 1.5, 2.0),  # standard deviation of the Gaussian, in pixels
    "contrast": (0.75, 0.5, 0.35, 0.25, 0.15),  # factor of each value's distance from the image's mean
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # added to every value
    "JPEG": (80, 50, 30, 15, 5),  # the file's quality, of 100
}


def corrupt(images: np.ndarray, kind: str, strength: int, seed: int = 0) -> np.ndarray:
    """Return uint8 images (N, H, W, 3) damaged as CORRUPTIONS says, at a strength from 0 (not at all) to 5.

    Raises BadInput for another kind or strength. Source of the idea of kinds and strengths, which are chosen here:
    Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations (2019).
    """
    if kind not in CORRUPTIONS:
        raise BadInput(f"There is no corruption {kind!r}. {nearest(kind, CORRUPTIONS)}")
    if strength not in range(len(CORRUPTIONS[kind]) + 1):
        raise BadInput(f"The strength of a corruption is {strength!r}; give a whole number from 0 to 5.")
    if strength == 0:
        return images
    amount = CORRUPTIONS[kind][strength - 1]
    if kind == "blur":
        return np.stack([cv2.GaussianBlur(image, (0, 0), amount) for image in images])
    if kind == "JPEG":
        return np.stack([_through_jpeg(image, amount) for image in images])
    return _shifted(images.astype(np.float32) / 255, kind, amount, np.random.default_rng(seed))


def _shifted(values: np.ndarray, kind: str, amount: float, rng: np.random.Generator) -> np.ndarray:
    if kind == "noise":
        values = values + amount * rng.standard_normal(values.shape, np.float32)
    elif kind == "brightness":
        values = values + amount
    else:
        mean = values.mean((1, 2, 3), keepdims=True)
        values = mean + amount * (values - mean)
    return (255 * values.clip(0, 1)).round().astype(np.uint8)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    blue_first = np.ascontiguousarray(image[..., ::-1])
    _, file = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1]


def expected_calibration_error(probabilities: Tensor, labels: np.ndarray, bins: int = 15) -> float:
    """Return how far confidence and accuracy lie apart, in points: the mean over bins of equal width, by their answers.

    `probabilities` is (N, classes). Source: Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.
    """
    confidence, answers = probabilities.double().max(1)
    place = (confidence * bins).long().clamp(max=bins - 1)
    surplus = confidence - (answers == torch.as_tensor(labels)).double()
    of_bins = torch.zeros(bins, dtype=torch.double).index_add(0, place, surplus)
    return 100 * of_bins.abs().sum().item() / len(surplus)


def temperature(logits: Tensor, labels: np.ndarray) -> float:
    """Return the number by which these logits (N, classes) are divided for the smallest cross-entropy.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), section 4.2.
    """
    logits, labels = logits.double(), torch.as_tensor(labels)

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits / np.exp(log_temperature), labels).item()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-6}).x))


def grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, classes: np.ndarray) -> np.ndarray:
    """Return how much each place of a layer's map speaks for the class asked of each image: (N, h, w), largest 1.

    `images` is normalised float (N, 3, H, W). Raises BadInput where captum is not installed.
    Source: Selvaraju et al., Grad-CAM (2017), section 3.
    """
    if not find_spec("captum"):
        raise BadInput("Grad-CAM needs captum, which is not installed: pip install captum, or go on without.")
    from captum.attr import LayerGradCam  # here, since it is an extra

    with evaluating(model):
        maps = LayerGradCam(model, layer).attribute(images, torch.as_tensor(classes), relu_attributions=True)
    maps = maps.detach()[:, 0]
    return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)).numpy()

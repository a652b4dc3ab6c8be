"""Damage, calibration and Grad-CAM, each against an oracle: another library, a known answer, or a few lines by hand."""

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from helpers import analysis
from helpers.analysis import CORRUPTIONS, corrupt, expected_calibration_error, grad_cam, temperature
from helpers.errors import BadInput
from helpers.models import MODELS, build

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
IMAGES = np.stack([cv2.resize(image, (32, 32)) for image in IMAGES])  # smooth, as photographs are
KINDS = pytest.mark.parametrize("kind", CORRUPTIONS)


def damage(kind, strength):
    """Return the mean change of a value, of 255."""
    return abs(corrupt(IMAGES, kind, strength).astype(int) - IMAGES).mean()


@KINDS
def test_each_strength_damages_more_than_the_last_and_none_does_nothing(kind):
    changes = [damage(kind, strength) for strength in range(6)]
    assert changes[0] == 0 and np.all(np.diff(changes) > 0)


@KINDS
def test_damage_keeps_the_images_form_and_the_seed_decides_it(kind):
    before, damaged = IMAGES.copy(), corrupt(IMAGES, kind, 3)
    assert damaged.shape == IMAGES.shape and damaged.dtype == np.uint8 and np.array_equal(IMAGES, before)
    assert np.array_equal(damaged, corrupt(IMAGES, kind, 3))
    assert np.array_equal(damaged, corrupt(IMAGES, kind, 3, seed=1)) == (kind != "noise")


def test_damage_is_what_its_table_says():
    grey = np.full((50, 32, 32, 3), 128, np.uint8)
    assert np.std(corrupt(grey, "noise", 4) / 255.0) == pytest.approx(CORRUPTIONS["noise"][3], rel=0.02)
    assert (corrupt(grey, "brightness", 1) == round(128 + 25.5)).all()
    assert (corrupt(grey, "contrast", 5) == 128).all() and (corrupt(grey, "blur", 5) == 128).all()
    spread = corrupt(IMAGES, "contrast", 2).std((1, 2, 3)) / IMAGES.std((1, 2, 3))
    assert spread == pytest.approx(np.full(20, CORRUPTIONS["contrast"][1]), rel=0.01)
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert corrupt(red, "JPEG", 1)[0].mean((0, 1)) == pytest.approx([200, 0, 0], abs=4)  # OpenCV has blue first


def test_damage_of_another_kind_or_strength_is_told():
    with pytest.raises(BadInput, match="no corruption 'nose'. Did you mean 'noise'"):
        corrupt(IMAGES, "nose", 1)
    with pytest.raises(BadInput, match="strength of a corruption is 6; give a whole number from 0 to 5"):
        corrupt(IMAGES, "noise", 6)


@pytest.mark.parametrize("bins", (5, 10, 15))
def test_calibration_error_is_torchmetrics(bins):
    generator = torch.Generator().manual_seed(bins)
    probabilities = (3 * torch.randn(2000, 10, generator=generator)).softmax(1)
    confidence, labels = probabilities.max(1)  # too modest where it is unsure, too sure where it is sure
    labels = torch.where(confidence < 0.5, labels, torch.randint(10, (2000,), generator=generator))
    theirs = MulticlassCalibrationError(10, n_bins=bins, norm="l1")(probabilities, labels).item()
    assert expected_calibration_error(probabilities, labels.numpy(), bins) == pytest.approx(100 * theirs, abs=1e-3)


def test_calibration_error_of_known_answers():
    sure = torch.eye(2)[[0, 0, 1, 1]]
    assert expected_calibration_error(sure, np.array([0, 0, 1, 1])) == 0
    assert expected_calibration_error(sure, np.array([0, 0, 0, 0])) == pytest.approx(50)


@pytest.mark.parametrize("known", (0.5, 1.0, 2.5))
def test_a_known_temperature_is_found_again(known):
    logits = 2 * torch.randn(20_000, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(1))[:, 0].numpy()
    assert temperature(known * logits, labels) == pytest.approx(known, rel=0.03)  # labels are drawn by the logits
    first, second = temperature(logits, labels), temperature(known * logits, labels)
    assert second == pytest.approx(known * first, rel=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_grad_cam_is_what_a_few_lines_give(name):
    model, images = build(name), torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model.train()
    speaks = grad_cam(model, model.features, images, np.array([3, 5, 5]))
    assert model.training
    model.eval()
    maps = model.features(images).detach().requires_grad_()
    model.head(maps).flatten(1)[torch.arange(3), [3, 5, 5]].sum().backward()
    expected = (maps.grad.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach()
    expected = expected / expected.amax((1, 2), keepdim=True).clamp(min=1e-12)
    assert speaks.shape == tuple(expected.shape) and speaks == pytest.approx(expected.numpy(), abs=1e-4)


def test_without_captum_one_sentence_says_so(monkeypatch):
    monkeypatch.setattr(analysis, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="captum, which is not installed: pip install captum"):
        grad_cam(build("fast_200k"), None, torch.zeros(1, 3, 32, 32), np.zeros(1))

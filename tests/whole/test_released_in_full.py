"""A released network on every test image of CIFAR-10, and its temperature."""

import numpy as np
import pytest

from helpers.analysis import expected_calibration_error, temperature
from helpers.data import load_cifar10
from helpers.evaluation import predict
from helpers.models import load_trained
from helpers.models.weights import RELEASED


@pytest.mark.parametrize("name", sorted(path.stem for path in RELEASED.glob("*.safetensors")))
def test_released_weights_have_every_answer_and_the_temperature_that_were_recorded(name, cifar10_root):
    """Exactly, on any CPU tried so far; a machine that adds in another order may move an answer between two classes."""
    test, (model, trained) = load_cifar10(cifar10_root, train=False), load_trained(name)
    logits = predict(model, test.images, mean=trained["config"]["mean"], std=trained["config"]["std"])
    assert np.flatnonzero(logits.argmax(1).numpy() != test.labels).tolist() == trained["wrong"]
    assert temperature(logits[::2], test.labels[::2]) == pytest.approx(trained["temperature"], rel=1e-3)
    unseen, labels = logits[1::2], test.labels[1::2]
    as_trained, calibrated = unseen.softmax(1), (unseen / trained["temperature"]).softmax(1)
    assert expected_calibration_error(calibrated, labels) < expected_calibration_error(as_trained, labels)

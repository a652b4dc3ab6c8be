import numpy as np
import pytest
import torch
from torch import nn

from helpers.augment import augment_image, augmentation
from helpers.data import normalise, take
from helpers.evaluation import (
    accuracy,
    class_accuracy,
    confusion_matrix,
    mistakes,
    predict,
)
from helpers.models import build

CLASSES = tuple("abc")
LABELS = np.array([0, 0, 1, 1, 2, 2])
LOGITS = torch.tensor([[9.0, 0, 0], [0, 1, 0], [0, 5, 0], [0, 7, 0], [0, 0, 3], [8, 0, 0]])  # wrong: places 1 and 5


def test_accuracy_is_correct_over_seen_in_percent():
    assert accuracy(LOGITS, LABELS) == pytest.approx(100 * 4 / 6)


def test_accuracy_is_not_a_mean_of_batch_means():
    logits = torch.eye(2).repeat(251, 1)[:501]  # more than one evaluation batch, the last one small
    labels = np.array([0, 1] * 250 + [1])
    assert accuracy(logits, labels) == pytest.approx(100 * 500 / 501)


def test_confusion_matrix_by_brute_force():
    expected = np.zeros((3, 3), int)
    for logits, label in zip(LOGITS, LABELS, strict=True):
        expected[label, int(logits.argmax())] += 1
    assert np.array_equal(confusion_matrix(LOGITS, LABELS), expected)


def test_class_accuracy():
    table = class_accuracy(LOGITS, LABELS, CLASSES)
    assert table.accuracy.tolist() == [50, 100, 50] and table.correct.tolist() == [1, 2, 1]


def test_mistakes_are_all_wrong_ones_most_confident_first():
    table = mistakes(LOGITS, LABELS)
    assert table["index"].tolist() == [5, 1]
    assert table.true.tolist() == [2, 0] and table.predicted.tolist() == [0, 1]
    assert table.confidence[0] == pytest.approx(LOGITS[5].softmax(0).max().item())


def test_predict_is_in_evaluation_mode_without_gradients_and_restores_the_mode(few):
    model = nn.Sequential(
        nn.Conv2d(3, 10, 3), nn.BatchNorm2d(10), nn.Dropout(0.9), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    statistics = model[1].running_mean.clone()
    first, again = predict(model, few.images), predict(model, few.images)
    assert torch.equal(first, again) and not first.requires_grad and first.shape == (200, 10)
    assert model.training and torch.equal(statistics, model[1].running_mean)


def test_predict_takes_raw_and_normalised_images(few):
    model = build("dilated_193k")
    raw = predict(model, few.images[:20])
    assert torch.equal(raw, predict(model, normalise(torch.from_numpy(few.images[:20]))))
    assert torch.allclose(raw[:3], predict(model, few.images[:3]), atol=1e-4)  # in any batch


def test_predict_sees_every_image_once_in_order_and_normalised_as_the_pipeline_does(stand_in):
    images = take(stand_in, 1010).images  # two batches and a rest
    compose = augmentation("none")
    pipeline = torch.stack([augment_image(compose, image, seed=0, epoch=0, index=0) for image in images])
    pixels = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 10))
    assert torch.allclose(predict(pixels, images), pixels(pipeline), atol=1e-5)
    assert torch.allclose(predict(pixels, pipeline), pixels(pipeline), atol=1e-6)  # normalised already

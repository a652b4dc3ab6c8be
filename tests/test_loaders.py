from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.augment import augment_image, augmentation
from helpers.errors import BadInput
from helpers.loaders import evaluation_batches, normalise, steps_per_epoch, train_loader
from helpers.recipes import RECIPES

RECIPE = replace(RECIPES["dilated_193k"], batch_size=64)


def test_epoch_shows_every_image_once_with_its_label(few):
    plain = replace(RECIPE, augmentation="none")
    images, labels = map(torch.cat, zip(*train_loader(few, plain, seed=0, epoch=0), strict=True))
    order = np.random.default_rng((0, 0)).permutation(len(few))
    assert sorted(order) == list(range(len(few))) and order.tolist() != sorted(order)
    assert labels.dtype == torch.int64 and labels.tolist() == few.labels[order].tolist()
    assert torch.allclose(images, normalise(torch.from_numpy(few.images[order])), atol=1e-5)


def test_order_and_augmentation_depend_on_seed_and_epoch_alone(few):
    def epoch(seed, number):
        return torch.cat([images for images, _ in train_loader(few, RECIPE, seed=seed, epoch=number)])

    first = epoch(0, 0)
    assert torch.equal(first, epoch(0, 0))
    assert not torch.equal(first, epoch(0, 1)) and not torch.equal(first, epoch(1, 0))


def test_workers_do_not_matter(few):
    none, two = (
        [torch.cat(part) for part in zip(*train_loader(few, RECIPE, seed=0, epoch=2, workers=workers), strict=True)]
        for workers in (0, 2)
    )
    assert torch.equal(none[0], two[0]) and torch.equal(none[1], two[1])


def test_an_image_is_augmented_by_its_place_in_the_set(few):
    order = np.random.default_rng((0, 5)).permutation(len(few))
    images, _ = next(iter(train_loader(few, RECIPE, seed=0, epoch=5)))
    place = int(order[3])
    alone = augment_image(augmentation(RECIPE.augmentation), few.images[place], seed=0, epoch=5, index=place)
    assert torch.equal(images[3], alone)


def test_batches_differ_in_size_by_one_at_most(few):
    sizes = [len(labels) for _, labels in train_loader(few, replace(RECIPE, batch_size=66), seed=0, epoch=0)]
    assert sizes == [50, 50, 50, 50] and steps_per_epoch(few, replace(RECIPE, batch_size=66)) == 4


def test_batch_larger_than_the_data_is_refused(few):
    with pytest.raises(BadInput, match="only 200"):
        train_loader(few, replace(RECIPE, batch_size=201), seed=0, epoch=0)


def test_evaluation_normalises_as_the_pipeline_does(few):
    batches = list(evaluation_batches(few.images, batch_size=80))
    assert [len(batch) for batch in batches] == [80, 80, 40]
    compose = augmentation("none")
    pipeline = torch.stack([augment_image(compose, image, seed=0, epoch=0, index=0) for image in few.images])
    assert torch.allclose(torch.cat(batches), pipeline, atol=1e-5)


def test_evaluation_leaves_float_images_as_they_are():
    images = torch.randn(5, 3, 32, 32)
    assert torch.equal(torch.cat(list(evaluation_batches(images, batch_size=2))), images)

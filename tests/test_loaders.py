from dataclasses import replace

import albumentations as A
import numpy as np
import pytest
import torch
from albumentations.pytorch import ToTensorV2

from helpers.augment import AUGMENTATIONS, augment_image, augmentation, batched
from helpers.data import normalise
from helpers.errors import BadInput
from helpers.loaders import TrainLoader, steps_per_epoch
from helpers.recipes import RECIPES

RECIPE = replace(RECIPES["dilated_193k"], batch_size=64)
ENGINES = pytest.mark.parametrize("engine", ["batched", "per_image"])


def epoch(data, recipe, number=0, *, seed=0, first=0, **options):
    """Return an epoch's images and labels, whole."""
    batches = TrainLoader(data, recipe, seed=seed, **options).epoch(number, first)
    return tuple(map(torch.cat, zip(*batches, strict=True)))


@ENGINES
def test_epoch_shows_every_image_once_with_its_label(few, engine):
    images, labels = epoch(few, replace(RECIPE, augmentation="none", engine=engine))
    order = np.random.default_rng((0, 0)).permutation(len(few))
    assert sorted(order) == list(range(len(few))) and order.tolist() != sorted(order)
    assert labels.dtype == torch.int64 and labels.tolist() == few.labels[order].tolist()
    assert torch.allclose(images, normalise(torch.from_numpy(few.images[order])), atol=1e-5)


@ENGINES
def test_order_and_augmentation_depend_on_seed_and_epoch_alone(few, engine):
    recipe = replace(RECIPE, engine=engine)
    first = epoch(few, recipe)[0]
    assert torch.equal(first, epoch(few, recipe)[0])
    assert not torch.equal(first, epoch(few, recipe, 1)[0]) and not torch.equal(first, epoch(few, recipe, seed=1)[0])


@ENGINES
def test_epoch_goes_on_from_any_step(few, engine):
    recipe = replace(RECIPE, engine=engine)
    images, labels = epoch(few, recipe, 3)
    later = epoch(few, recipe, 3, first=2)
    assert torch.equal(later[0], images[-len(later[0]) :]) and torch.equal(later[1], labels[-len(later[1]) :])
    assert len(later[0]) == 100 and list(TrainLoader(few, recipe, seed=0).epoch(3, first=4)) == []


def test_workers_do_not_matter(few):
    recipe = replace(RECIPE, engine="per_image")
    none, two = (epoch(few, recipe, 2, workers=workers) for workers in (0, 2))
    assert torch.equal(none[0], two[0]) and torch.equal(none[1], two[1])


def test_an_image_is_augmented_by_its_place_in_the_set(few):
    place = int(np.random.default_rng((0, 5)).permutation(len(few))[3])
    compose = augmentation(RECIPE.augmentation)
    alone = augment_image(compose, few.images[place], seed=0, epoch=5, index=place)
    assert torch.equal(epoch(few, replace(RECIPE, engine="per_image"), 5)[0][3], alone)
    image = torch.from_numpy(few.images[place : place + 1]).permute(0, 3, 1, 2)
    alone = batched(compose)(image, seed=0, epoch=5, index=np.array([place]))
    assert torch.equal(epoch(few, replace(RECIPE, engine="batched"), 5)[0][3], alone[0])


def test_auto_takes_batches_where_it_can_and_says_when_it_cannot(few, monkeypatch):
    assert TrainLoader(few, RECIPE, seed=0).engine == "batched" and not TrainLoader(few, RECIPE, seed=0).fallback_reason
    with_blur = A.Compose([A.Blur(p=1), A.Normalize(), ToTensorV2()])
    monkeypatch.setitem(AUGMENTATIONS, "blur", lambda **_: with_blur)
    blurred = replace(RECIPE, augmentation="blur")
    loader = TrainLoader(few, blurred, seed=0)
    assert loader.engine == "per_image" and "Blur cannot be applied to whole batches" in loader.fallback_reason
    with pytest.raises(BadInput, match="Blur"):
        TrainLoader(few, replace(blurred, engine="batched"), seed=0)


@ENGINES
def test_batches_differ_in_size_by_one_at_most_and_are_in_channels_last(few, engine):
    recipe = replace(RECIPE, batch_size=66, engine=engine)
    batches = list(TrainLoader(few, recipe, seed=0).epoch(0))
    assert [len(labels) for _, labels in batches] == [50, 50, 50, 50] and steps_per_epoch(few, recipe) == 4
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in batches)


def test_batch_larger_than_the_data_is_refused(few):
    with pytest.raises(BadInput, match="only 200"):
        TrainLoader(few, replace(RECIPE, batch_size=201), seed=0)

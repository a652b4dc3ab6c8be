"""Batches against albumentations itself: the same parameters fed to both, the same distribution of parameters."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers.augment import AUGMENTATIONS, A, ToTensorV2, augmentation, coarse_dropout, shift_scale_rotate
from helpers.data import CIFAR10_MEAN, CIFAR10_STD
from helpers.engines.batched import batched
from helpers.errors import BadInput

DRAWS = 20_000


def channels_first(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def affine(**kwargs):
    return A.Affine(p=1, **kwargs)


EXACT, WITHIN_1, WITHIN_2 = 0, 1, 2  # grey levels
# OpenCV and PyTorch interpolate at the same places from the same four pixels, in another order of float32 sums.
TRANSFORMS = {
    "horizontal flip": (A.HorizontalFlip(p=1), EXACT),
    "vertical flip": (A.VerticalFlip(p=1), EXACT),
    "shift, scale, rotate": (shift_scale_rotate(p=1), WITHIN_2),
    "over a colour": (
        affine(scale=(0.7, 1.4), translate_percent=(-0.2, 0.2), rotate=(-40, 40), shear=(-20, 20), fill=(10, 100, 200)),
        WITHIN_2,
    ),
    "over the last pixel": (
        affine(translate_px=(-4, 4), rotate=(-180, 180), border_mode=cv2.BORDER_REPLICATE), WITHIN_2
    ),
    "mirrored many times": (
        affine(scale=(0.3, 0.5), rotate=(-180, 180), border_mode=cv2.BORDER_REFLECT_101, keep_ratio=True), WITHIN_2
    ),
    "one hole": (coarse_dropout(p=1), EXACT),
    "some holes": (A.CoarseDropout((1, 4), (0.1, 0.4), (0.1, 0.4), fill=3, p=1), EXACT),
    "holes of some pixels": (A.CoarseDropout((2, 3), (1, 9), (4, 40), fill=(1, 2, 3), p=1), EXACT),
    "colour": (A.RGBShift(10, 20, 30, p=1), WITHIN_1),
    "light": (A.RandomBrightnessContrast(0.3, 0.4, p=1), WITHIN_1),
    "grey": (A.ToGray(p=1), WITHIN_1),
    "pad": (A.PadIfNeeded(41, 40, border_mode=cv2.BORDER_CONSTANT, fill=(1, 2, 3)), EXACT),
    "crop": (A.RandomCrop(24, 20), EXACT),
    "normalise": (A.Normalize(CIFAR10_MEAN, CIFAR10_STD), EXACT),
}  # fmt: skip


def theirs(transform, image, drawn):
    """Apply albumentations' transform to one image with our parameters."""
    kind = type(transform).__name__
    if kind in ("ShiftScaleRotate", "Affine"):
        return transform.apply(image, matrix=drawn["matrix"], output_shape=image.shape[:2])
    if kind == "CoarseDropout":
        return transform.apply(image, holes=drawn["holes"], seed=0)
    if kind == "RGBShift":
        return transform.apply(image, noise_map=255 * drawn["shift"])
    if kind == "RandomBrightnessContrast":
        return transform.apply(image, alpha=drawn["alpha"], beta=255 * drawn["beta"])
    if kind == "RandomCrop":
        top, left = int(drawn["top"]), int(drawn["left"])
        window = (left, top, left + transform.width, top + transform.height)
        return transform.apply(image, crop_coords=window, pad_params=None)
    return A.Compose([transform])(image=image)["image"]


@pytest.mark.parametrize(("transform", "levels"), TRANSFORMS.values(), ids=TRANSFORMS)
def test_same_parameters_give_the_same_image(stand_in, transform, levels):
    images = stand_in.images[:300]
    pipeline = batched(A.Compose([transform]))
    (drawn,) = pipeline.draw(seed=1, epoch=2, index=np.arange(300))
    ours = pipeline.apply(channels_first(images), [drawn]).numpy()
    parameters = [{name: values[i] for name, values in drawn.parameters.items()} for i in range(300)]
    expected = np.stack([theirs(transform, *pair) for pair in zip(images, parameters, strict=True)])
    difference = abs(ours.astype(float) - expected.transpose(0, 3, 1, 2).astype(float))
    assert ours.dtype == expected.dtype and (difference <= levels).mean() >= (0.99 if levels == WITHIN_2 else 1)


def numbers_of(transform, drawn):
    """Return what a transform's parameters are compared by, (draws, numbers)."""
    kind = type(transform).__name__
    if kind in ("ShiftScaleRotate", "Affine"):
        matrix, centre = np.reshape(drawn["matrix"], (-1, 3, 3)), np.array([15.5, 15.5, 1])
        shift = np.round((matrix @ centre - centre)[:, :2], 6)  # the middle only shifts
        return np.column_stack([matrix[:, :2, :2].reshape(-1, 4), shift])
    if kind == "CoarseDropout":
        holes = np.reshape(drawn["holes"], (-1, 4))
        return np.column_stack([holes, holes[:, 2:] - holes[:, :2]])
    return np.column_stack([np.reshape(drawn[name], (len(drawn[name]), -1)) for name in sorted(drawn)])


def their_parameters(transform, draws):
    """Draw with albumentations' own unseeded generators."""
    image, found = np.zeros((32, 32, 3), np.uint8), []
    for _ in range(draws):
        p = transform.get_params_dependent_on_data({"shape": image.shape}, {"image": image})
        if "crop_coords" in p:
            p = {"left": p["crop_coords"][0], "top": p["crop_coords"][1]}
        if "noise_map" in p:
            p = {"shift": np.ravel(p["noise_map"])[:3] / 255}
        if "beta" in p:
            p = {"alpha": p["alpha"], "beta": p["beta"] / 255}
        found.append(
            {name: p[name] for name in ("matrix", "holes", "left", "top", "shift", "alpha", "beta") if name in p}
        )
    if "holes" in found[0]:
        return {"holes": np.concatenate([p["holes"] for p in found])}
    return {name: np.array([p[name] for p in found]) for name in found[0]}


@pytest.mark.parametrize(
    "name",
    ["shift, scale, rotate", "over a colour", "over the last pixel", "mirrored many times", "one hole", "some holes",
     "holes of some pixels", "colour", "light", "crop"],
)  # fmt: skip
def test_parameters_are_distributed_as_albumentations_draws_them(name):
    transform, _ = TRANSFORMS[name]
    (drawn,) = batched(A.Compose([transform])).draw(seed=0, epoch=0, index=np.arange(DRAWS))
    ours = numbers_of(transform, drawn.parameters)
    if "holes" in drawn.parameters:
        ours = ours[ours[:, -1] > 0]  # of images with fewer holes than the most
    expected = numbers_of(transform, their_parameters(transform, 3000))
    for column in range(expected.shape[1]):
        assert stats.ks_2samp(ours[:, column], expected[:, column]).pvalue > 1e-7


def test_transforms_fire_as_often_as_p_says_and_independently():
    transforms = [A.HorizontalFlip(p=0.1), A.VerticalFlip(p=0.5), coarse_dropout(p=0.9), A.ToGray(p=0.3)]
    drawn = batched(A.Compose(transforms)).draw(seed=3, epoch=1, index=np.arange(DRAWS))
    fired = np.zeros((4, DRAWS))
    for n, part in enumerate(drawn):
        fired[n, part.rows] = 1
        p = transforms[n].p
        assert abs(fired[n].mean() - p) < 5 * (p * (1 - p) / DRAWS) ** 0.5
    assert abs(np.corrcoef(fired) - np.eye(4)).max() < 5 / DRAWS**0.5
    top = np.array([part.parameters["holes"][:, 0, 1] for part in drawn if "holes" in part.parameters][0])
    flipped = fired[1][drawn[2].rows]
    assert abs(np.corrcoef(top, flipped)[0, 1]) < 5 / len(top) ** 0.5


def test_seeds_epochs_and_places_draw_independently():
    pipeline = batched(A.Compose([A.RandomCrop(16, 16)]))
    index = np.arange(DRAWS)
    keys = [{"seed": 0, "epoch": 0}, {"seed": 0, "epoch": 1}, {"seed": 1, "epoch": 0}, {"seed": 1, "epoch": 1}]
    tops = np.array([pipeline.draw(**key, index=index)[0].parameters["top"] for key in keys])
    neighbours = np.stack([tops[0][:-1], tops[0][1:]])
    for correlation in (np.corrcoef(tops), np.corrcoef(neighbours)):
        assert abs(correlation - np.eye(len(correlation))).max() < 5 / DRAWS**0.5


def test_groups_apply_what_they_hold_as_albumentations_does():
    either = A.OneOf([A.HorizontalFlip(p=0.1), A.Sequential([A.VerticalFlip(p=0.5)], p=0.3)], p=0.8)
    drawn = batched(A.Compose([either, A.Sequential([A.ToGray(p=0.5), coarse_dropout(p=1)], p=0.5)])).draw(
        seed=0, epoch=0, index=np.arange(DRAWS)
    )
    rows = [set(part.rows.tolist()) for part in drawn]
    shares = np.array([len(r) for r in rows]) / DRAWS
    assert shares == pytest.approx([0.8 * 0.25, 0.8 * 0.75 * 0.5, 0.25, 0.5], abs=5 * 0.5 / DRAWS**0.5)
    assert not rows[0] & rows[1] and rows[2] <= rows[3]


@pytest.mark.parametrize("name", ["flip_ssr_cutout", "flip_ssr_cutout_colour", "pad_crop_cutout"])
def test_an_image_is_the_same_in_every_batch(stand_in, name):
    images, index = channels_first(stand_in.images[:512]), np.random.default_rng(0).permutation(512)
    pipeline = batched(augmentation(name))
    for epoch in (0, 1):
        whole = pipeline(images[index], seed=5, epoch=epoch, index=index)
        for size in (1, 7):
            part = pipeline(images[index[:size]], seed=5, epoch=epoch, index=torch.from_numpy(index[:size]))
            assert torch.equal(whole[:size], part)
    other = pipeline(images[index], seed=5, epoch=0, index=index)
    assert not torch.equal(whole, other) and whole.dtype == torch.float32 and whole.shape == images.shape


NORMALIZE = A.Normalize(CIFAR10_MEAN, CIFAR10_STD)
FOR_ALL = {
    "nothing": [],
    "a tensor": [ToTensorV2()],
    "flip": [A.HorizontalFlip(p=1)],
    "grey": [A.ToGray(p=1)],
    "light": [A.RandomBrightnessContrast(p=1)],
    "crop": [A.RandomCrop(25, 23)],
    "normalise": [NORMALIZE],
    "normalise twice": [NORMALIZE, A.Normalize((0.1,) * 3, (2.0,) * 3, max_pixel_value=1.0)],
}


@pytest.mark.parametrize("transforms", FOR_ALL.values(), ids=FOR_ALL)
@pytest.mark.parametrize("contiguous", [True, False])
def test_only_images_that_a_transform_fires_for_change_and_none_that_were_given(stand_in, transforms, contiguous):
    given = torch.from_numpy(stand_in.images[:60].copy()).permute(0, 3, 1, 2)
    given = given.contiguous() if contiguous else given
    before, key = given.clone(), {"seed": 0, "epoch": 0, "index": np.arange(60)}
    expected = batched(A.Compose(transforms))(given, **key)
    assert expected.data_ptr() != given.data_ptr()
    pipeline = batched(A.Compose([*transforms, A.VerticalFlip(p=0.5)]))
    fired = pipeline.draw(**key)[-1].rows
    expected[fired] = expected[fired].flip(-2)
    assert torch.equal(pipeline(given, **key), expected) and 10 < len(fired) < 50
    assert torch.equal(given, before)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_given_are_left_alone(stand_in, name):
    images = channels_first(stand_in.images[:50])
    before = images.clone()
    batched(augmentation(name))(images, seed=0, epoch=0, index=np.arange(50))
    assert torch.equal(images, before)


def random_transform(draw):
    p = draw(st.floats(0, 1))
    limit = draw(st.floats(0, 0.9))
    side = draw(st.integers(1, 32))
    return draw(
        st.sampled_from([
            A.HorizontalFlip(p=p), A.VerticalFlip(p=p), A.ToGray(p=p), A.RGBShift(50 * limit, 9, 200 * limit, p=p),
            A.RandomBrightnessContrast(limit, limit, p=p), A.CoarseDropout((1, 3), (1, side), (1, side), fill=9, p=p),
            A.Affine(scale=(1 - limit, 1 + limit), rotate=(-180 * limit, 180), shear=(-60 * limit, 60 * limit),
                     translate_percent=(-limit, limit), border_mode=draw(st.sampled_from([0, 1, 4])), p=p),
        ])
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_random_pipelines_keep_shape_and_range(stand_in, data):
    transforms = [random_transform(data.draw) for _ in range(data.draw(st.integers(0, 5)))]
    pad, side = data.draw(st.integers(32, 44)), data.draw(st.integers(1, 32))
    transforms += [A.PadIfNeeded(pad, pad, border_mode=cv2.BORDER_CONSTANT, fill=0), A.RandomCrop(side, side)]
    images, index = channels_first(stand_in.images[:20]), np.arange(20)
    grey = batched(A.Compose(transforms))(images, seed=0, epoch=0, index=index)
    assert grey.dtype == torch.uint8 and grey.shape == (20, 3, side, side)
    whole = batched(A.Compose([*transforms, A.Normalize((0.5,) * 3, (0.25,) * 3), ToTensorV2()]))
    normalised = whole(images, seed=0, epoch=0, index=index)
    assert torch.isfinite(normalised).all() and -2.001 <= normalised.min() <= normalised.max() <= 2.001
    assert torch.allclose(normalised, (grey / 255 - 0.5) / 0.25, atol=1e-5)


def test_float_images_given_are_left_alone(stand_in):
    pipeline = batched(A.Compose([NORMALIZE]))
    images = channels_first(stand_in.images[:9]).float()
    before = images.clone()
    assert not torch.equal(pipeline.apply(images, pipeline.draw(seed=0, epoch=0, index=np.arange(9))), before)
    assert torch.equal(images, before)


def test_transforms_after_normalising_work_in_its_units(stand_in):
    transforms = [A.Normalize(CIFAR10_MEAN, CIFAR10_STD), coarse_dropout(p=1, fill=(0, 0, 0)), A.HorizontalFlip(p=1)]
    ours = batched(A.Compose(transforms))(channels_first(stand_in.images[:9]), seed=0, epoch=0, index=np.arange(9))
    assert ((ours == 0).all(1).sum((1, 2)) >= 256).all() and ours.dtype == torch.float32


REFUSED_PIPELINES = {
    "unknown": (A.Compose([A.GaussianBlur()]), "GaussianBlur cannot be applied.*HorizontalFlip"),
    "nested group": (A.Compose([A.SomeOf([A.HorizontalFlip()], n=1)]), "SomeOf cannot be applied"),
    "no pipeline": (A.HorizontalFlip(), "HorizontalFlip is not"),
    "boxes": (A.Compose([A.HorizontalFlip()], bbox_params=A.BboxParams("coco")), "targets other than the image"),
    "masks": (A.Compose([A.HorizontalFlip()], additional_targets={"more": "image"}), "targets other than the image"),
    "interpolation": (A.Compose([affine(interpolation=cv2.INTER_CUBIC)]), "interpolation=2"),
    "border": (A.Compose([affine(border_mode=cv2.BORDER_WRAP)]), "border_mode=3"),
    "fill": (A.Compose([A.CoarseDropout(fill="random")]), "fill 'random'"),
    "output that fits": (A.Compose([affine(fit_output=True)]), "fit_output=True"),
    "sometimes smaller": (A.Compose([A.RandomCrop(16, 16, p=0.5)]), "RandomCrop changes size.*p=1"),
    "crop too large": (A.Compose([A.RandomCrop(40, 40)]), "40x40 does not fit into 32x32"),
}


@pytest.mark.parametrize(("compose", "words"), REFUSED_PIPELINES.values(), ids=REFUSED_PIPELINES)
def test_what_is_not_supported_is_refused_by_name(compose, words):
    with pytest.raises(BadInput, match=words):
        batched(compose)


IMAGES = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
REFUSED_IMAGES = {
    "float": (IMAGES.float(), np.arange(4), "torch.float32"),
    "channels last": (IMAGES.permute(0, 2, 3, 1), np.arange(4), r"\(4, 32, 32, 3\)"),
    "another size": (IMAGES[..., 2:], np.arange(4), r"\(4, 3, 32, 30\)"),
    "four channels": (torch.zeros(4, 4, 32, 32, dtype=torch.uint8), np.arange(4), r"\(4, 4, 32, 32\)"),
    "numpy": (IMAGES.numpy(), np.arange(4), "uint8 tensor"),
    "an empty batch": (IMAGES[:0], np.arange(0), "at least one"),
    "places missing": (IMAGES, np.arange(3), r"have places \(3,\)"),
}


@pytest.mark.parametrize(("images", "index", "words"), REFUSED_IMAGES.values(), ids=REFUSED_IMAGES)
def test_other_images_are_refused(images, index, words):
    with pytest.raises(BadInput, match=words):
        batched(augmentation("flip_ssr_cutout"))(images, seed=0, epoch=0, index=index)


@pytest.mark.parametrize(
    "key", [{"seed": -1}, {"epoch": 0.5}, {"index": np.arange(4) - 1}, {"index": np.arange(4.0)}], ids=str
)
def test_seed_epoch_and_places_are_whole_numbers(key):
    with pytest.raises(BadInput, match="whole numbers from 0"):
        batched(A.Compose([]))(IMAGES, **({"seed": 0, "epoch": 0, "index": np.arange(4)} | key))

from dataclasses import asdict, dataclass, replace

import pytest

from helpers.augment import AUGMENTATIONS
from helpers.errors import BadInput
from helpers.models import MODELS
from helpers.recipes import PUBLISHED, RECIPES, Recipe, recipe_named

BASE = RECIPES["dilated_193k"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("epochs", -1), ("epochs", 2.5), ("epochs", "3"), ("epochs", True),
        ("batch_size", 1), ("peak_lr", -0.1), ("peak_lr", 0), ("peak_lr", "high"), ("peak_lr", float("nan")),
        ("warmup", 1), ("momentum", 1), ("weight_decay", -1), ("label_smoothing", 1), ("optimizer", "adma"),
        ("schedule", "triangle"), ("dropout", 1), ("dropout", "none"), ("engine", "batch"), ("first_size", 7),
        ("mean", (0.5, 0.5)), ("mean", 0.5), ("std", (0.2, 0.0, 0.2)), ("std", (51, 51, 51)),
        ("mean", ("a", "b", "c")), ("mean", (True, 0, 0)), ("augmentation", None),
        ("augmentation", ["flip"]), ("network", 3),
    ],
)  # fmt: skip
def test_wrong_value_is_refused_in_one_sentence_that_names_the_field(field, value):
    with pytest.raises(BadInput, match=field) as refusal:
        replace(BASE, **{field: value})
    assert repr(value) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "misspelt", "meant"), [("optimizer", "adma", "adam"), ("schedule", "triangle", "triangular")]
)
def test_misspelt_name_gets_the_nearest(field, misspelt, meant):
    with pytest.raises(BadInput, match=f"Did you mean '{meant}'"):
        replace(BASE, **{field: misspelt})


def test_every_network_has_a_recipe_of_its_name():
    assert set(RECIPES) == set(MODELS) == set(PUBLISHED) | {"fast_200k", "best_200k"}
    for name, recipe in RECIPES.items():
        assert recipe.network == name and recipe.augmentation in AUGMENTATIONS


def test_recipes_keep_what_their_authors_stated():
    stated = {
        "mobilenet_c40": {"epochs": 25, "augmentation": "flip_ssr_cutout"},
        "dilated_193k": {"epochs": 100, "batch_size": -(-50_000 // 49)},
        "mini_resnet": {"epochs": 24, "optimizer": "adam", "schedule": "one_cycle", "augmentation": "pad_crop_cutout"},
        "wide_2m": {"epochs": 20, "batch_size": 128},
        "compact_135k": {"batch_size": 512, "dropout": 0.02, "augmentation": "flip_ssr_cutout_colour",
                         "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    }  # fmt: skip
    for name, values in stated.items():
        assert set(PUBLISHED[name].stated) == set(values)
        if name == "dilated_193k":  # 49 batches an epoch: at least 1,021 images each; 1,024 is the round number
            assert -(-50_000 // RECIPES[name].batch_size) == 49
            values["batch_size"] = RECIPES[name].batch_size
        assert {field: getattr(RECIPES[name], field) for field in values} == values


def test_hash_changes_with_any_value():
    changed = [replace(BASE, epochs=3), replace(BASE, peak_lr=0.02), replace(BASE, mean=(0.5, 0.5, 0.5))]
    assert len({BASE.hash(), replace(BASE).hash(), *(recipe.hash() for recipe in changed)}) == 4


def test_a_new_field_with_a_default_outdates_nothing():
    @dataclass(frozen=True, kw_only=True)
    class Wider(Recipe):
        mixup: float = 0.0

    assert Wider(**asdict(BASE)).hash() == BASE.hash() != Wider(**asdict(BASE), mixup=0.1).hash()


def test_a_whole_number_is_the_same_recipe_as_its_decimal():
    assert replace(BASE, peak_lr=1).hash() == replace(BASE, peak_lr=1.0).hash()


def test_table_explains_every_field():
    table = BASE.table()
    assert table.value["epochs"] == 100 and table.meaning.str.len().gt(5).all()


def test_unknown_recipe_offers_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'dilated_193k'"):
        recipe_named("dilated193k")

from dataclasses import replace

import pytest

from helpers.augment import AUGMENTATIONS
from helpers.errors import BadInput
from helpers.models import MODELS
from helpers.recipes import PUBLISHED, RECIPES, recipe_named

BASE = RECIPES["dilated_193k"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("epochs", -1), ("epochs", 2.5), ("epochs", "3"), ("epochs", True),
        ("batch_size", 1), ("peak_lr", -0.1), ("peak_lr", 0), ("peak_lr", "high"), ("peak_lr", float("nan")),
        ("warmup", 1), ("momentum", 1), ("weight_decay", -1), ("label_smoothing", 1), ("optimizer", "adma"),
    ],
)  # fmt: skip
def test_wrong_value_is_refused_in_one_sentence_that_names_the_field(field, value):
    with pytest.raises(BadInput, match=field) as refusal:
        replace(BASE, **{field: value})
    assert repr(value) in str(refusal.value) and "\n" not in str(refusal.value)


def test_every_network_has_a_recipe_of_its_name():
    assert set(RECIPES) == set(MODELS) and set(PUBLISHED) <= set(RECIPES)
    for name, recipe in RECIPES.items():
        assert recipe.network == name and recipe.augmentation in AUGMENTATIONS


def test_hash_changes_with_any_value():
    changed = [replace(BASE, epochs=3), replace(BASE, peak_lr=0.02), replace(BASE, mean=(0.5, 0.5, 0.5))]
    assert len({BASE.hash(), replace(BASE).hash(), *(recipe.hash() for recipe in changed)}) == 4


def test_table_explains_every_field():
    table = BASE.table()
    assert table.value["epochs"] == 100 and table.meaning.str.len().gt(5).all()


def test_unknown_recipe_offers_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'dilated_193k'"):
        recipe_named("dilated193k")

import pytest

from helpers.errors import BadInput, check_count, kind_of, nearest


def test_nearest_offers_the_closest_name_or_all():
    assert nearest("EPOCH", ["EPOCHS", "SEED"]) == "Did you mean 'EPOCHS'?"
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."


def test_kind_of_names_the_type_and_says_what_to_do_about_nothing():
    assert kind_of(3) == "something of type int" and kind_of(None) == "nothing: return it"


@pytest.mark.parametrize("count", [0, -1, 1001, 2.0, "5", True, None])
def test_a_count_out_of_its_range_is_one_sentence(count):
    with pytest.raises(BadInput, match=r"^IMAGES is .*; give a whole number from 1 to 1,000\.$"):
        check_count("IMAGES", count, 1000)


def test_a_count_within_its_range_passes():
    check_count("IMAGES", 1, 1000)
    check_count("IMAGES", 1000, 1000)
    check_count("EPOCHS", 0, 5, least=0)

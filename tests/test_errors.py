import pytest

from helpers.errors import BadInput, check_count, check_number, kind_of, nearest


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


@pytest.mark.parametrize("count", [15, 0, 1010])
def test_a_count_that_has_to_be_a_multiple_says_so(count):
    with pytest.raises(BadInput, match=r"^IMAGES is \d+; give a whole number from 10 to 1,000, a multiple of 10\.$"):
        check_count("IMAGES", count, 1000, least=10, multiple=10)


@pytest.mark.parametrize("number", [0, 0.3, -1, float("nan"), float("inf"), "0.1", None, True])
def test_a_number_out_of_its_range_is_one_sentence(number):
    with pytest.raises(BadInput, match=r"^PEAK_LR is .*; give a number from 1e-05 to 0\.2\.$"):
        check_number("PEAK_LR", number, 1e-5, 0.2)


def test_a_number_within_its_range_passes():
    check_number("PEAK_LR", 0.2, 1e-5, 0.2)
    check_number("LEAST", 85, 0, 100)

from helpers.errors import kind_of, nearest


def test_nearest_offers_the_closest_name_or_all():
    assert nearest("EPOCH", ["EPOCHS", "SEED"]) == "Did you mean 'EPOCHS'?"
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."


def test_kind_of_names_the_type_and_says_what_to_do_about_nothing():
    assert kind_of(3) == "something of type int" and kind_of(None) == "nothing: return it"

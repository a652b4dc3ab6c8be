"""Its network is a number."""


def factory():
    return 10

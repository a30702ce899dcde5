"""Whether OpenMP is used: it is not."""


def is_available():
    """Whether OpenMP can be used."""
    return False

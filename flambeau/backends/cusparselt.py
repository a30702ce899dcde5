"""Whether cuSPARSELt is used: it is not."""


def is_available():
    """Whether cuSPARSELt can be used."""
    return False

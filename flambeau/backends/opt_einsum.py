"""Switches of opt_einsum, which is not used."""

enabled = False
strategy = None


def is_available():
    """Whether opt_einsum can be used."""
    return False


def get_opt_einsum():
    """The package: None, as it is not used."""
    return None

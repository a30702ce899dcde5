"""Sets the switches of a module for a while."""

import contextlib


def set_flags(module, flags):
    """Sets those switches that are not None; returns the old values of all of them."""
    before = {name: getattr(module, name) for name in flags}
    for name, value in flags.items():
        if value is not None:
            setattr(module, name, value)
    return before


@contextlib.contextmanager
def hold(module, flags):
    """Sets the switches inside, and back at the end."""
    before = set_flags(module, flags)
    try:
        yield
    finally:
        set_flags(module, before)

"""Whether NNPACK is used: it is not."""

import contextlib

_enabled = True


def is_available():
    """Whether NNPACK can be used."""
    return False


def set_flags(enabled):
    """Notes whether NNPACK may be used (nothing depends on it), and gives back what was noted before, in a tuple."""
    global _enabled
    before, _enabled = _enabled, enabled
    return (before,)


@contextlib.contextmanager
def flags(enabled=False):
    """Notes it inside a ``with``."""
    before = set_flags(enabled)
    try:
        yield
    finally:
        set_flags(before[0])

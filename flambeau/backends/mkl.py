"""Whether MKL is used: it is not."""

VERBOSE_OFF, VERBOSE_ON = 0, 1


def is_available():
    """Whether MKL can be used."""
    return False


class verbose:
    """Has MKL report its calls inside a ``with``; there are none to report."""

    def __init__(self, enable):
        self.enable = enable

    def __enter__(self):
        if self.enable != VERBOSE_OFF:
            raise AssertionError("Failed to set MKL into verbose mode. Please consider to disable this verbose scope.")
        return self

    def __exit__(self, *_):
        return False

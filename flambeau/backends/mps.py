"""Whether Apple's GPUs can be used: they can not."""


def is_available():
    """Whether there is such a device."""
    return False


def is_built():
    """Whether such devices are supported at all."""
    return False


def is_macos_or_newer(major, minor):
    """Whether the system is at least this macOS."""
    return False


def is_macos13_or_newer(minor=0):
    """Whether the system is at least macOS 13."""
    return False


def get_name():
    """The device's name."""
    raise RuntimeError("MPS is not available")


get_core_count = get_name

"""Sets the switches of a module for a while; how operations of a library may round float32."""

import contextlib

PRECISIONS = ("none", "ieee", "tf32", "bf16")


class Precision:
    """`fp32_precision` of one kind of operation: "ieee", "tf32", "bf16" or "none" (as the library)."""

    def __init__(self, precision="none"):
        object.__setattr__(self, "fp32_precision", precision)

    def __setattr__(self, name, value):
        if name != "fp32_precision":
            raise AttributeError("Unknown attribute " + name)
        if value not in PRECISIONS:
            raise RuntimeError(f"Unknown precision: {value}")
        object.__setattr__(self, name, value)


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

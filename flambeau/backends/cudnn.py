"""Switches of cuDNN, which is not used."""

import sys

from . import switches

enabled = True
benchmark = False
benchmark_limit = 10
deterministic = False
allow_tf32 = True
depthwise_kernel = "auto"
conv, rnn = switches.Precision("tf32"), switches.Precision("tf32")
fp32_precision = "none"


def version():
    """The version of cuDNN: None, as there is none."""
    return None


def is_available():
    """Whether cuDNN can be used."""
    return False


def is_acceptable(tensor):
    """Whether cuDNN would take this tensor."""
    return False


def set_flags(
    _enabled=None, _benchmark=None, _benchmark_limit=None, _deterministic=None, _allow_tf32=None, _fp32_precision="none"
):
    """Sets switches and returns the old values."""
    given = {
        "enabled": _enabled,
        "benchmark": _benchmark,
        "benchmark_limit": _benchmark_limit,
        "deterministic": _deterministic,
        "allow_tf32": _allow_tf32,
    }
    return tuple(switches.set_flags(sys.modules[__name__], given).values())


def flags(
    enabled=False, benchmark=False, benchmark_limit=10, deterministic=False, allow_tf32=True, fp32_precision="none"
):
    """Sets switches inside a ``with``."""
    given = {
        "enabled": enabled,
        "benchmark": benchmark,
        "benchmark_limit": benchmark_limit,
        "deterministic": deterministic,
        "allow_tf32": allow_tf32,
    }
    return switches.hold(sys.modules[__name__], given)

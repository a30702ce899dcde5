"""Switches of oneDNN, which is not used."""

import sys

from . import switches

enabled = True
deterministic = False
allow_tf32 = True
fp32_precision = "none"
conv, matmul, rnn = switches.Precision(), switches.Precision(), switches.Precision()
VERBOSE_OFF, VERBOSE_ON, VERBOSE_ON_CREATION = 0, 1, 2


def is_available():
    """Whether oneDNN can be used."""
    return False


def set_flags(_enabled=None, _deterministic=None, _allow_tf32=None, _fp32_precision="none"):
    """Sets switches and returns the old values."""
    given = {"enabled": _enabled, "deterministic": _deterministic, "allow_tf32": _allow_tf32}
    return tuple(switches.set_flags(sys.modules[__name__], given).values())


def flags(enabled=False, deterministic=False, allow_tf32=True, fp32_precision="none"):
    """Sets switches inside a ``with``."""
    given = {"enabled": enabled, "deterministic": deterministic, "allow_tf32": allow_tf32}
    return switches.hold(sys.modules[__name__], given)

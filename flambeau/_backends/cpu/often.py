"""When small arrays are worth a kernel: native code is in the process already, and it calls a routine again and again.

A kernel's call costs less than the three or four of the array library that it stands for, but its code and its plan have to
be made first. `launch.planned` waits in turn until arrays of the same sizes come again.
"""

from __future__ import annotations

from flambeau._backends.cpu.small import loaded

CALLS = 1000  # of a routine with small arrays, from which on they go to kernels
MOST = 4000  # and where the process has no native code yet

_calls: dict[str, int] = {}


def often(routine: str) -> bool:
    """Whether this call of a routine is one of many. For small arrays only: others need not wait."""
    n = _calls.get(routine, 0)
    if n >= MOST:
        return True
    _calls[routine] = MOST if n + 1 >= CALLS and loaded() else n + 1
    return False

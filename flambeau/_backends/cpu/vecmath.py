"""Vector mathematics: functions of reals as straight-line code over a builder `b`, the same text for every width and machine."""

from __future__ import annotations

from flambeau._backends.cpu.lanes import Builder, Value

LOG2E = 1.4426950408889634


def exp(b: Builder, x: Value) -> Value:
    """TODO"""
    return b.unary("exp", x)

def exp2(b: Builder, x: Value) -> Value:
    return b.unary("exp2", x)
def sqrt(b: Builder, x: Value) -> Value:
    return b.sqrt(x)

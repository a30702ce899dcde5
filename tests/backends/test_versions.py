"""Versions raised together: the builtin does what the Python text says."""

from __future__ import annotations

import sys

import pytest

import flambeau as fl
from flambeau._backends.cpu import engine, watch
from flambeau._backends.cpu.versions import Raise


@pytest.mark.skipif(not engine.available() or watch.same() is None, reason="nothing is watched here")
def test_the_builtin_adds_as_the_text_does():
    counters = [[0], [5], [10**12], [255]]
    both = Raise(*((c, n) for n, c in enumerate(counters, 1)))
    both()
    assert both.native()() is None
    assert counters == [[2], [9], [10**12 + 6], [263]]
    one = [1 << 20]
    call, held = Raise((one, 1)).native(), sys.getrefcount(one)
    for _ in range(1000):
        call()
    assert one == [(1 << 20) + 1000] and sys.getrefcount(one) == held
    assert sys.getrefcount(one[0]) <= 3


def test_versions_of_what_a_program_writes():
    xs = [fl.zeros(4) for _ in range(5)]

    @fl.compile
    def step():
        for x in xs:
            x.add_(1).mul_(2)

    before = [x._version for x in xs]
    for n in range(1, 6):
        step()
        assert [x._version - b for x, b in zip(xs, before, strict=True)] == [2 * n] * 5
    xs[0] = fl.ones(4)  # another counter
    kept = xs[1]._version
    step()
    step()
    assert xs[0]._version == 4 and xs[1]._version == kept + 4

"""The pool of large blocks: what is freed is given out again, contents survive, and idle memory stays bounded."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from flambeau._backends.cpu import engine, memory

pytestmark = pytest.mark.skipif(not engine.available(), reason="llvmlite is not installed")
LARGE = memory.LIMIT // 8  # doubles in the smallest block of the pool


@pytest.fixture
def pool() -> Any:
    found = memory.install()
    if found is None:
        pytest.skip("no pool on this system")
    found.trim()
    return found


def test_blocks_come_back(pool: Any) -> None:
    a = np.empty(3 * LARGE)
    where, used = a.ctypes.data, pool.bytes(memory.USED)
    assert used > 0
    del a
    idle = pool.bytes(memory.IDLE)
    assert idle >= 3 * memory.LIMIT and pool.bytes(memory.USED) == used - idle
    assert np.empty(3 * LARGE).ctypes.data == where
    pool.trim()
    assert pool.bytes(memory.IDLE) == 0


@pytest.mark.parametrize("n", [1, 100, LARGE - 1, LARGE, LARGE + 1, 2 * LARGE, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_contents(pool: Any, n: int) -> None:
    """Zeros are zeros in a used block too; growing and shrinking keep what was there."""
    for _ in range(3):
        z = np.zeros(n)
        assert not z.any()
        z[:] = np.arange(n)
        assert z.ctypes.data % (64 if n >= LARGE else 1) == 0
        z.resize(n + LARGE, refcheck=False)
        np.testing.assert_array_equal(z[:n], np.arange(n))
        z.resize(n // 2 + 1, refcheck=False)
        np.testing.assert_array_equal(z, np.arange(n // 2 + 1))


def test_idle_memory_is_bounded(pool: Any) -> None:
    """Blocks of ever new sizes do not pile up."""
    for n in range(60):
        np.empty((1 << 20) + (n << 17))
        limit = pool.bytes(memory.HIGH)
        assert pool.bytes(memory.USED) + pool.bytes(memory.IDLE) <= limit + limit // 8 + memory.SLACK


def test_threads(pool: Any) -> None:
    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        live = [np.full(int(rng.integers(LARGE, 4 * LARGE)), float(seed)) for _ in range(5)]
        for i in range(200):
            live[i % 5] = np.full(int(rng.integers(LARGE, 4 * LARGE)), float(seed))
            assert (live[(i + 1) % 5] == seed).all()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def test_arrays_outlive_everything() -> None:
    """Arrays that are freed while the interpreter is taken down."""
    code = (
        "import flambeau, sys\n"
        "x = flambeau.randn(1 << 20).exp()\n"
        "sys.keep = x._a\n"
        "class Late:\n"
        "    def __init__(self, a): self.a = a\n"
        "    def __del__(self): self.a = None\n"
        "late = Late((x + 1)._a)\n"
        "late.me = late\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr

"""The pool: the same bits on any number of threads, forks, many callers, clean exits, and no work when idle."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import threads
from flambeau._backends.cpu.emit import Module, V, atomic_add
from flambeau._backends.cpu.engine import TARGETS, Engine, engine


@pytest.fixture(scope="module")
def go():
    """go(args, chunks, scratch): adds 1 to x[chunk], and to the counter; uses its scratch memory."""
    threads.pool()
    m = Module("test of the pool")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    with f.loop(begin, end) as i:
        x = f.load("ptr", args)
        f.store(i, scratch, 0)
        f.store(f.load("i64", x, f.load("i64", scratch, 0)) + 1, x, i)
        atomic_add(f, f.load("ptr", args, 1), 1)
    f = m.function("void go(ptr args, i64 chunks, i64 bytes)")
    f.call("void", "flambeau_parallel", V(f, "ptr", "@k"), *f.params)
    code = engine().load(str(m), ["go"], m.imports)
    native = code.function("go", None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

    def call(chunks):
        x, count = np.zeros(max(chunks, 1), np.int64), np.zeros(1, np.int64)
        slots = np.array([x.ctypes.data, count.ctypes.data], np.int64)
        native(slots.ctypes.data, chunks, 64)
        return x, int(count[0])

    return call


@pytest.fixture(autouse=True)
def restore():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_every_chunk_once(go, n):
    threads.set_num_threads(n)
    for chunks in (0, 1, 2, 3, 100, 5000):
        x, count = go(chunks)
        assert count == chunks and (x[:chunks] == 1).all()
    for _ in range(300):
        assert go(8)[1] == 8


def test_many_callers(go):
    threads.set_num_threads(3)
    wrong = []

    def caller():
        for _ in range(200):
            if go(20)[1] != 20:
                wrong.append(1)

    callers = [threading.Thread(target=caller) for _ in range(6)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert not wrong


def test_idle_workers_sleep(go):
    threads.set_num_threads(3)
    go(100)
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1
    assert threads.pool().word(threads.SLEEPERS, ctypes.c_int32).value == threads.pool().word(threads.LIVE).value


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork(go):
    threads.set_num_threads(3)
    go(100)
    child = os.fork()
    if child == 0:
        alone = threads.pool().word(threads.LIVE).value == 0 and go(50)[1] == 50
        threads.pool().start()
        together = threads.pool().word(threads.LIVE).value == 2 and go(50)[1] == 50
        os._exit(0 if alone and together else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert go(50)[1] == 50


def test_exit_is_clean():
    text = """
import numpy as np
from flambeau._backends.cpu import matmul, threads
threads.set_num_threads(4)
a = np.ones((700, 700), np.float32)
matmul.matmul(a, a)
"""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", text], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert time.monotonic() - begin < 30


def test_numbers():
    with pytest.raises(RuntimeError, match="positive"):
        threads.set_num_threads(0)
    threads.set_num_threads(5)
    assert threads.get_num_threads() == 5


@pytest.mark.parametrize("name", TARGETS)
def test_other_machines(name):
    """The pool compiles for every target that has threads."""
    if name != "wasm":
        assert len(Engine(TARGETS[name]).emit(threads.pool_text(TARGETS[name])[0])) > 500

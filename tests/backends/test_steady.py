"""Training under all circumstances: any number of threads, a second process, a forked child, many callers, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("llvmlite")

ROOT = Path(__file__).parents[2]
TRAIN = """
import hashlib, os, sys, threading
import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F

def train(threads, steps=3):
    torch.manual_seed(0)
    torch.set_num_threads(threads[0])
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(16 * 64, 130), nn.GELU(), nn.LayerNorm(130), nn.Linear(130, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    x, y = torch.randn(32, 3, 16, 16), torch.randint(0, 10, (32,))
    for i in range(steps):
        torch.set_num_threads(threads[i % len(threads)])
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    h = hashlib.blake2b(digest_size=8)
    for t in model.state_dict().values():
        h.update(t.numpy().tobytes())
    return h.hexdigest()
"""


def python(text, **environment):
    return subprocess.run([sys.executable, "-c", TRAIN + text], env={**os.environ, **environment}, cwd=ROOT, capture_output=True,
                          text=True, timeout=120)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache that one process has filled, and the bits it came to on one thread."""
    folder = str(tmp_path_factory.mktemp("cache"))
    done = python("print(train([1]))", FLAMBEAU_CACHE_DIR=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.strip()


def test_a_second_run_compiles_nothing_and_threads_change_no_bit(cache):
    folder, bits = cache
    text = """
from flambeau._backends.cpu.engine import engine
print(*(train(threads) for threads in ([1], [2], [7], [3, 1, 5])), engine().compiled)
"""
    done = python(text, FLAMBEAU_CACHE_DIR=folder, FLAMBEAU_ASSERT_CACHED="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [bits] * 4 + ["0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_trains(cache):
    folder, bits = cache
    text = """
import warnings
warnings.simplefilter("ignore")
before = train([2])
child = os.fork()
if child == 0:
    os._exit(0 if train([2]) == train([3]) == before else 1)
assert os.waitpid(child, 0)[1] == 0
print(before, train([2]))
"""
    done = python(text, FLAMBEAU_CACHE_DIR=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [bits] * 2


def test_many_callers_at_once(cache):
    folder, _ = cache
    text = """
torch.set_num_threads(3)
w = torch.randn(300, 300)
want = ((w @ w).tanh().softmax(1) + 1).sum(0)
wrong = []
def work():
    for _ in range(20):
        if not torch.equal(((w @ w).tanh().softmax(1) + 1).sum(0), want):
            wrong.append(1)
workers = [threading.Thread(target=work) for _ in range(6)]
[t.start() for t in workers]
[t.join() for t in workers]
print(len(wrong))
"""
    done = python(text, FLAMBEAU_CACHE_DIR=folder)
    assert done.returncode == 0 and done.stdout.strip() == "0", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_interrupted_and_used_again(cache):
    folder, bits = cache
    text = """
import signal
train([2], 1)
print("ready", flush=True)
try:
    while True:
        train([2])
except KeyboardInterrupt:
    print(train([2]), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", TRAIN + text], env={**os.environ, "FLAMBEAU_CACHE_DIR": folder}, cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    killer = threading.Timer(90, process.kill)
    killer.start()
    try:
        assert process.stdout is not None and process.stdout.readline().strip() == "ready"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    finally:
        killer.cancel()
    assert process.returncode == 0 and out.strip() == bits, err


def test_a_cache_that_cannot_be_written(cache, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = python("print(train([2], 1) != '')", FLAMBEAU_CACHE_DIR=str(blocked / "cache"))
    assert done.returncode == 0 and done.stdout.strip() == "True" and not done.stderr, done.stderr


def test_damaged_entries_are_made_anew(cache, tmp_path):
    folder, bits = cache
    copies = []
    for i, path in enumerate(sorted(p for p in Path(folder).rglob("*") if p.is_file())):
        to = tmp_path / path.relative_to(folder)
        to.parent.mkdir(parents=True, exist_ok=True)
        raw = path.read_bytes()
        to.write_bytes(raw if i % 3 else raw[: len(raw) // 2])
        copies.append(to)
    assert len(copies) > 10
    done = python("print(train([2]))", FLAMBEAU_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0 and done.stdout.strip() == bits, done.stderr

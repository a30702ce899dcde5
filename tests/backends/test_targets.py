"""Kernels and the pool compile for every target, whatever machine the tests run on."""

from __future__ import annotations

import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import contract, conv, conv_depthwise, conv_tile, conv_weight, pool
from flambeau._backends.cpu.emit import Module
from flambeau._backends.cpu.engine import TARGETS, Engine
from flambeau._backends.cpu.launch import entry_module


@pytest.mark.parametrize("name", TARGETS)
def test_kernels(name):
    target = TARGETS[name]
    native = Engine(target)
    t = contract.tile(target, "float32")
    texts = [
        contract.text(target, "float32", contract.PLAIN),
        conv_tile.text(target, "float"),
        conv_tile.pack_text(target, "float32"),
        conv.text(target, "float32", contract.PLAIN),
        conv_depthwise.text(target, "float32"),
        conv_depthwise.weight_text(target, "float32"),
        conv_weight.text(target, "float32", t),
        pool.text(target, "float32"),
    ]
    for text in texts:
        assert len(native.emit(str(text), level=1)) > 1000
    if name != "wasm":
        assert len(native.emit(str(entry_module()))) > 1000


def test_wide_vectors_are_used():
    target = TARGETS["linux-avx512"]
    assert "zmm" in Engine(target).assembly(str(contract.text(target, "float32", contract.PLAIN)))


def test_emitted_text():
    m = Module("text")
    f = m.function("i64 f(i64 n)")
    total = f.var("i64", 0)
    with f.loop(0, f.params[0]) as i, f.either(i > 3) as otherwise:
        total.set(total.get() + i)
        otherwise()
        total.set(total.get() - 1)
    f.ret(total.get())
    assert Engine(TARGETS["linux-arm"]).emit(str(m))

"""Kernels and the pool compile for every target, whatever machine the tests run on."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import (
    amx,
    attention,
    attention_backward,
    bags,
    bands,
    contract,
    conv,
    conv_depthwise,
    conv_tile,
    conv_weight,
    pool,
    pool_last,
    product,
    recurrent,
    sums,
    taps,
    thirds,
)
from flambeau._backends.cpu.emit import Module
from flambeau._backends.cpu.engine import TARGETS, Engine, Target
from flambeau._backends.cpu.entry import entry_module

BIASED = contract.ADD_ROW("float32")
FORMS = (
    product.Form("float32", 5, True, 2, 1, "rows", "lines", True, BIASED),
    product.Form("float64", 6, False, 2, 0, "pack rows", "pack any", False),
    product.Form("bfloat16", 3, False, 0, 1, "pack lines", "pack rows", True),
    product.Form("float16", 2, True, 1, 1, "pack any", "pack lines", True),
    product.Form("float64", 5, True, 2, 1, "pack lines", "lines", True),
)
TILES = Target(
    "x86_64-unknown-linux-gnu", "sapphirerapids", TARGETS["linux-avx512"].features + ",+avx512bf16,+amx-tile,+amx-bf16"
)


def test_tile_registers():
    assert amx.has_tiles(TILES) and not any(amx.has_tiles(t) for t in TARGETS.values())
    for how in ("rows", "pack rows", "pack lines", "pack any"):
        assembly = Engine(TILES).assembly(
            str(amx.text(TILES, amx.TileForm(how, epilogue=contract.ADD_ROW("bfloat16"))))
        )
        assert "tdpbf16ps" in assembly and "ldtilecfg" in assembly and "tilerelease" in assembly
    for shared in (False, True):
        assembly = Engine(TILES).assembly(str(thirds.text(TILES, contract.ADD_ROW("float32"), shared)))
        assert assembly.count("tdpbf16ps") == 12 and "tilerelease" in assembly
    assert "vpminud" in Engine(TILES).assembly(str(thirds.pack_text(TILES)))


def test_pairs_of_bfloat16():
    plain = Target(TILES.triple, "cooperlake", TARGETS["linux-avx512"].features + ",+avx512bf16")
    assert "vdpbf16ps" in Engine(plain).assembly(str(product.text(plain, FORMS[2])))


@pytest.mark.parametrize("name", TARGETS)
def test_kernels(name):
    target = TARGETS[name]
    native = Engine(target)
    texts = [
        *(product.text(target, form) for form in FORMS[: 2 if name == "wasm" else 4]),  # no half precision there
        conv_tile.text(target, "float"),
        conv_tile.pack_text(target, "float32"),
        conv.text(target, "float32", contract.PLAIN),
        conv_depthwise.text(target, "float32"),
        conv_depthwise.weight_text(target, "float32"),
        conv_weight.text(target, "float32"),
        sums.total_text(np.dtype("f")),
        sums.lanes_text(np.dtype("d"), sums.Lanes(4, False)),
        sums.apart_text(np.dtype("f")),
        bands.text(target, "float32", True),
        bands.text(target, "float16", False),
        pool.text(target, "float32"),
        pool.back_text(target, "float32"),
        pool_last.text(target, "float32"),
        pool_last.back_text(target, "float16" if name != "wasm" else "float64"),
        bags.text(target, "float32", False, True),
        bags.text(target, "float64", True, False),
        *(taps.text(target, "float32", word, 4) for word in ("read", "spread", "weigh")),
        attention.text(target, "float32", ""),
        recurrent.text(target, "float32", "lstm"),
        recurrent.backward_text(target, "float64", "gru"),
        attention_backward.text(target, "float64", "bool", True),
    ]
    for text in texts:
        names = re.findall(r'^define (?!internal|private|linkonce)[^@\n]*@"?([\w.]+)', str(text), re.MULTILINE)
        code = native.emit(str(text), level=1)
        assert names and all(name.encode() in code for name in names)
    if name != "wasm":
        assert len(native.emit(str(entry_module()))) > 1000


def test_wide_vectors_are_used():
    target = TARGETS["linux-avx512"]
    assert "zmm" in Engine(target).assembly(str(product.text(target, FORMS[0])))


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

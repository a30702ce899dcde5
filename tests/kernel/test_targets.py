"""The corpus compiles for every machine, and emulated narrower vectors give the host's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau._backends.cpu import copies, draws, engine, fft, fft_column, fft_row, samplers
from flambeau._backends.cpu.compile import layout, machine, recorded
from flambeau._backends.cpu.engine import TARGETS, Engine
from flambeau._backends.cpu.llvm import Machine, generate
from flambeau._kernel.fuse import Program, fuse
from flambeau._kernel.loops import Layout
from tests.kernel.corpus import CORPUS, arguments

pytestmark = pytest.mark.skipif(not engine.available(), reason="llvmlite is not installed")
SOME = [
    "broadcast",
    "gelu",
    "half",
    "float16",
    "sum outer",
    "softmax",
    "argmax",
    "cumsum",
    "gather",
    "pad",
    "integers",
    "gamma",
    "trigonometry",
]


def program(name: str) -> Program:
    args = arguments(CORPUS[name])
    out = CORPUS[name].body(*(recorded(x, i) for i, x in enumerate(args)))
    roots = out if isinstance(out, tuple) else (out,)
    return fuse(roots, [layout(x) for x in args], [Layout.dense(r.dtype.name, r.shape) for r in roots])


@pytest.mark.parametrize("target", TARGETS)
def test_compiles(target: str) -> None:
    """Object code comes out, and calls nothing that is not in it."""
    e = Engine(TARGETS[target])
    for name in SOME if target != "wasm" else SOME[:2]:
        for step in program(name).launches:
            text = generate(step.kernel, machine(e.target))
            assembly = e.assembly(text)
            assert len(e.emit(text)) > 100
            for libm in ("expf", "logf", "fmaf", "erff", "fmod", "roundeven"):
                assert f"\t{libm}" not in assembly.replace("\tcallq", "\tcall"), f"{name} calls {libm} on {target}"


@pytest.mark.parametrize("target", TARGETS)
def test_what_no_body_describes_compiles(target: str) -> None:
    """Kernels whose text is written here, not derived: transforms, samplers, copies."""
    e = Engine(TARGETS[target])
    texts = [samplers.text(), draws.text(e.target), copies.text(e.target)]
    if target in ("linux-arm", "windows", "wasm"):
        texts += [
            fft.text(e.target, "float"),
            fft_column.text(e.target, "float", True, (16, 5, 4)),
            fft_row.text(e.target, "float", "r2c", 4, (8, 5, 4)),
            fft_row.text(e.target, "float", "c2c", 4, (4, 4)),
        ]
    for text in texts:
        assert len(e.emit(str(text))) > 100


@pytest.mark.parametrize("width", [16, 32, 64])
def test_widths_agree(width: int) -> None:
    """The number of lanes is a matter of speed: elementwise results are the same bits."""
    import ctypes

    for name in ("gelu", "adam", "power", "trigonometry", "pad"):
        args = arguments(CORPUS[name])
        step = program(name).launches[0]
        results = []
        for m in (Machine(width), Machine(64)):
            code = engine.engine().load(generate(step.kernel, m), ["k"])
            outs = {n: np.zeros(args[0].size * 8, "d") for kind, n in step.operands if kind == "out"}
            slots = [outs[n].ctypes.data if kind == "out" else args[n].ctypes.data for kind, n in step.operands]
            block = np.array([*slots, *step.sizes, *step.grain], np.int64)
            call = code.function("k", None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
            call(block.ctypes.data, 0, step.chunks, 0)
            results.append([o.tobytes() for o in outs.values()])
        assert results[0] == results[1], name

"""Products of the contraction template against NumPy in float64, over random shapes and layouts."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import amx, contract, dots, engine, matmul, product
from flambeau._backends.cpu.emit import Module
from flambeau._backends.cpu.launch import ARG, OUT, Plan, Result, Table

TOLERANCE = {"float32": 2e-6, "float64": 2e-15, "bfloat16": 8e-3, "float16": 1e-3}
SHAPES = [
    (1, 1, 1),
    (3, 5, 7),
    (14, 32, 16),
    (15, 33, 17),
    (2, 1, 40),
    (40, 2, 9),
    (64, 64, 64),
    (100, 90, 801),
    (300, 257, 65),
    (28, 32, 0),
    (0, 4, 3),
    (520, 530, 20),
    (256, 64, 10),
    (70, 75, 31),
]


def layout(rng, shape, kind):
    """An array of the shape: plain, transposed, strided, reversed."""
    shape = tuple(shape)
    if kind == "plain":
        return rng.standard_normal(shape)
    if kind == "transposed":
        return rng.standard_normal((*shape[:-2], shape[-1], shape[-2])).swapaxes(-1, -2)
    if kind == "strided":
        return rng.standard_normal((*shape[:-2], shape[-2] * 2, shape[-1] * 3))[..., ::2, ::3]
    return rng.standard_normal(shape)[..., ::-1, ::-1]


def cast(x, dtype):
    """To a dtype, keeping the layout."""
    return x.astype(np.dtype(dtype) if dtype != "bfloat16" else ml_dtypes.bfloat16, order="K")


def check(a, b, dtype):
    got = matmul.matmul(a, b)
    if got is None:
        assert dtype == "float16" and not matmul.engine().target.halves  # left to the array library
        return
    want = a.astype(np.float64) @ b.astype(np.float64)
    assert got.dtype == a.dtype and got.shape == want.shape and got.flags.c_contiguous
    scale = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64)) + 1e-6
    assert np.all(np.abs(got.astype(np.float64) - want) <= TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_layouts(shape, dtype):
    m, n, k = shape
    rng = np.random.default_rng(m * n + k)
    kinds = ["plain", "transposed"] if m * n > 10000 else ["plain", "transposed", "strided", "reversed"]
    for left in kinds:
        for right in kinds:
            check(cast(layout(rng, (m, k), left), dtype), cast(layout(rng, (k, n), right), dtype), dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "batch", [((4,), (4,)), ((2, 3), (2, 3)), ((2, 3), ()), ((3,), (2, 1)), ((), (5,)), ((0,), (0,))], ids=str
)
def test_batches(batch, dtype):
    rng = np.random.default_rng(0)
    left, right = (cast(rng.standard_normal((*x, *s)), dtype) for x, s in zip(batch, ((9, 20), (20, 34)), strict=True))
    check(left, right, dtype)
    heads = cast(rng.standard_normal((2, 16, 4, 8)), dtype).transpose(0, 2, 1, 3)  # attention's layout: p h t d
    check(heads, heads.swapaxes(-1, -2), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_batch_that_the_second_operand_lacks_is_more_rows_however_it_lies(dtype):
    rng = np.random.default_rng(3)
    a = cast(rng.standard_normal((24, 5, 70)), dtype)
    b, plus = cast(rng.standard_normal((70, 130)), dtype), cast(rng.standard_normal(130), dtype)
    turned = a.swapaxes(0, 1)
    rows = np.ascontiguousarray(turned).reshape(-1, 70)
    assert (matmul.matmul(turned, b).reshape(-1, 130) == matmul.matmul(rows, b)).all()
    assert (matmul.matmul(turned, b, plus).reshape(-1, 130) == matmul.matmul(rows, b, plus)).all()
    check(a[::2].swapaxes(0, 1), b, dtype)
    check(a[::-1], b, dtype)
    large = cast(rng.standard_normal((300, 2, 256)), dtype).swapaxes(0, 1)  # of which panels are shared, after the copy
    check(large, cast(rng.standard_normal((256, 400)), dtype), dtype)


@pytest.mark.parametrize("k", [64, 65, 70, 1000])
@pytest.mark.parametrize("apart", [0, 1, 2, 7, 10])
def test_pairs_are_read_where_they_lie_as_if_they_were_copied(k, apart):
    """Rows of bfloat16 may begin in the middle of a word, lie an odd number of elements apart, or backwards."""
    rng = np.random.default_rng(k + apart)
    b = cast(rng.standard_normal((k, 75)), "bfloat16")
    for begin in (0, 1, 3):
        a = cast(rng.standard_normal((41, begin + k + apart)), "bfloat16")[:, begin : begin + k]
        for rows in (a, a[::-1], a[::2], np.broadcast_to(a[5], a.shape)):
            check(rows, b, "bfloat16")
            assert (matmul.matmul(rows, b) == matmul.matmul(np.asfortranarray(rows), b)).all()


def test_integers_wrap():
    rng = np.random.default_rng(0)
    for dtype in ("int8", "uint8", "int16", "int32", "int64"):
        info = np.iinfo(dtype)
        a, b = (rng.integers(info.min, info.max, s, dtype=dtype, endpoint=True) for s in ((17, 40), (40, 35)))
        assert np.array_equal(matmul.matmul(a, b), a @ b)


def test_special_values():
    a = np.ones((20, 40), np.float32)
    b = np.ones((40, 50), np.float32)
    a[3, 4], b[7, 8] = np.nan, np.inf
    assert np.array_equal(matmul.matmul(a, b), a @ b, equal_nan=True)


def test_same_bits_for_any_number_of_threads():
    from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((700, 900), (900, 650)))
    before, results = get_num_threads(), []
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            results.append((matmul.matmul(a, b).tobytes(), matmul.matmul(a.T, a).tobytes()))
    finally:
        set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_epilogues(dtype):
    rng = np.random.default_rng(0)
    a, b, row, column, c = (cast(rng.standard_normal(s), dtype) for s in ((30, 40), (40, 50), (50,), (30,), (30, 50)))
    product = a.astype(np.float32) @ b.astype(np.float32)
    place = lambda i, s: contract.Operand((ARG, i), s)
    cases = [
        (contract.ADD_ROW(dtype), row, (0, 0, 0, 1), (), product + row.astype(np.float32)),
        (contract.ADD_COLUMN(dtype), column, (0, 0, 1, 0), (), product + column.astype(np.float32)[:, None]),
        (contract.scaled(dtype), c, (0, 0, 50, 1), (2.0, -0.5), 2 * product - 0.5 * c.astype(np.float32)),
    ]
    for e, operand, strides, scalars, want in cases:
        work = matmul.launch(
            dtype,
            (1, 1, 30, 50, 40),
            contract.Operand((OUT, 0), (0, 0, 50, 1)),
            place(0, (0, 0, 40, 1)),
            place(1, (0, 0, 50, 1)),
            e,
            [place(2, strides)],
            [(ARG, 3 + i) for i in range(len(scalars))],
        )
        table = Table()
        args = (a, b, operand, *scalars)
        table.add(args, Plan((Result(a.dtype, (30, 50)),), (work,)))
        np.testing.assert_allclose(
            table.call(*args).astype(np.float32),
            want,
            rtol=1e-2 if dtype == "bfloat16" else 1e-5,
            atol=1e-4 if dtype == "float32" else 5e-2,
        )


class Other:
    """The host's engine, but code is made for another machine: one whose instructions the host has too."""

    def __init__(self, target):
        self.target, self.compiler = target, engine.Engine(target, engine.engine().store)

    def load(self, text, exports, parts, level):
        return engine.engine().link(self.compiler.object(text, parts, level), exports)


def variants():
    host = engine.host()
    plain = ",".join(x for x in host.features.split(",") if not x.startswith("+amx"))
    yield "without tiles", engine.Target(host.triple, host.cpu, plain)
    for name in ("linux-avx512", "linux-avx2", "linux-sse2"):
        yield name, engine.TARGETS[name]


@pytest.mark.parametrize(("name", "target"), [*variants()])
def test_other_machines(name, target, monkeypatch):
    if target.triple.split("-")[0] != engine.host().triple.split("-")[0]:
        pytest.skip("another architecture")
    if not all(engine.host().has(x[1:]) for x in target.features.split(",") if x.startswith("+")):
        pytest.skip("this machine lacks some of its instructions")
    other, caches = Other(target), (product.kernel, dots.kernel, amx.kernel, matmul.tables, matmul.choose)
    for module in (matmul, product, dots, amx):
        monkeypatch.setattr(module, "engine", lambda: other)
    for made in caches:
        made.cache_clear()
    try:
        rng = np.random.default_rng(0)
        for m, n, k in ((17, 70, 300), (3, 45, 131), (40, 16, 31), (109, 260, 12)):
            for dtype in TOLERANCE:
                for left, right in (
                    ("plain", "plain"),
                    ("plain", "transposed"),
                    ("transposed", "strided"),
                    ("transposed", "plain"),
                ):
                    check(cast(layout(rng, (m, k), left), dtype), cast(layout(rng, (k, n), right), dtype), dtype)
    finally:
        for made in caches:
            made.cache_clear()


@pytest.mark.skipif(not amx.has_tiles(engine.host()), reason="this machine has no tile registers")
def test_tile_registers_after_a_fork_and_in_threads():
    text = """
import os, threading, ml_dtypes, numpy as np
from flambeau._backends.cpu import amx, matmul, threads
threads.set_num_threads(3)
x = np.ones((300, 320), ml_dtypes.bfloat16)
good = lambda: bool((matmul.matmul(x, x.T) == 320).all())
assert amx.allowed() and good()
child = os.fork()
if child == 0:
    os._exit(0 if good() else 1)
assert os.waitpid(child, 0)[1] == 0
results = []
workers = [threading.Thread(target=lambda: results.append(good())) for _ in range(3)]
[w.start() for w in workers], [w.join() for w in workers]
assert results == [True] * 3
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tiles_turned_and_not():
    """Few rows by weights as they lie, and the same by weights that are packed; partial sums; epilogues of both."""
    rng = np.random.default_rng(0)
    for m, n, k in ((1, 64, 96), (7, 33, 70), (20, 200, 1500), (33, 48, 2600)):
        a, w = (cast(rng.standard_normal(s), "bfloat16") for s in ((m, k), (n, k)))
        bias, c = (cast(rng.standard_normal(s), "bfloat16") for s in ((n,), (m, n)))
        check(a, w.T, "bfloat16")
        product_, scale = a.astype("f8") @ w.astype("f8").T, np.abs(a.astype("f8")) @ np.abs(w.astype("f8").T) + 1
        for right in (w.T, np.ascontiguousarray(w.T)):
            got = matmul.matmul(a, right, bias).astype("f8")
            assert np.all(np.abs(got - product_ - bias.astype("f8")) <= 8e-3 * scale)
            got = matmul.matmul(a, right, c, 2.0, 0.5).astype("f8")
            assert np.all(np.abs(got - 0.5 * product_ - 2 * c.astype("f8")) <= 8e-3 * scale)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_bits_of_small_products_do_not_depend_on_threads(dtype):
    from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

    rng = np.random.default_rng(0)
    before = get_num_threads()
    for m, n, k in ((8, 900, 300), (130, 140, 1500), (1, 3000, 200)):
        a, w = cast(rng.standard_normal((m, k)), dtype), cast(rng.standard_normal((n, k)), dtype)
        results = set()
        try:
            for threads in (1, 2, 7):
                set_num_threads(threads)
                results.add(matmul.matmul(a, w.T).tobytes())
        finally:
            set_num_threads(before)
        assert len(results) == 1


def test_nothing_to_sum_or_to_write():
    for dtype in TOLERANCE:
        for m, n, k in ((0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)):
            check(cast(np.zeros((m, k)), dtype), cast(np.zeros((k, n)), dtype), dtype)
    assert np.array_equal(
        matmul.matmul(np.ones((3, 0), "f4"), np.ones((0, 4), "f4"), np.arange(4, dtype="f4")), [[0, 1, 2, 3]] * 3
    )


@pytest.mark.parametrize("registers", [16, 32])
def test_tiles_fit_the_registers(registers):
    lanes = registers // 2
    for m in (1, 2, 5, 6, 10, 64, 256, 1000):
        for n in (1, 10, 64, 80, 96, 128, 784):
            for k in (1, 10, 256):
                tiles, vectors = matmul.shape(registers, m, n, k, lanes)
                rows = -(-m // tiles)
                assert rows * vectors + min(rows, vectors) < registers
                assert vectors <= -(-n // lanes)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rows_that_lie_side_by_side_are_packed_several_panels_at_a_time(dtype):
    """Any number of panels of either height, in parts of k; their last row ends with the memory."""
    rng = np.random.default_rng(0)
    for m in (1, 7, 47, 48, 49, 97, 1024):
        for k in (3, 700):
            check(cast(layout(rng, (m, k), "transposed"), dtype), cast(layout(rng, (k, 264), "plain"), dtype), dtype)


def test_panels_end_within_a_vector():
    """What lies past the last element of k is neither read nor written: memory ends there."""
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for k in (9, 10, 15, 17, 31):
            a, b = rng.standard_normal((64, k)).astype(dtype), rng.standard_normal((80, k)).astype(dtype)
            check(a, b.T, np.dtype(dtype).name)
            check(np.asfortranarray(a), b.T, np.dtype(dtype).name)


def test_no_block_is_more_than_a_tile_or_a_panel_larger_than_another():
    """Else the thread that has the large ones is waited for."""
    width = 48
    m = Module("units")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    w = product.arguments(f)
    at = f.var("i64", 0)
    with product.units(f, w, width) as (i0, i1, n0, cols, _, _):
        for x in (i0, i1, n0, n0 + cols):
            f.store(x, f.gep("i64", w["c"], at.get()))
            at.set(at.get() + 1)
    code = engine.engine().load(str(m), ["k"])
    run = code.function("k", None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    for tiles, tb, n, panels in [(57, 19, 784, 9), (171, 11, 256, 6), (1, 1, 20, 1), (10, 7, 500, 4), (7, 7, 1000, 1)]:
        shape = -(-tiles // tb), -(-n // (panels * width))
        made = np.zeros((shape[0] * shape[1], 4), np.int64)
        known = {"c": made.ctypes.data, "tiles": tiles, "tb": tb, "n": n, "nb": panels * width}
        args = np.array([known.get(name, 1) for name in product.SLOTS], np.int64)
        run(args.ctypes.data, 0, len(made), None)
        covered = np.zeros((tiles, n), int)
        for i0, i1, n0, n1 in made:
            covered[i0:i1, n0:n1] += 1
            assert n0 % width == 0
            assert 0 < i1 - i0 <= tb
            assert 0 < n1 - n0 <= panels * width
        assert (covered == 1).all()
        assert np.ptp(made[:, 1] - made[:, 0]) <= 1
        assert np.ptp(-(-(made[:, 3] - made[:, 2]) // width)) <= 1

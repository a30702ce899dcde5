"""Every kernel of the corpus: on arrays, by the Python backend and as native code, in every layout; the grammar after every
pass; dumps that parse back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from flambeau._backends import python
from flambeau._backends.cpu import engine
from flambeau._backends.cpu.arrays import K as NUMPY
from flambeau._backends.cpu.compile import layout, native, recorded
from flambeau._kernel import schedule
from flambeau._kernel.fuse import Program, fuse
from flambeau._kernel.ir import Kernel, Stage, Update
from flambeau._kernel.loops import Layout
from flambeau._kernel.record import Expr, evaluate
from flambeau._kernel.show import read, show
from flambeau._kernel.verify import BrokenInvariant, verify
from tests.kernel.corpus import CORPUS, arguments, k

needs_native = pytest.mark.skipif(not engine.available(), reason="llvmlite is not installed")
TOLERANCE = {"float16": 2e-3, "bfloat16": 1e-2, "float32": 2e-5, "float64": 1e-12}


def check(kernel: Kernel, after: str) -> None:
    verify(kernel, after)
    assert read(show(kernel)) == kernel


def roots_of(body: Any, args: list[Any]) -> list[Expr]:
    out = body(*(recorded(x, i) for i, x in enumerate(args)))
    return list(out) if isinstance(out, tuple) else [out]


def program_of(roots: list[Expr], args: list[Any]) -> tuple[Program, list[Any]]:
    outs = [np.zeros(r.shape, r.dtype.np) for r in roots]
    return fuse(roots, [layout(x) for x in args], [layout(o) for o in outs], check), outs


def same(got: list[Any], want: list[Any]) -> None:
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape
        rtol = TOLERANCE.get(g.dtype.name, 0)
        np.testing.assert_allclose(np.asarray(g, "d"), np.asarray(w, "d"), rtol=rtol, atol=rtol)


def run_native(
    program: Program, inputs: list[Any], outs: list[Any], order: Any = None, scratch_fill: int = 0x7F
) -> None:
    """Calls the kernels chunk by chunk, in any order: the threads' work, done by hand."""
    import ctypes

    temps = [np.zeros(size, python.numpy_dtype(dtype)) for dtype, size in program.temps]
    arrays = {"in": inputs, "out": outs, "temp": temps}
    for step in program.launches:
        call = native(step.kernel).function("k", None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
        slots = [arrays[kind][n].ctypes.data for kind, n in step.operands] + [*step.sizes, *step.grain]
        block = np.array(slots, np.int64)
        scratch = np.full(step.scratch + 128, scratch_fill, np.uint8)
        start = (scratch.ctypes.data + 63) & -64
        for begin, end in order(step.chunks) if order else [(0, step.chunks)]:
            call(block.ctypes.data, begin, end, start)
        assert (scratch[start - scratch.ctypes.data + step.scratch :] == scratch_fill).all(), "scratch is large enough"


@pytest.mark.parametrize("form", ["dense", "transposed", "strided"])
@pytest.mark.parametrize("name", CORPUS)
def test_readings_agree(name: str, form: str) -> None:
    """The array reading, the loops in Python and native code give the same numbers."""
    args = arguments(CORPUS[name], layout=form)
    roots = roots_of(CORPUS[name].body, args)
    with np.errstate(all="ignore"):
        want = [np.asarray(w) for w in evaluate(NUMPY, roots, args)]
    program, outs = program_of(roots, args)
    if sum(np.prod(a.shape, dtype=int) for a in args) < 10000:
        python.run(program, args, outs)
        same(outs, want)
    if engine.available():
        outs = [np.zeros_like(o) for o in outs]
        run_native(program, args, outs)
        same(outs, want)


@needs_native
@pytest.mark.parametrize(
    "name", ["softmax", "sum long", "sum tall", "batch_norm", "var of a long row", "cumsum outer", "gelu"]
)
def test_chunks_in_any_order(name: str) -> None:
    """The same bits however the chunks are shared out."""
    args = arguments(CORPUS[name])
    program, outs = program_of(roots_of(CORPUS[name].body, args), args)
    results = []
    for order in (
        lambda n: [(0, n)],
        lambda n: [(i, i + 1) for i in reversed(range(n))],
        lambda n: [(n // 2, n), (0, n // 3), (n // 3, n // 2)],
    ):
        outs = [np.zeros_like(o) for o in outs]
        run_native(program, args, outs, order)
        results.append([o.tobytes() for o in outs])
    assert results[0] == results[1] == results[2]


@needs_native
@pytest.mark.parametrize("n", [*range(1, 20), 31, 32, 33, 63, 64, 65, 127, 129, 255, 1000, 4097])
def test_tails(n: int) -> None:
    """Every length has its last, incomplete vector; nothing beyond it is written."""
    for body, shape in (
        (lambda x: k.exp(x), (n,)),
        (lambda x: CORPUS["softmax"].body(x), (3, n)),
        (lambda x: k.sum(x, [0]), (5, n)),
        (lambda x: k.cumsum(x, 1), (2, n)),
    ):
        x = np.random.default_rng(n).standard_normal(shape).astype("d" if n > 1000 else "f")
        roots = roots_of(body, [x])
        want = evaluate(NUMPY, roots, [x])[0]
        guard = np.full(want.size + 64, 77, want.dtype)
        out = guard[32 : 32 + want.size].reshape(want.shape)
        program = fuse(roots, [layout(x)], [layout(out)], check)
        run_native(program, [x], [out])
        same([out], [want])
        assert (guard[:32] == 77).all() and (guard[32 + want.size :] == 77).all()


@needs_native
def test_in_place() -> None:
    """An output may be one of the inputs."""
    x = np.random.default_rng(0).standard_normal((5, 70)).astype("f")
    want = evaluate(NUMPY, roots_of(CORPUS["softmax"].body, [x]), [x])[0]
    program, _ = program_of(roots_of(CORPUS["softmax"].body, [x]), [x])
    run_native(program, [x], [x])
    same([x], [want])


def test_one_kernel_serves_every_shape() -> None:
    """The text of a kernel, its cache key, names no size."""
    for name in ("softmax", "layer_norm", "sum inner", "gelu", "batch_norm", "pad"):
        body = CORPUS[name].body
        texts = set()
        for grow in (2, 3):
            args = [np.zeros([s * grow for s in shape], dtype) for dtype, shape in CORPUS[name].args]
            texts.add("".join(show(step.kernel) for step in program_of(roots_of(body, args), args)[0].launches))
        assert len(texts) == 1, "\n".join(texts)


def test_kernel_counts() -> None:
    """How many kernels a body takes; more is slower."""
    counts = {
        name: len(program_of(roots_of(c.body, a), a)[0].launches) for name, c in CORPUS.items() for a in [arguments(c)]
    }
    several = {name: n for name, n in counts.items() if n != 1}
    assert several == {"sum long": 2, "sum tall": 3, "var of a long row": 5, "cross_entropy": 2}


@pytest.mark.parametrize(
    "name",
    [
        "add",
        "broadcast",
        "sum all",
        "sum outer",
        "softmax",
        "layer_norm",
        "argmax",
        "cumsum",
        "gather",
        "depthwise",
        "sum long",
    ],
)
def test_dump(name: str, golden: Any) -> None:
    args = arguments(CORPUS[name])
    program, _ = program_of(roots_of(CORPUS[name].body, args), args)
    golden(
        "\n".join(f"{show(s.kernel)}# {s.sizes} grain {s.grain} chunks {s.chunks}\n" for s in program.launches),
        suffix=".py",
    )


def test_chunks_are_even() -> None:
    """No chunk of a few rows that are left over."""
    for width in (-1, 64):
        for inner in (1, 2, 129, 1000):
            for rows in (1, 7, 255, 256, 257, 1000, 4097):
                per, _, chunks = schedule.cuts(inner, rows, width)
                assert (chunks - 1) * per < rows
                assert chunks == 1 or rows - (chunks - 1) * per >= per // 2 or per < chunks
    assert schedule.cuts(129, 256, -1) == (256, 1, 1)


def test_zero_sizes_launch_nothing() -> None:
    x = np.zeros((0, 5), "f")
    program, _ = program_of(roots_of(lambda x: k.exp(x) + 1.0, [x]), [x])
    assert program.launches == ()


@needs_native
def test_long_chains() -> None:
    """A thousand words, one after the other: no pass recurses over them."""
    x = np.linspace(0, 1, 40)

    def body(x: Any) -> Any:
        for n in range(1000):
            x = k.maximum(x * 0.99, x - 0.25) if n % 2 else x + 0.01
        return x

    roots = roots_of(body, [x])
    program, outs = program_of(roots, [x])
    run_native(program, [x], outs)
    want = body_of_numpy(x)
    same(outs, [want])


def body_of_numpy(x: Any) -> Any:
    for n in range(1000):
        x = np.maximum(x * 0.99, x - 0.25) if n % 2 else x + 0.01
    return x


def test_verify_names_the_pass() -> None:
    args = arguments(CORPUS["softmax"])
    kernel = program_of(roots_of(CORPUS["softmax"].body, args), args)[0].launches[0].kernel
    stage = kernel.stages[0]
    update = stage.body[0]
    assert isinstance(update, Update)
    broken = Kernel(
        kernel.buffers,
        kernel.sizes,
        kernel.outer,
        (Stage(stage.axes, (Update("acc0", "sub", update.value),)),),
        kernel.vector,
    )
    with pytest.raises(BrokenInvariant, match="after nonsense: sub folds"):
        verify(broken, "nonsense")


def test_scalar_arguments() -> None:
    """A Python number is passed by value: one kernel for every learning rate."""
    x = np.arange(40, dtype="d")
    roots = [recorded(x, 0) * recorded(0.5, 1)]
    program = fuse(roots, [layout(x), layout(0.5)], [Layout.dense("float64", (40,))], check)
    out = np.zeros(40)
    python.run(program, [x, 0.25], [out])
    np.testing.assert_array_equal(out, x * 0.25)


# ---------------------------------------------------------------- random programs


@st.composite
def programs(draw: Any) -> tuple[Any, tuple[int, ...]]:
    """A body of random words, moves and reductions over one array of random shape."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 5, 8]), min_size=1, max_size=3)))
    seed = draw(st.integers(0, 2**31))

    def body(x: Any) -> Any:
        rng = np.random.default_rng(seed)
        pool = [x]
        for _ in range(int(rng.integers(1, 7))):
            e = pool[int(rng.integers(len(pool)))]
            d = int(rng.integers(e.ndim))
            n = e.shape[d]
            match int(rng.integers(10)):
                case 0:
                    e = e * 0.5 + 1.0
                case 1:
                    e = k.tanh(e)
                case 2:
                    e = k.sum(e, [d])
                case 3:
                    e = k.max(e, [d])
                case 4:
                    e = k.permute(e, rng.permutation(e.ndim))
                case 5:
                    e = k.flip(e, [d])
                case 6:
                    e = k.pad(e, [(1, 2) if i == d else (0, 0) for i in range(e.ndim)])
                case 7:
                    e = (
                        k.reshape(e, (*e.shape[:d], 1, *e.shape[d:]))
                        if e.ndim < 4
                        else k.reshape(e, (int(np.prod(e.shape)),))
                    )
                case 8:
                    e = k.slice(e, d, n // 3, n)
                case 9:
                    others = [
                        p
                        for p in pool
                        if p.ndim == e.ndim
                        and all(a == b or 1 in (a, b) for a, b in zip(p.shape, e.shape, strict=True))
                    ]
                    e = e - others[int(rng.integers(len(others)))]
            pool.append(e)
        return pool[-1]

    return body, shape


@given(programs())
def test_random_programs(case: tuple[Any, tuple[int, ...]]) -> None:
    body, shape = case
    x = np.random.default_rng(1).standard_normal(shape)
    roots = roots_of(body, [x])
    want = [np.asarray(w) for w in evaluate(NUMPY, roots, [x])]
    program, outs = program_of(roots, [x])
    python.run(program, [x], outs)
    same(outs, want)


def test_part_of_a_flattened_array():
    """x // n * n + x % n is x, also where x begins at some number."""
    from flambeau._kernel.index import Axis, variable

    i = variable(Axis("i", 7)) + 2
    assert i // 5 * 5 + i % 5 == i
    assert i % 5 * 3 + i // 5 * 15 + 1 == i * 3 + 1


def test_a_rectifier_is_shut_where_its_operand_is() -> None:
    """max(0, x) <= 0 is computed as x <= 0: the same for zeros of either sign and for NaN."""
    x = np.array([-1.0, -0.0, 0.0, 1.0, np.nan, np.inf, -np.inf] * 5, np.float32)

    def body(x: Any) -> Any:
        zero = k.like(0, x)
        return k.where(k.le(k.maximum(zero, x), zero), zero, x), k.where(k.le(k.maximum(x, zero), zero), zero, x)

    program, outs = program_of(roots_of(body, [x]), [x])
    assert not any("maximum" in show(launch.kernel) for launch in program.launches)
    python.run(program, [x], outs)
    for out in outs:
        np.testing.assert_array_equal(out, np.where(np.maximum(x, 0) <= 0, 0, x))

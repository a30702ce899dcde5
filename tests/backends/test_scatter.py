"""Scattered writes by kernels against the array library's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

import flambeau as fl
from flambeau._backends.cpu import scatter as kernels
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

UFUNC = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
DTYPES = [np.int8, np.uint8, ml_dtypes.bfloat16, np.float16, np.float32, np.int64, np.float64]


def values(rng, shape, dtype):
    x = rng.integers(0 if np.dtype(dtype).kind == "u" else -4, 5, shape).astype(dtype)
    if x.dtype.kind in "fV" and x.size > 5:
        x.reshape(-1)[[1, 4]] = np.nan, -np.inf
    return x


def layouts(x):
    """Copies of the array: as it is, transposed in memory, and with gaps."""
    yield x.copy()
    yield x.copy("F")
    view = np.zeros([2 * n for n in x.shape], x.dtype)[tuple(slice(None, None, -2) for _ in x.shape)]
    view[...] = x
    yield view


def same(a, b):
    return np.array_equal(a.astype(np.float64), b.astype(np.float64), equal_nan=True)


def write(into, where, source, op):
    if op == "set":
        into[where] = source
    else:
        with np.errstate(all="ignore"):
            UFUNC[op].at(into, where, source)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("op", kernels.OPS)
def test_scatter_along_a_dim(dtype, op):
    rng = np.random.default_rng(1)
    for shape in [(7,), (5, 67), (3, 4, 19)]:
        x = values(rng, shape, dtype)
        for dim in range(len(shape)):
            size = [int(rng.integers(1, n + 1)) for n in shape]
            size[dim] = int(rng.integers(1, 90))
            index = rng.integers(0, shape[dim], size)
            source = values(rng, size, dtype)
            where = tuple(
                index if d == dim else np.arange(n).reshape([-1 if e == d else 1 for e in range(len(size))])
                for d, n in enumerate(size)
            )
            for s in (source, source.reshape(-1)[0].reshape(())):
                want = x.copy()
                write(want, where, s, op)
                for into in layouts(x):
                    got = kernels.scatter(into, s, index.astype(rng.choice([np.int32, np.int64])), dim, op)
                    assert got is False and same(into, want)


@pytest.mark.parametrize("dtype", [*DTYPES, np.complex64], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("op", ["set", "add"])
def test_put_by_arrays(dtype, op):
    rng = np.random.default_rng(2)
    x = values(rng, (6, 5, 4, 33), dtype)
    at = lambda n, *shape: rng.integers(-n, n, shape)
    cases = [
        [at(6, 9)],
        [at(6, 3, 4)],
        [None, at(5, 70)],
        [None, None, None, at(33, 65)],
        [at(6, 7), at(5, 7)],
        [at(6, 8), None, at(4, 8)],
        [at(6, 20), at(5, 20), at(4, 20), at(33, 20)],
    ]
    for case in cases:
        where = tuple(slice(None) if i is None else i for i in case)
        shape = x[where].shape
        for s in (values(rng, shape, dtype), values(rng, shape[-1:], dtype), values(rng, (), dtype)):
            want = x.copy()
            write(want, where, s, op)
            for into in layouts(x):
                got = kernels.put(into, s, case, op, True)
                if got is None:
                    assert not into.flags.c_contiguous  # more axes than the kernel has
                    continue
                assert got is False
                assert np.array_equal(into, want, equal_nan=True) if x.dtype.kind == "c" else same(into, want)


def test_nothing_is_written_where_an_index_is_out_of_bounds():
    for n in (1, 9, 70000):
        for bad in (100, -101, 1 << 62, -(1 << 62)):
            into, i = np.zeros(100), np.zeros(n, np.int64)
            i[n // 2] = bad
            assert kernels.put(into, np.ones(n), [i], "add", True) is True
            assert kernels.scatter(into, np.ones(n), i, 0, "set") is True
            assert not into.any()


def test_memory_that_meets_itself_is_left_to_the_array_library():
    x = np.arange(20.0)
    assert kernels.put(x, x, [np.arange(20)], "add", True) is None
    assert kernels.put(np.broadcast_to(x, (3, 20)), x, [np.array([0])], "set", True) is None
    i = np.arange(20)
    assert kernels.put(i, np.arange(20), [i], "set", True) is None


def test_threads_change_nothing():
    rng = np.random.default_rng(3)
    rows, i = rng.standard_normal((9000, 80)).astype(np.float32), rng.integers(0, 50, 9000)
    columns = rng.integers(0, 50, (9000, 80))
    before, got = get_num_threads(), []
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            a, b, c = (np.zeros((50, 80), np.float32), np.zeros((50, 80), np.float32), np.zeros((9000, 50), np.float32))
            assert kernels.put(a, rows, [i], "add", False) is False
            assert kernels.scatter(b, rows, columns, 0, "add") is False
            assert kernels.scatter(c, rows, columns, 1, "add") is False
            got.append((a, b, c))
    finally:
        set_num_threads(before)
    want = np.zeros((50, 80), np.float32)
    np.add.at(want, i, rows)
    assert np.array_equal(got[0][0], want)
    for one in got[1:]:
        assert all(np.array_equal(x, y) for x, y in zip(one, got[0]))


BIG = {  # what is written large must be what is written in small parts
    "index_add": lambda x, i, s: x.index_add(0, i, s, alpha=2),
    "index_copy": lambda x, i, s: x.index_copy(0, i, s),
    "index_fill": lambda x, i, s: x.index_fill(0, i, 3.0),
    "index_put": lambda x, i, s: x.index_put((i,), s),
    "index_put accumulate": lambda x, i, s: x.index_put((i,), s, accumulate=True),
    "mean": lambda x, i, s: x.index_reduce(0, i, s, "mean"),
    "amax": lambda x, i, s: x.index_reduce(0, i, s, "amax", include_self=False),
    "scatter": lambda x, i, s: x.scatter(0, i.unsqueeze(1).expand(s.shape), s),
    "scatter_add": lambda x, i, s: x.scatter_add(0, i.unsqueeze(1).expand(s.shape), s),
    "scatter multiply": lambda x, i, s: x.scatter(0, i.unsqueeze(1).expand(s.shape), s, reduce="multiply"),
    "scatter_reduce": lambda x, i, s: x.scatter_reduce(0, i.unsqueeze(1).expand(s.shape), s, "mean", include_self=False),
    "embedding": lambda x, i, s: fl.ops.aten.embedding_dense_backward(s, i, x.shape[0], 3, False),
}  # fmt: skip


@pytest.mark.parametrize("name", BIG)
def test_large_and_small_writes_agree(name):
    rng = np.random.default_rng(4)
    x = fl.from_numpy(rng.standard_normal((30, 400)))
    i, s = fl.from_numpy(rng.integers(0, 30, 50)), fl.from_numpy(rng.standard_normal((50, 400)))
    large = BIG[name](x, i, s)
    small = fl.cat([BIG[name](x[:, j : j + 8], i, s[:, j : j + 8]) for j in range(0, 400, 8)], 1)
    assert np.allclose(large.numpy(), small.numpy(), rtol=1e-14)


@pytest.mark.parametrize("name", [n for n in BIG if n != "embedding"])
def test_errors_of_large_writes(name):
    said = []
    for width in (2, 400):
        x, i, s = fl.zeros(30, width), fl.tensor([2, 30] * 25), fl.zeros(50, width)
        with pytest.raises((IndexError, RuntimeError)) as error:
            BIG[name](x, i, s)
        said.append((error.type, str(error.value)))
        assert not x.any()
    assert said[0] == said[1]


@pytest.mark.parametrize("reduce", ["sum", "mean", "prod", "amax", "amin"])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("shape, dim", [((700, 33), 0), ((3, 200, 5), 1), ((9, 300), 0), ((2, 50, 3, 16), 1)])
def test_an_expanded_index_is_read_once(reduce: str, own: bool, shape: tuple[int, ...], dim: int) -> None:
    rng = np.random.default_rng(shape[0])
    src = fl.from_numpy(rng.uniform(0.5, 1.5, shape).astype("f"))
    short = rng.integers(0, 13, tuple(n if d <= dim else 1 for d, n in enumerate(shape)))
    into = fl.from_numpy(rng.standard_normal(tuple(13 if d == dim else n for d, n in enumerate(shape))))
    into = into.float()
    index = fl.from_numpy(short).expand(shape)
    found = into.scatter_reduce(dim, index, src, reduce, include_self=own)
    assert fl.equal(found, into.scatter_reduce(dim, index.contiguous(), src, reduce, include_self=own))
    narrow = (slice(None),) * (len(shape) - 1) + (slice(0, -1),)  # an index that does not cover what it writes to
    found = into.scatter_reduce(dim, index[narrow], src, reduce, include_self=own)
    assert fl.equal(found, into.scatter_reduce(dim, index[narrow].contiguous(), src, reduce, include_self=own))
    assert fl.equal(into.scatter(dim, index, 2.0), into.scatter(dim, index.contiguous(), 2.0))

"""Sums and small products add in PyTorch's order: equal bits, at sizes around the widths of its vectors and blocks."""

import itertools

import numpy as np
import pytest

import flambeau as fl
from flambeau._backends.cpu import library_sums as sums
from tests.agree import rand

SIZES = [*range(1, 70), 95, 96, 97, 127, 128, 129, 191, 255, 256, 257, 511, 512, 513, 1000, 1023, 2047, 2049, 4095, 4097, 5000, 8191]  # fmt: skip
DTYPES = ["float32", "float64"]


pytestmark = pytest.mark.last_places


@pytest.fixture(params=["numpy", "native"])
def way(request, monkeypatch):
    """Both ways of computing what has two."""
    if request.param == "native":
        pytest.importorskip("llvmlite")
    answer = (lambda: True) if request.param == "native" else (lambda: False)
    monkeypatch.setattr("flambeau._backends.cpu.small.worth", answer)
    for kernel in (sums._total, sums._apart, *sums._folded.values()):
        monkeypatch.setattr(kernel, "table", None)
    return request.param


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_and_means(agree, way, dtype):
    def program(fl, x):
        return fl.stack([r for n in SIZES for r in (x[:n].sum(), x[:n].mean())])

    agree(program, rand(8191, dtype=dtype), grads=0, exact=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_dense_tensors(agree, way, dtype):
    def program(fl, x):
        y = x[:720].view(8, 9, 10)
        return [y.sum(), y.permute(2, 1, 0).sum(), y.sum((0, 1, 2), keepdim=True), y[2].t().sum(), x[:0].sum()]

    agree(program, rand(720, dtype=dtype), grads=0, exact=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dots(agree, dtype):
    pytest.importorskip("llvmlite")

    def program(fl, x, y):
        products = [f(x[:n], y[n - 1 : 2 * n - 1]) for n in SIZES[:-10] for f in (fl.dot, fl.vdot, fl.matmul, fl.inner)]
        return fl.stack([*products, *(x[:n] @ y[:n] for n in SIZES)])

    agree(program, rand(8191, dtype=dtype), rand(8191, seed=1, dtype=dtype), grads=0, exact=True)


def matrices(fl, x, y, turned, m, n, k, batch=()):
    """x as (m, k) and y as (k, n), with y's columns in one piece where it is turned; batches of them."""
    a = x[: np.prod((*batch, m, k))].view(*batch, m, k)
    b = y[: np.prod((*batch, k, n))]
    return a, b.view(*batch, n, k).transpose(-2, -1) if turned else b.view(*batch, k, n)


SHAPES = [(2, 2, 2), (2, 2, 16), (2, 2, 17), (2, 2, 31), (15, 2, 20), (16, 2, 20), (10, 3, 9), (11, 3, 9), (3, 4, 4), (3, 4, 5),
          (4, 4, 4), (4, 5, 5), (10, 11, 8), (10, 11, 12), (8, 9, 10), (6, 7, 6), (4, 5, 6), (2, 30, 3), (3, 40, 13), (8, 16, 15)]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_products(agree, way, dtype):
    def program(fl, x, y, bias):
        found = []
        for shape, turned in itertools.product(SHAPES, (False, True)):
            if shape[2] > 15 and (not turned or dtype == "float64"):  # the array library's, or a kernel's alone
                continue
            a, b = matrices(fl, x, y, turned, *shape)
            found.append(a @ b)
            if turned or shape[0] > 2:  # with two rows of float64, MKL begins with the bias
                found.append(fl.addmm(bias[: shape[1]], a, b))
        return found

    inputs = rand(1000, dtype=dtype), rand(1000, seed=1, dtype=dtype), rand(40, seed=2, dtype=dtype)
    agree(program, *inputs, grads=0, exact=True)


def test_long_sums_in_lanes(agree):
    pytest.importorskip("llvmlite")

    def program(fl, x, y):
        return [
            a @ b for k in (17, 64, 300) for m in (2, 3) for n in (2, 5) for a, b in [matrices(fl, x, y, True, m, n, k)]
        ]

    agree(program, rand(1500), rand(1500, seed=1), grads=0, exact=True)


BATCHES = [(1, 3, 4, 4), (3, 7, 7, 8), (2, 1, 19, 20), (2, 19, 1, 20), (4, 1, 1, 7), (1, 1, 1, 50), (2, 2, 17, 3), (5, 9, 2, 2), (40, 3, 5, 6)]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_batches_of_small_products(agree, way, dtype):
    def program(fl, x, y):
        found = []
        for (p, m, n, k), turned in itertools.product(BATCHES, (False, True)):
            a, b = matrices(fl, x, y, turned, m, n, k, (p,))
            found += [fl.bmm(a, b), fl.baddbmm(x[: p * m * n].view(p, m, n), a, b), (a[:, None] @ b)[:1]]
        return found

    agree(program, rand(2000, dtype=dtype), rand(2000, seed=1, dtype=dtype), grads=0, exact=True)


def test_attention_with_large_logits(agree):
    def program(fl, x, w, out):
        fl.manual_seed(0)
        x, w = (t.float() for t in (x, w))
        return fl.nn.functional.multi_head_attention_forward(
            x[:3], x, x, 4, 1, w, w[:, 0], x[:1, None], x[1:2, None], False, 0.5, out.float(), w[:4, 1]
        )

    inputs = rand(4, 4, low=-9, high=9), rand(12, 4, seed=1, low=-9, high=9), rand(4, 4, seed=2)
    agree(program, *inputs, grads=0, rtol=1e-6)


def test_what_has_no_order_here_is_the_array_librarys():
    x = fl.ones(3, 4)
    assert fl.equal(x @ x.t(), fl.full((3, 3), 4.0))
    assert fl.ones(0).dot(fl.ones(0)) == 0
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        fl.ones(3).dot(fl.ones(4))

"""Bags of rows: sums and maxima by the kernel and by the array library; their derivatives."""

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau._backends.cpu import library_indexing as library

CASES = [
    (10, 5, 600, 7),
    (50, 64, 500, 40),
    (30, 131, 300, 301),
    (7, 1, 4000, 3),
    (40, 300, 33, 33),
]  # rows, columns, indices, bags


def case(shape: tuple[int, ...], dtype: str) -> tuple[Any, ...]:
    rows, columns, n, bags = shape
    rng = np.random.default_rng(n)
    table = rng.integers(-9, 9, (rows, columns)).astype(dtype)  # many equal ones, and exact sums
    table[0, 0] = np.nan
    bounds = np.sort(np.concatenate([[0, 0], rng.integers(0, n, bags - 2), [n - 1]])).astype(np.int64)
    return table, rng.integers(0, rows, n), bounds, rng.integers(-3, 3, n).astype(dtype)


@pytest.mark.parametrize("shape", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("padding", [-1, 3])
def test_the_kernel_and_the_array_library_agree(
    monkeypatch: Any, shape: tuple[int, ...], dtype: str, padding: int
) -> None:
    table, index, bounds, scale = case(shape, dtype)
    results = []
    for _ in range(2):
        results.append(
            [
                library.bag_sums(table, index, bounds, None, padding=padding),
                library.bag_sums(table, index.astype(np.int32), bounds, scale, padding=padding),
                *library.bag_maxima(table, index, bounds, padding=padding),
            ]
        )
        monkeypatch.setattr(library, "BAGS", 1 << 60)
    for found, expected in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_sums_of_negative_zeros_are_zero() -> None:
    table, index, bounds = np.full((10, 2048), -0.0, np.float32), np.array([1, 2, 3, 3]), np.array([0, 1, 3, 4])
    for padding in (-1, 3):
        assert not np.signbit(library.bag_sums(table, index, bounds, None, padding=padding)).any()


def test_threads_change_nothing() -> None:
    before, results = flambeau.get_num_threads(), []
    rng = np.random.default_rng(0)
    table, index, bounds, scale = case((500, 67, 3000, 200), "float32")
    table = rng.standard_normal(table.shape).astype("f4")
    try:
        for threads in (1, 2, 7):
            flambeau.set_num_threads(threads)
            results.append(library.bag_sums(table, index, bounds, scale, padding=-1).tobytes())
    finally:
        flambeau.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 1])
def test_derivatives_are_those_of_differences(mode: str, padding: int | None) -> None:
    rng = np.random.default_rng(0)
    table = flambeau.tensor(rng.standard_normal((5, 3)), requires_grad=True)
    index, offsets = flambeau.tensor([1, 4, 2, 2, 0, 1, 1]), flambeau.tensor([0, 2, 2, 5])
    scale = flambeau.tensor(rng.standard_normal(7), requires_grad=True) if mode == "sum" else None

    def bags(table: Any, scale: Any = None) -> Any:
        return flambeau.nn.functional.embedding_bag(
            index, table, offsets, mode=mode, per_sample_weights=scale, padding_idx=padding
        )

    given = (table,) if scale is None else (table, scale)
    assert flambeau.autograd.gradcheck(bags, given) and flambeau.autograd.gradgradcheck(bags, given)


def test_bags_end_where_the_last_offset_says_and_indices_are_checked(agree: Any) -> None:
    def bags(fl: Any, mode: int, at: tuple[int, ...], last: bool = True) -> Any:
        table = fl.arange(12.0).reshape(4, 3)
        return fl.embedding_bag(table, fl.tensor([2, 0, 1]), fl.tensor(at), False, mode, False, None, last)[0]

    agree(lambda fl: bags(fl, 0, (0, 1, 2)))
    for mode in (0, 1, 2):
        agree(lambda fl, mode=mode: bags(fl, mode, (0, 2, 2, 3)))
        agree(lambda fl, mode=mode: bags(fl, mode, (0, 0, 1), False))
    agree(lambda fl: fl.nn.functional.embedding_bag(fl.tensor([[0, 7]]), fl.eye(4), mode="sum"), raises=RuntimeError)
    agree(lambda fl: fl.nn.functional.embedding_bag(fl.tensor([[0, -1]]), fl.eye(4), mode="max"), raises=RuntimeError)

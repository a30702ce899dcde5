"""assert_close: whether two values, or trees of them, are as near as their dtypes allow; and what to say where they are not."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

import flambeau as torch

Message = str | Callable[[str], str] | None
DTYPE_PRECISIONS = {
    "float16": (0.001, 1e-5), "bfloat16": (0.016, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex32": (0.001, 1e-5), "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip


def default_tolerances(*inputs: Any) -> tuple[float, float]:
    """(rtol, atol): the largest of what the inputs' dtypes allow."""
    pairs = [DTYPE_PRECISIONS.get(str(getattr(x, "dtype", x)).removeprefix("torch."), (0.0, 0.0)) for x in inputs]
    return max(r for r, _ in pairs), max(a for _, a in pairs)


class _Mismatch(Exception):
    """Two values are not close: what to say, and where in the trees."""

    def __init__(self, message: str, where: tuple[Any, ...]) -> None:
        super().__init__(message)
        self.where = where


class _Comparison:
    """The options of one call."""

    def __init__(self, *, allow_subclasses: bool, rtol: Any, atol: Any, equal_nan: bool, check_device: bool, check_dtype: bool,
                 check_layout: bool, check_stride: bool) -> None:  # fmt: skip
        if (rtol is None) != (atol is None):
            raise ValueError(
                "Both 'rtol' and 'atol' must be either specified or omitted, but got no "
                f"{'rtol' if rtol is None else 'atol'}."
            )
        self.allow_subclasses, self.rtol, self.atol, self.equal_nan = allow_subclasses, rtol, atol, equal_nan
        self.check_device, self.check_dtype, self.check_layout, self.check_stride = (
            check_device, check_dtype, check_layout, check_stride
        )  # fmt: skip

    def compare(self, actual: Any, expected: Any, where: tuple[Any, ...] = ()) -> None:
        if self._sequence(actual) and self._sequence(expected):
            if len(actual) != len(expected):
                raise _Mismatch(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", where)
            for i in range(len(actual)):
                self.compare(actual[i], expected[i], (*where, i))
            return
        if isinstance(actual, Mapping) and isinstance(expected, Mapping):
            self._keys(actual, expected, where)
            for k in sorted(actual, key=str):
                self.compare(actual[k], expected[k], (*where, k))
            return
        if isinstance(actual, np.ndarray) and isinstance(expected, np.ndarray):
            actual, expected = torch.as_tensor(actual), torch.as_tensor(expected)
        tensors = torch.Tensor if self.allow_subclasses else ()
        if isinstance(actual, tensors) and isinstance(expected, tensors):
            if not (isinstance(actual, type(expected)) or isinstance(expected, type(actual))):
                self._refuse(actual, expected, where)
            self._tensors(actual, expected, where)
        elif not self.allow_subclasses and type(actual) is torch.Tensor and type(expected) is torch.Tensor:
            self._tensors(actual, expected, where)
        elif actual is None or expected is None:
            if actual is not expected:
                raise _Mismatch(f"None mismatch: {actual} is not {expected}", where)
        elif isinstance(actual, (bool, np.bool_)) and isinstance(expected, (bool, np.bool_)):
            if bool(actual) is not bool(expected):
                raise _Mismatch(f"Booleans mismatch: {actual} is not {expected}", where)
        elif isinstance(actual, (int, float, complex, np.number)) and isinstance(
            expected, (int, float, complex, np.number)
        ):
            self._numbers(actual, expected, where)
        else:
            self._refuse(actual, expected, where)

    @staticmethod
    def _sequence(x: Any) -> bool:
        return isinstance(x, Sequence) and not isinstance(x, str)

    @staticmethod
    def _refuse(actual: Any, expected: Any, where: tuple[Any, ...]) -> NoReturn:
        tail = "" if not where else "\n\nThe failure occurred for item " + "".join(f"[{w!r}]" for w in where)
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.{tail}".replace(
                "flambeau.Tensor", "torch.Tensor"
            )
        )

    @staticmethod
    def _keys(actual: Any, expected: Any, where: tuple[Any, ...]) -> None:
        missing, more = sorted(set(expected) - set(actual), key=str), sorted(set(actual) - set(expected), key=str)
        if missing or more:
            raise _Mismatch(
                f"The keys of the mappings do not match:\nMissing keys in the actual mapping: {missing}\n"
                f"Additional keys in the actual mapping: {more}",
                where,
            )

    def _tolerances(self, *like: Any) -> tuple[float, float]:
        return default_tolerances(*like) if self.rtol is None else (self.rtol, self.atol)

    def _numbers(self, actual: Any, expected: Any, where: tuple[Any, ...]) -> None:
        exact = isinstance(actual, (int, np.integer)) and isinstance(expected, (int, np.integer))
        kinds = [
            "int64"
            if exact
            else "complex128"
            if isinstance(actual, complex) or isinstance(expected, complex)
            else "float64"
        ]
        rtol, atol = self._tolerances(*kinds)
        self._scalars(actual, expected, rtol, atol, where)

    def _scalars(self, actual: Any, expected: Any, rtol: float, atol: float, where: tuple[Any, ...]) -> None:
        difference = abs(actual - expected)
        if actual == expected or (self.equal_nan and cmath.isnan(actual) and cmath.isnan(expected)):
            return
        finite = cmath.isfinite(actual) and cmath.isfinite(expected)
        if finite and difference <= atol + rtol * abs(expected):
            return
        relative = math.inf if expected == 0 else difference / abs(expected)
        exact = rtol == 0 and atol == 0
        raise _Mismatch(
            f"Scalars are not {'equal' if exact else 'close'}!\n\nExpected {expected} but got {actual}.\n"
            f"Absolute difference: {difference}{'' if exact else f' (up to {atol} allowed)'}\n"
            f"Relative difference: {relative}{'' if exact else f' (up to {rtol} allowed)'}",
            where,
        )

    def _tensors(self, actual: Any, expected: Any, where: tuple[Any, ...]) -> None:
        def attribute(name: str, a: Any, b: Any) -> None:
            if a != b:
                raise _Mismatch(f"The values for attribute '{name}' do not match: {a} != {b}.", where)

        attribute("shape", actual.shape, expected.shape)
        if self.check_layout:
            attribute("layout", actual.layout, expected.layout)
        if self.check_device:
            attribute("device", actual.device, expected.device)
        if self.check_dtype:
            attribute("dtype", actual.dtype, expected.dtype)
        if self.check_stride:
            attribute("stride()", actual.stride(), expected.stride())
        rtol, atol = self._tolerances(actual, expected)
        a, b = (t.detach().cpu() for t in (actual, expected))
        if a.dtype is not b.dtype:
            common = torch.promote_types(a.dtype, b.dtype)
            a, b = a.to(common), b.to(common)
        if a.layout is not b.layout:
            a, b = (t if t.layout is torch.strided else t.to_dense() for t in (a, b))
        if a.layout is not torch.strided:
            self._sparse(a, b, rtol, atol, where)
            return
        self._values(a, b, rtol, atol, where, "Tensor-likes")

    def _sparse(self, a: Any, b: Any, rtol: float, atol: float, where: tuple[Any, ...]) -> None:
        """Indices must be equal, values close."""
        kind = str(a.layout).rpartition("_")[2].upper()
        if kind == "COO":
            a, b = a.coalesce(), b.coalesce()
        if a._nnz() != b._nnz():
            raise _Mismatch(
                f"The number of specified values in sparse {kind} tensors does not match: {a._nnz()} != {b._nnz()}",
                where,
            )
        names = {"COO": ("indices",), "CSR": ("crow_indices", "col_indices"), "BSR": ("crow_indices", "col_indices")}
        for name in names.get(kind, ("ccol_indices", "row_indices")):
            self._values(getattr(a, name)(), getattr(b, name)(), 0, 0, where, f"Sparse {kind} {name}")
        self._values(a.values(), b.values(), rtol, atol, where, f"Sparse {kind} values")

    def _values(self, a: Any, b: Any, rtol: float, atol: float, where: tuple[Any, ...], what: str) -> None:
        if a.ndim == 0 and a.dtype != torch.bool:
            self._scalars(a.item(), b.item(), rtol, atol, where)
            return
        exact = rtol == 0 and atol == 0
        if exact:
            matches = torch.isclose(a, b, rtol=0.0, atol=0.0, equal_nan=self.equal_nan)
        else:
            matches = torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=self.equal_nan)
        if matches.all():
            return
        raise _Mismatch(_tensor_message(what, a, b, ~matches, rtol, atol, exact), where)


def _tensor_message(what: str, actual: Any, expected: Any, wrong: Any, rtol: float, atol: float, exact: bool) -> str:
    """How many elements differ, and by how much at most."""
    if not actual.dtype.is_floating_point and not actual.dtype.is_complex:
        actual, expected = actual.to(torch.int64), expected.to(torch.int64)
    count, total = int(wrong.sum()), wrong.numel()
    difference = (actual - expected).abs()
    absolute = difference.masked_fill(~wrong, 0)
    relative = (difference / expected.abs()).masked_fill(~wrong, 0)

    def line(what: str, values: Any, allowed: float) -> str:
        flat = int(values.flatten().argmax())
        index = tuple(int(i) for i in np.unravel_index(flat, tuple(values.shape)))
        tail = "" if exact else f" (up to {allowed} allowed)"
        return f"Greatest {what} difference: {values.flatten()[flat].item()} at index {index}{tail}"

    return "\n".join(
        [
            f"{what} are not {'equal' if exact else 'close'}!",
            "",
            f"Mismatched elements: {count} / {total} ({count / total:.1%})",
            line("absolute", absolute, atol),
            line("relative", relative, rtol),
        ]
    )


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
                 equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
                 check_stride: bool = False, msg: Message = None) -> None:  # fmt: skip
    """Raise AssertionError unless |actual - expected| <= atol + rtol * |expected|, in every element of every tensor of two trees.

    Arguments:
        actual, expected: tensors, numbers, or sequences and mappings of them.
        rtol, atol: both or neither; by default what the dtypes allow (1.3e-6 and 1e-5 for float32, 0 for integers).
        equal_nan: NaN equals NaN.
        check_device, check_dtype, check_layout, check_stride: what must be the same besides.
        msg: said instead, or a function that makes it of what would be said.

    >>> import flambeau as torch
    >>> torch.testing.assert_close(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))
    """
    comparison = _Comparison(
        allow_subclasses=allow_subclasses, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=check_device, check_dtype=check_dtype,
        check_layout=check_layout, check_stride=check_stride,
    )  # fmt: skip
    try:
        comparison.compare(actual, expected)
    except _Mismatch as problem:
        text = str(problem)
        if problem.where:
            text += "\n\nThe failure occurred for item " + "".join(f"[{w!r}]" for w in problem.where)
        raise AssertionError(msg(text) if callable(msg) else text if msg is None else msg) from None


_OLDER_PRECISIONS = {"float16": (1e-3, 1e-3), "float32": (1e-4, 1e-5), "float64": (1e-5, 1e-8)}


def assert_allclose(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True,
                    msg: str = "") -> None:  # fmt: skip
    """The older form of `assert_close`: takes numbers and lists for tensors, and lets dtypes differ."""
    actual, expected = (x if isinstance(x, torch.Tensor) else torch.as_tensor(x) for x in (actual, expected))
    if rtol is None and atol is None:
        pairs = [_OLDER_PRECISIONS.get(str(x.dtype).removeprefix("torch."), (0.0, 0.0)) for x in (actual, expected)]
        rtol, atol = max(r for r, _ in pairs), max(a for _, a in pairs)
    assert_close(
        actual,
        expected,
        rtol=rtol,
        atol=atol,
        equal_nan=equal_nan,
        check_device=True,
        check_dtype=False,
        check_stride=False,
        msg=msg or None,
    )

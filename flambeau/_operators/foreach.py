"""Operators over lists of tensors: `_foreach_*`, each the operator of one tensor, for each tensor of a list.

Not here: the optimizers' steps over lists (`_fused_*`), which are one kernel and live in `_eager/fused.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._operators.op import FUNCTION, REGISTRY, composite
from flambeau._tensor import Tensor

UNARY = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma", "log", "log10",
    "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
)  # fmt: skip
SCALED = ("add", "sub")  # with `alpha`
BINARY = ("mul", "div", "clamp_min", "clamp_max", "maximum", "minimum", "pow")
TERNARY = ("addcmul", "addcdiv")


def _nonempty(tensors: Sequence[Any]) -> None:
    if len(tensors) == 0:
        raise RuntimeError("Tensor list must have at least one tensor.")


def _rows(tensors: Sequence[Any], other: Any, what: str = "Tensor lists") -> list[Any]:
    """What stands beside each tensor: the entries of a list, or one value for all."""
    _nonempty(tensors)
    if not isinstance(other, (list, tuple)):
        return [other] * len(tensors)
    if len(other) != len(tensors):
        if other and isinstance(other[0], (int, float, complex)):
            raise RuntimeError("Tensor list must have same number of elements as scalar list.")
        raise RuntimeError(f"Tensor lists must have the same number of tensors, got {len(tensors)} and {len(other)}")
    return list(other)


def _apply(x: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """One tensor's operator; `maximum_` and `minimum_`, which no tensor has, are stored."""
    if name.rstrip("_") in ("maximum", "minimum") and not hasattr(args[0], "dtype"):
        return _apply(x, name.replace("maximum", "clamp_min").replace("minimum", "clamp_max"), *args)
    if name in ("maximum_", "minimum_"):
        return x.copy_(getattr(x, name[:-1])(*args))
    return getattr(x, name)(*args, **kwargs)


def _collected(results: list[Any], name: str) -> Any:
    return results if name.endswith("_") else tuple(results)


def _define(name: str, body: Callable[..., Any], **overloads: str) -> None:
    """An operator by its name; `overloads`: what each takes besides the list."""
    writes = name.endswith("_")
    first, result = ("Tensor(a!)[] self", "()") if writes else ("Tensor[] self", "Tensor[]")
    body.__doc__ = f"`{name.removesuffix('_')}{'_' * name.endswith('_')}` of each tensor of a list."
    body.__name__ = f"_foreach_{name}"
    schemas = [f"_foreach_{name}.{o}({first}, {rest}) -> {result}" for o, rest in overloads.items()]
    composite(*(schemas or [f"_foreach_{name}"]), variants=FUNCTION)(body)


def _unary(name: str, **overloads: str) -> None:
    def body(self: Sequence[Tensor]) -> Any:
        _nonempty(self)
        return _collected([_apply(x, name) for x in self], name)

    _define(name, body, **overloads)


def _scaled(name: str) -> None:
    def body(self: Sequence[Tensor], other: Any, *, alpha: Any = 1) -> Any:
        rows = _rows(self, other)
        return _collected([_apply(x, name, y, alpha=alpha) for x, y in zip(self, rows, strict=True)], name)

    scaled = "*, Scalar alpha=1"
    with_tensor = {"Tensor": f"Tensor other, {scaled}"} if name.startswith("add") else {}
    _define(
        name,
        body,
        List=f"Tensor[] other, {scaled}",
        Scalar="Scalar scalar",
        ScalarList="Scalar[] scalars",
        **with_tensor,
    )


def _binary(name: str) -> None:
    def body(self: Sequence[Tensor], other: Any) -> Any:
        if not isinstance(self, (list, tuple)):  # a number to the power of each tensor
            return tuple(self**x for x in other)
        rows = _rows(self, other)
        return _collected([_apply(x, name, y) for x, y in zip(self, rows, strict=True)], name)

    one, many, lists = ("exponent",) * 3 if name.startswith("pow") else ("scalar", "scalars", "other")
    with_tensor = {"Tensor": "Tensor other"} if name.rstrip("_") in ("mul", "div") else {}
    _define(name, body, List=f"Tensor[] {lists}", Scalar=f"Scalar {one}", ScalarList=f"Scalar[] {many}", **with_tensor)


def _ternary(name: str) -> None:
    def body(self: Sequence[Tensor], tensor1: Sequence[Tensor], tensor2: Sequence[Tensor], value: Any = 1) -> Any:
        first, second = _rows(self, tensor1), _rows(self, tensor2)
        if hasattr(value, "tolist"):
            value = value.tolist()
        rows = zip(self, first, second, _rows(self, value), strict=True)
        return _collected([_apply(x, name, a, b, value=v) for x, a, b, v in rows], name)

    both = "Tensor[] tensor1, Tensor[] tensor2"
    _define(
        name,
        body,
        Scalar=f"{both}, Scalar value=1",
        ScalarList=f"{both}, Scalar[] scalars",
        Tensor=f"{both}, Tensor scalars",
    )


def _lerp(name: str) -> None:
    def body(self: Sequence[Tensor], tensors1: Sequence[Tensor], weight: Any) -> Any:
        rows = zip(self, _rows(self, tensors1), _rows(self, weight), strict=True)
        return _collected([_apply(x, name, y, w) for x, y, w in rows], name)

    _define(
        name, body, List="Tensor[] tensors1, Tensor[] weights", Scalar="Tensor[] tensors1, Scalar weight",
        ScalarList="Tensor[] tensors1, Scalar[] weight",
    )  # fmt: skip


for _base in UNARY:
    _unary(_base)
    _unary(_base + "_")
for _base in SCALED:
    _scaled(_base)
    _scaled(_base + "_")
for _base in BINARY:
    _binary(_base)
    _binary(_base + "_")
for _base in TERNARY:
    _ternary(_base)
    _ternary(_base + "_")
_lerp("lerp")
_lerp("lerp_")
_unary("zero_")
_unary("clone")
REGISTRY["_foreach_clone"].schemas["_foreach_clone"] = (
    "(Tensor[] self, *, MemoryFormat? memory_format=None) -> Tensor[]"
)


@composite("_foreach_norm.Scalar(Tensor[] self, Scalar ord=2, ScalarType? dtype=None) -> Tensor[]", variants=FUNCTION)
def _foreach_norm(self: Sequence[Tensor], ord: Any = 2, dtype: Any = None) -> Any:
    """The norm of each tensor of a list, taken as a vector."""
    _nonempty(self)
    return tuple(REGISTRY["linalg_vector_norm"](x, ord, dtype=dtype) for x in self)


@composite("_foreach_max", variants=FUNCTION)
def _foreach_max(self: Sequence[Tensor]) -> Any:
    """The largest element of each tensor of a list."""
    _nonempty(self)
    return tuple(x.max() for x in self)


@composite("_foreach_copy_", variants=FUNCTION)
def _foreach_copy_(self: Sequence[Tensor], src: Sequence[Tensor], non_blocking: bool = False) -> Any:
    """Copies each tensor of `src` into its tensor of a list."""
    return [x.copy_(y) for x, y in zip(self, _rows(self, src), strict=True)]


@composite(
    "_amp_foreach_non_finite_check_and_unscale_(Tensor(a!)[] self, Tensor(b!) found_inf, Tensor inv_scale)",
    variants=FUNCTION,
)
def _amp_foreach_non_finite_check_and_unscale_(tensors: Sequence[Tensor], found_inf: Tensor, inv_scale: Tensor) -> None:
    """Multiply gradients by `inv_scale` in place; `found_inf` becomes 1 where one of them holds an infinity or NaN."""
    for t in tensors:
        found_inf.masked_fill_(t.isfinite().all().logical_not(), 1.0)
        t.mul_(inv_scale.to(t.dtype))


@composite(
    "_amp_update_scale_(Tensor(a!) self, Tensor(b!) growth_tracker, Tensor found_inf, float scale_growth_factor, float scale_backoff_factor, int growth_interval) -> Tensor(a!)",
    variants=FUNCTION,
)
def _amp_update_scale_(input: Tensor, growth_tracker: Tensor, found_inf: Tensor, scale_growth_factor: float, scale_backoff_factor: float,
                       growth_interval: int) -> Tensor:  # fmt: skip
    """A loss scale after a step: smaller after a bad one, larger after `growth_interval` good ones in a row."""
    bad, good = found_inf.ne(0).reshape(()), growth_tracker + 1
    full = good.eq(growth_interval)
    larger = input * scale_growth_factor
    grown = input.where((full & larger.isfinite()).logical_not(), larger)
    input.copy_(grown.where(bad.logical_not(), input * scale_backoff_factor))
    growth_tracker.copy_(good.masked_fill(full | bad, 0))
    return input

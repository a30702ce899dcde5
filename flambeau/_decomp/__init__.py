"""Operators as others: what an operator's definition says, run over tensors.

Nothing is written a second time here. A composite's body is made of tensor operations already; the body of any other operator is read once
more, with a kernel `k` whose words are the public functions on tensors. What bodies leave to the array library (`k.library`) stays one operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flambeau
from flambeau import _operators
from flambeau._decomp.core import CORE
from flambeau._eager import promotion, record
from flambeau._eager.derived import TENSOR_WORDS
from flambeau._operators import overloads
from flambeau._operators.op import REGISTRY, Op
from flambeau._ops import OpOverload, OpOverloadPacket, written
from flambeau._tensor import Tensor
from flambeau._values import dtype as dtypes

__all__ = ["core_aten_decompositions", "decomposition_table", "get_decompositions", "register_decomposition"]


class _Whole(Exception):
    """A body that cannot be taken apart."""


class Words:
    """The words of the kernel language, on tensors; operands that were widened are of the dtype `narrow`."""

    def __init__(self, narrow: Any = None) -> None:
        self.narrow = narrow

    def __getattr__(self, word: str) -> Any:
        fn = TENSOR_WORDS.get("t_" + word)
        if fn is None:
            raise _Whole(word)
        return fn

    def cast(self, x: Any, dtype: Any) -> Any:
        return x.to(dtype)

    def rounded(self, x: Any) -> Any:
        if self.narrow is None:
            return x
        return x.to(self.narrow).to(x.dtype) if isinstance(x, Tensor) else dtypes.held(x, self.narrow)

    def like(self, value: Any, x: Any) -> Any:
        return value

    def full(self, shape: Any, value: Any, dtype: Any) -> Any:
        return flambeau.full(shape, value, dtype=dtype)

    def iota(self, n: int, dtype: Any) -> Any:
        return flambeau.arange(n, dtype=dtype)

    def where(self, c: Any, a: Any, b: Any) -> Any:
        return flambeau.where(c, a, b)

    def sum(self, x: Any, dims: Sequence[int]) -> Any:
        return x.sum(list(dims), True) if dims else x

    def prod(self, x: Any, dims: Sequence[int]) -> Any:
        for d in dims:
            x = x.prod(d, True)
        return x

    def max(self, x: Any, dims: Sequence[int]) -> Any:
        return x.amax(list(dims), True) if dims else x

    def min(self, x: Any, dims: Sequence[int]) -> Any:
        return x.amin(list(dims), True) if dims else x

    def any(self, x: Any, dims: Sequence[int]) -> Any:
        return x.any(list(dims), True) if dims else x

    def all(self, x: Any, dims: Sequence[int]) -> Any:
        return x.all(list(dims), True) if dims else x

    def reshape(self, x: Any, shape: Any) -> Any:
        return x.reshape(shape)

    def permute(self, x: Any, dims: Any) -> Any:
        return x.permute(tuple(dims))

    def expand(self, x: Any, shape: Any) -> Any:
        return x.expand(shape)

    def flip(self, x: Any, dims: Any) -> Any:
        return x.flip(dims)

    def slice(self, x: Any, dim: int, start: int, stop: int, step: int = 1) -> Any:
        return flambeau.ops.aten.slice.Tensor(x, dim, start, stop, step)

    def pad(self, x: Any, widths: Sequence[tuple[int, int]], value: Any = 0) -> Any:
        return flambeau.constant_pad_nd(x, [n for pair in reversed(widths) for n in pair], value)

    def take(self, x: Any, dim: int, index: Any) -> Any:
        return x.index_select(dim, index)

    def gather(self, x: Any, dim: int, index: Any) -> Any:
        return x.gather(dim, index)

    def matmul(self, x: Any, y: Any) -> Any:
        return x.matmul(y)

    def library(self, name: str, *xs: Any, **params: Any) -> Any:
        raise _Whole(name)


def _apart(op: Op) -> Callable[..., Any]:
    """The operator, as its body says. Raises `_Whole` where that cannot be."""

    def decomposed(*args: Any, **kwargs: Any) -> Any:
        values = [p.default for p in op.params]
        for i, v in enumerate(args):
            values[i] = v
        at = {p.name: i for i, p in enumerate(op.params)}
        for k, v in kwargs.items():
            values[at.get(k, op.receiver_at)] = v
        result: Any = None
        k = Words()
        if op.kind != "composite" and op.promote != "none":
            _, tensors, common, how = promotion.meet(op, tuple(values))
            wide = dtypes.of(dtypes.NARROW.get(common.np, common.np))
            k = Words(how.steps)
            for i in tensors:
                x, d = values[i], wide if i == how.wide else common
                if isinstance(x, Tensor):
                    values[i] = x.to(d).to(wide) if x.dtype is not wide or d is not wide else x
                elif wide is not common and d is common:
                    values[i] = dtypes.held(x, common)
            result = None if op.promote == "bool" or wide is common else common
        first = () if op.kind == "composite" else (k,)
        positional = [v for p, v in zip(op.params, values, strict=True) if not p.keyword]
        named = {p.name: v for p, v in zip(op.params, values, strict=True) if p.keyword}
        out = op.body(*first, *positional, **named)
        if isinstance(out, Tensor):
            return out if result is None else out.to(result)
        if isinstance(out, tuple) and op.outputs:
            return record.named(op)(out if result is None else tuple(o.to(result) for o in out))
        return out

    decomposed.__name__ = op.aten
    return decomposed


def _bound(op: Op, overload: str) -> Callable[..., Any]:
    """The decomposition of one overload, called as its schema says."""
    run = _apart(op)

    def decomposed(*args: Any, **kwargs: Any) -> Any:
        return run(**overloads.bound(op, overload, args, kwargs))

    decomposed.__name__ = op.aten
    return decomposed


class _Table(dict[Any, Callable[..., Any]]):
    """Overload -> its decomposition. Those of a user are entered by `register_decomposition`; the others follow when they are asked for."""

    def __missing__(self, target: Any) -> Callable[..., Any]:
        op = getattr(target, "op", None)
        if not isinstance(target, OpOverload) or op is None or target.form != "function":
            raise KeyError(target)
        name = target._overloadname
        self[target] = made = _bound(op, op.aten if name == "default" else f"{op.aten}.{name}")
        return made


decomposition_table: dict[Any, Callable[..., Any]] = _Table()


def register_decomposition(aten_op: Any, registry: dict[Any, Any] | None = None, *, type: str = "post_autograd", unsafe: bool = False) -> Callable[[Any], Any]:  # fmt: skip
    """A decorator: enter a function as the decomposition of an overload (or of all overloads of a packet, or of several)."""

    def enter(fn: Any) -> Any:
        table = decomposition_table if registry is None else registry
        for target in aten_op if isinstance(aten_op, (list, tuple)) else [aten_op]:
            for one in [getattr(target, o) for o in target.overloads()] if isinstance(target, OpOverloadPacket) else [target]:  # fmt: skip
                if one in table and registry is not None:
                    raise RuntimeError(f"duplicate registrations for {one}")
                table[one] = fn
        return fn

    return enter


def get_decompositions(aten_ops: Iterable[Any], type: str = "post_autograd") -> dict[Any, Callable[..., Any]]:
    """Decompositions of some overloads, or of all overloads of packets.

    >>> import flambeau as torch
    >>> table = get_decompositions([torch.ops.aten.addcmul])
    >>> [str(op) for op in table]
    ['aten.addcmul.default']
    """
    out: dict[Any, Callable[..., Any]] = {}
    for target in aten_ops:
        many = [getattr(target, o) for o in target.overloads() if "out" not in o] if isinstance(target, OpOverloadPacket) else [target]  # fmt: skip
        out |= {one: decomposition_table[one] for one in many if one in decomposition_table or one.form == "function"}
    return out


def core_aten_decompositions() -> dict[Any, Callable[..., Any]]:
    """Decompositions of everything that is not core ATen."""
    _operators.load()
    out: dict[Any, Callable[..., Any]] = {}
    for name, op in REGISTRY.items():
        if name not in CORE and op.custom is None and not name.startswith(("_foreach", "sym_")):
            target = written(name)
            if target is not None and target.form == "function":
                out[target] = decomposition_table[target]
    return out


def applied(table: Mapping[Any, Callable[..., Any]], target: Any, args: Any, kwargs: Any) -> Any:
    """What a table makes of a call; NotImplemented where it has nothing, or the operator stays whole."""
    fn = table.get(target)
    if fn is None:
        return NotImplemented
    try:
        return fn(*args, **kwargs)
    except _Whole:
        return NotImplemented

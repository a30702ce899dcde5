"""When a call is worth a compiled kernel, and the kernels of such calls.

The rule is fixed: from `LARGE` elements on, a pointwise operator (or a structured one that says `native=True`) runs as one
generated kernel, forward and backward; below, the array library runs it. It depends on shapes and dtypes alone. Where there is
no llvmlite, or an expression has a word that kernels lack, the array library runs everything. The flat functions come here for
plain float32 and float64, the general lane (`call`, `write`) for every other dtype, and for results that go into a given tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from flambeau._eager.narrow import Way, expressions
from flambeau._ground import dumps, flags
from flambeau._kernel.ir import MEMORY
from flambeau._kernel.record import Expr, Opaque, Record, cast, constant, toposort
from flambeau._operators.op import Op
from flambeau._values.dtype import ALL, dtype, float32, float64

LARGE = 1 << 13  # elements: below it a ufunc's call costs less than what a kernel saves
_RECORD = Record()
_state: dict[str, Any] = {}


def available() -> bool:
    """Whether kernels can be generated here."""
    if "on" not in _state:
        try:
            from flambeau._backends.cpu.engine import available as found

            _state["on"] = bool(flags.get("native")) and found()
        except ImportError:
            _state["on"] = False
    return _state["on"]


class Refusal(Exception):
    """The operator refuses these arguments: no kernel for this call, but perhaps for the next one."""


class Native:
    """One expression as a function of arrays; None is its answer where the array library must do it."""

    __slots__ = ("body", "call", "dead", "formats", "name", "write")

    def __init__(
        self, body: Callable[..., Any], name: str = "kernel", write: bool = False, formats: bool = False
    ) -> None:
        self.body, self.name, self.dead, self.write, self.formats = body, name, False, write, formats
        self.call: Any = None

    def __call__(self, *arrays: Any) -> Any:
        if self.dead:
            return None
        if self.call is None:
            if not available():
                self.dead = True
                return None
            from flambeau._backends.cpu.compile import compile

            self.call = compile(self.body, self.name, self.write, self.formats)
        try:
            return self.call(*arrays)
        except Refusal:
            return None
        except (NotImplementedError, KeyError, AssertionError, TypeError, Opaque) as problem:
            dumps.dump("breaks", f"no kernel for {self.name}", repr(problem))
            self.dead = True
            return None


def forward(op: Op) -> Native:
    """A pointwise operator with the default static arguments."""

    def body(*xs: Expr) -> Expr:
        tensors = iter(xs)
        args, kwargs = [], {}
        for p in op.params:
            v = next(tensors) if p.is_tensor else p.default
            if p.keyword:
                kwargs[p.name] = v
            else:
                args.append(v)
        return op.body(_RECORD, *args, **kwargs)

    return Native(body, op.name)


@cache
def shorter(op: Op, number: float, write: bool = False) -> Native:
    """An operator of two operands whose second is one of the numbers with which its array reading has a shorter way: that way as a kernel."""

    def body(x: Expr) -> Any:
        out = op.run(_RECORD, x, np.asarray(number))
        if out is x or x.dtype.is_complex:
            raise Opaque(op.name)
        return out

    return Native(body, op.name, write)


def again(roots: Sequence[Expr], recorded: dtype) -> Native:
    """Expressions recorded on 0-d parameters of one dtype, on arrays of another and with their shapes."""

    def body(*xs: Expr) -> Any:
        d = xs[0].dtype
        env: dict[Expr, Expr] = {}
        for e in toposort(*roots):
            src = [env[s] for s in e.src]
            if e.op == "param":
                env[e] = xs[e.arg]
            elif e.op == "const":
                env[e] = constant(e.arg, d if e.dtype is recorded else e.dtype)
            elif e.op == "cast":
                env[e] = cast(src[0], d if e.dtype is recorded else e.dtype)
            elif e.op == "expand":
                env[e] = src[0]
            else:
                env[e] = getattr(_RECORD, e.op)(*src)
        out = tuple(env[r] for r in roots)
        return out[0] if len(out) == 1 else out

    return Native(body, "derivative")


def halves(root: Expr, narrow: bool) -> Native:
    """An expression recorded on 0-d parameters, of arrays of which the first is float16 or bfloat16: in float32, and rounded
    once at the end if `narrow`."""

    def body(*xs: Expr) -> Any:
        wide = (cast(x, float32) if x.dtype.is_floating_point else x for x in xs)
        out = again((root,), root.dtype).body(*wide)
        return cast(out, xs[0].dtype) if narrow else out

    return Native(body)


@cache
def summed(dims: tuple[int, ...], lead: int) -> Native:
    """The sum of an array over dims, all of which stay but the first `lead`; halves are summed in float32."""

    def body(x: Expr) -> Expr:
        wide = cast(x, float32) if x.dtype.is_floating_point and x.dtype.itemsize < 4 else x
        out = _RECORD.sum(wide, dims)
        return cast(_RECORD.reshape(out, out.shape[lead:]), x.dtype)

    return Native(body, "sum")


# ---------------------------------------------------------------- the general lane

HELD = frozenset(d.np for d in ALL if d.name in MEMORY)
EXACT = frozenset(
    ("floordiv", "remainder", "fmod", "pow", "lshift", "rshift")
)  # of integers: NumPy's to compute or refuse
_calls: dict[Any, Native] = {}


def frozen(v: Any) -> Any:
    """A list among the arguments (of dims, of sizes) as a tuple, so that kernels are found by it."""
    return tuple(map(frozen, v)) if type(v) is list else v


def enough(operands: Sequence[Any]) -> bool:
    """Whether one of a call's operands is large, or what they are broadcast to."""
    first = None
    for a in operands:
        if type(a) is np.ndarray:
            if a.size >= LARGE:
                return True
            if first is None:
                first = a
            elif a.shape != first.shape and spread(first, a):
                return True
    return False


def spread(*arrays: Any) -> bool:
    """Whether the shape that arrays are broadcast to is large though none of them is."""
    most = 1
    for a in arrays:
        most *= a.size
    if most < LARGE:
        return False
    try:
        return np.broadcast(*arrays).size >= LARGE
    except ValueError:  # they do not meet: said elsewhere
        return False


def call(op: Op, out: list[Any], meeting: list[int], common: dtype | None, how: Way, target: Any = None) -> Any:  # fmt: skip
    """An operator on arrays of any dtypes that kernels know, written into `target` if there is one; None where the array
    library must do it. The rest of the arguments is what the general lane found (`settled`)."""
    arrays, positions, statics = [], [], []
    for i, (p, a) in enumerate(zip(op.params, out, strict=True)):
        if p.is_tensor and a is not None:
            if type(a) is not np.ndarray or a.dtype not in HELD:
                return None
            arrays.append(a)
            positions.append(i)
        elif p.is_list:
            return None
        else:
            statics.append(a)
    statics = list(map(frozen, statics))
    if op.short and len(arrays) == 2 and common in (float32, float64):  # as the flat functions take it
        first, second = arrays
        if not second.ndim and first.dtype is common.np and (number := second.item()) in op.short:
            way = shorter(op, number, target is not None)
            return way(first) if target is None else way(target, first)
    try:
        key = (op, tuple(statics), tuple(map(type, statics)), tuple(positions), common, how, target is not None)
        kernel = _calls.get(key)
    except TypeError:
        return None
    if kernel is None:
        if len(_calls) > 2048:
            _calls.clear()
        kernel = _calls[key] = Native(
            _general(op, statics, positions, meeting, common, how), op.name, target is not None
        )
    return kernel(*arrays) if target is None else kernel(target, *arrays)


def _general(op: Op, statics: list[Any], positions: list[int], meeting: list[int], common: dtype | None, how: Way) -> Any:  # fmt: skip
    """The body of such a call: operands widened to the dtype in which they meet, the result narrowed to it."""

    def body(*xs: Expr) -> Any:
        tensors, rest = dict(zip(positions, xs, strict=True)), iter(statics)
        values = [tensors.get(i) if i in tensors else next(rest) for i in range(len(op.params))]
        if common is not None:
            expressions(values, meeting, common, how)
        k = _RECORD if how.steps is None else Record(how.steps)
        args, kwargs = [], {}
        for p, v in zip(op.params, values, strict=True):
            if p.keyword:
                kwargs[p.name] = v
            else:
                args.append(v)
        out = op.body(k, *args, **kwargs)
        outs = tuple(narrowed(e, op, common) for e in (out if isinstance(out, tuple) else (out,)))
        if any(e.op in EXACT and e.dtype.kind == "i" for e in toposort(*outs)):
            raise Opaque(op.name)
        return outs if isinstance(out, tuple) else outs[0]

    return body


def narrowed(e: Expr, op: Op, common: dtype | None) -> Expr:
    """A result in the dtype in which the operands met."""
    if common is None or op.promote == "bool" or e.dtype.kind == "b" or (e.dtype.kind == "i" and common.kind != "i"):
        return e
    return cast(e, common)


_structured: dict[Any, Native] = {}


def structured(op: Op, statics: tuple[Any, ...], present: tuple[bool, ...]) -> Native | None:
    """An operator over whole arrays with these static arguments; `present` says which optional tensors are given."""
    try:
        key = (op, statics, tuple(map(type, statics)), present)
        found = _structured.get(key)
    except TypeError:
        settled = tuple(map(frozen, statics))
        return None if settled == statics else structured(op, settled, present)
    if found is None:
        given = list(statics)

        def body(*xs: Expr) -> Any:
            tensors, rest, there = iter(xs), iter(given), iter(present)
            args, kwargs = [], {}
            for p in op.params:
                v = (next(tensors) if next(there) else None) if p.is_tensor else next(rest)
                if p.keyword:
                    kwargs[p.name] = v
                else:
                    args.append(v)
            return op.body(_RECORD, *args, **kwargs)

        if len(_structured) > 2048:
            _structured.clear()
        found = _structured[key] = Native(body, op.name, formats=op.formats)
    return found

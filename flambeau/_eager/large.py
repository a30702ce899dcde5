"""When a call is worth a compiled kernel, and the kernels of such calls.

The rule is fixed: from `LARGE` elements on, a pointwise operator on float32 or float64 (or a structured one that says
`native=True`) runs as one generated kernel, forward and backward; below, the array library runs it. It depends on shapes and
dtypes alone. Where there is no llvmlite, or an expression has a word that kernels lack, the array library runs everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._ground import flags
from flambeau._kernel.record import Expr, Record, cast, constant, toposort
from flambeau._operators.op import Op
from flambeau._values.dtype import dtype

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


class Native:
    """One expression as a function of arrays; None is its answer where the array library must do it."""

    __slots__ = ("body", "call", "dead")

    def __init__(self, body: Callable[..., Any]) -> None:
        self.body, self.dead = body, False
        self.call: Any = None

    def __call__(self, *arrays: Any) -> Any:
        if self.dead:
            return None
        if self.call is None:
            if not available():
                self.dead = True
                return None
            from flambeau._backends.cpu.compile import compile

            self.call = compile(self.body)
        try:
            return self.call(*arrays)
        except (NotImplementedError, KeyError, AssertionError, TypeError) as problem:
            if "loops" in flags.get("logs"):
                import warnings

                warnings.warn(f"no kernel for this expression: {problem!r}", stacklevel=2)
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

    return Native(body)


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

    return Native(body)


_structured: dict[Any, Native] = {}


def structured(op: Op, statics: tuple[Any, ...], present: tuple[bool, ...]) -> Native | None:
    """An operator over whole arrays with these static arguments; `present` says which optional tensors are given."""
    try:
        key = (op, statics, tuple(map(type, statics)), present)
        found = _structured.get(key)
    except TypeError:  # a list among the arguments
        return None
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
        found = _structured[key] = Native(body)
    return found

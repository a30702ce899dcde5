"""One user-defined operator: its schema, what has been registered for it, and the `Op` that is made of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from flambeau._backends import meta
from flambeau._eager import call, record
from flambeau._eager.graph import Node, Undifferentiable, bump
from flambeau._eager.modes import STATE
from flambeau._ground.source import build
from flambeau._library.infer_schema import parse, written
from flambeau._operators.op import Op
from flambeau._tensor import Tensor, wrap
from flambeau._values.dtype import dtype
from flambeau.autograd.function import BackwardCFunction, _save

_NOTES = {"Tensor": "T", "Tensor?": "T | None", "Tensor[]": "Sequence[T]", "Tensor?[]": "Sequence[T | None]"}


class Definition:
    """One operator: its schema, what has been registered for it, and the `Op` made of them."""

    def __init__(self, namespace: str, name: str, overload: str, arguments: str, returns: str, tags: Any = ()) -> None:
        self.namespace, self.name, self.overload, self.tags = namespace, name, overload, tags
        self.arguments, self.returns = arguments, returns
        self.parameters = parse(arguments)
        self.mutated = tuple(i for i, p in enumerate(self.parameters) if p.mutated)
        self.kernels: dict[str, Callable[..., Any]] = {}  # "cpu", "cuda", ..., "" for all devices
        self.composite: Callable[..., Any] | None = None
        self.outer: Callable[..., Any] | None = None  # registered for the Autograd key: runs instead, in grad mode
        self.fake: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None
        self.setup_context: Callable[..., Any] | None = None
        self.vmap: Callable[..., Any] | None = None
        self.lower: dict[str, dtype] = {}  # type of device -> what autocast gives it
        self.autocast: dict[str, Callable[..., Any]] = {}  # type of device -> what runs under its autocast
        self.dispatch: dict[type, Callable[..., Any]] = {}
        self.strict = False  # results may not share memory with inputs
        self.op = self._op()

    @property
    def qualname(self) -> str:
        return f"{self.namespace}::{self.name}"

    @property
    def spoken(self) -> str:
        return f"{self.namespace}.{self.name}.{self.overload or 'default'}"

    @property
    def schema(self) -> str:
        dot = "." + self.overload if self.overload else ""
        return f"{self.qualname}{dot}({written(self.parameters)}) -> {self.returns}"

    def _op(self) -> Op:
        heads, notes, starred = [], {}, False
        scope: dict[str, Any] = {"_run_": self._run}  # and the defaults: a dtype has no text of its own
        for p in self.parameters:
            if p.keyword and not starred:
                heads.append("*")
                starred = True
            if p.default is not inspect.Parameter.empty:
                scope[f"_default_{p.name}_"] = p.default
            heads.append(p.name if p.default is inspect.Parameter.empty else f"{p.name}=_default_{p.name}_")
            notes[p.name] = _NOTES.get(p.type, "Any")
        names = "".join(p.name + ", " for p in self.parameters)
        text = f"def {self.name}(_kernel_{''.join(', ' + h for h in heads)}):\n    return _run_(_kernel_, ({names}))\n"
        body = build(self.name, text, scope)
        body.__annotations__ = notes
        full = f"{self.qualname}.{self.overload}" if self.overload else self.qualname
        op = Op("op", body, (full,), promote="none", variants=())
        op.custom = self
        return op

    # ---- what a call does ----

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        values = self.bound(args, kwargs)
        tensors = [v for v in values if isinstance(v, Tensor)]
        for t in tensors:
            rule = self.dispatch.get(type(t))
            if rule is not None:
                return rule(None, self.overload, (type(t),), args, kwargs)
        if self.autocast and STATE.autocast and tensors:
            fn = self.autocast.get(tensors[0].device.type)
            if fn is not None and tensors[0].device.type in STATE.autocast:
                return self._spread(fn, values)
        if self.lower and STATE.autocast:
            values = self._cast(values)
        if self.composite is not None and self._kernel(_kind(values)) is None:
            return self._spread(self.composite, values)
        if self.outer is not None and STATE.grad:
            return self._spread(self.outer, values)
        result = call.general(self.op, values)
        for i in self.mutated:
            if isinstance(values[i], Tensor):
                bump(values[i])
        return result

    def fits(self, args: Any, kwargs: Any) -> bool:
        """Whether the arguments are of this overload's types."""
        try:
            values = self.bound(args, kwargs)
        except RuntimeError:
            return False
        return not any(
            isinstance(v, Tensor) and p.type.rstrip("?") in ("int", "float", "bool", "str", "SymInt", "Scalar")
            for p, v in zip(self.parameters, values, strict=True)
        )

    def bound(self, args: Any, kwargs: Any) -> tuple[Any, ...]:
        """All arguments in the order of the schema; refuses what does not fit it."""
        positional = [p for p in self.parameters if not p.keyword]
        for most, n in ((len(self.parameters), len(args) + len(kwargs)), (len(positional), len(args))):
            if n > most:
                raise RuntimeError(
                    f"{self.qualname}() expected at most {most} argument(s) but received {n} argument(s). Declaration: {self.schema}"
                )
        placed = dict(zip((p.name for p in positional), args, strict=False))
        given = {**kwargs, **placed}
        values = []
        for i, p in enumerate(self.parameters):
            if p.name not in given and p.default is inspect.Parameter.empty:
                raise RuntimeError(
                    f"{self.qualname}() is missing value for argument '{p.name}'. Declaration: {self.schema}"
                )
            v = given.get(p.name, p.default)
            if p.type == "Tensor" and not isinstance(v, Tensor):
                raise RuntimeError(
                    f"{self.qualname}() Expected a value of type 'Tensor' for argument '{p.name}' but instead found type "
                    f"'{type(v).__name__}'.\nPosition: {i}\nValue: {v!r}\nDeclaration: {self.schema}\n"
                    f"Cast error details: Unable to cast {v} to Tensor"
                )
            values.append(list(v) if p.type.endswith("[]") and isinstance(v, tuple) and "Tensor" in p.type else v)
        for name in kwargs:
            if name in placed:
                raise RuntimeError(
                    f"Argument '{name}' specified both as positional and keyword argument. Schema: {self.schema}"
                )
            if all(p.name != name for p in self.parameters):
                raise RuntimeError(
                    f"Unknown keyword argument '{name}' for operator '{self.qualname}'. Schema: {self.schema}"
                )
        return tuple(values)

    @property
    def functional(self) -> bool:
        """Whether it gives new tensors and writes to none."""
        return not self.mutated and self.returns != "()" and "(a" not in self.returns

    def _spread(self, fn: Callable[..., Any], values: Sequence[Any]) -> Any:
        n = sum(not p.keyword for p in self.parameters)
        return fn(*values[:n], **{p.name: v for p, v in zip(self.parameters[n:], values[n:], strict=True)})

    def _cast(self, values: Sequence[Any]) -> tuple[Any, ...]:
        def one(v: Any) -> Any:
            to = self.lower.get(v.device.type) if isinstance(v, Tensor) else None
            return v.to(to) if to is not None and v.dtype.is_floating_point else v  # type: ignore[attr-defined]

        return tuple([one(x) for x in v] if isinstance(v, list) else one(v) for v in values)

    def _run(self, k: Any, arrays: Sequence[Any]) -> Any:
        """The kernel, on tensors around the arrays, without history."""
        values = tuple(_tensors(a) for a in arrays)
        kind, kernel = _kind(values), self._kernel(_kind(values))
        if kind == "meta" and "meta" not in self.kernels:
            return self.described(values)
        if kernel is None:
            raise NotImplementedError(
                f"Could not run '{self.qualname}' with arguments from the '{kind.upper()}' backend. This could be because the operator "
                f"doesn't exist for this backend: available are {sorted(self.kernels)}."
            )
        before, STATE.grad = STATE.grad, False
        try:
            result = self._spread(kernel, values)
        finally:
            STATE.grad = before
        if self.strict:
            self._check_alias(result, values)
        return _arrays(result)

    def _kernel(self, kind: str) -> Callable[..., Any] | None:
        return self.kernels.get(kind) or self.kernels.get("")

    def described(self, values: Sequence[Any]) -> Any:
        """What the result looks like: for meta tensors."""
        if self.fake is None:
            if self.strict and self.returns == "()":  # there is nothing to look like
                return None
            if not self.strict:
                raise NotImplementedError(
                    f"{self.qualname}: attempted to run this operator with Meta tensors, but there was no fake impl or Meta kernel registered. You "
                    "may have run into this message while using an operator with PT2 compilation APIs (torch.compile/torch.export); in order to "
                    "use this operator with those APIs you'll need to add a fake impl. Please see the following for next steps:  "
                    "https://pytorch.org/tutorials/advanced/custom_ops_landing_page.html"
                )
            raise RuntimeError(
                f"There was no fake impl registered for <CustomOpDef({self.qualname})>. This is necessary for torch.compile/export/fx "
                f"tracing to work. Please use `{self.name}.register_fake` to add an fake impl."
            )
        DESCRIBED.append(self)
        try:
            return _arrays(self._spread(self.fake, values))
        finally:
            DESCRIBED.pop()

    def _check_alias(self, result: Any, values: Sequence[Any]) -> None:
        held = [t._a for t in _flat(values)]
        for t in _flat((result,)):
            if any(t._a is a or np.may_share_memory(t._a, a) for a in held if isinstance(a, np.ndarray)):
                raise RuntimeError(
                    f"{self.name} (with implementation in {inspect.getmodule(next(iter(self.kernels.values())))}): The output of this custom "
                    "operator (1) must not also be an input to this custom operator and (2) may not alias any inputs to this custom "
                    "operator or other returns. The most common way to trigger this error is if we have y = custom_op(x) and y and x "
                    "are the same Tensor. Please instead return a clone of the offending output tensor(s) (e.g. return x.clone()) or "
                    "refactor the custom operator to not return y."
                )
            held.append(t._a)

    def node_class(self) -> type[Node]:
        """The class of the calls that are recorded."""
        if self.backward is None:
            return type(record.class_name(self.op), (_NoFormula,), {"definition": self})
        name = f"GeneratedBackwardFor_{self.namespace}_{self.name}_{self.overload or 'default'}Backward"
        return type(name, (CustomNode,), {"definition": self, "_function": _Backward(self.backward)})


DESCRIBED: list[Definition] = []  # operators whose fake implementations are running, the innermost last


def _kind(values: Sequence[Any]) -> str:
    """The type of device that a call is for."""
    return next((t.device.type for t in _flat(values)), "cpu")


def _tensors(a: Any) -> Any:
    if isinstance(a, (np.ndarray, meta.MetaArray)):
        return wrap(a)
    return [_tensors(x) for x in a] if isinstance(a, list) else a


def _arrays(r: Any) -> Any:
    if isinstance(r, Tensor):
        return r._a
    return type(r)(_arrays(x) for x in r) if isinstance(r, (tuple, list)) else r


def _flat(values: Iterable[Any]) -> list[Tensor]:
    return [t for v in values for t in (v if isinstance(v, (list, tuple)) else (v,)) if isinstance(t, Tensor)]


class _Backward:
    """What BackwardCFunction asks a Function for."""

    vjp = None

    def __init__(self, backward: Callable[..., Any]) -> None:
        self.backward = backward


class _NoFormula(Undifferentiable):
    wanted = None
    names_saved: frozenset[str] = frozenset()
    into: Any = ()
    definition: Definition

    @classmethod
    def save(cls, node: Node, *_: Any) -> None:
        pass

    def arrays(self, g: Any) -> Any:
        raise RuntimeError(
            f"Trying to backward through {self.definition.spoken} but no autograd formula was registered. Please use register_autograd to "
            "add one."
        )

    tensors = arrays


class CustomNode(BackwardCFunction):
    """The call of a user-defined operator that has a derivative: its own context."""

    wanted = None
    names_saved: frozenset[str] = frozenset()
    into: Any = ()
    definition: Definition

    @classmethod
    def save(cls, node: Any, op: Op, values: Sequence[Any], outs: tuple[Any, ...], old: Any) -> None:
        needed = iter([n is not None for n in node.next])
        node.needs_input_grad = tuple(
            [next(needed) for _ in v] if p.is_list and v is not None else next(needed) if p.is_tensor else False
            for p, v in zip(op.params, values, strict=True)
        )
        node.metas = tuple(None if o is None else (o._a.shape, o._a.dtype) for o in outs)
        if STATE.deferred is None:
            cls.set_up(node, values, outs, lambda fn, given: fn(**given))
        else:
            STATE.deferred.append(functools.partial(cls.set_up, node, values, outs))

    @classmethod
    def set_up(cls, node: Any, values: Sequence[Any], outs: tuple[Any, ...], call: Callable[[Any, Any], Any]) -> None:
        """Let the operator's `setup_context` note what its derivative needs: `call(fn, named arguments)`."""
        d = cls.definition
        if d.setup_context is not None:
            n = sum(not p.keyword for p in d.parameters)
            output = outs[0] if len(outs) == 1 and not d.returns.startswith("(") else tuple(outs)
            given = {"ctx": node, "inputs": tuple(values[:n]), "output": output}
            if n < len(values):
                given["keyword_only_inputs"] = {p.name: v for p, v in zip(d.parameters[n:], values[n:], strict=True)}
            before, STATE.grad = STATE.grad, False
            try:
                call(d.setup_context, given)
            finally:
                STATE.grad = before
        _save(node, list(outs))

    def _call(self, gs: list[Any], create: bool) -> list[Any]:
        gs = [self._zeros(nr) if g is None and self.materialize_grads else g for nr, g in enumerate(gs)]
        before, STATE.grad = STATE.grad, create
        try:
            result = self._function.backward(self, *([gs] if self.definition.returns.endswith("[]") else gs))
        finally:
            STATE.grad = before
        return self.spread(result)

    def spread(self, result: Any) -> list[Any]:
        """What `backward` gave, as gradients of the tensors that went in."""
        result = list(result) if isinstance(result, tuple) else [result]
        params = [p for p in self.definition.op.params if not p.keyword]
        if len(result) != len(params):
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected {len(params)}, got {len(result)})"
            )
        flat: list[Any] = []
        for p, r, need in zip(params, result, self.needs_input_grad, strict=False):
            if p.is_list:
                flat += [None] * len(need) if r is None else list(r)  # type: ignore[arg-type]
            elif p.is_tensor:
                flat.append(r)
        flat += [None] * (len(self.into) - len(flat))
        return [
            None if r is None or i is None else record.fit_tensor(r, i) for r, i in zip(flat, self.into, strict=True)
        ]

"""Tracing: what a function calls, as a graph.

A function mode sees each public call, runs it, and emits the call of the operator (or of the function of `nn.functional`) that it is, by
the same choice of overloads that a compiled program gets. Sizes are integers that remember where they come from.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import flambeau
from flambeau.jit._language import operators, types as ty
from flambeau.jit._language.emit import Emitter
from flambeau.jit._language.express import type_of
from flambeau.jit._language.graph import Node, Value
from flambeau.jit._language.match import choose
from flambeau.jit._language.schema import overloads
from flambeau.overrides import TorchFunctionMode

Tensor = flambeau.Tensor


class State(threading.local):
    current: Any = None  # the tracer whose function is running


STATE = State()


class TracedInt(int):
    """A size, and where it comes from."""

    value: Value

    def __reduce__(self) -> Any:
        return int, (int(self),)


def _arithmetic(name: str, op: str, reverse: bool = False) -> Any:
    plain = getattr(int, name)

    def compute(self: TracedInt, other: Any) -> Any:
        result = plain(self, other)
        tracer = STATE.current
        if tracer is None or result is NotImplemented or type(other) not in (int, TracedInt):
            return result
        a, b = tracer.value(self), tracer.value(other)
        return tracer.number(result, tracer.em.op("aten::" + op, *((b, a) if reverse else (a, b))))

    return compute


for _name, _op in (("add", "add"), ("sub", "sub"), ("mul", "mul"), ("floordiv", "floordiv"), ("mod", "remainder")):
    setattr(TracedInt, f"__{_name}__", _arithmetic(f"__{_name}__", _op))
    setattr(TracedInt, f"__r{_name}__", _arithmetic(f"__r{_name}__", _op, True))


class _Names:
    """A resolver for programs that mention no names."""

    archive = False


class Tracer(TorchFunctionMode):
    """Builds the graph of one call."""

    _sees_members = False

    def __init__(self, module_type: ty.Class | None, module: Any) -> None:
        self.em = Emitter(_Names())
        self.known: dict[int, tuple[Any, Value]] = {}  # by the tensor's id: the tensor, kept alive, and its value
        self.module, self.type = module, module_type
        self.places: dict[int, tuple[str, ...]] = {}
        self.gotten: dict[tuple[str, ...], Value] = {}
        if module_type is not None:
            self.gotten[()] = self.em.block.param(module_type, "self")
            for path, m in module.named_modules():
                parts = tuple(path.split(".")) if path else ()
                for name, t in (*m._parameters.items(), *m._buffers.items()):
                    if t is not None:
                        self.places.setdefault(id(t), (*parts, name))

    # ---- values ----

    def put(self, t: Any, v: Value) -> None:
        self.known[id(t)] = (t, v)

    def number(self, n: int, v: Value) -> TracedInt:
        made = TracedInt(n)
        made.value = v
        return made

    def member(self, path: tuple[str, ...]) -> Value:
        """A parameter, buffer or submodule of the traced module."""
        if path not in self.gotten:
            owner = self.member(path[:-1])
            kind = owner.type.attributes[path[-1]]  # type: ignore[attr-defined]
            self.gotten[path] = self.em.node("prim::GetAttr", [owner], kind, None, out=path[-1], name=path[-1])
        return self.gotten[path]

    def value(self, x: Any) -> Value:
        """The value of an argument."""
        if isinstance(x, Tensor):
            if id(x) in self.known:
                return self.known[id(x)][1]
            if id(x) in self.places:
                return self.member(self.places[id(x)])
            if x.requires_grad and not x.is_leaf:
                raise RuntimeError(
                    "Cannot insert a Tensor that requires grad as a constant. Consider making it a parameter or input, or detaching the gradient"
                )
            v = self.em.constant(x.detach(), ty.TENSOR)
            self.put(x, v)
            return v
        if isinstance(x, TracedInt):
            return x.value
        if isinstance(x, (list, tuple)):
            parts = [self.value(p) for p in x]
            if not parts:
                return self.em.list_of([], ty.INT)
            t = parts[0].type
            for p in parts[1:]:
                t = ty.unify(t, p.type) or ty.union((t, p.type))
            return self.em.list_of(parts, t)
        if isinstance(x, dict):
            flat = [self.value(y) for pair in x.items() for y in pair]
            return self.em.node("prim::DictConstruct", flat, ty.Dict(flat[0].type, flat[1].type))
        x = operators.code_of(x)
        if isinstance(x, int) and not isinstance(x, bool):
            x = int(x)
        return self.em.constant(x, type_of(x))

    def bind(self, result: Any, v: Value) -> None:
        """What a call gave, from now on, is this value."""
        if isinstance(result, Tensor):
            self.put(result, v)
        elif isinstance(result, tuple) and isinstance(v.type, ty.Tuple):
            for r, part in zip(result, self.em.unpack(v)):
                self.bind(r, part)
        elif isinstance(result, (tuple, list)) and isinstance(v.type, ty.List):
            n = self.em.block.add(Node("prim::ListUnpack", [v]))
            for r in result:
                self.bind(r, n.output(v.type.element))

    # ---- calls ----

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        run = func.fget if isinstance(func, property) else func
        name = getattr(run, "__name__", str(run))
        emit = self.how(run, name)
        if emit is None:
            inner = getattr(run, "__wrapped__", None)
            if inner is not None:
                with self:
                    return inner(*args, **kwargs)
        old = STATE.current
        STATE.current = None
        try:
            result = run(*args, **kwargs)
        finally:
            STATE.current = old
        if emit is None:
            if _has_tensor(result) and not all(id(t) in self.known for t in _tensors(result)):
                raise NotImplementedError(f"tracing of {name} is not implemented")
            return result
        v = emit(args, kwargs)
        if name == "setitem":
            return result
        if isinstance(result, Tensor) and args and result is args[0]:
            self.put(result, v)
        else:
            self.bind(result, v)
        return result

    def how(self, run: Any, name: str) -> Any:
        """What emits a call of a function; None where it is no operator."""
        from flambeau.jit import _recursive
        from flambeau.jit._language import functional

        if name in ("getitem", "__getitem__"):
            return lambda args, kwargs: self.index(*args)
        if name in ("setitem", "__setitem__"):
            return lambda args, kwargs: self.store(*args)
        module = getattr(run, "__module__", "") or ""
        text = getattr(functional, name, None)
        if module == "flambeau.nn.functional" and inspect.isfunction(text) and text.__module__ == functional.__name__:
            fn = _recursive.function(text, f"__torch__.torch.nn.functional.{name}")
            return lambda args, kwargs: self.compiled(fn, args, kwargs)
        last = module.rpartition(".")[2]
        prefix = f"{last}_" if last in ("linalg", "fft", "special") else ""
        full = f"aten::{prefix}{name}"
        if name == "T":
            full = "aten::numpy_T"
        elif name in operators.CASTS or name in ("bool", "bfloat16"):
            to = operators.code_of(operators.CASTS[name] if name in operators.CASTS else getattr(flambeau, name))
            return lambda args, kwargs: self.em.op("aten::to", self.value(args[0]), self.em.constant(to), self.em.constant(False), self.em.constant(False), self.em.constant(None))  # fmt: skip
        if overloads(full):
            return lambda args, kwargs: self.operator(full, args, kwargs)
        return None

    def operator(self, full: str, args: Any, kwargs: Any) -> Value:
        kwargs = {
            ("self" if k == "input" else k): v
            for k, v in kwargs.items()
            if not (v is None and k in ("out", "generator"))
        }
        if full in (
            "aten::broadcast_tensors",
            "aten::meshgrid",
            "aten::einsum",
            "aten::atleast_1d",
            "aten::block_diag",
            "aten::cartesian_prod",
        ):
            lead = 1 if full == "aten::einsum" else 0
            rest = args[lead:]
            args = (
                *args[:lead],
                list(rest[0]) if len(rest) == 1 and isinstance(rest[0], (list, tuple)) else list(rest),
            )
        vs = [self.value(a) for a in args]
        ks = {k: self.value(v) for k, v in kwargs.items()}
        self_value = vs[0] if vs and vs[0].type is ty.TENSOR and "self" not in ks else None
        return choose(self.em, full, overloads(full), vs[1:] if self_value is not None else vs, ks, self_value, None)

    def compiled(self, fn: Any, args: Any, kwargs: Any) -> Value:
        from flambeau.jit._language.values import Function

        fn.ensure()
        names = {a.name for a in fn.schema.arguments}
        given = [a.name for a in fn.schema.arguments]
        defaults = {a.name: a.default for a in fn.schema.arguments}
        vs = [self.value(a) for a in args]
        ks = {
            k: self.value(v)
            for k, v in kwargs.items()
            if k in names and k not in given[: len(args)] and not (v is None and defaults[k] is None)
        }
        vs = [self.number_like(v, a.type) for v, a in zip(vs, fn.schema.arguments)]
        types = {a.name: a.type for a in fn.schema.arguments}
        ks = {k: self.number_like(v, types[k]) for k, v in ks.items()}
        return Function(fn).call(self.em, vs, ks, None)

    def number_like(self, v: Value, t: ty.Type) -> Value:
        inner = t.element if isinstance(t, ty.Optional) else t
        kinds = ty.alternatives(t)
        if v.type is ty.INT and (inner is ty.FLOAT or (ty.FLOAT in kinds and ty.INT not in kinds)):
            return self.em.op("aten::Float", v)
        return v

    def index(self, x: Any, key: Any, stored: bool = False) -> Any:
        """Indexing by Python's values: the same steps as in a compiled program."""
        em = self.em
        parts = list(key) if isinstance(key, tuple) else [key]
        nodes: list[Any] = []
        for i, p in enumerate(parts):
            if p is Ellipsis:
                nodes.append(ast.Constant(...))
            elif isinstance(p, slice):
                ends = []
                for j, b in enumerate((p.start, p.stop, p.step)):
                    if b is None:
                        ends.append(None)
                    else:
                        em.env[f"i{i}_{j}"] = self.value(b)
                        ends.append(ast.Name(f"i{i}_{j}", ast.Load()))
                nodes.append(ast.Slice(*ends))
            elif p is None:
                nodes.append(ast.Constant(None))
            else:
                em.env[f"i{i}"] = self.value(p)
                nodes.append(ast.Name(f"i{i}", ast.Load()))
        node = ast.Tuple(nodes, ast.Load())
        return em.tensor_index(self.value(x), node, None, for_store=stored)

    def store(self, x: Any, key: Any, new: Any) -> None:
        target, indices = self.index(x, key, stored=True)
        v = self.value(new)
        em = self.em
        if indices is not None:
            if v.type is not ty.TENSOR:
                v = em.op("aten::tensor", v)
            em.op("aten::index_put_", target, indices, v, em.constant(False))
        elif v.type is ty.TENSOR:
            em.op("aten::copy_", target, v)
        else:
            em.op("aten::fill_", target, v)

    def call_script(self, fn: Any, args: Any, kwargs: Any, owner: Any = None) -> Any:
        """A compiled function called while tracing: the call is kept as it is."""
        from flambeau.jit._language.call import arguments

        vs = [self.value(a) for a in args]
        ks = {k: self.value(v) for k, v in kwargs.items()}
        STATE.current = None
        try:
            with flambeau._C.DisableTorchFunction():
                inputs = arguments(fn.schema, fn.short, args, kwargs, owner is not None)
                result = fn.call(*([owner, *inputs] if owner is not None else inputs))
        finally:
            STATE.current = self
        if owner is None:
            from flambeau.jit._language.values import Function

            v = Function(fn).call(self.em, vs, ks, None)
        else:
            from flambeau.jit._language.values import Method

            path = next(p for p, m in self.module.named_modules() if m is owner)
            v = Method(self.member(tuple(path.split("."))), fn.short).call(self.em, vs, ks, None)
        self.bind(result, v)
        return result

    # ---- sizes ----

    def size(self, x: Any, sizes: Any, dim: Any = None) -> Any:
        v = self.value(x)
        if dim is not None:
            return self.number(sizes, self.em.op("aten::size", v, self.em.constant(int(dim))))
        return flambeau.Size(
            [self.number(n, self.em.op("aten::size", v, self.em.constant(i))) for i, n in enumerate(sizes)]
        )


def _tensors(x: Any) -> Iterator[Any]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (list, tuple)):
        for y in x:
            yield from _tensors(y)


def _has_tensor(x: Any) -> bool:
    return any(True for _ in _tensors(x))


_WARN = {
    "__bool__": "a tensor to a Python boolean", "__int__": "a tensor to a Python integer", "__float__": "a tensor to a Python float",
    "__index__": "a tensor to a Python index", "item": "a tensor to a Python number", "tolist": "a tensor to a Python list",
    "numpy": "a tensor to a NumPy array", "__len__": "a tensor to a Python integer",
}  # fmt: skip


_MAKERS = ("zeros", "ones", "full", "empty", "rand", "randn", "arange", "eye", "linspace", "randperm", "zeros_like", "ones_like", "full_like",
           "empty_like", "rand_like", "randn_like")  # fmt: skip
_NEW = ("new_zeros", "new_ones", "new_full", "new_empty")


@contextlib.contextmanager
def watching(tracer: Tracer) -> Iterator[None]:
    """Sizes remember where they come from, and values that leave the trace are warned of, while the tracer's function runs."""
    from flambeau.jit._trace import TracerWarning

    saved = {n: getattr(Tensor, n) for n in ("size", *_WARN)}
    shape = vars(Tensor)["shape"]

    def traced_shape(self: Any) -> Any:
        plain = shape.fget(self)
        now = STATE.current
        if now is None:
            return plain
        STATE.current = None
        try:
            return now.size(self, plain)
        finally:
            STATE.current = now

    def traced_size(self: Any, dim: Any = None) -> Any:
        now, STATE.current = STATE.current, None
        try:
            plain = saved["size"](self) if dim is None else saved["size"](self, dim)
            return plain if now is None else now.size(self, plain, dim)
        finally:
            STATE.current = now

    def warned(name: str, what: str) -> Any:
        own = saved[name]

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if STATE.current is not None:
                warnings.warn(
                    f"Converting {what} might cause the trace to be incorrect. We can't record the data flow of Python values, so this value will "
                    "be treated as a constant in the future. This means that the trace might not generalize to other inputs!",
                    category=TracerWarning,
                    stacklevel=2,
                )
            now, STATE.current = STATE.current, None
            try:
                return own(self, *args, **kwargs)
            finally:
                STATE.current = now

        return call

    def making(own: Any, name: str) -> Any:
        """A function that makes a tensor of given sizes: no mode sees it, so it is noted here."""

        def call(*args: Any, **kwargs: Any) -> Any:
            now, STATE.current = STATE.current, None
            try:
                result = own(*args, **kwargs)
                if now is not None:
                    known = {k: v for k, v in kwargs.items() if k not in ("requires_grad", "out", "generator")}
                    now.bind(result, now.operator("aten::" + name, args, known))
            finally:
                STATE.current = now
            return result

        return call

    makers = [(flambeau, n) for n in _MAKERS] + [(Tensor, n) for n in _NEW]
    plain = {(id(space), n): getattr(space, n) for space, n in makers}
    for space, name in makers:
        setattr(space, name, making(plain[id(space), name], name))
    Tensor.shape, Tensor.size = property(traced_shape), traced_size  # type: ignore[assignment, method-assign, misc]
    for name, what in _WARN.items():
        setattr(Tensor, name, warned(name, what))
    STATE.current = tracer
    try:
        with tracer:
            yield
    finally:
        STATE.current = None
        for space, name in makers:
            setattr(space, name, plain[id(space), name])
        for name, own in saved.items():
            setattr(Tensor, name, own)
        Tensor.shape = shape  # type: ignore[misc]

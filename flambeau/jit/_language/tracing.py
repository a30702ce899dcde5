"""Tracing: what a function calls, as a graph.

Operators are recorded where the general lane runs them: the outermost ones, as the overloads that PyTorch's tracer sees, with all their
arguments. A part of the traced module that is called opens a block of its own, which `scopes` makes a method. Sizes are integers that
remember where they come from.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import flambeau
from flambeau import overrides
from flambeau._eager import call, create, modes
from flambeau._eager.getitem import by_operators, through_operators
from flambeau._operators import overloads
from flambeau._operators.op import Op
from flambeau.jit._language import operators, types as ty
from flambeau.jit._language.emit import Emitter
from flambeau.jit._language.express import type_of
from flambeau.jit._language.graph import Block, Node, Value
from flambeau.jit._language.places import Place
from flambeau.jit._language.schema import REQUIRED, Schema, overloads as schemas
from flambeau.jit._language.scopes import CALL, MEMBER

Tensor = flambeau.Tensor
LAST = sys.maxsize  # where a slice without an end ends
# PyTorch records what these are made of.
APART = frozenset(
    ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "lstm_cell", "gru_cell", "rnn_tanh_cell",
     "rnn_relu_cell")
)  # fmt: skip
# `_convolution` has four switches more than `convolution`, for cuDNN: as they are from the start.
SWITCHES = (False, False, True, True)


class State(threading.local):
    current: Any = None  # the tracer whose function is running


STATE = State()


class TracedInt(int):
    """A size, and where it comes from: as in PyTorch a tensor of one element."""

    value: Value
    block: Block  # where it was read

    def __reduce__(self) -> Any:
        return int, (int(self),)


def _arithmetic(name: str, op: str, reverse: bool = False) -> Any:
    plain = getattr(int, name)

    def compute(self: TracedInt, other: Any) -> Any:
        result = plain(self, other)
        tracer = STATE.current
        if tracer is None or result is NotImplemented or type(other) not in (int, TracedInt):
            return result
        a, b = (tracer.argument(ty.TENSOR, x) for x in (self, other))
        return tracer.number(result, tracer.em.op("aten::" + op, *((b, a) if reverse else (a, b))))

    return compute


for _name, _op in (("add", "add"), ("sub", "sub"), ("mul", "mul"), ("floordiv", "floor_divide"), ("mod", "remainder")):
    setattr(TracedInt, f"__{_name}__", _arithmetic(f"__{_name}__", _op))
    setattr(TracedInt, f"__r{_name}__", _arithmetic(f"__r{_name}__", _op, _name not in ("add", "mul")))


class _Names:
    """A resolver for programs that mention no names."""

    archive = False


class Tracer:
    """Builds the graph of one call."""

    def __init__(self, module_type: ty.Class | None, module: Any) -> None:
        self.em = Emitter(_Names())
        self.known: dict[int, tuple[Any, Value]] = {}  # by the tensor's id: the tensor, kept alive, and its value
        self.module, self.type = module, module_type
        self.paths: dict[int, tuple[str, ...]] = {}  # of the module's parts and tensors, by id
        self.gotten: dict[tuple[str, ...], Value] = {}
        self.files: dict[str, bool] = {}
        self.scope = ""
        self.floating = False  # whether a tensor among the arguments at hand is
        if module_type is not None:
            self.em.block.param(module_type, "self")
            for path, m in module.named_modules():
                parts = tuple(path.split(".")) if path else ()
                self.paths.setdefault(id(m), parts)
                for name, t in (*m._parameters.items(), *m._buffers.items()):
                    if t is not None:
                        self.paths.setdefault(id(t), (*parts, name))

    # ---- values ----

    def put(self, t: Any, v: Value) -> None:
        v.seen = ty.CompleteTensor(t)
        self.known[id(t)] = (t, v)

    def number(self, n: int, v: Value) -> TracedInt:
        made = TracedInt(n)
        made.value, made.block = v, self.em.block
        return made

    def member(self, path: tuple[str, ...]) -> Value:
        """A parameter, buffer or part of the traced module."""
        if path not in self.gotten:
            t: Any = self.type
            for name in path:
                t = t.attributes[name]
            self.gotten[path] = Node(MEMBER, path=path).output(t)
        return self.gotten[path]

    def value(self, x: Any) -> Value:
        """The value of an argument."""
        if isinstance(x, Tensor):
            v = self.met(x)
            if v is not None:
                if not v.name:
                    v.name = self.spoken(x)
                return v
            if x.requires_grad and not x.is_leaf:
                raise RuntimeError(
                    "Cannot insert a Tensor that requires grad as a constant. Consider making it a parameter or input, or detaching the gradient"
                )
            v = self.em.constant(x.detach(), ty.TENSOR)
            self.put(x, v)
            return v
        if isinstance(x, TracedInt):
            return self.counted(x)
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

    def counted(self, x: TracedInt) -> Value:
        """A size as a number, read where it became known: so PyTorch's tracer does it."""
        at, block = self.sized(x).node, self.em.block
        self.em.block = x.block
        v = self.em.op("aten::Int", x.value)
        self.em.block = block
        nodes = x.block.nodes
        nodes.insert(nodes.index(at) + 1, nodes.pop())  # type: ignore[arg-type]
        return v

    def sized(self, x: TracedInt) -> Value:
        if not x.value.name:
            x.value.name = self.spoken(x)
        return x.value

    def met(self, x: Any) -> Value | None:
        """The value of a tensor that was given or made, or is the module's own."""
        if id(x) in self.known:
            return self.known[id(x)][1]
        path = self.paths.get(id(x))
        return None if path is None else self.member(path)

    def argument(self, t: ty.Type, x: Any, length: int | None = None) -> Value:
        """The value of an argument where a schema says its type."""
        if x is None:
            return self.em.constant(None)
        inner = t.element if isinstance(t, ty.Optional) else t
        if isinstance(inner, ty.List):
            many = x if isinstance(x, (list, tuple)) else [x] * (length or 1)
            made = self.em.list_of([self.argument(inner.element, y) for y in many], inner.element)
            made.node.attrs["_given"] = True  # shown where it is the default, too
            return made
        if inner is ty.TENSOR:
            if isinstance(x, TracedInt):
                return self.sized(x)
            if isinstance(x, Tensor):
                return self.value(x)
            return self.em.constant(flambeau.tensor(x, dtype=_WIDE.get(type(x)) if self.floating else None), ty.TENSOR)
        if isinstance(x, (Tensor, TracedInt)):
            if isinstance(x, TracedInt) and inner is ty.INT:
                return self.counted(x)
            held = self.sized(x) if isinstance(x, TracedInt) else self.value(x)
            kind = {"int": "Int", "float": "Float", "bool": "Bool", "complex": "Complex"}.get(str(inner))
            return self.em.op("aten::" + kind if kind else "aten::ScalarImplicit", held)
        x = operators.code_of(x)
        if inner is ty.FLOAT:
            x = float(x)
        elif inner is ty.INT:
            x = int(x)
        elif inner is ty.DEVICE:
            x = flambeau.device(x)
        return self.em.constant(x, inner)

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

    # ---- where things are written ----

    def frame(self) -> Any:
        """The innermost frame of the program, or of a module of the library."""
        f: Any = sys._getframe(1)
        while f is not None:
            file = f.f_code.co_filename
            seen = self.files.get(file)
            if seen is None:
                seen = self.files[file] = not file.startswith((_OURS, "<flambeau")) or file.startswith(_MODULES)
            if seen:
                return f
            f = f.f_back
        return None

    def spoken(self, x: Any) -> str:
        """What the program calls a tensor where it uses it."""
        f = self.frame()
        name = next((k for k, v in f.f_locals.items() if v is x), "") if f is not None else ""
        return "" if name == "self" else name

    def place(self) -> Place | None:
        f = self.frame()
        return None if f is None else Place(f.f_code.co_filename, f.f_lineno, 0, f.f_lineno, 0, None)

    # ---- calls ----

    def called(self, op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
        """Asked by the general lane before it runs an operator."""
        if STATE.current is not self or any(_asks(v) for v in values):
            return NotImplemented
        if op.aten in APART:
            given = {p.name: v for p, v in zip(op.params, values, strict=True)}
            if isinstance(given.get("padding"), str):
                return self.padded(given, lambda: call.general(op, values, out, into))
            return NotImplemented
        if op.aten == "_to_copy":
            return self.cast(
                values[0],
                **{
                    p.name: v
                    for p, v in zip(op.params[1:], values[1:], strict=True)
                    if p.name in ("dtype", "device") and v is not None
                },
            )
        return self.noted(op, values, out, into, lambda: call.general(op, values, out, into))

    def created(self, op: Op, values: tuple[Any, ...], out: Any, extra: dict[str, Any]) -> Any:
        """Asked before a tensor is made from sizes."""
        if STATE.current is not self:
            return NotImplemented
        rest = tuple(extra[n] for n in ("layout", "device", "pin_memory", "requires_grad"))
        return self.noted(op, values, out, False, lambda: create.create(op, values, out, *rest), extra)

    def noted(self, op: Op, values: tuple[Any, ...], out: Any, into: bool, run: Callable[[], Any], extra: Any = None) -> Any:  # fmt: skip
        overload = op.overload if op.custom is not None else overloads.chosen(op, values)
        schema = self.schema(op, overload, into)
        if schema is None:
            if op.seen_as is not None and not into and out is None:
                return call.call_body(op, op.seen_as, (), values)
            if op.kind == "composite":
                return NotImplemented  # its parts are recorded
            raise NotImplementedError(f"tracing of {op.name} is not implemented")
        given = {a.name: values[at] for a, at in overloads.arguments_of(op, overload)}
        if extra is not None:
            given |= {"layout": extra["layout"], "pin_memory": bool(extra["pin_memory"]), "device": extra["device"]}
        with self.resting():
            first = len(self.em.block.nodes)
            self.floating = any(isinstance(v, Tensor) and v.dtype.kind in "fc" for v in values)
            inputs = [self.one(a, given) for a in schema.arguments]
            result = run()
            if extra is not None:
                self.described(schema, inputs, result)
            self.gave(self.em.block.add(Node(schema.name, inputs, schema)), result)
            place = self.place()
            for node in self.em.block.nodes[first:]:
                node.place, node.scope = place, self.scope
        return result

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Inside, nothing is recorded."""
        STATE.current = None
        try:
            yield
        finally:
            STATE.current = self

    def padded(self, given: dict[str, Any], run: Callable[[], Any]) -> Any:
        """A convolution that pads by name."""
        (schema,) = schemas("aten::_convolution_mode")
        with self.resting():
            n = given["weight"].ndim - 2
            given = {k: [v] * n if k in ("stride", "dilation") and isinstance(v, int) else v for k, v in given.items()}
            inputs = [self.one(a, given) for a in schema.arguments]
            result = run()
            node = self.em.block.add(Node(schema.name, inputs, schema, self.place()))
            node.scope = self.scope
            self.gave(node, result)
        return result

    def schema(self, op: Op, overload: str, into: bool) -> Schema | None:
        """The signature of the overload that was called."""
        if op.custom is not None:
            full, name = f"{op.custom.namespace}::{op.custom.name}", op.custom.overload
        else:
            base, _, name = overload.partition(".")
            base = "_convolution" if base == "convolution" else base + "_" * (into and not base.endswith("_"))
            full = f"aten::{base}"
        return next((s for s in schemas(full) if s.overload_name == (name or "")), None)

    def one(self, a: Any, given: dict[str, Any]) -> Value:
        if a.name in given and (given[a.name] is not None or a.default is REQUIRED or isinstance(a.type, ty.Optional)):
            return self.argument(a.type, given[a.name], a.length)
        if a.name in _CUDNN:
            return self.em.constant(SWITCHES[_CUDNN.index(a.name)])
        return self.em.constant(None if a.default is REQUIRED else a.default, a.type)

    def described(self, schema: Schema, inputs: list[Value], made: Any) -> None:
        """What was made, where nothing was said: its dtype and device."""
        has_tensor = schema.arguments[0].type is ty.TENSOR
        for i, a in enumerate(schema.arguments):
            like = schema.name.endswith("_like")
            if (
                a.name in ("dtype", "layout", "device")
                and (like or (a.name == "device" and not has_tensor))
                and inputs[i].type is ty.NONE
            ):
                inputs[i] = self.argument(a.type, getattr(made, a.name))

    def gave(self, node: Node, result: Any) -> None:
        """The results of a node are its outputs."""
        returns = node.schema.returns  # type: ignore[union-attr]
        many = result if len(returns) > 1 else (result,)
        for r, formal in zip(many, returns):
            v = node.output(formal.type)
            if r is not None:
                self.bind(r, v)

    def member_called(self, fn: Any, args: Any, kwargs: Any) -> Any:
        """Asked where a method that is no operator is called: indices are operators here, and so are casts."""
        name = getattr(fn, "__name__", "").strip("_")
        if STATE.current is not self or name not in ("getitem", "setitem", "to"):
            return NotImplemented
        if name == "to":
            return self.cast(*args, **kwargs)
        x, index, *rest = args
        items = [_sliced(i) for i in (index if isinstance(index, tuple) else [index])]
        if rest and isinstance(rest[0], (bool, int, float, complex)):
            view, tensors = by_operators(x, items)
            if tensors is None:
                view.fill_(flambeau.tensor(rest[0], dtype=x.dtype))
                return None
        return through_operators(name, x, tuple(items), *rest)

    def cast(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        from flambeau._eager.construct import parse_to

        with self.resting():
            return self._cast(x, *parse_to(*args, **kwargs))

    def _cast(self, x: Any, dtype: Any, device: Any, late: bool, copy: bool, form: Any) -> Any:
        from flambeau._eager.construct import converted

        result = converted(x, dtype, device, copy, form)
        em = self.em
        rest = [em.constant(bool(late)), em.constant(bool(copy)), self.argument(ty.INT, form)]
        wanted = [self.argument(ty.INT, x.dtype if dtype is None else dtype)]
        if device is not None:
            wanted.insert(0, self.argument(ty.DEVICE, device))
        schema = next(
            s for s in schemas("aten::to") if s.overload_name == ("device" if device is not None else "dtype")
        )
        node = em.block.add(Node("aten::to", [self.value(x), *wanted, *rest], schema, self.place()))
        node.scope = self.scope
        self.gave(node, result)
        return result

    def module_called(self, module: Any, run: Callable[[], Any]) -> Any:
        """A module is called: what its parts do stands in blocks of their own."""
        path = self.paths.get(id(module))
        if not path or isinstance(module, flambeau.jit.ScriptModule):
            return run()
        me = self.member(path)
        outer, scope = self.em.block, self.scope
        inner = outer.add(Node(CALL, [me], path=path)).block()
        inner.param(me.type, "self")
        self.em.block, self.scope = inner, ".".join(("__module", *path))
        try:
            return run()
        finally:
            self.em.block, self.scope = outer, scope

    def call_script(self, fn: Any, args: Any, kwargs: Any, owner: Any = None) -> Any:
        """A compiled function called while tracing: the call is kept as it is."""
        from flambeau.jit._language.call import arguments
        from flambeau.jit._language.values import Function, Method

        with self.resting():
            vs = [self.value(a) for a in args]
            ks = {k: self.value(v) for k, v in kwargs.items()}
            inputs = arguments(fn.schema, fn.short, args, kwargs, owner is not None)
            result = fn.call(*([owner, *inputs] if owner is not None else inputs))
            if owner is None:
                v = Function(fn).call(self.em, vs, ks, None)
            else:
                v = Method(self.member(self.paths[id(owner)]), fn.short).call(self.em, vs, ks, None)
            self.bind(result, v)
        return result

    # ---- sizes ----

    def size(self, x: Any, sizes: Any, dim: Any = None) -> Any:
        v = self.value(x)

        def at(i: int, n: int) -> TracedInt:
            return self.number(n, self.em.op("prim::NumToTensor", self.em.op("aten::size", v, self.em.constant(i))))

        return flambeau.Size([at(i, n) for i, n in enumerate(sizes)]) if dim is None else at(int(dim), sizes)

    def __enter__(self) -> Tracer:
        overrides.EXTRA.append(self.called)
        overrides.EXTRA_METHODS.append(self.member_called)
        create.HOOKS.append(self.created)
        modes.enter("trace")
        STATE.current = self
        return self

    def __exit__(self, *error: object) -> None:
        STATE.current = None
        modes.leave("trace")
        overrides.EXTRA.remove(self.called)
        overrides.EXTRA_METHODS.remove(self.member_called)
        create.HOOKS.remove(self.created)


_OURS = os.path.dirname(flambeau.__file__) + os.sep
_MODULES = os.path.join(_OURS, "nn", "")
_CUDNN = ("benchmark", "deterministic", "cudnn_enabled", "allow_tf32")
_WIDE = {float: flambeau.float64, complex: flambeau.complex128}  # the dtypes of numbers that become tensors


def _asks(v: Any) -> bool:
    """Whether v is no tensor, and its class says what functions do with it: what that calls is traced."""
    if isinstance(v, (list, tuple)) and not hasattr(type(v), "__torch_function__"):
        return any(_asks(x) for x in v)
    return not isinstance(v, Tensor) and hasattr(type(v), "__torch_function__")


def _sliced(i: Any) -> Any:
    """A slice with both its ends: PyTorch records those that leave nothing out, too."""
    if isinstance(i, slice) and (i.step is None or i.step > 0):
        return slice(0 if i.start is None else i.start, LAST if i.stop is None else i.stop, i.step)
    return i


_WARN = {
    "__bool__": "a tensor to a Python boolean", "__int__": "a tensor to a Python integer", "__float__": "a tensor to a Python float",
    "__index__": "a tensor to a Python index", "item": "a tensor to a Python number", "tolist": "a tensor to a Python list",
    "numpy": "a tensor to a NumPy array", "__len__": "a tensor to a Python integer",
}  # fmt: skip


def _unwatched(own: Any) -> Any:
    """A function of Tensor's that the running tracer does not look into, with what the tracer makes of it."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        now, STATE.current = STATE.current, None
        try:
            return own(now, self, *args, **kwargs)
        finally:
            STATE.current = now

    return call


@contextlib.contextmanager
def watching(tracer: Tracer) -> Iterator[None]:
    """While the tracer's function runs: sizes remember where they come from, values that leave the trace are warned of, calls of modules
    are seen."""
    from flambeau.jit._trace import TracerWarning

    Module = flambeau.nn.Module
    saved = {n: getattr(Tensor, n) for n in ("size", "detach", *_WARN)}
    shape, call_module = vars(Tensor)["shape"], Module.__call__

    def traced_shape(now: Any, self: Any) -> Any:
        plain = shape.fget(self)
        return plain if now is None else now.size(self, plain)

    def traced_size(now: Any, self: Any, dim: Any = None) -> Any:
        plain = saved["size"](self) if dim is None else saved["size"](self, dim)
        return plain if now is None else now.size(self, plain, dim)

    def traced_detach(now: Any, self: Any) -> Any:
        plain = saved["detach"](self)
        if now is not None:
            now.bind(plain, now.em.op("aten::detach", now.value(self)))
        return plain

    def warned(name: str, what: str) -> Any:
        def call(now: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
            if now is not None:
                warnings.warn(
                    f"Converting {what} might cause the trace to be incorrect. We can't record the data flow of Python values, so this value will "
                    "be treated as a constant in the future. This means that the trace might not generalize to other inputs!",
                    category=TracerWarning,
                    stacklevel=3,
                )
            return saved[name](self, *args, **kwargs)

        return _unwatched(call)

    def module_called(self: Any, *args: Any, **kwargs: Any) -> Any:
        now = STATE.current
        run = lambda: call_module(self, *args, **kwargs)
        return run() if now is None else now.module_called(self, run)

    Tensor.shape, Tensor.size = property(_unwatched(traced_shape)), _unwatched(traced_size)  # type: ignore[assignment, method-assign, misc]
    Tensor.detach, Module.__call__ = _unwatched(traced_detach), module_called  # type: ignore[method-assign]
    for name, what in _WARN.items():
        setattr(Tensor, name, warned(name, what))
    try:
        with tracer:
            yield
    finally:
        for name, own in saved.items():
            setattr(Tensor, name, own)
        Tensor.shape, Module.__call__ = shape, call_module  # type: ignore[method-assign, misc]

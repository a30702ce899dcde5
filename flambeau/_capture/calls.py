"""What a call in a capture means: Python functions are followed, operators run and are noted, known builtins are called or read anew.

Any other function of C, and whatever is called that reads tensors' elements or the world outside, is a break.
"""

from __future__ import annotations

import functools
import types
import weakref
from typing import Any

from flambeau._capture import builtin_calls, builtin_classes, builtin_methods, frame
from flambeau._capture.applied import Call
from flambeau._capture.breaks import Break
from flambeau._capture.numbers import Tracked
from flambeau._capture.recorder import lifted
from flambeau._capture.tracer import MISSING, Tracer, is_constant, lookup
from flambeau._eager.graph import serial
from flambeau._eager.modes import STATE
from flambeau._library.definition import CustomNode
from flambeau._operators.op import Op
from flambeau._ops import OpOverload, OpOverloadPacket
from flambeau._tensor import Tensor
from flambeau.library import CustomOpDef

# Modules whose functions are called, not followed: they make or describe values, and what they call is noted.
_LEAVES = ("flambeau._eager.", "flambeau._values.", "flambeau._operators.", "flambeau._ground.", "flambeau._backends.", "flambeau._ops",
           "flambeau._kernel.", "flambeau._tensor")  # fmt: skip
_FOLLOWED = (
    "flambeau._ground.tree",
    "flambeau._ground.tree_nodes",
)  # code over containers, which calls what it is given
# Members of tensors that are safe to call as they are: they tell facts, or make operators' calls.
_MEMBERS = frozenset((
    "dim", "numel", "element_size", "size", "stride", "is_contiguous", "is_floating_point", "is_complex", "is_signed", "get_device",
    "is_same_size", "detach", "is_conj", "resolve_conj", "has_names", "to", "getitem", "setitem", "__len__", "__iter__", "__hash__",
    "is_inference", "spread", "reordered", "overloaded", "binary", "first", "made", "<lambda>", "storage_offset", "_is_view",
    "dim_order", "is_set_to", "type", "type_as", "__reversed__", "cpu",
))  # fmt: skip
_FUNCTIONS = frozenset((
    "get_default_dtype", "promote_types", "can_cast", "result_type", "is_overriding", "has_torch_function", "has_torch_function_unary",
    "has_torch_function_variadic", "is_tensor_like", "broadcast", "contiguous_strides", "wrap_dim", "node_of", "_foreach_add_", "_foreach_mul_",
))  # fmt: skip
DEPTH = 120


def call(tr: Tracer, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tail: bool = False) -> Any:
    """`fn(*args, **kwargs)`. `tail`: the instruction of the current frame does nothing more than push the result."""
    kind = type(fn)
    if kind is types.MethodType:
        return call(tr, tr.load_attr(fn, "__func__"), (tr.load_attr(fn, "__self__"), *args), kwargs, tail)
    if kind is types.FunctionType:
        return _function(tr, fn, args, kwargs, tail)
    if isinstance(fn, type):
        return builtin_classes.construct(tr, fn, args, kwargs)
    if issubclass(kind, (OpOverload, OpOverloadPacket)) or kind is CustomOpDef:
        return _leaf(tr, fn, args, kwargs)
    handler = builtin_calls.find(fn)
    if handler is not None:
        return handler(tr, *args, **kwargs)
    if kind in (types.BuiltinFunctionType, types.MethodWrapperType):
        return builtin_methods.bound(tr, fn, args, kwargs)
    if kind in (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType):
        if not args:
            raise TypeError(f"unbound method {fn.__name__}() needs an argument")
        return builtin_methods.bound(tr, fn.__get__(args[0], type(args[0])), args[1:], kwargs, fn)
    if kind is functools.partial:
        held = tr.load_attr(fn, "args"), tr.load_attr(fn, "keywords")
        tr.deep(held[0], 0)
        tr.deep(held[1], 0)
        return call(tr, tr.load_attr(fn, "func"), (*held[0], *args), {**held[1], **kwargs}, tail)
    if kind is weakref.ReferenceType:
        return _referent(tr, fn)
    if kind is functools._lru_cache_wrapper:
        return _remembered(tr, fn, args, kwargs, tail)
    method = lookup(kind, "__call__")
    if isinstance(method, types.FunctionType):
        return call(tr, tr.load_attr(fn, "__call__"), args, kwargs, tail)
    if method is MISSING:
        raise TypeError(f"'{kind.__name__}' object is not callable")
    raise Break(f"a {kind.__module__}.{kind.__name__} is called")


def _referent(tr: Tracer, reference: Any) -> Any:
    """What a weak reference leads to: it may have gone meanwhile, but is never another."""
    source = tr.source_of(reference)
    if source is None:
        return reference()
    found = reference()
    if found is not None and tr.source_of(found) is None:  # nothing else holds it: nor may what a capture keeps
        return tr.reach(found, tr.sources.call(source, (), {}))
    return tr.reach(found, tr.sources.expression("{}()", source))


def _remembered(tr: Tracer, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tail: bool) -> Any:
    """A function that remembers what it gave: it is called, here and at each later call, and what it gives is from outside.

    It is followed where its arguments were made here, where their hash would have to be, and where they are tensors.
    """
    source = tr.source_of(fn)
    if source is None:
        return call(tr, fn.__wrapped__, args, kwargs, tail)
    given: list[Any] = []
    for x in (*args, *kwargs.values()):
        known = x if is_constant(x) else x.source if isinstance(x, Tracked) else tr.source_of(x)
        hashed = (
            is_constant(x) or isinstance(x, Tracked) or not isinstance(lookup(type(x), "__hash__"), types.FunctionType)
        )
        if isinstance(x, Tensor) or (known is None and x is not None) or not hashed:
            return call(tr, tr.load_attr(fn, "__wrapped__"), args, kwargs, tail)
        given.append(known)
    plain = [x.raw if isinstance(x, Tracked) else x for x in (*args, *kwargs.values())]
    tr.recorder.stop()
    try:
        made = fn(*plain[: len(args)], **dict(zip(kwargs, plain[len(args) :])))
    finally:
        tr.recorder.start()
    return tr.reach(made, tr.sources.call(source, given[: len(args)], dict(zip(kwargs, given[len(args) :]))))


def _function(tr: Tracer, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tail: bool) -> Any:
    handler = builtin_calls.find(fn)
    if handler is not None:
        return handler(tr, *args, **kwargs)
    if getattr(fn, "_torchdynamo_disable", False):
        raise Break(f"'{fn.__qualname__}' is disabled for the compiler")
    inner = fn.__dict__.get("_torchdynamo_orig_callable")
    if inner is not None:  # a compiled function: what it was made from
        return call(tr, inner, args, kwargs, tail)
    if getattr(fn, "__op__", None) is not None and "__wrapped__" not in fn.__dict__:  # not what merely goes by its name
        return _leaf(tr, fn, args, kwargs)
    space = fn.__globals__.get("__name__", "")
    if (space.startswith(_LEAVES) and space not in _FOLLOWED) or space == "flambeau.overrides":
        if (
            fn.__name__ in _MEMBERS
            or fn.__name__ in _FUNCTIONS
            or space == "flambeau._values.shape"
            or fn is Op.__call__
        ):
            return _leaf(tr, fn, args, kwargs)
        if fn.__name__ in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__"):
            raise Break(
                f"{fn.__name__}() reads a tensor",
                "what follows depends on the data: keep it in a tensor, as torch.where does",
            )
        raise Break(f"'{fn.__qualname__}' of {space} is called", "")
    if space == "flambeau.func._batched":  # what a batch tells, and its members that are no operators
        return fn(*args, **kwargs)
    code = fn.__code__
    if code.co_flags & (0x80 | 0x200):
        raise Break(f"the coroutine '{fn.__qualname__}'")
    if tr.depth > DEPTH:
        raise Break("calls are nested too deeply")
    names = bind(tr, fn, args, kwargs)
    source = tr.source_of(fn)
    if source is not None and not space.startswith("flambeau"):
        tr.guards.identity(tr.sources.attr(source, "__code__"), code)
    tr.codes[id(code)] = code
    f = frame.Frame(code, fn.__globals__, names, closure(tr, fn))
    f.caller, f.tail = tr.frame, tail and not code.co_flags & 0x20  # a generator is run by whoever advances it
    return frame.run(tr, f)


def closure(tr: Tracer, fn: Any) -> tuple[Any, ...]:
    """The cells of a function, known where the function is."""
    cells = fn.__closure__ or ()
    source = tr.source_of(fn)
    if source is not None and cells:
        base = tr.sources.attr(source, "__closure__")
        for i, cell in enumerate(cells):
            tr.register(cell, tr.sources.item(base, i))
    return cells


def bind(tr: Tracer, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The local variables that a call starts with."""
    code = fn.__code__
    n, only = code.co_argcount, code.co_posonlyargcount
    order = code.co_varnames
    names: dict[str, Any] = dict(zip(order[:n], args, strict=False))
    at = n + code.co_kwonlyargcount
    if len(args) > n:
        if not code.co_flags & 0x04:
            raise TypeError(
                f"{fn.__qualname__}() takes {n} positional argument{'s' * (n != 1)} but {len(args)} were given"
            )
        names[order[at]] = tuple(args[n:])
    elif code.co_flags & 0x04:
        names[order[at]] = ()
    if code.co_flags & 0x04:
        at += 1
    rest: dict[str, Any] = {}
    allowed = set(order[only : n + code.co_kwonlyargcount])
    for k, v in kwargs.items():
        if k in allowed:
            if k in names:
                raise TypeError(f"{fn.__qualname__}() got multiple values for argument '{k}'")
            names[k] = v
        elif code.co_flags & 0x08:
            rest[k] = v
        else:
            raise TypeError(f"{fn.__qualname__}() got an unexpected keyword argument '{k}'")
    if code.co_flags & 0x08:
        names[order[at]] = rest
    _defaults(tr, fn, names)
    missing = [k for k in order[: n + code.co_kwonlyargcount] if k not in names]
    if missing:
        what = "positional" if missing[0] in order[:n] else "keyword-only"
        raise TypeError(f"{fn.__qualname__}() missing {len(missing)} required {what} argument{'s' * (len(missing) > 1)}: "
                        + ", ".join(map(repr, missing)))  # fmt: skip
    return names


def _defaults(tr: Tracer, fn: Any, names: dict[str, Any]) -> None:
    code, source = fn.__code__, tr.source_of(fn)
    given = fn.__defaults__ or ()
    first = code.co_argcount - len(given)
    ours = fn.__globals__.get("__name__", "").startswith("flambeau.")
    for i, v in enumerate(given):
        k = code.co_varnames[first + i]
        if k not in names:
            quiet = ours and is_constant(v)
            names[k] = (
                v
                if source is None or quiet
                else tr.reach(v, tr.sources.item(tr.sources.attr(source, "__defaults__"), i))
            )
    for k, v in (fn.__kwdefaults__ or {}).items():
        if k not in names:
            quiet = ours and is_constant(v)
            names[k] = (
                v
                if source is None or quiet
                else tr.reach(v, tr.sources.item(tr.sources.attr(source, "__kwdefaults__"), k))
            )


def _leaf(tr: Tracer, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operator: runs, and is noted by the recorder."""
    for x in (*args, *kwargs.values()):
        tr.deep(x)
        if isinstance(x, types.FunctionType):
            raise Break(f"'{fn.__name__}' is given a function")
    return fn(*args, **kwargs)


def custom_backward(tr: Tracer, node: Any, slots: list[Any], create: bool) -> list[Any]:
    """The gradients that the `backward` of a custom function, or operator, gives: it is followed."""
    from flambeau.autograd.function import Function

    cls = node._function
    operator = isinstance(node, CustomNode)
    if operator and node.definition.returns.endswith("[]"):
        slots = [slots]
    written = cls.vjp if cls.backward is Function.backward else cls.backward
    tr.register(written, tr.constant(written))
    before, STATE.grad = STATE.grad, create
    try:
        result = call(tr, written, (node, *slots), {})
    finally:
        STATE.grad = before
    if operator:
        return node.spread(result)
    result = result if isinstance(result, tuple) else (result,)
    n = len(node.needs_input_grad)
    if len(result) > n and all(r is None for r in result[n:]):
        result = result[:n]
    if len(result) != n:
        raise RuntimeError(
            f"function {node.name()} returned an incorrect number of gradients (expected {n}, got {len(result)})"
        )
    out: list[Tensor | None] = []
    for r, shape in zip(result, node._shapes, strict=True):
        if shape is None:
            continue
        out.append(node._checked(r, shape, len(out)) if isinstance(r, Tensor) else None)
    return out


def custom_apply(tr: Tracer, cls: Any, *args: Any, **kwargs: Any) -> Any:
    """`Function.apply`: forward is followed; the node keeps what backward needs."""
    from flambeau.autograd import function as custom

    separate = cls.setup_context is not custom._SingleLevelFunction.setup_context
    if kwargs:
        args = custom._bound(cls, args, kwargs, separate)
    tr.deep(args)
    if tr.recorder.packing:
        raise Break("a custom autograd function within hooks of saved tensors")
    if lifted(args):
        raise Break("a custom autograd function meets a batch, or a tangent")
    node, tensors, recording = custom.begun(cls, args)
    noted = Call(tr, node, args) if recording else None
    before, STATE.grad = STATE.grad, False
    try:
        forward = tr.load_attr(cls, "forward")
        result = call(tr, forward, args if separate else (node, *args), {})
        if separate:
            call(tr, tr.load_attr(cls, "setup_context"), (node, args, result), {})
    finally:
        STATE.grad = before
    node.seq = next(serial)
    made = custom._wrap_outputs(node, result, tensors, recording)
    if noted is not None and noted.close(made):
        tr.recorder.applied.append(noted)
    elif recording:
        tr.recorder.custom = "a custom autograd function"
    return made


Tracer.call, Tracer.custom_backward = call, custom_backward

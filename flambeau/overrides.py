"""`__torch_function__`: how subclasses, and objects that merely look like tensors, take over what the library's functions do."""

from __future__ import annotations

import contextlib
import inspect
from types import CodeType
from typing import Any

from flambeau._eager import create, modes
from flambeau._eager.call import HOOKS
from flambeau._eager.modes import STATE, disabled as _disabled_torch_function_impl
from flambeau._operators.op import METHODS, NAMES, Op
from flambeau._tensor import Tensor, _attach


def is_overriding(x: Any) -> bool:
    """Whether x's type brings a `__torch_function__` other than Tensor's own."""
    f = getattr(type(x), "__torch_function__", None)
    if f is None:
        return False
    return f is not _disabled_torch_function_impl and getattr(f, "__func__", f) not in (
        Tensor.__torch_function__.__func__,
        _disabled_torch_function_impl,
    )


def has_torch_function(relevant_args: Any) -> bool:
    """Whether some argument (or an active mode) takes over."""
    if STATE.skip_function:
        STATE.skip_function = False
        return False
    return bool(STATE.function_modes) or (
        not STATE.no_function
        and any(
            hasattr(type(a), "__torch_function__")
            and type(a) is not Tensor
            and getattr(type(a), "__torch_function__", None) is not _disabled_torch_function_impl
            and (not isinstance(a, Tensor) or is_overriding(a))
            for a in relevant_args
        )
    )


def has_torch_function_unary(x: Any) -> bool:
    """`has_torch_function` of one argument."""
    return has_torch_function((x,))


def has_torch_function_variadic(*xs: Any) -> bool:
    """`has_torch_function` of the arguments given."""
    return has_torch_function(xs)


def _overloaded(args: Any) -> list[Any]:
    """The arguments that take part, subclasses before their bases, one of each type."""
    found: list[Any] = []
    for a in args:
        if a is None or type(a) is Tensor or not hasattr(type(a), "__torch_function__"):
            continue
        if type(a).__torch_function__ is _disabled_torch_function_impl or any(type(a) is type(o) for o in found):
            continue
        at = next((i for i, o in enumerate(found) if issubclass(type(a), type(o))), len(found))
        found.insert(at, a)
    return found


def handle_torch_function(public_api: Any, relevant_args: Any, *args: Any, **kwargs: Any) -> Any:
    """Ask the active mode, then each overriding argument, to do `public_api(*args, **kwargs)`."""
    found = _overloaded(relevant_args)
    types = tuple(type(a) for a in found)
    members, STATE.members = STATE.members, True
    try:
        return _handled(public_api, found, types, args, kwargs)
    finally:
        STATE.members = members


def asked_mode(member: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """Ask the active mode, then a class that overrides it, for a member of a tensor that is no operator."""
    found = _overloaded((self,))
    return _handled(member, found, tuple(type(a) for a in found) or (Tensor,), (self, *args), kwargs)


def _handled(public_api: Any, found: list[Any], types: tuple[type, ...], args: Any, kwargs: Any) -> Any:
    if STATE.function_modes:
        mode = STATE.function_modes[-1]
        stack, STATE.function_modes = STATE.function_modes, STATE.function_modes[:-1]
        try:
            result = mode.__torch_function__(public_api, types, args, kwargs)
        finally:
            STATE.function_modes = stack
        if result is not NotImplemented:
            return result
    for a in found:
        result = a.__torch_function__(public_api, types, args, kwargs)
        if result is not NotImplemented:
            return result
    name = f"{getattr(public_api, '__module__', '')}.{getattr(public_api, '__name__', '')}"
    raise TypeError(
        f"no implementation found for '{name}' on types that implement __torch_function__: {[type(a) for a in found]}"
    )


def _override_op(op: Op, values: Any, out: Any, into: bool) -> Any:
    """What the general lane asks before it runs an operator."""
    for hook in EXTRA:
        result = hook(op, values, out, into)
        if result is not NotImplemented:
            return result
    if STATE.skip_function:
        STATE.skip_function = False
        return _below(op, values, out, into)
    if STATE.no_function and not STATE.function_modes:
        return _below(op, values, out, into)
    relevant: list[Any] = []
    for p, v in zip(op.params, values, strict=True):
        if p.is_list and v is not None:
            relevant += v
        else:
            relevant.append(v)
    relevant.append(out)
    if not STATE.function_modes:
        for v in relevant:
            kind = type(v)
            if kind is Tensor or kind in _USUAL or not hasattr(kind, "__torch_function__"):
                continue
            if not isinstance(v, Tensor) or is_overriding(v) or _inherits(v):
                break
        else:
            return _below(op, values, out, into)
    from flambeau._eager.derive import inplace
    from flambeau._eager.names import public

    fn = (
        inplace(op)
        if into
        else public(op.name, op.namespace)
        if "function" in op.variants
        else getattr(Tensor, op.name, None)
    )
    if fn is None:  # no name of the library's: below what can be overridden
        return _below(op, values, out, into)
    if isinstance(fn, property):  # what is asked for without a call comes as what a call of it is
        fn = fn.__get__
    args, kwargs = _written(op, values, out)
    return handle_torch_function(fn, relevant, *args, **kwargs)


_USUAL = frozenset((type(None), bool, int, float, str, list, tuple))  # of arguments that override nothing


def _written(op: Op, values: Any, out: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call as one would write them: without those that are the default anyway."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for p, v in zip(op.params, values, strict=True):
        if not (p.keyword or kwargs):
            args.append(v)
        elif not _is_default(v, p.default):
            kwargs[p.name] = v
    while len(args) > 1 and _is_default(args[-1], op.params[len(args) - 1].default):
        args.pop()
    if out is not None:
        kwargs["out"] = out
    return args, kwargs


def _below(op: Op, values: Any, out: Any, into: bool) -> Any:
    for hook in BELOW:
        result = hook(op, values, out, into)
        if result is not NotImplemented:
            return result
    return NotImplemented


BELOW: list[Any] = []  # asked last: `__torch_dispatch__`, fn(op, values, out, into)
BELOW_METHODS: list[Any] = []  # the same for methods that are no operators, fn(method, args, kwargs)
EXTRA: list[Any] = []  # forward mode, vmap, autocast: asked first, fn(op, values, out, into)
EXTRA_METHODS: list[Any] = []  # the same for methods that are no operators, fn(method, args, kwargs)


def _is_default(v: Any, default: Any) -> bool:
    return v is default or (isinstance(v, (int, float, str)) and type(v) is type(default) and v == default)


def _inherits(v: Any) -> bool:
    """Whether v is of a user's subclass, whose type results should keep."""
    from flambeau._tensor import PLAIN

    return (
        isinstance(v, Tensor)
        and type(v) not in PLAIN
        and type(v).__torch_function__ is not _disabled_torch_function_impl
    )


def _override_method(fn: Any, args: Any, kwargs: Any) -> Any:
    for hook in EXTRA_METHODS:
        result = hook(fn, args, kwargs)
        if result is not NotImplemented:
            return result
    relevant = [a for a in args if hasattr(type(a), "__torch_function__")]
    if STATE.skip_function:
        STATE.skip_function = False
    elif STATE.function_modes or (not STATE.no_function and any(is_overriding(a) or _inherits(a) for a in relevant)):
        return handle_torch_function(fn, relevant, *args, **kwargs)
    for hook in BELOW_METHODS:
        result = hook(fn, args, kwargs)
        if result is not NotImplemented:
            return result
    return NotImplemented


def _override_create(op: Op, values: Any, out: Any, extra: Any) -> Any:
    """What creation operators ask: a mode, or the class of the tensor that the result is to be like."""
    if STATE.skip_function:
        STATE.skip_function = False
        return NotImplemented
    flat = (n for v in values for n in (v if type(v) in (tuple, list) else (v,)))
    like = next(
        (v for v in flat if hasattr(type(v), "__torch_function__") and (is_overriding(v) or _inherits(v))), None
    )
    seen = like is not None and not STATE.no_function
    if not STATE.function_modes and not seen:
        return NotImplemented
    from flambeau._eager.names import public

    fn = public(op.name, op.namespace) if "function" in op.variants else getattr(Tensor, op.name)
    args, kwargs = _written(op, values, out)
    given = {k: v for k, v in extra.items() if v is not None and v is not False}
    return handle_torch_function(fn, (like, out), *args, **{**given, **kwargs})


create.HOOKS.insert(0, _override_create)
HOOKS["override"], HOOKS["method"] = _override_op, _override_method


class DisableTorchFunctionSubclass:
    """Inside the block, subclasses do not take over (active modes still do)."""

    def __enter__(self) -> None:
        self.prev, STATE.no_function = STATE.no_function, True

    def __exit__(self, *exc: object) -> None:
        STATE.no_function = self.prev


class DisableTorchFunction(DisableTorchFunctionSubclass):
    """Inside the block, neither subclasses nor modes take over."""

    def __enter__(self) -> None:
        super().__enter__()
        self.stack, STATE.function_modes = STATE.function_modes, ()

    def __exit__(self, *exc: object) -> None:
        STATE.function_modes = self.stack
        super().__exit__()


class TorchFunctionMode:
    """Inside the block, every public function is offered to `__torch_function__` first."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError

    _sees_members = True  # attributes, too, and methods that are no operators

    def __enter__(self) -> TorchFunctionMode:
        if self._sees_members:
            from flambeau._overridden import watch

            watch()
        STATE.function_modes = (*STATE.function_modes, self)
        modes.enter("function")
        return self

    def __exit__(self, *exc: object) -> None:
        STATE.function_modes = STATE.function_modes[:-1]
        modes.leave("function")
        if self._sees_members:
            from flambeau._overridden import unwatch

            unwatch()


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that runs what it is offered: to derive modes from that change some functions."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _torch_function(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Tensor's own: run the function, and give its results the subclass's type."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with DisableTorchFunctionSubclass():
        result = func(*args, **(kwargs or {}))
    if func in get_default_nowrap_functions():
        return result
    return _convert(result, cls)


def _convert(result: Any, cls: Any) -> Any:
    if cls is Tensor:
        return result
    if isinstance(result, Tensor) and not isinstance(result, cls):
        return result.as_subclass(cls)
    if isinstance(result, (tuple, list)):
        parts = [_convert(r, cls) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def get_default_nowrap_functions() -> set[Any]:
    """Functions whose results stay plain tensors."""
    return set()


def is_tensor_like(inp: Any) -> bool:
    """Whether x is a tensor, or takes over as one would."""
    return isinstance(inp, Tensor) or hasattr(inp, "__torch_function__")


def is_tensor_method_or_property(func: Any) -> bool:
    """Whether a function is a method of Tensor, or what one of its attributes is asked for with."""
    name = getattr(func, "__name__", "")
    return name == "__get__" or getattr(Tensor, name, None) is func


def resolve_name(f: Any) -> str | None:
    """The public dotted name of a function."""
    owner = getattr(f, "__self__", None)
    if isinstance(owner, property):  # what an attribute is asked for with
        name = next((n for n, v in vars(Tensor).items() if v is owner), None)
        return f"torch.Tensor.{name}.{f.__name__}"
    if isinstance(f, property) or not hasattr(f, "__name__") or not hasattr(f, "__qualname__"):
        return None
    if f.__qualname__.startswith(("Tensor.", "_Members.")) or (
        vars(Tensor).get(f.__name__) is f and f.__name__ not in NAMES[""]
    ):
        return f"torch.Tensor.{f.__name__}"
    import flambeau

    if getattr(flambeau, f.__name__, None) is f:
        return f"torch.{f.__name__}"
    return f.__module__.replace("flambeau", "torch", 1) + "." + f.__name__


def wrap_torch_function(dispatcher: Any) -> Any:
    """Make a function of one's own overridable: `dispatcher` gives the arguments that may take over."""
    import functools

    def inner(func: Any) -> Any:
        @functools.wraps(func)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return func(*args, **kwargs)

        return wrapped

    return inner


_IGNORED = [
    "as_tensor",
    "asarray",
    "from_dlpack",
    "from_file",
    "from_numpy",
    "frombuffer",
    "get_default_device",
    "get_default_dtype",
    "get_device_module",
    "get_num_interop_threads",
    "get_num_threads",
    "get_rng_state",
    "import_ir_module",
    "initial_seed",
    "is_anomaly_enabled",
    "is_autocast_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "is_storage",
    "is_tensor",
    "load",
    "manual_seed",
    "parse_type",
    "promote_types",
    "result_type",
    "save",
    "seed",
    "set_anomaly_enabled",
    "set_autocast_enabled",
    "set_default_device",
    "set_default_dtype",
    "set_default_tensor_type",
    "set_flush_denormal",
    "set_grad_enabled",
    "set_num_interop_threads",
    "set_num_threads",
    "set_printoptions",
    "set_rng_state",
    "sparse_bsc_tensor",
    "sparse_bsr_tensor",
    "sparse_compressed_tensor",
    "sparse_coo_tensor",
    "sparse_csc_tensor",
    "sparse_csr_tensor",
    "tensor",
    "typename",
    "vmap",
    "can_cast",
    "cudnn_is_acceptable",
]


def get_ignored_functions() -> set[Any]:
    """Public functions that no argument can take over: what makes tensors of none, and what sets or asks for a state."""
    import flambeau
    from flambeau._operators import load

    load()
    made = {
        n for n, ops in NAMES[""].items() if all("factory" in o.variants and not o.params[0].is_tensor for o in ops)
    }
    names = (*_IGNORED, *made)
    of_tensor = ("as_subclass", "new", "__iter__", "__init__", "__delattr__", "__setattr__", "__getattribute__", "__torch_function__",
                 "__new__", "__class__", "__hash__", "__init_subclass__", "_make_subclass", "_make_wrapper_subclass")  # fmt: skip
    found = {f for n in names if (f := getattr(flambeau, n, None)) is not None}
    return found | {getattr(Tensor, n) for n in of_tensor if hasattr(Tensor, n) and n != "__class__"}


def redispatch_function(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """Call a function whose first question for overriding arguments is answered with no: inside `__torch_function__`, the function's own body.

    What the body calls in turn is offered to the arguments (and active modes) again.
    """
    before = STATE.skip_function, STATE.members
    STATE.skip_function, STATE.members = True, False
    try:
        return func(*args, **(kwargs or {}))
    finally:
        STATE.skip_function, STATE.members = before


@contextlib.contextmanager
def enable_reentrant_dispatch() -> Any:
    """Modes stay as they are inside the block: calls made from `__torch_dispatch__` see them without it."""
    yield


def get_testing_overrides() -> dict[Any, Any]:
    """For each function that can be overridden, one of the same signature that answers -1."""
    import inspect

    def dummy(fn: Any) -> Any:
        def answer(*args: Any, **kwargs: Any) -> int:
            if signature is not None:
                signature.bind(*args, **kwargs)
            return -1

        try:
            signature = answer.__signature__ = inspect.signature(fn)  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            signature = None
        return answer

    return {fn: dummy(fn) for functions in get_overridable_functions().values() for fn in functions if callable(fn)}


def get_overridable_functions() -> dict[Any, list[Any]]:
    """Namespace -> the functions in it that can be overridden."""
    import flambeau
    from flambeau._overridden import DUNDERS, asked_about

    def public(module: Any, names: Any) -> list[Any]:
        found = [getattr(module, n, None) for n in sorted(names)]
        return [f for f in dict.fromkeys(found) if callable(f) and not isinstance(f, type) and f not in ignored]

    ignored = get_ignored_functions()
    getters = [v.__get__ for n, v in sorted(vars(Tensor).items()) if isinstance(v, property) and not n.startswith("_")]
    functional, nn = flambeau.functional, flambeau.nn
    own = {
        n for n, ops in METHODS.items() if any(n.rstrip("_") == o.name for o in ops)
    }  # aliases are the same functions
    methods = public(
        Tensor, {n for n in {*own, *asked_about(), *DUNDERS} if not isinstance(getattr(Tensor, n, None), property)}
    )
    found = {flambeau: public(flambeau, NAMES[""]), functional: public(functional, functional.__all__),
             nn.functional: public(nn.functional, [n for n in dir(nn.functional) if not n.startswith("_") and n.islower()]),
             nn.init: [nn.init.uniform_, nn.init.normal_, nn.init.constant_, nn.init.kaiming_uniform_],
             Tensor: methods + getters}  # fmt: skip
    for name in ("linalg", "fft", "special"):
        module = getattr(flambeau, name)
        found[module] = public(module, [n for n in dir(module) if not n.startswith("_")])
    return found


HOOKS["function"] = handle_torch_function
Tensor.__torch_function__ = classmethod(_torch_function)  # type: ignore[attr-defined]


def _asked_of_super(member: Any) -> set[str]:
    """The names that a method uses, if it says `super()`; what stands in functions within it, too."""
    member = inspect.unwrap(getattr(member, "fget", None) or getattr(member, "__func__", None) or member)
    found: set[str] = set()
    codes = [getattr(member, "__code__", None)]
    while codes:
        code = codes.pop()
        if isinstance(code, CodeType):
            found.update(code.co_names)
            codes += code.co_consts
    return found if "super" in found else set()


def _subclassed(cls: Any) -> None:
    """Asked about every class that users make of Tensor."""
    # `super().clone()` sees only what is there: it does not ask the metaclass, which makes methods when they are first used.
    for base in cls.__mro__[: cls.__mro__.index(Tensor)]:
        for member in vars(base).values():
            for name in _asked_of_super(member):
                if not name.startswith("__"):
                    getattr(Tensor, name, None)
    if (
        getattr(cls, "__torch_dispatch__", None) is not getattr(Tensor, "__torch_dispatch__", None)
        and getattr(cls.__torch_function__, "__func__", None) is Tensor.__torch_function__.__func__
    ):
        cls.__torch_function__ = _disabled_torch_function_impl  # what its dispatch gives back is as it is
    if cls.__torch_function__ is not _disabled_torch_function_impl:
        from flambeau._overridden import attend

        attend(cls)


_attach["subclass"] = _subclassed
for _f in (_disabled_torch_function_impl,):
    _f.__module__ = "flambeau._C"

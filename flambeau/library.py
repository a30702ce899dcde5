"""User-defined operators: `torch.library`. An operator defined here is an `Op` like every other; its parts are Python functions on tensors.

What it computes (`kernels`, by type of device), what its result looks like (`fake`), its derivative and its batch rule are registered
apart from one another, in any order, by name. `torch.ops.<namespace>.<name>` finds it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

import flambeau
from flambeau._eager import record
from flambeau._library.definition import DESCRIBED, Definition, _flat, _tensors
from flambeau._library.infer_schema import SCHEMA, infer_schema, parse, written
from flambeau._operators.op import REGISTRY
from flambeau._ops import _DEFINED as DEFINED, OpOverload, OpOverloadPacket
from flambeau._tensor import Tensor
from flambeau._values.dtype import dtype

__all__ = [
    "CustomOpDef", "Library", "custom_op", "define", "fallthrough_kernel", "get_ctx", "get_kernel", "impl", "impl_abstract",
    "infer_schema", "opcheck", "register_autocast", "register_autograd", "register_fake", "register_kernel", "register_torch_dispatch",
    "register_vmap", "triton_op", "wrap_triton",
]  # fmt: skip

_RESERVED = ("prim",)
_BUILT_IN = frozenset(("aten", "prim", "prims", "quantized", "torchvision"))  # nothing waits for operators of theirs
_owners: dict[str, Any] = {}  # namespace -> the library that defines it
_early: dict[str, list[tuple[str, Callable[..., Any]]]] = {}  # what was implemented before it was defined


# ---------------------------------------------------------------- defining and finding


def _define(qualname: str, arguments: str, returns: str, overload: str = "", tags: Any = ()) -> Definition:
    namespace, _, name = qualname.rpartition("::")
    overloads = DEFINED.setdefault(namespace, {}).setdefault(name, {})
    if overload in overloads:
        raise RuntimeError(
            f"Tried to register an operator ({qualname}{'.' * bool(overload)}{overload}({written(parse(arguments))}) -> {returns}) with the same name and overload name multiple times. Each "
            "overload's schema should only be registered with a single call to def()."
        )
    made = overloads[overload] = Definition(namespace, name, overload, arguments, returns, tags)
    for key, fn in _early.pop(made.spoken, ()):
        _register(made, key, fn)
    _forget_packet(namespace, name)
    return made


def _forget_packet(namespace: str, name: str) -> None:
    space = vars(flambeau.ops).get(namespace)
    if space is not None:
        vars(space).pop(name, None)


def find(op: Any, asked: str = "") -> Definition:
    """The operator that a name, an overload, a packet or a `CustomOpDef` means, for the function that is asked."""
    if isinstance(op, CustomOpDef):
        return op._definition
    definition = getattr(getattr(op, "op", None), "custom", None)
    if definition is not None:
        return definition
    qualname = getattr(op, "_qualified_op_name", op)
    if not isinstance(qualname, str):
        raise ValueError(f"{asked or 'torch.library'}({op!r}): got unexpected type for op: {type(op)}")
    namespace, rest = _parts(qualname)
    name, _, overload = rest.partition(".")
    found = DEFINED.get(namespace, {}).get(name, {})
    overload = "" if overload == "default" else overload
    if overload not in found:
        if asked and asked != "register_fake":
            raise AttributeError(f"'_OpNamespace' '{namespace}' object has no attribute '{name}'")
        raise RuntimeError(f"operator {qualname} does not exist")
    return found[overload]


def _parts(qualname: str) -> tuple[str, str]:
    """The namespace and the rest of a name."""
    parts = qualname.split("::")
    if len(parts) != 2:
        raise ValueError(
            f'Expected `qualname` to be of the form "namespace::name", but got {qualname}. The qualname passed to the torch.library APIs must '
            "consist of a namespace and a name, e.g. aten::sin"
        )
    return parts[0], parts[1]


_DEVICE_KEYS = {"CPU": "cpu", "CUDA": "cuda", "Meta": "meta", "MPS": "mps", "XPU": "xpu", "HPU": "hpu", "XLA": "xla", "IPU": "ipu",
                "MTIA": "mtia", "PrivateUse1": "privateuseone", "": "", "CompositeExplicitAutograd": "", "BackendSelect": ""}  # fmt: skip
_KEYS = {kind: key for key, kind in _DEVICE_KEYS.items() if kind} | {"default": "CompositeImplicitAutograd"}


def _implement(op: Any, key: str, fn: Callable[..., Any]) -> None:
    """An implementation for a dispatch key; of an operator of one's own it may come before the definition, for which it waits."""
    namespace, rest = _parts(op) if isinstance(op, str) else ("", "")
    name, _, overload = rest.partition(".")
    overload = overload or "default"
    unknown = "" if overload == "default" else overload
    if name and namespace not in _BUILT_IN and unknown not in DEFINED.get(namespace, {}).get(name, {}):
        _early.setdefault(f"{namespace}.{name}.{overload}", []).append((key, fn))
    else:
        _register(find(op), key, fn)


def _register(d: Definition, key: str, fn: Callable[..., Any]) -> None:
    """An implementation for a dispatch key of PyTorch's."""
    if key.startswith("Autograd") or key == "ADInplaceOrView":
        d.outer = fn
    elif key == "CompositeImplicitAutograd":
        d.composite = fn
    elif key.startswith("Autocast"):
        d.autocast[key.removeprefix("Autocast").lower()] = fn
    elif key == "Meta":
        d.fake = fn
    elif key in _DEVICE_KEYS:
        d.kernels[_DEVICE_KEYS[key]] = fn
    else:
        raise NotImplementedError(f"torch.library: implementations for the dispatch key {key!r} are not implemented")


def fallthrough_kernel() -> None:
    """Stands for 'nothing is done here' among implementations."""
    raise NotImplementedError("fallthrough_kernel() should never be called.")


class Library:
    """A handle on a namespace: defines operators in it ("DEF", "FRAGMENT"), or implements operators of it ("IMPL").

    >>> import flambeau as torch
    >>> lib = torch.library.Library("readme", "DEF")
    >>> _ = lib.define("twice(Tensor x) -> Tensor")
    >>> lib.impl("twice", lambda x: x + x, "CPU")
    >>> torch.ops.readme.twice(torch.ones(2))
    tensor([2., 2.])
    """

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        if kind not in ("IMPL", "DEF", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        if ns in _RESERVED and kind in ("DEF", "FRAGMENT"):
            raise ValueError(f"{ns} is a reserved namespace. Please try creating a library with another name.")
        if kind == "DEF":
            if ns in _owners:
                raise RuntimeError(
                    f"Only a single TORCH_LIBRARY can be used to register the namespace {ns}; please put all of your definitions in a single "
                    "TORCH_LIBRARY block.  If you were trying to specify implementations, consider using TORCH_LIBRARY_IMPL (which can be "
                    "duplicated).  If you really intended to define operators for a single namespace in a distributed way, you can use "
                    "TORCH_LIBRARY_FRAGMENT to explicitly indicate this."
                )
            _owners[ns] = self
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key
        self._names: list[tuple[str, str]] = []
        self._undo: list[Callable[[], Any]] = []

    def __repr__(self) -> str:
        return f"Library(kind={self.kind}, ns={self.ns}, dispatch_key={self.dispatch_key})>"

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Define an operator by its schema: `name(Tensor x, int n=2) -> Tensor`; the name, with its overload."""
        if alias_analysis not in ("", "FROMSCHEMA", "CONSERVATIVE"):
            raise RuntimeError(f"Invalid alias_analysis type {alias_analysis}")
        m = SCHEMA.match(schema)
        if m is None or not m[2]:
            raise RuntimeError("Tried to parse a function schema but only the operator name was given")
        overload = m[3] or ""
        _define(f"{self.ns}::{m[2]}", m[4].strip(), m[5], overload, tags)
        self._names.append((m[2], overload))
        return m[2] + ("." + overload if overload else "")

    def impl(self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", *, with_keyset: bool = False,
             allow_override: bool = False) -> None:  # fmt: skip
        """Implement an operator for a dispatch key of PyTorch's ("CPU", "Meta", "CompositeImplicitAutograd", ...)."""
        if not callable(fn):
            raise TypeError(f"Input function is required to be a callable but found type {type(fn)}")
        key = dispatch_key or self.dispatch_key or "CompositeImplicitAutograd"
        if fn is fallthrough_kernel:
            return
        if isinstance(op_name, str):
            op_name = op_name if "::" in op_name else f"{self.ns}::{op_name}"
        _implement(op_name, key, fn)

    def fallback(self, fn: Callable[..., Any], dispatch_key: str = "", *, with_keyset: bool = False) -> None:
        raise NotImplementedError("torch.library.Library.fallback is not implemented")

    def _register_fake(
        self, op_name: str, fn: Callable[..., Any], _stacklevel: int = 1, *, allow_override: bool = False
    ) -> None:
        find(op_name if "::" in op_name else f"{self.ns}::{op_name}").fake = fn

    def _destroy(self) -> None:
        """Take the operators that this library defined out again."""
        for name, overload in self._names:
            overloads = DEFINED.get(self.ns, {}).get(name, {})
            overloads.pop(overload, None)
            if not overloads:
                DEFINED.get(self.ns, {}).pop(name, None)
            REGISTRY.pop(f"{self.ns}::{name}" + (f".{overload}" if overload else ""), None)
            _forget_packet(self.ns, name)
        self._names.clear()
        if _owners.get(self.ns) is self:
            del _owners[self.ns]


@contextlib.contextmanager
def _scoped_library(*args: Any, **kwargs: Any) -> Any:
    """The block in which a `Library`, and what it defines, exists."""
    made = Library(*args, **kwargs)
    try:
        yield made
    finally:
        made._destroy()


class CustomOpDef:
    """What `custom_op` gives: call it, or register more for it."""

    def __init__(self, definition: Definition, fn: Callable[..., Any]) -> None:
        self._definition, self._init_fn = definition, fn
        self.__name__ = definition.name
        self.__doc__ = fn.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._definition(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    @property
    def _qualname(self) -> str:
        return self._definition.qualname

    @property
    def _opoverload(self) -> Any:
        packet = getattr(getattr(flambeau.ops, self._definition.namespace), self._definition.name)
        return packet.default

    def register_kernel(self, device_types: Any, fn: Callable[..., Any] | None = None, /) -> Any:
        """What it computes on a type of device, or on several."""
        return register_kernel(self, device_types, fn)

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """What its result looks like: a function that makes empty tensors."""
        self._definition.fake = fn
        return fn

    def register_autograd(
        self, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """Its derivative: `backward(ctx, *grads)`, after `setup_context(ctx, inputs, output)`."""
        register_autograd(self, backward, setup_context=setup_context)

    def register_vmap(self, func: Callable[..., Any] | None = None) -> Any:
        """How it maps over a batch: `func(info, in_dims, *args)` gives (outputs, out_dims)."""
        return register_vmap(self, func)

    def register_torch_dispatch(self, torch_dispatch_class: Any, fn: Callable[..., Any] | None = None, /) -> Any:
        return register_torch_dispatch(self, torch_dispatch_class, fn)

    def register_autocast(self, device_type: str, cast_inputs: dtype) -> None:
        register_autocast(self, device_type, cast_inputs)

    @contextlib.contextmanager
    def set_kernel_enabled(self, device_type: str, enabled: bool = True) -> Any:
        """The block in which the kernel of a type of device is, or is not, used."""
        kernels = self._definition.kernels
        before = dict(kernels)
        if not enabled:
            kernels.pop(device_type, None)
            kernels.setdefault("", self._init_fn)
        try:
            yield
        finally:
            kernels.clear()
            kernels.update(before)


def custom_op(name: str, fn: Callable[..., Any] | None = None, /, *, mutates_args: str | Iterable[str], device_types: Any = None,
              schema: str | None = None, tags: Any = None) -> Any:  # fmt: skip
    """Make an operator of a function on tensors; nothing looks into it but what is registered for it.

    Arguments:
        name: `<namespace>::<name>`.
        mutates_args: names of the arguments it writes to, or "unknown".
        device_types: what it works on: "cpu", or several; default all.
        schema: its schema, where the annotations of the function do not say it.

    >>> import flambeau as torch
    >>> @torch.library.custom_op("readme::cube", mutates_args=())
    ... def cube(x: torch.Tensor) -> torch.Tensor:
    ...     return x**3
    >>> cube.register_autograd(lambda ctx, g: g * 3 * ctx.x**2, setup_context=lambda ctx, inputs, output: setattr(ctx, "x", inputs[0]))
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    tensor(12.)
    """

    def decorate(fn: Callable[..., Any]) -> CustomOpDef:
        if "::" not in name:
            raise ValueError(
                f"torch.library.custom_op({name!r}): expected a name with a namespace, `<namespace>::<name>`, got {name!r}"
            )
        text = infer_schema(fn, mutates_args=mutates_args) if schema is None else schema
        m = SCHEMA.match(text)
        if m is None:
            raise RuntimeError(f"torch.library: cannot parse the schema {text!r}")
        namespace, _, short = name.partition("::")
        previous = DEFINED.get(namespace, {}).pop(short, None)
        if previous is not None:  # a definition may be run again, in a notebook say
            for overload in previous:
                REGISTRY.pop(name + (f".{overload}" if overload else ""), None)
        d = _define(name, m[4].strip(), m[5], tags=tags or ())
        d.strict = True
        for kind in _kinds(device_types):
            d.kernels[kind] = fn
        return CustomOpDef(d, fn)

    return decorate if fn is None else decorate(fn)


def _kinds(device_types: Any) -> tuple[str, ...]:
    if device_types is None or device_types == "default":
        return ("",)
    return (device_types,) if isinstance(device_types, str) else tuple(device_types)


# ---------------------------------------------------------------- registering by name


@functools.singledispatch
def define(qualname: str, schema: str, *, lib: Library | None = None, tags: Any = ()) -> Any:
    """Define an operator: `define("ns::name", "(Tensor x) -> Tensor")`."""
    if not isinstance(qualname, str):
        raise ValueError(f"define(qualname, schema): expected qualname to be instance of str, got {type(qualname)}")
    namespace, name = _parts(qualname)
    m = SCHEMA.match(schema)
    if m is None or m[2]:
        raise ValueError(
            f'define(qualname, schema, ...): expected schema to look like e.g. "(Tensor x) -> Tensor" but got "{schema}"'
        )
    short, _, overload = name.partition(".")
    _define(f"{namespace}::{short}", m[4].strip(), m[5], overload, tags)
    if lib is not None:
        lib._names.append((short, overload))


@define.register
def _(lib: Library, schema: str, alias_analysis: str = "") -> Any:
    """The older form: the decorated function is what the operator computes."""
    return _decorated(None, lambda fn: lib.impl(lib.define(schema, alias_analysis), fn))


def _decorated(fn: Callable[..., Any] | None, register: Callable[[Callable[..., Any]], Any]) -> Any:
    """Register `fn`, or, where it is not given yet, be the decorator that does."""

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        register(fn)
        return fn

    return decorate if fn is None else decorate(fn)


@functools.singledispatch
def impl(qualname: Any, types: Any, func: Callable[..., Any] | None = None, *, lib: Library | None = None) -> Any:
    """Implement an operator for types of device ("cpu", "default", ...) or a dispatch key."""

    def register(fn: Callable[..., Any]) -> None:
        for kind in (types,) if isinstance(types, str) else types:
            if (
                kind not in _KEYS
                and kind not in _DEVICE_KEYS
                and not kind.startswith(("Autograd", "Autocast", "AD", "Composite"))
            ):
                flambeau.device(kind)  # which says what there is
            _implement(qualname, _KEYS.get(kind, kind), fn)

    return register if func is None else register(func)  # nothing is given back


@impl.register
def _(lib: Library, name: str, dispatch_key: str = "") -> Any:
    """The older form: `@impl(lib, "name", "CPU")`."""
    return _decorated(None, lambda fn: lib.impl(name, fn, dispatch_key))


def register_kernel(op: Any, device_types: Any, func: Callable[..., Any] | None = None, /, *, lib: Any = None) -> Any:
    """What an operator computes on types of device (None: all)."""
    d = find(op, "register_kernel")
    for kind in _kinds(device_types):
        if kind:
            flambeau.device(kind)  # which says what there is
    return _decorated(func, lambda fn: d.kernels.update(dict.fromkeys(_kinds(device_types), fn)))


def register_fake(op: Any, func: Callable[..., Any] | None = None, /, *, lib: Any = None, _stacklevel: int = 1,
                  allow_override: bool = True) -> Any:  # fmt: skip
    """What an operator's result looks like: a function of the same arguments that makes empty tensors."""
    return _decorated(func, lambda fn: setattr(find(op, "register_fake"), "fake", fn))


impl_abstract = register_fake


def register_autograd(
    op: Any, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None, lib: Any = None
) -> None:
    """The derivative of an operator: `backward(ctx, *grads)`, which gives one gradient for each argument."""
    d = find(op, "register_autograd")
    if not d.functional:
        raise RuntimeError(
            f"Cannot register autograd formula for non-functional operator {f'<CustomOpDef({d.qualname})>' if d.strict else d.spoken} with schema "
            f"{d.schema}. Please create a functional operator and register an autograd formula for that."
        )
    d.backward, d.setup_context = backward, setup_context
    record._classes.pop(d.op, None)


def register_vmap(op: Any, func: Callable[..., Any] | None = None, /, *, lib: Any = None) -> Any:
    """How an operator maps over a batch: `func(info, in_dims, *args)` gives (outputs, out_dims)."""
    d = find(op, "register_vmap")

    def register(fn: Callable[..., Any]) -> None:
        d.vmap = fn

    return register if func is None else register(func)  # nothing is given back


def register_autocast(op: Any, device_type: str, cast_inputs: dtype, /, *, lib: Any = None) -> None:
    """Under autocast of a type of device, the operator's floating inputs are cast first."""
    if device_type not in ("cpu", "cuda"):
        raise ValueError(f"Unknown device type: {device_type}")
    find(op, "register_autocast").lower[device_type] = cast_inputs


def register_torch_dispatch(
    op: Any, torch_dispatch_class: Any, func: Callable[..., Any] | None = None, /, *, lib: Any = None
) -> Any:
    """What an operator does on tensors of a class."""
    return _decorated(
        func, lambda fn: find(op, "register_torch_dispatch").dispatch.__setitem__(torch_dispatch_class, fn)
    )


def get_ctx() -> Any:
    """The context of a fake implementation that is running, None where none is: sizes that depend on data are not known before."""
    if not DESCRIBED:
        return None
    raise NotImplementedError("torch.library.get_ctx: sizes that depend on data are not implemented")


def get_kernel(op: Any, dispatch_key: Any) -> Any:
    """Not here: there are no kernels by dispatch key."""
    raise NotImplementedError("torch.library.get_kernel is not implemented")


def triton_op(name: str, fn: Callable[..., Any] | None = None, /, *, mutates_args: str | Iterable[str], schema: str | None = None) -> Any:  # fmt: skip
    """Make an operator of a function that calls Triton's kernels on GPUs; what it does on the CPU it does here."""
    return custom_op(name, fn, mutates_args=mutates_args, schema=schema)


def wrap_triton(triton_kernel: Any) -> Any:
    """Not here: there is no Triton."""
    raise NotImplementedError("torch.library.wrap_triton is not implemented: there is no Triton here")


# ---------------------------------------------------------------- checking


def opcheck(
    op: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *, test_utils: Any = None, raise_exception: bool = True,
    rtol: float | None = None, atol: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Whether an operator does what it says: writes to what its schema marks, has a derivative where inputs ask for one, a fake
    implementation whose results look like the real ones, and the same results and derivatives when it is compiled, for one size or
    for all (`test_utils` names some of these tests)."""
    if (rtol is None) != (atol is None):
        raise ValueError("opcheck(op, ...): if you specify one of rtol/atol, you must specify both")
    if not isinstance(op, (CustomOpDef, OpOverload, OpOverloadPacket)):
        raise ValueError(
            f"opcheck(op, ...): op must be instance of torch._ops.OpOverload, e.g. torch.ops.aten.sin.default, got {type(op)}"
        )
    d, kwargs = find(op), kwargs or {}
    if test_utils is None:
        test_utils = [name for name in _TESTS if name != "test_aot_dispatch_static"]
    wanted = tuple(_TESTS) if test_utils == "ALL" else (test_utils,) if isinstance(test_utils, str) else test_utils
    if not isinstance(wanted, (tuple, list)) or not set(wanted) <= set(_TESTS):
        raise ValueError(
            f"opcheck(op, ..., test_utils={wanted}), expected test_utils to be subset of {tuple(_TESTS)} but it was not"
        )
    near = {} if rtol is None else {"rtol": rtol, "atol": atol}
    results: dict[str, Any] = {}
    for name in wanted:
        try:
            _TESTS[name](d, args, kwargs, near)
            results[name] = "SUCCESS"
        except Exception as problem:
            if raise_exception:
                raise OpCheckError(
                    f"opcheck(op, ...): {name} failed with {problem} (scroll up for stack trace)"
                ) from problem
            results[name] = problem
    return results


class OpCheckError(Exception):
    """An operator does not do what it says."""


def _copied(values: Iterable[Any]) -> list[Any]:
    return [v.detach().clone().requires_grad_(v.requires_grad) if isinstance(v, Tensor) else v for v in values]  # type: ignore[attr-defined]


def _test_schema(d: Definition, args: Any, kwargs: Any, near: Any) -> None:
    values = _copied(d.bound(args, kwargs))
    before = _copied(values)
    with flambeau.no_grad():
        d(*values[: len(args)], **{k: kwargs[k] for k in kwargs})
    for p, old, new in zip(d.parameters, before, values, strict=True):
        if isinstance(old, Tensor) and not p.mutated and not flambeau.equal(old, new):
            raise RuntimeError(f"Argument {p.name} is not defined as mutable but was mutated")


def _test_autograd(d: Definition, args: Any, kwargs: Any, near: Any) -> None:
    if (
        any(t.requires_grad for t in _flat(d.bound(args, kwargs)))
        and d.backward is None
        and d.composite is None
        and d.outer is None
    ):  # type: ignore[attr-defined]
        raise AssertionError(
            f"{d.qualname}: an input requires a gradient but no autograd formula was registered; use register_autograd"
        )


def _test_fake(d: Definition, args: Any, kwargs: Any, near: Any) -> None:
    if d.composite is not None:
        return
    with flambeau.no_grad():
        real = _flat((d(*_copied(args), **kwargs),))
    values = tuple(v.to("meta") if isinstance(v, Tensor) else v for v in d.bound(args, kwargs))  # type: ignore[attr-defined]
    fake = _flat((_tensors(d.described(values)),))
    for r, f in zip(real, fake, strict=True):
        if r.shape != f.shape or r.dtype is not f.dtype:
            raise AssertionError(f"the fake result is {f.dtype}{list(f.shape)}, the real one {r.dtype}{list(r.shape)}")


def _test_compiled(d: Definition, args: Any, kwargs: Any, near: Any, *, dynamic: bool) -> None:
    """The results, what is written, and the derivatives: called at once, and from a compiled function."""
    names = list(kwargs)
    overload = getattr(getattr(getattr(flambeau.ops, d.namespace), d.name), d.overload or "default")

    def call(*values: Any) -> Any:
        return overload(*values[: len(args)], **dict(zip(names, values[len(args) :], strict=True)))

    state = flambeau.get_rng_state()
    found = []
    for run in (call, flambeau.compile(call, fullgraph=True, dynamic=dynamic)):
        flambeau.set_rng_state(state)
        values = _copied([*args, *kwargs.values()])
        leaves = [v for v in values if isinstance(v, Tensor) and v.requires_grad]  # type: ignore[attr-defined]
        # What is written may not be a leaf that needs a gradient; a copy of it may.
        given = [v.clone() if isinstance(v, Tensor) and v.requires_grad else v for v in values]  # type: ignore[attr-defined]
        out = _flat((run(*given),))
        ends = [t for t in out if isinstance(t, Tensor) and t.requires_grad]  # type: ignore[attr-defined]
        slopes = flambeau.autograd.grad([t.sum() for t in ends], leaves, allow_unused=True) if ends and leaves else ()  # type: ignore[attr-defined]
        found.append(
            [
                x.detach() if isinstance(x, Tensor) else x
                for x in (*out, *(v for v in given if isinstance(v, Tensor)), *slopes)
            ]
        )
    for eager, compiled in zip(*found, strict=True):
        if eager is not None or compiled is not None:
            flambeau.testing.assert_close(compiled, eager, msg=lambda text: f"{_UNLIKE} {text}", **near)


_UNLIKE = "Outputs of the operator are different when it is called at once and from a compiled function."
_TESTS: dict[str, Callable[[Definition, Any, Any, Any], None]] = {
    "test_schema": _test_schema,
    "test_autograd_registration": _test_autograd,
    "test_faketensor": _test_fake,
    "test_aot_dispatch_static": functools.partial(_test_compiled, dynamic=False),
    "test_aot_dispatch_dynamic": functools.partial(_test_compiled, dynamic=True),
}

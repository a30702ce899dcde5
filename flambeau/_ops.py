"""`torch.ops`: operators by namespace, name and overload: `torch.ops.aten.add.Tensor(x, y)`.

Packets and overloads are made from the registry when they are asked for. Operators of other namespaces are those that
`torch.library` defines.
"""

from __future__ import annotations

import functools
import importlib
import types
from typing import Any

from flambeau import _operators
from flambeau._eager import derive
from flambeau._operators import overloads
from flambeau._operators.op import REGISTRY, Op
from flambeau._tensor import Tensor

_DEFINED: dict[str, dict[str, dict[str, Any]]] = {}  # users' operators: filled by `torch.library`


def _by_schema(op: Op) -> Any:
    """The public function with the schema's defaults, which are its own but for one (see `Param.called`)."""
    fn: Any = derive.function(op)
    other = next(((i, p) for i, p in enumerate(op.params) if p.called is not p.default), None)
    if other is None:
        return fn
    at, p = other
    return lambda *args, **kwargs: fn(*args, **kwargs if len(args) > at else {p.name: p.default, **kwargs})


class OpOverload:
    """One overload of an operator; calling it calls the operator."""

    def __init__(self, packet: OpOverloadPacket, overload: str, op: Op, form: str) -> None:
        self.op, self._overloadname, self._overloadpacket, self.form = op, overload, packet, form
        self._fn = derive.inplace(op) if form == "inplace" else _by_schema(op)
        self.__name__ = f"{packet.__name__}.{overload}"
        self.__module__ = packet.__module__
        self.namespace = packet.namespace
        self.__qualname__ = self.name()
        name = f"{op.aten}.{overload}" if overload != "default" else op.aten
        self.own = (
            name if name in op.schemas else ""
        )  # an overload whose arguments are not those of the public function

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self.own:
            return self._fn(**overloads.bound(self.op, self.own, args, kwargs))
        if "self" in kwargs:
            kwargs[self.op.params[self.op.receiver_at].name] = kwargs.pop("self")
        return self._fn(*args, **kwargs)

    def in_order(self, *args: Any, **kwargs: Any) -> Any:
        """Call it with the arguments of the operator's body, which serves all of its overloads."""
        return self._fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<OpOverload(op='{self._overloadpacket._qualified_op_name.replace('::', '.')}', overload='{self._overloadname}')>"

    def __str__(self) -> str:
        return f"{self._overloadpacket._qualified_op_name.replace('::', '.')}.{self._overloadname}"

    def __hash__(self) -> int:
        return hash(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpOverload) and str(self) == str(other)

    def __deepcopy__(self, memo: Any = None) -> OpOverload:
        return self

    @property
    def tags(self) -> list[Any]:
        """What is said of the operator (`torch.Tag`): as far as its definition tells."""
        from flambeau._seldom import Tag

        if self.op.custom is not None:
            given = self.op.custom.tags
            return list(given) if isinstance(given, (tuple, list)) else [given]
        said = {
            Tag.dynamic_output_shape: self.op.by_data == "shape",
            Tag.nondeterministic_seeded: self.is_random,
            Tag.pointwise: self.op.kind == "pointwise",
            Tag.pt2_compliant_tag: True,
        }
        return [tag for tag, holds in said.items() if holds]

    @property
    def overloadpacket(self) -> OpOverloadPacket:
        return self._overloadpacket

    @property
    def _schema(self) -> Any:
        """The schema, taken apart: arguments with names, types and defaults, and results."""
        from flambeau._ground.function_schema import function_schema
        from flambeau._operators._schema import form

        wanted = self._overloadname if self._overloadname != "default" else ""
        return function_schema(form(self.op, self._overloadpacket.__name__, wanted, self.form))

    def name(self) -> str:
        """`aten::add.Tensor`; the default overload has no name."""
        suffix = "" if self._overloadname == "default" else "." + self._overloadname
        return self._overloadpacket._qualified_op_name + suffix

    @property
    def is_view(self) -> bool:
        return self.op.view

    @property
    def is_write(self) -> bool:
        """Whether the call changes its first tensor."""
        return self.form == "inplace"

    @property
    def is_random(self) -> bool:
        """Whether the call takes numbers from a generator."""
        return self.op.draws or self.op.module.endswith(".dropout")


class CustomOverload(OpOverload):
    """One overload of a user's operator."""

    own = ""

    @property
    def _schema(self) -> Any:
        from flambeau._ground.function_schema import function_schema

        return function_schema(self._text)

    def __init__(self, packet: OpOverloadPacket, overload: str, definition: Any) -> None:
        self.op, self._overloadname, self._overloadpacket, self.form = definition.op, overload, packet, "function"
        self._fn, self._text = definition, definition.schema
        self.__name__ = f"{packet.__name__}.{overload}"
        self.__qualname__, self.__module__, self.namespace = self.name(), packet.__module__, packet.namespace

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        stand_ins = _stand_ins(args, kwargs)
        if stand_ins:
            return _record(self, stand_ins, args, kwargs)
        return self._fn(*args, **kwargs)


def _stand_ins(args: Any, kwargs: Any) -> list[Any]:
    """Arguments that are no tensors and take over calls: values of a graph that is being traced."""
    given = [*args, *kwargs.values()]
    flat = [a for v in given for a in (v if isinstance(v, (list, tuple)) else (v,))]
    return [a for a in flat if not isinstance(a, Tensor) and hasattr(type(a), "__torch_function__")]


def _record(target: Any, stand_ins: list[Any], args: Any, kwargs: Any) -> Any:
    """The first of them does the call."""
    return stand_ins[0].__torch_function__(target, tuple(type(a) for a in stand_ins), args, kwargs)


class OpOverloadPacket:
    """All overloads of one name; calling it chooses among them."""

    def __init__(self, namespace: str, name: str, overloads: dict[str, tuple[Op, str]]) -> None:
        self.__name__, self.namespace = name, namespace
        self.__module__ = f"flambeau.ops.{namespace}"
        self._qualified_op_name = f"{namespace}::{name}"
        self._overloads = overloads
        self._made: dict[str, OpOverload] = {}

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__") and key != "__":
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{key}'")
        if key not in self._overloads and key == "default" and len({op for op, _ in self._overloads.values()}) == 1:
            key = next(iter(self._overloads))  # `transpose_` has no overloads, `transpose.int` has
        if key not in self._overloads:
            raise AttributeError(f"The underlying op of '{self}' has no overload name '{key}'")
        if key not in self._made:
            self._made[key] = OpOverload(self, key, *self._overloads[key])
        return self._made[key]

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        from flambeau._eager.choose import matches

        if self.namespace not in ("aten", "prims"):
            stand_ins = _stand_ins(args, kwargs)
            if stand_ins:
                return _record(self, stand_ins, args, kwargs)
            for made in self._made.values():
                if len(self._made) > 1 and isinstance(made, CustomOverload) and made._fn.fits(args, kwargs):
                    return made(*args, **kwargs)
        if "self" in kwargs:
            kwargs["input"] = kwargs.pop("self")
        for key, (op, _) in self._overloads.items():
            if matches(op, args, kwargs, False):
                return getattr(self, key)(*args, **kwargs)
        return getattr(self, next(iter(self._overloads)))(*args, **kwargs)

    def overloads(self) -> list[str]:
        return list(self._overloads)

    def __iter__(self) -> Any:
        return iter(self.overloads())

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='{self._qualified_op_name.replace('::', '.')}')>"

    def __str__(self) -> str:
        return self._qualified_op_name.replace("::", ".")


class _OpNamespace(types.ModuleType):
    """One namespace: `torch.ops.aten`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"flambeau.ops.{name}")
        self.name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__and__", "__or__", "__xor__", "__lshift__", "__rshift__"):
            raise AttributeError(f"'_OpNamespace' '{self.name}' object has no attribute '{name}'")
        found = _packet(self.name, name)
        if found is None:
            raise AttributeError(f"'_OpNamespace' '{self.name}' object has no attribute '{name}'")
        setattr(self, name, found)
        return found


@functools.lru_cache(1)
def _named(count: int) -> dict[str, list[tuple[str, Op]]]:
    """The operators that a name may mean, in the order of the registry; `count` is how many it holds."""
    found: dict[str, list[tuple[str, Op]]] = {}
    for full, op in REGISTRY.items():
        for name in dict.fromkeys(n.removesuffix("_") for n in (full.partition(".")[0], *op.aliases)):
            found.setdefault(name, []).append((full, op))
    return found


def _packet(namespace: str, name: str) -> OpOverloadPacket | None:
    if namespace in ("quantized", "_quantized", "sparse"):
        importlib.import_module("flambeau._quantized")
    if namespace == "quantized_decomposed":  # a library over the public interface, which registers its operators
        importlib.import_module("flambeau.ao.quantization.fx._decomposed")
    if namespace in ("_c10d_functional", "c10d", "c10d_functional"):
        importlib.import_module("flambeau.distributed._functional_ops")
    if namespace == "higher_order":
        return importlib.import_module("flambeau._higher_order_ops.cond").operator(name)
    defined = _DEFINED.get(namespace, {}).get(name)
    if defined:
        packet = OpOverloadPacket(namespace, name, {k or "default": (d.op, "function") for k, d in defined.items()})
        for k, d in defined.items():
            packet._made[k or "default"] = CustomOverload(packet, k or "default", d)
        return packet
    if namespace in ("aten", "profiler"):
        plain = importlib.import_module("flambeau._plain_ops").find(namespace, name)
        if plain is not None:
            return plain
    if namespace not in ("aten", "prims"):
        return None
    _operators.load()
    overloads: dict[str, tuple[Op, str]] = {}
    for full, op in _named(len(REGISTRY)).get(name.removesuffix("_"), ()):
        base, _, overload = full.partition(".")
        if name in op.aliases or name.removesuffix("_") in op.aliases:
            base = name if name in op.aliases else name[:-1]
        if (
            base == name and "out" in op.variants
        ):  # `add.out` beside `add.Tensor`; `sum.IntList_out` has a name of its own
            overloads.setdefault("out" if overload in ("", "Tensor", "self") else f"{overload}_out", (op, "out"))
        if base == name:
            only = name.endswith("_") and "function" not in op.variants and "inplace" in op.variants  # `bernoulli_`
            overloads[overload or "default"] = (op, "inplace" if only else "function")
        elif base + "_" == name and "inplace" in op.variants:
            overloads[overload or "default"] = (op, "inplace")
    return OpOverloadPacket(namespace, name, overloads) if overloads else None


class _Ops(types.ModuleType):
    """`torch.ops`."""

    __file__ = "_ops.py"

    def __init__(self) -> None:
        super().__init__("flambeau.ops")
        self.loaded_libraries: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module 'torch.ops' has no attribute '{name}'")
        namespace = _OpNamespace(name)
        setattr(self, name, namespace)
        return namespace

    def load_library(self, path: str) -> None:
        """Compiled operator libraries are built against PyTorch's C++ and cannot be loaded; those of torchvision and torchaudio are known in Python."""
        import importlib
        import os

        *_, package, folder, name = ("", "", *os.path.normpath(str(path)).split(os.sep))
        name = name.split(".")[0]
        ours = {("torchvision", "_C"): "_torchvision", ("lib", "_torchaudio"): "_torchaudio", ("lib", "libtorchaudio"): "_torchaudio"}.get((folder, name))  # fmt: skip
        if ours and (folder != "lib" or package == "torchaudio"):
            importlib.import_module(f"flambeau.{ours}").register()
            self.loaded_libraries.add(str(path))
            return
        raise OSError(
            f"Could not load this library: {path} (it is built against PyTorch's C++, which flambeau does not have)"
        )

    def import_module(self, module: str) -> None:
        """Import a Python module that registers operators."""
        import importlib

        importlib.import_module(module)


ops = _Ops()


def written(name: str) -> OpOverload | None:
    """The overload of `ops.aten` that a name such as `add.Tensor` or `relu` is of."""
    base, _, overload = name.partition(".")
    packet = getattr(ops.aten, base, None)
    return getattr(packet, overload or "default") if packet and (overload or "default") in packet._overloads else None


@functools.cache
def target(op: Op, overload: str, into: bool = False) -> OpOverload | None:
    """What a graph calls for a call of this operator's overload, in place or not: `torch.ops.aten.add_.Tensor`. None where there is no such name."""
    if op.custom is not None:
        packet = getattr(getattr(ops, op.custom.namespace), op.custom.name)
        return getattr(packet, op.custom.overload or "default")
    base, _, name = overload.partition(".")
    packet = getattr(ops.aten, base + "_" if into and not base.endswith("_") else base, None)
    form = "inplace" if into else "function"
    known = getattr(packet, name or "default", None) if packet else None
    if isinstance(known, OpOverload) and known.op is op and known.form == form:
        return known  # the one that programs compare with
    return packet and OpOverload(packet, name or "default", op, form)

"""The types of TorchScript: what they are called, which is part of which, and what two have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flambeau._values.dtype import SPOKEN

str_ = str
# Kinds that are no name with "Type" behind it.
KINDS = {"Tensor": "TensorType", "int": "IntType", "float": "FloatType", "complex": "ComplexType", "bool": "BoolType", "str": "StringType",
         "NoneType": "NoneType", "Scalar": "NumberType", "Device": "DeviceObjType", "Stream": "StreamObjType", "list": "AnyListType",
         "tuple": "AnyTupleType", "AnyEnumType": "AnyEnumType", "AnyClassType": "AnyClassType"}  # fmt: skip


class Type:
    """A type. `str(t)` is its name in graphs (`int[]`), `t.annotation_str` and `repr(t)` in programs (`List[int]`)."""

    _kind = ""

    def __init__(self, name: str, written: str | None = None) -> None:
        self.name, self.written = name, written or name

    def kind(self) -> str_:
        """The kind of type, as PyTorch's core calls it: `TensorType`, `ListType`."""
        return self._kind or KINDS.get(str_(self), f"{self}Type")

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.annotation_str

    @property
    def annotation_str(self) -> str:
        return self.written

    @property
    def contained(self) -> tuple[Type, ...]:
        return ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def shown(self) -> str_:
        """How graphs print the type of a value."""
        return str_(self)

    def isSubtypeOf(self, other: Type) -> bool:
        return subtype(self, other)

    def sizes(self) -> Any:
        """Of a tensor whose sizes are not known: None."""
        return None

    def dim(self) -> Any:
        return None

    def dtype(self) -> Any:
        return None

    def scalarType(self) -> Any:
        return None

    def getElementType(self) -> Type:
        return self.contained[0]

    def elements(self) -> list[Type]:
        return list(self.contained)

    def str(self) -> str:
        return str_(self)


TENSOR, INT, FLOAT, COMPLEX, BOOL, STR = (
    Type("Tensor"), Type("int"), Type("float"), Type("complex"), Type("bool"), Type("str"),
)  # fmt: skip
NONE, ANY, NUMBER, DEVICE = Type("NoneType"), Type("Any"), Type("Scalar", "number"), Type("Device")
GENERATOR, STREAM, STORAGE = Type("Generator"), Type("Stream"), Type("Storage")
ANY_LIST, ANY_TUPLE, ANY_ENUM, ANY_CLASS = Type("list"), Type("tuple"), Type("AnyEnumType"), Type("AnyClassType")


class CompleteTensor(Type):
    """A tensor of which everything but its numbers is known: `Float(2, 3, strides=[3, 1], requires_grad=0, device=cpu)`."""

    _kind = "TensorType"

    def __init__(self, t: Any) -> None:
        self._dtype, self._sizes, self._strides = t.dtype, list(t.shape), list(t.stride())
        self._requires_grad, self._device = t.requires_grad, t.device
        self.name = self.written = "Tensor"

    def sizes(self) -> list[int]:
        return list(self._sizes)

    def strides(self) -> list[int]:
        return list(self._strides)

    def dim(self) -> int:
        return len(self._sizes)

    def dtype(self) -> Any:
        return self._dtype

    def device(self) -> Any:
        return self._device

    def requiresGrad(self) -> bool:
        return bool(self._requires_grad)

    def scalarType(self) -> str_:
        return SPOKEN[self._dtype]

    def undefined(self) -> bool:
        return False

    def shown(self) -> str_:
        sizes = [*map(str_, self._sizes)]
        strides = [f"strides={self._strides}"] if sizes else []
        facts = [*sizes, *strides, f"requires_grad={int(self._requires_grad)}", f"device={self._device}"]
        return f"{self.scalarType()}({', '.join(facts)})"


class Contained(Type):
    """A type made of others, with how it is written in graphs (`form`) and in Python (`annotation`)."""

    form = annotation = ""

    def __init__(self, *parts: Type) -> None:
        self.parts = parts

    @property
    def contained(self) -> tuple[Type, ...]:
        return self.parts

    @property
    def element(self) -> Type:
        return self.parts[0]

    def __str__(self) -> str:
        return self.form.format(*self.parts)

    @property
    def annotation_str(self) -> str:
        return self.annotation.format(*(p.annotation_str for p in self.parts))

    def with_parts(self, parts: Iterable[Type]) -> Type:
        return type(self)(*parts)


class List(Contained):
    _kind, form, annotation = "ListType", "{}[]", "List[{}]"


class Optional(Contained):
    _kind, form, annotation = "OptionalType", "{}?", "Optional[{}]"


class Dict(Contained):
    _kind, form, annotation = "DictType", "Dict({}, {})", "Dict[{}, {}]"


class Future(Contained):
    _kind, form, annotation = "FutureType", "Future({})", "Future[{}]"


class Await(Contained):
    _kind, form, annotation = "AwaitType", "Await({})", "Await[{}]"


class Union(Contained):
    _kind = "UnionType"

    def __str__(self) -> str:
        return f"Union({', '.join(map(str, self.parts))})"

    @property
    def annotation_str(self) -> str:
        return f"Union[{', '.join(p.annotation_str for p in self.parts)}]"


class Tuple(Contained):
    """A tuple; with a qualified name and fields it is a named one."""

    _kind = "TupleType"

    def __init__(self, *parts: Type, name: str | None = None, fields: tuple[str, ...] = (), defaults: Any = ()) -> None:
        self.parts, self.qualified, self.fields, self.defaults = parts, name, fields, tuple(defaults)
        self.python: Any = None  # the class whose objects these are

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.parts))
        if self.qualified:
            return f"NamedTuple({', '.join(f'{t} {n}' for n, t in zip(self.fields, self.parts))})"
        return f"({inner})"

    def shown(self) -> str:
        return str(self) if self.qualified else f"({', '.join(p.shown() for p in self.parts)})"

    @property
    def annotation_str(self) -> str:
        if self.qualified:
            return self.qualified
        return f"Tuple[{', '.join(p.annotation_str for p in self.parts) or '()'}]"

    def with_parts(self, parts: Iterable[Type]) -> Type:
        made = Tuple(*parts, name=self.qualified, fields=self.fields, defaults=self.defaults)
        made.python = self.python
        return made


class Variable(Type):
    """A type variable of a schema."""

    _kind = "VarType"


class Enum(Type):
    _kind = "EnumType"

    def __init__(self, qualified: str, value: Type, members: list[tuple[str, Any]], python: Any) -> None:
        self.qualified, self.value, self.members, self.python = qualified, value, members, python

    def __str__(self) -> str:
        return f"Enum<{self.qualified}>"

    @property
    def annotation_str(self) -> str:
        return self.qualified


class Class(Type):
    """A class or module: attributes with types, methods, constants."""

    _kind = "ClassType"

    def __init__(self, qualified: str, is_module: bool = False) -> None:
        self.qualified, self.is_module = qualified, is_module
        self.attributes: dict[str, Type] = {}
        self.parameters: set[str] = set()
        self.buffers: set[str] = set()
        self.constants: dict[str, Any] = {}
        self.methods: dict[str, Any] = {}
        self.static: dict[str, Any] = {}
        self.properties: dict[str, tuple[str, str | None]] = {}
        self.hooks: list[Any] = []
        self.pre_hooks: list[Any] = []
        self.python: Any = None
        self.concrete: Any = None  # how Python's module is seen: for modules that are being scripted

    def __str__(self) -> str:
        return self.qualified

    @property
    def annotation_str(self) -> str:
        return self.qualified

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def name(self) -> str:
        return self.qualified.rpartition(".")[2]

    def qualified_name(self) -> str:
        return self.qualified


class Interface(Type):
    _kind = "InterfaceType"

    def __init__(self, qualified: str, is_module: bool) -> None:
        self.qualified, self.is_module = qualified, is_module
        self.methods: dict[str, Any] = {}  # name -> schema
        self.python: Any = None

    def __str__(self) -> str:
        return f"InterfaceType<{self.qualified.rpartition('.')[2]}>"

    @property
    def annotation_str(self) -> str:
        return self.qualified

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


SIMPLE = {
    t.written: t
    for t in (TENSOR, INT, FLOAT, COMPLEX, BOOL, STR, NONE, ANY, NUMBER, DEVICE, GENERATOR, STREAM, STORAGE)
}
NUMBERS = (INT, FLOAT, COMPLEX)


def alternatives(t: Type) -> tuple[Type, ...]:
    """What a value of this type may be: the members of a union or optional, the type itself."""
    if isinstance(t, Optional):
        return (*alternatives(t.element), NONE)
    if isinstance(t, Union):
        return tuple(a for p in t.parts for a in alternatives(p))
    if t is NUMBER:
        return NUMBERS
    return (t,)


def subtype(a: Type, b: Type) -> bool:
    """Whether a value of type a may stand where b is asked for."""
    if a is b or b is ANY or a == b:
        return True
    if isinstance(b, Variable):
        return False
    if isinstance(a, (Optional, Union)):
        return all(subtype(x, b) for x in alternatives(a))
    if isinstance(b, (Optional, Union)):
        return any(subtype(a, x) for x in alternatives(b))
    if b is NUMBER:
        return a in NUMBERS
    if b is ANY_LIST:
        return isinstance(a, List)
    if b is ANY_TUPLE:
        return isinstance(a, Tuple)
    if b is ANY_ENUM:
        return isinstance(a, Enum)
    if b is ANY_CLASS:
        return isinstance(a, Class)
    if isinstance(a, Tuple) and isinstance(b, Tuple):
        if b.qualified and a.qualified != b.qualified:
            return False
        return len(a.parts) == len(b.parts) and all(map(subtype, a.parts, b.parts))
    if isinstance(a, List) and isinstance(b, List):
        return b.element is ANY or a.element == b.element
    if isinstance(a, Future) and isinstance(b, Future):
        return subtype(a.element, b.element)
    if isinstance(b, Interface) and isinstance(a, (Class, Interface)):
        return satisfies(a, b) is None
    return False


def satisfies(a: Class | Interface, b: Interface) -> str | None:
    """Why a class does not satisfy an interface; None where it does."""
    if b.is_module and not a.is_module:
        return f"Class '{a}' is not a subtype of the module interface '{b}'"
    for name, wanted in b.methods.items():
        found = a.methods.get(name)
        if found is None:
            return f"Class '{a}' does not have method '{name}'"
        schema = getattr(found, "schema", found)
        pairs = list(zip(schema.arguments[1:], wanted.arguments[1:]))
        if len(schema.arguments) != len(wanted.arguments) or not all(subtype(w.type, f.type) for f, w in pairs):
            return f"Method '{name}' of '{a}' has another signature than the interface asks for"
        if not all(subtype(f.type, w.type) for f, w in zip(schema.returns, wanted.returns)):
            return f"Method '{name}' of '{a}' returns another type than the interface asks for"
    return None


def optional(t: Type) -> Type:
    if t is NONE or t is ANY or isinstance(t, Optional) or (isinstance(t, Union) and NONE in alternatives(t)):
        return t
    return Optional(t)


def union(parts: Iterable[Type]) -> Type:
    """The union of types, written in the least way."""
    kept: list[Type] = []
    for p in (a for part in parts for a in (alternatives(part) if part is not NUMBER else (part,))):
        if any(subtype(p, k) for k in kept):
            continue
        kept = [k for k in kept if not subtype(k, p)] + [p]
    if all(n in kept for n in NUMBERS):
        kept = [NUMBER, *(k for k in kept if k not in NUMBERS)]
    if len(kept) == 1:
        return kept[0]
    rest = [k for k in kept if k is not NONE]
    if len(rest) == 1:
        return Optional(rest[0])
    return Union(*sorted(kept, key=lambda t: t is NONE))


def unify(a: Type, b: Type, default_union: bool = False) -> Type | None:
    """The least type that holds both; None where there is none."""
    if a == b:
        return a
    if subtype(a, b):
        return b
    if subtype(b, a):
        return a
    if a is NONE:
        return optional(b)
    if b is NONE:
        return optional(a)
    if isinstance(a, Optional) and subtype(b, a.element):
        return a
    if isinstance(a, Optional) or isinstance(b, Optional):
        inner = unify(a.element if isinstance(a, Optional) else a, b.element if isinstance(b, Optional) else b)
        if inner is not None:
            return optional(inner)
    if isinstance(a, Tuple) and isinstance(b, Tuple) and len(a.parts) == len(b.parts):
        parts = [unify(x, y) for x, y in zip(a.parts, b.parts)]
        if all(p is not None for p in parts):
            return Tuple(*parts)  # type: ignore[arg-type]
    return union((a, b)) if default_union else None


def walk(t: Type) -> Iterator[Type]:
    """A type and all that it is made of."""
    yield t
    for p in t.contained:
        yield from walk(p)


def substitute(t: Type, bound: dict[str, Type]) -> Type:
    """The type with its variables replaced."""
    if isinstance(t, Variable):
        return bound[t.name]
    if isinstance(t, Contained) and any(isinstance(x, Variable) for x in walk(t)):
        return t.with_parts(substitute(p, bound) for p in t.parts)
    return t


def bind(formal: Type, actual: Type, bound: dict[str, Type]) -> str | None:
    """Bind the variables of `formal` so that it becomes `actual`; says why where that cannot be."""
    if isinstance(formal, Variable):
        known = bound.get(formal.name)
        if known is None:
            bound[formal.name] = actual
            return None
        joined = unify(known, actual)
        if joined is None:
            return f"Type variable '{formal}' previously matched to type {known} is matched to type {actual}"
        bound[formal.name] = joined
        return None
    if not any(isinstance(x, Variable) for x in walk(formal)):
        return None
    if isinstance(formal, Optional):
        if isinstance(actual, Optional):
            return bind(formal.element, actual.element, bound)
        return None if actual is NONE else bind(formal.element, actual, bound)
    if isinstance(formal, List) and isinstance(actual, Tuple):
        joined2: Type | None = actual.parts[0] if actual.parts else None
        for p in actual.parts:
            joined2 = unify(joined2, p) if joined2 is not None else None
        return f"Cannot match {formal} to {actual}" if joined2 is None else bind(formal.element, joined2, bound)
    if type(formal) is not type(actual) or len(formal.contained) != len(actual.contained):
        return f"Cannot match {formal} to {actual}"
    for f, a in zip(formal.contained, actual.contained):
        why = bind(f, a, bound)
        if why:
            return why
    return None

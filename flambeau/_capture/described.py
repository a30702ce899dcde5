"""What objects are, as text that another process can compare with its own: functions by their code, classes by their members.

A constant of a capture is an object of one process. To serve another it is written as where it lies and what it is like; there it is
looked up again, without running any code of the program's, and has to be like that. What cannot be told exactly is `Strange`.
"""

from __future__ import annotations

import _abc
import abc
import collections
import enum
import functools
import hashlib
import marshal
import operator
import os
import sys
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

import flambeau
from flambeau._backends.cpu import watch
from flambeau._capture import stored
from flambeau._capture.stored import Strange
from flambeau._capture.tracer import HEAP, MISSING, lookup
from flambeau._eager import choose, derive
from flambeau._tensor import Tensor
from flambeau._values.device import device
from flambeau._values.dtype import dtype

HERE = os.path.dirname(os.path.abspath(flambeau.__file__)) + os.sep
PYTHON = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_UNREAD = frozenset((
    "__doc__", "__dict__", "__weakref__", "__module__", "__annotations__", "__firstlineno__", "__static_attributes__", "_abc_impl",
    "__orig_bases__", "__parameters__",
))  # fmt: skip
_LOOKED_INTO = frozenset((
    object, type, dict, list, tuple, set, frozenset, int, float, str, bool, bytes, complex, type(None), slice, range, property,
    collections.OrderedDict, collections.defaultdict, collections.deque, collections.Counter, functools.partial, abc.ABC,
    types.FunctionType, types.MethodType, types.CellType, types.BuiltinFunctionType, types.MethodWrapperType, types.ModuleType,
    types.MappingProxyType, weakref.ReferenceType,
))  # fmt: skip
_DATA = (types.MemberDescriptorType, types.GetSetDescriptorType)


def ours(name: Any) -> bool:
    """Whether a module of this name is the library's."""
    return isinstance(name, str) and (name.startswith(("flambeau.", "torch.")) or name in ("flambeau", "torch"))


def within_python(name: Any) -> bool:
    """Whether a module of this name came with Python (or is NumPy, whose version is part of every key)."""
    top = name.partition(".")[0] if isinstance(name, str) else ""
    return top in sys.stdlib_module_names or top == "numpy" or top == "builtins"


class Spaces:
    """The namespaces of modules, by the dictionaries that they are."""

    def __init__(self, own: dict[str, Any]) -> None:
        self.own = own  # the namespace of the captured function
        self._seen = 0
        self._look()

    def _look(self) -> None:
        self.modules: dict[int, str] = {}
        self.names: dict[int, str] = {}
        for name, m in [*sys.modules.items()]:
            if isinstance(m, types.ModuleType) and (id(m) not in self.modules or name.startswith("flambeau")):
                self.modules[id(m)] = name
                self.names[id(m.__dict__)] = name
        self._seen = len(sys.modules)

    def name(self, space: Any) -> Any:
        """Where a namespace is found."""
        if id(space) not in self.names and self._seen != len(sys.modules):
            self._look()
        found = self.names.get(id(space))
        return ("module", found) if found is not None else "own" if space is self.own else None


def space_of(where: Any, own: dict[str, Any]) -> dict[str, Any]:
    """The namespace that lies there."""
    return own if where == "own" else module(where[1]).__dict__


def module(name: str) -> types.ModuleType:
    """A module that is there; the library's are loaded."""
    found = sys.modules.get(name)
    if found is None and ours(name):
        import importlib

        found = importlib.import_module(name)
    if not isinstance(found, types.ModuleType):
        raise Strange(f"no module {name}")
    return found


class Describer:
    """Descriptions, each made once while nothing else runs."""

    def __init__(self, own: dict[str, Any]) -> None:
        self.spaces = Spaces(own)
        self.known: dict[int, Any] = {}
        self.kept: list[Any] = []

    def digest(self, x: Any) -> bytes:
        """A hash of what an object is like."""
        return hashlib.blake2b(marshal.dumps(self.of(x), 2), digest_size=16).digest()

    def of(self, x: Any) -> Any:
        """What an object is like, as plain data."""
        if isinstance(x, types.FunctionType):
            return self.function(x)
        if isinstance(x, type):
            return self.cls(x)
        if isinstance(x, types.CodeType):
            return self.code(x)
        if type(x) is property:
            return "property", tuple(None if f is None else self.of(f) for f in (x.fget, x.fset, x.fdel))
        if type(x) in (staticmethod, classmethod):
            return type(x).__name__, self.of(x.__func__)
        if type(x) is functools.cached_property:
            return "cached", self.of(x.func)
        if type(x) in (
            types.BuiltinFunctionType,
            types.MethodDescriptorType,
            types.WrapperDescriptorType,
            types.ClassMethodDescriptorType,
        ):
            return self.builtin(x)
        return self.plain(x)

    def plain(self, x: Any) -> Any:
        """Numbers, texts, sequences of them, dtypes and the like."""
        if type(x) in (list, dict, set, frozenset):
            raise Strange(f"a {type(x).__name__}")
        return "plain", stored.plain(x)

    def builtin(self, x: Any) -> Any:
        """A function of C: one of Python's own is known by its name."""
        owner = getattr(x, "__objclass__", None)
        me = getattr(x, "__self__", None)
        if owner is None and isinstance(me, type):
            owner = me
        if owner is not None:
            if owner.__flags__ & HEAP and not within_python(owner.__module__):
                raise Strange("a method of C")
            return "method of C", owner.__module__, owner.__qualname__, x.__name__
        name = me.__name__ if isinstance(me, types.ModuleType) else x.__module__
        if not within_python(name) or not (me is None or isinstance(me, types.ModuleType)):
            raise Strange("a function of C")
        return "function of C", name, x.__qualname__

    def code(self, c: types.CodeType) -> Any:
        """Code by all that decides what it does."""
        found = self.known.get(id(c))
        if found is None:
            consts = tuple(self.code(k) if isinstance(k, types.CodeType) else _constant(k) for k in c.co_consts)
            flags = c.co_argcount, c.co_posonlyargcount, c.co_kwonlyargcount, c.co_flags
            names = c.co_names, c.co_varnames, c.co_freevars, c.co_cellvars
            table = getattr(c, "co_exceptiontable", b"")
            found = self.known[id(c)] = ("code", c.co_qualname, c.co_code, consts, flags, names, table)
            self.kept.append(c)
        return found

    def function(self, f: types.FunctionType) -> Any:
        """A function: what it reads through cells and in namespaces is assumed where it is read, if it is the program's own."""
        found = self.known.get(id(f))
        if found is None:
            self.known[id(f)] = found = _operator(f)
            self.kept.append(f)
        if found is None:
            self.known[id(f)] = ("again", f.__qualname__)
            space = f.__globals__
            where = self.spaces.name(space)
            library = ours(space.get("__name__")) or f.__code__.co_filename.startswith("<flambeau ")
            cells: Any = tuple(map(self._cell, f.__closure__ or ())) if library else len(f.__closure__ or ())
            if where is None:
                where = "elsewhere", str(space.get("__name__"))
            given = self._held(f.__defaults__), self._held(f.__kwdefaults__)
            held = tuple((k, self._held(v)) for k, v in sorted(f.__dict__.items()) if k != "__source__")
            found = self.known[id(f)] = (
                "function", f.__name__, f.__qualname__, f.__module__, self.code(f.__code__), given, where, cells, held,
            )  # fmt: skip
        return found

    def cells(self, f: types.FunctionType) -> Any:
        """What kinds of objects a function closes over, and which functions: that tells one use of it from another."""
        found = []
        for cell in f.__closure__ or ():
            try:
                x = cell.cell_contents
            except ValueError:
                x = None
            found.append(self.sort(x))
        return tuple(found)

    def sort(self, x: Any) -> Any:
        """What tells one object from another at first sight."""
        if isinstance(x, types.FunctionType):
            return self.code(x.__code__)
        if isinstance(x, Tensor) and type(x._a) is np.ndarray:
            return _kind(x), x._a.shape, x._a.dtype.str
        parts = x.__dict__.get("_modules") if isinstance(x, flambeau.nn.Module) else None
        return (_kind(x), tuple((str(k), _kind(v)) for k, v in parts.items())) if type(parts) is dict else _kind(x)

    def _cell(self, cell: Any) -> Any:
        try:
            return self._held(cell.cell_contents)
        except ValueError:
            return "empty"

    def _held(self, x: Any) -> Any:
        """What a function or a class holds: what it reads of that, beside what is told here, is assumed where it is read."""
        if isinstance(x, (types.FunctionType, types.CodeType, type)):
            return self.of(x)
        if type(x) in (tuple, list):
            return type(x).__name__, tuple(map(self._held, x))
        if type(x) is dict and all(type(k) is str for k in x):
            return "dict", tuple((k, self._held(v)) for k, v in x.items())
        if type(x) is types.MethodType:
            return "bound", self._held(x.__func__), _kind(x.__self__)
        try:
            return self.plain(x)
        except Strange:
            return "a", *_kind(x)

    def cls(self, c: type) -> Any:
        """A class: the library's by its name (`Library` looks after the members), the program's by all that it defines."""
        found = self.known.get(id(c))
        if found is None:
            self.known[id(c)] = ("again", c.__qualname__)
            self.kept.append(c)
            if not c.__flags__ & HEAP:
                if not within_python(c.__module__):
                    raise Strange("a class of C")
                found = "class of C", c.__module__, c.__qualname__
            elif ours(c.__module__):
                found = "class of ours", c.__module__, c.__qualname__, tuple(b.__qualname__ for b in c.__mro__)
            else:
                plain = within_python(c.__module__)
                members = tuple(
                    (k, self._member(v, plain))
                    for k, v in sorted(c.__dict__.items())
                    if isinstance(k, str) and k not in _UNREAD
                )
                found = ("class", c.__module__, c.__qualname__, self.cls(type(c)), tuple(map(self.cls, c.__bases__)), _registered(c),
                         c.__basicsize__, members)  # fmt: skip
            self.known[id(c)] = found
        return found

    def lies(self, c: type) -> bool:
        """Whether a class that goes by a name of the library's is its own: one of its modules has it."""
        where = path(c, self.spaces)
        return where is not None and where[0] != "own" and ours(where[0][1])

    def _member(self, x: Any, plain: bool) -> Any:
        """What a class defines under a name. `plain`: the class is one of Python's own, which no program changes."""
        if isinstance(x, (types.FunctionType, type, property, staticmethod, classmethod, functools.cached_property)):
            return self.of(x)
        if isinstance(x, _DATA):
            return "field", x.__name__
        if isinstance(x, enum.Enum):  # what it holds is known wherever it is met
            return "one of", tuple(
                (k, self.plain(v)) for k, v in x.__dict__.items() if k not in ("__objclass__", "_sort_order_")
            )
        if isinstance(
            x,
            (
                types.BuiltinFunctionType,
                types.MethodDescriptorType,
                types.WrapperDescriptorType,
                types.ClassMethodDescriptorType,
            ),
        ):
            return self.builtin(x)
        if any(lookup(type(x), name) is not MISSING for name in ("__get__", "__set__", "__delete__")) and not plain:
            raise Strange(f"a {type(x).__name__} in a class")
        return self._held(x)


def _operator(f: types.FunctionType) -> Any:
    """An operator's function, which the library has written: the operator's own definition is part of the package."""
    op = f.__dict__.get("__op__")
    if f.__code__ is choose.OVERLOADED:  # what it remembers of earlier calls is its own affair
        held = dict(zip(f.__code__.co_freevars, (c.cell_contents for c in f.__closure__ or ()), strict=True))
        own = any(o.custom is not None for o in held["ops"])
        return None if own else ("overloads", held["name"], tuple(o.overload for o in held["ops"]), held["method"])
    if op is None or not f.__code__.co_filename.startswith("<flambeau ") or op.custom is not None:
        return None
    for form, made in (("", derive._functions), ("inplace", derive._inplace)):
        if made.get(op) is f:
            return "operator", op.overload, form, repr(f.__defaults__), repr(f.__kwdefaults__)
    return None


def _registered(c: type) -> Any:
    """The classes that were registered as a kind of an abstract one."""
    if "_abc_impl" not in c.__dict__:
        return ()
    found = [r() for r in _abc._get_dump(c)[0]]
    return tuple(sorted((r.__module__, r.__qualname__) for r in found if r is not None))


def known(c: type) -> bool:
    """Whether all that objects of a class hold is in what the guards look at: attributes, items, cells."""
    return all(_known(b) for b in c.__mro__)


def _known(c: type) -> bool:
    if c in _LOOKED_INTO or ours(c.__module__):
        return True
    return bool(c.__flags__ & HEAP) and (
        not within_python(c.__module__) or any(isinstance(v, types.FunctionType) for v in c.__dict__.values())
    )


def _kind(x: Any) -> tuple[str, str]:
    return type(x).__module__, type(x).__qualname__


def _constant(k: Any) -> Any:
    """A constant of code."""
    if type(k) is frozenset:
        return "frozenset", tuple(sorted(repr(x) for x in k))
    if type(k) is tuple:
        return "tuple", tuple(map(_constant, k))
    if k is Ellipsis:
        return "Ellipsis", ()
    if type(k) in (type(None), bool, int, float, complex, str, bytes):
        return k
    raise Strange(f"a constant that is a {type(k).__name__}")


# ---------------------------------------------------------------- the library as it is


_QUIET = frozenset(
    (int, str, bool, float, type(None), tuple, list, dict, set, frozenset, bytes, types.ModuleType, dtype)
)


_APART = (  # modules that name other packages' classes and functions; no capture runs any of theirs
    "flambeau.onnx",
    "flambeau.utils.tensorboard",
    "flambeau.utils.model_zoo",
    "flambeau._vmap_internals",
)
_CODE = operator.attrgetter("__code__")
_last: list[tuple[Library, Any, list[types.CodeType]]] = []


class Library:
    """Whether the library's functions are its own, wherever they lie, and which go by another name than theirs.

    Operators and derivatives are run by a capture, not followed; what a program has put in their way would not be assumed.
    """

    def __init__(self) -> None:
        self.foreign: list[str] = []
        self.renamed: set[str] = set()
        self._spaces: list[tuple[Any, str]] = [(sys.modules, "content")]
        self._functions: list[types.FunctionType] = []
        self._good: dict[str, bool] = {}  # files, and whether they are the library's
        seen: set[int] = set()
        for name, m in [*sys.modules.items()]:
            if (
                (name == "torch" or (name.startswith("flambeau") and not name.startswith(_APART)))
                and isinstance(m, types.ModuleType)
                and id(m) not in seen
            ):
                seen.add(id(m))
                self._spaces.append((m.__dict__, "content"))
                self._all(m.__dict__, name, name, seen)

    @staticmethod
    def now() -> Library:
        """The library as it is: the last look at it, where nothing has changed since, which is watched."""
        same = watch.same()
        if same is None:
            return Library()
        if _last and same[0](_last[0][1]) and list(map(_CODE, _last[0][0]._functions)) == _last[0][2]:
            return _last[0][0]
        made = Library()
        try:
            _last[:] = [(made, watch.words(made._spaces)[0], list(map(_CODE, made._functions)))]
        except watch.Unwatchable:
            _last.clear()
        return made

    def _all(self, space: Any, where: str, module: str, seen: set[int]) -> None:
        """The members of a module or a class."""
        good = self._good
        for key, v in [*space.items()]:
            kind = type(v)
            if kind in _QUIET:
                continue
            if kind is types.FunctionType:
                code = v.__code__
                self._functions.append(v)
                if not (v.__name__ == key == code.co_name and good.get(code.co_filename) and v.__module__ == module):
                    self._look(v, key, where)
            elif isinstance(v, type):
                if id(v) not in seen:
                    seen.add(id(v))
                    if not ours(v.__module__):
                        if not within_python(v.__module__):
                            self.foreign.append(f"{where}.{key}")
                    elif v.__flags__ & HEAP:
                        self._spaces.append((v, "class"))
                        self._all(v.__dict__, v.__qualname__, v.__module__, seen)
            elif kind is staticmethod or kind is classmethod:
                if type(v.__func__) is types.FunctionType:
                    self._look(v.__func__, key, where)
            elif kind is property:
                for f in (v.fget, v.fset):
                    if type(f) is types.FunctionType:
                        self._look(f, key, where)
            else:
                self._other(v, key, where)

    def _other(self, x: Any, key: str, where: str) -> None:
        """What is no function and no class: objects of classes of the library's or of Python's; what they call is told."""
        kind = type(x)
        if kind is types.MethodType or kind is functools.partial:
            f: Any = x.__func__ if kind is types.MethodType else x.func
            if type(f) is types.FunctionType:
                self._look(f, key, where)
            else:
                self.renamed.add(f"{where}.{key} {_kind(f)} {getattr(f, '__qualname__', '')}")
        elif kind is types.BuiltinFunctionType:
            if x.__name__ != key:
                self.renamed.add(f"{where}.{key} {x.__module__}.{x.__qualname__}")
        elif (
            not ours(kind.__module__)
            and not within_python(kind.__module__)
            and not kind.__module__.startswith("llvmlite")
        ):
            self.foreign.append(f"{where}.{key}")

    def _look(self, f: types.FunctionType, key: str, where: str) -> None:
        self._functions.append(f)
        code = f.__code__
        file = code.co_filename
        late = code.co_qualname.startswith(
            "_late.<locals>."
        )  # a method of tensors that makes way for another when it is first called
        if f.__name__ != key or (code.co_name != key and not late):
            self.renamed.add(f"{where}.{key} {f.__module__}.{f.__qualname__} {code.co_qualname}")
        good = self._good.get(file)
        if good is None:
            good = self._good[file] = file.startswith((HERE, "<flambeau "))
        if not (good and (f.__module__ is None or ours(f.__module__))):
            space = str(f.__globals__.get("__name__"))
            made = file in ("<string>", "<frozen abc>") and (ours(space) or space.startswith("namedtuple_"))
            pythons = file.startswith("<frozen ") or (file.startswith(PYTHON) and "site-packages" not in file)
            if not made and not (pythons and within_python(space)):
                self.foreign.append(f"{where}.{key}")


# ---------------------------------------------------------------- where objects lie


_NAMED = {t: n for n, t in vars(types).items() if isinstance(t, type)}  # types of Python's own that lie nowhere else


def path(x: Any, spaces: Spaces) -> Any:
    """Where a class or function lies by its own word: a namespace and names; None where something else lies there."""
    if isinstance(x, type) and x in _NAMED:
        return ("module", "types"), _NAMED[x]
    qualname, name = getattr(x, "__qualname__", None), getattr(x, "__module__", None)
    if not isinstance(qualname, str) or "<" in qualname or not isinstance(name, str):
        return None
    for where in _places(name, spaces):
        try:
            if along(space_of(where, spaces.own), qualname) is x:
                return where, qualname
        except (Strange, ImportError):
            continue
    return None


def _places(name: str, spaces: Spaces) -> Iterator[Any]:
    if name.partition(".")[0] == "torch":
        renamed = "flambeau" + name[len("torch") :]
        if renamed in sys.modules:
            yield "module", renamed
    if name in sys.modules:
        yield "module", name
    yield "own"


def get(space: Any, key: str) -> Any:
    """What a namespace has under a name. The library loads, or writes, what is rarely used when it is asked for."""
    if key not in space and ours(space.get("__name__")):
        for name in (space["__name__"], "flambeau"):
            m = sys.modules.get(name)
            if m is not None and m.__dict__ is space:
                return getattr(m, key, MISSING)
    return space.get(key, MISSING)


def along(space: Any, qualname: str) -> Any:
    """What a dotted name means there, by what namespaces and classes themselves define."""
    found: Any = MISSING
    for part in qualname.split("."):
        if isinstance(found, type):
            written(found, part)
            space = found.__dict__
        found = get(space, part)
        if isinstance(found, (staticmethod, classmethod)):
            found = found.__func__
        if found is MISSING:
            raise Strange(qualname)
        space = {}
    return found


def written(c: type, name: str) -> None:
    """Members of the library's classes are written when they are first asked for."""
    if ours(c.__module__) and lookup(c, name) is MISSING:
        getattr(c, name, None)


def same(x: Any) -> bool:
    """Whether plain data stands for this very object, or for one that is compared by what it holds."""
    if isinstance(x, dtype) or type(x).__module__.partition(".")[0] == "numpy":
        return stored.made(stored.plain(x)) is x
    return not isinstance(x, device)


def sets(codes: Iterable[types.CodeType]) -> bool:
    """Whether code of the program's own goes through sets (whose order is another one in each process), or imports something."""
    from flambeau._capture.bytecode import decode

    for c in codes:
        if c.co_filename.startswith((HERE, "<flambeau ")):
            continue
        if any(type(k) is frozenset for k in c.co_consts) or {"set", "frozenset", "hash"} & {*c.co_names}:
            return True
        if any(i.name in ("IMPORT_NAME", "BUILD_SET", "SET_ADD", "SET_UPDATE") for i in decode(c).instructions):
            return True
    return False

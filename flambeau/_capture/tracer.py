"""What a capture knows of the world: which objects came from outside and by which way, and what reading or writing them means.

Values on the interpreter's stack are real objects. An object from outside is registered with its source when it is first reached, and
its type (or its value, or its identity) becomes a guard. Whatever the function makes itself is not registered, and needs no guard.
"""

from __future__ import annotations

import collections
import enum
import gc
import re
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau._capture import settings
from flambeau._capture.breaks import Break, Raises
from flambeau._capture.effects import Journal
from flambeau._capture.geometry import Wanted
from flambeau._capture.guards import Guards
from flambeau._capture.mistakes import subscripts
from flambeau._capture.numbers import Tracked, track
from flambeau._capture.recorder import Recorder
from flambeau._capture.sources import Source, Sources
from flambeau._eager.graph import node_of
from flambeau._eager.modes import STATE, State
from flambeau._ops import OpOverload, OpOverloadPacket
from flambeau._tensor import LAYOUTS, Tensor
from flambeau._values.device import device, layout, memory_format
from flambeau._values.dtype import dtype
from flambeau._values.shape import Size
from flambeau.overrides import is_overriding

PRIMITIVE = frozenset((type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), range, slice,
                       device, layout, memory_format, dtype, types.CodeType))  # fmt: skip
LISTS = (list, tuple, collections.deque)
SETS = (set, frozenset)
BUILTIN = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
           types.ClassMethodDescriptorType, OpOverload, OpOverloadPacket)  # fmt: skip
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
HEAP = 1 << 9  # a class made by Python code: its attributes can be changed


def is_constant(x: Any) -> bool:
    """Whether a value is compared rather than looked into."""
    kind = type(x)
    if kind in PRIMITIVE:
        return True
    if kind is tuple or kind is Size or kind is frozenset:
        return all(is_constant(y) for y in x)
    return _is_enum(x)


def _is_enum(x: Any) -> bool:
    return isinstance(x, enum.Enum)


def behind(proxy: Any) -> Any:
    """What a mappingproxy shows."""
    return gc.get_referents(proxy)[0]


def lookup(cls: type, name: str) -> Any:
    """What a class defines, itself or by inheritance, unbound."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return MISSING


def instance_dict(obj: Any) -> Any:
    """An object's own attributes, or None where it has no dictionary."""
    try:
        found = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        return None
    return found if type(found) is dict else None


def builtin_of(c: Any) -> Any:
    """The class of Python's own that a container is an instance of: what a subclass says otherwise is for `tr.call` to follow."""
    return next(b for b in type(c).__mro__ if b.__module__ == "builtins" or b in _OWN)


_OWN = (collections.OrderedDict, collections.defaultdict, collections.deque)


class Tracer:
    """One capture."""

    native = False  # whether instructions are carried out without being captured
    stop_at = -1  # how many instructions this capture has
    count = 0
    frame: Any = None

    def __init__(self, parameters: list[str], changing: set[str], symbolic: bool = False, every: bool = False) -> None:
        self.sources = Sources()
        self.symbols: Any = None  # where sizes are expressions: what these are made of
        self.every = every  # whether all sizes are
        if symbolic:
            from flambeau._capture.sizes import Symbols

            self.symbols = Symbols(self)
        self.guards = Guards(parameters)
        self.recorder = Recorder(self)
        self.journal = Journal(self)
        self.changing = changing  # sources of numbers that were seen to change
        self.outside_nodes: set[int] = set()
        self.spent: set[int] = set()  # nodes whose graph a backward pass has freed
        self._known: dict[int, tuple[Any, Source]] = {}
        self._scanned: set[int] = set()
        self.examined: set[int] = set()
        self._kept: list[Any] = []
        self.state_before = _state()
        self.depth = 0
        self.generators: list[Any] = []  # those that the capture follows
        self.assumes: bool | str = (
            False  # whether branches that raise are assumed not to be taken; "gate": calls that take them are refused
        )
        self.assumed: list[tuple[Any, bool]] = []  # tensors that must be true, or false, when the program has run
        self.tells = self.told = False  # whether texts of tensors' elements may be passed on, and whether there are any
        self.selects = False  # whether a copy may stand for a view at a place that data tells
        self.transforms = False  # whether there were any
        self.variables: list[frozenset[Any]] = []  # what transforms that are running differentiate with respect to
        self.said: list[str] = []  # lines that give warnings again, in order
        self.nested = 0  # how many more blocks of autocast are open than were at the start
        self.unordered = False  # whether a set was gone through, whose order is another one in each process
        self.codes: dict[int, types.CodeType] = {}  # of the functions that were followed
        self.casts: dict[int, Any] = {}  # those that autocast remembered before

    def keep(self, x: Any) -> None:
        self._kept.append(x)

    def forget(self) -> None:
        """The capture is over: let go of all that was computed, which a collector of cycles would find much later."""
        journal = self.journal
        for held in (self._known, self._kept, self.generators, journal.containers, journal.grads, journal.order):
            held.clear()
        self.frame = None
        self.recorder.forget()

    # ---- what is known ----

    def source_of(self, x: Any) -> Source | None:
        entry = self._known.get(id(x))
        return None if entry is None else entry[1]

    def tensors(self) -> list[tuple[Any, Source]]:
        """The tensors from outside that were reached."""
        return [(x, source) for x, source in self._known.values() if isinstance(x, Tensor)]

    def is_inside(self, node: Any) -> bool:
        """Whether a leaf's node belongs to a tensor that the function made."""
        t = node.ref()
        return t is not None and self.source_of(t) is None

    def outcome(self, text: str, operands: tuple[Any, ...], value: bool) -> bool:
        """A condition over changing numbers: its outcome is assumed."""
        self.guards.outcome(self.sources.expression(text, *operands), value)
        return value

    def reach(self, value: Any, source: Source, fixed: bool = False) -> Any:
        """A value read from outside: register it, and assume what must be assumed about it. `fixed`: a number is not tracked."""
        kind = type(value)
        if is_constant(value):
            if (kind is float or kind is int) and not fixed and source.spoken() in self.changing:
                self.guards.type(source, kind)
                if kind is int and self.symbols is not None:
                    return self.symbols.symbol(source, value)
                return track(value, source, self)
            if kind is tuple and not fixed and source.spoken() in self.changing:
                return self._changing_tuple(value, source)
            self.guards.equal(source, value)
            return value
        if source.kind == "local" and not isinstance(value, (Tensor, dict, *LISTS, *SETS)):
            self.guards.stable.add(source.key)
        entry = self._known.get(id(value))
        if entry is not None:
            if entry[1] is not source:
                self.guards.same(source, entry[1])
            return value
        if isinstance(value, Tensor):
            self._known[id(value)] = (value, source)
            self._tensor(value, source)
        elif kind in (types.BuiltinFunctionType, types.MethodWrapperType) and _owned(value.__self__):
            self._known[id(value)] = (value, source)
            self.guards.type(source, kind)
            self.guards.equal(self.sources.attr(source, "__name__"), value.__name__)
            self.reach(value.__self__, self.sources.attr(source, "__self__"))
        elif self._by_identity(value, kind, source):
            self.guards.identity(source, value)
            self._known[id(value)] = (value, self.sources.const(value))
        else:
            self._known[id(value)] = (value, source)
            self.guards.type(source, kind)
            if kind is types.FunctionType:
                self.guards.identity(self.sources.attr(source, "__code__"), value.__code__)
            self.journal.note(value, source)
        return value

    def _changing_tuple(self, value: tuple[Any, ...], source: Source) -> tuple[Any, ...]:
        """A tuple that is another one at each call (an optimizer's `betas` under a schedule): its floats may change."""
        self.guards.type(source, tuple)
        self.guards.length(source, len(value))
        items = [self.sources.item(source, i) for i in range(len(value))]
        self.changing |= {item.spoken() for item, v in zip(items, value, strict=True) if type(v) is float}
        return tuple([self.reach(v, item) for item, v in zip(items, value, strict=True)])

    def _by_identity(self, value: Any, kind: type, source: Source) -> bool:
        if isinstance(value, (type, types.ModuleType)) or kind in BUILTIN or isinstance(value, State):
            return True
        return kind is types.FunctionType and source.kind == "item" and source.base.kind == "const"

    def _tensor(self, t: Any, source: Source) -> None:
        """An outside tensor is reached; what it is like is assumed only when that matters (`examine`)."""
        self.guards.type(source, type(t))
        self.recorder.outside(t)
        if self.symbols is not None and type(t._a) is np.ndarray:
            from flambeau._capture import sizes

            shape = tuple(self._size(t, source, d, n) for d, n in enumerate(t._a.shape))
            self.recorder.stand(t, sizes.stand_in(t._a, shape))
            if any(type(n) is not int for n in shape):
                self.examine(t)

    def _size(self, t: Tensor, source: Source, d: int, n: int) -> Any:
        """A size of an outside tensor: a number, or an expression where it may change. 0 and 1 are numbers."""
        facts = vars(t)
        marked = d in facts.get("_dynamo_dynamic_indices", ()) or d in facts.get("_dynamo_weak_dynamic_indices", ())
        changes = marked or (
            not facts.get("_is_param")
            and (self.every or f"{source.spoken()}.shape[{d}]" in self.changing or _listed(source.spoken()))
        )
        if n < 2 or not changes or (d in facts.get("_dynamo_static_indices", ()) and not marked):
            return n
        made = self.symbols.symbol(self.sources.size(source, d), n, 2)
        if d in facts.get("_dynamo_dynamic_indices", ()):
            self.symbols.marked += made.atoms
        return made

    def examine(self, t: Any) -> None:
        """An outside tensor is used: assume all that operators see of it but its elements."""
        entry = self._known.get(id(t))
        if entry is None or id(t) in self.examined:
            return
        self.examined.add(id(t))
        if is_overriding(t):
            raise Break(
                f"a tensor of the subclass '{type(t).__name__}', whose __torch_function__ says what operators do"
            )
        stand = self.recorder.stands(t)
        if type(t._a).__name__ != "ndarray" and t._a is not stand:
            raise Break(f"a tensor on the device '{t.device}'")
        if type(t._a) in LAYOUTS:
            raise Break("a sparse or nested tensor")
        if t._inference and not STATE.inference:
            raise Break("a tensor made in inference mode")
        array = self.recorder.before(t, "_a")
        if t._a is not (array if stand is None else stand) or t._node is not self.recorder.before(t, "_node"):
            raise Break("a tensor is looked at only after it was changed")
        node = node_of(t)
        self.guards.tensor(entry[1], t, array, stand)
        if node is not None:
            if not node.leaf:
                self.outside_nodes.add(id(node))
            self.keep(node)

    def identical(self, x: Any, y: Any) -> bool:
        """`x is y`: that two objects from outside are one was assumed when they were reached, that they are not is assumed here."""
        if x is not y:
            sources = [s for s in (self.source_of(x), self.source_of(y)) if s is not None]
            if len(sources) == 2 and type(x) is type(y) and any(s.kind != "const" for s in sources):
                self.guards.apart(sources, type(x))
        return x is y

    def apart(self) -> None:
        """Where something outside was written: the objects that the capture took for different ones must be different ones."""
        written = {type(c) for c, _ in self.journal.containers.values()} | {types.CellType for _ in self.journal.cells}
        written |= {type(o) for o, _, _ in self.journal.slots.values()}
        groups: dict[type, list[Source]] = {}
        tensors = bool(self.journal.grads or self.recorder.mutated)
        for x, source in self._known.values():
            kind = type(x)
            if source.kind != "const" and (kind in written or (tensors and id(x) in self.examined)):
                groups.setdefault(Tensor if isinstance(x, Tensor) else kind, []).append(source)
        for kind, sources in groups.items():
            self.guards.apart(sources, kind)

    def constant(self, value: Any) -> Source:
        """The source of an object that the code itself names (a class, a namespace)."""
        return self.sources.const(value)

    # ---- containers ----

    def scan(self, c: Any, but: int | None = None) -> None:
        """Assume what an outside container holds: then code that is not followed may read it. `but`: this element of a list is about to be another."""
        source = self.source_of(c)
        if source is None or id(c) in self._scanned:
            return
        self._scanned.add(id(c))
        held = self.journal.initial(c)
        s = self.sources
        if isinstance(c, dict):
            if all(is_constant(k) for k in held):
                self.guards.equal(s.expression("tuple({})", source), tuple(held))
                for k, v in held.items():
                    self.reach(v, self._item(c, source, k), True)
            else:
                self.guards.length(source, len(held))
                for i, (k, v) in enumerate(held.items()):
                    k = self.reach(k, s.nth(source, i))
                    self.reach(v, self._item(c, source, k if is_constant(k) else self._key(k)), True)
        elif isinstance(c, LISTS):
            self.guards.length(source, len(held))
            for i, v in enumerate(held):
                if i != but:
                    self.reach(v, self._item(c, source, i), True)
        elif isinstance(c, SETS):
            if not all(is_constant(x) for x in held):
                raise Break("a set of objects from outside is looked through")
            self.guards.equal(s.expression("frozenset({})", source), frozenset(held))

    def looked_into(self, c: Any) -> bool:
        """Whether what an outside list holds was read, or written."""
        source = self.source_of(c)
        return source is not None and (
            id(c) in self._scanned or self.journal.touched(c) or self.guards.assumed("length", source)
        )

    def _key(self, key: Any) -> Any:
        """A dictionary's key as a constant or a source."""
        if isinstance(key, Tracked):
            return key.fixed()
        parts = key if type(key) is tuple else (key,)
        if is_constant(key) or all(is_constant(x) or isinstance(x, type) for x in parts):
            return key
        source = self.source_of(key)
        if source is None and isinstance(key, type):  # `type(x)`: what it is was assumed with `x`
            return self.constant(key)
        return source if source is not None else MISSING

    def deep(self, x: Any, depth: int = 4) -> Any:
        """Before a value goes to code that is not followed: assume all that it holds."""
        kind = type(x)
        if isinstance(x, Tensor):
            self.examine(x)
            return x
        if kind in PRIMITIVE or isinstance(x, (type, Tracked)):
            return x
        if isinstance(x, (dict, *LISTS, *SETS)):
            self.scan(x)
            if depth:
                for y in list(x.values()) if isinstance(x, dict) else list(x):
                    self.deep(y, depth - 1)
        return x

    @subscripts
    def get_item(self, c: Any, key: Any) -> Any:
        """`c[key]` of a list, tuple or dictionary, as these have it."""
        source = self.source_of(c)
        if source is None:
            if isinstance(c, collections.defaultdict) and not self.has(c, key):
                return self._default(c, key)
            return builtin_of(c).__getitem__(c, key.fixed() if isinstance(key, Tracked) else key)
        key = key.fixed() if isinstance(key, Tracked) else key
        own: Any = builtin_of(c).__getitem__
        if isinstance(c, dict):
            mark = self._key(key)
            held = self.journal.initial(c)
            if builtin_of(c).__contains__(c, key):
                v = own(c, key)
                if key in held and not self.journal.written(c, key):
                    if mark is MISSING:
                        raise Break("a dictionary from outside is read under a key of one's own making")
                    return self.reach(v, self._item(c, source, mark))
                return v
            if key not in held and mark is not MISSING:
                self.guards.present(source, mark, False)
            if isinstance(c, collections.defaultdict) and c.default_factory is not None:
                return self._default(c, key)
            raise KeyError(key)
        if isinstance(key, slice) or self.journal.touched(c):
            self.scan(c)
            return own(c, key)
        if not isinstance(key, int):
            return own(c, key)
        if not -len(c) <= key < len(c):
            self.guards.length(source, len(c))
            return own(c, key)
        if key < 0 and isinstance(c, list):
            self.guards.length(source, len(c))
            key += len(c)
        return self.reach(own(c, key), self._item(c, source, key))

    def _item(self, c: Any, source: Source, key: Any) -> Source:
        """Where an item lies: at each call it is read past what a subclass makes of `c[key]`."""
        if isinstance(lookup(type(c), "__getitem__"), types.FunctionType):
            if isinstance(c, collections.deque):
                raise Break(f"an element of a {type(c).__name__}, which has its own way to find them")
            return self.sources.expression(f"{'dict' if isinstance(c, dict) else builtin_of(c).__name__}.__getitem__({{}}, {{}})", source, key)  # fmt: skip
        return self.sources.item(source, key)

    def _default(self, c: Any, key: Any) -> Any:
        if c.default_factory is None:
            raise KeyError(key)
        v = self.call(c.default_factory, (), {})
        self.set_item(c, key, v)
        return v

    @subscripts
    def set_item(self, c: Any, key: Any, value: Any) -> None:
        """`c[key] = value` of a list or dictionary."""
        key = key.fixed() if isinstance(key, Tracked) else key
        if self.source_of(c) is not None:
            if isinstance(c, dict) and self._key(key) is MISSING and not isinstance(key, Tensor):
                self.hashable(key)
            if isinstance(c, list) and type(key) is int and -len(c) <= key < len(c):
                key %= len(c)
                self.scan(c, key)
                self.journal.put(c, key)
            elif not isinstance(c, dict):
                self.scan(c)
                self.journal.touch(c)
            else:
                self.journal.put(c, key)
        builtin_of(c).__setitem__(c, key, value)

    @subscripts
    def delete_item(self, c: Any, key: Any) -> None:
        if self.source_of(c) is not None:
            self.get_item(c, key) if not isinstance(key, slice) else self.scan(c)
            if not isinstance(c, dict):
                self.scan(c)
            self.journal.touch(c)
        builtin_of(c).__delitem__(c, key)

    def contains(self, c: Any, key: Any) -> bool:
        """`key in c`."""
        fn = lookup(type(c), "__contains__")
        if isinstance(fn, types.FunctionType) and not isinstance(c, Tensor):
            return self.truth(self.call(self.load_attr(c, "__contains__"), (key,), {}))
        return self.has(c, key)

    def has(self, c: Any, key: Any) -> bool:
        """The same of what Python itself has, whatever a subclass makes of it."""
        source = self.source_of(c)
        if isinstance(c, (dict, *SETS)):
            if isinstance(key, Tracked):
                if self._without(c, key):
                    return False
                key = key.fixed()
            self.hashable(key)
            own: Any = builtin_of(c).__contains__
            if source is None:
                return bool(own(c, key))
            held = self.journal.initial(c)
            mark = self._key(key)
            there = bool(own(c, key))
            if (key in held) == there and mark is not MISSING:
                self.guards.present(source, mark, there)
            return there
        if isinstance(c, LISTS):
            self.scan(c)
            for x in c:
                if self.identical(x, key):
                    return True
                if self.truth(self.binary("==", x, key)):
                    return True
            return False
        if isinstance(c, (str, bytes, range)):
            return key in c
        if isinstance(c, types.MappingProxyType):
            held = self.shown(c)
            return self.has(held, key) if isinstance(held, dict) else key in held
        if isinstance(c, Tensor):
            return key in c  # type: ignore[attr-defined]
        if isinstance(c, (type({}.keys()), type({}.values()), type({}.items()))):
            return key in c
        raise Break(f"'in' of a {type(c).__name__}")

    def shown(self, proxy: Any) -> Any:
        """The dictionary behind a mappingproxy from outside, whose items are assumed like those of any; one that was made here is itself."""
        source = self.source_of(proxy)
        if source is None:
            return proxy
        held = behind(proxy)
        if not isinstance(held, dict):
            raise Break(f"a mappingproxy of a {type(held).__name__}")
        return self.reach(held, self.sources.call(self.constant(behind), (source,), {}))

    def _without(self, c: Any, key: Tracked) -> bool:
        """Whether a number that changes is not among the constants of a dictionary or set, which is assumed (a count that meets no milestone)."""
        source, held = self.source_of(c), self.journal.initial(c)
        if key.raw in c or key.raw in held or not all(map(is_constant, held)):
            return False
        if source is not None:
            self.guards.present(source, key.source, False)
        elif isinstance(c, frozenset):
            self.outcome("{} in {}", (key.source, c), False)
        return source is not None or isinstance(c, frozenset)

    def hashable(self, key: Any) -> None:
        """Keys whose hash runs Python code that is not followed cannot be looked up."""
        fn = lookup(type(key), "__hash__")
        if isinstance(fn, types.FunctionType) and not isinstance(key, Tensor):
            if _is_enum(key) or (fn.__module__ or "").startswith("flambeau"):
                return
            raise Break(f"a key of the class {type(key).__name__}, which has its own __hash__")

    # ---- truth ----

    def truth(self, x: Any) -> bool:
        """`bool(x)` as an `if` takes it."""
        kind = type(x)
        if kind is bool or x is None:
            return bool(x)
        if isinstance(x, Tensor):
            self.examine(x)
            if self.recorder.known(x) or self.source_of(x) is not None:
                raise Break(
                    "a branch depends on the elements of a tensor",
                    "use torch.where or torch.cond, or compile the parts around the branch",
                )
            return bool(x)
        if isinstance(x, (dict, *LISTS, *SETS)) and not isinstance(lookup(kind, "__bool__"), types.FunctionType):
            source = self.source_of(x)
            if source is not None:
                if self.journal.touched(x):
                    self.scan(x)
                elif x:
                    self.guards.nonempty(source)
                else:
                    self.guards.length(source, 0)
            return len(x) > 0
        if kind in PRIMITIVE or isinstance(x, Tracked):
            return bool(x)
        for name in ("__bool__", "__len__"):
            fn = lookup(kind, name)
            if fn is not MISSING:
                if isinstance(fn, types.FunctionType):
                    result = self.call(self.load_attr(x, name), (), {})
                    return self.truth(result)
                self.deep(x)
                return bool(x)
        return True

    def assume(self, t: Any, value: bool) -> bool:
        """That a tensor is true, or false; where it is not even now, the function is about to raise."""
        self.examine(t)
        if self.symbols is not None or type(t._a) is not np.ndarray or t._a.size != 1:
            return self.truth(t)
        if self.assumes == "gate":
            self.expect(t, value)
            return value
        if self.recorder.geometry is not None:
            raise Wanted("a tensor's elements are looked at")
        if bool(t._a.reshape(-1)[0]) is not value:
            raise Raises("an error is raised for what a tensor holds")
        self.assumed.append((self.recorder.copied(t), value))
        return value

    def expect(self, t: Any, value: bool) -> None:
        """That a tensor is true, or false: the program refuses a call where it is not, before anything is written."""
        if not self.assumes:
            self.truth(t)
        self.examine(t)
        self.recorder.expect(t.ne(0) if value else t.eq(0))

    # ---- attributes ----

    load_attr: Callable[..., Any]  # `obj.name`, and the others: `attributes` says what they are
    store_attr: Callable[..., None]
    delete_attr: Callable[..., None]

    def tensor_grad(self, t: Any) -> Any:
        """`t._grad`, read."""
        source = self.source_of(t)
        if source is None or self.journal.grad_written(t):
            return t._grad
        return self.reach(t._grad, self.sources.attr(source, "_grad"))

    def set_tensor_grad(self, t: Any, g: Any) -> None:
        """`t._grad = g`, checked before."""
        if self.source_of(t) is not None:
            self.journal.grad(t)
        t._grad = g

    # ---- globals and cells ----

    def load_global(self, space: dict[str, Any], builtins: dict[str, Any], name: str) -> Any:
        s = self.sources
        base = s.const(space)
        if name in space:
            v = space[name]
            if self.journal.written(space, name):
                return v
            return self.reach(v, s.item(base, name))
        self.guards.present(base, name, False)
        if name not in builtins:
            if builtins:
                self.guards.present(s.const(builtins), name, False)
            raise NameError(f"name '{name}' is not defined")
        return self.reach(builtins[name], s.item(s.const(builtins), name))

    def store_global(self, space: dict[str, Any], name: str, value: Any) -> None:
        self._known.setdefault(id(space), (space, self.sources.const(space)))
        self.journal.put(space, name)
        space[name] = value

    def load_cell(self, cell: Any, name: str) -> Any:
        try:
            v = cell.cell_contents
        except ValueError:
            raise NameError(f"cannot access free variable '{name}' where it is not associated with a value") from None
        source = self.source_of(cell)
        if source is None or self.journal.cell_written(cell):
            return v
        return self.reach(v, self.sources.attr(source, "cell_contents"))

    def store_cell(self, cell: Any, value: Any) -> None:
        if self.source_of(cell) is not None:
            self.journal.cell(cell)
        cell.cell_contents = value

    def register(self, x: Any, source: Source) -> None:
        """An object that belongs to another (a cell, a dictionary of attributes): no guard of its own."""
        self._known.setdefault(id(x), (x, source))

    # ---- operators of Python ----

    binary: Callable[..., Any]  # as `operations` has it

    # ---- calls ----

    call: Callable[..., Any]  # `fn(*args, **kwargs)`, as `calls` has it
    custom_backward: Callable[..., Any]


def _listed(name: str) -> bool:
    """Whether the user has said by name that an input's sizes change."""
    listed = re.sub(r"L\['(\w+)'\]", r"\1", settings.dynamic_sources())
    return bool(listed) and any(re.fullmatch(pattern.strip(), name) for pattern in listed.split(","))


def _owned(me: Any) -> bool:
    """Whether a builtin method belongs to an object: it is made anew whenever it is asked for."""
    return me is not None and not isinstance(me, types.ModuleType)


def _state() -> dict[str, Any]:
    """The thread's switches."""
    return {n: getattr(STATE, n) for n in ("grad", "inference", "anomaly", "function_modes", "autocast", "autocast_dtypes", "autocast_cache",
                                           "saved_hooks", "no_function", "partial")}  # fmt: skip

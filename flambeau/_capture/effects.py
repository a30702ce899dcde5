"""What a capture changed in the world outside: how it is taken back, and the lines that do it again at each later call.

While the function is interpreted, writes happen for real. The journal keeps what was there before: `undo` restores it. What differs
between then and now is what an entry replays, after the program has run.
"""

from __future__ import annotations

import collections
import functools
import itertools
import types
from typing import Any

from flambeau._capture import transformed
from flambeau._capture.breaks import Break
from flambeau._capture.numbers import Tracked
from flambeau._capture.recorder import Value
from flambeau._capture.shared import counter
from flambeau._capture.unread import Text
from flambeau._eager import autocast
from flambeau._eager.graph import TWICE, Node, node_of, serial
from flambeau._eager.modes import STATE
from flambeau._tensor import PLAIN, Tensor
from flambeau._values.shape import Size

MISSING: Any = object()
CASTING = ("autocast", "autocast_dtypes", "autocast_cache")


class Journal:
    """What was there before it was first written."""

    def __init__(self, tracer: Any) -> None:
        self.tracer = tracer
        self.containers: dict[int, tuple[Any, Any]] = {}
        self.grads: dict[int, tuple[Any, Any]] = {}
        self.cells: dict[int, tuple[Any, Any]] = {}
        self.slots: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        self.order: list[Any] = []  # what was written, as often as it was
        self._puts: dict[int, set[Any]] = {}  # keys of dictionaries that were assigned

    def note(self, value: Any, source: Any) -> None:
        """An outside object is reached for the first time."""

    def touch(self, c: Any) -> None:
        """A list, dictionary, set or deque is about to be written."""
        self.order.append(c)
        if id(c) not in self.containers:
            self.containers[id(c)] = (c, c.copy() if not isinstance(c, collections.defaultdict) else dict(c))

    def put(self, d: Any, key: Any) -> None:
        """`d[key]` is about to be assigned."""
        self.touch(d)
        self._puts.setdefault(id(d), set()).add(key)

    def written(self, d: Any, key: Any) -> bool:
        """Whether what a dictionary holds under a key now is the function's own doing."""
        held = self.containers.get(id(d))
        if held is None:
            return False
        return key in self._puts.get(id(d), ()) or held[1].get(key, MISSING) is not d.get(key, MISSING)

    def put_at(self, c: Any, i: int) -> bool:
        """Whether an element of a list was assigned."""
        return i in self._puts.get(id(c), ())

    def touched(self, c: Any) -> bool:
        return id(c) in self.containers

    def initial(self, c: Any) -> Any:
        """What a container held at the start."""
        entry = self.containers.get(id(c))
        return c if entry is None else entry[1]

    def grad(self, t: Any) -> None:
        self.order.append(t)
        self.grads.setdefault(id(t), (t, t._grad))

    def grad_written(self, t: Any) -> bool:
        return id(t) in self.grads

    def cell(self, cell: Any) -> None:
        self.order.append(cell)
        if id(cell) not in self.cells:
            try:
                held = cell.cell_contents
            except ValueError:
                held = MISSING
            self.cells[id(cell)] = (cell, held)

    def cell_written(self, cell: Any) -> bool:
        return id(cell) in self.cells

    def slot(self, obj: Any, name: str) -> None:
        self.order.append(obj)
        self.slots.setdefault((id(obj), name), (obj, name, getattr(obj, name, MISSING)))

    def slot_written(self, obj: Any, name: str) -> bool:
        return (id(obj), name) in self.slots

    def undo(self) -> None:
        """Put everything back."""
        for c, held in self.containers.values():
            _restore(c, held)
        for cell, held in self.cells.values():
            if held is MISSING:
                del cell.cell_contents
            else:
                cell.cell_contents = held
        for obj, name, held in self.slots.values():
            if held is MISSING:
                delattr(obj, name)
            else:
                object.__setattr__(obj, name, held)
        for t, held in self.grads.values():
            t._grad = held


def _restore(c: Any, held: Any) -> None:
    if isinstance(c, dict):
        kind: Any = (
            collections.OrderedDict if isinstance(c, collections.OrderedDict) else dict
        )  # it has an order of its own
        for k in [k for k in c if k not in held]:
            kind.__delitem__(c, k)
        if not all(a is b for a, b in itertools.zip_longest(c, held)):
            kind.clear(c)
        for k, v in held.items():
            if k not in c or c[k] is not v:
                kind.__setitem__(c, k, v)
    elif isinstance(c, set):
        c.clear()
        c.update(held)
    elif isinstance(c, list):
        list.__setitem__(c, slice(None), held)
    else:
        c.clear()
        c.extend(held)


class Spent(Node):
    """The history of a result whose graph the program's own backward pass has freed."""

    def __init__(self, name: str) -> None:
        self.saved, self.spoken, self.seq = None, name, next(serial)

    def name(self) -> str:
        return self.spoken

    def arrays(self, g: Any) -> Any:
        raise RuntimeError(TWICE)

    tensors = arrays


class Replay:
    """Writes what an entry does after its program: rebuilds the objects that leave the function, and repeats its effects."""

    def __init__(self, tracer: Any) -> None:
        self.tracer, self.guards, self.recorder = tracer, tracer.guards, tracer.recorder
        self.build: list[str] = []
        self.effects: list[str] = []
        self.outputs: list[Value] = []
        self.live = False  # whether some result has a history that goes on
        self.replaced: dict[int, tuple[Any, Any]] = {}  # results that become gradients: whose, and in place of what
        self.guards.scope.update(Tensor=Tensor, Spent=Spent, new=object.__new__, FunctionType=types.FunctionType,
                                 MethodType=types.MethodType, CellType=types.CellType, STATE=STATE, setattr=setattr)  # fmt: skip
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []
        self._used: set[int] = set()

    def _name(self, x: Any, text: str) -> str:
        name = f"o{len(self._names)}"
        self._names[id(x)] = name
        self._kept.append(x)
        self.build.append(f"{name} = {text}")
        return name

    # ---- values ----

    def expression(self, x: Any) -> str:
        """The text that gives x at a later call."""
        from flambeau._capture.tracer import is_constant

        if isinstance(x, Tracked):
            return self.guards.ref(x.source)
        if is_constant(x):
            return self.guards.literal(x)
        found = self._names.get(id(x))
        if found is not None:
            return found
        source = self.tracer.source_of(x)
        if source is not None:
            return self.guards.ref(source)
        if isinstance(x, Tensor):
            return self._tensor(x)
        return self._object(x)

    def _tensor(self, t: Any) -> str:
        if type(t) not in PLAIN:
            raise Break(f"a tensor of the subclass '{type(t).__name__}' leaves the function")
        if t._hooks or t._post_hooks:
            raise Break("a tensor with hooks leaves the function")
        v = self.recorder.value(t)
        if v.kind == "input" or id(v) in self._used:
            v = self.recorder.alias(v, t)
        self._used.add(id(v))
        self.outputs.append(v)
        name = self._name(t, f"out[{len(self.outputs) - 1}]")
        if type(t) is not Tensor:
            self.build[-1] = (
                f"{name} = Tensor._make_subclass({self.guards.constant(type(t))}, out[{len(self.outputs) - 1}])"
            )
        if t._inference:
            self.build.append(f"{name}._inference = True")
        elif t._vc is not None and t._vc[0] and self.recorder.is_fresh(t):  # how often eager code has written it
            self.guards.scope["counter"] = counter
            self.build.append(f"counter({name})[0] = {t._vc[0]}")
        node = node_of(t)
        if node is not None:
            if self.tracer.transforms and transformed.lost(self.tracer, node):
                raise Break("a tensor whose history is a transform's alone leaves the function")
            if node.leaf:
                self.build.append(f"{name}.requires_grad = True")
            elif id(node) in self.tracer.spent:
                self.build.append(f"{name}._node = Spent({node.name()!r})")
            else:
                self.live = True
                if self.tracer.spent and transformed.reaches(node, self.tracer.spent):
                    raise Break("a result's history goes on into a graph that backward() has freed")
                if node.watched:
                    raise Break("a tensor with hooks leaves the function")
        if t._grad is not None:
            self.build.append(f"{name}._grad = {self.expression(t._grad)}")
        for k, v in vars(t).items():
            if not k.startswith("_") or k in ("_is_param", "_is_buffer"):
                self.build.append(f"{name}.{k} = {self.expression(v)}")
        return name

    def _object(self, x: Any) -> str:
        kind = type(x)
        c = self.guards.constant
        if kind in (list, set, collections.deque):
            name = self._name(x, {list: "[]", set: "set()"}.get(kind) or f"{c(kind)}(maxlen={x.maxlen})")
            items = ", ".join(map(self.expression, x))
            if items:
                self.build.append(f"{name}.{'update' if kind is set else 'extend'}(({items},))")
            return name
        if kind in (dict, collections.OrderedDict, collections.Counter, collections.defaultdict):
            factory = self.expression(x.default_factory) if kind is collections.defaultdict else ""
            name = self._name(x, f"{c(kind)}({factory})" if kind is not dict else "{}")
            for k, v in x.items():
                self.build.append(f"{name}[{self.expression(k)}] = {self.expression(v)}")
            return name
        if kind is tuple or kind is Size or kind is frozenset:
            parts = [self.expression(y) for y in x]
            text = f"({''.join(p + ', ' for p in parts)})"
            return self._name(x, text if kind is tuple else f"{c(kind)}({text})")
        if isinstance(x, tuple):
            parts = [self.expression(y) for y in x]
            self.guards.scope["tuple"] = tuple
            return self._name(x, f"tuple.__new__({c(kind)}, ({''.join(p + ', ' for p in parts)}))")
        if kind is types.MethodType:
            return self._name(x, f"MethodType({self.expression(x.__func__)}, {self.expression(x.__self__)})")
        if (
            kind is types.BuiltinFunctionType
            and x.__self__ is not None
            and not isinstance(x.__self__, types.ModuleType)
        ):
            return self._name(x, f"{self.expression(x.__self__)}.{x.__name__}")
        if kind is types.CellType:
            name = self._name(x, "CellType()")
            try:
                held = x.cell_contents
            except ValueError:
                return name
            self.build.append(f"{name}.cell_contents = {self.expression(held)}")
            return name
        if kind is types.FunctionType:
            return self._function(x)
        if kind is functools.partial:
            kw = ", ".join(f"{k}={self.expression(v)}" for k, v in x.keywords.items())
            args = "".join(", " + self.expression(a) for a in x.args)
            return self._name(x, f"{c(kind)}({self.expression(x.func)}{args}{', ' + kw if kw else ''})")
        if isinstance(x, (type, types.ModuleType)):
            return c(x)
        if getattr(kind, "traced_iterator", False) and getattr(x, "made", None) is not None:
            return self._name(x, f"{c(x.made[0])}({', '.join(map(self.expression, x.made[1:]))})")
        if kind.__flags__ & (1 << 9) and not getattr(kind, "traced_iterator", False):
            return self._instance(x, kind)
        if hasattr(kind, "__next__") and kind.__reduce__ is not object.__reduce__ and not kind.__flags__ & (1 << 9):  # type: ignore[comparison-overlap]
            made = x.__reduce__()
            fn, args, state = made[0], made[1], made[2] if len(made) > 2 else None
            name = self._name(x, f"{c(fn)}({', '.join(map(self.expression, args))})")
            if state is not None:
                self.build.append(f"{name}.__setstate__({self.expression(state)})")
            return name
        if kind is slice:
            return self._name(x, f"slice({', '.join(map(self.expression, (x.start, x.stop, x.step)))})")
        raise Break(f"a {kind.__qualname__} that the function made leaves it")

    def _function(self, x: Any) -> str:
        c = self.guards.constant
        cells = "".join(self.expression(cell) + ", " for cell in x.__closure__ or ())
        defaults = self.expression(x.__defaults__) if x.__defaults__ else "None"
        name = self._name(
            x, f"FunctionType({c(x.__code__)}, {c(x.__globals__)}, {x.__name__!r}, {defaults}, ({cells}) or None)"
        )
        if x.__kwdefaults__:
            self.build.append(f"{name}.__kwdefaults__ = {self.expression(x.__kwdefaults__)}")
        if x.__qualname__ != x.__name__:
            self.build.append(f"{name}.__qualname__ = {x.__qualname__!r}")
        for k, v in x.__dict__.items():
            self.build.append(f"{name}.__dict__[{k!r}] = {self.expression(v)}")
        return name

    def _instance(self, x: Any, kind: type) -> str:
        if kind is Text:
            raise Break("a text with a tensor's elements in it leaves the function")
        bases = [base for base in kind.__mro__[:-1] if not base.__flags__ & (1 << 9)]
        if bases not in ([], [dict], [collections.OrderedDict, dict], [list], [set]):
            raise Break(f"a {kind.__qualname__} that the function made leaves it")
        if isinstance(x, Node):
            raise Break("a node of the graph leaves the function")
        c = self.guards.constant
        name = self._name(x, f"{f'{c(bases[0])}.__new__' if bases else 'new'}({c(kind)})")
        if bases and bases[0] in (list, set):  # the elements, whatever the class says about them
            items = "".join(self.expression(y) + ", " for y in bases[0].__iter__(x))
            self.build.append(f"{c(bases[0])}.{'extend' if bases[0] is list else 'update'}({name}, ({items}))")
        elif bases:
            for k, v in bases[0].items(x):  # type: ignore[attr-defined]  # a dictionary of some kind
                self.build.append(f"{c(bases[0])}.__setitem__({name}, {self.expression(k)}, {self.expression(v)})")
        for base in kind.__mro__:
            for slot in (
                base.__dict__.get("__slots__", ()) if not isinstance(base.__dict__.get("__slots__"), str) else ()
            ):
                if slot not in ("__dict__", "__weakref__") and hasattr(x, slot):
                    self.build.append(self._slot(x, name, slot))
        for k, v in getattr(x, "__dict__", {}).items():
            self.build.append(f"{name}.__dict__[{k!r}] = {self.expression(v)}")
        return name

    def _slot(self, x: Any, ref: str, name: str) -> str:
        """The line that fills a slot; what the class says about assignments has been followed."""
        value = self.expression(getattr(x, name))
        assign: Any = type(x).__setattr__
        if assign is object.__setattr__:
            return f"{ref}.{name} = {value}"
        self.guards.scope["put_slot"] = object.__setattr__
        return f"put_slot({ref}, {name!r}, {value})"

    # ---- effects ----

    def collect(self) -> None:
        """Lines for all that differs from the start."""
        self.effects += self.tracer.said
        journal = self.tracer.journal
        for c, held in journal.containers.values():
            source = self.tracer.source_of(c)
            if source is None:
                raise Break("a container of unknown origin was written")
            self._container(source, c, held)
        for cell, held in journal.cells.values():
            source = self.tracer.source_of(cell)
            if cell.cell_contents is not held or not self._assumed(held, source, "cell_contents"):
                self.effects.append(f"{self.guards.ref(source)}.cell_contents = {self.expression(cell.cell_contents)}")
        for obj, name, held in journal.slots.values():
            source = self.tracer.source_of(obj)
            if getattr(obj, name, MISSING) is not held or not self._assumed(held, source, name):
                self.effects.append(self._slot(obj, self.guards.ref(source), name))
        for t, held in journal.grads.values():
            source = self.tracer.source_of(t)
            if t._grad is not held or not self._assumed(held, source, "_grad"):
                known = len(self.outputs)
                self.effects.append(f"{self.guards.ref(source)}._grad = {self.expression(t._grad)}")
                if len(self.outputs) == known + 1:
                    self.replaced[known] = t, held
        for name, held in self.tracer.state_before.items():
            now = getattr(STATE, name)
            if now is held:
                continue
            if name == "grad":
                self.effects.append(f"STATE.grad = {now!r}")
            elif name in CASTING:
                self.guards.scope["put_state"] = put_state
                self.effects.append(f"put_state({name!r}, {self.guards.constant(now)})")
            else:
                raise Break(f"the function leaves the thread's '{name}' changed")
        if self.tracer.nested:
            self.guards.scope["nest"] = autocast.nest
            self.effects.append(f"nest({self.tracer.nested})")

    def _assumed(self, held: Any, source: Any, name: str) -> bool:
        """Whether what was there at the start is assumed to be there at each call: then writing it again changes nothing."""
        return self.guards.assumed("equal", self.tracer.sources.attr(source, name)) and not isinstance(held, Tracked)

    def _container(self, source: Any, c: Any, held: Any) -> None:
        put, ref = self.effects.append, self.guards.ref(source)
        journal, item = self.tracer.journal, self.tracer.sources.item
        if isinstance(c, dict):
            gone = [k for k in held if k not in c]
            stayed = [k for k in held if k in c]
            order = stayed + [k for k in c if k not in held]
            if list(c) != order and not all(a is b for a, b in zip(c, order, strict=True)):
                values = [(self.expression(k), self.expression(v)) for k, v in c.items()]
                put(f"{ref}.clear()")
                for k, v in values:
                    put(f"{ref}[{k}] = {v}")
                return
            for k in gone:
                put(f"{ref}.pop({self.expression(k)})")
            for k, v in c.items():
                same = k in held and _same(held[k], v)
                if same and journal.written(c, k):
                    place = item(source, k) if isinstance(k, str) else None
                    same = place is not None and (
                        self.guards.assumed("equal", place) or self.tracer.source_of(v) is place
                    )
                if not same and (v is True or v is False):  # seldom another one: a write would be a change to watch
                    put(f"if {ref}.get({self.expression(k)}) is not {v}: {ref}[{self.expression(k)}] = {v}")
                elif not same:
                    put(f"{ref}[{self.expression(k)}] = {self.expression(v)}")
        elif isinstance(c, (set, frozenset)):
            for x in held - c:
                put(f"{ref}.discard({self.expression(x)})")
            for x in c - held:
                put(f"{ref}.add({self.expression(x)})")
        else:
            n = len(held)
            start = [x is y and not journal.put_at(c, i) for i, (x, y) in enumerate(zip(c, held, strict=False))]
            if len(c) >= n and all(start) and len(start) == n and getattr(c, "maxlen", None) is None:
                if len(c) == n + 1:
                    put(f"{ref}.append({self.expression(c[n])})")
                elif len(c) > n:
                    put(f"{ref}.extend(({', '.join(self.expression(x) for x in list(c)[n:])},))")
            elif len(c) == n and isinstance(c, list):
                for i, x in enumerate(c):
                    if not start[i]:
                        put(f"{ref}[{i}] = {self.expression(x)}")
            else:
                items = "".join(self.expression(x) + ", " for x in c)
                put(f"{ref}[:] = [{items}]" if isinstance(c, list) else f"{ref}.clear(); {ref}.extend(({items}))")


def put_state(name: str, value: Any) -> None:
    """One of the thread's switches is as it was at another time."""
    if name == "autocast":
        autocast.put(value)
    else:
        setattr(STATE, name, value)


def _same(x: Any, y: Any) -> bool:
    """Whether replaying would change nothing."""
    return x is y and not isinstance(x, Tracked)

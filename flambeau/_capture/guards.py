"""What a capture assumed about the world outside, as one straight-line function that names the assumption which fails.

The lines are written in the order in which the assumptions were made. Each object that is met more than once is fetched once, into
a variable; what follows the checks (`effects`) uses the same variables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._capture.sources import Source
from flambeau._tensor import Tensor
from flambeau._values import dtype as dtypes


class Failed:
    """What an entry returns instead of a result: the assumption that did not hold."""

    __slots__ = ("source", "text")

    def __init__(self, text: str, source: Source | None = None) -> None:
        self.text, self.source = text, source

    def __repr__(self) -> str:
        return f"Failed({self.text!r})"


class Guards:
    """Writes the checks."""

    def __init__(self, parameters: list[str]) -> None:
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {"ndarray": np.ndarray, "alike": alike, "MISSING": Failed("something is missing")}
        self.parameters = parameters
        self._names: dict[int, str] = {}
        self._constants: dict[int, str] = {}
        self._done: set[Any] = set()
        self._kept: list[Any] = []
        self.count = 0

    # ---- names ----

    def constant(self, value: Any) -> str:
        """A name for an object."""
        if value is None or value is True or value is False or value is Ellipsis:
            return repr(value)
        if type(value) is int or type(value) is str:
            return repr(value)
        name = self._constants.get(id(value))
        if name is None:
            name = self._constants[id(value)] = f"c{len(self._constants)}"
            self.scope[name] = value
            self._kept.append(value)
        return name

    def ref(self, source: Source) -> str:
        """The variable that holds what a source finds; fetches it at this place when first asked for."""
        name = self._names.get(id(source))
        if name is None:
            if source.kind == "local":
                name = source.key
            elif source.kind == "const":
                name = self.constant(source.key)
            else:
                text = self.text(source)
                name = f"v{len(self._names)}"
                self.lines.append(f"{name} = {text}")
            self._names[id(source)] = name
            self._kept.append(source)
        return name

    def text(self, source: Source) -> str:
        """The expression of a source over the variables of what it is made from."""
        kind, base, key = source.kind, source.base, source.key
        if kind in ("local", "const"):
            return self.ref(source)
        if kind == "attr":
            return f"{self.ref(base)}.{key}"
        if kind == "dict":
            return f"{self.ref(base)}.__dict__"
        if kind == "item":
            return f"{self.ref(base)}[{self.ref(key) if isinstance(key, Source) else self.constant(key)}]"
        if kind == "nth":
            return f"list({self.ref(base)})[{key}]"
        parts = [self.ref(b) if isinstance(b, Source) else self.literal(b) for b in base]
        return f"({key.format(*parts)})"

    def literal(self, value: Any) -> str:
        if type(value) is float and value == value and abs(value) != float("inf"):
            return repr(value)
        return self.constant(value)

    # ---- checks ----

    def check(self, condition: str, spoken: str, source: Source | None = None) -> None:
        """`condition` is the failure."""
        name = self.constant(Failed(spoken, source))
        self.lines.append(f"if {condition}: return {name}")
        self.count += 1

    def once(self, *mark: Any) -> bool:
        """Whether this assumption is new."""
        key = tuple(id(m) if isinstance(m, Source) else m for m in mark)
        if key in self._done:
            return False
        self._done.add(key)
        return True

    def assumed(self, *mark: Any) -> bool:
        """Whether an assumption was made."""
        return tuple(id(m) if isinstance(m, Source) else m for m in mark) in self._done

    def identity(self, source: Source, value: Any) -> None:
        if self.once("identity", source):
            self.check(
                f"{self.ref(source)} is not {self.constant(value)}", f"{source.spoken()} is {_short(value)}", source
            )

    def same(self, source: Source, other: Source) -> None:
        if self.once("same", source, other):
            self.check(f"{self.ref(source)} is not {self.ref(other)}", f"{source.spoken()} is {other.spoken()}", source)

    def distinct(self, source: Source, other: Source) -> None:
        if self.once("distinct", source, other) and self.once("distinct", other, source):
            self.check(f"{self.ref(source)} is {self.ref(other)}", f"{source.spoken()} is not {other.spoken()}", source)

    def apart(self, sources: list[Source], kind: type) -> None:
        """Objects of one kind, some of which are written: no two are the same."""
        if len(sources) > 1:
            self.scope.update(id=id)
            ids = ", ".join(f"id({self.ref(s)})" for s in sources)
            self.check(
                f"len({{{ids}}}) != {len(sources)}", f"{len(sources)} objects of {kind.__name__} are different ones"
            )

    def type(self, source: Source, kind: type) -> None:
        if self.once("type", source):
            self.check(f"type({self.ref(source)}) is not {self.constant(kind)}",
                       f"type({source.spoken()}) is {kind.__qualname__}", source)  # fmt: skip

    def equal(self, source: Source, value: Any) -> None:
        """A constant of Python: equal, and of the same type."""
        if not self.once("equal", source):
            return
        if self.once("type", source):
            pass
        ref, spoken = self.ref(source), f"{source.spoken()} == {_short(value)}"
        if value is None or value is True or value is False or value is Ellipsis or value is NotImplemented:
            self.check(f"{ref} is not {self.constant(value)}", f"{source.spoken()} is {value}", source)
        elif type(value) in (int, str, bytes):
            self.check(
                f"type({ref}) is not {self.constant(type(value))} or {ref} != {self.constant(value)}", spoken, source
            )
        else:
            name = self.constant(value)
            self.check(f"{ref} is not {name} and not alike({ref}, {name})", spoken, source)

    def present(self, source: Source, key: Any, there: bool) -> None:
        """Whether a dictionary (or set) has a key."""
        mark = key if isinstance(key, Source) else (type(key), key)
        if self.once("present", source, mark):
            k = self.ref(key) if isinstance(key, Source) else self.constant(key)
            spoken = f"{key.spoken() if isinstance(key, Source) else repr(key)} {'in' if there else 'not in'} {source.spoken()}"
            self.check(f"{k} {'not in' if there else 'in'} {self.ref(source)}", spoken, source)

    def length(self, source: Source, n: int) -> None:
        if self.once("length", source):
            ref = self.ref(source)
            if n == 0:
                self.check(ref, f"{source.spoken()} is empty", source)
            else:
                self.check(f"len({ref}) != {n}", f"len({source.spoken()}) == {n}", source)

    def nonempty(self, source: Source) -> None:
        if self.once("nonempty", source):
            self.check(f"not {self.ref(source)}", f"{source.spoken()} is not empty", source)

    def class_attribute(self, cls: type, name: str, value: Any, through: str = "") -> None:
        """What a class (and its bases) define under a name; `through` unwraps a bound class method."""
        if self.once("class", id(cls), name):
            c = self.constant(cls)
            self.check(f"{c}.{name}{through} is not {self.constant(value)}", f"{cls.__qualname__}.{name} was redefined")

    def no_class_attribute(self, cls: type, name: str) -> None:
        if self.once("no class", id(cls), name):
            self.scope["hasattr"] = hasattr
            self.check(f"hasattr({self.constant(cls)}, {name!r})", f"{cls.__qualname__} has no {name}")

    def outcome(self, source: Source, value: bool) -> None:
        """What a condition over changing numbers came to."""
        if self.once("outcome", source):
            text = self.text(source)
            self.check(f"not {text}" if value else text, f"{source.spoken()} is {value}", None)

    def tensor(self, source: Source, t: Tensor) -> None:
        """All that the operators see of a tensor but its elements."""
        if not self.once("tensor", source):
            return
        ref, a, d = self.ref(source), t._a, self.constant(t._a.dtype)
        kind = type(t)
        spoken = f"{source.spoken()}: {dtypes.SPOKEN[t.dtype]}{list(a.shape)}"
        self.check(f"type({ref}) is not {self.constant(kind)}", f"{spoken}, a {kind.__name__}", source)
        name = f"a{self.count}"
        self.lines.append(f"{name} = {ref}._a")
        self.check(f"{name}.dtype is not {d} or {name}.shape != {a.shape!r} or {name}.strides != {a.strides!r}"
                   f" or type({name}) is not ndarray", spoken, source)  # fmt: skip
        node = t._node if t._base is None else self._node_of()(t)
        if node is None:
            self.check(f"{ref}._node is not None", f"{spoken} needs no gradient", source)
        elif node.leaf:
            self.check(f"{ref}._node is None or not {ref}._node.leaf or {ref}._node.watched or {ref}._post_hooks",
                       f"{spoken} is a leaf that needs a gradient, without hooks", source)  # fmt: skip
        else:
            self.check(f"{ref}._node is None or {ref}._node.leaf", f"{spoken} needs a gradient", source)
        if t._base is None:
            self.check(f"{ref}._base is not None", f"{spoken} is no view", source)
        else:
            self.check(f"{ref}._base is None", f"{spoken} is a view", source)

    def _node_of(self) -> Any:
        from flambeau._eager.graph import node_of

        return node_of

    # ---- the text ----

    def source_text(self, name: str = "guards") -> str:
        """The function, on its own: None where everything holds, the failed assumption otherwise."""
        return write(name, self.parameters, [*self.lines, "return None"])


def write(name: str, parameters: list[str], lines: list[str]) -> str:
    """A function whose lines may meet things that are not there: that is a failed assumption too."""
    body = "\n".join("        " + line for line in lines)
    return (f"def {name}({', '.join(parameters)}):\n    try:\n{body}\n"
            "    except (KeyError, AttributeError, IndexError, TypeError):\n        return MISSING\n")  # fmt: skip


def alike(x: Any, y: Any) -> bool:
    """Equal, of the same type, throughout; NaN equals NaN, and 0.0 is not -0.0."""
    if type(x) is not type(y):
        return False
    if isinstance(x, (tuple, list)):
        return len(x) == len(y) and all(map(alike, x, y))
    if isinstance(x, float):
        return repr(x) == repr(y)
    if isinstance(x, slice):
        return alike((x.start, x.stop, x.step), (y.start, y.stop, y.step))
    if isinstance(x, complex):
        return repr(x) == repr(y)
    return bool(x == y)


def _short(value: Any) -> str:
    text = repr(value) if not callable(value) else getattr(value, "__qualname__", type(value).__name__)
    return text if len(text) < 60 else text[:57] + "..."

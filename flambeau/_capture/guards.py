"""What a capture assumed about the world outside, as one straight-line function that names the assumption which fails.

The lines are written in the order in which the assumptions were made. Each object that is met more than once is fetched once, into
a variable; what follows the checks (`effects`) uses the same variables.
"""

from __future__ import annotations

import builtins
import re
from collections import Counter
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np

from flambeau._backends.cpu.versions import Raise
from flambeau._capture.breaks import Failed
from flambeau._capture.shared import Memory, counter
from flambeau._capture.sources import Source
from flambeau._ground.source import build
from flambeau._tensor import Tensor
from flambeau._values import dtype as dtypes

Class: TypeAlias = type  # where `type` is a method


class Guards:
    """Writes the checks."""

    def __init__(self, parameters: list[str]) -> None:
        self.lines: list[str] = []
        self.always: list[bool] = []  # for each line, whether it must run at each call; the others are watched
        self.says: list[tuple[str, ...]] = []  # for each line, what it does, for `remembered`: see there
        self.stable: set[str] = set()  # parameters that are the same object from call to call
        self.watches: list[tuple[str, str]] = []  # (variable, "content" | "type" | "class")
        self.volatile: list[
            tuple[str, str, str]
        ] = []  # what must be looked at, unless it can be watched: (condition, variable, attributes)
        self.numbers: list[tuple[Source, Any]] = []  # numbers that are assumed not to change
        self.tensors: list[
            tuple[Source, tuple[int, ...], Any]
        ] = []  # sizes and dtypes of the tensors that are looked at
        self.held: list[str] = []  # variables whose values are kept from the last full check
        self.arrays: dict[str, str] = {}  # a tensor -> its array
        self.typed: list[tuple[str, str, Source]] = []  # types of what constant objects hold: (variable, type, source)
        self.scope: dict[str, Any] = {"ndarray": np.ndarray, "alike": alike, "MISSING": Failed("something is missing")}
        self.members: dict[
            str, tuple[str, str]
        ] = {}  # constants that classes define -> the class, and under which name
        self.parameters = parameters
        self.spelled = {p: spelled(p) for p in parameters}  # as the text calls them
        self._names: dict[int, str] = {}
        self._constants: dict[int, str] = {}
        self._done: set[Any] = set()
        self._fresh: dict[tuple[int, int], bool] = {}
        self._kept: list[Any] = []
        self.count = self._extra = 0

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

    def fresh(self, source: Any) -> bool:
        """Whether what a source finds may be another object at each call."""
        if not isinstance(source, Source):
            return False
        if source.kind == "local":
            return source.key not in self.stable
        if source.kind == "const":
            return False
        mark = id(source), len(self.stable)  # what is stable only grows
        found = self._fresh.get(mark)
        if found is None:
            if source.kind == "call":
                found = True
            elif source.kind == "expression":
                found = any(self.fresh(o) for o in source.base)
            else:
                found = source.key == "_grad" or self.fresh(source.base) or self.fresh(source.key)
            self._fresh[mark] = found
        return found

    def line(self, text: str, always: bool, says: tuple[str, ...] = ()) -> None:
        self.lines.append(text)
        self.always.append(always)
        self.says.append(says)

    def watch(self, name: str, kind: str) -> None:
        """What is assumed depends on an object's content, type, or class."""
        self.watches.append((name, kind))

    def ref(self, source: Source) -> str:
        """The variable that holds what a source finds; fetches it at this place when first asked for."""
        name = self._names.get(id(source))
        if name is None:
            if source.kind == "local":
                name = self.spelled[source.key]
            elif source.kind == "const":
                name = self.constant(source.key)
            else:
                text = self.text(source)
                name = f"v{len(self._names)}"
                fresh = self.fresh(source)
                self.line(f"{name} = {text}", fresh, self._found(source, name))
                if not fresh:
                    self._depend(source, name)
            self._names[id(source)] = name
            self._kept.append(source)
        return name

    def _found(self, source: Source, name: str) -> tuple[str, ...]:
        """Under which name an object has what is fetched."""
        key = "__dict__" if source.kind == "dict" else source.key
        if source.kind not in ("attr", "dict", "item") or not isinstance(key, str):
            return ()
        return ("item" if source.kind == "item" else "attribute", name, self.ref(source.base), key)

    def _depend(self, source: Source, name: str) -> None:
        self.held.append(name)
        if source.kind == "expression":
            for o in source.base:
                if isinstance(o, Source):
                    self.watch(self.ref(o), "content")
        elif source.kind == "item" and _restless(source.base):
            base = self.ref(source.base)
            self.volatile.append(
                (f"{base}[{source.key!r}] is F_{name}", base, source.key if _plain(source.key) else "")
            )
        elif source.kind == "size":
            pass  # the array is looked at
        elif source.kind in ("item", "nth"):
            self.watch(self.ref(source.base), "content")
        else:
            what = "__dict__" if source.kind == "dict" else source.key
            base = self.ref(source.base)
            if source.kind == "attr" and source.base.kind == "const" and isinstance(source.base.key, type):
                self.watch(base, "class")
            else:
                self.volatile.append((f"{self.kept(base)}.{what} is F_{name}", base, what))

    def kept(self, name: str) -> str:
        """A variable, as it is known where nothing is fetched anew."""
        return f"F_{name}" if name in self.held or name in self.steady() else name

    def steady(self) -> list[str]:
        """The variables that are parameters whose object is the same from call to call."""
        return [name for p, name in self.spelled.items() if p in self.stable]

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
        if kind == "size":
            return f"{self.ref(base)}._a.shape[{key}]"
        parts = [self.ref(b) if isinstance(b, Source) else self.literal(b) for b in base]
        parts = [f"({p})" if p.startswith("-") else p for p in parts]  # (-2.0) ** x
        return f"({key.format(*parts)})"

    def literal(self, value: Any) -> str:
        if type(value) is float and value == value and abs(value) != float("inf"):
            return repr(value)
        return self.constant(value)

    # ---- checks ----

    def check(
        self,
        condition: str,
        spoken: str,
        source: Source | None = None,
        always: bool | None = None,
        says: tuple[str, ...] = (),
    ) -> None:
        """`condition` is the failure."""
        name = self.constant(Failed(spoken, source))
        always = (source is None or self.fresh(source)) if always is None else always
        self.line(f"if {condition}: return {name}", always, says)
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
            self._is(self.ref(source), self.constant(value), f"{source.spoken()} is {_short(value)}", source)

    def same(self, source: Source, other: Source) -> None:
        if self.once("same", source, other):
            always = self.fresh(source) or self.fresh(other)
            spoken = f"{source.spoken()} is {other.spoken()}"
            self._is(self.ref(source), self.ref(other), spoken, source, always)

    def _is(self, ref: str, other: str, spoken: str, source: Source, always: bool | None = None) -> None:
        self.check(f"{ref} is not {other}", spoken, source, always, ("is", ref, other))

    def apart(self, sources: list[Source], kind: type) -> None:
        """Objects of one kind, some of which are written: no two are the same."""
        if len(sources) > 1:
            self.scope.update(id=id)
            ids = {
                always: [f"id({self.ref(s)})" for s in sources if self.fresh(s) is always] for always in (False, True)
            }
            spoken = f"{len(sources)} objects of {kind.__name__} are different ones"
            if ids[False] and ids[True]:  # those that are the same at each call are gathered once
                held = self._kept_value(f"{{{', '.join(ids[False])}}}", None)
                self.check(f"len({held}) != {len(ids[False])}", spoken, None, False)
                wrong = [f"{i} in {held}" for i in ids[True]]
                if len(wrong) > 1:
                    wrong.append(f"len({{{', '.join(ids[True])}}}) != {len(wrong)}")
                self.check(" or ".join(wrong), spoken)
            else:
                every = ids[False] or ids[True]
                self.check(f"len({{{', '.join(every)}}}) != {len(every)}", spoken, None, bool(ids[True]))

    def type(self, source: Source, kind: type) -> None:
        if self.once("type", source):
            if not self.fresh(source):
                self.watch(self.ref(source), "type")
            elif source.kind == "attr" and not self.fresh(source.base):
                self.typed.append((self.ref(source), self.constant(kind), source))
            self._type(self.ref(source), kind, f"type({source.spoken()}) is {kind.__qualname__}", source)

    def _type(self, ref: str, kind: Class, spoken: str, source: Source) -> None:
        name = self.constant(kind)
        self.check(f"type({ref}) is not {name}", spoken, source, says=("type", ref, name))

    def equal(self, source: Source, value: Any) -> None:
        """A constant of Python: equal, and of the same type."""
        if not self.once("equal", source):
            return
        if type(value) in (int, float):
            self.numbers.append((source, value))
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
            if _restless(source):
                self.volatile.append((f"{k} {'in' if there else 'not in'} {self.ref(source)}", "", ""))
            else:
                self.content(source)
            always = self.fresh(source) or self.fresh(key)
            self.check(f"{k} {'not in' if there else 'in'} {self.ref(source)}", spoken, source, always)

    def length(self, source: Source, n: int) -> None:
        if self.once("length", source):
            ref = self.ref(source)
            self.content(source)
            if n == 0:
                self.check(ref, f"{source.spoken()} is empty", source)
            else:
                self.check(f"len({ref}) != {n}", f"len({source.spoken()}) == {n}", source)

    def nonempty(self, source: Source) -> None:
        if self.once("nonempty", source):
            self.content(source)
            self.check(f"not {self.ref(source)}", f"{source.spoken()} is not empty", source)

    def content(self, source: Source) -> None:
        """What is assumed depends on what a container holds."""
        if not self.fresh(source):
            self.watch(self.ref(source), "content")

    def class_attribute(self, cls: Class, name: str, value: Any, through: str = "") -> None:
        """What a class (and its bases) define under a name; `through` unwraps a bound class method."""
        if self.once("class", id(cls), name):
            c = self.constant(cls)
            self.watch(c, "class")
            self.members.setdefault(self.constant(value), (c, name))
            self.check(
                f"{c}.{name}{through} is not {self.constant(value)}",
                f"{cls.__qualname__}.{name} was redefined",
                None,
                False,
            )

    def order(self, cls: Class) -> None:
        """In which order the bases of a class are asked."""
        if cls.__flags__ & (1 << 9) and self.once("order", id(cls)):
            c = self.constant(cls)
            self.watch(c, "class")
            self.check(
                f"{c}.__mro__ != {self.constant(cls.__mro__)}", f"{cls.__qualname__} has these bases", None, False
            )

    def definition(self, cls: Class, owner: Class, name: str, value: Any) -> None:
        """What the `owner` among a class's bases defines under a name, which those before it do not."""
        if self.once("definition", id(cls), name):
            self.order(cls)
            for base in cls.__mro__[: cls.__mro__.index(owner)]:
                self.check(
                    f"{name!r} in {self.constant(base)}.__dict__", f"{base.__qualname__} has no {name}", None, False
                )
            c, v = self.constant(owner), self.constant(value)
            self.members.setdefault(v, (c, name))
            self.watch(c, "class")
            self.check(
                f"{c}.__dict__.get({name!r}) is not {v}", f"{owner.__qualname__}.{name} was redefined", None, False
            )

    def no_class_attribute(self, cls: Class, name: str) -> None:
        if self.once("no class", id(cls), name):
            self.scope["hasattr"] = hasattr
            self.watch(self.constant(cls), "class")
            self.check(f"hasattr({self.constant(cls)}, {name!r})", f"{cls.__qualname__} has no {name}", None, False)

    def outcome(self, source: Source, value: bool) -> None:
        """What a condition over changing numbers came to."""
        if self.once("outcome", source):
            text = self.text(source)
            self.check(f"not {text}" if value else text, f"{source.spoken()} is {value}", None, self.fresh(source))

    def tensor(self, source: Source, t: Tensor, a: Any, stand: Any = None) -> None:
        """All that the operators see of a tensor but its elements. `a` is its array, `stand` what stands for that where sizes change."""
        if not self.once("tensor", source):
            return
        ref, d = self.ref(source), self.constant(a.dtype)
        kind = type(t)
        sizes = a.shape if stand is None else stand.shape
        spoken = f"{source.spoken()}: {dtypes.SPOKEN[t.dtype]}{list(sizes)}"
        self.tensors.append((source, a.shape, a.dtype))
        if self.once("type", source):
            self._type(ref, kind, f"{spoken}, a {kind.__name__}", source)
        name = f"a{self.count}"
        fresh = self.fresh(source)
        self.line(f"{name} = {ref}._a", fresh, ("array", ref))
        self.arrays[ref] = name
        if not fresh:
            self.watch(ref, "type")
            self.held.append(name)
            looks = [f"{self.kept(ref)}._a is F_{name}"]
        if stand is None or all(type(n) is int for n in (*stand.shape, *stand.strides)):
            self.check(f"{name}.dtype is not {d} or {name}.shape != {a.shape!r} or {name}.strides != {a.strides!r}"
                       f" or type({name}) is not ndarray", spoken, source)  # fmt: skip
        else:
            self.sized(name, d, stand, spoken, source)
        node = t._node if t._base is None else self._node_of()(t)
        hooked = (
            node is not None and node.leaf and (node.watched or t._post_hooks)
        )  # then who runs them assumes what they are
        if not fresh:
            mine = self.kept(ref)
            looks.append(f"{mine}._base is {'None' if t._base is None else 'not None'}")
            if node is None:
                looks.append(f"{mine}._node is None")
            elif node.leaf:
                self.line(f"n{name} = {ref}._node", False)
                self.held.append(f"n{name}")
                looks += [f"{mine}._node is F_n{name}", *([] if hooked else [f"not {mine}._post_hooks"])]
                if not hooked:
                    self.volatile.append((f"not F_n{name}.watched", f"n{name}", "watched"))
            else:
                looks.append(f"({mine}._node is not None and not {mine}._node.leaf)")
            self.volatile.append((" and ".join(looks), ref, "_a _base _node _post_hooks"))
        if node is None:
            self.check(f"{ref}._node is not None", f"{spoken} needs no gradient", source)
        elif node.leaf:
            none = "" if hooked else f" or {ref}._node.watched or {ref}._post_hooks"
            self.check(f"{ref}._node is None or not {ref}._node.leaf{none}",
                       f"{spoken} is a leaf that needs a gradient{'' if hooked else ', without hooks'}", source)  # fmt: skip
        else:
            self.check(f"{ref}._node is None or {ref}._node.leaf", f"{spoken} needs a gradient", source)
        if t._base is None:
            self.check(f"{ref}._base is not None", f"{spoken} is no view", source)
        else:
            self.check(f"{ref}._base is None", f"{spoken} is a view", source)

    def counter(self, source: Source) -> str:
        """The variable that holds the counter of a tensor's versions."""
        self.scope["counter"] = counter
        return self._kept_value(f"counter({self.ref(source)})", source, "_vc")

    def _kept_value(self, text: str, source: Source | None, what: str = "") -> str:
        name = f"k{self._extra}"
        self._extra += 1
        fresh = source is not None and self.fresh(source)
        self.line(f"{name} = {text}", fresh)
        if not fresh:
            self.held.append(name)
            if source is not None:
                ref = self.ref(source)
                self.volatile.append((f"{self.kept(ref)}.{what} is F_{name}", ref, what))
        return name

    def overlap(self, written: list[Source], others: list[Source], now: bool) -> None:
        """Whether memory that is written is that of another input, too."""
        self.scope["Memory"] = Memory
        arrays = [(source, f"{self.ref(source)}._a", n < len(written)) for n, source in enumerate([*written, *others])]
        pick = lambda fresh, writes: "".join(
            f"{a}, " for source, a, w in arrays if w is writes and self.fresh(source) is fresh
        )
        held = self._kept_value(f"Memory(({pick(False, True)}), ({pick(False, False)}))", None)
        fresh = any(self.fresh(source) for source, _, _ in arrays)
        condition = f"{held}.overlap"
        if fresh:
            condition += f" or {held}.meets(({pick(True, True)}), ({pick(True, False)}))"
        spoken = f"{len(written)} inputs that are written {'share' if now else 'do not share'} memory with others"
        self.check(f"not ({condition})" if now else condition, spoken, None, fresh)

    def sized(self, name: str, d: str, stand: Any, spoken: str, source: Source) -> None:
        """A tensor some of whose sizes may change: the others are as they were, and its strides follow from them."""
        shape = stand.shape
        self.check(
            f"type({name}) is not ndarray or {name}.dtype is not {d} or len({name}.shape) != {len(shape)}",
            spoken,
            source,
        )
        sizes = [str(n) if type(n) is int else self.ref(n.source) for n in shape]
        wrong = [
            f"{r} < 2" if type(n) is not int else f"{name}.shape[{i}] != {n}"
            for i, (n, r) in enumerate(zip(shape, sizes, strict=True))
        ]
        strides = "".join(f"{s if type(s) is int else self.text(s.source)}, " for s in stand.strides)
        self.check(f"{' or '.join(wrong)} or {name}.strides != ({strides})", spoken, source)

    def _node_of(self) -> Any:
        from flambeau._eager.graph import node_of

        return node_of

    # ---- watching ----

    def entry(
        self, inputs: list[str] | None, out: str, after: list[str], lent: list[str]
    ) -> tuple[str, dict[str, Any]]:
        """The text of an entry that looks at what is watched, and checks everything where that was changed; and its names.

        `inputs` go to the program, where there is one; if all are tensors that are looked at, their arrays do: those that are watched as they were found.
        `lent` are tensors whose memory it may have then.
        """
        from flambeau._backends.cpu import watch

        same = watch.same()
        whole = [f"{out}program({', '.join(inputs)})"] if inputs is not None else []
        if same is None or not self.watches:
            after = [*whole, *after]
            return self.write("entry", self.lines, after), {}
        fresh = self._looked_at(
            [line for line, always in zip(self.lines, self.always, strict=True) if always], [*whole, *after, *lent]
        )
        arrays = [self.arrays.get(r, "") for r in inputs or ()]
        kept: dict[str, str] = {}  # stretches of arguments that are held
        if arrays and all(arrays) and "program_arrays" in self.scope:
            given = []
            for held, stretch in groupby(arrays, set(self.held).__contains__):
                names = list(stretch)
                if held and len(names) > 1:
                    given.append(f"*args{len(kept)}")
                    kept[f"args{len(kept)}"] = f"({', '.join(names)})"
                else:
                    given += names
            if lent:
                given.append(f"*lend({', '.join(lent)})")
            whole = [f"{out}program_arrays({', '.join(given)})"]
        after = [*whole, *self._together(after, kept)]
        wanted = set(re.findall(r"\b(?:v|a|na|k)\d+\b", "\n".join([*fresh, *after]))) & set(self.held)
        stable = self.steady()
        names = [*stable, *self.held, *kept]
        conditions = [*(f"{p} is F_{p}" for p in stable), "F_same(F_words)", "(F_look is None or F_look())"]
        again = [*kept, *sorted(wanted, key=self.held.index)]
        quick = [*([f"{', '.join(again)}, = F_again"] if again else []), *fresh]
        found = [f"    {name} = {text}" for name, text in kept.items()]
        lines = [f"if {' and '.join(conditions)}:", *(f"    {line}" for line in quick or ["pass"]), "else:",
                 *(f"    {line}" for line in self.lines), *found, "    F_settle(locals())"]  # fmt: skip
        settle = Settle(self, names, again, same[1])
        scope = {f"F_{n}": None for n in names} | {
            "F_same": same[0],
            "F_words": NEVER,
            "F_look": None,
            "F_again": (),
            "F_settle": settle,
            "locals": locals,
        }
        return self.write("entry", lines, after), scope

    def _together(self, after: list[str], kept: dict[str, str]) -> list[str]:
        """The effects, with versions of what is the same at each call raised at once where they are many."""
        found = {line: m for line in after if (m := re.fullmatch(r"(k\d+)\[0\] \+= (\d+)", line)) and m[1] in self.held}
        if len(found) < 3:
            return after
        self.scope["Raise"] = Raise
        kept["bump"] = f"Raise({', '.join(f'({m[1]}, {m[2]})' for m in found.values())})"
        first = next(iter(found))
        return ["bump()" if line is first else line for line in after if line is first or line not in found]

    def _looked_at(self, fresh: list[str], after: list[str]) -> list[str]:
        """The lines that run at each call, without those whose only matter is of which type an attribute is: that can be watched."""
        used = Counter(re.findall(r"\bv\d+\b", "\n".join([*fresh, *after])))
        gone: set[str] = set()
        for name, kind, source in self.typed:
            if used[name] == 2:  # where it is fetched, and where its type is asked for
                base = self.ref(source.base)
                gone |= {line for line in fresh if re.search(rf"\b{name}\b", line)}
                self.volatile.append((f"type({self.kept(base)}.{source.key}) is {kind}", base, f"type of {source.key}"))
        return [line for line in fresh if line not in gone]

    # ---- the text ----

    def source_text(self, name: str = "guards") -> str:
        """The function, on its own: None where everything holds, the failed assumption otherwise."""
        return self.write(name, [*self.lines, "return None"], [])

    def write(self, name: str, lines: list[str], after: list[str]) -> str:
        """A function whose first lines may meet things that are not there, or numbers that an operation refuses: failed assumptions too."""
        taken = set(self.spelled.values()) & self.scope.keys()
        assert not taken, f"parameters of a compiled function are called as what its entry uses itself: {taken}"
        return (f"def {name}({', '.join(self.spelled.values())}):\n    try:\n" + "".join(f"        {line}\n" for line in lines)
                + "    except (LookupError, AttributeError, TypeError, ValueError, ArithmeticError):\n        return MISSING\n"
                + "".join(f"    {line}\n" for line in after))  # fmt: skip


_word = np.zeros(1, np.int64)
NEVER = np.array([[_word.ctypes.data, 1]], np.int64)  # a word that is never so


class Settle:
    """Keeps what a full check found: from then on, changes are watched."""

    def __init__(self, guards: Guards, names: list[str], again: list[str], alive: Any) -> None:
        self.again = again
        self.names, self.watches, self.scope = names, list(dict.fromkeys(guards.watches)), guards.scope
        self.volatile = list(dict.fromkeys(guards.volatile))
        self.looks: dict[tuple[str, ...], Any] = {(): None}
        self.alive, self.left = alive, 64
        self.given = [n for n in names if not _OURS.fullmatch(n)]  # parameters
        self.wait = self.pause = 0

    def __call__(self, found: dict[str, Any]) -> None:
        from flambeau._backends.cpu import watch

        if self.left <= 0:
            return  # something watched changes all the time: checking is all there is to do
        scope = self.scope
        if any(found[n] is not scope["F_" + n] for n in self.given):  # as it may be at each call: less and less often
            if self.wait > 0:
                self.wait -= 1
                return
            self.wait, self.pause = self.pause, 2 * self.pause or 1
        self.left -= 1
        scope["F_words"] = NEVER
        for n in self.names:
            scope["F_" + n] = found[n]
        again = (found[n] for n in self.again)
        scope["F_again"] = tuple(x.native() if type(x) is Raise else x for x in again)
        held = lambda v: found[v] if v in found else scope[v]
        traced = [v for v in self.volatile if v[2]]
        try:
            made, left = watch.words(
                [(held(v), kind) for v, kind in self.watches], [(held(v), kind) for _, v, kind in traced]
            )
        except watch.Unwatchable:
            self.left = 0
            return
        looks = (*(text for text, _, kind in self.volatile if not kind), *(traced[n][0] for n in left))
        if looks not in self.looks:
            self.looks[looks] = build("look", f"def look():\n    return {' and '.join(looks)}\n", scope)
        scope["F_look"] = self.looks[looks]
        scope["F_words"] = made


_OURS = re.compile(
    r"(v|a|na|c|o|k)\d+|F_.*|.*_|out|args\d*|program|program_arrays|ndarray|alike|new|default_dtype|default_device|MISSING|REFUSED|MODES|STATE|NULL|Partial"
    r"|redraw|lend|put_state|put_slot|nest|warning_raises|warn_again|warn_outside|filters_mutated|Tensor|Memory|counter|bump|Raise|Spent|FunctionType|MethodType|CellType"
)  # the names in an entry, but for those of Python


def spelled(parameter: str) -> str:
    """A name for a parameter that means nothing else in an entry."""
    return f"{parameter}_" if _OURS.fullmatch(parameter) or hasattr(builtins, parameter) else parameter


def _plain(key: Any) -> bool:
    """Whether a key names an item as an attribute is named."""
    return isinstance(key, str) and key.isidentifier()


def _restless(source: Source) -> bool:
    """Whether a dictionary is the namespace of a program, where any loop's variable is a change."""
    d = source.key
    return (
        source.kind == "const" and isinstance(d, dict) and not str(d.get("__name__", "flambeau")).startswith("flambeau")
    )


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

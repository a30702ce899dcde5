"""Captures on disk, by content: a function that an earlier process captured is not interpreted again where all that it met is the same.

An entry holds what a capture gave: the guards and effects (one text), the constants that they name, the program's graph, whose blueprint
`stored` keeps. It is looked for under the function's code and the state of the library that a capture looks at unasked, and serves a
call only when every constant was found again and is what it was (`described`), every function that was followed has the code that it
had, the library is as it was, and every guard holds. Nothing that cannot be told exactly is kept. Only whole calls are: no breaks, no sizes
that are expressions, no results with a history.
"""

from __future__ import annotations

import gc
import hashlib
import marshal
import re
import sys
import types
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

import flambeau
from flambeau import library
from flambeau._backends.cpu import watch
from flambeau._backends.cpu.engine import LIGHT, engine, stamp
from flambeau._backends.cpu.versions import Raise
from flambeau._capture import backends, described, program, recalled, redrawn, settings, stored
from flambeau._capture.breaks import REFUSED, Failed
from flambeau._capture.described import Describer, Library
from flambeau._capture.effects import Spent, put_state
from flambeau._capture.guards import NEVER, Guards, Settle, alike
from flambeau._capture.lent import Lend
from flambeau._capture.shared import Memory, counter
from flambeau._capture.sources import Source
from flambeau._capture.stance import stance
from flambeau._capture.stored import MARSHAL, Strange
from flambeau._capture.tracer import lookup
from flambeau._capture.warned import raises
from flambeau._dynamo.utils import count_graph, counters
from flambeau._eager import autocast, large
from flambeau._eager.modes import MODES, STATE, State
from flambeau._ground import dumps, flags
from flambeau._ground.once import Once, warn_once
from flambeau._ground.source import build
from flambeau._ops import _DEFINED as DEFINED
from flambeau._tensor import CLASSES, Tensor
from flambeau._values import default_device, dtype as dtypes
from flambeau._values.device import CPU

if TYPE_CHECKING:
    from flambeau._capture.entries import Function, Segment

MOST = 8  # captures of one function that are kept; the oldest goes
_loaded: set[str] = set()  # what captures have made the library load, or write, of what goes by other names
COUNTS = {"found": 0, "kept": 0}

_PLAIN = (type(None), bool, int, float, str)
_NAMES: dict[str, Any] = {
    "ndarray": np.ndarray, "alike": alike, "MODES": MODES, "STATE": STATE, "default_dtype": dtypes.get_default_dtype,
    "default_device": default_device.get, "Tensor": Tensor, "Spent": Spent, "new": object.__new__, "FunctionType": types.FunctionType,
    "MethodType": types.MethodType, "CellType": types.CellType, "setattr": setattr, "id": id, "hasattr": hasattr, "counter": counter,
    "Memory": Memory, "Raise": Raise, "REFUSED": REFUSED, "put_slot": object.__setattr__, "tuple": tuple, "put_state": put_state,
    "nest": autocast.nest,
}  # fmt: skip
_MADE = frozenset(("program", "program_arrays", "lend", "MISSING", "locals", "__builtins__"))
_CONSTANT = re.compile(r"c\d+")


class Said:
    """A source of an earlier process: the words only."""

    def __init__(self, words: str) -> None:
        self.words = words

    def spoken(self) -> str:
        return self.words


# ---------------------------------------------------------------- what is asked for


def ask(function: Function, segment: Segment, values: tuple[Any, ...]) -> Asked | None:
    """What is looked for at the beginning of a capture, and kept at its end; None where nothing is."""
    if (
        not flags.get("remember") or watch.same() is None
    ):  # to look through the library each time takes longer than most captures
        return None
    plain = (
        segment is function.first
        and not segment.symbolic
        and not function.dynamic
        and function.backend is backends.native
    )
    if (
        not plain
        or MODES
        or settings.cache_tag() is None
        or settings.dynamic_sources()
        or dumps.anything()
        or not large.available()
    ):
        return None
    if stance() != ("default", None) or any(map(len, DEFINED.values())) or library._owners or library._early or CLASSES:
        return None  # operators of one's own, or operators whose results are of classes of one's own
    try:
        return Asked(function, segment, values)
    except Exception:  # something that cannot be told
        return None


class Asked:
    """The place of a function's captures on disk, and those of them that this process does not have yet."""

    def __init__(self, function: Function, segment: Segment, values: tuple[Any, ...]) -> None:
        self.began = Once.calls
        self.function, self.segment, self.changing = function, segment, sorted(segment.changing)
        self.space = function.fn.__globals__
        self.had: set[bytes] = function.remembered
        code, about = function.code, Describer(self.space)
        parts = [
            ("captured", f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname} {function.dynamic}"),
            ("code", about.digest(code)),
            ("state", marshal.dumps(_state(), 2)),
            ("values", marshal.dumps((about.cells(function.fn), tuple(map(about.sort, values))), 2)),
            ("changing", "\n".join(self.changing)),
            ("tag", settings.cache_tag()),
            ("python", sys.version),
            ("numpy", np.__version__),
            ("package", stamp("")),
        ]
        self.parts = engine().key(parts, LIGHT)
        self.present = Library.now()

    def slots(self) -> list[bytes]:
        """The digests of the captures that are kept, the last one first."""
        data = engine().store.get([*self.parts, ("about", "captures")])
        found = None if data is None else _read(data)
        return [x for x in found if type(x) is bytes][:MOST] if type(found) is list else []

    def find(self, values: tuple[Any, ...]) -> tuple[Any, Any] | None:
        """A capture that serves this call, as an entry, and what it gave."""
        collecting = gc.isenabled()
        gc.disable()  # as where something is captured: what is made here stays
        try:
            return self._serving(values)
        finally:
            if collecting:
                gc.enable()

    def _serving(self, values: tuple[Any, ...]) -> tuple[Any, Any] | None:
        if self.present.foreign:
            return None
        for slot in self.slots():
            if slot in self.had:
                continue
            data = engine().store.get([*self.parts, ("capture", slot)])
            facts = None if data is None else _read(data)
            if type(facts) is not dict:
                continue
            try:
                entry = Found(self, facts, values)
            except Exception:  # not what it was, or damaged: the function is captured anew
                continue
            if not _said(facts["messages"]):
                continue
            result = entry.run(*values)
            if type(result) is Failed and result is not REFUSED:
                continue
            self.had.add(slot)
            self.segment.changing |= {*facts["changed"]}
            counters["frames"].update(total=1, ok=1)
            count_graph(entry.program.count)
            COUNTS["found"] += 1
            return entry, result
        return None

    def keep(self, entry: Any, values: tuple[Any, ...]) -> None:
        """Write a capture, where all of it can be told."""
        made, entry.made = entry.made, None
        if made is None:
            return
        try:
            facts = marshal.dumps(Told(self, entry, values, *made).facts, MARSHAL)
        except Exception:  # something that cannot be told
            return
        slot = hashlib.blake2b(facts, digest_size=16).digest()
        store = engine().store
        if store.put([*self.parts, ("capture", slot)], facts):
            others = [s for s in self.slots() if s != slot]
            store.put([*self.parts, ("about", "captures")], marshal.dumps([slot, *others][:MOST], MARSHAL))
            self.had.add(slot)
            COUNTS["kept"] += 1

    def settle(self) -> None:
        """The capture has run for the first time: what the library has loaded since it was asked for is its own."""
        _loaded.update(Library.now().renamed - self.present.renamed)


def _said(messages: list[str]) -> bool:
    """Say what the capture said, where it was not said yet. An error of it belongs where the program may catch it: then not."""
    new = [m for m in messages if Once.always or m not in Once.said]
    if any(raises(m, UserWarning) for m in new):
        return False
    for m in new:
        warn_once(m)
    return True


def _read(data: bytes) -> Any:
    try:
        return marshal.loads(data)
    except (ValueError, EOFError, TypeError):
        return None


_SWITCHES = ("flambeau._dynamo.config", "flambeau._inductor.config", "flambeau.compiler.config")
_LATE = (
    ("flambeau.utils.checkpoint", "_checkpoint_debug_enabled", None),
    ("flambeau.utils.checkpoint", "_enable_checkpoint_early_stop", None),
    ("flambeau.nn.utils.parametrize", "_cache_enabled", 0),
    ("flambeau._dynamo.compiled_autograd", "compiled_autograd_enabled", False),
)  # what modules hold that are loaded when they are wanted, and what it is then


def _state() -> list[Any]:
    """What captures look at without assuming it: switches of the thread and of the library."""
    found: list[Any] = []
    for name, usual in sorted(vars(State).items()):
        if not name.startswith("__"):
            now = getattr(STATE, name)
            if type(now) in _PLAIN:
                found.append((name, now))
            elif now is not usual and now != usual:
                raise Strange(name)
    found += [(name, flags.get(name)) for name in ("native", "num_threads", "strict")]
    found += [(k, v) for k, v in sorted(vars(flambeau._namespace._Settings).items()) if type(v) in _PLAIN]
    found += [dtypes.get_default_dtype().name, str(default_device.get()), Once.always]
    for name in _SWITCHES:
        held = (
            [(k, v) for k, v in sorted(vars(sys.modules[name]).items()) if not k.startswith("__")]
            if name in sys.modules
            else []
        )
        if any(type(v) in (list, set, dict) and v for k, v in held if k.islower()):
            raise Strange(name)
        found.append((name, [(k, v) for k, v in held if type(v) in _PLAIN]))
    found += [(name, k, getattr(sys.modules.get(name), k, usual)) for name, k, usual in _LATE]
    return found


def _odd(t: Any) -> bool:
    """Whether a tensor has something about it that is not among the guards."""
    node = t._node
    hooked = t._hooks or t._post_hooks or t._retain or (node is not None and node.leaf and node.watched)
    return bool(t.__dict__) or t._inference or bool(hooked)


def _binder(g: Guards, names: set[str]) -> tuple[list[str], int]:
    """The guards, with code that is compared by what it is, and with a second look at tensors; and how often code is."""
    owner: dict[str, str] = {}
    made, count, found = list[str](), 0, set[str]()
    for line, says in zip(g.lines, g.says, strict=True):
        match says:
            case ("attribute", name, base, "__code__"):
                owner[name] = base
            case ("is", name, code) if code in names:
                line = f"if not F_code({count}, {code!r}, {owner[name]}): return MISSING"
                count += 1
                found.add(code)
            case ("array", t):
                made.append(f"if F_odd({t}): return MISSING")
        made.append(line)
    if found != names:
        raise Strange("code whose function is not known")
    return made, count


# ---------------------------------------------------------------- writing


class Told:
    """A capture as plain data."""

    def __init__(self, asked: Asked, entry: Any, values: tuple[Any, ...], tr: Any, of: program.Program) -> None:
        g: Guards = tr.guards
        self.guards, self.asked = g, asked
        if (
            tr.said
            or tr.told
            or tr.transforms
            or tr.recorder.custom
            or tr.recorder.applied
            or tr.recorder.chosen
            or tr.recorder.geometry is None
        ):
            raise Strange("a capture of a kind of its own")
        if any(not isinstance(t.target, str) and getattr(t.target, "namespace", "aten") != "aten" for t in of.lines):
            raise Strange("an operator of one's own")
        if tr.unordered or described.sets(tr.codes.values()):
            raise Strange("a set")
        has = Library.now()
        if has.foreign or asked.present.foreign:
            raise Strange("the library is not as it was")
        had = asked.present.renamed
        _loaded.update(has.renamed - had)
        self.about = Describer(asked.space)
        self.items: dict[
            str, tuple[str, str]
        ] = {}  # a constant -> the namespace or class where it was found, and its name there
        origin: dict[str, tuple[str, str]] = {}
        primed: list[tuple[str, str]] = []
        for says in g.says:
            match says:
                case ("item" | "attribute" as how, name, base, key) if _CONSTANT.fullmatch(base):
                    origin[name] = base, key
                    if how == "item":
                        primed.append((base, key))
                case ("is", name, constant) if name in origin:
                    self.items.setdefault(constant, origin[name])
                case ("type", _, kind) if not described.known(g.scope[kind]):
                    raise Strange("an object that is not looked into")
        self.items.update({k: v for k, v in g.members.items() if k not in self.items})
        constants, failed, codes = [], [], set()
        for name, x in g.scope.items():
            if type(x) is Failed and name != "MISSING":
                if name == "REFUSED":
                    continue
                failed.append((name, x.text, None if x.source is None else x.source.spoken()))
            elif _CONSTANT.fullmatch(name):
                if type(x) is types.CodeType:
                    codes.add(name)
                else:
                    constants.append((name, *self.constant(name, x)))
            elif name not in _MADE and not name.startswith("F_") and _NAMES.get(name, self) is not x:
                raise Strange(name)
        lines, count = _binder(g, codes)
        checks: list[bytes] = []

        def code(n: int, name: str, f: Any) -> bool:
            if type(f) is not types.FunctionType or f.__code__ is not g.scope[name] or n != len(checks):
                return False
            checks.append(self.about.digest(f))
            return True

        text = g.write("bind", [*lines, "return None"], [])
        if build("bind", text, {**g.scope, "F_code": code, "F_odd": _odd})(*values) is not None or len(checks) != count:
            raise Strange("guards that do not hold")
        settle = g.scope.get("F_settle")
        lend = g.scope.get("lend")
        self.facts = {
            "itself": self.about.digest(asked.function.fn),
            "constants": constants,
            "failed": failed,
            "names": sorted(n for n in g.scope if n in _NAMES),
            "codes": checks,
            "bind": text,
            "entry": entry.text,
            "lines": list(g.lines),
            "changed": sorted(asked.segment.changing),
            "parameters": list(g.parameters),
            "primed": list(dict.fromkeys(primed)),
            "had": sorted(had - _loaded),
            "has": sorted(has.renamed),
            "settle": None if settle is None else (settle.names, settle.again, settle.watches, settle.volatile),
            "sources": self.sources(entry),
            "graph": recalled.text(of),
            "inputs": [s.spoken() for s, _, _ in of.inputs],
            "count": of.count,
            "messages": [m for m, n in Once.wanted.items() if n > asked.began],
            "arrays": "program_arrays" in g.scope,
            "lend": None if lend is None else stored.plain(tuple(lend.facts)),
        }

    def constant(self, name: str, x: Any) -> tuple[Any, Any]:
        """Where a constant lies, and what it is like there; or all of it."""
        spaces = self.about.spaces
        if x is STATE:
            return "state", None
        if x is CPU:
            return "cpu", None
        if isinstance(x, types.ModuleType):
            if id(x) not in spaces.modules:
                raise Strange("a module")
            return ("module", spaces.modules[id(x)]), None
        if type(x) is dict:
            where = spaces.name(x)
            if where is None:
                raise Strange("a namespace")
            return ("space", where), None
        if x is self.asked.function.fn:
            return "itself", None
        if isinstance(x, (type, types.FunctionType, property, *_BUILTIN)):
            where = described.path(x, spaces)
            if where is not None:
                return ("path", where), self.about.digest(x)
            base, key = self.items.get(name, ("", "")) if name in self.items else self.accessor(x)
            if not base or _there(self.guards.scope[base], key) is not x:
                raise Strange(f"{name}, which lies nowhere")
            return ("there", (base, key)), self.about.digest(x)
        if type(x) is tuple and any(isinstance(y, type) for y in x):
            return ("tuple", [self.constant("", y) for y in x]), None
        self.about.plain(x)
        if not described.same(x):
            raise Strange(name)
        return ("plain", stored.plain(x)), None

    def accessor(self, x: Any) -> tuple[str, str]:
        """The property that a function belongs to, and as what."""
        for name, y in self.guards.scope.items():
            for key in ("fget", "fset", "fdel"):
                if type(y) is property and getattr(y, key) is x:
                    return name, key
        return "", ""

    def sources(self, entry: Any) -> Any:
        """The numbers and tensors that were assumed, by where they were found."""
        nodes: list[Any] = []
        known: dict[int, int] = {}
        names = {id(x): n for n, x in self.guards.scope.items() if _CONSTANT.fullmatch(n)}

        def number(s: Any) -> Any:
            if not isinstance(s, Source):
                return None, stored.plain(s)
            if id(s) not in known:
                if s.kind == "const":
                    made: Any = ("const", None, names.get(id(s.key), ""))
                elif s.kind in ("expression", "call"):
                    made = (s.kind, tuple(number(b) for b in s.base), s.key)
                else:
                    made = (s.kind, number(s.base), number(s.key))
                known[id(s)] = len(nodes)
                nodes.append(made)
            return known[id(s)]

        numbers = [(number(s), v) for s, v in entry.numbers]
        tensors = [(number(s), tuple(shape), stored.plain(d)) for s, shape, d in entry.tensors]
        return nodes, numbers, tensors


_BUILTIN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)


def _there(base: Any, key: str) -> Any:
    """What a namespace, or a class, has under a name."""
    if isinstance(base, types.ModuleType):
        base = base.__dict__
    if type(base) is dict:
        return described.get(base, key)
    if type(base) is property:
        return getattr(base, key)
    if not isinstance(base, type):
        return None
    described.written(base, key)
    found = lookup(base, key)
    return found.__func__ if isinstance(found, (staticmethod, classmethod)) else found


# ---------------------------------------------------------------- reading


class Found:
    """An entry like `entries.Entry`, of a capture that an earlier process made."""

    stop = made = None

    def __init__(self, asked: Asked, facts: dict[str, Any], values: tuple[Any, ...]) -> None:
        fn = asked.function.fn
        if not {*facts["had"]} <= asked.present.renamed <= {*facts["has"]}:
            raise Strange("the library is not as it was")
        self.scope: dict[str, Any] = {name: _NAMES[name] for name in facts["names"]}
        scope = self.scope
        scope["MISSING"] = Failed("something is missing")
        for name, words, source in facts["failed"]:
            scope[name] = Failed(words, None if source is None else Said(source))
        about = Describer(asked.space)
        for name, where, like in facts["constants"]:
            scope[name] = fn if where == "itself" else _found(where, like, scope, about)
        for base, key in facts["primed"]:
            described.get(scope[base], key)
        g = self.g = Guards(facts["parameters"])
        g.scope = scope
        self._bound(about, facts["bind"], facts["codes"], values)
        if about.digest(fn) != facts["itself"]:
            raise Strange("the function itself")
        self.program = Program(facts)
        scope["program"] = self.program.call()
        if facts["arrays"]:
            scope["program_arrays"] = getattr(self.program.run, "arrays")  # noqa: B009  (of a native program)
        if facts["lend"] is not None:
            scope["lend"] = Lend(stored.made(facts["lend"]))
        if facts["settle"] is not None:
            self._watched(*facts["settle"])
        self.text, self.parameters = facts["entry"], g.parameters
        self.run = build("entry", self.text, scope, kept=True)
        self.lines, self.found = facts["lines"], facts["sources"]

    def _bound(self, about: Describer, text: str, checks: list[bytes], values: tuple[Any, ...]) -> None:
        """All guards hold, and functions have the code that they had: from now on it is known by its identity."""
        scope = self.scope

        def code(n: int, name: str, f: Any) -> bool:
            if type(f) is not types.FunctionType or about.digest(f) != checks[n]:
                return False
            return scope.setdefault(name, f.__code__) is f.__code__

        bind = build("bind", text, {**scope, "F_code": code, "F_odd": _odd}, kept=True)
        failed = bind(*values)
        if failed is not None:
            raise Strange(failed.text)

    def _watched(self, names: list[str], again: list[str], watches: list[Any], volatile: list[Any]) -> None:
        same = watch.same()
        if same is None:
            raise Strange("nothing is watched here")
        self.g.watches, self.g.volatile = watches, volatile
        self.scope.update({f"F_{n}": None for n in names})
        self.scope.update(F_same=same[0], F_words=NEVER, F_look=None, F_again=(), locals=locals)
        self.scope["F_settle"] = Settle(self.g, names, again, same[1])

    @cached_property
    def guards(self) -> str:
        """The text of the guards alone."""
        self.g.lines = self.lines
        return self.g.source_text()

    @cached_property
    def _sources(self) -> list[Source]:
        made: list[Source] = []
        of = lambda s: made[s] if type(s) is int else stored.made(s[1])
        for kind, base, key in self.found[0]:
            if kind == "const":
                made.append(Source(kind, None, self.scope.get(key)))
            elif kind in ("expression", "call"):
                made.append(Source(kind, tuple(map(of, base)), key))
            else:
                made.append(Source(kind, of(base), of(key)))
        return made

    @property
    def numbers(self) -> list[tuple[Source, Any]]:
        return [(self._sources[s], v) for s, v in self.found[1]]

    @property
    def tensors(self) -> list[tuple[Source, tuple[int, ...], Any]]:
        return [(self._sources[s], shape, stored.made(d)) for s, shape, d in self.found[2]]


class Program(program.Program):
    """The program of a capture that was found: its blueprint lies on the disk; its graph is drawn where it is asked for."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.text, self.names, self.count = facts["graph"], facts["inputs"], facts["count"]
        made = stored.find(stored.keyed(self.text))
        if made is None:
            raise Strange("a program that is not kept any more")
        self.live = False
        self.run = backends.recalled(lambda: self.module, made)
        if not hasattr(self.run, "native"):
            raise Strange("a program that runs operator by operator")

    @cached_property
    def module(self) -> Any:
        return redrawn.graph(self.text, self.names)


def _found(where: Any, like: bytes | None, scope: dict[str, Any], about: Describer) -> Any:
    """The constant that lies there in this process, if it is like that."""
    x = _lying(where, scope, about)
    if like is not None and about.digest(x) != like:
        raise Strange(f"{where}")
    return x


def _lying(where: Any, scope: dict[str, Any], about: Describer) -> Any:
    spaces = about.spaces
    if where == "state":
        return STATE
    if where == "cpu":
        return CPU
    kind, at = where
    match kind:
        case "module":
            return described.module(at)
        case "space":
            return described.space_of(at, spaces.own)
        case "path":
            return described.along(described.space_of(at[0], spaces.own), at[1])
        case "there":
            return _there(scope[at[0]], at[1])
        case "tuple":
            return tuple(_found(where, like, scope, about) for where, like in at)
        case "plain":
            return stored.made(at)
    raise Strange(str(kind))

"""Notes each primitive operator that a capture runs: the program, before it is an `fx.Graph`.

A recorder stands in the eager call path (`modes.STATE.recorder`). Operators run for real, on the real tensors; what they write is
kept first, so that `undo` puts everything back. A tensor is known by its array: aliases of one array are one value.
"""

from __future__ import annotations

import weakref
from functools import cache
from typing import Any

import numpy as np

from flambeau import _ops
from flambeau._capture import indexing
from flambeau._capture.breaks import Break
from flambeau._capture.geometry import Geometry
from flambeau._capture.numbers import Tracked, plain
from flambeau._eager import call, create, modes, views
from flambeau._eager.construct import parse_to, tensor
from flambeau._eager.graph import node_of
from flambeau._eager.modes import STATE
from flambeau._operators import linalg, overloads
from flambeau._operators.op import REQUIRED, Op, Param
from flambeau._ops import OpOverload
from flambeau._tensor import Tensor, wrap
from flambeau._values import dtype as dtypes
from flambeau._values.generator import default_generator
from flambeau.autograd.graph import Packed
from flambeau.overrides import EXTRA

_SCALARS = frozenset(("Scalar", "float", "Scalar | None", "float | None"))
_PLAIN = frozenset((type(None), bool, int, float, complex, str))  # of arguments that the program has as they are
_FIELDS = ("_a", "_node", "_nr", "_base", "_vc", "_seen", "_created", "_grad", "_retain", "_hooks", "_post_hooks")


class Value:
    """One line of the program: an input, or a call and its result."""

    __slots__ = (
        "args",
        "back",
        "effect",
        "grad",
        "kind",
        "kwargs",
        "number",
        "part",
        "sample",
        "size",
        "target",
        "users",
    )

    def __init__(self, kind: str, target: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> None:
        self.kind, self.target, self.args, self.kwargs = kind, target, args, kwargs or {}
        self.effect = False  # whether it does more than give a result
        self.grad = True  # the grad mode it ran in
        self.sample: Any = None  # (shape, dtype, strides, needs a gradient) of the result, or a tuple of such
        self.number: int = -1
        self.size: Any = None  # the number that an input is, where it is made of sizes
        self.part: Any = None  # the checkpointed part that it is a line of
        self.back: Any = None  # the part whose derivative it is a line of, and the gradient that arrived there
        self.users = 0


class Recorder:
    """The program so far."""

    def __init__(self, tracer: Any) -> None:
        self.tracer = tracer
        self.lines: list[Value] = []
        self.inputs: list[tuple[Any, Value, Any]] = []  # (source, value, tensor or number)
        self.random = False
        self.packing: list[tuple[Any, Any]] = []  # hooks of saved tensors that are in force
        self.transforming = 0  # how many transforms of the library's own are running
        self.applied: list[Any] = []  # calls of custom autograd functions (`applied`)
        self.custom = ""  # what makes the history other than that of the operators
        self.inside_leaf = False  # a tensor made by the program became a leaf of the graph
        self._arrays: dict[int, tuple[Any, Value]] = {}
        self._outside: dict[int, Value] = {}  # by tensor
        self._numbers: dict[int, Value] = {}
        self._stands: dict[int, Any] = {}
        self._kept: list[Any] = []
        self._memory: dict[int, tuple[Any, Any]] = {}  # owner -> its bytes before the first write
        self._before: dict[int, tuple[Any, dict[str, Any], Any]] = {}
        self._fresh: set[int] = set()  # owners of memory that the program made
        self._foreign: set[int] = set()  # owners of memory that inputs lie in
        self._generator: Any = None
        self.geometry: Geometry | None = None  # how results lie, where they are not computed
        self.mutated: list[Any] = []  # outside tensors that were written
        self.expects = False  # whether calls are refused for what the function itself looks at
        self.chosen: dict[int, Value] = {}  # lines that stand for a view at a place that data tells -> what they view
        self.part: Any = None  # the checkpointed part that runs (`again`)
        self.parts: list[Any] = []
        self.back: Any = None  # what `Value.back` is of the lines that come

    # ---- entering the call path ----

    def start(self) -> None:
        modes.enter("capture")
        STATE.recorder = self
        self.within = STATE.transforms  # how many transforms the capture itself is in
        if self.tracer.symbols is not None:
            from flambeau._capture import sizes

            STATE.stand = sizes.run

    def stop(self) -> None:
        STATE.recorder = STATE.stand = None
        if STATE.transforms > self.within:
            from flambeau.func import _batched

            _batched.close(self.within)
        modes.leave("capture")

    # ---- tensors and values ----

    def outside(self, t: Tensor) -> None:
        """Remember how an outside tensor is before the program touches it."""
        while t is not None and id(t) not in self._before:
            held = {n: getattr(t, n) for n in _FIELDS}
            self._before[id(t)] = (t, held, None if t._vc is None else t._vc[0])
            t = t._base  # type: ignore[assignment]

    def stand(self, t: Tensor, array: Any) -> None:
        """While the capture lasts, another array stands in an outside tensor."""
        self._stands[id(t)] = t._a = array

    def before(self, t: Tensor, field: str) -> Any:
        """A field of an outside tensor as it was at the start."""
        return self._before[id(t)][1][field]

    def stands(self, t: Tensor) -> Any:
        """What stands for an outside tensor's array, or None."""
        return self._stands.get(id(t))

    def is_fresh(self, t: Tensor) -> bool:
        """Whether a tensor's memory is the program's own."""
        return id(views.memory_of(t._a)) in self._fresh

    def known(self, t: Tensor) -> bool:
        return id(t) in self._outside or self._found(t._a) is not None

    def _found(self, a: Any) -> Value | None:
        entry = self._arrays.get(id(a))
        return entry[1] if entry is not None and entry[0]() is a else None

    def value(self, t: Any) -> Value:
        """The value that a tensor is; an outside tensor becomes an input at its first use."""
        if isinstance(t, Tracked):
            return self.number(t)
        found = self._outside.get(id(t))
        if found is not None:
            return found
        found = self._found(t._a)
        if found is not None:
            return found
        source = self.tracer.source_of(t)
        if source is None:
            raise Break(
                "a tensor whose origin is unknown is used",
                "it was made or fetched by code that capture does not follow",
            )
        return self.add_input(source, t)

    def add_input(self, source: Any, t: Tensor) -> Value:
        if type(t._a) is not np.ndarray and self.stands(t) is not t._a:
            raise Break(f"a tensor on the device '{t.device}'")
        v = Value("input", source)
        v.sample = _sample(t)
        self._outside[id(t)] = v
        self._foreign.add(id(views.memory_of(t._a)))
        self._kept.append(t)
        self._note(t._a, v)
        self.inputs.append((source, v, t))
        return v

    def number(self, n: Tracked) -> Value:
        """A number that changes is an input of its own."""
        found = self._numbers.get(id(n.source))
        if found is None:
            found = self._numbers[id(n.source)] = Value("input", n.source)
            found.sample, found.size = n.raw, n
            self.inputs.append((n.source, found, n.raw))
        return found

    def _note(self, a: Any, v: Value) -> None:
        self._arrays[id(a)] = (weakref.ref(a), v)

    def emit(self, kind: str, target: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Value:
        v = Value(kind, target, args, kwargs)
        v.grad, v.part, v.back = STATE.grad, self.part, self.back
        self.lines.append(v)
        return v

    def result(self, v: Value, t: Tensor) -> Tensor:
        """`t` is what the line `v` gave."""
        v.sample = _sample(t)
        self._note(t._a, v)
        owner = id(views.memory_of(t._a))
        if owner not in self._foreign:
            self._fresh.add(owner)
        return t

    def _results(self, v: Value, r: Any, op: Any) -> None:
        if isinstance(r, Tensor):
            indexing.plain_tensor(r)
            self.result(v, r)
        elif isinstance(r, (tuple, list)):
            v.sample = []
            for i, x in enumerate(r):
                if x is None:
                    v.sample.append(None)
                    continue
                if not isinstance(x, Tensor):
                    raise Break(f"'{op.aten}' gives values of Python")
                item = self.emit("item", None, (v, i))
                self.result(item, x)
                v.sample.append(item.sample)
        elif r is not None:
            raise Break(f"'{op.aten}' reads the elements of a tensor")

    def converted(self, x: Any) -> Any:
        """An argument as the program has it: tensors and changing numbers are values."""
        if type(x) in _PLAIN:
            return x
        if isinstance(x, (Tensor, Tracked)):
            return self.value(x)
        if type(x) in (list, tuple) or (isinstance(x, tuple) and not hasattr(x, "_fields")):
            return [self.converted(y) for y in x]
        if isinstance(x, slice):
            return slice(self.converted(x.start), self.converted(x.stop), self.converted(x.step))
        return x

    def _arguments(self, op: Op, values: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = [], {}
        parameters, positional = _parameters(op)
        for (p, number, size), v in zip(parameters, values, strict=True):
            if type(v) not in _PLAIN:
                if isinstance(v, np.ndarray):
                    raise Break(f"'{op.aten}' is given an array of NumPy")
                if number and _tensors(v):
                    raise Break(f"a tensor is used as a number by '{op.aten}'", "give it a Python integer")
                if size and self.tracer.symbols is None:
                    v = indexing.fixed(v)  # a size: results are as large as it says
            if p.keyword:
                if not _is_default(v, p.default):
                    kwargs[p.name] = self.converted(v)
            else:
                args.append(v)
        while len(args) > 1 and _is_default(
            args[-1], positional[len(args) - 1].default
        ):  # `arange(0)` is no `arange()`
            args.pop()
        return tuple(self.converted(a) for a in args), kwargs

    # ---- operators ----

    def operator(self, op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
        """Run one primitive operator, and note it."""
        self._refuse(op, values)
        if out is not None:
            return self._out(op, values, out)
        if op.kind == "composite":
            return NotImplemented
        if not into and op.aten.endswith("_"):  # one that writes, and has no form that does not
            raise Break(f"'{op.aten}' writes to its argument")
        if op.by_data:
            raise Break(f"the size of the result of '{op.aten}' depends on the data")
        if op.aten == "index":
            if any(isinstance(i, Tensor) and i.dtype.kind == "b" for i in values[1] or ()):
                raise Break("the size of a selection by a mask depends on the data", "use torch.where")
        called = self._spelled(op, into and not op.view, values)
        if into:
            self.writing(values[op.receiver_at], op.custom is None and self.geometry is not None)
        if op.draws:
            self._draw(values)
        if into and op.view:
            return self._view_in_place(op, values, called)
        before, STATE.deferred = STATE.deferred, []
        try:
            r = self._run(op, values, into)
            contexts = STATE.deferred
        finally:
            STATE.deferred = before
        v = self.emit("call", *called)
        v.effect = into or op.draws
        if into:
            v.sample = _sample(r)
        else:
            self._results(v, r, op)
        for set_up in contexts:
            set_up(self._followed)
        if self.packing and STATE.grad:
            self._pack(r)
        return r

    def _followed(self, fn: Any, given: dict[str, Any]) -> None:
        """A function of the user's that an operator calls."""
        self.tracer.register(fn, self.tracer.constant(fn))
        self.tracer.call(fn, (), given)

    def _pack(self, r: Any) -> None:
        """What derivatives keep goes through the hooks of saved tensors that are in force."""
        pack, unpack = self.packing[-1]
        for t in r if isinstance(r, (tuple, list)) else (r,):
            node = t._node if isinstance(t, Tensor) else None
            if node is None or node.leaf or not node.versions or -2 in node.versions:
                continue
            node.saved = tuple(Packed(s, pack, unpack) if isinstance(s, Tensor) else s for s in node.saved)
            node.versions = tuple(
                -2 if isinstance(s, Packed) else w for s, w in zip(node.saved, node.versions, strict=True)
            )

    def _run(self, op: Op, values: tuple[Any, ...], into: bool) -> Any:
        """Call the operator. What its derivative keeps of changing numbers is those, not what they are now."""
        if op.kind == "pointwise" and not op.rules and STATE.grad:  # its derivative is made for these very numbers
            for p, v in zip(op.params, values, strict=True):
                if isinstance(v, Tracked) and not p.is_tensor:
                    v.fixed()
            values = tuple(v if p.is_tensor else _plain(v) for p, v in zip(op.params, values, strict=True))
        STATE.copied = self.copies if into else None
        try:
            if self.tracer.symbols is not None:
                return self.unwatched(call.general, op, values, None, into)
            raw = tuple(map(_plain, values))
            STATE.known = self.geometry
            r = self.unwatched(call.general, op, raw, None, into)
        finally:
            STATE.known = STATE.copied = None
        tracked = [(x, y) for x, y in zip(raw, values, strict=True) if isinstance(y, Tracked)]
        node = getattr(r[0] if isinstance(r, (tuple, list)) and r else r, "_node", None) if tracked else None
        if node is not None and node.saved and not node.leaf:
            for x, y in tracked:
                if any(s is x for s in node.saved):
                    if type(x) is int and sum(z is x for z in raw) > 1:
                        y.fixed()
                    else:
                        node.saved = tuple(y if s is x else s for s in node.saved)
                elif any(type(s) is type(x) and s == x for s in node.saved):
                    y.fixed()
        return r

    def _view_in_place(self, op: Op, values: tuple[Any, ...], called: tuple[Any, ...]) -> Any:
        t = values[op.receiver_at]
        if id(t) in self._before:
            raise Break(f"'{op.aten}_' changes the shape of a tensor from outside")
        r = self._run(op, values, True)
        return self.result(self.emit("call", *called), r)

    def _spelled(self, op: Op, into: bool, values: tuple[Any, ...]) -> tuple[OpOverload, Any, Any]:
        """What the graph calls, and with what: an overload with arguments of its own is the one that takes these."""
        args, kwargs = self._arguments(op, values)
        made = target(op, into)
        if made.own and not overloads.covers(op, op.overload, values):
            name = overloads.chosen(op, values)
            if not overloads.covers(op, name, values):
                raise Break(f"'{op.aten}' has no overload for these arguments")
            given, named = overloads.arguments(op, name, values)
            made = target(op, into, name)
            args, kwargs = tuple(map(self.converted, given)), {k: self.converted(x) for k, x in named.items()}
        return made, args, kwargs

    def _refuse(self, op: Op, values: tuple[Any, ...]) -> None:
        for v in values:
            if isinstance(v, Tensor):
                indexing.plain_tensor(v)
            elif isinstance(v, (list, tuple)):
                for x in v:
                    if isinstance(x, Tensor):
                        indexing.plain_tensor(x)

    def _out(self, op: Op, values: tuple[Any, ...], out: Any) -> Any:
        """`out=`: compute, then copy."""
        if not isinstance(out, Tensor):
            raise Break(f"'{op.aten}' with out= for several results")
        from flambeau._eager.derive import function

        n = next((i for i, p in enumerate(op.params) if p.keyword), len(values))
        result = function(op)(*values[:n], **{p.name: v for p, v in zip(op.params[n:], values[n:], strict=True)})
        if not isinstance(result, Tensor) or result._a.shape != out._a.shape or result._node is not None:
            raise Break(f"'{op.aten}' with out= resizes it, or has a gradient")
        out.copy_(result)
        return out

    def unwatched(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Call something whose operators are not to be noted."""
        STATE.recorder = None
        try:
            return fn(*args, **kwargs)
        finally:
            STATE.recorder = self

    def creation(self, op: Op, values: tuple[Any, ...], out: Any, extra: dict[str, Any]) -> Any:
        """`zeros`, `randn`, `ones_like` ..."""
        if out is not None:
            raise Break(f"'{op.aten}' with out=")
        args, kwargs = self._arguments(op, values)
        given = {n: v for n, v in extra.items() if v not in (None, False) and n != "requires_grad"}
        if op.draws:
            self._draw(values)
        raw = tuple(map(_plain, values)) if self.tracer.symbols is None else values
        if self.geometry is not None:
            r = self.unwatched(self.geometry.created, op, raw, extra)
        else:
            r = self.unwatched(
                create.create, op, raw, None, extra["layout"], extra["device"], extra["pin_memory"], False
            )
        if r.device.type != "cpu":
            raise Break(f"a tensor on the device '{r.device}'")
        v = self.emit("call", target(op, False), args, kwargs | given)
        v.effect = op.draws
        self._results(v, r, op)
        if extra["requires_grad"]:
            create.require(r)
            self.inside_leaf = True
        return r

    def constant(self, t: Tensor) -> Tensor:
        """A new tensor whose elements are known now: `torch.tensor([1.0, 2.0])`."""
        held = Value("constant", t._a.copy())
        held.sample = _sample(t)
        self.lines.append(held)
        v = self.emit("call", target(indexing.named("clone"), False), (held,))
        return self.result(v, t)

    def new_tensor(
        self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, **options: Any
    ) -> Tensor:
        """`torch.tensor(data)`: a constant, or a changing number as a tensor."""
        if device is not None and str(device) != "cpu":
            raise Break(f"a tensor on the device '{device}'")
        if isinstance(data, Tracked):
            dtype = dtype or (dtypes.get_default_dtype() if isinstance(data, float) else dtypes.int64)
            t: Tensor = indexing.function("full")((), data, dtype=dtype)
        else:
            if not _numbers(data):
                raise Break("torch.tensor() of something other than numbers", "use torch.stack, or clone()")
            t = self.constant(self.unwatched(tensor, indexing.fixed(data), dtype=dtype))
        if requires_grad:
            t.requires_grad = True
            self.inside_leaf = True
        return t

    def detach(self, t: Tensor) -> Tensor:
        """`t.detach()`, `t.data`: the same memory without history."""
        source = self.value(t)
        r = self.unwatched(views.alias, t, t._a[...])
        v = self.emit("method", "detach", (source,))
        v.sample = _sample(r)
        self._note(r._a, v)
        return r

    def copied(self, t: Tensor) -> Tensor:
        """Another tensor with the elements that `t` has now, without history."""
        v = self.emit("call", target(indexing.named("clone"), False), (self.value(t),))
        return self.result(v, wrap(t._a.copy()))

    def copies(self, t: Tensor, copy: Tensor) -> None:
        """`copy` holds what `t` was before an operator that writes to it: its derivative needs that."""
        self.result(self.emit("call", target(indexing.named("clone"), False), (self.value(t),)), copy)

    def alias(self, v: Value, t: Tensor) -> Value:
        """Another tensor object over a value's memory."""
        made = self.emit("method", "detach", (v,))
        made.sample = _sample(t)
        return made

    def _draw(self, values: tuple[Any, ...]) -> None:
        from flambeau._values.generator import Generator

        if any(isinstance(v, Generator) for v in values):
            raise Break(
                "random numbers from a generator of one's own", "use the default generator inside compiled code"
            )
        self.random = True
        if self._generator is None:
            self._generator = default_generator.get_state()

    # ---- writing ----

    def writing(self, t: Tensor, perhaps: bool = False) -> None:
        """Memory of the outside is about to be overwritten: keep what it holds. `perhaps`: `geometry` will say so if it really is."""
        if id(views.memory_of(t._a)) in self._fresh:
            return
        if not perhaps:
            self.hold(t)
        self.mutated.append(t)

    def hold(self, t: Tensor) -> None:
        """Keep what memory of the outside holds."""
        owner = views.memory_of(t._a)
        if id(owner) not in self._fresh and id(owner) not in self._memory:
            self._memory[id(owner)] = (owner, owner.copy("K") if isinstance(owner, np.ndarray) else None)

    def history_changed(self) -> bool:
        """Whether a write gave an outside tensor a history."""
        return any(t._node is not held["_node"] for t, held, _ in self._before.values())

    def undo(self) -> None:
        """Put all outside tensors, their memory and the generator back."""
        for owner, held in self._memory.values():
            if held is not None:
                owner[...] = held
        for t, held, version in reversed(
            self._before.values()
        ):  # a counter that tensors share is as the first found it
            for name, x in held.items():
                if getattr(t, name) is not x:
                    setattr(t, name, x)
            if version is not None and t._vc is not None:
                t._vc[0] = version
        if self._generator is not None:
            default_generator.set_state(self._generator)

    def forget(self) -> None:
        """Let go of all tensors."""
        for held in (self._arrays, self._outside, self._stands, self._kept, self._memory, self._before, self.mutated):
            held.clear()

    def walked(self, create: bool) -> None:
        """The library's own engine runs. Where a transform asks for gradients that are tensors, what it does is noted like all else."""
        if not (create and self.transforming):
            raise Break("backward() is called by code that capture does not follow")

    def read(self, t: Any, what: str) -> None:
        """The elements of a tensor are wanted in Python."""
        raise Break(
            f"{what} reads a tensor", "what follows depends on the data: keep it in a tensor, as torch.where does"
        )

    def expect(self, t: Any) -> None:
        """Calls in which a truth value does not hold are refused."""
        v = self.emit(
            "call", target(indexing.named("_assert_async.msg"), False), (self.value(t), "eager code goes another way")
        )
        v.effect = self.expects = True

    def refuses(self, info: Any) -> None:
        """The function raises where a number of `info` is not 0: that none is, is looked at when the program has run."""
        if not self.tracer.assumes:
            raise Break("an operator that refuses what a tensor holds", "its namesake with '_ex' refuses nothing")
        self.tracer.assume(info.ne(0).any(), False)

    def placed(self, t: Any) -> None:
        """Where a tensor begins in its storage is asked: tensors from outside that lie there are assumed to begin where they do now."""
        owner = views.memory_of(t._a)
        for x, source in self.tracer.tensors():
            if hasattr(x._a, "base") and views.memory_of(x._a) is owner:
                where = self.unwatched(x.storage_offset)
                self.tracer.guards.equal(self.tracer.sources.anew("{}.storage_offset()", source), where)

    # ---- members that are no operators ----

    def method(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = getattr(fn, "__name__", "")
        if name == "__getitem__":
            return indexing.load(self, *args)
        if name == "__setitem__":
            return indexing.assign(self, *args)
        if name == "to":
            _, where, _, _, _ = parse_to(*args[1:], **kwargs)
            if where is not None and where.type != args[0].device.type:
                raise Break(f"a tensor moves to the device '{where}'")
        return NotImplemented


def target(op: Op, into: bool, overload: str = "") -> OpOverload:
    """`torch.ops.aten.add_.Tensor`: what the graph calls."""
    found = _ops.target(op, overload or op.overload, into)
    if found is None:
        raise Break(f"'{op.overload}' has no overload under torch.ops.aten")
    return found


@cache
def _parameters(op: Op) -> tuple[list[tuple[Param, bool, bool]], list[Param]]:
    """An operator's parameters, whether each takes no tensor, and whether results may be as large as it says; those that have a position."""
    found = []
    for p in op.params:
        scalar = p.annotation in _SCALARS
        number = not (p.is_tensor or p.is_list or p.annotation == "Any" or scalar)
        found.append((p, number, not p.is_tensor and not scalar))
    return found, [p for p in op.params if not p.keyword]


def _plain(x: Any) -> Any:
    if isinstance(x, Tracked):
        return plain(x)
    if type(x) in (list, tuple):
        return type(x)(map(_plain, x))
    return x


def _tensors(x: Any) -> bool:
    """Whether an argument is a tensor, or a sequence that holds one."""
    return isinstance(x, Tensor) or (isinstance(x, (list, tuple)) and any(map(_tensors, x)))


def _numbers(x: Any) -> bool:
    return isinstance(x, (bool, int, float, complex)) or (isinstance(x, (list, tuple)) and all(map(_numbers, x)))


def _is_default(v: Any, default: Any) -> bool:
    if default is REQUIRED or isinstance(v, (Tensor, Tracked)):
        return False
    return v is default or (isinstance(v, (bool, int, float, str)) and type(v) is type(default) and v == default)


def _sample(t: Tensor) -> Any:
    a = t._a
    return (a.shape, a.dtype, a.strides, node_of(t) is not None)


# ---------------------------------------------------------------- in the call path


def lifted(x: Any) -> bool:
    """Whether a tensor stands for more than its memory: a batch, or one with a tangent. What is made of it is for its transform to say."""
    if isinstance(x, (list, tuple)):
        return any(map(lifted, x))
    return isinstance(x, Tensor) and (type(x).__name__ == "BatchedTensor" or bool(x._tangents))


def _operator(op: Op, values: Any, out: Any, into: bool) -> Any:
    recorder = STATE.recorder
    return NotImplemented if recorder is None else recorder.operator(op, values, out, into)


def _creation(op: Op, values: Any, out: Any, extra: Any) -> Any:
    recorder = STATE.recorder
    return NotImplemented if recorder is None else recorder.creation(op, values, out, extra)


def _method(fn: Any, args: Any, kwargs: Any) -> Any:
    recorder = STATE.recorder
    if recorder is not None and not (STATE.transforms and lifted(args)):
        result = recorder.method(fn, args, kwargs)
        if result is not NotImplemented:
            return result
    return _previous_method(fn, args, kwargs)


def _refusal(info: Any) -> bool:
    recorder = STATE.recorder
    if recorder is not None:
        recorder.refuses(info)
    return recorder is not None


_previous_method = call.HOOKS["method"]
call.HOOKS["method"] = _method
create.HOOKS.append(_creation)
linalg.REFUSALS.append(_refusal)
EXTRA.append(_operator)

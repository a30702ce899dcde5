"""A graph of operators -> a program: what is to be computed, as expressions, and in which steps the rest runs. Functional.

Operators' bodies are read with a recorder, so that whole stretches of the graph become expressions over leaves: the inputs, and
what steps give. A step is a product of matrices, a routine that has kernels of its own (convolutions, pooling), or a call of an
eager operator. Tensors are views (chains of moves) of storages; a write replaces the storage's expression, so nothing is ever
written twice; what was written to an input's storage is stored there at the end.

Not here: which expressions are computed together, where results lie, and how they run. That is `schedule` and `lower`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import flambeau
from flambeau._backends.cpu.library_attention import dense_like
from flambeau._backends.meta import MetaArray
from flambeau._capture import gathered, place
from flambeau._capture.refusals import DIVISIONS, asserts, refuses
from flambeau._eager import bodies, promotion
from flambeau._eager.narrow import expressions, narrowed, way
from flambeau._ground import dumps
from flambeau._kernel.loops import Layout
from flambeau._kernel.record import Expr, Opaque, Record, cast, constant, expand, parameter
from flambeau._operators.op import REQUIRED, Op
from flambeau._ops import OpOverload
from flambeau._tensor import Tensor, wrap
from flambeau._values.dtype import NARROW, dtype, float64, int64, of, of_number
from flambeau._values.shape import broadcast, contiguous_strides, elementwise_strides
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node

K = Record()
PART = 2  # what is written to parts of an input is stored there alone if the input is this many times as large
HELD = 1 << 16  # bytes of a tensor that a program holds itself
MOVES = ("reshape", "permute", "expand", "slice", "flip", "windows")


def everywhere(a: np.ndarray[Any, Any]) -> bool | int | float | None:
    """The number that every element of an array is, zeros with the same sign, if there is one."""
    if not a.size or a.dtype.kind not in "fiub":
        return None
    first = a.flat[0]
    if not (a == first).all() or (first == 0 and a.dtype.kind == "f" and (np.signbit(a) != np.signbit(first)).any()):
        return None
    return first.item()


class Unsupported(NotImplementedError):
    """The graph holds something that programs have no form for; it runs node by node instead."""


@dataclass(frozen=True)
class Leaf:
    """A value in memory: an input, or a result of a step. `expr` is the parameter by which expressions name it."""

    expr: Expr
    layout: Layout
    input: int = -1


@dataclass(eq=False)
class Step:
    """One opaque piece of work: `ins` are expressions that it needs in memory, `outs` the leaves that it makes.

    kind: "product" (ins @ ins, and a row that is added if there are three), "library" (a routine with kernels of its own, by name), "call" (an eager operator), "gate" (where its
    operand is true the call is refused: nothing that anybody sees is written before), "again" (its operand under another name, which is not to be
    had before `after` is).
    """

    kind: str
    ins: list[Expr]
    outs: list[Leaf]
    target: Any = None
    params: dict[str, Any] = field(default_factory=dict)
    effect: bool = False  # whether it does more than give results: it keeps its place among those that do
    refuses: bool = False  # whether it may raise for what tensors hold
    after: Expr | None = None

    def __repr__(self) -> str:
        name = self.target if isinstance(self.target, str) else str(self.target or "matmul")
        return f"{name}({', '.join(map(short, self.ins))}) -> {', '.join(short(o.expr) for o in self.outs)}"


@dataclass
class Program:
    """`results` are what the graph returns: (expression, strides of the eager result or None), an alias of an input, or a constant."""

    leaves: list[Leaf]
    steps: list[Step]
    results: list[Result]
    writes: list[tuple[int, Expr]]  # (input, what is stored there at the end)
    inputs: int
    constants: list[Any] = field(default_factory=list)  # inputs after those: (dtype, shape, bytes)
    parts: dict[int, list[tuple[Expr, place.Strided]]] = field(
        default_factory=dict
    )  # small parts of an input that are all that is stored there
    lent: tuple[int, ...] = ()  # results whose memory the caller gives


@dataclass(frozen=True)
class Result:
    """One thing returned. `expr` with its strides; or a view of an input (`source`, `chain`); or a `constant`."""

    expr: Expr | None = None
    strides: tuple[int, ...] | None = None
    source: int = -1
    chain: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    constant: Any = None
    whole: tuple[Expr, tuple[int, ...]] | None = None  # what a view is a view of, and its strides in eager code
    apart: bool = False  # whether it must be an array of its own, not part of a larger one


class Storage:
    """Memory that tensors share: what it holds now, as an expression."""

    def __init__(self, expr: Expr, source: int = -1) -> None:
        self.expr, self.source, self.written = expr, source, False
        self.strides: tuple[int, ...] | None = None  # where eager code has it
        self.parts: (
            list[tuple[Expr, Expr]] | None
        ) = []  # where was written, in order (moves of the input), and what; None: everywhere


@dataclass(frozen=True)
class Tens:
    """A tensor: a storage seen through a chain of moves."""

    storage: Storage
    chain: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def expr(self) -> Expr:
        e = self.storage.expr
        for op, args in self.chain:
            e = getattr(K, op)(e, *args)
        return e


@dataclass(frozen=True)
class Number:
    """A number that is an input."""

    expr: Expr
    example: Any


class Recorder(Record):
    """Reads bodies; what has no expression becomes a step."""

    def __init__(self, builder: Builder, narrow: dtype | None = None) -> None:
        super().__init__(narrow)
        self.builder = builder

    def at(self, narrow: dtype | None) -> Recorder:
        """The recorder for operands that were widened from a dtype."""
        return self if narrow is None else type(self)(self.builder, narrow)

    def matmul(self, x: Expr, y: Expr) -> Expr:
        return self.builder.product(x, y)

    def library(self, name: str, *xs: Expr, **params: Any) -> Any:
        known = self.builder.routines.get(name)
        if known is None:
            raise Opaque(name)
        return known(self.builder, *xs, **params)


def build(
    gm: GraphModule, example_inputs: Sequence[Any], routines: Mapping[str, Any], operators: Mapping[str, Any],
    graph: Graph | None = None,
) -> Program:  # fmt: skip
    """The program of a graph whose calls are operators of the registry, for inputs like these.

    `routines` read what bodies call of the array library, `operators` whole operators: see `readings`. `graph` stands for the module's own.
    """
    return Builder(routines, operators).graph(gm, gm.graph if graph is None else graph, example_inputs)


class Builder:
    """Interprets a graph with expressions for values."""

    def __init__(self, routines: Mapping[str, Any], operators: Mapping[str, Any]) -> None:
        self.routines, self.operators = routines, operators
        self.checks: list[Expr] = []  # truth values that refuse the call
        self.leaves: list[Leaf] = []
        self.leaves_of: dict[int, Leaf] = {}  # by input
        self.steps: list[Step] = []
        self.k = Recorder(self)
        self.products: dict[tuple[Expr, Expr], Expr] = {}
        self.constants: list[tuple[str, tuple[int, ...], bytes]] = []
        self.own: list[tuple[str, Storage]] = []

    # ---- leaves ----

    def leaf(self, shape: tuple[int, ...], d: dtype, strides: tuple[int, ...] | None = None, source: int = -1, scalar: bool = False) -> Leaf:  # fmt: skip
        e = parameter(len(self.leaves), tuple(shape), d)
        steps = tuple(strides) if strides is not None else contiguous_strides(tuple(shape))
        made = Leaf(e, Layout(d.name, tuple(shape), steps, scalar), source)
        self.leaves.append(made)
        return made

    def graph(self, gm: GraphModule, graph: Graph, example_inputs: Sequence[Any]) -> Program:
        self.module, self.inputs = gm, len(example_inputs)
        env: dict[Node, Any] = {}
        sums = gathered.sums(graph)
        placed = {p.node for s in sums.values() for p in s.parts}
        values: dict[Node, Tens] = {}  # of parts, as they are where they are put into zeros
        inputs = iter(enumerate(example_inputs))
        storages: list[tuple[int, Storage]] = []
        results: list[Result] = []
        for node in graph.nodes:
            if node.op == "placeholder":
                i, x = next(inputs)
                env[node] = self.input(i, x)
                if isinstance(env[node], Tens):
                    storages.append((i, env[node].storage))
            elif node.op == "output":
                results = [self.result(r, env) for r in _flat(node.args[0])]
            else:
                v = self.together(sums[node], values, env) if node in sums else None
                v = env[node] = self.node(node, env) if v is None else v
                if node in placed:
                    values[node] = Tens(Storage(env[node.args[0]].expr))
                if isinstance(v, Tens) and not v.chain and v.storage.strides is None:
                    v.storage.strides = _strides(node, v)
        for name, s in self.own:
            if s.written or any(r.source == s.source for r in results):
                raise Unsupported(f"the attribute {name} is written or returned")
        writes = [(i, s.expr) for i, s in storages if s.written]
        if any(_overlaps(self.leaves_of[i].layout) for i, _ in writes):
            raise Unsupported("an input is written whose elements share memory")
        changed = {self.leaves_of[i].expr for i, _ in writes}
        parts = {i: found for i, s in storages if s.written and (found := self.stored(s, changed)) is not None}
        if self.checks:
            bad = functools.reduce(K.logical_or, self.checks)
            self.steps.append(Step("gate", [bad], [], refuses=True))
        return Program(
            self.leaves, self.steps, results, writes, self.inputs, self.constants, parts, tuple(gm.meta.get("lent", ()))
        )

    def input(self, i: int, x: Any) -> Any:
        if isinstance(x, Tensor):
            a = x._a
            if type(a) is not np.ndarray and not isinstance(a, MetaArray):
                raise Unsupported(f"an input on the device {x.device}")
            item = a.dtype.itemsize
            if any(s % item for s in a.strides) or a.dtype.kind == "c":
                raise Unsupported("an input whose elements are not a whole number of elements apart, or complex")
            leaf = self.leaves_of[i] = self.leaf(a.shape, of(a.dtype), tuple(s // item for s in a.strides), i)
            return Tens(Storage(leaf.expr, i))
        if type(x) in (float, int):
            return Number(self.leaf((), float64 if type(x) is float else int64, (), i, True).expr, x)
        raise Unsupported(f"an input of type {type(x).__name__}")

    def result(self, node: Any, env: dict[Node, Any]) -> Result:
        if not isinstance(node, Node):
            return Result(constant=node)
        v = env[node]
        if isinstance(v, Tens):
            if v.storage.source >= 0:
                return Result(source=v.storage.source, chain=v.chain)
            strides = _strides(node, v)
            there = v.storage.strides
            return Result(v.expr, strides, whole=(v.storage.expr, there) if v.chain and there is not None else None)
        if isinstance(v, Number):
            leaf = next(x for x in self.leaves if x.expr is v.expr)
            return Result(source=leaf.input)
        raise Unsupported("a result that is no tensor")

    def held(self, t: Any, name: str) -> Tens:
        """A tensor of the graph's own, as one input more."""
        if (
            not isinstance(t, Tensor)
            or type(t._a) is not np.ndarray
            or t._a.nbytes > HELD
            or t._a.dtype.kind not in "fiub"
        ):
            raise Unsupported(f"the attribute {name}")
        a = np.ascontiguousarray(t._a)
        i = self.inputs + len(self.constants)
        self.constants.append((of(a.dtype).name, tuple(a.shape), a.tobytes()))
        storage = Storage(self.leaf(a.shape, of(a.dtype), None, i).expr, i)
        self.own.append((name, storage))
        return Tens(storage)

    # ---- nodes ----

    def node(self, node: Node, env: dict[Node, Any]) -> Any:
        take = lambda a: flambeau.fx.node.map_aggregate(a, lambda x: env[x] if isinstance(x, Node) else x)
        if node.op == "get_attr":
            t = flambeau.fx.graph_module._get_attr(self.module, str(node.target))
            number = everywhere(t._a) if isinstance(t, Tensor) else None
            if number is not None:  # zeros that stand for a gradient, say
                return Tens(Storage(expand(constant(number, of(t._a.dtype)), t._a.shape)))
            return self.held(t, str(node.target))
        args, kwargs = take(node.args), take(node.kwargs)
        if node.op == "call_method" and node.target in ("detach", "alias"):
            return args[0]
        target: Any = node.target
        if (
            node.op == "call_function"
            and getattr(target, "__name__", "") == "getitem"
            and isinstance(args[0], (list, tuple))
        ):
            return args[0][args[1]]
        if node.op != "call_function" or not isinstance(target, OpOverload):
            raise Unsupported(f"{node.format_node()} is no operator of the registry")
        return self.operator(target, args, kwargs, node.meta.get("val"))

    def together(self, total: gathered.Sum, values: dict[Node, Tens], env: dict[Node, Any]) -> Any:
        """The sum of parts in zeros, laid together from the parts; None where they are of several dtypes."""
        sizes, dim = total.parts[0].sizes, total.parts[0].dim
        d, aten = values[total.parts[0].node].expr.dtype, flambeau.ops.aten
        if not d.is_floating_point or any(values[p.node].expr.dtype is not d for p in total.parts):
            return None
        pieces, at = list[Tens](), 0
        zeros = lambda n: Tens(Storage(expand(constant(0.0, d), (*sizes[:dim], n, *sizes[dim + 1 :]))))
        add = lambda x, y: self.operator(aten.add.Tensor, (x, y), {}, None)
        for p, *more in total.places():
            v = functools.reduce(add, (values[q.node] for q in more), values[p.node])
            if p.start > at:
                pieces.append(zeros(p.start - at))
            pieces.append(v if p.whole else self.operator(aten.unsqueeze.default, (v, dim), {}, None))
            at = p.end
        if at < sizes[dim]:
            pieces.append(zeros(sizes[dim] - at))
        made = self.operator(aten.cat.default, (pieces, dim), {}, None)
        if total.rest is not None:
            made = add(env[total.rest], made)
        return add(made, 0.0)  # as zeros are added: -0.0 becomes 0.0

    def operator(self, target: OpOverload, args: Sequence[Any], kwargs: dict[str, Any], val: Any) -> Any:
        op = target.op
        values = bound(op, args, kwargs)
        if asserts(target):
            self.check(K.logical_not(values[0].expr))
            return None
        if op.kind == "composite":
            raise Unsupported(f"{target} is made of other operators")
        if op.view and target.is_write:
            raise Unsupported(f"{target} changes a tensor's shape in place")
        try:
            if target.is_random or _complex(values, val):
                raise Opaque(op.name)
            made = self.body(op, values)
        except (Opaque, NotImplementedError, AttributeError, TypeError, KeyError) as problem:
            if op.view:
                raise Unsupported(f"the view {target}: {problem}") from problem
            dumps.dump("breaks", f"{target} is called as it is", repr(problem))
            return self.call(target, values, val)
        if target.is_write:
            into = values[op.receiver_at]
            self.write(into, made)
            return into
        return made

    def body(self, op: Op, values: list[Any]) -> Any:
        """What the operator's body gives, in the dtype that the eager call would give."""
        if op.view and op.aten not in self.operators:
            return self.view(op, values)
        operands, out, steps = self.operands(op, values)
        if op.kind == "pointwise" and op.aten in DIVISIONS:
            self.divisor(operands[1])
        known = self.operators.get(op.aten)
        k = self.k.at(steps)
        made = known(self, *operands) if known is not None else bodies.call_body(op, op.body, (k,), tuple(operands))
        finish = lambda e: Tens(Storage(cast(e, out) if out is not None and e.dtype.kind != "b" and not (
            out.is_complex and not e.dtype.is_complex) else e))  # fmt: skip
        if isinstance(made, (tuple, list)):
            return [None if e is None else finish(e) for e in made]
        if not isinstance(made, Expr):
            raise Opaque(op.name)
        return finish(made)

    def view(self, op: Op, values: list[Any]) -> Any:
        source = values[0]
        e = source.expr
        stand = parameter(1 << 20, e.shape, e.dtype)
        if any(isinstance(v, (Tens, Number)) for v in values[1:]):
            raise Unsupported(f"{op.name} by a number that changes")
        made = bodies.call_body(op, op.body, (K,), (stand, *values[1:]))
        if isinstance(made, (tuple, list)):
            return [self.moved(source, stand, m) for m in made]
        return self.moved(source, stand, made)

    def moved(self, source: Tens, stand: Expr, made: Any) -> Tens:
        chain: list[tuple[str, tuple[Any, ...]]] = []
        while made is not stand:
            if not isinstance(made, Expr) or made.op not in MOVES:
                raise Opaque("a view that is no move")
            chain.append((made.op, tuple(made.arg) if made.op in ("slice", "windows") else (made.arg,)))
            made = made.src[0]
        return Tens(source.storage, (*source.chain, *reversed(chain)))

    def operands(self, op: Op, values: list[Any]) -> tuple[list[Any], dtype | None, dtype | None]:
        """The expressions that the body sees, the dtypes of the result and of the steps: `promotion.converted` without elements."""
        out = list(values)
        meet: list[int] = []
        given = None
        for i, p in enumerate(op.params):
            v = values[i]
            if p.is_tensor:
                if v is not None and not p.is_free:
                    meet.append(i)
                if isinstance(v, Tens):
                    out[i] = v.expr
            elif p.is_list and v is not None:
                out[i] = [None if x is None else x.expr for x in v]
            elif p.name == "dtype":
                given = v
            elif isinstance(v, Tens):
                out[i] = v.expr
        if op.promote == "none":
            for i in meet:
                if not isinstance(out[i], Expr):
                    out[i] = out[i].expr if isinstance(out[i], Number) else constant(out[i], of_number(out[i]))
            scalars = next((e.dtype for e in out if isinstance(e, Expr)), None)
            return [self.scalar(v, scalars) for v in out], None, None
        common = (
            given
            if given is not None
            else promotion.promoted(op, promotion.result_type([stand_in(values[i]) for i in meet]), values)
        )
        how = way(op, out, common)
        expressions(out, meet, common, how)
        compute = of(NARROW.get(common.np, common.np))
        return [self.scalar(v, compute) for v in out], None if op.promote == "bool" else common, how.steps

    def scalar(self, v: Any, d: dtype | None) -> Any:
        """A changing number among the static arguments takes on the dtype of the tensors."""
        if isinstance(v, Number):
            return v.expr if d is None else cast(v.expr, d) if d.is_floating_point or v.expr.dtype is int64 else v.expr
        return v

    # ---- writes ----

    def write(self, into: Any, value: Any) -> None:
        if not isinstance(into, Tens) or not isinstance(value, Tens):
            raise Unsupported("an in-place operator over several tensors")
        old, e = into.expr, value.expr
        if e.shape != old.shape:
            raise Unsupported("an in-place operator changes the shape")
        storage = into.storage
        value = cast(narrowed(e, old.dtype), old.dtype)
        storage.expr = put(storage.expr, into.chain, value)
        storage.written = True
        where = self.leaves_of.get(storage.source)
        if not into.chain or where is None or storage.parts is None:
            storage.parts = None
        else:
            storage.parts.append((Tens(Storage(where.expr), into.chain).expr, value))

    def stored(self, s: Storage, changed: set[Expr]) -> list[tuple[Expr, place.Strided]] | None:
        """What is stored in parts of an input, where that is less than the whole: each value, and where it goes."""
        leaf = self.leaves_of.get(s.source)
        if s.parts is None or leaf is None:
            return None
        held = {x.expr: x for x in self.leaves}
        found = [(value, place.strided(e, held)) for e, value in s.parts]
        if any(w.core is not leaf.expr or value in changed for value, w in found):
            return None
        some = sum(math.prod(w.shape) for _, w in found)
        return found if PART * some <= math.prod(leaf.expr.shape) else None

    # ---- steps ----

    def product(self, x: Expr, y: Expr) -> Expr:
        """x @ y as a step; half operands that were only widened, and moved, are multiplied as they are."""
        a, b = place.narrowed(x), place.narrowed(y)
        narrow = a is not None and b is not None and a.dtype is b.dtype
        if a is not None and b is not None and narrow:
            x, y = a, b
        known = self.products.get((x, y))
        if known is None:
            if min(x.shape[-2], x.shape[-1], y.shape[-1]) == 1 and not narrow:
                return thin(x, y)
            if x.dtype.name not in ("float32", "float64", "float16", "bfloat16"):
                raise Opaque("matmul")
            batch = broadcast(x.shape[:-2], y.shape[:-2])
            if x.shape[-1] != y.shape[-2]:
                raise Unsupported("a product of matrices whose sizes do not fit")
            out = self.leaf((*batch, x.shape[-2], y.shape[-1]), x.dtype)
            self.steps.append(Step("product", [x, y], [out]))
            known = self.products[x, y] = out.expr
        return cast(known, of(np.dtype("f4"))) if narrow else known

    def check(self, bad: Expr) -> None:
        """Where an element of `bad` is true, the call is refused, as the eager operator would."""
        if math.prod(bad.shape):
            self.checks.append(K.reshape(K.any(bad, range(bad.ndim)), ()) if bad.ndim else bad)

    def divisor(self, e: Any) -> None:
        """Integers may not be divided by zero."""
        core = e
        while isinstance(core, Expr) and core.op in MOVES:
            core = core.src[0]
        if isinstance(core, Expr) and core.op != "const" and e.dtype.kind in "iu":
            self.check(K.eq(e, 0))

    def laid(self, like: Expr, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Strides in elements of a new array with the dims in another's order in memory: the last one innermost."""
        s = place.strided(like, {leaf.expr: leaf for leaf in self.leaves})
        return dense_like(s.strides, shape, 1)

    def routine(self, name: str, xs: Sequence[Expr], outs: Sequence[tuple[Any, ...]], **params: Any) -> list[Expr]:
        """A step of a library routine that has kernels of its own. `outs`: shapes, dtypes, strides where they are not C order's."""
        made = [self.leaf(*out) for out in outs]
        self.steps.append(Step("library", list(xs), made, name, params))
        return [leaf.expr for leaf in made]

    def call(self, target: OpOverload, values: list[Any], val: Any) -> Any:
        """An eager operator as a step. What it writes in place is written to a copy, which then replaces the storage."""
        op = target.op
        ins: list[Expr] = []

        def hold(v: Any) -> Any:
            if isinstance(v, Tens):
                ins.append(v.expr)
                return Hole(len(ins) - 1)
            if isinstance(v, Number):
                ins.append(v.expr)
                return Hole(len(ins) - 1)
            if isinstance(v, (list, tuple)):
                return [hold(x) for x in v]
            return v

        held = [hold(v) for v in values]
        written = values[op.receiver_at] if target.is_write else None
        order: tuple[int, ...] | None = None
        apart = False
        first = values[0] if written is None else written
        if (
            target.is_random
            and isinstance(val, Tensor)
            and isinstance(first, Tens)
            and first.expr.shape == val._a.shape
        ):
            a = val._a  # numbers are drawn in the order in which the elements lie
            item = a.dtype.itemsize
            order = elementwise_strides(a.shape, [(a.shape, tuple(t // item for t in a.strides))])
            apart = written is not None and not val.is_contiguous()
            order = tuple(t * first.expr.dtype.np.itemsize for t in order)
        example: Any = val if written is None else wrap(MetaArray(written.expr.shape, written.expr.dtype.np, order))
        if example is None:
            example = self.example(target, values)
        many = isinstance(example, (list, tuple))
        leaves: list[Leaf | None] = []
        for t in example if many else [example]:
            if t is None:
                leaves.append(None)
                continue
            if not isinstance(t, Tensor):
                raise Unsupported(f"{target} gives a {type(t).__name__}")
            item = t._a.dtype.itemsize
            leaves.append(self.leaf(t._a.shape, of(t._a.dtype), tuple(s // item for s in t._a.strides)))
        effect = target.is_random
        self.steps.append(Step("call", ins, [x for x in leaves if x is not None], target,
                               {"values": held, "absent": [x is None for x in leaves], "written": op.receiver_at if written is not None else -1,
                                "order": order, "apart": apart}, effect, refuses(target, val)))  # fmt: skip
        made = [None if x is None else Tens(Storage(x.expr)) for x in leaves]
        if written is not None:
            self.write(written, made[0])
            return written
        return made if many else made[0]

    def example(self, target: OpOverload, values: list[Any]) -> Any:
        """What a call gives, without elements."""

        def stand(v: Any) -> Any:
            if isinstance(v, Tens):
                return wrap(MetaArray(v.expr.shape, v.expr.dtype.np))
            if isinstance(v, Number):
                return v.example
            return [stand(x) for x in v] if isinstance(v, (list, tuple)) else v

        args, kwargs = spread(target.op, [stand(v) for v in values])
        try:
            with flambeau.no_grad():
                return target.in_order(*args, **kwargs)
        except Exception as problem:
            raise Unsupported(f"the shapes that {target} gives are unknown: {problem}") from problem


def _overlaps(layout: Layout) -> bool:
    """Whether elements of an array lie in one place, as far as numbers tell."""
    reached = 1
    for t, n in sorted(
        (abs(t), n) for n, t in zip(layout.shape, layout.strides) if type(n) is int and type(t) is int and n > 1
    ):
        if t < reached:
            return True
        reached += (n - 1) * t
    return any(type(t) is int and t == 0 for n, t in zip(layout.shape, layout.strides) if type(n) is not int)


@dataclass(frozen=True)
class Hole:
    """Where an argument of a call stands that is known when the program runs."""

    at: int


def spread(op: Op, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Values in the order of the parameters, as a call passes them."""
    args = [v for p, v in zip(op.params, values, strict=True) if not p.keyword]
    return args, {p.name: v for p, v in zip(op.params, values, strict=True) if p.keyword}


def bound(op: Op, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """A call's arguments in the order of the operator's parameters, defaults filled in."""
    if len(args) > len(op.params):
        raise Unsupported(f"{op.name} with {len(args)} arguments")
    given = {p.name: a for p, a in zip(op.params, args)}
    for name, v in kwargs.items():
        key = op.params[op.receiver_at].name if name == "self" else name
        if key in {p.name for p in op.params}:
            given[key] = v
        elif v not in (None, False) and str(v) not in ("cpu", "torch.strided"):
            raise Unsupported(f"{op.name} with {name}={v!r}")
    values = [given.get(p.name, p.default) for p in op.params]
    if any(v is REQUIRED for v in values):
        raise Unsupported(f"{op.name} lacks an argument")
    return values


def thin(x: Expr, y: Expr) -> Expr:
    """A product with a vector as a sum of products: it reads everything once, and fuses with what is around it."""
    batch = broadcast(x.shape[:-2], y.shape[:-2])
    m, k, n = *x.shape[-2:], y.shape[-1]
    if k == 1:
        return x * y
    if n == 1:
        row = K.permute(y, (*range(y.ndim - 2), y.ndim - 1, y.ndim - 2))
        return K.expand(K.sum(x * row, [-1]), (*batch, m, 1))
    column = K.permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))
    return K.expand(K.sum(column * y, [-2]), (*batch, 1, n))


def stand_in(v: Any) -> Any:
    """What a value is to promotion."""
    if isinstance(v, Tens):
        e = v.expr
        return wrap(MetaArray(e.shape, e.dtype.np))
    return v.example if isinstance(v, Number) else v


def put(base: Expr, chain: Sequence[tuple[str, tuple[Any, ...]]], value: Expr) -> Expr:
    """`base` with `value` written where the chain of moves looks."""
    if not chain:
        return value
    (op, args), rest = chain[0], chain[1:]
    inner = put(getattr(K, op)(base, *args), rest, value)
    match op:
        case "reshape":
            return K.reshape(inner, base.shape)
        case "permute":
            order = args[0]
            return K.permute(inner, tuple(order.index(d) for d in range(len(order))))
        case "flip":
            return K.flip(inner, args[0])
        case "expand" if inner.shape == base.shape:
            return inner
        case "slice":
            return sliced(base, args, inner)
    raise Unsupported(f"a write through {op}")


def sliced(base: Expr, where: tuple[int, int, int, int], inner: Expr) -> Expr:
    """`base` with the elements start, start + step ... along a dim replaced; `where` are the arguments of the slice."""
    dim, start, stop, step = where
    n, m = base.shape[dim], inner.shape[dim]
    if not m:
        return base
    along = K.reshape(K.iota(n, int64), tuple(n if d == dim else 1 for d in range(base.ndim)))
    if step == 1:
        widths = [(start, n - start - m) if d == dim else (0, 0) for d in range(base.ndim)]
        spread_ = K.pad(inner, widths)
        here = K.logical_and(K.ge(along, start), K.lt(along, start + m))
    else:
        at = K.floordiv(along - start, step)
        place = K.minimum(K.maximum(at, 0), m - 1)
        spread_ = K.take(inner, dim, K.reshape(place, (n,)))
        here = K.logical_and(K.logical_and(K.ge(along, start), K.eq(K.remainder(along - start, step), 0)), K.lt(at, m))
    return K.where(K.expand(here, base.shape), spread_, base)


def _strides(node: Node, v: Tens) -> tuple[int, ...] | None:
    """The strides that a tensor has in eager code, where they are known."""
    val = node.meta.get("val")
    return tuple(val.stride()) if isinstance(val, Tensor) and val.shape == v.expr.shape else None


def _flat(results: Any) -> list[Any]:
    return list(results) if isinstance(results, (tuple, list)) else [results]


def _complex(values: Sequence[Any], val: Any) -> bool:
    tensors = [v for v in values if isinstance(v, Tens)]
    tensors += [x for v in values if isinstance(v, (list, tuple)) for x in v if isinstance(x, Tens)]
    if any(t.expr.dtype.is_complex for t in tensors):
        return True
    return any(isinstance(t, Tensor) and t.is_complex() for t in (val if isinstance(val, (list, tuple)) else [val]))


def short(e: Expr) -> str:
    """An expression's name in dumps."""
    return f"p{e.arg}" if e.op == "param" else f"{e.op}{list(e.shape)}"

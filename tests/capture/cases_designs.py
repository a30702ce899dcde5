"""Classes as programs design them, whose state changes between calls: configurations, registries, strategies, descriptors, enums."""

import abc
import collections
import dataclasses
import enum
import functools
import operator
import types
import typing
import weakref

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F
from tests.capture.world import case, freeze, net, rows, x


@case
def dataclass_configuration_replaced(wrap):
    @dataclasses.dataclass
    class Config:
        scale: float = 2.0
        names: list = dataclasses.field(default_factory=lambda: ["a", "b"])
        kind: typing.ClassVar[str] = "relu"

        @property
        def total(self):
            return self.scale * len(self.names)

    holder = {"config": Config()}

    def f(t):
        c = holder["config"]
        return getattr(F, c.kind)(t) * c.total

    g, out = wrap(f), []
    out.append(g(x()))
    holder["config"].names.append("c")
    out.append(g(x()))
    holder["config"] = dataclasses.replace(holder["config"], scale=3.0)
    out.append(g(x()))
    Config.kind = "gelu"
    out.append(g(x()))
    Config.total = property(lambda self: self.scale)
    out.append(g(x()))
    return out


@case
def frozen_dataclass_with_order(wrap):
    @dataclasses.dataclass(frozen=True, order=True, slots=True)
    class Point:
        a: int
        b: int = 2

    def f(t, p, q):
        big = max(p, q)
        return t * big.a + (p < q) * big.b, dataclasses.astuple(p), hash(p) == hash(q)

    g = wrap(f)
    return [g(x(), Point(a), Point(b, c)) for a, b, c in ((1, 2, 2), (2, 1, 2), (1, 1, 2), (1, 1, 3))]


@case
def match_on_structures(wrap):
    class Op(enum.Enum):
        ADD = "add"
        MUL = "mul"

    @dataclasses.dataclass
    class Node:
        op: Op
        args: tuple

    def evaluate(node, env):
        match node:
            case Node(Op.ADD, (a, b)):
                return evaluate(a, env) + evaluate(b, env)
            case Node(op=Op.MUL, args=[a, *rest]):
                out = evaluate(a, env)
                for r in rest:
                    out = out * evaluate(r, env)
                return out
            case {"value": v, **more} if not more:
                return v
            case str() as name if name in env:
                return env[name]
            case int() | float():
                return torch.tensor(float(node))
            case _:
                return torch.zeros(())

    g = wrap(lambda t, tree: evaluate(tree, {"t": t}))
    trees = (
        Node(Op.ADD, ("t", 2)), Node(Op.MUL, ("t", 3, "t")), Node(Op.ADD, ({"value": 4.0}, "t")), Node(Op.ADD, (None, "t")),
        Node(Op.ADD, (Node(Op.MUL, ("t", "t")), 1.5)),
    )  # fmt: skip
    return [g(x(), tree) for tree in trees]


@case
def chains_of_inheritance(wrap):
    class Base(nn.Module):
        scale = 1.0

        def forward(self, t):
            return self.body(t) * self.scale

    class Mixin:
        def body(self, t):
            return super().body(t) + 1

    class Plain(Base):
        def body(self, t):
            return t * 2

    class Mixed(Mixin, Plain):
        @property
        def scale(self):
            return 3.0

    m, out = Mixed(), []
    g = wrap(m.forward)
    out.append(g(x()))
    Plain.body = lambda self, t: t * 5
    out.append(g(x()))
    Mixin.body = lambda self, t: Plain.body(self, t) - 1
    out.append(g(x()))
    del Mixed.scale
    out.append(g(x()))
    Base.scale = 4.0
    out.append(g(x()))
    m.__class__ = Plain
    out.append(g(x()))
    return out


@case
def methods_patched(wrap):
    m = net()
    forward = m[0].forward
    g, out = wrap(lambda t: m(t)), []
    out.append(freeze(g(rows())))
    m[0].forward = lambda t: forward(t) * 2
    out.append(freeze(g(rows())))
    nn_linear = F.linear
    F.linear = lambda t, w, b=None: nn_linear(t, w, b) + 1
    try:
        out.append(freeze(g(rows())))
    finally:
        F.linear = nn_linear
    out.append(freeze(g(rows())))
    del m[0].forward
    out.append(freeze(g(rows())))
    m[0] = nn.Identity()
    m[1] = types.MethodType(lambda self, t: t - 1, m) if False else nn.Softplus()
    out.append(freeze(g(rows())))
    return out


@case
def registry_with_a_decorator(wrap):
    registry = {}

    def register(name):
        def add(fn):
            registry[name] = functools.wraps(fn)(lambda *a, **k: fn(*a, **k) + len(registry))
            return fn

        return add

    @register("double")
    def double(t):
        """Doubles."""
        return t * 2

    g, out = wrap(lambda t, name: registry[name](t) if name in registry else None), []
    out.append(g(x(), "double"))
    out.append(g(x(), "half"))
    register("half")(lambda t: t / 2)
    out.append(g(x(), "half"))
    out.append(g(x(), "double"))
    return out, registry["double"].__doc__


@case
def abstract_strategies(wrap):
    class Strategy(abc.ABC):
        @abc.abstractmethod
        def __call__(self, t): ...

        @classmethod
        def make(cls, *a):
            return cls(*a)

        @staticmethod
        def clip(t, low=-1.0):
            return t.clamp(min=low)

    class Scale(Strategy):
        def __init__(self, by):
            self.by = by

        def __call__(self, t):
            return self.clip(t * self.by)

    class Chain(Strategy, collections.UserList):
        def __init__(self, *parts):
            collections.UserList.__init__(self, parts)

        def __call__(self, t):
            return functools.reduce(lambda v, part: part(v), self.data, t)

    chain = Chain(Scale(2.0), Scale.make(0.5))
    g, out = wrap(lambda t: chain(t)), []
    out.append(g(x()))
    chain.append(Scale(-1.0))
    out.append(g(x()))
    chain[0].by = 4.0
    out.append(g(x()))
    Strategy.clip = staticmethod(lambda t, low=0.0: t.clamp(min=low))
    out.append(g(x()))
    return out


@case
def linked_objects_and_weak_references(wrap):
    class Tree:
        def __init__(self, value, *children):
            self.value, self.children = value, list(children)
            for c in children:
                c.parent = weakref.ref(self)

        def __iter__(self):
            yield self
            for c in self.children:
                yield from c

        def __len__(self):
            return 1 + sum(map(len, self.children))

    leaf = Tree(3.0)
    root = Tree(1.0, Tree(2.0, leaf), Tree(4.0))

    def f(t):
        total = sum(n.value for n in root)
        return t * total + len(root) + leaf.parent().value

    g, out = wrap(f), []
    out.append(g(x()))
    leaf.value = 5.0
    out.append(g(x()))
    root.children.pop()
    out.append(g(x()))
    other = Tree(9.0, leaf)
    out.append(g(x()))
    return out, other.value


@case
def descriptors_and_slots(wrap):
    class Positive:
        def __set_name__(self, owner, name):
            self.name = "_" + name

        def __get__(self, obj, kind=None):
            return self if obj is None else getattr(obj, self.name)

        def __set__(self, obj, value):
            setattr(obj, self.name, abs(value))

    class Layer:
        __slots__ = ("_gain", "bias")
        gain = Positive()

        def __init__(self, gain):
            self.gain, self.bias = gain, 0.0

        def __call__(self, t):
            self.bias += 1.0
            return t * self.gain + self.bias

    layer = Layer(-2.0)
    g, out = wrap(lambda t: layer(t)), []
    out.append(g(x()))
    layer.gain = -3.0
    out.append(g(x()))
    Positive.__get__ = lambda self, obj, kind=None: 10.0
    out.append(g(x()))
    return out, layer.bias


@case
def named_tuples_and_replacement(wrap):
    class State(typing.NamedTuple):
        value: torch.Tensor
        step: int = 0

        def advance(self, by):
            return self._replace(value=self.value * by, step=self.step + 1)

    def f(state, by):
        new = state.advance(by)
        value, step = new
        return new, value.sum() * step, state._asdict()["step"], State._fields

    g, s, out = wrap(f), State(x()), []
    for by in (2.0, 2.0, 3.0):
        s, *rest = g(s, by)
        out.append((tuple(s), rest))
    return out


@case
def enums_and_flags(wrap):
    class Mode(enum.IntFlag):
        SCALE = 1
        SHIFT = 2

    class Activation(enum.StrEnum):
        RELU = "relu"
        GELU = "gelu"

    def f(t, mode, act):
        if Mode.SCALE in mode:
            t = t * 2
        if mode & Mode.SHIFT:
            t = t + 1
        return getattr(F, act.value)(t), act == "relu", mode.name

    g = wrap(f)
    return [g(x(), m, a) for m in (Mode.SCALE, Mode.SHIFT, Mode.SCALE | Mode.SHIFT) for a in Activation]


@case
def operators_overloaded(wrap):
    class Vec:
        def __init__(self, t):
            self.t = t

        def __add__(self, other):
            return Vec(self.t + (other.t if isinstance(other, Vec) else other))

        __radd__ = __add__

        def __matmul__(self, other):
            return (self.t * other.t).sum()

        def __getitem__(self, i):
            return self.t[i]

        def __bool__(self):
            return flags["true"]

        def __eq__(self, other):
            return flags["equal"]

        __hash__ = object.__hash__

    flags = {"true": True, "equal": False}

    def f(t):
        v = sum([Vec(t), Vec(t * 2)], 1.0)
        w = v if v else Vec(t * 0)
        return (w @ v), w[0], w == v, w != v, operator.add(w, 1).t

    g, out = wrap(f), []
    out.append(g(x()))
    flags["equal"] = True
    out.append(g(x()))
    flags["true"] = False
    out.append(g(x()))
    return out

"""Programs as people write them, whose state changes between calls: configurations, caches, registries, schedules, averages, trainers."""

import abc
import collections
import contextlib
import copy
import dataclasses
import enum
import functools
import itertools
import math
import operator
import types
import typing
import weakref

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F
from tests.capture.world import case, freeze, near, whole, x


def net(*sizes):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(sizes or (3, 4, 3))))


def rows(n=4, seed=0):
    return torch.stack([x(3, i + seed) for i in range(n)])


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
def defaults_mutated(wrap):
    def f(t, seen=[], *, options={"bias": 1.0}):
        seen.append(len(seen))
        return t * len(seen) + options["bias"]

    g, out = wrap(f), []
    for n in range(4):
        out.append(g(x()))
        if n == 1:
            f.__kwdefaults__["options"]["bias"] = 5.0
        if n == 2:
            f.__defaults__[0].clear()
    return out, f.__defaults__


@case
def defaults_replaced(wrap):
    def scale(t, by=2.0):
        return t * by

    g, out = wrap(lambda t: scale(t)), []
    out.append(g(x()))
    scale.__defaults__ = (3.0,)
    out.append(g(x()))
    scale.__defaults__ = None
    with contextlib.suppress(TypeError):
        out.append(g(x()))
    return out


@case
def lists_of_modules_as_attributes(wrap):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(2)])
            self.extra = [nn.Linear(3, 3)]
            self.heads = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})
            self.which = "a"

        def forward(self, t):
            for layer in [*self.layers, *self.extra]:
                t = torch.tanh(layer(t))
            return self.heads[self.which](t)

    m = Model()
    g, out = wrap(m.forward), []
    out.append(freeze(g(rows())))
    m.layers.append(nn.Identity())
    out.append(freeze(g(rows())))
    m.extra.pop()
    out.append(freeze(g(rows())))
    m.which = "b"
    out.append(freeze(g(rows())))
    m.heads["b"] = nn.Linear(3, 1, bias=False)
    nn.init.ones_(m.heads["b"].weight)
    out.append(freeze(g(rows())))
    del m.layers[0]
    out.append(freeze(g(rows())))
    return out


@case
def partials_of_partials(wrap):
    def affine(t, a, b=0.0, *, c=1.0):
        return (t * a + b) * c

    table = {"f": functools.partial(functools.partial(affine, b=1.0), a=2.0)}
    g, out = wrap(lambda t: table["f"](t)), []
    out.append(g(x()))
    table["f"] = functools.partial(table["f"], c=3.0)
    out.append(g(x()))
    table["f"].keywords["b"] = 7.0
    out.append(g(x()))
    return out


@case
def remembered_results(wrap):
    calls = []

    @functools.lru_cache(maxsize=2)
    def angles(n, base):
        calls.append(n)
        return torch.arange(n, dtype=torch.float32) / base

    @functools.cache
    def constant(name):
        return {"pi": math.pi, "e": math.e}[name]

    g, out = wrap(lambda t, base: t * angles(t.shape[-1], base) + constant("pi")), []
    for base in (2, 2, 4, 8, 2):
        out.append(g(x(), base))
    angles.cache_clear()
    out.append(g(x(), 2))
    return out, sorted(calls)


@case
def context_managers_with_state(wrap):
    log = []

    @contextlib.contextmanager
    def scaled(by):
        log.append(("in", by))
        try:
            yield by * 2
        finally:
            log.append(("out", by))

    class Guard:
        depth = 0

        def __enter__(self):
            Guard.depth += 1
            return self

        def __exit__(self, *what):
            Guard.depth -= 1
            return what[0] is ValueError

    def f(t, fail):
        with scaled(1.5) as s, Guard() as g:
            if fail:
                raise ValueError(fail)
            t = t * s + g.depth
        return t

    g = wrap(f)
    return [g(x(), fail) for fail in (False, True, False)], log, Guard.depth


@case
def try_finally_return(wrap):
    done = []

    def f(t, k):
        for i in range(3):
            try:
                if i == k:
                    return t * i
                if i > k:
                    raise KeyError(i)
                t = t + 1
            except KeyError as e:
                t = t * (e.args[0] + 2)
                continue
            else:
                t = t - 0.5
            finally:
                done.append((i, k))
        return t

    g = wrap(f)
    return [g(x(), k) for k in (0, 1, 5, -1, 0)], done


@case
def generators_that_delegate(wrap):
    state = {"n": 3}

    def inner(t):
        for i in range(state["n"]):
            got = yield t * i
            if got:
                t = t + got

    def outer(t):
        last = yield from inner(t)
        yield last is None

    def f(t):
        gen = outer(t)
        out = [next(gen)]
        out.append(gen.send(2.0))
        out += list(gen)
        return out

    g, out = wrap(f), []
    out.append(g(x()))
    state["n"] = 4
    out.append(g(x()))
    return out


@case
def walrus_and_comprehensions(wrap):
    limits = [1, 2, 3]

    def f(t):
        total = 0
        if (n := len(limits)) > 3:
            total = n
        parts = [y for i in limits if (y := t * i) is not None and i % 2]
        last = y
        return {i: p + total for i, p in enumerate(parts)}, last, {*limits}, [[i * j for j in limits] for i in limits]

    g, out = wrap(f), []
    out.append(g(x()))
    limits.append(5)
    out.append(g(x()))
    limits[0] = 7
    out.append(g(x()))
    return out


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
def stars_everywhere(wrap):
    def inner(first, *rest, key=1.0, **more):
        return first * key + sum(rest) + sum(v * len(k) for k, v in more.items())

    def f(*args, **kwargs):
        head, *middle, tail = args
        return inner(head, *middle, *[tail], **{**kwargs, "z": 2.0})

    g = wrap(f)
    return [g(x(), 1.0, x(3, 1)), g(x(), x(), key=3.0), g(x(), 1, 2, 3, abc=0.5), g(x(), 2.0, x(3, 1))]


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
def closures_over_loop_variables(wrap):
    fs = []
    for i in range(3):
        fs.append(lambda t: t + i)  # noqa: B023
    held = [lambda t, i=i: t * i for i in range(3)]
    g = wrap(lambda t: [f(t) for f in fs] + [h(t) for h in held])
    out = [g(x())]
    i = 10
    out.append(g(x()))
    held.reverse()
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
def train_and_eval_flips(wrap):
    m = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    torch.manual_seed(1)
    for p in m.parameters():
        nn.init.uniform_(p)
    g, out = wrap(lambda t: m(t)), []
    for n, mode in enumerate((True, True, False, True, False, False)):
        m.train(mode)
        if n == 4:
            m[1].train()
        if n == 5:
            m[1].momentum = None
        torch.manual_seed(n)
        out.append(freeze(g(rows())))
    return out, freeze(m.state_dict())


train_and_eval_flips.within = 1e-6


@case
def default_dtype_changes(wrap):
    g, out = wrap(lambda t: t + torch.arange(3) / 2 + torch.zeros(3)), []
    for d in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(d)
        try:
            out.append(g(torch.ones(3, dtype=torch.int64)))
        finally:
            torch.set_default_dtype(torch.float32)
    return out


@case
def writes_to_views_of_arguments(wrap):
    def f(t):
        first, rest = t[0], t[1:]
        first += 1
        rest[:, ::2] = first[::2] * 2
        t.reshape(-1)[1:3] -= 0.5
        d = t.diagonal()
        d.mul_(3)
        return first, rest.sum(), t.T

    g, out = wrap(f), []
    for t in (rows(), rows().T.contiguous().T, torch.cat([rows(), rows()])[1:7]):
        r = g(t)
        r[0].zero_()
        out.append((freeze(t), freeze(r)))
    return out


@case
def arguments_that_are_one(wrap):
    def f(a, b, c):
        a.add_(1)
        b.mul_(2)
        return a + b + c

    g, out = wrap(f), []
    t = x(6)
    out.append(g(x(), x(), x()))
    u = x()
    out.append(g(u, u, u))
    out.append(g(t[:3], t[3:], t[1:4]))
    out.append(g(t[:3], t[:3], t[3:]))
    out.append(g(x(), x(), x()))
    return out, t


@near
@case
def param_groups_edited(wrap):
    m = net()
    opt = torch.optim.AdamW(m.parameters(), lr=0.1, weight_decay=0.1)

    def step(t):
        opt.zero_grad()
        loss = (m(t) ** 2).mean()
        loss.backward()
        opt.step()
        return loss.detach()

    g, out = wrap(step), []
    for n in range(9):
        if n == 2:
            opt.param_groups[0]["lr"] = 0.05
        if n == 3:
            opt.param_groups[0]["betas"] = (0.5, 0.9)
        if n == 4:
            opt.param_groups[0]["weight_decay"] = 0.0
        if n == 5:
            m.append(nn.Linear(3, 2))
            nn.init.constant_(m[-1].weight, 0.1)
            nn.init.zeros_(m[-1].bias)
            opt.add_param_group({"params": m[-1].parameters(), "lr": 0.01})
        if n == 6:
            m[0].weight.requires_grad_(False)
        if n == 7:
            opt.state[m[1].weight]["exp_avg"].zero_()
        out.append(freeze(g(rows())))
    return out, [freeze(p) for p in m.parameters()]


@near
@case
def schedulers_in_a_trainer(wrap):
    m = net()
    opt = torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)
    warm = torch.optim.lr_scheduler.LinearLR(opt, 0.1, total_iters=3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 5)
    both = torch.optim.lr_scheduler.SequentialLR(opt, [warm, cosine], [3])

    def step(t):
        opt.zero_grad(set_to_none=False)
        loss = F.smooth_l1_loss(m(t), torch.ones(4, 3))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(m.parameters(), 0.5)
        opt.step()
        return loss.detach(), norm

    g, out = wrap(step), []
    for _ in range(6):
        out.append(freeze(g(rows())))
        both.step()
    return out, opt.param_groups[0]["lr"]


@near
@case
def averaged_models(wrap):
    m = net()
    average = torch.optim.swa_utils.AveragedModel(m, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    opt = torch.optim.SGD(m.parameters(), lr=0.1)

    def step(t):
        opt.zero_grad()
        m(t).square().mean().backward()
        opt.step()
        average.update_parameters(m)

    g = wrap(step)
    for _ in range(4):
        g(rows())
    return [freeze(p) for p in average.parameters()], freeze(average.n_averaged)


@near
@case
def accumulation_of_gradients(wrap):
    m = net()
    opt = torch.optim.SGD(m.parameters(), lr=0.1)
    every = {"n": 2}

    def step(i, t):
        loss = m(t).square().mean() / every["n"]
        loss.backward()
        if (i + 1) % every["n"] == 0:
            opt.step()
            opt.zero_grad()
        return loss.detach()

    g, out = wrap(step), []
    for i in range(8):
        if i == 4:
            every["n"] = 4
        out.append(freeze(g(i, rows(seed=i))))
    return out, [freeze(p) for p in m.parameters()]


@near
@case
def autocast_mixed(wrap):
    m = net()
    options = {"enabled": True, "dtype": torch.bfloat16}

    def f(t):
        with torch.autocast("cpu", **options):
            h = m[0](t)
            with torch.autocast("cpu", enabled=False):
                h = m[1](h.float())
            kind = (h @ h.T).dtype
        return h, kind

    f_, out = wrap(f), []
    out.append(freeze(f_(rows())))
    options["enabled"] = False
    out.append(freeze(f_(rows())))
    options.update(enabled=True, dtype=torch.float16)
    out.append(freeze(f_(rows())))
    return out


autocast_mixed.within = 0.02


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
def counters_in_many_places(wrap):
    class Meter:
        def __init__(self):
            self.sum, self.count, self.history = 0.0, 0, collections.deque(maxlen=3)

        def update(self, v, n=1):
            self.sum += v * n
            self.count += n
            self.history.append(self.count)

        @property
        def mean(self):
            return self.sum / max(self.count, 1)

    meters = collections.defaultdict(Meter)
    hits = collections.Counter()

    def f(t, name):
        meters[name].update(2.0, t.shape[0])
        hits[name] += 1
        hits.update([name, "all"])
        return t * meters[name].mean

    g = wrap(f)
    out = [g(x(), n) for n in ("a", "b", "a", "a", "b", "c")]
    return out, {k: (m.sum, m.count, list(m.history)) for k, m in meters.items()}, dict(hits)


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
def environments_of_modules(wrap):
    helpers = types.ModuleType("helpers")
    exec("import flambeau as torch\nSCALE = 2.0\ndef scale(t): return torch.relu(t) * SCALE\n", helpers.__dict__)
    g, out = wrap(lambda t: helpers.scale(t)), []
    out.append(g(x()))
    helpers.SCALE = 3.0
    out.append(g(x()))
    helpers.torch = types.SimpleNamespace(relu=torch.abs)
    out.append(g(x()))
    helpers.scale = lambda t: t
    out.append(g(x()))
    return out


@case
def recursion_and_mutual_calls(wrap):
    depth = {"n": 3}

    def even(t, n):
        return t if n == 0 else odd(t + 1, n - 1)

    def odd(t, n):
        return t * 0 if n == 0 else even(t * 2, n - 1)

    g, out = wrap(lambda t: even(t, depth["n"])), []
    for n in (3, 4, 0, 6, 3):
        depth["n"] = n
        out.append(g(x()))
    return out


@case
def strings_build_names(wrap):
    table = {f"layer_{i}.w": x(3, i) for i in range(3)}

    def f(t, prefix):
        out = t
        for k, v in sorted(table.items()):
            if k.startswith(prefix) and k.rsplit(".", 1)[-1] == "w":
                out = out * v + int(k.split("_")[1][0])
        return out, f"{prefix:>8}|{sorted(table)[0]!r}", f"{len(table):03d}"

    g, out = wrap(f), []
    out.append(g(x(), "layer"))
    table["layer_9.w"] = x()
    out.append(g(x(), "layer"))
    out.append(g(x(), "layer_1"))
    table["layer_1.b"] = table.pop("layer_1.w")
    out.append(g(x(), "layer_1"))
    return out


@case
def sentinel_defaults_and_globals(wrap):
    missing = object()

    def f(t, bias=missing, *, act=None):
        if bias is missing:
            bias = 0.5
        act = act or torch.tanh
        return act(t) + bias if bias is not None else act(t)

    g = wrap(f)
    return [g(x()), g(x(), None), g(x(), 2.0), g(x(), act=torch.sin), g(x(), missing, act=F.relu), g(x())]


@case
def sets_and_order(wrap):
    skip = {"b"}
    order = collections.OrderedDict(a=1.0, b=2.0, c=3.0)

    def f(t):
        for k in order.keys() - skip & set(order):
            t = t + order[k]
        first = next(iter(order))
        return t * order[first], sorted(skip | {"z"}), first

    g, out = wrap(f), []
    out.append(g(x()))
    skip.add("a")
    out.append(g(x()))
    order.move_to_end("a")
    out.append(g(x()))
    skip.clear()
    out.append(g(x()))
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
def buffers_replaced_and_registered(wrap):
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("count", torch.tensor(0), persistent=False)
            self.register_buffer("extra", None)

        def forward(self, t):
            self.count += 1
            self.mean = self.mean + (t.mean(0) - self.mean) / self.count
            if self.extra is not None:
                t = t + self.extra
            return t - self.mean

    m, out = Norm(), []
    g = wrap(m)
    for n in range(5):
        if n == 2:
            m.extra = torch.ones(3)
        if n == 3:
            m.mean.zero_()
        if n == 4:
            m.load_state_dict({"mean": torch.full((3,), 2.0), "extra": torch.zeros(3)})
        out.append(freeze(g(rows(seed=n))))
    return out, freeze(m.mean), freeze(m.count)


@case
def tied_and_untied_weights(wrap):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.embed(ids))

    m = Model()

    def step(ids):
        m.zero_grad()
        m(ids).square().sum().backward()
        return m.embed.weight.grad.clone(), m.head.weight.grad is m.embed.weight.grad

    g, out = wrap(step), []
    ids = torch.tensor([0, 1, 4, 1])
    out.append(freeze(g(ids)))
    out.append(freeze(g(ids)))
    m.head.weight = nn.Parameter(m.head.weight.detach().clone())
    out.append(freeze(g(ids)))
    m.head.weight = m.embed.weight
    out.append(freeze(g(ids)))
    return out


tied_and_untied_weights.within = 1e-6


@case
def requires_grad_toggles(wrap):
    m = net()

    def step(t):
        for p in m.parameters():
            p.grad = None
        m(t).sum().backward()
        return [None if p.grad is None else p.grad.clone() for p in m.parameters()]

    g, out = wrap(step), []
    out.append(freeze(g(rows())))
    m[0].requires_grad_(False)
    out.append(freeze(g(rows())))
    m[0].bias.requires_grad_(True)
    out.append(freeze(g(rows())))
    m.requires_grad_(True)
    out.append(freeze(g(rows())))
    return out


requires_grad_toggles.within = 1e-6


@case
def caches_of_keys_and_values(wrap):
    class Cache:
        def __init__(self):
            self.layers = {}

        def update(self, k, layer):
            old = self.layers.get(layer)
            self.layers[layer] = k if old is None else torch.cat([old, k], -1)
            return self.layers[layer]

        def __len__(self):
            return 0 if not self.layers else next(iter(self.layers.values())).shape[-1]

    cache = Cache()

    def f(t):
        pos = len(cache)
        return [cache.update(t * i + pos, i).sum() for i in (1, 2)]

    g = wrap(f)
    out = [freeze(g(x(1, n))) for n in range(6)]
    cache.layers.clear()
    out.append(freeze(g(x(2))))
    return out, {k: freeze(v) for k, v in cache.layers.items()}


@case
def static_cache_written_in_place(wrap):
    cache = torch.zeros(2, 6, 3)
    state = {"pos": 0}

    def f(t):
        p = state["pos"]
        cache[:, p] = t
        state["pos"] = p + 1
        return cache[:, : p + 1].sum(1)

    g = wrap(f)
    out = [freeze(g(rows(2, n))) for n in range(4)]
    cache.zero_()
    state["pos"] = 1
    out.append(freeze(g(rows(2))))
    return out, cache


@case
def exceptions_of_ones_own(wrap):
    class Stop(Exception):
        def __init__(self, value):
            super().__init__("stopped")
            self.value = value

    def inner(t, n):
        if n > limit["n"]:
            raise Stop(t * n)
        return inner(t + 1, n + 1)

    limit = {"n": 2}

    def f(t):
        try:
            return inner(t, 0)
        except (TypeError, Stop) as e:
            return e.value if isinstance(e, Stop) else None

    g, out = wrap(f), []
    out.append(g(x()))
    limit["n"] = 4
    out.append(g(x()))
    return out


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


@case
def deepcopies_and_state_dicts(wrap):
    m = net()
    best = {}

    def f(t):
        loss = m(t).square().mean()
        return loss

    g, out = wrap(f), []
    for n in range(4):
        out.append(freeze(g(rows())))
        best[n] = copy.deepcopy(m.state_dict())
        with torch.no_grad():
            for p in m.parameters():
                p.sub_(0.1)
    m.load_state_dict(best[1])
    out.append(freeze(g(rows())))
    m.load_state_dict({k: v * 2 for k, v in best[0].items()}, assign=True)
    out.append(freeze(g(rows())))
    return out


deepcopies_and_state_dicts.within = 1e-6


@case
def inference_and_grad_modes(wrap):
    m = net()

    def f(t):
        y = m(t)
        return y, torch.is_grad_enabled(), y.requires_grad

    g, out = wrap(f), []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            out.append([v.detach().clone() if isinstance(v, torch.Tensor) else v for v in g(rows())])
    torch.set_grad_enabled(False)
    try:
        out.append(list(g(rows()))[1:])
    finally:
        torch.set_grad_enabled(True)
    return out


inference_and_grad_modes.within = 1e-6


@case
def callbacks_that_come_and_go(wrap):
    class Trainer:
        def __init__(self):
            self.callbacks, self.log = [], []

        def fire(self, event, **data):
            for c in list(self.callbacks):
                hook = getattr(c, f"on_{event}", None)
                if callable(hook):
                    hook(self, **data)

        def step(self, t):
            self.fire("start", t=t)
            t = t * 2
            self.fire("end", t=t)
            return t + len(self.callbacks)

    class Once:
        def on_start(self, trainer, t):
            trainer.log.append(tuple(t.shape))
            trainer.callbacks.remove(self)

    class Count:
        n = 0

        def on_end(self, trainer, **_):
            self.n += 1

    trainer, count = Trainer(), Count()
    g, out = wrap(trainer.step), []
    for n in range(5):
        if n == 1:
            trainer.callbacks.append(Once())
        if n == 2:
            trainer.callbacks.append(count)
        if n == 4:
            count.on_start = lambda trainer, t: trainer.log.append("start")
        out.append(g(x()))
    return out, trainer.log, count.n


@case
def epochs_by_integers_that_change(wrap):
    state = types.SimpleNamespace(epoch=0, seen=[])

    def f(t):
        state.epoch += 1
        decay = 0.5 ** (state.epoch // 2)
        state.seen.append(decay)
        return t * decay + (state.epoch % 3 == 0)

    g = wrap(f)
    return [g(x()) for _ in range(7)], state.epoch, state.seen


@case
def nonlocal_and_global_writes(wrap):
    count, history = 0, []

    def make():
        total = 0.0

        def add(v):
            nonlocal total, count
            total += v
            count += 1
            return total

        return add

    add = make()

    def f(t):
        s = add(t.shape[0] * 1.0)
        history.append(count)
        return t + s

    g = wrap(f)
    return [g(x(n)) for n in (3, 3, 4, 5, 3)], count, history


@case
def zip_longest_groupby_and_accumulate(wrap):
    sizes = [1, 1, 2, 2, 3]

    def f(t):
        groups = [(k, len(list(g))) for k, g in itertools.groupby(sizes)]
        runs = list(itertools.accumulate(sizes, operator.mul, initial=1))
        pairs = list(itertools.zip_longest(sizes[:2], sizes, fillvalue=0))
        return t * runs[-1] + sum(a * b for a, b in pairs), groups, list(itertools.chain.from_iterable([[1], sizes]))

    g, out = wrap(f), []
    out.append(g(x()))
    sizes.append(3)
    out.append(g(x()))
    sizes[0] = 2
    out.append(g(x()))
    return out


@case
def rearranged_by_patterns(wrap):
    @functools.lru_cache(8)
    def parsed(pattern):
        left, right = pattern.split("->")
        names = left.split()
        return tuple(names.index(n) for n in right.split())

    def rearrange(t, pattern, **sizes):
        order = parsed(pattern)
        if sizes:
            (name, n), *_ = sizes.items()
            t = t.reshape(n, -1, *t.shape[1:]) if name == "split" else t
        return t.permute(order)

    g = wrap(lambda t, p, **s: rearrange(t, p, **s))
    t = torch.arange(24.0).reshape(4, 6)
    return [g(t, "a b -> b a"), g(t, "a b c -> c a b", split=2), g(t, "a b c -> b a c", split=4), g(t, "a b -> a b")]


@case
def truth_of_containers(wrap):
    queue, seen = collections.deque(), {}

    def f(t):
        if not queue:
            queue.extend([t.shape[0], 2])
        n = queue.popleft()
        key = ("n", n)
        if key in seen:
            t = t + 10
        seen[key] = seen.get(key, 0) + 1
        return t * n

    g = wrap(f)
    return [g(x(n)) for n in (3, 3, 3, 4, 4, 3)], list(queue), dict(seen)


@case
def tensors_as_state(wrap):
    class Filter:
        def __init__(self):
            self.state = None

        def __call__(self, t):
            if self.state is None:
                self.state = torch.zeros_like(t)
            elif self.state.shape != t.shape:
                self.state = self.state[: t.shape[0]].clone()
            self.state = self.state * 0.5 + t
            return self.state.clone()

    filt = Filter()
    g = wrap(filt)
    out = [g(x(n)) for n in (4, 4, 4, 3, 3)]
    filt.state = None
    out.append(g(x(2)))
    filt.state.add_(1)
    out.append(g(x(2)))
    return out


@case
def views_returned_and_written_later(wrap):
    def f(t):
        head, tail = t.split([1, t.shape[0] - 1])
        return head, tail.t(), t.unsqueeze(0), {"all": t.expand(2, *t.shape)}

    g, out = wrap(f), []
    for n in (3, 4, 3):
        t = rows(n)
        head, tail, whole, more = g(t)
        head.zero_()
        tail.add_(1)
        t[-1].mul_(2)
        out.append(freeze((t, head, tail, whole, more["all"], head._base is t)))
    return out


@case
def gradients_through_a_compiled_function(wrap):
    w = torch.nn.Parameter(x())

    def f(t, scale):
        y = (t * w).tanh()
        return y * scale, y.detach()

    g, out = wrap(f), []
    for n, scale in enumerate((1.0, 2.0, 2.0, 3.0)):
        w.grad = None
        t = x(3, n).requires_grad_(n % 2 == 0)
        y, kept = g(t, scale)
        (y.sum() + y.square().sum()).backward()
        out.append(freeze((y.detach(), kept, w.grad, t.grad)))
    return out


gradients_through_a_compiled_function.within = 1e-6


@case
def second_derivatives(wrap):
    def penalty(t):
        t = t.detach().requires_grad_()
        y = (t.sin() * t).sum()
        (g,) = torch.autograd.grad(y, t, create_graph=True)
        return (g.norm() - 1).square(), torch.autograd.grad((g**2).sum(), t)[0]

    g = wrap(penalty)
    return [freeze(g(x(3, n))) for n in range(3)]


second_derivatives.within = 1e-5


@case
def actions_and_log_probabilities(wrap):
    policy = net(3, 8, 2)

    def act(t, greedy):
        d = torch.distributions.Categorical(logits=policy(t))
        a = d.probs.argmax(-1) if greedy else d.sample()
        return a, d.log_prob(a), d.entropy().mean(), torch.distributions.kl_divergence(d, d)

    g, out = wrap(act), []
    for n in range(4):
        torch.manual_seed(n)
        out.append(freeze(g(rows(seed=n), n == 2)))
    return out


actions_and_log_probabilities.within = 1e-5


@case
def continuous_actions(wrap):
    mean, log_std = net(3, 4, 2), nn.Parameter(torch.zeros(2))

    def act(t):
        d = torch.distributions.Independent(torch.distributions.Normal(mean(t), log_std.exp()), 1)
        a = d.rsample()
        squashed = torch.distributions.TransformedDistribution(d, [torch.distributions.TanhTransform(cache_size=1)])
        return a, d.log_prob(a), squashed.log_prob(a.tanh().clamp(-0.9, 0.9)), d.entropy()

    g, out = wrap(act), []
    for n in range(3):
        torch.manual_seed(n)
        with torch.no_grad():
            log_std.add_(0.1)
        out.append(freeze(g(rows(seed=n))))
    return out


continuous_actions.within = 1e-5


@case
def returns_of_an_episode(wrap):
    gamma = {"value": 0.9}

    def f(rewards, dones):
        out, running = torch.zeros_like(rewards), 0.0
        for i in reversed(range(rewards.shape[0])):
            running = rewards[i] + gamma["value"] * running * (1 - dones[i])
            out[i] = running
        return (out - out.mean()) / (out.std() + 1e-8)

    g, out = wrap(f), []
    for n in (4, 4, 5, 6):
        gamma["value"] -= 0.1
        out.append(g(x(n), (torch.arange(n) % 3 == 0).float()))
    return out


returns_of_an_episode.within = 1e-6


@case
def losses_chosen_by_name(wrap):
    table = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": functools.partial(F.huber_loss, delta=0.5)}
    weights = {"mse": 1.0, "l1": 0.5}

    def f(a, b):
        parts = {name: table[name](a, b) * w for name, w in weights.items() if w}
        return sum(parts.values()), parts, max(weights, key=weights.get)

    g, out = wrap(f), []
    out.append(g(x(), x(3, 1)))
    weights["huber"] = 2.0
    out.append(g(x(), x(3, 1)))
    weights["mse"] = 0
    out.append(g(x(), x(3, 1)))
    table["l1"] = lambda a, b: (a - b).abs().max()
    out.append(g(x(), x(3, 1)))
    return out


losses_chosen_by_name.within = 1e-6


@whole
def trees_of_tensors(wrap):
    pytree = torch.utils._pytree
    point = collections.namedtuple("point", "a b")
    kinds = {
        "named": lambda t: point(t, [t * 2, 1]),
        "dict": lambda t: {"z": t, "b": (t, 3.0), "n": {}},
        "ordered": lambda t: collections.OrderedDict(q=t, a=[t]),
        "queue": lambda t: collections.deque([t, (t,)]),
        "leaf": lambda t: t,
    }

    def f(t, kind):
        tree = kinds[kind](t)
        leaves, spec = pytree.tree_flatten(tree)
        total = sum(v.sum() for v in leaves if isinstance(v, torch.Tensor))
        back = pytree.tree_unflatten([v * 2 for v in leaves], spec)
        only = pytree.tree_map_only(torch.Tensor, lambda v: v + total, back)
        return pytree.tree_leaves(only), spec.num_leaves, type(back) is type(tree)

    g = wrap(f)
    return [g(x(), kind) for kind in (*kinds, "named")]


@case
def containers_registered_later(wrap):
    class Box:
        def __init__(self, *values):
            self.values = list(values)

    pytree = torch.utils._pytree

    def f(box):
        return pytree.tree_map(lambda v: v * 2 if isinstance(v, torch.Tensor) else 7, box)

    g, out = wrap(f), []
    out.append(g(Box(x())))
    pytree.register_pytree_node(Box, lambda b: (b.values, len(b.values)), lambda values, n: Box(*values))
    out.append(g(Box(x())).values)
    out.append(g(Box(x(), x(2))).values)
    return out

"""Cases that were made to find what a capture forgets: hooks that come and go, views, generators, contexts, enumerations, dispatch."""

import contextlib
import contextvars
import dataclasses
import enum
import functools
import operator
import random
import threading
import typing

import flambeau as torch
from flambeau import nn
from tests.capture.world import case, freeze, x


def calls(f, *args_of_calls):
    return [freeze(f(*a)) for a in args_of_calls]


# ---------------------------------------------------------------- functions, closures, defaults


@case
def nested_closures(wrap):
    def outer():
        n = 1

        def bump():
            nonlocal n
            n += 1
            return n

        def f(t):
            return t * n + bump()

        return f, bump

    f, bump = outer()
    g = wrap(f)
    out = [freeze(g(x())), freeze(g(x()))]
    bump()
    return [*out, freeze(g(x()))]


@case
def late_binding(wrap):
    fs = [lambda t: t * i for i in range(3)]  # noqa: B023
    g = wrap(lambda t: sum(f(t) for f in fs))
    out = calls(g, (x(),))
    fs.append(lambda t: t + 100)
    return out + calls(g, (x(),))


@case
def mutable_default(wrap):
    def f(t, seen=[]):
        seen.append(len(seen))
        return t * len(seen)

    g = wrap(f)
    out = calls(g, (x(),), (x(),))
    f.__defaults__[0].clear()
    return out + calls(g, (x(),)) + [list(f.__defaults__[0])]


@case
def keyword_defaults_replaced(wrap):
    def inner(t, *, k=2):
        return t * k

    g = wrap(lambda t: inner(t))
    out = calls(g, (x(),))
    inner.__kwdefaults__ = {"k": 5}
    out += calls(g, (x(),))
    inner.__kwdefaults__["k"] = 7
    return out + calls(g, (x(),))


@case
def code_replaced(wrap):
    def inner(t):
        return t + 1

    def other(t):
        return t * 10

    g = wrap(lambda t: inner(t))
    out = calls(g, (x(),))
    inner.__code__ = other.__code__
    return out + calls(g, (x(),))


@case
def partials(wrap):
    table = {"k": 3}
    p = functools.partial(lambda t, a, k: t * a + k, a=2, **table)
    g = wrap(lambda t: p(t))
    out = calls(g, (x(),))
    p.keywords["a"] = 9
    out += calls(g, (x(),))
    p = functools.partial(lambda t: t - 1)
    return out + calls(g, (x(),))


@case
def single_dispatch(wrap):
    @functools.singledispatch
    def how(v, t):
        return t

    @how.register
    def _(v: int, t):
        return t * v

    g = wrap(lambda t, v: how(v, t))
    out = calls(g, (x(), 2), (x(), "s"))
    how.register(str, lambda v, t: t + len(v))
    return out + calls(g, (x(), 3), (x(), "long"))


@case
def arguments_of_all_kinds(wrap):
    def f(t, /, a, *rest, k=1, **more):
        return t * a + sum(rest) + k + sum(more.values())

    g = wrap(f)
    return [
        freeze(g(x(), 1)),
        freeze(g(x(), 1, 2)),
        freeze(g(x(), 1, 2, 3)),
        freeze(g(x(), 2, k=4)),
        freeze(g(x(), 2, z=4)),
        freeze(g(x(), 2, y=1, z=4)),
        freeze(g(x(), a=5)),
    ]


@case
def recursion(wrap):
    def power(t, n):
        return t if n == 0 else power(t * 2, n - 1)

    g = wrap(power)
    return calls(g, (x(), 0), (x(), 3), (x(), 5))


@case
def mutual_recursion_with_state(wrap):
    log = []

    def even(t, n):
        log.append(n)
        return t if n == 0 else odd(t + 1, n - 1)

    def odd(t, n):
        return t if n == 0 else even(t * 2, n - 1)

    g = wrap(even)
    return [*calls(g, (x(), 4), (x(), 3)), log]


@case
def walrus(wrap):
    def f(t, ns):
        if (n := len(ns)) > 1:
            t = t * n
        return [y := t, y + 1, *(z for k in ns if (z := k * 2) > 2)]

    g = wrap(f)
    return calls(g, (x(), [1]), (x(), [1, 2]), (x(), [2, 3]))


@case
def matching(wrap):
    def f(t, v):
        match v:
            case {"k": int(n), **rest}:
                return t * n + len(rest)
            case [a, *more]:
                return t + a + len(more)
            case str() as s if len(s) > 2:
                return t - len(s)
            case None | False:
                return t
            case _:
                return t * 0

    g = wrap(f)
    vs = ({"k": 2}, {"k": 3, "j": 1}, [1, 2], "abc", "a", None, 3.5)
    return calls(g, *((x(), v) for v in vs))


# ---------------------------------------------------------------- classes


@case
def method_patched_on_an_instance(wrap):
    class A:
        def m(self, t):
            return t + 1

    a = A()
    g = wrap(lambda t: a.m(t))
    out = calls(g, (x(),))
    a.m = lambda t: t * 5
    out += calls(g, (x(),))
    del a.m
    out += calls(g, (x(),))
    A.m = lambda self, t: t - 7
    return out + calls(g, (x(),))


@case
def class_of_an_instance_replaced(wrap):
    class A:
        def m(self, t):
            return t + 1

    class B(A):
        def m(self, t):
            return t * 3

    a = A()
    g = wrap(lambda t: a.m(t))
    out = calls(g, (x(),))
    a.__class__ = B
    return out + calls(g, (x(),))


@case
def bases_gain_a_method(wrap):
    class A:
        pass

    class B(A):
        pass

    b = B()
    g = wrap(lambda t: b.m(t) if hasattr(b, "m") else t)
    out = calls(g, (x(),))
    A.m = lambda self, t: t + 5
    out += calls(g, (x(),))
    B.m = lambda self, t: t + 50
    out += calls(g, (x(),))
    del B.m
    return out + calls(g, (x(),))


class Scaled:
    """A descriptor that counts."""

    def __init__(self):
        self.read = 0

    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, obj, kind=None):
        self.read += 1
        return self if obj is None else getattr(obj, self.name, 1) * 2

    def __set__(self, obj, v):
        setattr(obj, self.name, v)


@case
def descriptors_with_state(wrap):
    class A:
        k = Scaled()

    a = A()

    def f(t):
        a.k = a.k + 1
        return t * a.k

    g = wrap(f)
    return [*calls(g, (x(),), (x(),)), A.__dict__["k"].read, vars(a)]


@case
def properties_replaced(wrap):
    class A:
        n = 1

        @property
        def k(self):
            return self.n

    a = A()
    g = wrap(lambda t: t * a.k)
    out = calls(g, (x(),))
    a.n = 4
    out += calls(g, (x(),))
    A.k = property(lambda self: 100)
    out += calls(g, (x(),))
    A.k = 3
    return out + calls(g, (x(),))


@case
def cached_properties(wrap):
    made = []

    class A:
        @functools.cached_property
        def k(self):
            made.append(1)
            return 3

    a = A()
    g = wrap(lambda t: t * a.k)
    out = calls(g, (x(),), (x(),))
    del a.k
    return [*out, *calls(g, (x(),)), len(made), sorted(vars(a))]


@case
def dataclasses_change(wrap):
    @dataclasses.dataclass
    class P:
        a: float = 1.0
        b: list = dataclasses.field(default_factory=list)

    p = P()

    def f(t):
        q = dataclasses.replace(p, a=p.a + 1)
        return t * q.a + len(q.b)

    g = wrap(f)
    out = calls(g, (x(),))
    p.a = 5.0
    p.b.append(1)
    return out + calls(g, (x(),))


class Color(enum.Enum):
    RED = 1
    BLUE = 2

    @property
    def factor(self):
        return self.value * 10


class Flag(enum.IntFlag):
    A = 1
    B = 2


@case
def enumerations(wrap):
    g = wrap(lambda t, c, f: t * c.factor if Flag.A in f else t + len(c.name))
    return calls(g, (x(), Color.RED, Flag.A), (x(), Color.BLUE, Flag.A | Flag.B), (x(), Color.RED, Flag.B))


class Point(typing.NamedTuple):
    a: object
    b: object = 2

    def total(self):
        return self.a + self.b


@case
def namedtuples(wrap):
    g = wrap(lambda p: Point(p.total(), b=p.b))
    out = [g(Point(x())), g(Point(x(), 5)), g(Point(x(), b=x(3, 1)))]
    return [[type(p).__name__, freeze(p.a), freeze(p.b)] for p in out]


@case
def comparisons_of_ones_own(wrap):
    class V:
        def __init__(self, n):
            self.n = n

        def __eq__(self, o):
            return self.n == o.n

        def __lt__(self, o):
            return self.n < o.n

        def __hash__(self):
            return hash(self.n)

        def __bool__(self):
            return self.n > 1

        def __contains__(self, k):
            return k < self.n

    a, b = V(1), V(1)
    g = wrap(lambda t: t * (2 if a == b else 3) + (10 if a < b else 20) + (100 if a else 200) + (1000 if 2 in b else 0))
    out = calls(g, (x(),))
    b.n = 5
    out += calls(g, (x(),))
    a.n = 7
    return out + calls(g, (x(),))


@case
def class_attributes_of_tables(wrap):
    class A:
        table: typing.ClassVar = {"k": 1}
        order: typing.ClassVar = [1, 2]

    g = wrap(lambda t: t * A.table["k"] + sum(A.order))
    out = calls(g, (x(),))
    A.table["k"] = 4
    out += calls(g, (x(),))
    A.order.append(9)
    out += calls(g, (x(),))
    A.table = {"k": 0}
    return out + calls(g, (x(),))


# ---------------------------------------------------------------- containers


@case
def order_of_a_dictionary(wrap):
    d = {"a": 1, "b": 2}
    g = wrap(lambda t: [t * v for v in d.values()])
    out = calls(g, (x(),))
    d["a"] = d.pop("a")
    out += calls(g, (x(),))
    d.update(c=3)
    return out + calls(g, (x(),))


@case
def sets_that_change(wrap):
    s = {1, 2}
    g = wrap(lambda t: t * (5 if 3 in s else 2) + len(s | {9}))
    out = calls(g, (x(),))
    s.add(3)
    out += calls(g, (x(),))
    s.discard(1)
    return out + calls(g, (x(),))


@case
def lists_aliased(wrap):
    a = [1, 2]
    table = {"p": a, "q": a}

    def f(t):
        table["p"].append(3)
        return t * len(table["q"])

    g = wrap(f)
    out = calls(g, (x(),))
    table["q"] = [1]
    return out + calls(g, (x(),)) + [a, table["q"]]


@case
def slices_assigned(wrap):
    a = [1, 2, 3, 4]

    def f(t):
        a[1:3] = [t.shape[0]]
        del a[0]
        return t + len(a)

    g = wrap(f)
    return calls(g, (x(),), (x(),)) + [a]


@case
def generators_from_outside(wrap):
    def numbers():
        n = 0
        while True:
            n += 1
            yield n

    it = numbers()
    g = wrap(lambda t: t * next(it))
    return calls(g, (x(),), (x(),), (x(),))


@case
def generators_left_half_way(wrap):
    log = []

    def numbers(n):
        try:
            for i in range(n):  # noqa: UP028
                yield i
        finally:
            log.append("closed")

    def f(t, stop):
        for i in numbers(5):
            if i == stop:
                break
            t = t + i
        return t

    g = wrap(f)
    return [*calls(g, (x(), 2), (x(), 9)), log]


@case
def generators_that_are_sent_to(wrap):
    def acc(t):
        total = t
        while True:
            k = yield total
            if k is None:
                return
            total = total + k

    def f(t):
        a = acc(t)
        next(a)
        a.send(2)
        return a.send(t)

    return calls(wrap(f), (x(),), (x(),))


@case
def keys_that_are_tuples_and_enums(wrap):
    d = {(1, "a"): 2, Color.RED: 3}
    g = wrap(lambda t, k: t * d.get(k, 7))
    out = calls(g, (x(), (1, "a")), (x(), Color.RED), (x(), Color.BLUE))
    d[Color.BLUE] = 11
    return out + calls(g, (x(), Color.BLUE), (x(), (1, "b")))


# ---------------------------------------------------------------- contexts, threads, randomness


VAR = contextvars.ContextVar("var", default=1)
LOCAL = threading.local()


@case
def context_variables(wrap):
    g = wrap(lambda t: t * VAR.get())
    out = calls(g, (x(),))
    token = VAR.set(5)
    out += calls(g, (x(),))
    VAR.reset(token)
    return out + calls(g, (x(),))


@case
def locals_of_threads(wrap):
    LOCAL.k = 2
    g = wrap(lambda t: t * LOCAL.k)
    out = calls(g, (x(),))
    found = []

    def there():
        LOCAL.k = 30
        found.extend(calls(g, (x(),)))

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    return [*out, *found, *calls(g, (x(),))]


@case
def contexts_of_ones_own(wrap):
    log = []

    class C:
        def __enter__(self):
            log.append("in")
            return 3

        def __exit__(self, kind, e, tb):
            log.append(kind.__name__ if kind else "out")
            return kind is KeyError

    @contextlib.contextmanager
    def plain(n):
        log.append(n)
        try:
            yield n
        finally:
            log.append(-n)

    def f(t, key):
        with C() as k, plain(2) as n:
            t = t * k + n
            t = t + {"a": 1}[key]
        return t

    g = wrap(f)
    return [*calls(g, (x(), "a"), (x(), "b"), (x(), "a")), log]


@case
def exceptions_in_the_middle_of_effects(wrap):
    state = {"n": 0}
    buffer = torch.zeros(3)

    def f(t, bad):
        state["n"] += 1
        buffer.add_(t)
        if bad:
            raise ValueError(f"bad {state['n']}")
        state["done"] = state["n"]
        return t * 2

    g = wrap(f)
    out = calls(g, (x(), False))
    for _ in range(2):
        try:
            g(x(), True)
        except ValueError as e:
            out.append(str(e))
    return [*out, *calls(g, (x(), False)), dict(state), freeze(buffer)]


@case
def finally_and_else(wrap):
    log = []

    def f(t, n):
        for i in range(n):
            try:
                if i == 2:
                    raise IndexError
                log.append(i)
            except IndexError:
                continue
            else:
                t = t + i
            finally:
                log.append("f")
        else:
            t = t * 2
        return t

    g = wrap(f)
    return [*calls(g, (x(), 2), (x(), 4)), log]


@case
def chained_exceptions(wrap):
    def f(t):
        try:
            {}["k"]
        except KeyError as e:
            raise RuntimeError("outer") from e
        return t

    g = wrap(f)
    out = []
    for _ in range(2):
        try:
            g(x())
        except RuntimeError as e:
            out.append((str(e), type(e.__cause__).__name__))
    return out


@case
def random_numbers_of_python(wrap):
    random.seed(3)
    g = wrap(lambda t: t * random.random())
    return calls(g, (x(),), (x(),))


@case
def random_state_in_between(wrap):
    torch.manual_seed(0)

    def f(t):
        a = torch.rand(3)
        state = torch.get_rng_state()
        b = torch.rand(3)
        torch.set_rng_state(state)
        return a, b, torch.rand(3) + t

    g = wrap(f)
    return [*calls(g, (x(),), (x(),)), freeze(torch.rand(2))]


@case
def default_dtype_changes(wrap):
    g = wrap(lambda t: torch.ones(2) + torch.tensor(0.5) + torch.arange(2) / 2)
    out = calls(g, (x(),))
    torch.set_default_dtype(torch.float64)
    try:
        out += calls(g, (x(),))
    finally:
        torch.set_default_dtype(torch.float32)
    return out + calls(g, (x(),))


@case
def modes_inside_and_outside(wrap):
    w = torch.ones(3, requires_grad=True)

    def f(t):
        with torch.no_grad():
            a = t * w
        return a.requires_grad, (t * w).requires_grad, torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    g = wrap(f)
    out = [g(x())]
    with torch.no_grad():
        out.append(g(x()))
    with torch.inference_mode():
        out.append(g(x()))
    return [*out, g(x())]


@case
def autocast_changes(wrap):
    w = torch.ones(3, 3)
    g = wrap(lambda t: (t @ w).dtype)
    out = [g(x())]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out.append(g(x()))
        with torch.autocast("cpu", enabled=False):
            out.append(g(x()))
    return [*out, g(x())]


# ---------------------------------------------------------------- modules


@case
def hooks_come_and_go(wrap):
    torch.manual_seed(0)
    m = nn.Linear(3, 3)
    g = wrap(lambda t: m(t).detach())
    out = calls(g, (x(),))
    seen = []
    one = m.register_forward_hook(lambda mod, a, o: o * 2)
    out += calls(g, (x(),))
    two = m.register_forward_pre_hook(lambda mod, a: (a[0] + 1,))
    out += calls(g, (x(),))
    one.remove()
    out += calls(g, (x(),))
    two.remove()
    three = m.register_forward_hook(lambda mod, a, o: seen.append(o.shape[0]))
    out += calls(g, (x(),), (x(),))
    three.remove()
    return [*out, *calls(g, (x(),)), seen]


@case
def hooks_of_gradients(wrap):
    seen = []

    def f(t):
        w = t.clone().requires_grad_()
        w.register_hook(lambda g: g * 3)
        (w * w).sum().backward()
        seen.append(1)
        return w.grad

    g = wrap(f)
    return [*calls(g, (x(),), (x(),)), seen]


@case
def modules_replaced_and_toggled(wrap):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.ReLU())
    g = wrap(lambda t: m(t).detach())
    m.eval()
    out = calls(g, (x(),))
    m[2] = nn.Tanh()
    out += calls(g, (x(),))
    m[0].weight = nn.Parameter(torch.ones(3, 3))
    out += calls(g, (x(),))
    m.append(nn.Sigmoid())
    out += calls(g, (x(),))
    m[0].bias.data.zero_()
    out += calls(g, (x(),))
    m.train()
    m[1].p = 0.0
    out += calls(g, (x(),))
    m[0].register_parameter("bias", None)
    return out + calls(g, (x(),))


@case
def buffers_replaced(wrap):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("n", torch.zeros(()))
            self.seen = 0

        def forward(self, t):
            self.n += 1
            self.seen += 1
            return t * self.n

    m = M()
    g = wrap(m)
    out = calls(g, (x(),), (x(),))
    m.n = torch.tensor(10.0)
    out += calls(g, (x(),))
    m.load_state_dict({"n": torch.tensor(3.0)})
    return [*out, *calls(g, (x(),)), m.seen, freeze(m.n)]


@case
def forward_patched(wrap):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    g = wrap(lambda t: m(t).detach())
    out = calls(g, (x(),))
    old = m.forward
    m.forward = lambda t: old(t) * 10
    out += calls(g, (x(),))
    del m.forward
    return out + calls(g, (x(),))


@case
def shared_parameters_are_separated(wrap):
    torch.manual_seed(0)
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight

    def f(t):
        a.weight.data.add_(1)
        return b(t).detach()

    g = wrap(f)
    out = calls(g, (x(),))
    b.weight = nn.Parameter(torch.zeros(3, 3))
    return out + calls(g, (x(),))


# ---------------------------------------------------------------- tensors


@case
def inputs_that_alias(wrap):
    def f(a, b):
        a.add_(1)
        return a + b

    g = wrap(f)
    p, q = x(), x()
    out = [freeze(g(p, q)), freeze(g(p, p)), freeze(g(p, q)), freeze(g(p[:2], p[1:])), freeze(g(q, p))]
    return [*out, freeze(p), freeze(q)]


@case
def writes_through_views(wrap):
    def f(t):
        v = t.view(2, 3)
        v[0].mul_(2)
        v.t()[1] += 5
        t[-1] = 0
        return v.sum(0)

    g = wrap(f)
    p = x(6)
    return [*calls(g, (p,), (p,)), freeze(p)]


@case
def strides_and_offsets_change(wrap):
    g = wrap(lambda t: t.reshape(-1) * 2)
    base = x(12).view(3, 4)
    return calls(g, (base,), (base.t(),), (base[:, ::2],), (base[1:],), (base.expand(2, 3, 4),))


@case
def types_of_tensors_change(wrap):
    g = wrap(lambda t: (t + 1) / 2)
    return calls(g, (x(),), (x().double(),), (torch.arange(3),), (x().bool(),), (torch.tensor(2.0),), (x().half(),))


@case
def metadata_decides(wrap):
    g = wrap(lambda t: t * t.dim() + (1 if t.is_contiguous() else 2) + (10 if t.requires_grad else 20) + t.stride(-1))
    base = x(6).view(2, 3)
    out = [freeze(g(t).detach()) for t in (base, base.t(), base.clone().requires_grad_(), base[:, ::2])]
    return out


@case
def data_decides_in_loops(wrap):
    def f(t):
        n = 0
        while t.sum() < 20:
            t = t * 2 + 1
            n += 1
            if t.max().item() > 50:
                break
        return t, n

    g = wrap(f)
    return calls(g, (x(),), (x(3, 2),), (x(3, 30),))


@case
def subclasses_come_and_go(wrap):
    class Named(torch.Tensor):
        pass

    g = wrap(lambda t: type(t * 2).__name__)
    return [g(x()), g(x().as_subclass(Named)), g(x())]


@case
def gradients_accumulate(wrap):
    w = torch.ones(3, requires_grad=True)

    def f(t):
        (w * t).sum().backward()
        return w.grad * 1

    g = wrap(f)
    out = calls(g, (x(),), (x(),))
    w.grad = None
    out += calls(g, (x(),))
    w.grad = torch.full((3,), 100.0)
    return out + calls(g, (x(),))


@case
def tensors_with_attributes(wrap):
    p = x()
    p.scale = 2
    g = wrap(lambda t: t * p.scale)
    out = calls(g, (x(),))
    p.scale = 5
    out += calls(g, (x(),))
    del p.scale
    try:
        g(x())
    except AttributeError as e:
        out.append(str(e))
    return out


@case
def versions_of_a_tensor(wrap):
    p = x()

    def f(t):
        p.copy_(t)
        q = p * 2
        p.zero_()
        return q + p

    g = wrap(f)
    return [*calls(g, (x(),), (x(3, 1),)), freeze(p), p._version]


@case
def results_are_inputs(wrap):
    def f(a, b):
        return a, [b, a], {"k": b.view(-1)}

    g = wrap(f)
    p, q = x(), x(3, 1)
    a, ls, d = g(p, q)
    return [a is p, ls[0] is q, ls[1] is a, d["k"].data_ptr() == q.data_ptr(), d["k"]._is_view()]


@case
def the_same_object_comes_out(wrap):
    held = []

    def f(t):
        y = t + 1
        held.append(y)
        return y, held[-1]

    g = wrap(f)
    a, b = g(x())
    c, d = g(x())
    return [a is b, c is d, a is c, held[0] is a, held[1] is c, len(held)]


@case
def printing_in_order(wrap):
    import io

    text = io.StringIO()

    def f(t):
        print("one", file=text)
        t = t + 1
        print(t.shape, t.sum().item(), file=text)
        return t * 2

    g = wrap(f)
    return [*calls(g, (x(),), (x(),)), text.getvalue()]


@case
def coroutines_are_left_alone(wrap):
    async def f(t):
        return t * 2

    coroutine = wrap(f)(x())
    try:
        coroutine.send(None)
    except StopIteration as e:
        return freeze(e.value)


@case
def operators_by_name(wrap):
    ops = {"+": operator.add, "*": operator.mul}
    g = wrap(lambda t, s: ops[s](t, 3))
    out = calls(g, (x(), "+"), (x(), "*"))
    ops["+"] = operator.sub
    return out + calls(g, (x(), "+"))


@case
def globals_made_later(wrap):
    space = {"__builtins__": __builtins__, "torch": torch}
    exec("def f(t):\n    try:\n        return t * later\n    except NameError:\n        return t", space)
    g = wrap(space["f"])
    out = calls(g, (x(),))
    space["later"] = 3
    out += calls(g, (x(),))
    del space["later"]
    return out + calls(g, (x(),))


@case
def builtins_shadowed(wrap):
    space = {"__builtins__": __builtins__}
    exec("def f(t):\n    return t * len([1, 2])", space)
    g = wrap(space["f"])
    out = calls(g, (x(),))
    space["len"] = lambda a: 100
    return out + calls(g, (x(),))


@case
def multiple_inheritance(wrap):
    class A:
        def m(self, t):
            return t + 1

    class B(A):
        def m(self, t):
            return super().m(t) * 2

    class C(A):
        def m(self, t):
            return super().m(t) * 3

    class D(B, C):
        pass

    d = D()
    g = wrap(lambda t: d.m(t))
    out = calls(g, (x(),))
    C.m = lambda self, t: t
    out += calls(g, (x(),))
    D.__bases__ = (C,)
    return out + calls(g, (x(),))

"""Classes: methods and bases that change, descriptors with state, dataclasses, enumerations, tuples with names."""

import dataclasses
import enum
import functools
import typing

from tests.capture.world import calls, case, freeze, whole, x


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


@case
def keys_that_are_tuples_and_enums(wrap):
    d = {(1, "a"): 2, Color.RED: 3}
    g = wrap(lambda t, k: t * d.get(k, 7))
    out = calls(g, (x(), (1, "a")), (x(), Color.RED), (x(), Color.BLUE))
    d[Color.BLUE] = 11
    return out + calls(g, (x(), Color.BLUE), (x(), (1, "b")))


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


@whole
def items_of_a_class(wrap):
    class Table:
        k = 3

    def f(t):
        names = vars(Table)
        return t * Table.__dict__["k"] + ("j" in names) + len(names) + Table.__dict__.get("z", 0)

    g = wrap(f)
    out = calls(g, (x(),))
    Table.k = 4
    out += calls(g, (x(),))
    Table.j = 1
    out += calls(g, (x(),))
    Table.z = 5
    return out + calls(g, (x(),))

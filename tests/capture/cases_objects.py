"""Classes and instances: attributes, properties, inheritance, special methods, monkey-patching."""

import abc
import copy
import functools
import gc
import weakref

import flambeau as torch
from tests.capture.world import case, twice, whole, x


class Base:
    kind = "base"
    factor = 2.0

    def __init__(self, scale=1.0):
        self.scale = scale
        self.calls = 0

    def apply(self, t):
        self.calls += 1
        return t * self.scale * self.factor

    @property
    def double(self):
        return self.scale * 2

    @double.setter
    def double(self, v):
        self.scale = v / 2

    @staticmethod
    def plus(t, k=1):
        return t + k

    @classmethod
    def make(cls, scale):
        return cls(scale)


class Derived(Base):
    kind = "derived"

    def __init__(self, scale=1.0, more=0.5):
        super().__init__(scale)
        self.more = more

    def apply(self, t):
        return super().apply(t) + self.more


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a, b=0):
        self.a, self.b = a, b


class Vector:
    def __init__(self, t):
        self.t = t

    def __add__(self, other):
        return Vector(self.t + (other.t if isinstance(other, Vector) else other))

    __radd__ = __add__

    def __mul__(self, k):
        return NotImplemented if isinstance(k, str) else Vector(self.t * k)

    def __eq__(self, other):
        return isinstance(other, Vector) and self.t.shape == other.t.shape

    __hash__ = None

    def __getitem__(self, i):
        return self.t[i]

    def __len__(self):
        return self.t.shape[0]

    def __call__(self, k):
        return self.t + k

    def __iter__(self):
        return iter([self.t, self.t + 1])

    def __bool__(self):
        return self.t.shape[0] > 2

    def __contains__(self, k):
        return k < len(self)

    def __enter__(self):
        self.inside = True
        return self

    def __exit__(self, *exc):
        self.inside = False


@whole
def attribute_changes(wrap):
    o = Base(2.0)
    f = wrap(lambda t: t * o.scale)
    out = twice(f, x())
    for o.scale in (3.0, 4.0, 3.0):
        out += twice(f, x())
    return out


@whole
def attribute_changes_type(wrap):
    o = Base(2.0)
    f = wrap(lambda t: t + o.scale)
    out = twice(f, x())
    o.scale = x()
    out += twice(f, x())
    o.scale = 2
    return out + twice(f, x())


@whole
def method_counts(wrap):
    o = Base(2.0)
    f = wrap(lambda t: o.apply(t))
    out = [f(x()) for _ in range(11)]
    return out, o.calls


@whole
def bound_method(wrap):
    o = Derived(2.0)
    f = wrap(o.apply)
    out = [f(x()) for _ in range(3)]
    o.scale, o.more = 3.0, 0.25
    return [*out, f(x())], o.calls


@whole
def other_instance(wrap):
    f = wrap(lambda o, t: o.apply(t))
    a, b, c = Base(2.0), Base(3.0), Derived(4.0)
    return [f(a, x()), f(b, x()), f(c, x()), f(a, x())], a.calls, b.calls, c.calls


@whole
def class_attribute_shadowed(wrap):
    o = Base(1.0)
    f = wrap(lambda t: t * o.factor)
    out = twice(f, x())
    o.factor = 5.0
    out += twice(f, x())
    del o.factor
    Base.factor = 7.0
    try:
        out += twice(f, x())
    finally:
        Base.factor = 2.0
    return out + twice(f, x())


@whole
def method_patched_on_class(wrap):
    class Local(Base):
        def apply(self, t):
            return t + 1

    o = Local()
    f = wrap(lambda t: o.apply(t))
    out = twice(f, x())
    Local.apply = lambda self, t: t + 2
    out += twice(f, x())
    del Local.apply
    return out + twice(f, x())


@whole
def method_patched_on_instance(wrap):
    o = Base(2.0)
    f = wrap(lambda t: o.apply(t))
    out = twice(f, x())
    o.apply = lambda t: t - 1
    out += twice(f, x())
    del o.apply
    return out + twice(f, x())


@whole
def class_swapped(wrap):
    o = Base(2.0)
    o.more = 0.25
    f = wrap(lambda t: o.apply(t))
    out = twice(f, x())
    o.__class__ = Derived
    return out + twice(f, x())


@whole
def base_class_patched(wrap):
    class Local(Base):
        pass

    o = Local(2.0)
    f = wrap(lambda t: o.plus(t) * o.factor)
    out = twice(f, x())
    Local.factor = 3.0
    out += twice(f, x())
    Local.plus = staticmethod(lambda t, k=1: t - k)
    return out + twice(f, x())


@whole
def properties(wrap):
    o = Base(2.0)

    def f(t):
        o.double = o.double + 2
        return t * o.double

    f = wrap(f)
    return [f(x()) for _ in range(10)], o.scale


@whole
def property_patched(wrap):
    class Local(Base):
        @property
        def double(self):
            return 3.0

    o = Local()
    f = wrap(lambda t: t * o.double)
    out = twice(f, x())
    Local.double = property(lambda self: 4.0)
    return out + twice(f, x())


@whole
def static_and_class_methods(wrap):
    f = wrap(lambda t: Derived.plus(Derived.make(3.0).apply(t), k=2))
    return twice(f, x())


@whole
def super_patched(wrap):
    class A:
        def go(self, t):
            return t + 1

    class B(A):
        def go(self, t):
            return super().go(t) * 2

    o = B()
    f = wrap(lambda t: o.go(t))
    out = twice(f, x())
    A.go = lambda self, t: t + 5
    return out + twice(f, x())


@whole
def slots(wrap):
    o = Slotted(2.0)

    def f(t):
        o.b = o.b + 1
        return t * o.a + o.b

    f = wrap(f)
    out = [f(x()) for _ in range(3)]
    o.a = 3.0
    return [*out, f(x())], o.b


@whole
def slots_made(wrap):
    f = wrap(lambda t: Slotted(t, 3))
    f(x())
    o = f(x())
    return o.a, o.b


@whole
def operators(wrap):
    def f(t):
        v = Vector(t) + Vector(t) * 2 + 1
        w = 3 + v
        return v.t, w.t, v == w, v[0], len(v), v(2), [*v], 1 in v, 9 in v, bool(v), (not v)

    return twice(wrap(f), x())


@whole
def operator_patched(wrap):
    class Local(Vector):
        pass

    f = wrap(lambda v: (v + v).t)
    v = Local(x())
    out = twice(f, v)
    Local.__add__ = lambda self, other: Vector(self.t * 10)
    return out + twice(f, v)


@whole
def context_manager(wrap):
    v = Vector(x())

    def f(t):
        with v as w:
            inside = w.inside
            t = t + 1
        return t, inside, v.inside

    return twice(wrap(f), x()), v.inside


@whole
def instance_made_and_returned(wrap):
    def f(t):
        o = Derived(3.0)
        o.result = o.apply(t)
        return o

    f = wrap(f)
    f(x())
    o = f(x())
    return type(o) is Derived, vars(o)


@whole
def instance_stored(wrap):
    o = Base()

    def f(t):
        o.child = Base(2.0)
        o.child.parent = o
        o.child.t = t * 2
        return o.child.t

    f = wrap(f)
    out = twice(f, x())
    return out, o.child.scale, o.child.parent is o


@whole
def attribute_deleted(wrap):
    o = Base()

    def f(t):
        o.temporary = t
        r = o.temporary + 1
        del o.temporary
        return r, hasattr(o, "temporary")

    return twice(wrap(f), x()), sorted(vars(o))


@whole
def getattr_default(wrap):
    o = Base()
    o.__dict__.pop("extra", None)
    f = wrap(lambda t: t * getattr(o, "extra", 3.0))
    out = twice(f, x())
    o.extra = 4.0
    out += twice(f, x())
    del o.extra
    return out + twice(f, x())


@whole
def dynamic_getattr(wrap):
    class Lazy:
        def __getattr__(self, name):
            if name.startswith("v"):
                return float(name[1:])
            raise AttributeError(name)

    o = Lazy()
    f = wrap(lambda t: t * o.v3 + (1 if hasattr(o, "w") else 0))
    out = twice(f, x())
    o.v3 = 9.0
    out += twice(f, x())
    o.w = 1
    return out + twice(f, x())


@whole
def setattr_override(wrap):
    class Logged:
        def __init__(self):
            object.__setattr__(self, "log", [])

        def __setattr__(self, name, value):
            self.log.append(name)
            object.__setattr__(self, name, value)

    o = Logged()

    def f(t):
        o.t = t * 2
        return o.t

    return twice(wrap(f), x()), o.log


@whole
def descriptor(wrap):
    class Scaled:
        def __init__(self, by):
            self.by = by

        def __get__(self, obj, cls=None):
            return obj.base * self.by

        def __set__(self, obj, value):
            obj.base = value

    class Owner:
        base = 1.0
        scaled = Scaled(3.0)

    o = Owner()

    def f(t):
        r = t * o.scaled
        o.scaled = 2.0
        return r

    return twice(wrap(f), x()), o.base


@whole
def cached(wrap):
    class Owner:
        n = 0

        @functools.cached_property
        def value(self):
            return 3.0

    o = Owner()
    f = wrap(lambda t: t * o.value)
    out = twice(f, x())
    o.value = 4.0
    out += twice(f, x())
    del o.value
    return out + twice(f, x()), vars(o)


@whole
def abstract(wrap):
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self): ...

    class Square(Shape):
        def __init__(self, s):
            self.s = s

        def area(self):
            return self.s * self.s

    f = wrap(lambda t, s: t * s.area() if isinstance(s, Shape) else t)
    return [f(x(), Square(2.0)), f(x(), Square(3.0)), f(x(), 1)]


@whole
def callable_object(wrap):
    f = wrap(Vector(x()))
    return [f(1), f(2), f(1)]


@whole
def partials(wrap):
    p = functools.partial(torch.add, alpha=2)
    f = wrap(lambda t, g: g(t, t) + p(t, t))
    q = functools.partial(torch.sub, alpha=3)
    return [f(x(), p), f(x(), q), f(x(), functools.partial(torch.sub, alpha=4))]


@whole
def decorated(wrap):
    def plus(k):
        def deco(g):
            @functools.wraps(g)
            def inner(*a, **kw):
                return g(*a, **kw) + k

            return inner

        return deco

    @plus(3)
    @plus(1)
    def g(t):
        return t * 2

    return twice(wrap(g), x())


@whole
def lru(wrap):
    @functools.lru_cache
    def table(n):
        return n * 2

    f = wrap(lambda t, n: t * table(n))
    return [f(x(), 1), f(x(), 2), f(x(), 1)]


@whole
def type_dispatch(wrap):
    f = wrap(lambda t, o: t * 2 if type(o) is Base else t * 3 if isinstance(o, Base) else t)
    return [f(x(), Base()), f(x(), Derived()), f(x(), 1), f(x(), Base())]


@whole
def dict_attribute(wrap):
    o = Base()
    f = wrap(lambda t: t * o.__dict__["scale"] + len(vars(o)))
    out = twice(f, x())
    o.scale = 4.0
    out += twice(f, x())
    o.new = 1
    return out + twice(f, x())


@case
def class_made_inside(wrap):
    def f(t):
        class Local:
            k = 2.0

        return t * Local.k

    return twice(wrap(f), x())


@whole
def object_in_list(wrap):
    items = [Base(1.0), Derived(2.0)]
    f = wrap(lambda t: [i.apply(t) for i in items])
    out = twice(f, x())
    items.reverse()
    out += twice(f, x())
    items[0].scale = 9.0
    return out + twice(f, x()), [i.calls for i in items]


@whole
def two_paths_to_one_object(wrap):
    a, b = Base(1.0), Base(1.0)
    pair = [a, b]

    def f(t):
        pair[0].scale = 5.0
        return t * pair[1].scale

    f = wrap(f)
    out = twice(f, x())
    pair[1], a.scale = a, 1.0
    return out + twice(f, x())


@whole
def distinct_then_one(wrap):
    def f(p, q, t):
        p.scale = 5.0
        return t * q.scale

    f = wrap(f)
    out = [f(Base(1.0), Base(1.0), x())]
    o = Base(1.0)
    return [*out, f(o, o, x()), f(Base(1.0), Base(1.0), x())]


@whole
def one_then_distinct(wrap):
    def f(p, q, t):
        p.scale = 5.0
        return t * q.scale

    f = wrap(f)
    o = Base(1.0)
    return [f(o, o, x()), f(Base(1.0), Base(1.0), x()), f(o, o, x())]


@whole
def weak_references(wrap):
    class Held:
        scale = 2.0

    first, second = Held(), Held()
    reference, other = weakref.ref(first), weakref.ref(second)

    def f(t):
        held, more = reference(), other()
        t = t if held is None else t * held.scale
        return t if more is None else t * first_or_none[0].scale * more.scale

    first_or_none = [second]
    f = wrap(f)
    out = twice(f, x())
    first.scale = 3.0
    out += twice(f, x())
    del first
    gc.collect()
    return [*out, *twice(f, x()), reference() is None]


@whole
def schedules_wrap_the_step(wrap):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)

    def step(t):
        optimizer.zero_grad()
        loss = model(t).pow(2).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    step = wrap(step)
    out = []
    for _ in range(4):
        out.append(step(x()))
        schedule.step()
        out.append(optimizer.param_groups[0]["lr"])
    return [*out, optimizer._opt_called]


@whole
def questions_of_identity(wrap):
    class Plain:
        pass

    questions = (
        lambda a, b, t: t * 2 if a is b else t,
        lambda a, b, t: t * 2 if a == b else t,
        lambda a, b, t: t * 2 if a != b else t,
        lambda a, b, t: t * 2 if a in [b] else t,
        lambda a, b, t: t * 2 if a not in (1, b) else t,
    )
    out = []
    for n, question in enumerate(questions):
        for make in (Plain, object, *([lambda: torch.ones(3)] if n == 0 else [])):
            f = wrap(question)
            one, other = make(), make()
            out += [f(one, other, x()), f(one, one, x()), f(other, one, x()), f(other, other, x())]
    return out


class Settings:
    def __init__(self, **given):
        self.__dict__.update(given)


class Sealed(Settings):
    def __getstate__(self):
        return {"k": 100}


@case
def objects_that_are_copied(wrap):
    settings = Settings(k=2, names=["a", "bc"], inner=Settings(k=5), more={"x": (1, 2)})

    def f(t):
        other = copy.deepcopy(settings)
        other.k += 1
        other.names.append("def")
        other.inner.k = 7
        near = copy.copy(settings)
        near.k = 11
        return t * other.k + len(other.names) + other.more["x"][1] + near.k + near.inner.k + (
            near.names is settings.names
        ), other

    g = wrap(f)
    out = []
    for k in (2, 2, 3):
        settings.k = k
        made, other = g(x())
        out += [made, vars(other.inner), other.names, other.k, other is settings]
    h = wrap(lambda t: t * copy.deepcopy(Sealed(k=1)).k)
    return [*out, vars(settings.inner), settings.names, h(x()), h(x())]

"""Lists, dictionaries, tuples, sets: read, written, and changed between calls."""

import collections
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flambeau as torch
from tests.capture.world import case, freeze, whole, x


class Pair(NamedTuple):
    a: Any
    b: Any = 2.0


@dataclass
class Item:
    scale: float = 2.0
    parts: list = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    scale: float


def calls(f, *argument_lists):
    return [freeze(f(*a)) for a in argument_lists for _ in range(2)]


@whole
def list_argument(wrap):
    f = wrap(lambda ts: ts[0] + ts[-1] * len(ts))
    return calls(f, ([x()],), ([x(), x()],), ([x(), x(), x(3, 5)],))


@whole
def list_of_numbers(wrap):
    f = wrap(lambda t, ns: t * sum(ns))
    return calls(f, (x(), [1, 2]), (x(), [1, 2.0]), (x(), []), (x(), [3, 4]))


@whole
def list_element_written(wrap):
    def f(t, xs):
        xs[0] = t * 2
        xs[1] = xs[0] + xs[1]
        return xs[1] * 1

    f, xs = wrap(f), [x(), x(3, 4), 7]
    return [f(x(), xs), f(x(3, 2), xs)], xs


@whole
def list_methods(wrap):
    def f(t, xs):
        xs.append(4)
        xs.extend([5, 2])
        xs.insert(0, "first")
        last = xs.pop()
        xs.reverse()
        del xs[0]
        xs += [3]
        return t * last, xs.index("first"), len(xs), xs.count(3)

    f, xs = wrap(f), [1]
    return [f(x(), xs), f(x(), xs)], xs


@whole
def list_sorted(wrap):
    def f(t, xs):
        xs.sort(reverse=True)
        return [t * v for v in sorted(xs)] + [max(xs), min(xs, key=lambda v: -v)]

    f, xs = wrap(f), [3, 1, 2]
    out = [f(x(), xs)]
    xs.append(9)
    return [*out, f(x(), xs)], xs


@whole
def list_cleared_and_filled(wrap):
    def f(t, xs):
        xs.clear()
        for i in range(3):
            xs.append(t + i)
        return xs[1:]

    f, xs = wrap(f), [1, 2]
    return [f(x(), xs), f(x(), xs)], xs


@whole
def same_list_twice(wrap):
    def f(a, b):
        a.append(1)
        return len(b)

    f = wrap(f)
    p, q = [0], [0]
    out = [f(p, q), f(p, q)]
    r = [0]
    out += [f(r, r), f(r, r)]
    s, u = [0], [0]
    return [*out, f(s, u)], p, q, r, s, u


@whole
def aliased_lists_of_one_length(wrap):
    def f(a, b):
        a[0] = a[0] + 1
        return b[0] * 2

    f = wrap(f)
    p, q = [1.0], [1.0]
    out = [f(p, q)]
    r = [1.0]
    return [*out, f(r, r)], p, q, r


@whole
def dict_argument(wrap):
    f = wrap(lambda d: d["a"] * d.get("k", 2.0))
    return calls(f, ({"a": x()},), ({"a": x(), "k": 3.0},), ({"k": 1, "a": x()},), ({"a": x(4)},))


@whole
def dict_iteration(wrap):
    f = wrap(lambda t, d: [t * v for k, v in d.items() if k != "skip"] + list(d) + list(d.keys()))
    return calls(f, (x(), {"a": 1}), (x(), {"a": 1, "b": 2}), (x(), {"b": 2, "a": 1}), (x(), {"skip": 0}))


@whole
def dict_written(wrap):
    def f(t, d):
        d["new"] = t * 2
        d["n"] = d.get("n", 0) + 1
        d.setdefault("list", []).append(d["n"])
        d.update(z=1, y=t)
        d.pop("gone", None)
        return d["new"] + 1

    f, d = wrap(f), {"gone": 3}
    return [f(x(), d), f(x(), d), f(x(), d)], d


@whole
def dict_order(wrap):
    def f(t, d):
        v = d.pop("a")
        d["a"] = v + 1
        return t + v

    f, d = wrap(f), {"a": 1, "b": 2}
    return [f(x(), d), f(x(), d)], d


@whole
def dict_values_are_tensors(wrap):
    def f(d):
        return {k: v * 2 for k, v in d.items()}

    f = wrap(f)
    return calls(f, ({"a": x(), "b": x(4)},), ({"a": x(4), "b": x()},))


@whole
def default_dict(wrap):
    def f(t, d):
        d["k"].append(t.sum())
        return len(d["k"]), len(d["other"])

    f, d = wrap(f), collections.defaultdict(list)
    return [f(x(), d) for _ in range(3)], dict(d)


@whole
def ordered_dict(wrap):
    def f(t, d):
        d["z"] = t
        d.move_to_end("a")
        return list(d)

    f, d = wrap(f), collections.OrderedDict(a=1, b=2)
    return [f(x(), d), f(x(), d)], dict(d)


@whole
def counter(wrap):
    def f(t, names):
        c = collections.Counter(names)
        return t * c["a"], c["zz"]

    return calls(wrap(f), (x(), ["a", "b", "a"]), (x(), ["a"]))


@whole
def deque_bounded(wrap):
    def f(t, q):
        q.append(t.sum())
        return sum(q)

    f, q = wrap(f), collections.deque(maxlen=3)
    return [f(x(3, i), q) for i in range(6)], list(q)


@whole
def set_written(wrap):
    def f(t, s, key):
        new = key not in s
        s.add(key)
        return t + 1 if new else t - 1

    f, s = wrap(f), {"a"}
    return [f(x(), s, k) for k in ("a", "b", "b", "c")], s


@whole
def nested_containers(wrap):
    def f(tree):
        (a, [b, d]), *rest = tree
        c = d["c"]
        return a + b * c, len(rest)

    return calls(wrap(f), (((x(), [x(), {"c": 2}]),),), (((x(), [x(), {"c": 3}]), 1, 2),))


@whole
def tuple_returned(wrap):
    f = wrap(lambda a, b: (a + b, a, [b, (a, b)]))
    a, b = x(), x(3, 1)
    out = f(a, b)
    again = f(a, b)
    return out, again[1] is a, again[2][0] is b, again[2][1][0] is a


@whole
def named_tuple(wrap):
    def f(p):
        a, b = p
        return Pair(a * b, b=p.b + 1)

    return calls(wrap(f), (Pair(x()),), (Pair(x(), 3.0),), (Pair(x(4), x(4)),))


@whole
def data_class(wrap):
    f = wrap(lambda t, i: t * i.scale + len(i.parts))
    return calls(f, (x(), Item()), (x(), Item(3.0)), (x(), Item(3.0, [1])))


@whole
def data_class_made(wrap):
    def f(t):
        i = Item(scale=3.0)
        i.parts.append(t)
        return i

    out = [wrap(f)(x()) for _ in range(2)]
    return [(type(i).__name__, i.scale, i.parts) for i in out]


@whole
def data_class_written(wrap):
    def f(t, i):
        i.scale = i.scale * 2
        i.last = t + i.scale
        return i.last

    f, i = wrap(f), Item()
    return [f(x(), i) for _ in range(10)], i


@whole
def data_class_frozen(wrap):
    f = wrap(lambda t, c: (t * c.scale, Frozen(c.scale + 1).scale))
    return calls(f, (x(), Frozen(2.0)), (x(), Frozen(3.0)), (x(), Frozen(4.0)))


@whole
def fresh_dict_each_call(wrap):
    f = wrap(lambda o: o["w"] * o["b"] + o["s"])
    return [f({"w": x(), "b": 2.0, "s": x(3, i)}) for i in range(12)]


@whole
def comprehensions(wrap):
    def f(t, n):
        a = [t * i for i in range(n) if i % 2]
        b = {i: t + i for i in range(n)}
        c = {i % 2 for i in range(n)}
        d = sum((v for v in b.values()), start=torch.zeros(3))
        return a, b, c, d

    return calls(wrap(f), (x(), 3), (x(), 4), (x(), 3))


@whole
def zip_enumerate_map(wrap):
    def f(xs, ns):
        out = []
        for i, (t, n) in enumerate(zip(xs, ns, strict=False), start=1):
            out.append(t * n + i)
        return [*map(lambda v: v + 1, out), *filter(None, ns), *reversed(ns)]

    return calls(wrap(f), ([x(), x(4)], [1, 2]), ([x()], [0, 5]), ([x(), x(4)], [1, 2]))


@whole
def any_all_min_max(wrap):
    f = wrap(lambda t, ns: t * max(ns) - min(ns) if any(n > 3 for n in ns) and all(ns) else t)
    return calls(f, (x(), [1, 5]), (x(), [1, 2]), (x(), [0, 5]), (x(), [4, 5]))


@whole
def star_arguments(wrap):
    def g(a, *rest, k=1, **more):
        return a * k + sum(rest) + sum(more.values())

    f = wrap(lambda args, kw: g(*args, **kw))
    return calls(f, ([x(), 1], {}), ([x(), 1, 2], {"k": 3}), ([x()], {"z": 2}))


@whole
def slices(wrap):
    def f(t, xs):
        return t[1:], t[::2], t[-1], xs[1:], xs[::-1], xs[-2:]

    return calls(wrap(f), (x(5), [1, 2, 3]), (x(4), [1, 2]), (x(5), [4, 5, 6]))


@whole
def container_of_containers_grows(wrap):
    log = {"losses": [], "n": 0}

    def f(t):
        log["losses"].append(t.sum())
        log["n"] += 1
        return t * 2

    f = wrap(f)
    return [f(x(3, i)) for i in range(12)], log


@whole
def list_in_tuple(wrap):
    pair = ([1.0], [2.0])
    f = wrap(lambda t: t * pair[0][0] + pair[1][0])
    out = calls(f, (x(),))
    pair[0][0] = 5.0
    out += calls(f, (x(),))
    pair[1].append(3.0)
    return out + calls(f, (x(),))


@whole
def returned_list_is_new(wrap):
    f = wrap(lambda t: [t, 1])
    a, b = f(x()), f(x())
    a.append(2)
    return a, b, a is b


@whole
def returned_list_is_the_argument(wrap):
    def f(t, xs):
        xs.append(t)
        return xs

    f, xs = wrap(f), []
    out = f(x(), xs)
    return out is xs, f(x(), xs) is xs, xs


@whole
def shared_inside_objects(wrap):
    def f(t):
        a = [t + 1]
        return [a, a, {"a": a}]

    f = wrap(f)
    f(x())
    out = f(x())
    return out[0] is out[1], out[2]["a"] is out[0], out


@whole
def cyclic_object(wrap):
    def f(t):
        a = [t]
        a.append(a)
        return a

    f = wrap(f)
    f(x())
    out = f(x())
    return out[1] is out, out[0]


@case
def iterator_argument(wrap):
    f = wrap(lambda it: next(it) + next(it))
    return [f(iter([x(), x(3, 2)])), f(iter([x(), x(3, 3)]))]


@whole
def tensor_as_key(wrap):
    a, b = x(), x(3, 1)
    state = {a: 1.0, b: 2.0}
    f = wrap(lambda t: t * state[t])
    out = [f(a), f(b), f(a)]
    state[a] = 5.0
    return [*out, f(a), f(b)]


@whole
def in_list(wrap):
    f = wrap(lambda t, xs: t * 2 if "relu" in xs else t)
    return calls(f, (x(), ["relu"]), (x(), ["a"]), (x(), []), (x(), ("b", "relu")))


@whole
def list_equality(wrap):
    f = wrap(lambda t, s: t * 2 if s == [1, 2] else t)
    return calls(f, (x(), [1, 2]), (x(), [1, 3]), (x(), [1, 2]), (x(), (1, 2)))


@whole
def walrus_and_chained(wrap):
    f = wrap(lambda t, n: [y := t * n, y + 1, 0 < n < 3, n if 1 <= n <= 2 else -n])
    return calls(f, (x(), 1), (x(), 2), (x(), 3))


@whole
def bound_methods_of_builtin_types(wrap):
    first, second, table = [], [], {"a": 1}
    f = wrap(lambda t, push, get: (push(t * 2), t + get("a", 5))[1])
    found = [f(x(), first.append, table.get), f(x(), second.append, table.get), f(x(), first.append, {}.get)]
    table["a"] = 3
    return found, f(x(), first.append, table.get), freeze(first), freeze(second)


class _Slots:
    __slots__ = ("flag",)


@whole
def what_is_there_already_is_written_again(wrap):
    class Plain:
        flag = None

    global _flag
    _flag, cell = True, True
    table, plain, slots, members = {"flag": True}, Plain(), _Slots(), {1}
    plain.flag = slots.flag = True
    w = torch.ones(3, requires_grad=True)

    def f(t):
        global _flag
        nonlocal cell
        _flag = cell = table["flag"] = plain.flag = slots.flag = True
        members.add(1)
        w.grad = None
        return t + 1

    f = wrap(f)
    out = [f(x())]
    _flag = cell = table["flag"] = plain.flag = slots.flag = False
    members.clear()
    w.grad = torch.zeros(3)
    return [*out, f(x()), _flag, cell, table, plain.flag, slots.flag, sorted(members), w.grad]


@whole
def a_number_that_changes_is_written_before_it_is_read(wrap):
    table, box = {"n": 0}, _Slots()
    box.flag = 0

    def f(t, first):
        if first:
            return t * table["n"] * box.flag
        table["n"] = box.flag = 0
        return t + table["n"] + box.flag

    f = wrap(f)
    out = []
    for i in range(3):  # the numbers are seen to change
        table["n"] = box.flag = i
        out.append(f(x(), True))
    table["n"] = box.flag = 0
    out.append(f(x(), False))
    table["n"] = box.flag = 7
    return [*out, f(x(), False), dict(table), box.flag]


@whole
def a_counter_before_the_tables_of_a_module(wrap):
    class M(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.n, self.w = 0, torch.nn.Parameter(torch.ones(3))

        def forward(self, t):
            self.n += 1
            return t * self.w

    m = M()
    f = wrap(m)
    return [f(x()).detach() for _ in range(3)], m.n


KNOWN = {torch.Tensor: 2.0, int: 3.0}


@whole
def dictionary_under_types(wrap):
    f = wrap(lambda t: t * KNOWN[type(t)] + KNOWN.get(type(t.ndim), 0) + KNOWN.get(str, 1))
    before = calls(f, (x(),))
    KNOWN[torch.Tensor] = 5.0
    try:
        return before + calls(f, (x(),))
    finally:
        KNOWN[torch.Tensor] = 2.0


@case
def elements_that_are_counters(wrap):
    state, same, other = [0, 7], [5, 6], [1, 2]

    def f(t):
        state[0] += 1
        same[0] = 5
        other[-1] = other[-1] * 2
        other.append(other[0])
        return t * (2 if state[0] % 2 == 0 else 3) * state[1] + same[1] + other[1]

    f, out = wrap(f), []
    for i in range(12):
        out.append((freeze(f(x())), list(state), list(same), list(other)))
        if i == 5:
            same[0], state[1] = 9, 8
        del other[2:]
    return out


class Makers(collections.OrderedDict):
    """What is asked for is made of what is held."""

    def __getitem__(self, key):
        make, times = super().__getitem__(key)
        return make(times)

    def __contains__(self, key):
        return super().__contains__(key.lower())


class Doubling(list):
    def __getitem__(self, i):
        return 2 * super().__getitem__(i)

    def append(self, v):
        super().append(v + 1)


class Filling(dict):
    def __missing__(self, key):
        return len(key)

    def __getitem__(self, key):
        return 10 * super().__getitem__(key)

    def __setitem__(self, key, value):
        super().__setitem__(key.upper(), value)


@case
def containers_that_say_otherwise_what_they_hold(wrap):
    makers = Makers(relu=(lambda n: lambda t: t.relu() * n, 2), tanh=(lambda n: lambda t: t.tanh() * n, 3))
    doubling, filling = Doubling([1, 2, 3]), Filling(A=1)

    def f(t, name):
        if "RELU" in makers:
            t = makers[name](t)
        doubling[1] = 7
        filling["b"] = filling["A"] + 1
        own, more = Doubling([4]), Filling(C=2)
        own.append(1)
        more["d"] = 3
        return t * doubling[0] * doubling[-1] + filling["A"] + filling["Abcd"] + own[0] + own[1] + more["C"] + more["D"]

    g = wrap(f)
    out = calls(g, (x(), "relu"), (x(), "tanh"), (x(), "relu"))
    collections.OrderedDict.__setitem__(makers, "relu", (lambda n: lambda t: t * n, 7))
    list.__setitem__(doubling, 0, 8)
    dict.__setitem__(filling, "A", 6)
    return [*out, *calls(g, (x(), "relu"), (x(), "relu")), list(doubling), dict(filling)]

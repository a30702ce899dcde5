"""What other people's libraries do: configurations, outputs that are dictionaries, signatures, messages that are given once."""

import collections
import dataclasses
import functools
import inspect
import logging
import types

import flambeau as torch
from flambeau import nn
from tests.capture.world import case, freeze, whole, x


class Config:
    """Attributes under several names."""

    attribute_map = {"width": "hidden_size"}

    def __init__(self, **values):
        for k, v in values.items():
            setattr(self, k, v)

    def __setattr__(self, key, value):
        if key in super().__getattribute__("attribute_map"):
            key = super().__getattribute__("attribute_map")[key]
        super().__setattr__(key, value)

    def __getattribute__(self, key):
        if key != "attribute_map" and key in super().__getattribute__("attribute_map"):
            key = super().__getattribute__("attribute_map")[key]
        return super().__getattribute__(key)


@whole
def attributes_by_getattribute(wrap):
    config = Config(width=3, flag=True)
    f = wrap(lambda t: t * config.width if getattr(config, "flag", False) else t + getattr(config, "absent", 7))
    out = [freeze(f(x()))]
    config.hidden_size = 5
    out.append(freeze(f(x())))
    config.flag = False
    out.append(freeze(f(x())))
    config.absent = 1
    out.append(freeze(f(x())))
    return out


@whole
def getattribute_then_getattr(wrap):
    class Both:
        def __init__(self):
            self.a = 2

        def __getattribute__(self, name):
            if name == "hidden":
                raise AttributeError(name)
            return object.__getattribute__(self, name)

        def __getattr__(self, name):
            return len(name) + self.a

    both = Both()
    f = wrap(lambda t: t * both.hidden + both.other * both.a)
    out = [freeze(f(x()))]
    both.a = 3
    both.hidden = 100
    out.append(freeze(f(x())))
    return out


@whole
def attributes_written_by_getattribute_classes(wrap):
    config = Config(width=3)

    def f(t):
        config.width = config.width + 1
        return t * config.hidden_size

    g = wrap(f)
    return [freeze(g(x())), freeze(g(x())), vars(config)]


class Output(collections.OrderedDict):
    """A dictionary whose items are attributes, too, and which is indexed as a tuple."""

    def __post_init__(self):
        for f in dataclasses.fields(self):
            v = getattr(self, f.name)
            if v is not None:
                self[f.name] = v

    def __getitem__(self, k):
        return dict(self.items())[k] if isinstance(k, str) else self.to_tuple()[k]

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __setattr__(self, name, value):
        if name in self.keys() and value is not None:
            super().__setitem__(name, value)
        super().__setattr__(name, value)

    def to_tuple(self):
        return tuple(self[k] for k in self.keys())


@dataclasses.dataclass
class Pair(Output):
    first: object = None
    second: object = None
    third: object = None


@whole
def outputs_that_are_dictionaries(wrap):
    f = wrap(lambda t: Pair(first=t + 1, third=[t * 2]))
    out = []
    for n in (2, 3):
        p = f(x(n))
        out += [type(p).__name__, list(p), freeze(p[0]), freeze(p.first), p.second, freeze(p["third"]), list(vars(p))]
    return out


@whole
def containers_of_ones_own(wrap):
    class Names(list):
        label = "n"

    class Bag(set):
        pass

    class Table(dict):
        def __missing__(self, key):
            return -1

    def f(t):
        names, bag, table = Names([1, t * 2]), Bag((3, 4)), Table(a=t)
        names.note = "noted"
        return names, bag, table

    names, bag, table = wrap(f)(x())
    return [type(names).__name__, freeze(list(names)), names.note, names.label, type(bag).__name__, sorted(bag),
            type(table).__name__, freeze(dict(table)), table["z"]]  # fmt: skip


@whole
def classes_as_text(wrap):
    table = {str(Config): 2.0}

    def f(t, kind):
        return t * table.get(str(kind), 3.0), f"{kind}|{kind!r}", repr(kind), str(type(kind).__name__)

    g = wrap(f)
    return [freeze(g(x(), Config)), freeze(g(x(), Pair)), freeze(g(x(), int))]


@whole
def signatures(wrap):
    def inner(a, b=2, *rest, c, **more):
        return a

    class Owner:
        def apply(self, one, two=None):
            return one

    owner = Owner()

    def f(t, fn):
        names = list(inspect.signature(fn).parameters)
        return t * len(names), names

    g = wrap(f)
    wrapped = functools.wraps(inner)(lambda *a, **k: None)
    return [freeze(g(x(), h)) for h in (inner, owner.apply, Owner.apply, wrapped)]


@case
def signatures_that_change(wrap):
    def inner(a, b=2):
        return a

    f = wrap(
        lambda t: t * sum(p.default for p in inspect.signature(inner).parameters.values() if p.default is not p.empty)
    )
    out = [freeze(f(x()))]
    inner.__defaults__ = (5,)
    out.append(freeze(f(x())))
    inner.__defaults__ = (5, 6)
    out.append(freeze(f(x())))
    return out


@case
def messages_that_are_given_once(wrap):
    said = []

    class Log(logging.Logger):
        @functools.lru_cache(None)  # noqa: B019
        def warning_once(self, text):
            said.append(text)

    log = Log("test")

    def f(t, text):
        log.warning_once(text)
        return t + 1

    g = wrap(f)
    out = [freeze(g(x(), "one")), freeze(g(x(), "one")), freeze(g(x(), "two")), freeze(g(x(), "one"))]
    Log.warning_once.cache_clear()
    return [*out, freeze(g(x(), "one")), said]


@case
def remembered_numbers(wrap):
    calls = []

    @functools.cache
    def scale(n):
        calls.append(n)
        return n * 0.5

    f = wrap(lambda t, n: t * scale(n))
    return [*(freeze(f(x(), n)) for n in (2, 2, 3, 2, 4)), calls]


@whole
def long_names(wrap):
    torch.manual_seed(0)
    deep = nn.ModuleList([nn.ModuleDict({"attention_of_a_layer_with_a_long_name": nn.ModuleDict({"projection": nn.Linear(3, 3)})}) for _ in range(3)])  # fmt: skip

    def f(t):
        for layer in deep:
            t = layer["attention_of_a_layer_with_a_long_name"]["projection"](t)
        return t.detach()

    g = wrap(f)
    return [freeze(g(x())), freeze(g(x(3, 1)))]


@whole
def iterators_within_loops(wrap):
    def f(ts):
        out = []
        for i, (a, b) in enumerate(zip(ts, reversed(ts))):
            out.append(a * i + b)
        return out

    g = wrap(f)
    return [freeze(g([x(), x(3, 1)])), freeze(g([x(), x(3, 1), x(3, 2)]))]


@whole
def arguments_bound_to_a_signature(wrap):
    def forward(self, t, scale=2, *rest, mode="a", **more):
        pass

    signature = inspect.signature(forward)

    def f(t, *args, **kwargs):
        bound = signature.bind(None, t, *args, **kwargs)
        bound.apply_defaults()
        return t * bound.arguments["scale"] + (bound.arguments["mode"] == "a") + len(bound.arguments["more"])

    g = wrap(f)
    return [freeze(v) for v in (g(x()), g(x()), g(x(), 5), g(x(), 5, 6), g(x(), mode="b"), g(x(), z=1), g(x()))]


@whole
def read_only_tables(wrap):
    held = {"a": 1.0, "b": 2.0}
    table = types.MappingProxyType(held)

    def f(t):
        for k, v in table.items():
            t = t + v * len(k)
        if "c" in table:
            t = t * 10
        t = t + table["a"] + len(table) + table.get("z", 3) + len({**table}) + sum(dict(table).values())
        return t, list(table), sorted(table.keys())

    g = wrap(f)
    out = [freeze(g(x()))]
    held["a"] = 7.0
    out.append(freeze(g(x())))
    held["c"] = 1.0
    out.append(freeze(g(x())))
    del held["b"]
    out.append(freeze(g(x())))
    table = types.MappingProxyType({"a": 0.5})
    out.append(freeze(g(x())))
    return out


@whole
def messages_with_elements(wrap):
    def check(condition, message):
        if isinstance(message, str) and not callable(message):
            torch._check_tensor_all(condition)

    def f(t):
        n = (t > 0).sum()
        check(t > -100, f"numbers: {n} of {t.shape[0]}, {n!s}")
        return t.type(torch.float64) * 2, t.type(), n

    g = wrap(f)
    return [freeze(g(x())), freeze(g(x(4))), freeze(g(x(4, 2)))]


@case
def texts_with_elements_that_are_looked_at(wrap):
    seen = []

    def compared(t):
        s = f"{t[0]}"
        return t + (s == "2.0") + (s in ("a", "3.0")) + isinstance(s, str)

    def joined(t):
        return t * 2, "a" + f"{t[0]}", f"{t[1]}".upper()

    def kept(t):
        seen.append(f"{t[0]}")
        return t + 1

    def keyed(t):
        return {f"{t[0]}": t + 1}

    def counted(t):
        return t + len(f"{t.sum()}")

    def held(t):
        class Told:
            pass

        told = Told()
        told.text = f"{t[0]}"
        return told.text.upper(), t + 1

    out = []
    for f in (compared, joined, kept, keyed, counted, held):
        g = wrap(f)
        out += [freeze(g(x(3, n))) for n in (2, 2, 3)]
    return [*out, list(seen)]

"""Programs as people write them, whose state changes between calls: defaults, closures, generators, remembered results, exceptions."""

import collections
import contextlib
import functools
import itertools
import math
import operator

import flambeau as torch
from flambeau.nn import functional as F
from tests.capture.world import case, x


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
def stars_everywhere(wrap):
    def inner(first, *rest, key=1.0, **more):
        return first * key + sum(rest) + sum(v * len(k) for k, v in more.items())

    def f(*args, **kwargs):
        head, *middle, tail = args
        return inner(head, *middle, *[tail], **{**kwargs, "z": 2.0})

    g = wrap(f)
    return [g(x(), 1.0, x(3, 1)), g(x(), x(), key=3.0), g(x(), 1, 2, 3, abc=0.5), g(x(), 2.0, x(3, 1))]


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

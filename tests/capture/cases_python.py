"""The language: generators, closures made inside, with, try, f-strings, matching, unpacking, recursion, itertools."""

import contextlib
import functools
import itertools
import operator

import flambeau as torch
from tests.capture.world import case, twice, whole, x


@whole
def generators(wrap):
    def gen(t, n):
        for i in range(n):
            got = yield t * i
            if got is not None:
                yield got

    def f(t):
        g = gen(t, 3)
        first = next(g)
        sent = g.send(t + 9)
        rest = list(g)
        g.close()
        return first, sent, rest, sum(gen(t, 3), torch.zeros(3))

    return twice(wrap(f), x())


@whole
def yield_from(wrap):
    def inner(t):
        _ = yield t
        yield t + 1
        return 7

    def outer(t):
        v = yield from inner(t)
        yield t * v

    return twice(wrap(lambda t: list(outer(t))), x())


@whole
def generator_expression_arguments(wrap):
    f = wrap(lambda t, n: torch.stack([*(t * i for i in range(n))]).sum(0) + max(i for i in range(n)))
    return [f(x(), 2), f(x(), 3), f(x(), 2)]


@whole
def context_managers(wrap):
    log = []

    @contextlib.contextmanager
    def scope(name):
        log.append("in " + name)
        try:
            yield name * 2
        finally:
            log.append("out " + name)

    def f(t):
        with scope("a") as n, scope("b"):
            t = t + len(n)
        return t

    return twice(wrap(f), x()), log


@whole
def context_manager_swallows(wrap):
    def f(t):
        with contextlib.suppress(ValueError):
            t = t + 1
            raise ValueError
        return t

    return twice(wrap(f), x())


@whole
def exceptions(wrap):
    log = []

    def f(t, k):
        try:
            if k == 0:
                raise KeyError("k")
            if k == 1:
                {}["missing"]
            t = t / k
        except KeyError as e:
            log.append(str(e))
            return t - 1
        except (TypeError, ZeroDivisionError):
            return t
        else:
            t = t * 2
        finally:
            log.append("done")
        return t

    f = wrap(f)
    return [f(x(), k) for k in (0, 1, 2, 0, 1, 2)], log


@whole
def exception_from_a_call(wrap):
    class Mine(Exception):
        def __init__(self, n):
            super().__init__(n)
            self.n = n

    def g(t, n):
        if n > 1:
            raise Mine(n)
        return t

    def f(t, n):
        try:
            return g(t, n) + 1
        except Mine as e:
            return t * e.n

    f = wrap(f)
    return [f(x(), n) for n in (1, 2, 3, 1)]


@whole
def reraised(wrap):
    def f(t):
        try:
            try:
                raise ValueError("a")
            except ValueError as e:
                raise RuntimeError("b") from e
        except RuntimeError as e:
            return t + len(str(e.__cause__))

    return twice(wrap(f), x())


@whole
def strings(wrap):
    def f(t, n, name):
        key = f"{name}-{n:03d}" + "%s_%d" % (name, n) + "{}".format(n).upper()  # noqa: UP031, UP032
        return {key: t, "shape": f"{tuple(t.shape)}", "parts": key.split("-"), "j": ",".join(str(i) for i in range(n))}

    f = wrap(f)
    return [f(x(), 3, "a"), f(x(), 4, "a"), f(x(), 3, "b")]


@whole
def matching(wrap):
    def f(t, v):
        match v:
            case 0:
                return t
            case [a, b]:
                return t * a + b
            case {"k": k, **rest}:
                return t * k + len(rest)
            case str() as s if s:
                return t + len(s)
            case _:
                return t - 1

    f = wrap(f)
    return [f(x(), v) for v in (0, [1, 2], {"k": 3, "z": 1}, "abc", "", 1.5)]


@whole
def unpacking(wrap):
    def f(ts):
        a, *b, c = ts
        (d, e), g = (a, c), b
        m = {**{"a": a}, "n": len(g)}
        return [*b, d + e, m["n"]]

    return twice(wrap(f), [x(), x(3, 1), x(3, 2), x(3, 3)])


@whole
def closures_made_inside(wrap):
    def f(t):
        n = 0

        def bump(k=2):
            nonlocal n
            n += k
            return t * n

        a = bump()
        b = bump(k=3)
        return a, b, n, [g(t) for g in [lambda v, i=i: v * i for i in range(3)]]

    return twice(wrap(f), x())


@whole
def closure_returned(wrap):
    def f(t):
        k = t * 2

        def g(v):
            return v + k

        return g

    f = wrap(f)
    f(x())
    return f(x())(x()), f(x(3, 1))(x())


@whole
def functions_returned(wrap):
    f = wrap(lambda t: (functools.partial(torch.add, t), t.sum, max))
    f(x())
    a, b, c = f(x())
    return a(x()), c(1, 2)


@whole
def iteration_tools(wrap):
    def f(t, n):
        out = [t * a + b for a, b in itertools.product(range(n), [1, 2])]
        out += [t + v for v in itertools.chain([1], (2, 3))]
        out += [t * a for a in itertools.islice(itertools.count(5), 2)]
        out.append(functools.reduce(operator.add, out))
        out += [a + b for a, b in itertools.pairwise([t, t + 1, t + 2])]
        return out

    f = wrap(f)
    return [f(x(), 2), f(x(), 3)]


@whole
def tensor_iteration(wrap):
    f = wrap(lambda t: [r * i for i, r in enumerate(t)] + list(t) + [a for (a,) in [t[:1]]])
    return [f(x()), f(x(4)), f(x())]


@whole
def while_and_else(wrap):
    def f(t, n):
        while n > 0:
            n -= 1
            if n == 5:
                break
            if n % 2:
                continue
            t = t + n
        else:
            t = t * 2
        for _ in range(2):
            pass
        else:
            t = t - 1
        return t

    f = wrap(f)
    return [f(x(), n) for n in (3, 4, 7, 3)]


@whole
def integer_arithmetic(wrap):
    f = wrap(
        lambda t, n: (
            t * (n // 2) + (n % 3) - (n << 1) + (-n) ** 2 + (n & 3) + abs(-n) + divmod(n, 4)[1] + round(n / 3, 1)
        )
    )
    return [f(x(), n) for n in (1, 2, 3, 4, 5, 1)]


@whole
def shapes_are_numbers(wrap):
    def f(t):
        b, d = t.shape
        h = d // 2
        return (
            t.view(b, 2, h).transpose(1, 2).reshape(-1, 2),
            t.size(0) * d,
            torch.zeros(b, h),
            [*t.shape],
            t.shape[-1:],
        )

    f = wrap(f)
    return [f(x(8).reshape(2, 4)), f(x(8).reshape(4, 2)), f(x(8).reshape(2, 4))]


@whole
def conditional_expressions(wrap):
    f = wrap(lambda t, a, b: [t if a and b else None, (a or b) and t, not a, a is None, t if not (a and not b) else -t])
    return [f(x(), a, b) for a in (None, 1) for b in (0, 2)]


@whole
def deleted_names(wrap):
    def f(t):
        a = t + 1
        b = a * 2
        del a
        try:
            a  # noqa: B018, F821
        except UnboundLocalError:
            b = b + 100
        return b

    return twice(wrap(f), x())


@whole
def nested_functions_deep(wrap):
    def level(n):
        return (lambda t: level(n - 1)(t) + n) if n else (lambda t: t * 2)

    f = wrap(lambda t, n: level(n)(t))
    return [f(x(), 2), f(x(), 5)]


@whole
def assertions(wrap):
    def f(t, n):
        assert n < 3, "too many"
        return t * n

    f = wrap(f)
    return [f(x(), 1), f(x(), 2)]


@case
def failing_assertion(wrap):
    def f(t, n):
        assert n < 3, f"too many: {n}"
        return t * n

    f = wrap(f)
    out = [f(x(), 1)]
    for _ in range(2):
        try:
            f(x(), 4)
        except AssertionError as e:
            out.append(str(e))
    return out


@whole
def keyword_only_and_star(wrap):
    def g(*args, scale=1.0, **kw):
        return sum(args) * scale + kw.get("bias", 0)

    f = wrap(lambda t, **kw: g(t, t, **kw))
    return [f(x()), f(x(), scale=2.0), f(x(), bias=1), f(x(), bias=x())]


@whole
def rearrange_like(wrap):
    """What einops-style helpers do: parse a pattern, then reshape and permute."""

    def rearrange(t, pattern, **sizes):
        left, right = (side.split() for side in pattern.split("->"))
        order = [left.index(name) for name in right]
        sizes.update(zip(left, t.shape, strict=True))
        return t.permute(order).reshape([sizes[n] for n in right])

    f = wrap(lambda t: rearrange(t, "a b -> b a"))
    return [f(x(6).reshape(2, 3)), f(x(6).reshape(3, 2))]


@whole
def isinstance_tuples(wrap):
    f = wrap(lambda t, v: t * 2 if isinstance(v, (int, float)) else t if isinstance(v, str) else t - 1)
    return [f(x(), v) for v in (1, 1.0, "a", None, True)]


@whole
def star_imports_of_results(wrap):
    f = wrap(lambda t: dict(a=t, **{"b": t + 1}) | {"c": 3})
    return twice(f, x())


@whole
def sort_with_key(wrap):
    f = wrap(lambda t, names: [t * len(n) for n in sorted(names, key=len)] + sorted(names, reverse=True))
    return [f(x(), ["aa", "b"]), f(x(), ["ccc", "b", "aa"])]


@whole
def type_of(wrap):
    f = wrap(lambda t, v: (type(v).__name__, t, type(t) is torch.Tensor, callable(v), repr(v)))
    return [f(x(), 1), f(x(), "a"), f(x(), 1.0)]

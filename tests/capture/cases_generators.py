"""Containers in another order, aliased, or assigned in slices; generators from outside, left half way, and sent to."""

import collections.abc

from tests.capture.world import calls, case, freeze, x


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


class Numbers(collections.abc.Sequence):
    """Iterated over by a generator of its base class that waits in a try."""

    def __init__(self, *numbers):
        self.numbers = numbers

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, i):
        return self.numbers[i]


Wrong = (KeyError, ValueError)


@case
def generators_left_in_a_try_that_asks_for_something_else(wrap):
    log = []

    def plain():
        try:
            try:
                yield 5
            except (KeyError, IndexError):
                log.append("key")
        except ValueError:
            log.append("value")

    def any_at_all():
        try:
            try:
                yield 6
            except KeyError:
                log.append("key")
        except BaseException:
            log.append("left")
            raise

    def by_a_name():
        try:
            yield 7
        except Wrong:
            log.append("wrong")

    def f(t, numbers):
        for n in numbers:
            t = t * n
            if n > 1:
                break
        return t * next(plain()) + next(by_a_name())

    def g(t):
        return t * next(any_at_all())

    f, g = wrap(f), wrap(g)
    return [*calls(f, (x(), Numbers(1, 2, 3)), (x(), Numbers(2, 2))), *calls(g, (x(),), (x(),)), log]


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
def coroutines_are_left_alone(wrap):
    async def f(t):
        return t * 2

    coroutine = wrap(f)(x())
    try:
        coroutine.send(None)
    except StopIteration as e:
        return freeze(e.value)

"""Contexts, variables of contexts and threads, exceptions among effects, randomness, defaults and modes that change, prints."""

import contextlib
import contextvars
import random
import threading

import flambeau as torch
from tests.capture.world import calls, case, freeze, x

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


class Held(threading.local):
    k = 2
    seen = ()


HELD = Held()


@case
def attributes_of_threads_that_their_class_has_too_and_that_come_and_go(wrap):
    HELD.__dict__.clear()

    def f(t):
        return t * HELD.k * getattr(HELD, "more", 10)

    g = wrap(f)
    out = calls(g, (x(),), (x(),))
    HELD.k = 3
    out += calls(g, (x(),))
    HELD.more = 7
    out += calls(g, (x(),), (x(),))
    found = []
    thread = threading.Thread(target=lambda: found.extend(calls(g, (x(),))))
    thread.start()
    thread.join()
    del HELD.more
    return [*out, *found, *calls(g, (x(),))]


@case
def attributes_of_threads_that_are_written(wrap):
    HELD.__dict__.clear()

    def f(t):
        HELD.seen = (*HELD.seen, "f")
        t = t * len(HELD.seen)
        del HELD.seen
        HELD.k += 1
        return t * HELD.k

    g = wrap(f)
    return [*calls(g, (x(),), (x(),)), HELD.k, HELD.seen]


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

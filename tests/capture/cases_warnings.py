"""Warnings that functions give: where, under which filters, how often."""

import warnings

import flambeau as torch
from tests.capture.world import case, freeze, whole, x


def told(f, *calls, action="always"):
    """What f gives, and what it warns of."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter(action)
        out = [freeze(f(*args)) for args in calls]
    return out, [(str(w.message), w.category.__name__, w.filename, w.lineno) for w in seen]


def careful(t):
    warnings.warn("here")
    warnings.warn("the caller", DeprecationWarning, stacklevel=2)
    warnings.warn(RuntimeWarning("its caller"), stacklevel=3)
    return t + 1


@whole
def places(wrap):
    def f(t):
        return careful(t) * 2

    return told(wrap(f), (x(),), (x(),))


@whole
def once_for_each_line(wrap):
    globals().pop("__warningregistry__", None)
    f = wrap(lambda t: careful(t) * 3)
    return told(f, (x(),), (x(),), action="default")[1][:1], told(f, (x(),), action="default")


@whole
def texts_of_sizes(wrap):
    def f(t):
        if t.shape[0] > 3:
            warnings.warn(f"{t.shape[0]} rows")
        return t.sum()

    return told(wrap(f), (x(3),), (x(4),), (x(5),), (x(5),), (x(2),))


@case
def errors(wrap):
    f = wrap(careful)
    out = [told(f, (x(),))]
    for kind in (UserWarning, DeprecationWarning, ImportWarning):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", kind)
            try:
                out.append(freeze(f(x())))
            except Warning as w:
                out.append(repr(w))
    return out


@whole
def ignored_inside(wrap):
    def f(t):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            t = careful(t)
        return t * 2

    f = wrap(f)
    before = list(warnings.filters)
    out = told(f, (x(),), (x(),))
    return out, warnings.filters == before


@case
def recorded_inside(wrap):
    def f(t):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            t = careful(t)
        return t * len(seen)

    f = wrap(f)
    return [freeze(f(x())), freeze(f(x()))]


@case
def with_values(wrap):
    def f(t):
        s = t.sum()
        if s > 0:
            warnings.warn(f"positive: {s.item()}")
        return t * 2

    return told(wrap(f), (x(),), (torch.ones(3),), (x(),))

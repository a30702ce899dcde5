"""Numbers that change from call to call: where they are refused, where the kind of a result depends on them, where a body asks what they are."""

import math
import warnings

import pytest

import flambeau as torch
import flambeau.nn.functional as F


def outcome(fn, *args):
    try:
        return fn(*args)
    except Exception as error:
        return type(error), str(error)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype is b.dtype and torch.allclose(a, b, equal_nan=True)
    return repr(a) == repr(b)


def check(fn, numbers, dynamic=None, few=True):
    """As eager for each number, there and back, at two sizes; captured a few times only."""
    torch._dynamo.reset()
    compiled = torch.compile(fn, dynamic=dynamic)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if few else "ignore")
        for a in (*numbers, *reversed(numbers)):
            for n in (5, 6):
                x, y = (torch.linspace(-2, 2, n) for _ in range(2))
                expected, found = outcome(fn, x, a), outcome(compiled, y, a)
                assert same(expected, found) and same(x, y), (a, n, expected, found)


def attempt(number, error):
    def fn(x, a):
        x.add_(1)
        try:
            scale = number(a)
        except error:
            scale = 100.0
        return x * scale

    return fn


def after_a_write(x, a):
    x.add_(1)
    return x * math.log(a)


both = pytest.mark.parametrize("dynamic", [None, True])


@both
def test_what_refuses_a_number_raises_where_eager_does(dynamic):
    check(attempt(math.sqrt, ValueError), (1.0, 2.0, 3.0, -1.0, 4.0, -2.0), dynamic)
    check(attempt(lambda a: 1 / a, ZeroDivisionError), (1.0, 2.0, 3.0, 0.0, 4.0), dynamic)
    check(attempt(lambda a: 7 % a, ZeroDivisionError), (2, 3, 4, 0, 5), dynamic)
    check(attempt(lambda a: 7 // a, ZeroDivisionError), (0, 3, 4, 0, 5), dynamic)
    check(attempt(lambda a: math.exp(a * 100), OverflowError), (1.0, 2.0, 90.0, 3.0), dynamic)
    check(attempt(lambda a: 10.0**a, OverflowError), (1.0, 2.0, 900.0, 3.0), dynamic)
    check(attempt(math.ceil, (OverflowError, ValueError)), (1.5, 2.5, math.inf, 3.5, math.nan), dynamic)
    check(after_a_write, (1.0, 2.0, 3.0, -1.0, 0.0, 4.0), dynamic, few=False)  # a call that raises is a capture, too


@both
def test_powers_are_of_the_kind_that_the_numbers_make_them(dynamic):
    check(lambda x, a: x * a**0.5, (4.0, 9.0, 16.0, -4.0, 25.0), dynamic, few=False)
    check(lambda x, a: x * a**0.5, (-4.0, -9.0, 16.0, 4.0, -25.0), dynamic, few=False)
    check(lambda x, a: x.long() * 2**a, (1, 2, 3, -1, -2, 4), dynamic)
    check(lambda x, a: x.long() * 2**a, (-1, -2, 3, 1), dynamic)
    check(lambda x, a: x * ((-2.0) ** a), (1.0, 2.0, 3.0, 4.0), dynamic)
    check(lambda x, a: x * ((-2) ** a), (1, 2, 3, 4), dynamic)


def square(x):
    return x[:4].view(2, 2)


PRODUCTS = {
    "addmm": lambda x, a: torch.addmm(x[:1] * math.nan, square(x), square(x), beta=a),
    "addmm_alpha": lambda x, a: torch.addmm(x[:1], square(x), square(x), alpha=a, beta=a),
    "addmv": lambda x, a: torch.addmv(x[:2] * math.nan, square(x), x[:2], beta=a),
    "addr": lambda x, a: torch.addr(x[:1] * math.nan, x[:4], x[:4], beta=a),
    "baddbmm": lambda x, a: torch.baddbmm(x[:1] * math.nan, square(x)[None], square(x)[None], beta=a),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_is_taken_not_at_all_does_not_matter(name):
    check(PRODUCTS[name], (0.1, 0.2, 0.3, 0.0, 1.0, 0.5))


PIECEWISE = {
    "softplus": F.softplus,
    "softplus_threshold": lambda x, a: F.softplus(x, 1, a),
    "hardshrink": F.hardshrink,
    "softshrink": F.softshrink,
    "hardtanh": lambda x, a: F.hardtanh(x, a, 0.5),
    "threshold": lambda x, a: F.threshold(x, a, a),
    "logit": lambda x, a: torch.logit(x / 4 + 0.5, a),
    "smooth_l1": lambda x, a: F.smooth_l1_loss(x, x * 1.5, beta=a),
    "dropout": lambda x, a: F.dropout(x, a, False),
    "lerp": lambda x, a: torch.lerp(x, x * 2, a),
    "elu": F.elu,
}


@both
@pytest.mark.parametrize("name", PIECEWISE)
def test_limits_that_change(name, dynamic):
    check(PIECEWISE[name], (0.1, 0.2, 0.3, 0.0, 0.45), dynamic)


def test_a_count_among_milestones():
    milestones = {3: 2.0, 7: 3.0}
    captures = []

    def fn(x, n):
        if n in milestones:
            return x * milestones[n]
        return x - 1 if n in {5, 50} else x + n

    compiled = torch.compile(lambda x, n: fn(x, n), backend=lambda gm, inputs: captures.append(gm) or gm.forward)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(1, 40):
            assert torch.equal(compiled(torch.ones(3), n), fn(torch.ones(3), n))
        assert len(captures) <= 6
        milestones[20] = 5.0
        assert torch.equal(compiled(torch.ones(3), 20), torch.ones(3) * 5)

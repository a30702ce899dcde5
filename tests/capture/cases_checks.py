"""Errors that are raised for what tensors hold: a program runs as if there were none, and is looked at before it has effects."""

import flambeau as torch
from flambeau import distributions, nn
from tests.capture.world import case, freeze, near, whole, x


def tried(f, *calls):
    """What f gives, or the error."""
    out = []
    for args in calls:
        try:
            out.append(freeze(f(*args)))
        except (ValueError, AssertionError, IndexError) as error:
            out.append(repr(error))
    return out


@case
def assertions(wrap):
    def f(t):
        assert (t > 0).all(), "positive"
        if t.sum() > 100:
            raise ValueError(f"large: {t.shape}")
        return t * 2

    t = torch.arange(1.0, 4.0)
    return tried(wrap(f), (t,), (t + 1,), (-t,), (t * 50,), (t,))


@whole
def assertions_that_hold(wrap):
    def f(t):
        assert torch.isfinite(t).all()
        if t.isnan().any():
            raise ValueError("no number")
        return t.sin()

    f = wrap(f)
    return [freeze(f(x())), freeze(f(x() + 1)), freeze(f(x() + 2))]


@case
@near
def parameters_of_distributions(wrap):
    def f(mean, scale):
        d = distributions.Normal(mean, scale)
        return d.log_prob(mean + 1), d.rsample(), torch.rand(2)

    torch.manual_seed(0)
    f, out = wrap(f), []
    for scale in (1.0, 2.0, -1.0, 3.0):
        out += [tried(f, (x(), torch.full((3,), scale))), torch.rand(2)]
    return out


@case
def effects_before_errors(wrap):
    log, weight = [], nn.Parameter(torch.ones(3))

    def f(t):
        log.append(float(len(log)))
        y = t * weight
        if (y < 0).any():
            raise ValueError("negative")
        log.append("after")
        y.sum().backward()
        return y.detach()

    t = torch.ones(3)
    return tried(wrap(f), (t,), (t * 2,), (-t,), (t,)), log, freeze(weight.grad)


@case
def errors_that_are_caught(wrap):
    def f(t):
        try:
            if t.min() < 0:
                raise ValueError("negative")
            return t + 1
        except ValueError:
            return -t

    f, t = wrap(f), torch.ones(3)
    return [freeze(f(t)), freeze(f(t * 2)), freeze(f(-t)), freeze(f(t))]


@case
def checks_before_what_would_fail(wrap):
    def f(t, i):
        if (i >= t.shape[0]).any():
            raise ValueError("outside")
        return torch.index_select(t, 0, i)

    f = wrap(f)
    return tried(f, *((x(5), torch.tensor(i)) for i in ([0, 1], [4, 2], [5, 0], [3, 3], [9, 9])))


@case
def checks_of_what_is_written(wrap):
    total = torch.zeros(3)

    def f(t):
        total.add_(t)
        if (total > 4).any():
            raise ValueError("full")
        return total * 1

    t = torch.ones(3)
    return tried(wrap(f), *[(t,)] * 6), total


@whole
def checks_in_programs_that_write(wrap):
    total, log = torch.zeros(3), []

    def f(t):
        total.add_(t)
        log.append("before")
        if t.isnan().any():
            raise ValueError("not a number")
        total.mul_(2)
        log.append("after")
        return total + torch.rand(3)

    f, out = wrap(f), []
    torch.manual_seed(0)
    for t in (x(), x(), x() / 0 * 0, x(3, 1), x() / 0 * 0, x()):
        try:
            out.append(freeze(f(t)))
        except ValueError as e:
            out.append(str(e))
        total.nan_to_num_()
    return out, log, total, torch.rand(2)

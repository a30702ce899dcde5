"""Calls that come again: their own functions answer as the general lane does."""

import threading

import pytest

import flambeau
from flambeau._eager import planned
from tests.agree import rand

CALLS = {
    "scaled": lambda t, x, y, n: [x.add(y, alpha=2), x.sub(y, alpha=-0.5), t.add(n, n, alpha=3), t.addcmul(x, y, y, value=0.5)],
    "mixed": lambda t, x, y, n: [x + y.double(), n + x, x * n, n / 2, n * 1.5, n.byte() + n, n > x, t.where(x > y, x, y.double())],
    "limits": lambda t, x, y, n: [x.clamp(-1, 1), x.clamp(min=0), x.clamp(max=y), n.clamp(1, 3), n.clamp(0.5, 2)],
    "scalars": lambda t, x, y, n: [x + t.tensor(2.0).double(), n + t.tensor(1.5), x[0, 0] * n, x.double() + n[0, 0]],
    "sums": lambda t, x, y, n: [n.sum(), (n > 1).sum(0), n.prod(), n.cumsum(1), n.sum(1, keepdim=True), n.sum(dtype=t.float32)],
    "layouts": lambda t, x, y, n: [x.T.add(y.T, alpha=2), x[::2, 1::3].clamp(0, 1), (x.T + n.T).contiguous(), x[:, :1].add(y, alpha=2)],
    "out": lambda t, x, y, n: [t.add(x, y, out=t.empty(4, 6)), t.add(n, x, out=t.empty(4, 6, dtype=t.float64)), t.gt(x, 0, out=t.empty(4, 6) > 0)],
    "in place": lambda t, x, y, n: [x.clone().add_(y, alpha=2), x.clone().clamp_(0, 1), x.double().add_(n), n.clone().clamp_(1, 2), x.clone().T.lerp_(y.T, 0.5), x.clone().nan_to_num_()],
    "limits of the dtype": lambda t, x, y, n: [(x / 0).nan_to_num(), (x.double() / 0).nan_to_num(), (x / 0).clone().nan_to_num_(1.0)],
    "nothing": lambda t, x, y, n: [x[:0].add(y[:0], alpha=2), n[:0].sum(), x[:0].double() + n[:0]],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_again(agree, name):
    """The tenth call, by a function of its own, gives what PyTorch gives; so does its derivative."""

    def calls(t, x, y):
        n = (x * 4).detach().to(t.int64)
        for _ in range(planned.AFTER + 2):
            found = CALLS[name](t, x, y, n)
        return found

    agree(calls, rand(4, 6), rand(4, 6), grads=0 if name in ("out", "in place", "limits of the dtype") else 1)


def test_history(agree):
    def again(t, x, y):
        for _ in range(planned.AFTER + 2):
            found = x.add(y, alpha=2) * x.clamp(-0.5, 0.5) + t.lerp(x, y, 0.3) + t.addcmul(x, y, y, value=2)
        return found

    agree(again, rand(3, 5), rand(3, 5), grads=2)


def test_refused(agree):
    """What only values and memory tell is refused by the tenth call, too."""

    def calls(t, x, y, bad):
        for _ in range(planned.AFTER + 2):
            x.add(y, alpha=2)
            x.add_(y, alpha=2)
            t.add(x, y, out=y)
        return bad(t, x, y)

    agree(
        lambda t, x, y: calls(t, x, y, lambda t, x, y: x.add(y[:, :2], alpha=2)),
        rand(3, 5),
        rand(3, 5),
        raises=RuntimeError,
    )
    agree(
        lambda t, x, y: calls(t, x, y, lambda t, x, y: x[1:].add_(x[:-1], alpha=2)),
        rand(3, 5),
        rand(3, 5),
        raises=RuntimeError,
    )
    agree(
        lambda t, x, y: calls(t, x, y, lambda t, x, y: x[0].add_(y, alpha=2)),
        rand(3, 5),
        rand(3, 5),
        raises=RuntimeError,
    )
    agree(
        lambda t, x, y: calls(t, x, y, lambda t, x, y: x.requires_grad_().add_(y, alpha=2)),
        rand(3, 5),
        rand(3, 5),
        raises=RuntimeError,
    )


def test_kinds():
    """Default dtypes, inference mode, vmap and subclasses are kinds of their own; threads share functions."""
    t = flambeau
    n, x = t.arange(6).reshape(2, 3), t.linspace(-1, 1, 6).reshape(2, 3)
    for _ in range(20):
        assert (n + 0.5).dtype is t.float32
        assert x.add(x, alpha=2).dtype is t.float32
    t.set_default_dtype(t.float64)
    try:
        for _ in range(20):
            assert (n + 0.5).dtype is t.float64
    finally:
        t.set_default_dtype(t.float32)
    with t.inference_mode():
        assert x.add(x, alpha=2).is_inference()
    assert t.func.vmap(lambda v: v.add(v, alpha=2))(x).tolist() == x.add(x, alpha=2).tolist()
    assert t.func.jvp(lambda v: v.add(v, alpha=2), (x,), (x,))[1].tolist() == x.add(x, alpha=2).tolist()
    assert t.func.grad(lambda v: v.add(v, alpha=2).sum())(x).tolist() == [[3.0] * 3] * 2

    class Mine(t.Tensor):
        pass

    assert type(x.as_subclass(Mine).add(x, alpha=2)) is Mine
    with t.autocast("cpu"):
        assert x.add(x, alpha=2).dtype is t.float32
    results = []
    work = lambda: results.append([x.clamp(k / 100, 1).sum().item() for k in range(200)])
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(r == results[0] for r in results)


def test_versions():
    """What is written in place is counted, and what was saved of it before is found stale."""
    t = flambeau
    x = t.ones(3)
    for k in range(20):
        x.add_(x, alpha=0.5)
        assert x._version == k + 1
    w = t.ones(3, requires_grad=True)
    y = w * 2
    z = (y * y).sum()
    with t.no_grad():
        y.add_(1.0, alpha=0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()

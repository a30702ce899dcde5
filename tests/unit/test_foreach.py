"""Operators over lists of tensors, and the optimizers' steps over lists: PyTorch's numbers and refusals."""

import numpy as np
import pytest

from flambeau._operators import foreach


def lists(fl, *seeds):
    return [
        [fl.from_numpy(np.random.default_rng([s, i]).uniform(0.2, 0.9, n).astype("f4")) for i, n in enumerate((3, 4))]
        for s in seeds
    ]


def both(fl, name, xs, *args, **kwargs):
    """The results of the plain form and of the one in place, and what they are collected in."""
    plain = getattr(fl, f"_foreach_{name}")(xs, *args, **kwargs)
    copies = [x.clone() for x in xs]
    there = getattr(fl, f"_foreach_{name}_")(copies, *args, **kwargs)
    return type(plain).__name__, list(plain), type(there).__name__, copies


@pytest.mark.parametrize("name", foreach.UNARY)
def test_of_one_list(agree, name):
    agree(lambda fl: both(fl, name, *lists(fl, 0)))


@pytest.mark.parametrize("name", [*foreach.SCALED, *foreach.BINARY])
@pytest.mark.parametrize("kind", ["list", "number", "numbers"])
def test_of_two(agree, name, kind):
    def program(fl):
        xs, ys = lists(fl, 0, 1)
        return both(fl, name, xs, {"list": ys, "number": 0.5, "numbers": [0.5, 2.0]}[kind])

    agree(program)


@pytest.mark.parametrize("name", foreach.TERNARY)
@pytest.mark.parametrize("value", [0.5, [0.5, 2.0], "tensor"])
def test_of_three(agree, name, value):
    agree(lambda fl: both(fl, name, *lists(fl, 0, 1, 2), fl.tensor([0.5, 2.0]) if value == "tensor" else value))


OTHERS = {
    "alpha": lambda fl, xs, ys: fl._foreach_add(xs, ys, alpha=2),
    "tensor": lambda fl, xs, ys: fl._foreach_mul(xs, fl.tensor(3.0)),
    "lerp": lambda fl, xs, ys: both(fl, "lerp", xs, ys, 0.25),
    "lerp list": lambda fl, xs, ys: both(fl, "lerp", xs, ys, [0.25, 0.75]),
    "norm": lambda fl, xs, ys: [*fl._foreach_norm(xs), *fl._foreach_norm(xs, 1), *fl._foreach_norm(xs, float("inf"))],
    "max": lambda fl, xs, ys: list(fl._foreach_max(xs)),
    "power": lambda fl, xs, ys: list(fl._foreach_pow(2.0, xs)),
    "copy": lambda fl, xs, ys: (fl._foreach_copy_(xs, ys), xs),
    "zero": lambda fl, xs, ys: (fl._foreach_zero_(xs), xs),
    "counters": lambda fl, xs, ys: (fl._foreach_add_(xs, 1), xs[0]._version),
}


@pytest.mark.parametrize("case", OTHERS)
def test_others(agree, case):
    agree(lambda fl: OTHERS[case](fl, *lists(fl, 0, 1)))


REFUSED = {
    "empty": lambda fl, xs, ys: fl._foreach_abs([]),
    "lengths": lambda fl, xs, ys: fl._foreach_add(xs, ys[:1]),
    "numbers": lambda fl, xs, ys: fl._foreach_add(xs, [1.0]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(agree, case):
    agree(lambda fl: str(REFUSED[case](fl, *lists(fl, 0, 1))), raises=RuntimeError)


@pytest.mark.parametrize("name", ["_fused_adam_", "_fused_adamw_"])
@pytest.mark.parametrize("options", [{}, {"amsgrad": True, "weight_decay": 0.1}, {"maximize": True, "beta1": 0.3}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fused_adam(agree, name, options, dtype):
    def program(fl):
        shapes = [(3, 4), (5,), (), *[(2,)] * 8]
        rng = np.random.default_rng(0)
        params = [fl.from_numpy(rng.standard_normal(s).astype(dtype).reshape(s)) for s in shapes]
        count = 3 if options.get("amsgrad") else 2
        states = [[fl.zeros_like(p) for p in params] if i < count else [] for i in range(3)]
        steps = [fl.tensor(0.0) for _ in params]
        kwargs = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0, "eps": 1e-8}
        kwargs = {**kwargs, "amsgrad": False, "maximize": False, **options}
        with fl.no_grad():
            for _ in range(25):  # by NumPy first, then compiled
                grads = [p - 0.3 for p in params]
                fl._foreach_add_(steps, 1)
                getattr(fl, name)(params, grads, *states, steps, **kwargs)
        return params, states

    agree(program)


def test_both_ways_give_the_same_bits(monkeypatch):
    import flambeau as fl
    from flambeau._eager import fused

    def run(worth):
        monkeypatch.setattr(fused, "WORTH", worth)
        monkeypatch.setattr(fused, "_steps", {})
        p = fl.linspace(-1, 1, 100)
        m, v, t = fl.zeros_like(p), fl.zeros_like(p), fl.tensor(0.0)
        with fl.no_grad():
            for _ in range(20):
                fl._foreach_add_([t], 1)
                fl._fused_adam_([p], [p.sin()], [m], [v], [], [t], lr=0.01, beta1=0.9, beta2=0.999, weight_decay=0.1,
                                eps=1e-8, amsgrad=False, maximize=False)  # fmt: skip
        return p, m, v

    assert all(fl.equal(a, b) for a, b in zip(run(1), run(10**9), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
                                     {"momentum": 0.8, "dampening": 0.3, "maximize": True}, {"weight_decay": 0.2}])  # fmt: skip
def test_sgd_steps_lists_as_it_steps_one(monkeypatch, dtype, options):
    import flambeau as fl
    from flambeau.optim import sgd

    def run(listed):
        if not listed:
            monkeypatch.setattr(sgd, "_listed", lambda *args: False)
        shapes = [(3, 4), (), (20_000,), (7,), (2, 3, 4)]
        ps = [fl.linspace(-1, 1, int(np.prod(s)), dtype=getattr(fl, dtype)).reshape(s).requires_grad_() for s in shapes]
        optimizer = fl.optim.SGD(ps, lr=0.05, **options)
        for _ in range(4):
            optimizer.zero_grad()
            sum((p.sin() * p).sum() for p in ps).backward()
            optimizer.step()
        return [*ps, *(s["momentum_buffer"] for s in optimizer.state.values() if s.get("momentum_buffer") is not None)]

    assert all(fl.equal(a, b) for a, b in zip(run(True), run(False), strict=True))


def test_clipping_scales_lists():
    import flambeau as fl

    ps = [fl.ones(n, requires_grad=True) for n in (3, 9000, 1)]
    for i, p in enumerate(ps):
        p.grad = fl.full_like(p, i + 1.0)
    ps[1].grad = fl.full((2, 9000), 2.0)[:, :][1]  # a view
    before = [p.grad._version for p in ps]
    total = fl.nn.utils.clip_grad_norm_(ps, 1.0)
    factor = (1.0 / (total + 1e-6)).clamp(max=1.0)
    assert all(fl.equal(p.grad, fl.full_like(p, i + 1.0) * factor) for i, p in enumerate(ps))
    assert all(p.grad._version == v + 1 for p, v in zip(ps, before, strict=True))


def test_a_leaf_that_requires_grad_is_refused():
    import flambeau as fl

    p = fl.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        fl._fused_adam_([p], [p.detach()], [fl.zeros(2)], [fl.zeros(2)], [], [fl.tensor(1.0)], lr=0.1, beta1=0.9, beta2=0.9,
                        weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False)  # fmt: skip

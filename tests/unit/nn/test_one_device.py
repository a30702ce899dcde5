"""Modules for several devices on one, and the adaptive softmax in all that it answers."""

import pytest

from tests.agree import rand

pytestmark = pytest.mark.filterwarnings("ignore")


def net(fl):
    fl.manual_seed(0)
    return fl.nn.Sequential(fl.nn.Linear(3, 4), fl.nn.BatchNorm1d(4), fl.nn.ReLU())


def test_data_parallel_without_devices_is_the_module(agree):
    def program(fl):
        wrapped, x = fl.nn.DataParallel(net(fl)), fl.arange(6.0).reshape(2, 3)
        out = wrapped(x)
        out.sum().backward()
        names = [n for n, _ in wrapped.named_parameters()]
        return out, names, wrapped.device_ids, repr(wrapped), wrapped.module[0].weight.grad, list(wrapped.state_dict())

    agree(program)


def test_functions_of_parallel_modules(agree):
    agree(lambda fl: fl.nn.parallel.parallel_apply([net(fl)], [fl.ones(1), fl.ones(1)]), raises=AssertionError)


def test_parallel_calls_on_the_cpu():
    """PyTorch asks for an accelerator first; here threads call the modules, and errors come through."""
    import flambeau

    m, (a, b) = net(flambeau).eval(), (flambeau.ones(2, 3), flambeau.zeros(1, 3))
    assert [t.tolist() for t in flambeau.nn.parallel.parallel_apply([m, m], [a, b])] == [m(a).tolist(), m(b).tolist()]
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        flambeau.nn.parallel.parallel_apply([m, m], [a, flambeau.ones(2, 5)])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("div_value", [2.0, 4.0])
def test_adaptive_softmax(agree, bias, div_value):
    def program(fl, x):
        fl.manual_seed(3)
        m = fl.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10, 15], div_value=div_value, head_bias=bias, dtype=fl.float64)
        out, loss = m(x, fl.tensor([0, 3, 4, 9, 12, 19]))
        one = m(x[0], fl.tensor(17))
        return (
            out,
            loss,
            one.output,
            one.loss,
            m.log_prob(x),
            m.predict(x),
            repr(m),
            list(m.state_dict()),
            type(one).__name__,
        )

    agree(program, rand(6, 8))


def test_what_an_adaptive_softmax_refuses(agree):
    def made(fl, *args, **options):
        return fl.nn.AdaptiveLogSoftmaxWithLoss(*args, **options)

    agree(lambda fl: made(fl, 8, 20, []), raises=ValueError)
    agree(lambda fl: made(fl, 8, 20, [4, 4]), raises=ValueError)
    agree(lambda fl: made(fl, 8, 20, [10, 4]), raises=ValueError)
    agree(lambda fl: made(fl, 8, 20, [0, 4]), raises=ValueError)
    agree(lambda fl: made(fl, 8, 20, [4, 20]), raises=ValueError)
    agree(lambda fl: made(fl, 8, 20, [4.5]), raises=ValueError)
    call = lambda fl, x, y: made(fl, 8, 20, [4])(x, y)
    agree(lambda fl: call(fl, fl.ones(2, 8), fl.tensor([1, 20])), raises=RuntimeError)
    agree(lambda fl: call(fl, fl.ones(2, 8), fl.tensor([-1, 2])), raises=RuntimeError)
    agree(lambda fl: call(fl, fl.ones(2, 8), fl.tensor([1])), raises=RuntimeError)
    agree(lambda fl: call(fl, fl.ones(8), fl.tensor([1])), raises=RuntimeError)
    agree(lambda fl: call(fl, fl.ones(2, 8), fl.ones(2, 2).long()), raises=RuntimeError)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_ctc_corners(agree, reduction):
    """Targets of length zero, losses that are infinite, targets joined in one dim, one sequence alone."""

    def program(fl, x, zero):
        logs = x.log_softmax(-1)
        joined = fl.tensor([1, 2, 2, 3, 1, 1, 1, 1])
        lengths, targets = fl.tensor([6, 5, 3, 6]), fl.tensor([3, 0, 4, 1])
        f = fl.nn.functional.ctc_loss
        padded = fl.zeros(4, 4, dtype=fl.long)
        for i, (a, n) in enumerate(zip((0, 3, 3, 7), (3, 0, 4, 1), strict=True)):
            padded[i, :n] = joined[a : a + n]
        one = f(logs[:, 0], fl.tensor([1, 2]), fl.tensor(6), fl.tensor(2), reduction=reduction, zero_infinity=zero)
        pair = [f(logs, t, lengths, targets, reduction=reduction, zero_infinity=zero) for t in (joined, padded)]
        return [t if zero else t.nan_to_num(posinf=1e3).detach() for t in (*pair, one)]

    agree(lambda fl, x: program(fl, x, True), rand(6, 4, 5))
    agree(lambda fl, x: program(fl, x, False), rand(6, 4, 5))

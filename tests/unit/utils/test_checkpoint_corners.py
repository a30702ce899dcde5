"""utils.checkpoint at its corners: each option in both ways of checkpointing, runs that differ, segments, what is refused and in which words."""

import contextlib
import functools
import warnings

import pytest

WAYS = pytest.mark.parametrize("reentrant", [True, False, None])


def told(fn):
    """What a call gives, or the kind of its error and the first line of what it says."""
    try:
        return fn()
    except Exception as error:
        return type(error).__name__, str(error).partition("\n")[0]


def given(fl):
    return fl.ones(2, 3, requires_grad=True)


def twice(fl, fn, **options):
    x = given(fl)
    y = fl.utils.checkpoint.checkpoint(fn, x, **options)
    y.sum().backward()
    return y, x.grad


def options_of(reentrant):
    return {} if reentrant is None else {"use_reentrant": reentrant}


def two_contexts():
    return contextlib.nullcontext(), contextlib.nullcontext()


OPTIONS = {
    "plain": lambda fl, **o: twice(fl, lambda x: (x * 2).sin(), **o),
    "no gradient": lambda fl, **o: fl.utils.checkpoint.checkpoint(lambda x: x * 2, fl.ones(2), **o),
    "parameters alone": lambda fl, **o: fl.utils.checkpoint.checkpoint(fl.nn.Linear(3, 3), fl.ones(2, 3), **o).requires_grad,
    "by name": lambda fl, **o: fl.utils.checkpoint.checkpoint(lambda x, y=0: x * y, given(fl), y=3, **o),
    "dropout": lambda fl, **o: twice(fl, lambda x: fl.nn.functional.dropout(x, 0.5), **o),
    "dropout drawn anew": lambda fl, **o: twice(fl, lambda x: fl.nn.functional.dropout(x, 0.5), preserve_rng_state=False, **o),
    "contexts": lambda fl, **o: twice(fl, lambda x: x.sin(), context_fn=two_contexts, **o),
    "check": lambda fl, **o: twice(fl, lambda x: x.sin(), determinism_check="bogus", **o),
    "no check": lambda fl, **o: twice(fl, lambda x: x.sin(), determinism_check="none", **o),
    "late": lambda fl, **o: twice(fl, lambda x: x.sin(), early_stop=False, **o),
    "two results": lambda fl, **o: list(fl.utils.checkpoint.checkpoint(lambda x: (x, x * 2), given(fl), **o)),
    "a number": lambda fl, **o: fl.utils.checkpoint.checkpoint(lambda x: 5, given(fl), **o),
    "an error": lambda fl, **o: twice(fl, lambda x: x @ fl.ones(5), **o),
    "nested": lambda fl, **o: twice(fl, lambda x: fl.utils.checkpoint.checkpoint(lambda z: z.sin() * 2, x, **o).cos(), **o),
    "in place": lambda fl, **o: twice(fl, lambda x: (x * 2).sin_(), **o),
    "detached": lambda fl, **o: twice(fl, lambda x: x.detach(), **o),
    "unknown": lambda fl, **o: twice(fl, lambda x: x, foo=1, **o),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@WAYS
@pytest.mark.parametrize("case", OPTIONS)
def test_options(agree, case, reentrant):
    agree(lambda fl: told(lambda: OPTIONS[case](fl, **options_of(reentrant))))


@pytest.mark.filterwarnings("ignore")
@WAYS
def test_gradients_taken_otherwise(agree, reentrant):
    options = options_of(reentrant)

    def program(fl):
        checkpoint = fl.utils.checkpoint.checkpoint

        def again():
            y = checkpoint(lambda x: x.sin(), given(fl), **options)
            y.sum().backward(retain_graph=True)
            y.sum().backward()

        def asked():
            x = given(fl)
            return fl.autograd.grad(checkpoint(lambda x: x.sin(), x, **options).sum(), x)

        def second():
            x = given(fl)
            (g,) = fl.autograd.grad(checkpoint(lambda x: x.sin() * x, x, **options).sum(), x, create_graph=True)
            return fl.autograd.grad(g.sum(), x)

        return [told(again), told(asked), told(second)]

    agree(program)


DIFFERENT = {
    "more": (lambda fl, x: x.sin(), lambda fl, x: x.sin().cos()),
    "fewer": (lambda fl, x: x.sin().cos(), lambda fl, x: x.sin()),
    "sizes": (lambda fl, x: x.sin().sum(), lambda fl, x: fl.cat([x, x]).sin().sum()),
    "dtypes": (lambda fl, x: x.sin().sum(), lambda fl, x: x.double().sin().sum()),
}


@pytest.mark.filterwarnings("ignore")
@WAYS
@pytest.mark.parametrize("check", ["default", "none"])
@pytest.mark.parametrize("case", DIFFERENT)
def test_a_second_run_that_differs(agree, case, check, reentrant):
    if (case, check, reentrant) == ("sizes", "none", False):
        pytest.skip(
            "what is said then is the array library's: nobody looked at what was computed anew, as was asked for"
        )
    options = options_of(reentrant) | ({} if check == "default" else {"determinism_check": check})

    def program(fl):
        runs = []

        def part(x):
            runs.append(None)
            return DIFFERENT[case][1 - len(runs) % 2](fl, x)

        return told(lambda: twice(fl, part, **options)[1])

    agree(program)


@pytest.mark.filterwarnings("ignore")
@WAYS
@pytest.mark.parametrize("segments", [1, 2, 3, 5, 0, -1, "a"])
def test_segments(agree, segments, reentrant):
    def program(fl):
        def run():
            net, x = fl.nn.Sequential(fl.nn.Linear(3, 3), fl.nn.ReLU(), fl.nn.Linear(3, 2)), given(fl)
            y = fl.utils.checkpoint.checkpoint_sequential(net, segments, x, **options_of(reentrant))
            y.sum().backward()
            return y, x.grad, [p.grad for p in net.parameters()]

        listed = [fl.sin, fl.cos]
        return [
            told(run),
            told(lambda: fl.utils.checkpoint.checkpoint_sequential(listed, 2, given(fl), **options_of(reentrant))),
            told(
                lambda: fl.utils.checkpoint.checkpoint_sequential(listed, 2, given(fl), foo=3, **options_of(reentrant))
            ),
        ]

    agree(program)


@pytest.mark.filterwarnings("ignore")
@WAYS
def test_autocast_is_that_of_the_first_run(agree, reentrant):
    def program(fl):
        x, layer = given(fl), fl.nn.Linear(3, 3)
        with fl.autocast("cpu", dtype=fl.bfloat16):
            y = fl.utils.checkpoint.checkpoint(layer, x, **options_of(reentrant))
        y.sum().backward()
        return y, x.grad, layer.weight.grad

    agree(program, rtol=2e-2, atol=1e-2)


def kept(fl, policy, x):
    w = fl.ones(3, 3, requires_grad=True)
    contexts = functools.partial(fl.utils.checkpoint.create_selective_checkpoint_contexts, policy)
    y = fl.utils.checkpoint.checkpoint(lambda x: (x @ w).sin().cos(), x, use_reentrant=False, context_fn=contexts)
    y.sum().backward()
    return y, x.grad


def test_what_may_say_what_is_kept(agree):
    def program(fl):
        ops, policy = [fl.ops.aten.mm.default, fl.ops.aten.sin.default], fl.utils.checkpoint.CheckpointPolicy
        return [
            kept(fl, ops, given(fl)),
            kept(fl, lambda ctx, op, *a, **k: policy.MUST_SAVE if op in ops else policy.PREFER_RECOMPUTE, given(fl)),
            kept(fl, lambda ctx, op, *a, **k: True, given(fl)),
            told(lambda: kept(fl, [fl.sin], given(fl)))[0],
            told(lambda: kept(fl, 5, given(fl))),
            [str(p) for p in policy],
        ]

    agree(program)


def test_parts(agree):
    def program(fl):
        of = fl.utils.checkpoint
        found = [
            of.get_device_states(fl.ones(2)),
            of.DefaultDeviceType.get_device_type(),
            of.detach_variable((given(fl), 3)),
            told(lambda: of.detach_variable([given(fl)])),
            type(of.set_checkpoint_early_stop(False)).__name__,
            told(lambda: of.checkpoint(use_reentrant=False))[0],
        ]
        with warnings.catch_warnings(record=True) as given_:
            warnings.simplefilter("always")
            of.check_backward_validity([fl.ones(2)])
        return [*found, [str(w.message) for w in given_]]

    agree(program)

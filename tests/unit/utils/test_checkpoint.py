"""Checkpointing, both forms: the same gradients, less memory, the same random numbers, and errors when runs differ."""

import gc
import warnings
import weakref

import pytest

import flambeau
from flambeau.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential, set_checkpoint_early_stop
from tests.agree import rand

FORMS = pytest.mark.parametrize("reentrant", [True, False])


@FORMS
def test_gradients(agree, reentrant):
    def program(fl):
        w = fl.linspace(-1, 1, 6).view(2, 3).requires_grad_()
        x = fl.linspace(0, 1, 4).view(2, 2).requires_grad_()

        def part(x, scale, y):
            return (x @ w).tanh() * scale, x.exp() + y

        check = __import__(f"{fl.__name__}.utils.checkpoint", fromlist=["checkpoint"]).checkpoint
        a, b = check(part, x, 3, x.sin(), use_reentrant=reentrant)
        (a.sum() + (b * b).sum()).backward()
        return x.grad, w.grad

    agree(program)


@FORMS
@pytest.mark.parametrize("preserve", [True, False])
def test_random_numbers(agree, reentrant, preserve):
    def program(fl):
        x = fl.ones(50, requires_grad=True)
        check = __import__(f"{fl.__name__}.utils.checkpoint", fromlist=["checkpoint"]).checkpoint
        y = check(lambda x: x * fl.rand(50), x, use_reentrant=reentrant, preserve_rng_state=preserve)
        after = fl.rand(2)
        y.sum().backward()
        return y.detach(), x.grad, after, fl.rand(2)

    agree(program)


@FORMS
def test_intermediate_tensors_are_not_kept(reentrant):
    kept = []

    def part(x):
        y = x.exp()
        kept.append(weakref.ref(y))
        return y.sin().exp()

    x = flambeau.ones(3, requires_grad=True)
    out = checkpoint(part, x, use_reentrant=reentrant)
    gc.collect()
    assert kept[0]() is None
    out.sum().backward()
    assert len(kept) == 2  # it ran again, once


def test_without_gradients_nothing_is_recorded():
    with flambeau.no_grad():
        assert not checkpoint(lambda x: x * 2, flambeau.ones(2, requires_grad=True), use_reentrant=False).requires_grad


def test_backward_twice():
    runs = []

    def part(x):
        runs.append(1)
        return x.exp()

    x = flambeau.ones(2, requires_grad=True)
    y = checkpoint(part, x, use_reentrant=False).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert len(runs) == 3
    assert flambeau.allclose(x.grad, 2 * flambeau.ones(2).exp())


def test_inputs_of_backward():
    x = flambeau.ones(2, requires_grad=True)
    y = checkpoint(flambeau.exp, x, use_reentrant=True).sum()
    with pytest.raises(RuntimeError, match=r"torch.utils.checkpoint is incompatible with .grad"):
        flambeau.autograd.grad(y, x)
    y = checkpoint(flambeau.exp, x, use_reentrant=False).sum()
    (g,) = flambeau.autograd.grad(y, x)
    assert flambeau.allclose(g, x.detach().exp())


def test_nested():
    runs = []

    def inner(x):
        runs.append("inner")
        return x.sin().exp()

    def outer(x):
        runs.append("outer")
        return checkpoint(inner, x.cos(), use_reentrant=False) * x

    x = flambeau.linspace(0, 1, 3).requires_grad_()
    checkpoint(outer, x, use_reentrant=False).sum().backward()
    found, x.grad = x.grad, None
    (x.cos().sin().exp() * x).sum().backward()
    assert flambeau.allclose(found, x.grad)
    assert runs[:2] == ["outer", "inner"]


def test_second_derivatives():
    x = flambeau.linspace(0.1, 1, 3).requires_grad_()
    y = checkpoint(lambda x: x**3, x, use_reentrant=False).sum()
    (g,) = flambeau.autograd.grad(y, x, create_graph=True)
    assert flambeau.allclose(g, 3 * x.detach() ** 2)
    (h,) = flambeau.autograd.grad(g.sum(), x)
    assert flambeau.allclose(h, 6 * x.detach())


def test_runs_that_differ():
    runs = []

    def part(x):
        runs.append(1)
        return x.exp().exp() if len(runs) == 1 else x.exp()

    y = checkpoint(part, flambeau.ones(2, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match="A different number of tensors was saved"):
        y.sum().backward()

    def shapes(x):
        runs.append(1)
        return x.exp() if len(runs) % 2 else (x[:1] * 1.0).exp().expand(2)

    runs.clear()
    y = checkpoint(lambda x: shapes(x).sum(), flambeau.ones(2, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match=r"different metadata|different number|more tensors"):
        y.backward()


@pytest.mark.parametrize("early", [True, False])
def test_early_stop(early):
    reached = []

    def part(x):
        y = x.exp()
        reached.append(1)
        return y + 1

    with set_checkpoint_early_stop(early):
        y = checkpoint(part, flambeau.ones(2, requires_grad=True), use_reentrant=False)
    y.sum().backward()
    assert len(reached) == (1 if early else 2)


def test_sequential(agree):
    def program(fl):
        check = __import__(f"{fl.__name__}.utils.checkpoint", fromlist=["checkpoint_sequential"]).checkpoint_sequential
        net = fl.nn.Sequential(*(fl.nn.Linear(3, 3) for _ in range(5)))
        x = fl.ones(2, 3, requires_grad=True)
        out = check(net, 2, x, use_reentrant=False)
        out.sum().backward()
        return out.detach(), x.grad, net[0].weight.grad

    agree(program)


def test_what_is_refused():
    x = flambeau.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: other"):
        checkpoint(flambeau.exp, x, use_reentrant=True, other=1)
    with pytest.raises(ValueError, match="only supported when use_reentrant=False"):
        checkpoint(flambeau.exp, x, use_reentrant=True, debug=True)
    with pytest.raises(ValueError, match="determinism_check should be one of"):
        checkpoint(flambeau.exp, x, use_reentrant=False, determinism_check="all")
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoint(flambeau.exp, x)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        checkpoint(flambeau.exp, flambeau.ones(2), use_reentrant=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint_sequential([flambeau.exp], 1, x, use_reentrant=False)


# ---- selective ---------------------------------------------------------------------------------------------------
def module(fl):
    return __import__(f"{fl.__name__}.utils.checkpoint", fromlist=["checkpoint"])


def counted(fl, keep, **options):
    """A part under a policy: which operators the policy saw, and the gradients."""
    u, seen = module(fl), []

    def policy(ctx, op, *args, **kwargs):
        seen.append((str(op), ctx.is_recompute, tuple(ctx.op_output.shape)))
        return keep(u, str(op))

    x = (fl.arange(9.0).view(3, 3) / 9).requires_grad_()
    w = (fl.arange(9.0).view(3, 3).cos() / 3).requires_grad_()

    def part(x, w):
        return fl.sigmoid(fl.mm(fl.mm(x, w), w)) * w

    def contexts():
        return u.create_selective_checkpoint_contexts(policy, **options)

    u.checkpoint(part, x, w, use_reentrant=False, context_fn=contexts).sum().backward()
    return [s for s in seen if "detach" not in s[0]], x.grad, w.grad


@pytest.mark.parametrize("policy", ["MUST_SAVE", "PREFER_SAVE", "MUST_RECOMPUTE", "PREFER_RECOMPUTE", True, False])
@pytest.mark.parametrize("which", ["aten.mm.default", "aten.sigmoid.default", ""])
def test_policies(agree, policy, which):
    def keep(u, op):
        chosen = policy if isinstance(policy, bool) else getattr(u.CheckpointPolicy, policy)
        return chosen if which in op else u.CheckpointPolicy.PREFER_RECOMPUTE

    agree(lambda fl: counted(fl, keep))


def test_kept_operators_do_not_run_again():
    from flambeau.utils._python_dispatch import TorchDispatchMode
    from flambeau.utils.checkpoint import create_selective_checkpoint_contexts

    class Count(TorchDispatchMode):
        def __init__(self):
            self.names = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))

    x = flambeau.rand(3, 3, requires_grad=True)
    for ops, times in (([flambeau.ops.aten.mm.default], 0), ([], 1)):
        y = checkpoint(
            lambda x: (x @ x).sigmoid().exp(),
            x,
            use_reentrant=False,
            context_fn=lambda ops=ops: create_selective_checkpoint_contexts(ops),
        )
        with Count() as count:
            flambeau.autograd.grad(y.sum(), x)
        assert count.names.count("aten.mm.default") == 2 + times  # two of them are the gradient's


def test_selective_errors(agree):
    def mutated(fl, allow):
        u = module(fl)
        held = []

        def part(x):
            held.append(x.exp())
            return held[0].sin()

        def contexts():
            return u.create_selective_checkpoint_contexts([fl.ops.aten.exp.default], allow)

        x = fl.ones(3, requires_grad=True)
        y = u.checkpoint(part, x, use_reentrant=False, context_fn=contexts).sum()
        with fl.no_grad():
            held[0].mul_(2)
        y.backward()
        return x.grad

    agree(lambda fl: mutated(fl, False), raises=RuntimeError)

    def twice(fl):
        u = module(fl)
        x = fl.ones(3, requires_grad=True)
        y = u.checkpoint(
            lambda x: x.exp().sin(),
            x,
            use_reentrant=False,
            context_fn=lambda: u.create_selective_checkpoint_contexts([fl.ops.aten.exp.default]),
        ).sum()
        y.backward(retain_graph=True)
        y.backward()

    agree(twice, raises=RuntimeError)

    def other(fl):
        u, runs = module(fl), []

        def part(x):
            runs.append(1)
            return x.exp() if len(runs) == 1 else x.tanh()

        y = u.checkpoint(
            part,
            fl.ones(3, requires_grad=True),
            use_reentrant=False,
            context_fn=lambda: u.create_selective_checkpoint_contexts(lambda *a, **k: False),
        )
        y.sum().backward()

    agree(other, raises=RuntimeError)
    agree(lambda fl: module(fl).create_selective_checkpoint_contexts(3), raises=TypeError)


def test_a_packet_is_not_an_overload():
    with pytest.raises(ValueError, match="Please update the OpOverloadPacket to a specific OpOverload"):
        module(flambeau).create_selective_checkpoint_contexts([flambeau.ops.aten.mm])
    assert flambeau.ops.aten.detach.default in module(flambeau).SAC_IGNORED_OPS


# ---- several backward passes -------------------------------------------------------------------------------------
@pytest.mark.parametrize("grouped", [True, False])
def test_groups_of_backward_passes(agree, grouped):
    def program(fl):
        u, runs = module(fl), []

        def part(x):
            runs.append(1)
            return x.sin(), x.exp()

        x = fl.ones(2, requires_grad=True)
        a, b = u.checkpoint(part, x, use_reentrant=False)
        group = u.GraphExecGroup() if grouped else u.noop_context_fn()[0]
        with group:
            a.sum().backward()
            b.sum().backward()
        return len(runs), x.grad

    agree(program)


def test_groups_that_overlap(agree):
    def program(fl):
        u = module(fl)
        x = fl.ones(2, requires_grad=True)
        y = u.checkpoint(lambda x: x.sin().exp(), x, use_reentrant=False).sum()
        with u.GraphExecGroup():
            y.backward(retain_graph=True)
            y.backward()

    agree(program, raises=CheckpointError)
    with (
        pytest.raises(RuntimeError, match="GraphExecGroup contexts cannot be nested"),
        module(flambeau).GraphExecGroup(),
    ):
        with module(flambeau).GraphExecGroup():
            pass


def test_hooks_unpack_each_tensor_once(agree):
    def program(fl):
        seen = []

        def look(i):
            seen.append(i)
            return held[i]

        held = []
        with fl.autograd.graph.saved_tensors_hooks(lambda x: held.append(x) or len(held) - 1, look):
            x, y = fl.ones(2, requires_grad=True), fl.ones(2, requires_grad=True)
            z = (x * y).sum()
        z.backward()
        return sorted(seen)

    agree(program)


@pytest.mark.parametrize("second", ["less", "more", "shape"])
def test_debug_shows_both_runs(second):
    """The text is ours, but for its headers: traces differ anyway."""
    runs = []

    def part(x):
        runs.append(1)
        if len(runs) == 1:
            return x.sin().exp()
        return (
            x.sin()
            if second == "less"
            else x.sin().exp().cos()
            if second == "more"
            else flambeau.cat([x, x]).sin().exp()
        )

    x = flambeau.ones(3, requires_grad=True)
    y = checkpoint(part, x, use_reentrant=False, debug=True, early_stop=False)
    with pytest.raises(CheckpointError, match="An error happened while unpacking tensors") as caught:
        y.sum().backward()
    text = str(caught.value)
    assert "$1: f32[3] = torch._ops.aten.sin.default($0)   (1 of 2 in original)" in text
    assert "Operations executed during recomputation:" in text
    assert __file__ in text


def test_debug_changes_nothing_else(agree):
    def program(fl, x):
        check = __import__(f"{fl.__name__}.utils.checkpoint", fromlist=["checkpoint"])
        with check.set_checkpoint_debug_enabled(True):
            return check.checkpoint(lambda x: x.sin().exp() * x, x, use_reentrant=False)

    agree(program, rand(3))


def test_errors_say_how_to_learn_more():
    runs = []

    def part(x):
        runs.append(1)
        return x.sin().exp() if len(runs) == 1 else x.sin()

    y = checkpoint(part, flambeau.ones(3, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match="Tip: To see a more detailed error message, either pass `debug=True`"):
        y.sum().backward()


@pytest.mark.parametrize("second", ["fewer", "shape", "dtype"])
def test_a_recomputation_that_differs(agree, second):
    def program(fl):
        calls = []

        def part(x):
            calls.append(x)
            if len(calls) == 1:
                return x.sin().cos().sum()
            return {
                "fewer": lambda: x.sin(),
                "shape": lambda: fl.cat([x, x]).sin().cos().sum(),
                "dtype": lambda: x.double().sin().cos().sum(),
            }[second]()

        fl.utils.checkpoint.checkpoint(part, fl.ones(2, requires_grad=True), use_reentrant=False).backward()

    agree(program, raises=CheckpointError)

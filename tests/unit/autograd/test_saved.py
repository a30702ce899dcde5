"""What is saved for backward, written to afterwards; and gradients in another dtype than their tensor's."""

import pytest

from tests.agree import rand


def test_saved_tensors_may_be_written_to(agree):
    def program(fl, x, end=True):
        x = x.detach().requires_grad_()
        with fl.autograd.graph.allow_mutation_on_saved_tensors() as kept:
            b = x.clone()
            out = (b**2).sum() + b.exp().sum()
            b.sin_()
            if not end:
                kept.clear()
            return fl.autograd.grad(out, x)

    agree(program, rand(2, 3), grads=0)
    agree(lambda fl, x: program(fl, x, end=False), rand(2, 3), raises=AssertionError)

    def late(fl, x):
        with fl.autograd.graph.allow_mutation_on_saved_tensors():
            out = (x**2).sum()
        out.backward()

    agree(late, rand(3), raises=AssertionError)

    def nested(fl, x):
        block = fl.autograd.graph.allow_mutation_on_saved_tensors
        with block(), block():
            pass

    agree(nested, rand(3), raises=RuntimeError)


def test_gradients_in_another_dtype(agree):
    def program(fl):
        t = fl.ones(2, requires_grad=True)
        before = t.grad_dtype
        t.grad_dtype = fl.float64
        (t * 2).sum().backward()
        (t * 2).sum().backward()
        return before, t.grad_dtype, t.grad, fl.ones(1).grad_dtype

    agree(program)

    def setting(fl, value, grad=None, leaf=True):
        t = fl.ones(2, requires_grad=True)
        t = t if leaf else t * 2
        if grad is not None:
            t.grad = grad(fl)
        t.grad_dtype = value(fl)
        return t.grad_dtype

    agree(lambda fl: setting(fl, lambda fl: None))
    agree(lambda fl: setting(fl, lambda fl: 3), raises=RuntimeError)
    agree(lambda fl: setting(fl, lambda fl: fl.float64, lambda fl: fl.ones(2)), raises=RuntimeError)
    agree(lambda fl: setting(fl, lambda fl: fl.float64, leaf=False), raises=RuntimeError)


def test_gradients_that_do_not_fit(agree):
    give = lambda fl, value: setattr(fl.ones(2, requires_grad=True), "grad", value)
    agree(lambda fl: give(fl, fl.ones(3)), raises=RuntimeError)
    agree(lambda fl: give(fl, fl.ones(2, dtype=fl.float64)), raises=RuntimeError)
    agree(lambda fl: give(fl, 3), raises=TypeError)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layer", ["linear", "conv2d"])
def test_only_what_the_wanted_gradients_read_is_saved(agree, layer, bias):
    """A layer's input is saved for its weight's gradient, the weight for the input's."""

    def program(fl, x, w):
        x, w = x.detach(), w.detach()
        b = x.new_ones(2) if bias else None
        kept = []
        for inputs, weights in ((True, True), (True, False), (False, True)):
            a, c = x.clone().requires_grad_(inputs), w.clone().requires_grad_(weights)
            count = []
            with fl.autograd.graph.saved_tensors_hooks(
                lambda t, count=count: count.append(t.numel()) or t, lambda t: t
            ):
                out = getattr(fl.nn.functional, layer)(a, c, b)
            out.square().sum().backward()
            kept.append((sorted(count), a.grad, c.grad))
        return kept if layer == "linear" else [k[1:] for k in kept]

    shapes = ((3, 4), (2, 4)) if layer == "linear" else ((1, 1, 4, 4), (2, 1, 2, 2))
    agree(program, *(rand(*s) for s in shapes), grads=0)


def test_written_outputs_of_functions_are_told_by_their_function(agree):
    def program(fl, x):
        class Twice(fl.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                out = x * 2
                ctx.save_for_backward(x, out)
                return out

            @staticmethod
            def backward(ctx, g):
                return g * 2 + ctx.saved_tensors[1]

        y = Twice.apply(x)
        with fl.no_grad():
            y += 1
        y.sum().backward()

    agree(program, rand(2, 3), raises=RuntimeError)


def test_what_a_call_notes_is_there_before_it_is_set(agree):
    def program(fl):
        seen = []

        class Noted(fl.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                names = ("dirty_tensors", "non_differentiable", "saved_for_forward", "to_save", "needs_input_grad")
                seen.extend(getattr(ctx, n) for n in names)
                ctx.save_for_backward(x, y)
                ctx.mark_non_differentiable(y)
                ctx.mark_dirty(x)
                seen.extend(len(getattr(ctx, n) or ()) for n in names)
                ctx.dirty_tensors, ctx.to_save = None, (x,)
                return x * 2, y

            @staticmethod
            def backward(ctx, a, b):
                seen.append(len(ctx.saved_tensors))
                return a, b

        x = fl.ones(2, requires_grad=True)
        Noted.apply(x, (x * 3).detach())[0].sum().backward()
        described = [n for n in ("dirty_tensors", "non_differentiable", "saved_for_forward", "to_save", "materialize_grads")
                     if hasattr(getattr(fl.autograd.Function, n), "__get__")]  # fmt: skip
        return seen, x.grad, described, fl.autograd.Function.to_save.__name__

    agree(program)

"""`__torch_dispatch__`: modes and subclasses that take over primitive operators."""

import flambeau
from flambeau.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    _get_current_dispatch_mode_stack,
    _pop_mode_temporarily,
    transform_subclass,
)
from tests.agree import rand


class Names(TorchDispatchMode):
    def __init__(self):
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def names_mode(fl):
    import importlib

    base = importlib.import_module(f"{fl.__name__}.utils._python_dispatch").TorchDispatchMode

    class Doubled(base):
        """Adds 1 to what relu gives."""

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            return out + 1 if str(func).startswith("aten.relu") else out

    return Doubled()


def test_a_mode_changes_results(agree):
    def program(fl, x):
        with names_mode(fl):
            y = fl.relu(x) * 2
        return y, fl.relu(x)

    agree(program, rand(3, 4))


def test_a_mode_sees_primitives_forward_and_backward():
    x = flambeau.randn(3, requires_grad=True)
    with Names() as mode:
        y = (x.exp() * 2).sum()
        x.detach().clone().add_(1.0)
        flambeau.ones(2)
        y.backward()
    assert {
        "aten.exp.default",
        "aten.mul.Tensor",
        "aten.add_.Tensor",
        "aten.clone.default",
        "aten.ones.default",
    } <= set(mode.seen)
    assert mode.seen.count("aten.mul.Tensor") >= 3  # the forward one and two of the backward pass
    assert flambeau.allclose(x.grad, 2 * x.detach().exp())


def test_modes_nest():
    with Names() as outer, Names() as inner:
        flambeau.ones(2).exp()
        assert _get_current_dispatch_mode_stack() == [outer, inner]
        with _pop_mode_temporarily() as popped:
            assert popped is inner
            flambeau.ones(2).sin()
        with _disable_current_modes():
            flambeau.ones(2).cos()
    assert "aten.exp.default" in inner.seen
    assert "aten.exp.default" in outer.seen
    assert "aten.sin.default" in outer.seen
    assert "aten.sin.default" not in inner.seen
    assert "aten.cos.default" not in outer.seen
    assert _get_current_dispatch_mode_stack() == []


def wrapper(fl):
    """A subclass that keeps a tensor inside and works on that."""

    class Wrapper(fl.Tensor):
        @staticmethod
        def __new__(cls, inside):
            return fl.Tensor._make_wrapper_subclass(
                cls, inside.size(), dtype=inside.dtype, requires_grad=inside.requires_grad
            )

        def __init__(self, inside):
            self.inside = inside

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            def opened(t):
                return t.inside if isinstance(t, cls) else [opened(x) for x in t] if isinstance(t, list) else t

            out = func(*[opened(a) for a in args], **{k: opened(v) for k, v in (kwargs or {}).items()})
            return (
                cls(out)
                if isinstance(out, fl.Tensor)
                else type(out)(map(cls, out))
                if isinstance(out, (tuple, list))
                else out
            )

        def __tensor_flatten__(self):
            return ["inside"], None

        @staticmethod
        def __tensor_unflatten__(inner, context, size, stride):
            return Wrapper(inner["inside"])

    return Wrapper


def test_wrapper_subclasses(agree):
    def program(fl, x):
        cls = wrapper(fl)
        t = cls(x.detach())
        results = (t + 1, (t * 2).sum(), fl.cat([t, t]), t.softmax(1), t.t()[0], t.max(1).values)
        return [type(r) is cls for r in results], [r.inside for r in results], t.shape, t.dtype

    agree(program, rand(3, 4), grads=0)


def test_gradients_of_wrapper_subclasses(agree):
    def program(fl, x):
        cls = wrapper(fl)
        t = cls(x.detach()).requires_grad_()
        (t * 3).exp().sum().backward()
        return type(t.grad) is cls, t.grad.inside

    agree(program, rand(3, 4), grads=0)


def test_subclasses_are_taken_apart():
    cls = wrapper(flambeau)
    t = transform_subclass(cls(flambeau.ones(2)), lambda name, inside: inside * 2)
    assert type(t) is cls
    assert (t.inside == 2).all()

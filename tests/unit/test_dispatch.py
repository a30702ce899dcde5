"""`__torch_dispatch__`: modes and subclasses that take over primitive operators."""

import pytest

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


def seen(fl, program):
    """The operators that a mode sees, but for those that join gradients."""
    import importlib

    base = importlib.import_module(f"{fl.__name__}.utils._python_dispatch").TorchDispatchMode
    names = []

    class Seen(base):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(str(func).removeprefix("aten."))
            return func(*args, **(kwargs or {}))

    with Seen():
        program()
    joined = ("detach.default", "add_.Tensor", "add.Tensor", "clone.default", "ones_like.default")
    return [n for n in names if n not in joined]


def functional(fl):
    return fl.nn.functional


OURS = (
    "lift_fresh.default",
    "t.default",
    "new_empty_strided.default",
    "copy_.default",
)  # order, and layout, of gradients
GRAPHS = {
    "matmul": lambda t, x, w, im: t.matmul(x.unsqueeze(0), w.t().unsqueeze(0)),
    "relu": lambda t, x, w, im: t.relu(x),
    "gelu": lambda t, x, w, im: functional(t).gelu(x, approximate="tanh"),
    "silu": lambda t, x, w, im: functional(t).silu(x),
    "tanh": lambda t, x, w, im: x.tanh(),
    "elu": lambda t, x, w, im: functional(t).elu(x),
    "softmax": lambda t, x, w, im: t.softmax(x, 1),
    "cross_entropy": lambda t, x, w, im: functional(t).cross_entropy(x, t.tensor([0, 2]).clone()),
    "mse": lambda t, x, w, im: functional(t).mse_loss(x, t.ones(2, 3)),
    "conv2d": lambda t, x, w, im: functional(t).conv2d(im, im[:, :, :3, :3].detach()),
    "max_pool2d": lambda t, x, w, im: functional(t).max_pool2d(im, 2),
    "avg_pool2d": lambda t, x, w, im: functional(t).avg_pool2d(im, 2),
    "adaptive": lambda t, x, w, im: functional(t).adaptive_avg_pool2d(im, 2),
    "layer_norm": lambda t, x, w, im: functional(t).layer_norm(x, (3,)),
    "group_norm": lambda t, x, w, im: functional(t).group_norm(im, 2),
    "embedding": lambda t, x, w, im: functional(t).embedding(t.tensor([0, 1]).clone(), w),
    "nearest": lambda t, x, w, im: functional(t).interpolate(im, scale_factor=2),
    "bilinear": lambda t, x, w, im: functional(t).interpolate(im, scale_factor=2, mode="bilinear"),
    "reflect": lambda t, x, w, im: functional(t).pad(im, (1, 1, 1, 1), mode="reflect"),
    "reshape": lambda t, x, w, im: x.t().reshape(6),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_show_pytorchs_primitives(name, agree):
    """The same operators, forward and backward, and the gradients of an ordinary run."""

    def program(t, x, w, im):
        leaves = [v.detach().clone().requires_grad_(True) for v in (x, w, im)]
        names = seen(t, lambda: GRAPHS[name](t, *leaves).sum().backward())
        names = [n for n in names if n not in OURS]
        plain = [v.detach().clone().requires_grad_(True) for v in (x, w, im)]
        GRAPHS[name](t, *plain).sum().backward()
        same = all(
            (a.grad is None) == (b.grad is None) and (a.grad is None or t.allclose(a.grad, b.grad))
            for a, b in zip(leaves, plain, strict=True)
        )
        return [t.tensor([sum(map(ord, n)) for n in names]), t.tensor(same)]

    agree(program, rand(2, 3), rand(4, 3), rand(1, 2, 6, 6), grads=0)


def test_graphs_may_be_differentiated_twice():
    x = flambeau.randn(3, 4, dtype=flambeau.float64, requires_grad=True)

    def second():
        y = flambeau.softmax(x, 1).pow(2).sum() + flambeau.tanh(x).sum()
        (g,) = flambeau.autograd.grad(y, x, create_graph=True)
        return flambeau.autograd.grad(g.pow(2).sum(), x)[0]

    plain = second()
    with Names():
        assert flambeau.allclose(second(), plain)


def test_numbers_and_detached_tensors_are_seen():
    x = flambeau.ones(1, requires_grad=True)
    with Names() as mode:
        assert x.item() == 1.0
        x.detach()
    assert mode.seen == ["aten._local_scalar_dense.default", "aten.detach.default"]


def test_schemas_are_objects():
    schema = flambeau.ops.aten.add.Tensor._schema
    assert str(schema) == "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"
    assert [a.name for a in schema.arguments] == ["self", "other", "alpha"] and not schema.is_mutable
    assert schema.arguments[2].default_value == 1 and schema.arguments[2].kwarg_only
    assert flambeau.ops.aten.add_.Tensor._schema.is_mutable and flambeau.ops.aten.add.out._schema.arguments[-1].is_out
    assert [r.name for r in flambeau.ops.aten.max.dim._schema.returns] == ["values", "indices"]
    out = flambeau.empty(2)
    assert flambeau.ops.aten.add.out(flambeau.ones(2), 1, out=out) is out and out.tolist() == [2, 2]


def test_histories_that_subclasses_had_part_in_are_known_while_they_live():
    """What has none pays nothing in backward, whatever else exists."""
    import gc

    from flambeau._eager.graph import DISPATCHED

    gc.collect()
    before = len(DISPATCHED)
    t = wrapper(flambeau)(flambeau.ones(2))
    assert len(DISPATCHED) == before
    t.requires_grad_()
    y = t * 2
    assert y.grad_fn in DISPATCHED
    del y
    gc.collect()
    assert len(DISPATCHED) == before


def test_who_takes_over_below_wraps_nothing_above(agree):
    """A class with a `__torch_dispatch__` and no `__torch_function__` of its own has the one that does nothing: results stay plain."""

    def program(fl):
        class Held(fl.Tensor):
            @staticmethod
            def __new__(cls, data):
                return fl.Tensor._make_wrapper_subclass(cls, data.size(), dtype=data.dtype)

            def __init__(self, data):
                self.data_ = data

            @classmethod
            def __torch_dispatch__(cls, op, types, args, kwargs=None):
                return op(*[a.data_ if isinstance(a, Held) else a for a in args], **(kwargs or {}))

        class Further(Held):
            pass

        class Both(fl.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                return super().__torch_function__(func, types, args, kwargs)

            __torch_dispatch__ = Held.__torch_dispatch__

        x = Held(fl.ones(2, 3))
        results = [x.exp(), x.sum(), x.t(), x + 1, fl.ones(2, 2) @ x, fl.nn.functional.linear(x, fl.ones(4, 3))]
        return [type(r).__name__ for r in results], [
            (getattr(c.__torch_function__, "__name__", ""), "__torch_function__" in vars(c))
            for c in (Held, Further, Both)
        ]

    agree(program)


def test_gradients_that_travel_as_tensors_are_not_recorded(agree):
    """Where a subclass had part in the forward pass, its backward pass is recorded no more than another."""

    def program(fl):
        class Held(fl.Tensor):
            @staticmethod
            def __new__(cls, data):
                return fl.Tensor._make_wrapper_subclass(cls, data.size(), dtype=data.dtype)

            def __init__(self, data):
                self.data_ = data

            @classmethod
            def __torch_dispatch__(cls, op, types, args, kwargs=None):
                return op(*[a.data_ if isinstance(a, Held) else a for a in args], **(kwargs or {}))

        class Enter(fl.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return Held(x.detach())

            @staticmethod
            def backward(ctx, g):
                modes.append(fl.is_grad_enabled())
                return g

        class Product(fl.autograd.Function):
            @staticmethod
            def forward(ctx, x, w):
                ctx.save_for_backward(x, w)
                return x.data_ @ w.t()

            @staticmethod
            def backward(ctx, g):
                modes.append(fl.is_grad_enabled())
                x, w = ctx.saved_tensors
                return g @ w, g.t() @ x.view(-1, 4)

        modes = []
        x, w = fl.arange(12.0).view(3, 4).requires_grad_(), fl.ones(2, 4, requires_grad=True)
        h = Enter.apply(x)
        h.register_hook(lambda g: modes.append(fl.is_grad_enabled()))
        Product.apply(h, w).sum().backward()
        found = x.grad, w.grad, list(modes)
        modes.clear()
        slopes = fl.autograd.grad(Product.apply(Enter.apply(x), w).sum(), (x, w), create_graph=True)
        return *found, slopes, modes

    agree(program)

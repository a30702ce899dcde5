"""torch.func and forward mode: transforms of functions, alone and inside one another."""

import numpy as np
import pytest

import flambeau
from flambeau.autograd import forward_ad
from tests.agree import rand

pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),  # PyTorch's
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning"),
]
LABELS = np.array([0, 2, 1, 4, 3, 3, 0])


def test_vmap_maps_and_places_dimensions(agree):
    agree(lambda fl, x, y: fl.vmap(fl.dot)(x, y), rand(4, 3), rand(4, 3, seed=1))
    agree(
        lambda fl, x, y: fl.vmap(lambda a, b: a * b + a.sum(), in_dims=(1, None), out_dims=1)(x, y), rand(3, 4), rand(3)
    )
    agree(lambda fl, x: fl.vmap(lambda d: {"s": d["a"].sin(), "t": (d["b"], d["a"] * 2)})({"a": x, "b": x}), rand(2, 3))
    nested = lambda fl: fl.vmap(fl.vmap(lambda a, b: a * b + a.sum(), in_dims=(0, None)), in_dims=(None, 0), out_dims=1)
    agree(lambda fl, x, y: nested(fl)(x, y), rand(4, 3), rand(5, 3))
    agree(lambda fl, x: fl.vmap(lambda x: x.sum(), chunk_size=2)(x), rand(5, 2))


@pytest.mark.parametrize(
    "program",
    [
        lambda fl, x: x.softmax(-1).cumsum(0) + x.logsumexp(1, keepdim=True),
        lambda fl, x: (x.max(), x.min(1).values, x.argmax(), x.median(), x.prod(0), x.any()),
        lambda fl, x: (x.sort(1).values, x.topk(2, 0).indices, x.flip(1), x.roll(1), x.roll(1, 0), x.tril()),
        lambda fl, x: (
            x.t(),
            x.permute(1, 0),
            x.view(-1),
            x.expand(2, 3, 3),
            x.unfold(1, 2, 1),
            x.diagonal(),
            x.split(2, 1),
        ),
        lambda fl, x: (x @ x, x @ x[0], x[0] @ x, x[0] @ x[1], fl.outer(x[0], x[1]), fl.addmm(x, x, x, beta=2.0)),
        lambda fl, x: (
            x[0],
            x[:, 1:],
            x[None, ..., 1],
            x[fl.tensor([0, 2])],
            x[:, fl.tensor([2, 0, 1])],
            x[x[0].argsort()],
        ),
        lambda fl, x: (
            x.gather(1, x.argsort(1)),
            x.index_select(0, fl.tensor([1, 0])),
            x.scatter_add(0, x.argsort(0), x),
        ),
        lambda fl, x: (fl.linalg.inv(x), fl.linalg.det(x), fl.linalg.solve(x, x[0]), fl.linalg.svdvals(x)),
        lambda fl, x: (
            fl.cat([x, x], 1),
            fl.stack([x, x], -1),
            fl.einsum("ij,jk->ik", x, x),
            x.repeat(2, 1),
            x.norm(),
            x.std(1),
        ),
        lambda fl, x: fl.nn.functional.layer_norm(x, (3,), x[0], x[1]),
        lambda fl, x: fl.nn.functional.cross_entropy(x, fl.tensor([2, -100, 0])),
        lambda fl, x: x.clone().add_(x[0]).mul_(2).masked_fill_(x > 0, 1.0),
        lambda fl, x: (x.new_zeros(2), fl.ones_like(x), x.float().double(), x.to(fl.complex128).abs()),
    ],
)
def test_vmap_of_operators(agree, program):
    agree(lambda fl, x: fl.vmap(lambda x: program(fl, x))(x), rand(4, 3, 3), rtol=1e-7, atol=1e-8)


def test_vmap_writes_through_indices(agree):
    def program(fl, x, v):
        def write(x, v):
            y = x.clone()
            y[0] = v
            y[1:] *= 2
            y[:, 1] = 0
            y[fl.tensor([0, 1]), fl.tensor([2, 2])] = v[:2]
            return y

        return fl.vmap(write)(x, v)

    agree(program, rand(4, 3, 3), rand(4, 3), grads=0)


def test_vmap_of_one_index_for_each_sample(agree):
    agree(
        lambda fl, x, i: fl.vmap(lambda x, i: (x[i], x[:, i]))(x, i),
        rand(4, 3, 3),
        np.array([[0, 2], [1, 1], [2, 0], [0, 0]]),
    )
    agree(lambda fl, x, i: fl.vmap(lambda x, i: x[i])(x, i), rand(4, 3, 3), np.array([0, 2, 1, 1]))


def test_vmap_of_samples_of_unequal_ranks(agree):
    agree(lambda fl, x: fl.vmap(lambda x: fl.cat([fl.empty(0, dtype=fl.float64), x], 1))(x), rand(2, 3, 3), grads=0)
    agree(lambda fl, x, i: fl.vmap(lambda x, i: x.gather(0, i))(x, i), rand(2), np.zeros((2, 1), int), grads=0)
    agree(lambda fl, x: fl.vmap(fl.func.grad(lambda x: x.unfold(0, 1, 1).sum() * x))(x), rand(2), grads=0)
    agree(lambda fl, x: fl.vmap(lambda x: x.squeeze(()))(x), rand(2, 1, 1), grads=0)
    agree(
        lambda fl, x, v: fl.vmap(lambda v: x.clone().fill_(2.0) + fl.zeros_like(v).fill_(v))(v),
        rand(2),
        rand(2),
        grads=0,
    )


def test_batches_of_nothing():
    x = flambeau.zeros(0, 3, 3)
    for f, shape in (
        (lambda x: x.take(flambeau.tensor([0, 1])), (2,)),
        (lambda x: flambeau.linalg.pinv(x), (3, 3)),
        (lambda x: x + flambeau.rand(3), (3, 3)),
        (lambda x: flambeau.nn.functional.conv1d(x[None], x[None, :, :2]), (1, 1, 2)),
        (lambda x: x.sort().values.softmax(0).sum(), ()),
    ):
        assert flambeau.vmap(f, randomness="different")(x).shape == (0, *shape)
        gradient = flambeau.func.grad(lambda x, f=f: f(x).sum())
        assert flambeau.vmap(gradient, randomness="different")(x).shape == x.shape


def test_vmap_of_ends(agree):
    def program(fl, x):
        wide = {"dtype": fl.float64}
        return fl.vmap(lambda x: (fl.linspace(x[0], x[1], 4, **wide), fl.logspace(0.0, x[1], 3, **wide)))(x)

    agree(program, rand(2, 2), grads=0)


def test_vmap_of_biases_alone(agree):
    f = lambda fl, x, w, b: (
        fl.vmap(lambda b: fl.nn.functional.conv1d(x, w, b))(b),
        fl.vmap(lambda b: fl.nn.functional.linear(x, w[:, 0], b))(b),
        fl.vmap(lambda b: fl.nn.functional.batch_norm(w, None, None, b, b, True))(b),
        fl.vmap(lambda w: fl.nn.functional.batch_norm(w, None, None, b[0], None, True))(fl.stack([w, w * w])),
    )
    agree(f, rand(1, 3, 3), rand(3, 3, 3), rand(2, 3), grads=0)


def test_vmap_meets_dtypes_as_samples_do(agree):
    agree(lambda fl, s, y: fl.vmap(lambda s, y: s * y)(s, y), rand(4), rand(4, 3, dtype="float32"), grads=0)


def test_per_sample_gradients(agree):
    def program(fl, w, b, x, y):
        def loss(w, b, x, y):
            return fl.nn.functional.cross_entropy(fl.tanh(x @ w + b).unsqueeze(0), y.unsqueeze(0))

        return fl.vmap(fl.func.grad(loss, argnums=(0, 1)), in_dims=(None, None, 0, 0))(w, b, x, y)

    agree(program, rand(3, 5), rand(5), rand(7, 3), LABELS, grads=0)


def test_per_sample_gradients_of_a_convolution(agree):
    def program(fl, w, x, y):
        def loss(w, x, y):
            h = fl.nn.functional.conv2d(x.unsqueeze(0), w, padding=1).relu()
            return fl.nn.functional.cross_entropy(fl.nn.functional.max_pool2d(h, 2).mean((2, 3)), y.unsqueeze(0))

        many = fl.vmap(fl.func.grad(loss), in_dims=(None, 0, 0))(w, x, y)
        return many, fl.vmap(fl.func.grad(loss, argnums=1))(fl.stack([w] * 7), x, y)

    agree(program, rand(5, 2, 3, 3), rand(7, 2, 6, 6), LABELS, grads=0)


def test_ensemble(agree):
    def program(fl, x):
        models = [
            fl.nn.Sequential(fl.nn.Linear(3, 8), fl.nn.LayerNorm(8), fl.nn.GELU(), fl.nn.Linear(8, 2)).double()
            for _ in range(4)
        ]
        state = fl.func.stack_module_state(models)
        return fl.vmap(lambda p, b: fl.func.functional_call(models[0], (p, b), (x,)))(*state)

    agree(program, rand(6, 3), rtol=1e-7, atol=1e-8, grads=0)


def test_gradients_of_gradients(agree):
    agree(lambda fl, x: fl.func.grad(fl.func.grad(lambda x: fl.sin(x) * x))(x), rand())
    agree(lambda fl, x: fl.func.grad_and_value(lambda x: ((x**2).sum(), x * 2), has_aux=True)(x), rand(3), grads=0)
    agree(
        lambda fl, x: fl.func.vjp(lambda x: (x.sin(), x.sum()), x)[1]((fl.ones_like(x), fl.tensor(2.0).double())),
        rand(3),
        grads=0,
    )
    agree(lambda fl, x: fl.func.linearize(lambda x: x.sin() * x.sum(), x)[1](fl.ones_like(x)), rand(3), grads=0)


def test_gradients_pass_through_transforms(agree):
    agree(lambda fl, w, x: fl.vmap(lambda x: fl.func.grad(lambda x: (x * w).sin().sum())(x))(x), rand(3), rand(4, 3))
    agree(lambda fl, x: fl.func.grad(lambda x: fl.vmap(lambda r: (r**3).sum())(x).sum())(x), rand(4, 3))


def test_jacobians(agree):
    f = lambda fl: lambda x, w: (x @ w).softmax(-1).cumsum(0)
    both = lambda fl, x, w: (
        fl.func.jacrev(f(fl))(x, w),
        fl.func.jacfwd(f(fl))(x, w),
        fl.func.jacrev(f(fl), argnums=(0, 1), chunk_size=2)(x, w),
    )
    agree(both, rand(2, 3), rand(3, 2), grads=0)


def test_hessians_in_every_order_of_modes(agree):
    g = lambda fl: lambda x: (fl.tanh(x) ** 2).prod() + (x[0] * x[1]).exp()

    def program(fl, x):
        rev, fwd = fl.func.jacrev, fl.func.jacfwd
        return fl.func.hessian(g(fl))(x), rev(rev(g(fl)))(x), fwd(fwd(g(fl)))(x), rev(fwd(g(fl)))(x)

    agree(program, rand(3), grads=0)


def test_forward_mode_inside_and_outside_of_vmap(agree):
    jvp = lambda fl, x, v: fl.func.jvp(lambda x: fl.sin(x).sum() * x, (x,), (v,))
    agree(lambda fl, x, v: fl.vmap(lambda x, v: jvp(fl, x, v))(x, v), rand(4, 3), rand(4, 3, seed=1), grads=0)
    agree(
        lambda fl, x, v: fl.func.jvp(fl.vmap(lambda r: (r * 2).softmax(0)), (x,), (v,)),
        rand(4, 3),
        rand(4, 3, seed=1),
        grads=0,
    )


def test_a_batch_of_gradients(agree):
    def program(fl, x, v):
        x.requires_grad_()
        y = x.sin() * x.sum()
        return fl.vmap(lambda v: fl.autograd.grad(y, x, v, retain_graph=True)[0])(v)

    agree(program, rand(3), rand(5, 3), grads=0)


def test_forward_mode_writes_and_views(agree):
    def program(fl, x, w, v):
        with fl.autograd.forward_ad.dual_level():
            x = fl.autograd.forward_ad.make_dual(x, v)
            y = fl.tanh(x @ w)
            y = fl.softmax(y, -1) * x.sum(1, keepdim=True)
            y[0] = y[1] * 2
            z = fl.nn.functional.layer_norm(y, (5,))
            z.mul_(x)
            return fl.autograd.forward_ad.unpack_dual(z.cumsum(0).t()[1:].std(0)).tangent

    agree(program, rand(5, 5), rand(5, 5, seed=1), rand(5, 5, seed=2), grads=0)


def test_reverse_over_forward():
    x = flambeau.tensor([0.3, -0.7], dtype=flambeau.float64, requires_grad=True)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, flambeau.ones(2, dtype=flambeau.float64))
        slope = forward_ad.unpack_dual((dual.sin() * dual).sum()).tangent
        (second,) = flambeau.autograd.grad(slope, x)
    expected = 2 * x.detach().cos() - x.detach() * x.detach().sin()
    assert (second - expected).abs().max() < 1e-12


def test_history_that_nobody_can_reach_is_dropped():
    y = flambeau.func.grad(lambda x: (x**3).sum())(flambeau.ones(3))
    assert not y.requires_grad
    w = flambeau.ones(3, requires_grad=True)
    assert flambeau.func.grad(lambda x: (x**3 * w).sum())(flambeau.ones(3)).requires_grad


def test_randomness():
    x = flambeau.zeros(4, 3)
    same = flambeau.vmap(lambda x: x + flambeau.randn(3), randomness="same")(x)
    assert (same == same[0]).all()
    different = flambeau.vmap(lambda x: x + flambeau.randn(3), randomness="different")(x)
    assert not (different[0] == different[1]).any()
    with pytest.raises(RuntimeError, match="randomness error mode"):
        flambeau.vmap(lambda x: x + flambeau.randn(3))(x)


@pytest.mark.parametrize(
    "program",
    [
        lambda fl, x: fl.vmap(lambda x: x)(),
        lambda fl, x: fl.vmap(lambda x: x, in_dims=3)(x),
        lambda fl, x: fl.vmap(lambda x, y: x)(x, 2.0),
        lambda fl, x: fl.vmap(lambda x: 3.0)(x),
        lambda fl, x: fl.vmap(lambda x, y: x)(x, x[1:]),
        lambda fl, x: fl.vmap(lambda x, y: x, in_dims=None)(x, x[1:]),
        lambda fl, x: fl.vmap(lambda x: x, out_dims=None)(x),
        lambda fl, x: fl.vmap(lambda x: x, chunk_size=0)(x),
    ],
)
def test_refusals_of_vmap(agree, program):
    agree(program, rand(2, 3), raises=ValueError)


def test_refusals(agree):
    agree(lambda fl, x: fl.vmap(lambda x: x.sum().item())(x), rand(2, 3), raises=RuntimeError)
    agree(lambda fl, x: fl.vmap(lambda x: x if x.sum() > 0 else -x)(x), rand(2, 3), raises=RuntimeError)
    agree(lambda fl, x: fl.vmap(lambda x: x.clone().__setitem__(x > 0, 1.0))(x), rand(2, 3), raises=RuntimeError)
    agree(lambda fl, x: fl.vmap(lambda x: fl.arange(x.sum()))(x), rand(2, 3), raises=RuntimeError)
    agree(lambda fl, x: fl.vmap(lambda x: x, randomness="no")(x), rand(2, 3), raises=RuntimeError)
    agree(lambda fl, x: fl.func.grad(lambda x: x * 2)(x), rand(3), raises=RuntimeError)
    agree(lambda fl, x: fl.func.grad(lambda x: x.sum(), argnums=1)(x), rand(3), raises=RuntimeError)
    agree(lambda fl, x: fl.func.jvp(lambda x: x, x, x), rand(3), raises=RuntimeError)


def cube(fl, **members):
    class Cube(fl.autograd.Function):
        @staticmethod
        def forward(x):
            return x.detach() ** 3

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x**2

        @staticmethod
        def jvp(ctx, v):
            (x,) = ctx.saved_tensors
            return v * 3 * x**2

    for name, value in members.items():
        setattr(Cube, name, value)
    return Cube


def test_functions_of_users(agree):
    def program(fl, x):
        own = cube(fl, vmap=staticmethod(lambda info, in_dims, x: (x**3 + 0 * info.batch_size, in_dims[0])))
        made = cube(fl, generate_vmap_rule=True)
        each = fl.vmap(fl.func.grad(lambda r: made.apply(r).sum()))(x)
        forward = fl.func.jvp(cube(fl).apply, (x,), (fl.ones_like(x),))
        return (
            fl.vmap(own.apply)(x),
            fl.vmap(made.apply)(x),
            each,
            forward,
            fl.func.grad(lambda x: made.apply(x).sum())(x),
        )

    agree(program, rand(4, 3), grads=0)
    agree(lambda fl, x: fl.vmap(cube(fl).apply)(x), rand(4, 3), grads=0, raises=RuntimeError)


@pytest.mark.parametrize("name", ["vjp", "jvp", "grad"])
def test_nothing_is_recorded_where_gradients_are_off_within_vmap(agree, name):
    """A transform inside `no_grad` inside `vmap` leaves no history of what its function closes over."""

    def program(fl, p):
        def f(q):
            return (q.sin() * q * p).sum()

        def one(v):
            with fl.no_grad():
                if name == "vjp":
                    return fl.func.vjp(f, p)[1](v.sum())[0]
                return fl.func.jvp(f, (p,), (v,))[1] if name == "jvp" else fl.func.grad(f)(p * v)

        out = fl.vmap(one)(fl.ones(2, 3))
        return out.requires_grad, out

    agree(program, rand(3), grads=0)


def test_tangents_of_complex_results_that_have_no_gradient(agree):
    def program(fl, x):
        w = fl.complex(x, 2 * x).detach()
        return fl.func.jvp(lambda v: fl.nn.functional.embedding(fl.tensor([1, 2]), v), (w,), (fl.ones_like(w),))[1]

    agree(program, rand(4, 3))

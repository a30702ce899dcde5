"""Users' Functions inside transforms: every order of vmap, reverse and forward mode, saved inputs and saved outputs."""

import numpy as np
import pytest

from tests.agree import rand

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)  # PyTorch, of itself


def product(fl, **members):
    """x * y, and x + 1; saves its inputs."""

    class Product(fl.autograd.Function):
        @staticmethod
        def forward(x, y):
            return x * y, x + 1

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, g, h):
            x, y = ctx.saved_tensors
            return g * y + h, g * x

        @staticmethod
        def jvp(ctx, u, v):
            x, y = ctx.saved_tensors
            return u * y + x * v, u * 1

    for name, value in members.items():
        setattr(Product, name, value)
    return Product.apply


def exponential(fl, **members):
    """Saves its output."""

    class Exponential(fl.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x.exp()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(output)
            ctx.save_for_forward(output)

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

        @staticmethod
        def jvp(ctx, v):
            return v * ctx.saved_tensors[0]

    for name, value in members.items():
        setattr(Exponential, name, value)
    return Exponential.apply


OF_TWO = {
    "jvp of one": lambda fl, f, x, y: fl.func.jvp(lambda a: f(a, y), (x,), (y,)),
    "jvp of both": lambda fl, f, x, y: fl.func.jvp(f, (x, y), (y, x)),
    "grad of grad": lambda fl, f, x, y: fl.func.grad(lambda a: fl.func.grad(lambda b: f(a, b)[0].sin().sum())(y).sum())(x),
    "grad of jvp": lambda fl, f, x, y: fl.func.grad(lambda a: fl.func.jvp(lambda b: f(a, b)[0].sin(), (y,), (y,))[1].sum())(x),
    "jvp of grad": lambda fl, f, x, y: fl.func.jvp(lambda a: fl.func.grad(lambda b: f(a, b)[0].sin().sum())(y), (x,), (x,)),
    "hessian": lambda fl, f, x, y: fl.func.hessian(lambda a, b: f(a, b)[0].sin().sum(), argnums=(0, 1))(x[0], y[0]),
    "jacrev": lambda fl, f, x, y: fl.func.jacrev(f, argnums=(0, 1))(x[0], y[0]),
    "jacfwd": lambda fl, f, x, y: fl.func.jacfwd(f, argnums=(0, 1))(x[0], y[0]),
    "vmap": lambda fl, f, x, y: fl.vmap(f, (0, None))(x, y[0]),
    "vmap of vmap": lambda fl, f, x, y: fl.vmap(fl.vmap(f, (None, 0)), (0, None))(x, y),
    "vmap of grad": lambda fl, f, x, y: fl.vmap(fl.func.grad(lambda a, b: f(a, b)[0].sin().sum()), (0, None))(x, y[0]),
    "grad of vmap": lambda fl, f, x, y: fl.func.grad(lambda b: fl.vmap(f, (0, None))(x, b)[0].sin().sum())(y[0]),
    "jvp of vmap": lambda fl, f, x, y: fl.func.jvp(lambda b: fl.vmap(f, (0, None))(x, b)[0].sin(), (y[0],), (y[1],)),
}  # fmt: skip
OF_ONE = {
    "hessian": lambda fl, f, x: fl.func.hessian(lambda a: f(a).sum())(x[0]),
    "reverse twice": lambda fl, f, x: fl.func.jacrev(fl.func.jacrev(lambda a: f(a).sum()))(x[0]),
    "reverse over forward": lambda fl, f, x: fl.func.jacrev(fl.func.jacfwd(lambda a: f(a).sum()))(x[0]),
    "each sample": lambda fl, f, x: fl.vmap(fl.func.grad(lambda a: f(a).sum()))(x),
    "through each sample": lambda fl, f, x: fl.func.grad(
        lambda b: fl.vmap(fl.func.grad(lambda a: f(a).sum()))(b).sum()
    )(x),
    "hessian of each": lambda fl, f, x: fl.vmap(fl.func.hessian(lambda a: f(a).sum()))(x),
}


@pytest.mark.parametrize("made", [False, True], ids=["written", "made"])
@pytest.mark.parametrize("order", OF_TWO)
def test_in_every_order(agree, order, made):
    def program(fl, x, y):
        rule = (
            {"generate_vmap_rule": True}
            if made
            else {"vmap": staticmethod(lambda info, dims, x, y: mapped(fl, x, y, dims))}
        )
        return OF_TWO[order](fl, product(fl, **rule), x, y)

    def mapped(fl, x, y, dims):
        x, y = (t.movedim(d, 0) if d is not None else t.expand(3, *t.shape) for t, d in zip((x, y), dims))
        return product(fl, generate_vmap_rule=True)(x.contiguous(), y.contiguous()), (0, 0)

    agree(program, rand(3, 3), rand(3, 3, seed=1), grads=0)


@pytest.mark.parametrize("order", OF_ONE)
def test_that_save_their_output(agree, order):
    agree(lambda fl, x: OF_ONE[order](fl, exponential(fl), x), rand(2, 3), grads=0)


def test_history_outside_of_a_batch_is_kept(agree):
    def program(fl, x, y):
        return fl.vmap(product(fl, generate_vmap_rule=True), (0, None))(x, y[0])

    agree(program, rand(3, 3), rand(3, 3, seed=1))


def test_refusals(agree):
    def old(fl):
        class Old(fl.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1

        return Old.apply

    one = rand(2, 3)
    agree(lambda fl, x: fl.vmap(old(fl))(x), one, raises=RuntimeError)
    agree(lambda fl, x: fl.func.grad(lambda a: old(fl)(a).sum())(x), one, raises=RuntimeError)
    agree(lambda fl, x: fl.vmap(exponential(fl, generate_vmap_rule=False))(x), one, raises=RuntimeError)
    agree(lambda fl, x: fl.func.jacfwd(exponential(fl, generate_vmap_rule=False))(x), one, raises=RuntimeError)
    both = {"vmap": staticmethod(lambda info, dims, x: (x, 0))}
    agree(lambda fl, x: fl.vmap(exponential(fl, **both))(x), one, raises=RuntimeError)
    plain = {"jvp": staticmethod(lambda ctx, v: v), "generate_vmap_rule": False}
    one_result = {**plain, "vmap": staticmethod(lambda info, dims, x: [x, 0])}
    agree(lambda fl, x: fl.vmap(exponential(fl, **one_result))(x), one, raises=RuntimeError)

    def without_jvp(fl, x):
        f = exponential(fl, jvp=fl.autograd.Function.jvp)
        return fl.func.jvp(f, (x,), (x,))

    agree(without_jvp, one, raises=NotImplementedError)
    agree(lambda fl, i: fl.func.grad(lambda a: a.sum())(i), np.arange(3), raises=RuntimeError)


def test_duals_are_written_to_alone(agree):
    """An in-place operation changes the tangent of what it writes to, and no other."""

    def program(fl, x, v):
        fw = fl.autograd.forward_ad
        with fw.dual_level():
            d = fw.make_dual(x.detach(), v.detach())
            y = d.clone()
            y.mul_(d)
            y[1] = 5.0
            column = y.view(3, 1)
            column.add_(d.unsqueeze(1))
            return [tuple(fw.unpack_dual(t)) for t in (d, y, column)]

    agree(program, rand(3), rand(3, seed=1), grads=0)


def test_levels_end(agree):
    def program(fl, x):
        fw = fl.autograd.forward_ad
        with fw.dual_level():
            d = fw.make_dual(x.detach(), x.detach())
        with fw.dual_level():
            return fw.unpack_dual(d * 2).tangent is None, fw._current_level, fw.unpack_dual(d, level=0).tangent is None

    agree(program, rand(3), grads=0)
    agree(lambda fl, x: fl.autograd.forward_ad.exit_dual_level(), rand(1), raises=RuntimeError)


def test_a_function_that_writes_runs_once(agree):
    def program(fl, x):
        class Doubled(fl.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.mark_dirty(x)
                return x.mul_(2)

            @staticmethod
            def jvp(ctx, v):
                return v.mul_(2)

        fw = fl.autograd.forward_ad
        with fw.dual_level():
            d = fw.make_dual(x.detach().clone(), fl.ones_like(x.detach()))
            return tuple(fw.unpack_dual(Doubled.apply(d))), tuple(fw.unpack_dual(d))

    agree(program, rand(3), grads=0)


RANDOM = {
    "dropout": lambda fl, a: fl.nn.functional.dropout(a, 0.3),
    "dropout of another": lambda fl, a: fl.nn.functional.dropout(fl.ones(4)) + a[0],
    "uniform_": lambda fl, a: a.clone().uniform_(),
    "normal_": lambda fl, a: a.clone().normal_(),
    "gumbel": lambda fl, a: fl.nn.functional.gumbel_softmax(a),
    "rand_like": lambda fl, a: fl.rand_like(a),
}


@pytest.mark.parametrize("randomness", ["same", "different"])
@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_in_a_batch(agree, name, randomness):
    def program(fl, x):
        fl.manual_seed(3)
        return fl.vmap(lambda a: RANDOM[name](fl, a), randomness=randomness)(x.detach())

    agree(program, rand(2, 4), grads=0)


@pytest.mark.parametrize("name", ["bernoulli", "poisson"])
def test_same_numbers_of_different_samples_are_refused(agree, name):
    agree(lambda fl, x: fl.vmap(getattr(fl, name), randomness="same")(x.detach().abs().clamp(max=1)), rand(2, 4), raises=RuntimeError)  # fmt: skip


REFUSED = {
    "nonzero": lambda fl, a: a.nonzero(),
    "unique": lambda fl, a: fl.unique(a),
    "unique_consecutive": lambda fl, a: fl.unique_consecutive(a),
    "masked_select": lambda fl, a: fl.masked_select(a, a > 0),
    "mask": lambda fl, a: a[a > 0],
    "equal": lambda fl, a: fl.equal(a, a),
    "allclose": lambda fl, a: fl.allclose(a, a),
    "out": lambda fl, a: fl.add(a, 1, out=fl.empty(4)),
    "copy_": lambda fl, a: fl.zeros(4).copy_(a),
    "index_put_": lambda fl, a: fl.zeros(4).index_put_((fl.tensor([0]),), a[:1]),
    "one_hot": lambda fl, a: fl.nn.functional.one_hot(a.long().abs()),
    "data": lambda fl, a: a.data,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_shape_for_a_batch(agree, name):
    agree(lambda fl, x: fl.vmap(lambda a: REFUSED[name](fl, a))(x.detach()), rand(2, 4), raises=RuntimeError)


def test_a_batch_has_no_storage(agree):
    agree(lambda fl, x: fl.vmap(lambda a: a.untyped_storage())(x), rand(2, 4), raises=NotImplementedError)


def test_views_by_strides_in_a_batch(agree):
    agree(lambda fl, x: fl.vmap(lambda a: a.as_strided((2,), (1,)))(x), rand(2, 4), strides=True)
    agree(lambda fl, x: fl.vmap(lambda a: a.as_strided((2,), (1,)), 1)(x), rand(4, 2))


def test_shown(agree):
    def program(fl, x):
        seen = []
        fl.vmap(fl.vmap(lambda a: (seen.append(repr(a)), a * 1)[1]))(x)
        return seen

    agree(program, np.arange(4).reshape(2, 2), grads=0)


def test_jacobians_in_strict_mode(agree):
    af = lambda fl: fl.autograd.functional
    agree(lambda fl, x: af(fl).jacobian(lambda t: fl.ones(2), x, strict=True), rand(3), raises=RuntimeError)
    agree(lambda fl, x: af(fl).jacobian(lambda t: t, x, strategy="forward-mode"), rand(3), raises=NotImplementedError)
    agree(lambda fl, x: af(fl).jacobian(lambda t: t, x, strict=True, vectorize=True), rand(3), raises=RuntimeError)
    agree(lambda fl, x: af(fl).jacobian(lambda t: t, x, strategy="sideways"), rand(3), raises=AssertionError)

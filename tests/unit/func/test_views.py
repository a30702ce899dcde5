"""Writes in place and through views under transforms: in forward mode, in batches, and with gradients taken inside of these."""

import pytest

from tests.agree import rand

pytestmark = [  # PyTorch's
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning"),
]


def through_views(fl, x):
    """A program of one sample that writes through views of views."""
    y = x.clone()
    y[0] = x[1] * 2
    y[2:4].mul_(x[0].clone())
    v = y.view(2, 3)
    v[1] *= v[0].clone()
    y[::2].add_(1)
    z = fl.zeros_like(x)
    z[1:3] = y[:2].exp()
    z.view(3, 2)[:, 1].mul_(y[3].clone())
    return (y * z).sum() + v.prod()


@pytest.mark.parametrize(
    "transform",
    [
        lambda fl, f, x: fl.vmap(f)(x),
        lambda fl, f, x: fl.vmap(fl.func.grad(f))(x),
        lambda fl, f, x: fl.func.grad(lambda x: fl.vmap(f)(x).sum())(x),
        lambda fl, f, x: fl.vmap(fl.func.hessian(f))(x),
        lambda fl, f, x: fl.vmap(fl.func.jacrev(fl.func.jacrev(f)))(x),
        lambda fl, f, x: fl.func.jacfwd(fl.func.jacfwd(f))(x[0]),
        lambda fl, f, x: fl.func.jacrev(fl.func.jacfwd(f))(x[0]),
        lambda fl, f, x: fl.func.jvp(fl.vmap(f), (x,), (x + 1,)),
        lambda fl, f, x: fl.vmap(lambda x: fl.func.jvp(f, (x,), (x + 1,)))(x),
        lambda fl, f, x: fl.vmap(fl.vmap(fl.func.grad(f)))(fl.stack([x, x * 2])),
        lambda fl, f, x: fl.vmap(fl.func.grad(f), in_dims=1, out_dims=1)(x.t().contiguous()),
    ],
)
def test_writes_through_views(agree, transform):
    agree(lambda fl, x: transform(fl, lambda x: through_views(fl, x), x), rand(2, 6), grads=0)


def test_a_view_made_before_its_base_has_a_tangent(agree):
    def program(fl, x, v):
        with fl.autograd.forward_ad.dual_level():
            x = fl.autograd.forward_ad.make_dual(x, v)
            y = fl.zeros(2, 3, dtype=fl.float64)
            row, corner = y[0], y[:, :1]
            row.copy_(x[0])
            corner.mul_(x[1, 1])
            row[1:] = row[:2].clone() * 3
            return [fl.autograd.forward_ad.unpack_dual(t).tangent for t in (y, row, corner, y.t())]

    agree(program, rand(2, 3), rand(2, 3, seed=1), grads=0)


def test_leaves_are_not_written(agree):
    for f in (lambda x: x.mul_(2).sum(), lambda x: x[0].mul_(2).sum() + x.sum()):
        agree(lambda fl, x, f=f: fl.vmap(fl.func.grad(f))(x.clone()), rand(2, 3), grads=0, raises=RuntimeError)
        agree(lambda fl, x, f=f: fl.vmap(f)(x.clone()), rand(2, 3), grads=0)


def test_what_is_saved_must_not_be_overwritten(agree):
    def f(x):
        y = x.sin()
        z = y[0].pow(3)
        y[0] = 0
        return y.sum() + z

    agree(lambda fl, x: fl.vmap(fl.func.grad(f))(x), rand(2, 3), grads=0, raises=RuntimeError)


def test_parts_replaced_where_only_they_are_batched(agree):
    def program(fl, x, r):
        return (
            fl.vmap(lambda r: fl.select_scatter(x, r, 0, 1))(r),
            fl.vmap(lambda r: fl.slice_scatter(x, r[None], 0, 1, 2))(r),
            fl.vmap(lambda r: fl.diagonal_scatter(x, r))(r),
            fl.vmap(fl.func.grad(lambda r: fl.select_scatter(x, r, 0, 1).prod()))(r),
        )

    agree(program, rand(3, 3), rand(2, 3), grads=0)
    write = lambda fl, x, r: fl.vmap(lambda r: x.clone()[0].copy_(r))(r)
    agree(write, rand(3, 3), rand(2, 3), grads=0, raises=RuntimeError)

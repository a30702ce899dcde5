"""MaskedTensor: construction, operators, reductions, gradients, layouts, printing; each program runs under PyTorch too."""

import numpy as np
import pytest

import flambeau
from tests.agree import rand

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch calls masked tensors a prototype
X, Y = rand(3, 4), rand(3, 4, seed=1)
M = np.array([[True, False, True, True], [False, False, False, False], [True, True, False, True]])


def masked(fl, x, m=M, **kwargs):
    return fl.masked.masked_tensor(fl.tensor(x), fl.tensor(m), **kwargs)


def parts(t):
    """What of a masked tensor is there, where, and how it prints."""
    if isinstance(t, (tuple, list)):
        return [parts(x) for x in t]
    data, mask = t.get_data().detach(), t.get_mask()
    if str(data.layout) != "torch.strided":
        return data.values(), mask.values(), repr(t)
    return data.masked_fill(~mask, 0), mask, repr(t)


def test_parts(agree):
    def program(fl, x, m):
        t = fl.masked.masked_tensor(x.detach(), m, requires_grad=True)
        u = fl.masked.as_masked_tensor(x, m)
        return (parts(t), parts(u), t.to_tensor(7.0), t.shape, t.dtype, t.requires_grad, t.is_leaf, u.requires_grad, fl.masked.is_masked_tensor(t),
                fl.masked.is_masked_tensor(x), isinstance(t, fl.Tensor), t.is_sparse, t.is_contiguous(), type(t).__name__)  # fmt: skip

    agree(program, X, M, grads=0)
    agree(lambda fl: repr(masked(fl, np.array(2.5), np.array(True))) + repr(masked(fl, np.array(2), np.array(False))))
    agree(
        lambda fl: (
            repr(masked(fl, rand(2, 2, 2) * 1e4, rand(2, 2, 2) > 0))
            + repr(masked(fl, np.array([1, 20, 3]), np.array([True, False, True])))
        )
    )


@pytest.mark.parametrize("data, mask, error", [
    (X, X, TypeError), (X, M[0], ValueError), (X, M[:2], ValueError), (X.astype("complex64"), M, TypeError), (X.astype("uint8"), M, TypeError),
])  # fmt: skip
def test_what_cannot_be_made(agree, data, mask, error):
    agree(lambda fl: masked(fl, data, mask), raises=error)
    agree(lambda fl: fl.masked.masked_tensor(3, fl.tensor(True)), raises=TypeError)


def test_operators(agree):
    def program(fl):
        t, u = masked(fl, X), masked(fl, Y)
        made = [t.sin(), t.abs(), -t, t.clamp(0, 1), t.square(), t.isnan(), t + u, t * 2, t - u, t / u, t + fl.ones(4), t > 0, t < u, t == u,
                fl.maximum(t, u), t[0], t.t(), t.reshape(4, 3), t.unsqueeze(0), fl.cat([t, u]), fl.stack([t, u]), t.expand(2, 3, 4), t.clone(),
                t.to(fl.float32), t.double(), fl.ones_like(t), t.softmax(-1), *t.split(2)]  # fmt: skip
        t.add_(1)
        u.neg_()
        return parts([*made, t, u])

    agree(program)
    agree(lambda fl: masked(fl, X) + masked(fl, X, ~M), raises=ValueError)
    with pytest.raises(TypeError, match="Multiple dispatch failed"):
        masked(flambeau, X).cumsum(0)


def test_in_place_is_in_place(agree):
    def program(fl):
        data = fl.tensor(X)
        t = fl.masked.as_masked_tensor(data, fl.tensor(M))
        at = t.get_data().data_ptr()
        t.abs_().mul_(2).gt_(0.5)
        half = fl.masked.masked_tensor(fl.tensor(X).half(), fl.tensor(M)).add_(fl.ones(4))
        return parts([t, half]), t.get_data().data_ptr() == at, str(half.get_data().dtype)

    agree(program)
    agree(lambda fl: masked(fl, np.arange(3), M[0, :3]).div_(2), raises=RuntimeError)


def test_numbers_for_nan(agree):
    x = np.where(X > 0.5, np.nan, np.where(X < -0.5, np.inf, X))

    def program(fl):
        t = masked(fl, x, requires_grad=True)
        out = t.nan_to_num(2.0, 3.0)
        out.sum().backward()
        return parts([out, t.grad, fl.nan_to_num(masked(fl, x), posinf=1.0)])

    agree(program)


@pytest.mark.parametrize("name", ["sum", "mean", "amin", "amax", "argmin", "argmax", "prod", "var", "std", "all"])
def test_reductions(agree, name):
    def program(fl):
        t = masked(fl, X if name != "all" else X > 0)
        return parts([getattr(t, name)()] + [getattr(t, name)(1), getattr(t, name)(dim=0, keepdim=True)])

    agree(program)


def test_gradients(agree):
    def program(fl):
        out = []
        for fn in (
            lambda t: (t * t).sum(),
            lambda t: t.sin().mean(),
            lambda t: t.exp().amax(),
            lambda t: t.prod(1).sum(),
            lambda t: t.softmax(-1).sum(),
        ):
            t = masked(fl, X, requires_grad=True)
            fn(t).backward()
            out.append(parts(t.grad))
        x = fl.tensor(X, requires_grad=True)
        (fl.masked.as_masked_tensor(x, fl.tensor(M)) * 3).to_tensor(0.0).sum().backward()
        a, b = masked(fl, X, requires_grad=True), masked(fl, Y, requires_grad=True)
        fl.where(fl.tensor(X > 0), a, b).sum().backward()
        return out, parts([a.grad, b.grad]), x.grad.get_data() if fl.masked.is_masked_tensor(x.grad) else x.grad

    agree(program)


def test_gradients_of_data(agree):
    """Also where no operator was called on the masked tensor, and towards some tensors only."""

    def program(fl):
        out = []
        for fn in (lambda t: t, lambda t: t * 3):
            x = fl.tensor(X, requires_grad=True)
            fn(fl.masked.as_masked_tensor(x, fl.tensor(M))).get_data().sum().backward()
            out.append(parts(x.grad))
            for t in (fl.masked.as_masked_tensor(x, fl.tensor(M)), masked(fl, X, requires_grad=True)):
                source = x if t.grad_fn is not None else t
                fn(t).get_data().sum().backward(inputs=[source])
                fn(t).get_data().sum().backward(inputs=[source])
                out.append(parts(source.grad))
                out.append(parts(fl.autograd.grad(fn(t).get_data().sum(), source)))
        return out

    agree(program)


@pytest.mark.parametrize("layout", ["sparse", "sparse_csr"])
def test_sparse(agree, layout):
    def program(fl):
        t = masked(fl, X)
        s = t.to_sparse() if layout == "sparse" else t.to_sparse_csr()
        return (
            parts([s, s.sin(), s + s, s.to_dense(), s.sum()]),
            s.is_sparse,
            s.is_sparse_coo(),
            s.is_sparse_csr(),
            str(s.layout),
        )

    agree(program)

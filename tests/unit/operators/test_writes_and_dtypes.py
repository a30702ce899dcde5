"""Truth values written over numbers, numbers stored as integers, and dtypes and layouts that a survey of all operators found wrong."""

import numpy as np
import pytest

from tests.agree import rand


@pytest.mark.parametrize("name", ["eq_", "ne_", "lt_", "le_", "gt_", "ge_"])
def test_no_gradient_passes_truth_values_that_were_written(agree, name):
    def program(fl, x, y):
        whole, part, number = x * 2, x * 3, x * 4
        getattr(whole, name)(y)
        getattr(part[1:], name)(y[1:])
        getattr(number, name)(0.5)
        return whole, part, number, whole.requires_grad

    agree(program, rand(3, 2), rand(3, 2, seed=1), grads=2)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_truth_values_of_samples(agree):
    def program(fl, x):
        def one(x):
            y = x * 2
            y[:1].lt_(0.5)
            return y.sum()

        return fl.vmap(fl.func.grad(one))(x.detach()), fl.func.grad(lambda x: one(x[0]))(x.detach())

    agree(program, rand(3, 2), grads=0)


STORED = {
    "scatter": lambda fl, u, v: u.scatter(0, fl.tensor([0]), v),
    "full_like": lambda fl, u, v: fl.full_like(u, v),
    "new_full": lambda fl, u, v: u.new_full((2,), v),
    "full": lambda fl, u, v: fl.full((2,), v, dtype=u.dtype),
    "fill_": lambda fl, u, v: u.clone().fill_(v),
    "index_fill": lambda fl, u, v: u.index_fill(0, fl.tensor([0]), v),
    "masked_fill": lambda fl, u, v: u.masked_fill(u > 1, v),
    "assignment": lambda fl, u, v: u.clone().__setitem__(0, v),
    "threshold": lambda fl, u, v: fl.nn.functional.threshold(u, 1, v),
    "pad": lambda fl, u, v: fl.nn.functional.pad(u, (1, 1), value=v),
}


@pytest.mark.parametrize("name", STORED)
def test_numbers_that_integers_cannot_hold(agree, name):
    def told(fl, u):
        found = []
        for dtype in (fl.uint8, fl.int8, fl.int64):
            for v in (3.7, -3.5, -0.5, 300.0, float("inf"), float("nan")):
                try:
                    found.append(STORED[name](fl, u.to(dtype), v))
                except RuntimeError as problem:
                    found.append(str(problem))
        return found

    agree(told, np.array([1, 2, 3]), grads=0)


REFUSED = {
    "noise of another size": (RuntimeError, lambda fl, x: fl._C._nn.rrelu_with_noise(x.detach(), x.detach()[0])),
    "noise with a history": (RuntimeError, lambda fl, x: fl._C._nn.rrelu_with_noise(x.detach(), x)),
    "the order of igamma": (NotImplementedError, lambda fl, x: fl.igamma(x.abs(), x.detach().abs()).sum().backward()),
    "long rows of integers": (RuntimeError, lambda fl, x: fl.nn.functional.embedding(fl.tensor([0]), x.long(), max_norm=0.5)),
    "complex tolerances": (RuntimeError, lambda fl, x: fl.linalg.pinv(x, rtol=fl.tensor(0.1j))),
    "complex tolerances of a rank": (RuntimeError, lambda fl, x: fl.linalg.matrix_rank(x, fl.tensor(0.1j))),
    "the largest of one complex number": (RuntimeError, lambda fl, x: (x[0, 0] + 1j).max(0)),
    "a strided tensor added to itself": (RuntimeError, lambda fl, x: (lambda y: y.index_add_(0, fl.arange(3), y))(x.detach()[:, ::2])),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(agree, name):
    error, call = REFUSED[name]
    agree(lambda fl, x: call(fl, x.requires_grad_()), rand(3, 4), raises=error, grads=0)


LAID = {
    "where": lambda fl, x, y: fl.where(x > 0, x, y),
    "where the condition alone is turned": lambda fl, x, y: fl.where(x.detach() > 0, x.contiguous(), y),
    "prelu": lambda fl, x, y: fl.nn.functional.prelu(x, y[0]),
    "squares": lambda fl, x, y: fl.nn.functional.mse_loss(x, x.detach() * 0.5),
    "smooth distances": lambda fl, x, y: fl.nn.functional.smooth_l1_loss(x, y),
    "Huber's distances": lambda fl, x, y: fl.nn.functional.huber_loss(y, x, reduction="none"),
    "squares of each": lambda fl, x, y: fl.nn.functional.mse_loss(x, y, reduction="none"),
}


@pytest.mark.parametrize("name", LAID)
def test_gradients_of_turned_tensors_lie_as_pytorchs(agree, name):
    def program(fl, x, y):
        x = x.detach().mT.requires_grad_()
        r = LAID[name](fl, x, y)
        g = fl.autograd.grad(r, (x, y), fl.ones_like(r, memory_format=fl.contiguous_format), allow_unused=True)
        return r, *g

    agree(lambda fl, x, y: program(fl, x, y.requires_grad_()), rand(3, 2), rand(2, 3, seed=1), strides=True, grads=0)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_gradients_of_padded_images_keep_channels_last(agree, mode):
    def program(fl, x):
        last = x.detach().contiguous(memory_format=fl.channels_last).requires_grad_()
        found = []
        for t in (x, last):
            r = fl.nn.functional.pad(t, (1, 0, 2, 1), mode=mode)
            found += [r, *fl.autograd.grad(r.sin(), t, fl.ones_like(r))]
        return found

    agree(lambda fl, x: program(fl, x.requires_grad_()), rand(2, 3, 4, 5), strides=True, grads=0)


def test_dropout_of_integers_keeps_their_dtype(agree):
    agree(lambda fl: fl.feature_alpha_dropout(fl.ones(2, 3, 2).long(), 1.0, True).dtype)


def test_names_that_pytorch_does_not_have(agree):
    agree(lambda fl: hasattr(fl._C._nn, "nll_loss_forward"))

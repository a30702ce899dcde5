"""What random programs found taken, or refused in other words, or without a gradient, where PyTorch is clear about it."""

import numpy as np
import pytest

from tests.agree import rand

REFUSED = {
    "scalars among matrices": (RuntimeError, lambda fl, x: fl.searchsorted(x, fl.tensor(1.0, dtype=x.dtype))),
    "scalars among a scalar": (RuntimeError, lambda fl, x: fl.searchsorted(x[0, 0], x[0, 0])),
    "vectors among a scalar": (RuntimeError, lambda fl, x: fl.searchsorted(x[0, 0], x[0])),
    "buckets of a scalar": (RuntimeError, lambda fl, x: fl.bucketize(x, x[0, 0])),
    "a complex limit": (NotImplementedError, lambda fl, x: x.clamp(x + 1j)),
    "a complex upper limit": (NotImplementedError, lambda fl, x: x.clamp(max=x + 1j)),
    "no dims of logsumexp": (RuntimeError, lambda fl, x: x.logsumexp(())),
    "a dim that is not there": (IndexError, lambda fl, x: fl.norm_except_dim(x, dim=2)),
    "strides of means of volumes": (RuntimeError, lambda fl, x: fl._C._nn.avg_pool3d(x[None, None], 2, (1, 1))),
    "sizes of means of volumes": (RuntimeError, lambda fl, x: fl._C._nn.avg_pool3d(x[None, None], (2, 2))),
    "strides of maxima": (RuntimeError, lambda fl, x: fl.max_pool2d(x[None], 2, (1, 1, 1))),
    "weights of more classes": (RuntimeError, lambda fl, x: fl.nn.functional.binary_cross_entropy_with_logits(x[:, :1], x[:, :1].abs(), x.abs()[0])),
    "positive weights of more classes": (RuntimeError, lambda fl, x: fl.binary_cross_entropy_with_logits(x[:, :1], x[:, :1].abs(), None, x.abs()[0])),
    "indices into what is not in order": (RuntimeError, lambda fl, x: fl.take_along_dim(x.mT, fl.tensor([1]))),
    "rows of nothing": (RuntimeError, lambda fl, x: fl.nn.functional.embedding(fl.tensor([0]), x[:0])),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(agree, name):
    error, call = REFUSED[name]
    agree(lambda fl, x: call(fl, x.detach()), rand(3, 4), raises=error)


def test_one_of_two_norms_is_zero(agree):
    x = np.zeros((3, 4))
    x[1] = rand(4)
    x[2] = 1e-10
    agree(lambda fl, x, y: fl.nn.functional.cosine_similarity(x, y), x, rand(3, 4, seed=1))
    agree(lambda fl, x: fl.nn.functional.cosine_similarity(x, x), x)


def written_since(fl, x, how):
    if how == "indices":
        values, indices = x.sort(0)
        indices.mul_(2)
        return values.sum().backward()
    y = x * (2j if how == "complex numbers" else 2)
    if how == "complex numbers":
        z = y.acos().abs()
        y.mul_(2)
    elif how == "a view":
        part = y[:1]
        z = part * part
        y.view(-1).mul_(2)
    else:
        z = y.exp() * y
        y[:1].mul_(2)
        w = y * y
        y.mul_(2)
        z = z + w
    return z.sum().backward()


@pytest.mark.parametrize("how", ["indices", "a view", "a part", "complex numbers"])
def test_who_wrote_what_a_gradient_needs(agree, how):
    agree(lambda fl, x: written_since(fl, x.requires_grad_(), how), rand(3, 4), raises=RuntimeError)


def test_the_node_of_what_was_written_in_part(agree):
    def program(fl, x):
        y = x * 1
        y[:2].mul_(2)
        return y.grad_fn.name(), type(y.grad_fn).__name__

    agree(program, rand(3))

"""Values at the edges: NaN, nothing, sizes that do not fit."""

import math

import pytest

from tests.agree import rand

NAN = math.nan
EDGES = {
    "cholesky of NaN": lambda fl: fl.linalg.cholesky_ex(
        fl.tensor([[[1.0, 0.0], [0.0, NAN]], [[NAN, 0.0], [0.0, 1.0]]])
    )[1],
    "pooling of no images": lambda fl: [fl.nn.functional.adaptive_max_pool2d(fl.ones(0, 2, 4, 4), 2, True)],
    "unpooling of no images": lambda fl: fl.nn.functional.max_unpool2d(
        fl.ones(0, 2, 4, 4), fl.ones(0, 2, 4, 4).long(), 2
    ),
    "points of no images": lambda fl: fl.nn.functional.conv2d(fl.ones(0, 2, 4, 4), fl.ones(3, 2, 1, 1)),
    "points of no volumes": lambda fl: fl.nn.functional.conv3d(fl.ones(0, 2, 4, 4, 4), fl.ones(3, 2, 1, 1, 1)),
    "margins of NaN": lambda fl: fl.nn.functional.multi_margin_loss(fl.tensor([[1.0, NAN, 0.5]]), fl.tensor([0])),
    "margins of several and NaN": lambda fl: fl.nn.functional.multilabel_margin_loss(
        fl.tensor([[1.0, NAN, 0.5]]), fl.tensor([[0, -1, -1]])
    ),
    "plain tuples": lambda fl: [
        type(fl.native_layer_norm(fl.ones(2), (2,), None, None, 1e-5)).__name__,
        type(fl.nn.functional.max_pool2d(fl.ones(1, 2, 2), 2, return_indices=True)).__name__,
    ],
    "differences with two": lambda fl: fl.diff(fl.ones(3, 4), n=2, prepend=fl.ones(3, 1)),
    "coordinates that are not numbers": lambda fl: fl.cdist(
        fl.tensor([[NAN, 1.0]]), fl.tensor([[0.0, 1.0], [2.0, NAN]]), 0.0
    ),
    "coordinates that differ": lambda fl: fl.cdist(fl.tensor([[0.5, 1.0]]), fl.tensor([[0.0, 1.0], [2.0, 3.0]]), 0.0),
}
REFUSED = {
    "no output": lambda fl: fl.nn.functional.conv_transpose1d(fl.ones(1, 2, 4), fl.ones(2, 3, 1), padding=7),
    "negative output padding": lambda fl: fl.nn.functional.conv_transpose2d(
        fl.ones(1, 2, 4, 4), fl.ones(2, 3, 1, 1), output_padding=-1
    ),
    "no positions": lambda fl: fl.nn.functional.conv_transpose2d(fl.ones(1, 2, 4, 0), fl.ones(2, 3, 1, 1)),
    "windows of nothing": lambda fl: fl.nn.functional.unfold(fl.ones(1, 2, 4, 4), 0),
    "windows that do not move": lambda fl: fl.nn.functional.unfold(fl.ones(1, 2, 4, 4), 2, stride=0),
    "quantiles that are not numbers": lambda fl: fl.quantile(fl.ones(3), fl.tensor([0.5, NAN])),
    "cholesky of NaN": lambda fl: fl.linalg.cholesky(fl.tensor([[1.0, 0.0], [0.0, NAN]])),
    "differences of other sizes": lambda fl: fl.diff(fl.ones(3, 4), prepend=fl.ones(2, 1)),
    "differences of other ranks": lambda fl: fl.diff(fl.ones(3, 4), prepend=fl.ones(2)),
    "weights that are not numbers": lambda fl: fl.cov(fl.ones(2, 3), aweights=fl.tensor([1.0, NAN, 0.3])),
}


@pytest.mark.parametrize("case", EDGES)
def test_edges(agree, case):
    agree(lambda fl, x: EDGES[case](fl), rand(1), grads=0)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(agree, case):
    def program(fl, x):
        try:
            return REFUSED[case](fl)
        except RuntimeError as error:
            return str(error)

    agree(program, rand(1), grads=0)


@pytest.mark.filterwarnings("ignore:cov")
def test_more_freedom_taken_than_there_is(agree):
    agree(lambda fl, x: fl.cov(x, correction=7), rand(2, 3), grads=0)


def test_digamma_twice(agree):
    agree(lambda fl, x: fl.digamma(x.abs() + 1), rand(3), grads=2)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_forward_derivative_of_logarithms_of_sums(agree):
    def program(fl, x, v):
        return fl.func.jvp(lambda t: fl.logcumsumexp(t, 0), (x.detach(),), (v.detach(),))

    agree(program, rand(5), rand(5), grads=0)

"""`_version`: how often a result, or a gradient, counts as written when it is made."""

import pytest

from tests.agree import rand

RESULTS = {
    "a slice replaced": lambda fl, x: fl.slice_scatter(x, x[:1], 0, 0, 1),
    "a row replaced": lambda fl, x: fl.select_scatter(x, x[0], 0, 1),
    "a diagonal replaced": lambda fl, x: fl.diagonal_scatter(x, x.diagonal()),
    "elements replaced": lambda fl, x: fl.as_strided_scatter(x.detach(), x[0].detach(), (4,), (1,)),
    "one-hot rows": lambda fl, x: fl.nn.functional.one_hot(fl.tensor([1, 0])),
    "no one-hot rows": lambda fl, x: fl.nn.functional.one_hot(fl.tensor([], dtype=fl.int64), 3),
    "vector and matrix": lambda fl, x: x[0] @ x.mT,
    "matrix and vector": lambda fl, x: x @ x[0],
    "vector through a layer": lambda fl, x: fl.nn.functional.linear(x[0], x),
    "no difference": lambda fl, x: fl.diff(x, n=0),
    "difference": lambda fl, x: fl.diff(x),
    "quantile": lambda fl, x: fl.quantile(x, 0.5),
    "quantiles": lambda fl, x: fl.quantile(x, fl.tensor([0.5], dtype=x.dtype), dim=0),
    "lower quantile": lambda fl, x: fl.nanquantile(x, 0.5, dim=1, interpolation="lower"),
    "close": lambda fl, x: fl.isclose(x, x),
    "close or NaN": lambda fl, x: fl.isclose(x, x, equal_nan=True),
    "equal or NaN": lambda fl, x: fl.isclose(x, x, rtol=0, atol=0, equal_nan=True),
    "margins": lambda fl, x: fl.nn.functional.margin_ranking_loss(x, x, x, reduction="none"),
    "mean margin": lambda fl, x: fl.nn.functional.margin_ranking_loss(x, x, x),
    "wrapped around": lambda fl, x: fl.nn.functional.pad(x[None], (1, 0), mode="circular"),
    "sequences": lambda fl, x: fl.nn.utils.rnn.pad_sequence([x, x[:1]]),
    "spectra": lambda fl, x: fl.stft(x.reshape(-1), 4, return_complex=True, window=fl.ones(4, dtype=x.dtype)),
    "spectra of several": lambda fl, x: fl.stft(
        x, 4, 1, center=False, return_complex=True, window=fl.ones(4, dtype=x.dtype)
    ),
    "parameter": lambda fl, x: fl.nn.Parameter(x.detach().clone().add_(1)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_versions_of_results(agree, name):
    def program(fl, x):
        found = [RESULTS[name](fl, t) for t in (x, x.detach())]
        return found, [t._version for t in found]

    agree(program, rand(3, 4))


GRADIENTS = {
    "its own": lambda fl, x, y: (x * 2).sum(),
    "several times": lambda fl, x, y: x * x + x * 3 + x.exp(),
    "of twice the same": lambda fl, x, y: x + x,
    "shared": lambda fl, x, y: (x + y).exp(),
    "laid out otherwise": lambda fl, x, y: (x.mT.contiguous() * 2).sum(),
    "of a square": lambda fl, x, y: (x * x).sum(),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_versions_and_strides_of_gradients(agree, name):
    def program(fl, x, y):
        leaves = [
            x,
            y,
            x.detach().mT.contiguous().mT.requires_grad_(),
            x.detach()[None].mT.contiguous().mT.requires_grad_(),
        ]
        found = []
        for leaf in leaves:
            other = leaf.detach().clone().requires_grad_()
            r = GRADIENTS[name](fl, leaf, other)
            r.backward(fl.ones_like(r))
            found.append((leaf.grad._version, leaf.grad.stride()[-2:]))
            r = GRADIENTS[name](fl, leaf, other)
            r.backward(fl.ones_like(r))
            found.append((leaf.grad._version, leaf.grad.stride()[-2:]))
        return found

    agree(lambda fl, x, y: program(fl, x.requires_grad_(), y.requires_grad_()), rand(3, 4), rand(3, 4, seed=1), grads=0)


def test_a_leaf_that_was_detached_gathers_nothing(agree):
    def program(fl, x):
        x = x.detach().requires_grad_()
        y = x.exp().sum()
        x.detach_()
        y.backward()
        return x.grad is None

    agree(program, rand(3))


def test_the_conjugate_of_real_numbers_is_the_tensor_itself(agree):
    def program(fl, x):
        y = fl.conj_physical(x)
        return (
            y is x or y.data_ptr() == x.data_ptr(),
            y,
            y.requires_grad,
            fl.conj_physical(x + 1j),
            x.detach().conj_physical_(),
        )

    agree(program, rand(3))


def test_where_numbers_are_real_is_laid_out_as_they_are(agree):
    agree(lambda fl, x: (x.mT.isreal(), (x + 0j).mT.isreal()), rand(3, 4), strides=True, grads=0)


def test_names_that_are_of_operators_in_place_alone(agree):
    agree(
        lambda fl: [hasattr(fl, name) for name in ("embedding_renorm", "embedding_renorm_", "embedding_dense_backward")]
    )

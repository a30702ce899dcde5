"""`_version` counts what is written into a tensor; and how gradients lie."""

import pytest

from tests.agree import rand

WRITTEN = {
    "fresh": lambda fl, x: x * 2,
    "in place": lambda fl, x: (x * 2).add_(1).mul_(2),
    "through a view": lambda fl, x: (x * 2)[0].add_(1)._base,
    "parameter": lambda fl, x: fl.nn.Parameter(x.detach().clone().add_(1)),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_versions_of_results(agree, name):
    def program(fl, x):
        found = [WRITTEN[name](fl, t) for t in (x, x.detach())]
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
def test_strides_of_gradients(agree, name):
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
            found.append(leaf.grad.stride()[-2:])
            r = GRADIENTS[name](fl, leaf, other)
            r.backward(fl.ones_like(r))
            found.append(leaf.grad.stride()[-2:])
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

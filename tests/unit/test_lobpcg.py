"""Some eigenpairs of large symmetric matrices."""

import numpy as np
import pytest

import flambeau as fl

A = np.random.default_rng(0).normal(size=(2, 20, 20))
A = A + A.transpose(0, 2, 1)
B = np.matmul(A, A) + 20 * np.eye(20)


def pairs(t, a, k, b=None, **options):
    t.manual_seed(0)
    values, vectors = t.lobpcg(a, k, b, **options)
    return values, (vectors / vectors.select(-2, 0).sign().unsqueeze(-2))


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", [1, 3])
def test_values_and_vectors(agree, k, largest):
    options = {"largest": largest, "tol": 1e-10}
    agree(lambda t, a: pairs(t, a.detach(), k, **options), A, grads=0, rtol=1e-6, atol=1e-7)
    agree(lambda t, a, b: pairs(t, a[0].detach(), k, b[0].detach(), **options), A, B, grads=0, rtol=1e-6, atol=1e-6)


def test_gradients(agree):
    def run(t, a):
        values, vectors = pairs(t, a[0], 2, tol=1e-10)
        return values.sum() + (vectors.square() * t.arange(20)[:, None]).sum()

    agree(run, A, rtol=1e-5, atol=1e-6)


def test_searches():
    steps = []
    matrix = fl.arange(30.0, dtype=fl.float64).diag()
    fl.manual_seed(0)
    values, _ = fl.lobpcg(matrix.to_sparse(), 2, iK=fl.eye(30, dtype=fl.float64), tracker=steps.append)
    assert fl.allclose(values, fl.tensor([29.0, 28.0], dtype=fl.float64)) and len(steps) > 2
    fl.lobpcg(matrix, 2, tracker=lambda search: search.bvars.update(force_stop=True))
    assert fl.lobpcg(matrix, X=fl.ones(30, 1, dtype=fl.float64), niter=3)[1].shape == (30, 1)
    with pytest.raises(ValueError, match="not applicable"):
        fl.lobpcg(fl.eye(5), 2)
    with pytest.raises(ValueError, match="generalized"):
        fl.lobpcg(fl.eye(9, requires_grad=True), B=fl.eye(9))

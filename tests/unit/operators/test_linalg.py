"""Linear algebra and Fourier transforms: what they compute, their derivatives, and what they refuse, as PyTorch has them.

Factorizations that are unique only up to signs are compared through what does not depend on them.
"""

import numpy as np
import pytest

import flambeau
from tests.agree import rand


def positive(t, x):
    return x @ x.mH + t.eye(x.shape[-1], dtype=x.dtype)


SQUARE = {
    "cholesky": lambda t, x: [t.linalg.cholesky(positive(t, x)), t.linalg.cholesky(positive(t, x), upper=True)],
    "inv": lambda t, x: [
        t.linalg.inv(x),
        t.linalg.solve(x, x[..., :1]),
        t.linalg.solve(x[0], x[0, 0]),
        t.linalg.solve(x, x, left=False),
    ],
    "det": lambda t, x: [t.linalg.det(x), *t.linalg.slogdet(x), t.logdet(positive(t, x))],
    "eigh": lambda t, x: [
        t.linalg.eigh(x + x.mH).eigenvalues,
        t.linalg.eigh(x + x.mH).eigenvectors.abs(),
        t.linalg.eigvalsh(x + x.mH, UPLO="U"),
    ],
    "svd": lambda t, x: [
        t.linalg.svdvals(x),
        t.linalg.svd(x).U.abs(),
        t.linalg.svd(x[..., :2], full_matrices=False).Vh.abs(),
    ],
    "qr": lambda t, x: [t.linalg.qr(x).R.abs(), t.linalg.qr(x[..., :2]).Q.abs(), t.linalg.qr(x[..., :2, :]).R.abs()],
    "lu": lambda t, x: [
        *t.linalg.lu(x),
        t.linalg.lu_factor(x).LU,
        t.linalg.lu_solve(*t.linalg.lu_factor(x), x),
        *t.linalg.lu(x[..., :2, :]),
    ],
    "triangular": lambda t, x: [
        t.linalg.solve_triangular(x.triu(), x, upper=True),
        t.linalg.solve_triangular(x.tril(), x, upper=False, left=False),
    ],
    "norms": lambda t, x: [
        t.linalg.norm(x),
        *(t.linalg.matrix_norm(x, p) for p in ("fro", "nuc", 1, -1, 2, -2, float("inf"))),
    ],
    "vector norms": lambda t, x: [
        t.linalg.vector_norm(x, p, dim=-1) for p in (0, 0.5, 1, 1.5, 2, 3, float("inf"), -float("inf"))
    ],
    "pinv": lambda t, x: [
        t.linalg.pinv(x),
        t.linalg.pinv(x[..., :2]),
        t.linalg.lstsq(x[..., :2], x).solution,
        t.linalg.cond(x),
    ],
    "powers": lambda t, x: [t.linalg.matrix_power(x, n) for n in (-2, 0, 1, 3)] + [t.linalg.matrix_exp(x)],
    "cross": lambda t, x: [
        t.linalg.cross(x, x.mT),
        t.linalg.vecdot(x, x.mT),
        t.linalg.vander(x[0, 0]),
        t.linalg.tensorsolve(x[0], x[0, 0]),
    ],
    "older": lambda t, x: [
        t.cholesky_solve(x, t.linalg.cholesky(positive(t, x))),
        t.cholesky_inverse(t.linalg.cholesky(positive(t, x))),
        t.inverse(x),
    ],
}


@pytest.mark.parametrize("dtype", ["real", "complex"])
@pytest.mark.parametrize("name", SQUARE)
def test_linalg(agree, name, dtype):
    x = rand(2, 3, 3) + np.eye(3)
    agree(SQUARE[name], x if dtype == "real" else x + 1j * rand(2, 3, 3, seed=1), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ["cholesky", "inv", "eigh", "norms", "triangular"])
def test_second_derivatives(agree, name):
    agree(SQUARE[name], rand(2, 3, 3) + np.eye(3), grads=2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(
    "shape", [(1, 4), (2, 3), (3, 20), (2, 5, 9), (5, 7), (6, 40), (7, 5), (29, 20), (30, 20), (2, 9, 4)]
)
def test_singular_vectors_have_the_same_signs(agree, shape, dtype):
    """Where the ratio of the sides makes LAPACK libraries part; see bidiagonal.py."""
    for full in (False, True):
        agree(lambda t, x, full=full: t.linalg.svd(x, full_matrices=full), rand(*shape, dtype=dtype))


def test_singular_vectors_of_special_matrices():
    for x in (
        np.zeros((3, 8)),
        np.eye(3, 9),
        np.ones((4, 20)),
        np.diag([1e300, 1e-300, 0])[:2],
        1e200 * np.eye(2, 6)[::-1],
    ):
        U, S, Vh = flambeau.linalg.svd(flambeau.tensor(x), full_matrices=True)
        np.testing.assert_allclose((U * S) @ Vh[: len(S)], x, rtol=1e-12, atol=1e-12 * abs(x).max())
        np.testing.assert_allclose(Vh @ Vh.mH, np.eye(x.shape[1]), atol=1e-12)


def test_singular_values_of_a_batch_are_those_of_each():
    x = rand(3, 3, 20) * np.array([1e-200, 1, 1e200])[:, None, None]
    for one, S in zip(x, flambeau.linalg.svd(flambeau.tensor(x)).S, strict=True):
        assert S.tolist() == flambeau.linalg.svd(flambeau.tensor(one)).S.tolist() and S.min() > 0


def test_eigenvalues(agree):
    def program(t, x):
        values = t.linalg.eig(x).eigenvalues
        return values.real.sum(-1), values.abs().sort().values, t.linalg.eigvals(x).prod(-1).real

    agree(program, rand(2, 3, 3))


def test_determinant_of_a_singular_matrix(agree):
    agree(lambda t, x: t.linalg.det(t.stack([x[0], 2 * x[0], x[1]])), rand(2, 3))


def test_ranks(agree):
    def program(t, x):
        low = x[:, :1] @ x[:1]
        return (
            t.linalg.matrix_rank(low),
            t.linalg.matrix_rank(x),
            t.linalg.matrix_rank(x, atol=10.0),
            t.linalg.matrix_rank(low @ low.T, hermitian=True),
        )

    agree(program, rand(4, 4), grads=0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_tolerances_that_the_dtype_does_not_hold(agree, dtype):
    def program(t, x):
        x = x.to(getattr(t, dtype))
        stack = t.stack([x, x * 0])
        return [
            f(m, **{which: value})
            for f in (t.linalg.matrix_rank, t.linalg.pinv)
            for m in (x, x * 0, stack)
            for which in ("rtol", "atol")
            for value in (3.5e38, 1e300, float("inf"), 1e-50)
        ]

    agree(program, rand(3, 3), grads=0)


REFUSED = {
    "inv of a vector": lambda t, x: t.linalg.inv(x[0]),
    "inv of a rectangle": lambda t, x: t.linalg.inv(x[:2]),
    "inv of integers": lambda t, x: t.linalg.inv(x.long()),
    "inv of halves": lambda t, x: t.linalg.inv(x.half()),
    "solve": lambda t, x: t.linalg.solve(x, x[:2]),
    "cholesky of a rectangle": lambda t, x: t.linalg.cholesky(x[:2]),
    "qr mode": lambda t, x: t.linalg.qr(x, "full"),
    "vector norm of integers": lambda t, x: t.linalg.vector_norm(x.long()),
    "matrix norm": lambda t, x: t.linalg.matrix_norm(x, 3),
    "matrix norm of a vector": lambda t, x: t.linalg.matrix_norm(x[0]),
    "cross": lambda t, x: t.linalg.cross(x[:, :2], x[:, :2]),
    "multi_dot": lambda t, x: t.linalg.multi_dot([x]),
    "irfft": lambda t, x: t.fft.irfft(x, 0),
    "rfft of complex": lambda t, x: t.fft.rfft(x * 1j),
    "fft norm": lambda t, x: t.fft.fft(x, norm="none"),
    "fftn dims": lambda t, x: t.fft.fftn(x, dim=(0, 0)),
    "fftn shape": lambda t, x: t.fft.fftn(x, s=(2, 2, 2)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(agree, name):
    agree(REFUSED[name], rand(3, 3), raises=RuntimeError, grads=0)


@pytest.mark.parametrize("name", ["inv", "cholesky", "solve"])
def test_singular(name):
    import flambeau as t

    x = t.zeros(2, 2, 2)
    with pytest.raises(t.linalg.LinAlgError, match=r"\(Batch element 0\)"):
        getattr(t.linalg, name)(*([x, x] if name == "solve" else [x]))
    assert issubclass(t.linalg.LinAlgError, RuntimeError)


FOURIER = {
    "fft": lambda t, x: [
        t.fft.fft(x),
        t.fft.ifft(x, 6),
        t.fft.fft(x, 3, 0, "ortho"),
        t.fft.fft2(x, norm="forward"),
        t.fft.fftn(x, (2, 5)),
    ],
    "rfft": lambda t, x: [
        t.fft.rfft(x),
        t.fft.irfft(x),
        t.fft.irfft(x, 7),
        t.fft.rfft2(x),
        t.fft.irfft2(x, (4, 5)),
        t.fft.rfftn(x, dim=0),
    ],
    "hfft": lambda t, x: [t.fft.hfft(x), t.fft.ihfft(x), t.fft.hfft2(x), t.fft.ihfftn(x)],
    "shift": lambda t, x: [t.fft.fftshift(x), t.fft.ifftshift(x, 1), t.fft.fftfreq(5, 0.5), t.fft.rfftfreq(6)],
}


@pytest.mark.parametrize("name", FOURIER)
def test_fourier(agree, name):
    agree(FOURIER[name], rand(4, 5), grads=2)


@pytest.mark.parametrize(
    "options", [{}, {"center": False}, {"normalized": True, "hop_length": 3}, {"onesided": False, "win_length": 6}]
)
def test_short_time_transform(agree, options):
    def program(t, x):
        window = t.hann_window(options.get("win_length", 8), dtype=x.dtype) + 0.1
        z = t.stft(x, 8, window=window, return_complex=True, **options)
        back = {k: v for k, v in options.items() if k != "return_complex"}
        return z, t.istft(z, 8, window=window, **back)

    agree(program, rand(2, 32))


@pytest.mark.parametrize("kind", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("shape", [(3, 3), (40, 4, 4), (2, 5, 6, 6), (33, 1, 1), (3, 0, 0)])
def test_batches_of_small_matrices(agree, kind, shape):
    """Exponentials, permutations taken apart, and triangles solved row by row."""

    def program(fl, x):
        x, n = x.to(getattr(fl, kind)), shape[-1]
        eye = fl.eye(n, dtype=x.dtype)
        lower = x.tril() / 4 + 2 * eye
        solve = fl.linalg.solve_triangular
        out = [fl.linalg.matrix_exp(x * s) for s in (0.01, 1.0)]
        out += [solve(lower, x, upper=False), solve(lower.mT, x, upper=True, unitriangular=True)]
        out += [solve(lower, x.mT, upper=False, left=False), *fl.linalg.lu(x)]
        spd = x @ x.mH + 4 * eye
        factor = fl.linalg.cholesky(spd)
        return *out, fl.cholesky_solve(x, factor), fl.cholesky_inverse(factor)

    agree(program, rand(*shape), grads=0)


def test_exponentials_of_what_is_not_finite(agree):
    def program(fl, x):
        x = x.clone()
        x[3, 1, 1], x[5, 0, 2] = float("inf"), float("nan")
        return fl.linalg.matrix_exp(x)

    agree(program, rand(9, 3, 3), grads=0)


@pytest.mark.parametrize("kind, digits", [("float32", 3e-5), ("float64", 1e-11)])
def test_exponentials_of_large_matrices_are_products_of_small_ones(kind, digits):
    x = flambeau.tensor(rand(20, 4, 4) * 12).to(getattr(flambeau, kind))
    half = flambeau.linalg.matrix_exp(x.double() / 8)
    for _ in range(3):
        half = half @ half
    error = (flambeau.linalg.matrix_exp(x).double() - half).abs().amax((1, 2)) / half.abs().amax((1, 2))
    assert error.max() < digits


def test_derivatives_of_equal_values_alone(agree):
    def program(fl, a):
        found = []
        for values in (fl.linalg.eigvalsh, lambda m: fl.linalg.eigh(m)[0], lambda m: fl.linalg.svd(m)[1]):
            m = a.detach().clone().requires_grad_()
            values(m).square().sum().backward()
            found.append(m.grad)
        return found

    agree(program, np.eye(3, dtype=np.float32)[None].repeat(2, 0))


@pytest.mark.filterwarnings("ignore:torch.cholesky is deprecated")
def test_factors_of_nothing_have_history(agree):
    agree(lambda fl, x: fl.cholesky(x).square(), rand(0, 5, 5), grads=2)
    agree(lambda fl, x: fl.cholesky(x, upper=True).square(), rand(2, 0, 0), grads=2)
    agree(lambda fl, x: (fl.cholesky(x.requires_grad_()).requires_grad, fl.cholesky(x).shape), rand(0, 3, 5))

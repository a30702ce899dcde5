"""`lobpcg`: some eigenpairs of a large symmetric matrix that need only be multiplied by vectors.

Knyazev, 2001: each step takes the best vectors of the space of the current ones, their residuals (preconditioned) and the last
directions (the Rayleigh-Ritz procedure), in a basis orthonormal in B's inner product (Duersch et al., 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import flambeau
from flambeau import Tensor

__all__ = ["lobpcg"]

TOLERANCE = {flambeau.float32: 1.2e-07**0.5, flambeau.float64: 2.23e-16**0.5}


def lobpcg(
    A: Tensor,
    k: int | None = None,
    B: Tensor | None = None,
    X: Tensor | None = None,
    n: int | None = None,
    iK: Tensor | None = None,
    niter: int | None = None,
    tol: float | None = None,
    largest: bool | None = None,
    method: str | None = None,
    tracker: Callable[[LOBPCG], None] | None = None,
    ortho_iparams: dict[str, int] | None = None,
    ortho_fparams: dict[str, float] | None = None,
    ortho_bparams: dict[str, bool] | None = None,
) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) eigenvalues of A x = e B x, and their vectors, for symmetric A and positive definite B.

    `X` holds first guesses (n of them, random ones if it is None), `iK` an approximate inverse of A that steers the search,
    `tracker` is called with the state of the search after each step. `method` and the `ortho_*` parameters are accepted for
    PyTorch's sake: the basis is always made orthonormal to working precision.

    >>> import flambeau as torch
    >>> E, V = torch.lobpcg(torch.arange(1.0, 10.0).diag(), k=2)
    >>> E.round()
    tensor([9., 8.])
    """
    assert A.shape[-2] == A.shape[-1], f"A must be square, got shape {tuple(A.shape)}"
    assert B is None or A.shape == B.shape, f"A and B must have same shape, got {A.shape} vs {B.shape}"
    dtype = A.dtype if A.dtype.is_floating_point else flambeau.float32
    k = (1 if X is None else X.shape[-1]) if k is None else k
    n = X.shape[-1] if X is not None else k if n is None else n
    m = A.shape[-1]
    if m < 3 * n:
        raise ValueError(
            f"LOBPCG algorithm is not applicable when the number of A rows (={m}) is smaller than 3 x the number of requested "
            f"eigenpairs (={n})"
        )
    if method not in (None, "basic", "ortho"):
        raise ValueError(f"unknown method {method!r}")
    limits = {"k": k, "n": n, "m": m, "niter": 1000 if niter is None else niter}
    tol = TOLERANCE[dtype] if tol is None else tol
    top = True if largest is None else largest
    batch = tuple(A.shape[:-2])
    pairs = []
    with flambeau.no_grad():
        for i in range(math.prod(batch)):
            a, b, x = (t if t is None or not batch else t.reshape(-1, *t.shape[-2:])[i] for t in (A, B, X))
            x = flambeau.randn(m, n, dtype=dtype, device=A.device) if x is None else x
            assert x.shape == (m, n), f"X shape mismatch: got {tuple(x.shape)}, expected {(m, n)}"
            search = LOBPCG(a, b, x.to(dtype), iK, {**limits, "batch_index": i}, tol, top, tracker)
            search.run()
            pairs.append((search.E[:k], search.X[:, :k]))
    if not batch:
        E, V = pairs[0]
    else:
        E, V = (flambeau.stack(ts).reshape(*batch, *ts[0].shape) for ts in zip(*pairs, strict=True))
    if flambeau.is_grad_enabled() and any(t is not None and t.requires_grad for t in (A, B)):
        if B is not None:
            raise ValueError("lobpcg: no derivatives for generalized eigenvalue problems")
        return _with_history(A, E, V, top)
    return E, V


def _with_history(A: Tensor, E: Tensor, V: Tensor, largest: bool) -> tuple[Tensor, Tensor]:
    """The same pairs as functions of the symmetric part of A."""
    dense = A if A.layout == flambeau.strided else A.to_dense()
    values, vectors = flambeau.linalg.eigh((dense + dense.mT) / 2)
    if largest:
        values, vectors = values.flip(-1), vectors.flip(-1)
    k = E.shape[-1]
    vectors = vectors[..., :k]
    signs = (vectors.detach() * V).sum(-2, keepdim=True).sign()
    return values[..., :k], vectors * signs


class LOBPCG:
    """A search: `X` its vectors, `E` their values, `R` the residuals, what `tracker` may look at; `bvars["force_stop"]` ends it."""

    def __init__(self, A: Tensor, B: Tensor | None, X: Tensor, iK: Tensor | None, iparams: dict[str, int], tol: float, largest: bool,
                 tracker: Callable[[LOBPCG], None] | None) -> None:  # fmt: skip
        self.A, self.B, self.iK, self.X, self.tracker = A, B, iK, X, tracker
        self.iparams, self.fparams, self.bparams = iparams, {"tol": tol}, {"largest": largest}
        self.ivars = {"istep": 0, "iterations_left": iparams["niter"], "converged_count": 0}
        self.fvars: dict[str, float] = {}
        self.bvars: dict[str, bool] = {}
        self.tvars: dict[str, Tensor] = {}
        self.E = self.R = self.P = X[:, :0]

    def run(self) -> None:
        """Steps until k pairs have converged, or as many as are allowed."""
        norm = float(self.X.norm())
        self.fvars = {
            "X_norm": norm, "A_norm": float((self.A @ self.X).norm()) / norm, "B_norm": float(_times(self.B, self.X).norm()) / norm,
        }  # fmt: skip
        self._step(_orthonormal(self.X, self.B))
        while not (self.bvars.get("force_stop") or self.ivars["iterations_left"] == 0
                   or self.ivars["converged_count"] >= self.iparams["k"]):  # fmt: skip
            W = _times(self.iK, self.R[:, self.ivars["converged_count"] :])
            self._step(_orthonormal(flambeau.cat([self.X, self.P, W], 1), self.B))

    def _step(self, S: Tensor) -> None:
        """The best n vectors of a space with the orthonormal basis S, and the directions that lead to them."""
        n = self.iparams["n"]
        values, Z = flambeau.linalg.eigh(S.mT @ (self.A @ S))
        if self.bparams["largest"]:
            values, Z = values.flip(-1), Z.flip(-1)
        before, self.X, self.E = self.X, S @ Z[:, :n], values[:n]
        self.P = self.X - before @ (before.mT @ _times(self.B, self.X)) if self.ivars["istep"] else self.X[:, :0]
        BX = _times(self.B, self.X)
        self.R = self.A @ self.X - BX * self.E
        scale = self.fvars["A_norm"] + self.E.abs() * self.fvars["B_norm"]
        self.tvars["rerr"] = self.R.norm(2, 0) / (self.X.norm(2, 0) * scale)
        converged = (self.tvars["rerr"] < self.fparams["tol"]).tolist()
        self.ivars["converged_count"] = converged.index(False) if False in converged else n
        self.ivars["iterations_left"] -= 1
        self.ivars["istep"] += 1
        if self.tracker is not None:
            self.tracker(self)


def _times(M: Tensor | None, X: Tensor) -> Tensor:
    return X if M is None else M @ X


def _orthonormal(S: Tensor, B: Tensor | None) -> Tensor:
    """Columns that span what those of S do, orthonormal in the inner product of B; without those that add nothing."""
    S = S / S.norm(2, 0).clamp_min(flambeau.finfo(S.dtype).tiny)
    for _ in range(2):  # once more, for what the first time lost to rounding
        values, Z = flambeau.linalg.eigh(S.mT @ _times(B, S))
        keep = values > values[-1] * flambeau.finfo(S.dtype).eps * S.shape[1]
        S = S @ (Z[:, keep] * values[keep].rsqrt())
    return S

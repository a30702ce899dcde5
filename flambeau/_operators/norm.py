"""Norms of vectors and matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._kernel.language import Dims, Dims1, DType, Kernel, Scalar, Shape, T
from flambeau._operators import linalg as factor, solve
from flambeau._operators.op import composite, op
from flambeau._operators.view import sizes
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, bfloat16, complex32, float16
from flambeau._values.shape import wrap_dim, wrap_dims

INF = float("inf")
TENSORS = {"namespace": "linalg", "variants": ("function", "out")}


def norm_of_sizes(k: Any, a: Any, p: float, dims: Sequence[int]) -> Any:
    """The p-norm, along some dims, of numbers whose absolute values are `a`; the dims stay, of size 1."""
    if p == INF:
        return k.max(a, dims)
    if p == -INF:
        return k.min(a, dims)
    if p == 0:
        return k.sum(k.where(k.ne(a, k.like(0, a)), k.like(1, a), k.like(0, a)), dims)
    if p == 1:
        return k.sum(a, dims)
    if p == 2:
        return k.sqrt(k.sum(a * a, dims))
    return k.pow(k.sum(k.pow(a, k.like(p, a)), dims), k.like(1 / p, a))


@op(
    "linalg_vector_norm(Tensor self, Scalar ord=2, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None)",
    namespace="linalg",
    exact=True,
    promote="default",
    variants=("function", "out"),
    native=True,
    packed=True,
    lacks=("8", "norm_cpu"),
)
def linalg_vector_norm(
    k: Kernel[T], x: T, ord: Scalar = 2, dim: Dims | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> T:
    """(sum |x|^ord)^(1/ord); the largest or smallest |x| for +-inf, the count of nonzeros for 0.

    >>> torch.linalg.vector_norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    dims = wrap_dims(dim, x.ndim)
    out = norm_of_sizes(k, k.abs(x), float(ord), dims)  # type: ignore[arg-type]  # a complex one is refused
    return out if keepdim else k.reshape(out, tuple(n for i, n in enumerate(x.shape) if i not in dims))


@linalg_vector_norm.errors
def _(x: Any, ord: Any, dim: Any, keepdim: bool, dtype: Any) -> None:
    if x._a.dtype.kind in "biu":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {SPOKEN[x.dtype]}"
        )
    if dtype is not None:
        if not (dtype.is_floating_point or dtype.is_complex):
            raise RuntimeError(f"linalg.vector_norm: dtype should be floating point or complex. Got {SPOKEN[dtype]}")
        if dtype.is_complex != x.is_complex():
            raise RuntimeError(
                f"linalg.vector_norm: dtype should be {'complex' if x.is_complex() else 'real'} for "
                f"{'complex' if x.is_complex() else 'real'} "
                f"inputs, but got {SPOKEN[dtype]}"
            )
    dims = wrap_dims(dim, x.ndim)
    if x.numel() == 0 and (float(ord) < 0 or float(ord) == INF):
        if dim is None:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {float(ord):g} norm on an empty tensor "
                "because the operation does not have an identity"
            )
        for d in dims:
            if x.shape[d] == 0:
                raise RuntimeError(
                    f"linalg.vector_norm cannot compute the {float(ord):g} norm on the dimension "
                    f"{d}because this dimension is empty and the "
                    "operation does not have an identity"
                )


@linalg_vector_norm.arrays
def _(k: Any, x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    dims = wrap_dims(dim, x.ndim)
    if float(ord) == 2 and x.dtype.kind == "f" and x.size:  # sums of squares are dot products
        if len(dims) == x.ndim and x.flags.c_contiguous:
            flat = x.reshape(-1)
            out = k.xp.sqrt(k.xp.dot(flat, flat))
            return out.reshape((1,) * x.ndim if keepdim else ())
        if dims == (x.ndim - 1,) and x.strides[-1] == x.dtype.itemsize:
            out = k.xp.sqrt(k.xp.vecdot(x, x))
            return out[..., None] if keepdim else out
    return linalg_vector_norm.body(k, x, ord, dim, keepdim, dtype=dtype)


linalg_vector_norm.vjp(x=lambda g, x, out, ord, dim, keepdim: _norm_back(g, x, out, float(ord), dim, keepdim))


def _norm_back(g: Any, x: Any, out: Any, p: float, dim: Any, keepdim: bool) -> Any:
    dims = wrap_dims(dim, x.ndim)
    if not keepdim and x.ndim:
        for d in sorted(dims):
            g, out = g.unsqueeze(d), out.unsqueeze(d)
    if p == 0:
        return None
    if out.dtype is not x.dtype and not x.is_complex():
        x = x.to(out.dtype)
    if p in (INF, -INF):
        a = x.abs()
        hit = (a == out) | (a.isnan() & out.isnan())
        return x.sgn() * (g / hit.sum(dims, keepdim=True).to(g.dtype) * hit.to(g.dtype))
    if p == 1:
        return x.sgn() * g
    if p == 2:
        return g * (x / out).masked_fill(out == 0, 0)
    if p < 1:
        part = (x.sgn() * x.abs().pow(p - 1)).masked_fill(x == 0, 0)
        return part * (g * out.pow(1 - p))
    if p < 2:
        return (x.sgn() * x.abs().pow(p - 1)) * (g / out.pow(p - 1)).masked_fill(out == 0, 0)
    return (x * x.abs().pow(p - 2)) * (g / out.pow(p - 1)).masked_fill(out == 0, 0)


# ---------------------------------------------------------------- matrices


def _moved(A: Any, dims: tuple[int, int]) -> Any:
    """The two dimensions last."""
    rank = A.ndim
    return A.permute([d for d in range(rank) if d not in dims] + list(dims))


def _extreme(x: Any, ord: float) -> Any:
    """The largest element of the last dimension (0 of none), or for a negative order the smallest."""
    if ord < 0:
        return x.amin(-1)
    return x.amax(-1) if x.shape[-1] else x.sum(-1)


@composite(
    "linalg_matrix_norm(Tensor self, Scalar ord, int[] dim=[-2, -1], bool keepdim=False, *, ScalarType? dtype=None)",
    'linalg_matrix_norm.str_ord(Tensor self, str ord="fro", int[] dim=[-2, -1], bool keepdim=False, *, ScalarType? dtype=None)',
    **TENSORS,
)
def linalg_matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Shape = (-2, -1), keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The norm of a matrix: 'fro', 'nuc', 1, 2, inf, or the smallest of the same with a minus sign.

    >>> torch.linalg.matrix_norm(torch.tensor([[1.0, -2.0], [3.0, 4.0]]), 1)
    tensor(6.)
    """
    if A.ndim < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    if A._a.dtype.kind in "biu":
        raise RuntimeError(
            f"linalg.matrix_norm: Expected a floating point or complex tensor as input. Got {SPOKEN[A.dtype]}"
        )
    given = sizes(dim)
    if len(given) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(str(d) for d in given)}")
    dims: Any = (wrap_dim(given[0], A.ndim), wrap_dim(given[1], A.ndim))
    if dims[0] == dims[1]:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({given[0]}, {given[1]})")
    if isinstance(ord, str):
        if ord not in ("fro", "nuc"):
            raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
        if ord == "fro":
            return linalg_vector_norm(A, 2, dims, keepdim, dtype=dtype)
    elif abs(ord) not in (1, 2, INF):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if dtype is not None:
        A = A.to(dtype)
    if (ord == "nuc" or abs(ord) == 2) and A.dtype in (bfloat16, float16, complex32):
        raise RuntimeError(f"linalg.matrix_norm: Low precision dtypes not supported. Got {SPOKEN[A.dtype]}")
    x = _moved(A, dims)
    if ord == "nuc":
        out = factor.linalg_svdvals(x).sum(-1)
    elif abs(ord) == 2:
        s = factor.linalg_svdvals(x)
        out = _extreme(s, ord)
    else:
        totals = x.abs().sum(-2 if abs(ord) == 1 else -1)
        out = _extreme(totals, ord)
    if keepdim:
        for d in sorted(dims):
            out = out.unsqueeze(d)
    return out


@composite(
    "linalg_norm(Tensor self, Scalar? ord=None, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None)",
    "linalg_norm.ord_str(Tensor self, str ord, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None)",
    **TENSORS,
)
def linalg_norm(
    input: Tensor, ord: Any = None, dim: Dims | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """A vector norm, or where `dim` names two dimensions (or `input` is a matrix and `ord` is given) a matrix norm."""
    given = None if dim is None else sizes(dim)
    if given is not None and len(given) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(given)}")
    if ord is not None:
        if given is None and input.ndim not in (1, 2):
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {input.ndim}D."
            )
        if (given is not None and len(given) == 2) or (given is None and input.ndim == 2):
            return linalg_matrix_norm(input, ord, given if given is not None else (0, 1), keepdim, dtype=dtype)
        if isinstance(ord, str):
            raise RuntimeError(
                f"linalg.norm: If ord is a string, dim must be of length 2 or the input a matrix. Got {input.ndim}D."
            )
    return linalg_vector_norm(input, 2 if ord is None else ord, given, keepdim, dtype=dtype)


@composite(
    "linalg_cond(Tensor self, Scalar? p=None)", "linalg_cond.p_str(Tensor self, str p)", **TENSORS, autocast="float32"
)
def linalg_cond(A: Tensor, p: Any = None) -> Tensor:
    """How much a matrix can magnify relative errors: |A| * |A^-1|.

    >>> torch.linalg.cond(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor(4.)
    """
    if A.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor A must have at least 2 dimensions.")
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        s = factor.linalg_svdvals(A)
        if A.numel() == 0:
            return A.new_zeros(A.shape[:-2], dtype=s.dtype)
        first, last = s[..., 0], s[..., -1]
        return last / first if p is not None and p < 0 else first / last
    if isinstance(p, str) and p not in ("fro", "nuc"):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    factor.square("linalg.cond", A)
    if A.numel() == 0:
        return A.abs().new_zeros(A.shape[:-2])
    inverse, info = solve.linalg_inv_ex(A)
    out = linalg_matrix_norm(A, p) * linalg_matrix_norm(inverse, p)
    return out.masked_fill(info != 0, INF)


@composite(
    "norm.ScalarOpt_dim(Tensor self, Scalar? p, int[1] dim, bool keepdim=False)",
    "norm.Scalar(Tensor self, Scalar p=2)",
    "norm.ScalarOpt_dim_dtype(Tensor self, Scalar? p, int[1] dim, bool keepdim, *, ScalarType dtype)",
    "norm.ScalarOpt_dtype(Tensor self, Scalar? p, *, ScalarType dtype)",
    variants=("function", "method"),
    layouts=True,
)
def norm(
    input: Tensor,
    p: Any = "fro",
    dim: Dims | None = None,
    keepdim: bool = False,
    out: Any = None,
    dtype: DType | None = None,
) -> Tensor:
    """A norm over all elements or some dimensions. Superseded by `linalg.vector_norm` and `linalg.matrix_norm`."""
    into = {} if out is None else {"out": out}
    given = None if dim is None else sizes(dim)
    if isinstance(p, str):
        if p == "fro":
            if given is None:
                given = tuple(range(input.ndim))
            elif len(given) > 2:
                raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(map(str, given))}")
            result = linalg_vector_norm(input, 2, given, keepdim, dtype=dtype, **into)
        elif p == "nuc":
            dims = given if given is not None else (0, 1) if input.ndim == 2 else (-2, -1)
            result = linalg_matrix_norm(input, "nuc", dims, keepdim, dtype=dtype, **into)
        else:
            raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
    else:
        result = linalg_vector_norm(input, 2.0 if p is None else p, given, keepdim, dtype=dtype, **into)
    return result


@composite("frobenius_norm.dim", variants=("function", "out"))
def frobenius_norm(input: Tensor, dim: Dims1, keepdim: bool = False) -> Tensor:
    """The square root of the sum of squares over some dimensions."""
    return linalg_vector_norm(input, 2, sizes(dim) or None, keepdim)


@composite(
    "nuclear_norm.dim(Tensor self, int[2] dim, bool keepdim=False)",
    "nuclear_norm(Tensor self, bool keepdim=False)",
    variants=("function", "out"),
)
def nuclear_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The sum of the singular values."""
    return linalg_matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim)

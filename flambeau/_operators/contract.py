"""Products: matmul and its kind, with added terms (addmm ...), outer products. Sums over named
dimensions stand in einsum.py, layers in linear.py, what factors must have in common in _factors.py.
"""

from __future__ import annotations

import math
from typing import Any

from flambeau._kernel.language import Kernel, Scalar, Shape, T
from flambeau._operators._factors import (
    batches_fit,
    bytes_fit,
    explain,
    same_dtype,
    same_dtypes,
    term_fits,
    terms_and_factors,
    vector_dtypes,
    vectors_fit,
)
from flambeau._operators.op import ALL_FORMS, OUT, composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import C_NAMES, SPOKEN, int32
from flambeau._values.shape import broadcast


def adjoint(x: Any) -> Any:
    """The transpose of the last two dimensions, conjugated where complex."""
    x = x.t() if x.ndim == 2 else x.transpose(-2, -1)
    return x.conj() if x.dtype.kind == "c" else x


def turned(x: Any) -> Any:
    """The adjoint of a bare array."""
    x = x.swapaxes(-2, -1)
    return x.conj() if x.dtype.kind == "c" else x


def conj(x: Any) -> Any:
    return x.conj() if x.dtype.kind == "c" else x


def product(k: Any, x: Any, y: Any, plus: Any = None, beta: Any = 1, alpha: Any = 1) -> Any:
    """alpha * (x @ y) + beta * plus, a new array.

    Integers go by way of float64, whose products BLAS computes, where every sum is exact there. Half precision is summed
    in float32 and rounded once.
    """
    if x.ndim > 1 and y.ndim > 1 and x.dtype.kind in "fV":
        return k.library("product", x, y, plus, beta, alpha)
    out = k.library("dot", x, y) if x.ndim == y.ndim == 1 and plus is None and alpha == 1 else None
    if out is not None:
        return out
    if x.dtype.kind in "fV" and x.ndim and y.ndim and (half(x) or x.size * y.size >= LARGE):  # vectors
        out = product(k, x if x.ndim > 1 else x[None], y if y.ndim > 1 else y[:, None], None, 1, alpha)
        out = out.reshape((*out.shape[: -2 if x.ndim < 2 else -1], *(out.shape[-1:] if y.ndim > 1 else ())))
        return out if plus is None else _plus(out, plus, beta, 1)
    d = x.dtype
    if d.kind in "iu" and x.size > 4096 and y.size and y.ndim > 1:
        top = k.xp.abs(x).max().item() * k.xp.abs(y).max().item() * x.shape[-1]
        if 0 <= top < 2**53:
            x, y = x.astype("f8"), y.astype("f8")
    out = k.xp.matmul(fast(x), fast(y)).astype(d, copy=False)
    return out if plus is None and alpha == 1 else _plus(out, plus, beta, alpha)


def _plus(out: Any, plus: Any, beta: Any, alpha: Any) -> Any:
    """alpha * out + beta * plus, over `out`."""
    beta, alpha = _whole(out, beta, alpha)
    if alpha != 1:
        out = (out * alpha).astype(out.dtype, copy=False)
    if plus is not None:
        out += plus if beta == 1 else (plus * beta).astype(out.dtype, copy=False)
    return out


def half(x: Any) -> bool:
    """Whether an array is of float16 or bfloat16."""
    return x.dtype.itemsize == 2 and x.dtype.kind not in "iu"


LARGE = 1 << 14  # multiplications from which a product with a vector is worth being one of matrices


def fast(x: Any) -> Any:
    """x, or a copy where its strides would keep the array library from using BLAS."""
    if x.flags.forc or x.ndim < 2:
        return x
    n, (rows, columns), (down, across) = x.dtype.itemsize, x.shape[-2:], x.strides[-2:]
    if (across == n and down >= columns * n) or (down == n and across >= rows * n):
        return x
    return x.copy("C")


# ---------------------------------------------------------------- matmul


@op(
    "matmul",
    variants=OUT,
    exact=True,
    takes_float8=True,
    lacks=("buC", "addmm_impl_cpu_"),
    halves=True,
    autocast="lower",
)
def matmul(k: Kernel[T], input: T, other: T) -> T:
    """The matrix product; vectors count as a row on the left and a column on the right, leading dimensions broadcast.

    >>> torch.ones(2, 3) @ torch.ones(3)
    tensor([3., 3.])
    """
    x = k.reshape(input, (1, -1)) if input.ndim == 1 else input
    y = k.reshape(other, (-1, 1)) if other.ndim == 1 else other
    out = k.matmul(x, y)
    shape = out.shape
    if other.ndim == 1:
        shape = shape[:-1]
    if input.ndim == 1:
        shape = (*shape[:-2], *shape[-1:]) if other.ndim > 1 else shape[:-1]
    return k.reshape(out, shape)


@matmul.arrays
def _(k: Any, input: Any, other: Any) -> Any:
    try:
        if input.ndim > 2 and other.ndim == 2 and input.size:  # one large product instead of many
            rows = input.reshape(-1, input.shape[-1])
            return product(k, rows, other).reshape(*input.shape[:-1], other.shape[1])
        return product(k, input, other)
    except ValueError:
        explain(input.shape, other.shape)
        raise


@matmul.errors
def _(input: Any, other: Any) -> None:
    if input._a.dtype is other._a.dtype:
        return None if input._a.dtype.isbuiltin == 1 and input._a.dtype.kind in "fci" else _has_routine(input, other)
    x, y = input._a.shape, other._a.shape
    if not x or not y or (len(x) == 2 and len(y) == 1 and x[1] != y[0]):  # PyTorch looks at sizes first
        explain(x, y)
    if input.ndim <= 2 and other.ndim == 1:
        return vectors_fit(input, other) if input.ndim == 1 else vector_dtypes(input, other)
    if other.ndim == 1:
        return vector_dtypes(input, other)
    if other.ndim >= 3:
        return same_dtypes(input, other)
    same_dtype(input, other)


def _has_routine(input: Any, other: Any) -> None:
    """Refuses dtypes of which PyTorch has no product, under the name of the product that it would call."""
    kind = SPOKEN[input.dtype]
    float8 = kind.startswith("Float8")
    if (not float8 and kind not in _NO_PRODUCTS) or not input.ndim or not other.ndim:
        return
    if other.ndim == 1:
        routine = "dot" if input.ndim == 1 else "addmv_impl_cpu"
    else:
        routine = "addmm_impl_cpu_" if other.ndim == 2 else "bmm"
    if not float8 or routine != "addmm_impl_cpu_":
        raise NotImplementedError(f"\"{routine}\" not implemented for '{kind}'")


_NO_PRODUCTS = frozenset(("Bool", "UInt16", "UInt32", "UInt64", "ComplexHalf"))


def _left(g: Any, other: Any, shape: Shape) -> Any:
    if other.ndim == 1:
        return g.unsqueeze(-1) * conj(other) if len(shape) > 1 else g * conj(other)
    if len(shape) == 1:
        return matmul(g.unsqueeze(-2), adjoint(other)).squeeze(-2)
    return matmul(g, adjoint(other))


def _right(g: Any, input: Any, shape: Shape) -> Any:
    if input.ndim == 1:
        return g.unsqueeze(-2) * conj(input).unsqueeze(-1) if len(shape) > 1 else g * conj(input)
    if len(shape) == 1:
        return matmul(adjoint(input), g.unsqueeze(-1)).squeeze(-1)
    if len(shape) == 2 and input.ndim > 2:
        rows = math.prod(input.shape[:-1])
        return mm(adjoint(input.reshape(rows, input.shape[-1])), g.reshape(rows, g.shape[-1]))
    return matmul(adjoint(input), g)


def called(input: Any, other: Any) -> str:
    """The product that PyTorch calls for operands of these ranks."""
    ranks = (input.ndim, other.ndim)
    if ranks in ((1, 1), (2, 1), (1, 2)):
        return "dot" if ranks == (1, 1) else "mv"
    return "mm" if ranks[1] < 3 or (ranks[0] < 3 and ranks[1] < 3) else "bmm"


matmul.known_as("MmBackward0", inside=called).vjp(
    input=lambda g, other, input_shape: _left(g, other, input_shape),
    other=lambda g, input, other_shape: _right(g, input, other_shape),
)


def _left_arrays(k: Any, g: Any, other: Any, shape: Shape) -> Any:
    return NotImplemented if other.ndim == 1 or len(shape) == 1 else matmul.run(k, g, turned(other))


def _right_arrays(k: Any, g: Any, input: Any, shape: Shape) -> Any:
    if input.ndim == 1 or len(shape) == 1:
        return NotImplemented
    if len(shape) == 2 and input.ndim > 2:
        rows = math.prod(input.shape[:-1])
        return product(k, turned(input.reshape(rows, input.shape[-1])), g.reshape(rows, g.shape[-1]))
    return matmul.run(k, turned(input), g)


matmul.vjp_arrays(
    input=lambda k, g, other, input_shape: _left_arrays(k, g, other, input_shape),
    other=lambda k, g, input, other_shape: _right_arrays(k, g, input, other_shape),
)


@op(
    "mm",
    variants=OUT,
    exact=True,
    takes_float8=True,
    lacks=("buC", "addmm_impl_cpu_"),
    halves=True,
    autocast="lower",
    widens=True,
)
def mm(k: Kernel[T], input: T, mat2: T) -> T:
    """The product of two matrices.

    >>> torch.mm(torch.ones(2, 3), torch.ones(3, 2))
    tensor([[3., 3.],
            [3., 3.]])
    """
    return k.matmul(input, mat2)


@mm.arrays
def _(k: Any, input: Any, mat2: Any) -> Any:
    return product(k, input, mat2)


@mm.errors
def _(input: Any, mat2: Any) -> None:
    x, y = input._a, mat2._a
    if x.ndim != 2:
        raise RuntimeError("self must be a matrix")
    if y.ndim != 2:
        raise RuntimeError("mat2 must be a matrix")
    if x.shape[1] != y.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({x.shape[0]}x{x.shape[1]} and {y.shape[0]}x{y.shape[1]})"
        )
    same_dtype(input, mat2)


mm.vjp(input=lambda g, mat2: mm(g, adjoint(mat2)), mat2=lambda g, input: mm(adjoint(input), g))
mm.vjp_arrays(
    input=lambda k, g, mat2: product(k, g, turned(mat2)), mat2=lambda k, g, input: product(k, turned(input), g)
)


@op("bmm", variants=OUT, exact=True, lacks=("buC", "bmm"), halves=True, autocast="lower", widens=True)
def bmm(k: Kernel[T], input: T, mat2: T) -> T:
    """The products of two batches of matrices."""
    return k.matmul(input, mat2)


@bmm.arrays
def _(k: Any, input: Any, mat2: Any) -> Any:
    return product(k, input, mat2)


@bmm.errors
def _(input: Any, mat2: Any) -> None:
    batches_fit(input, mat2)
    same_dtypes(input, mat2)


bmm.vjp(input=lambda g, mat2: bmm(g, adjoint(mat2)), mat2=lambda g, input: bmm(adjoint(input), g))
bmm.vjp_arrays(
    input=lambda k, g, mat2: product(k, g, turned(mat2)), mat2=lambda k, g, input: product(k, turned(input), g)
)


# ---------------------------------------------------------------- vectors


@op("mv", variants=OUT, lacks=("buC", "addmv_impl_cpu"), halves=True)
def mv(k: Kernel[T], input: T, vec: T) -> T:
    """A matrix times a vector."""
    return k.reshape(k.matmul(input, k.reshape(vec, (-1, 1))), (input.shape[0],))


@mv.arrays
def _(k: Any, input: Any, vec: Any) -> Any:
    return product(k, input, vec[:, None])[:, 0]


@mv.errors
def _(input: Any, vec: Any) -> None:
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    (n, m), v = input._a.shape, vec._a.shape[0]
    if m != v:
        raise RuntimeError(f"size mismatch, got input ({n}), mat ({n}x{m}), vec ({v})")
    vector_dtypes(input, vec)


mv.vjp(input=lambda g, vec: outer(g, conj(vec)), vec=lambda g, input: mv(adjoint(input), g))


@op("dot", variants=OUT, lacks=("buC", "dot"))
def dot(k: Kernel[T], input: T, tensor: T) -> T:
    """The sum of the products of two vectors' elements."""
    return k.reshape(k.matmul(k.reshape(input, (1, -1)), k.reshape(tensor, (-1, 1))), ())


@dot.arrays
def _(k: Any, input: Any, tensor: Any) -> Any:
    return product(k, input, tensor)


@dot.errors
def _(input: Any, tensor: Any) -> None:
    vectors_fit(input, tensor)


dot.vjp(input=lambda g, tensor: g * conj(tensor), tensor=lambda g, input: g * conj(input))


@op("vdot", variants=OUT, lacks=(("bu8", "dot"), ("C", "vdot")))
def vdot(k: Kernel[T], input: T, other: T) -> T:
    """The dot product of the conjugate of `input` with `other`."""
    x = k.conj(input) if input.dtype.kind == "c" else input
    return k.reshape(k.matmul(k.reshape(x, (1, -1)), k.reshape(other, (-1, 1))), ())


@vdot.arrays
def _(k: Any, input: Any, other: Any) -> Any:
    return product(k, input.conj() if input.dtype.kind == "c" else input, other)


@vdot.errors
def _(input: Any, other: Any) -> None:
    vectors_fit(input, other)


vdot.vjp(input=lambda g, other: conj(g) * other, other=lambda g, input: g * input)


@composite("outer", variants=OUT)
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of one vector with one of the other."""
    if input.ndim != 1:
        raise RuntimeError(f"outer: Expected 1-D argument self, but got {input.ndim}-D")
    if vec2.ndim != 1:
        raise RuntimeError(f"outer: Expected 1-D argument vec2, but got {vec2.ndim}-D")
    return input.reshape(-1, 1) * vec2


@composite("_int_mm", variants=OUT)
def _int_mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of matrices of bytes, summed in int32."""
    bytes_fit(input, mat2)
    return mm(input.to(int32), mat2.to(int32))


@composite("ger", variants=OUT)
def ger(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of one vector with one of the other."""
    return outer(input, vec2)


@composite("inner", variants=OUT, autocast="open")
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Products summed over the last dimension of both."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    if input.dtype is not other.dtype:
        raise RuntimeError("both inputs should have same dtype")
    if not input.ndim > 1 and not other.ndim > 1:
        return dot(input, other)
    n = input.shape[-1]
    out = mm(input.reshape(-1, n), other.reshape(-1, n).t())
    return out.reshape((*input.shape[:-1], *other.shape[:-1]))


# ---------------------------------------------------------------- a product added to something


def _blend(k: Any, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    beta, alpha = _whole(product, beta, alpha)
    if alpha != 1:
        product = product * alpha
    shape = tuple(broadcast(input.shape, product.shape))
    if beta == 0:  # what is there then does not matter, not even NaN
        return k.expand(product, shape)
    if beta == 1:
        return product + input
    if product.dtype.kind == "f":
        added = k.fma(k.expand(input, shape), beta, product)  # rounded once
    else:
        added = product + input * beta
    if isinstance(beta, (int, float, complex)):
        return added
    return k.where(k.eq(beta, 0), k.expand(product, shape), added)  # a number that changes: it may yet be 0


def _whole(x: Any, *scales: Any) -> tuple[Any, ...]:
    """Scales as x's dtype has them: integers count only the whole part."""
    return tuple(int(v) if isinstance(v, float) else v for v in scales) if x.dtype.kind in "iu" else scales


def _times(g: Any, v: Any) -> Any:
    return g if v == 1 else g * (v.conjugate() if isinstance(v, complex) else v)


@op(
    "addmm",
    variants=ALL_FORMS,
    exact=True,
    takes_float8=True,
    lacks=("buC", "addmm_impl_cpu_"),
    halves=True,
    autocast="lower",
    widens=True,
)
def addmm(k: Kernel[T], input: T, mat1: T, mat2: T, *, beta: Scalar = 1, alpha: Scalar = 1) -> T:
    """beta * input + alpha * (mat1 @ mat2)."""
    return _blend(k, input, k.matmul(mat1, mat2), beta, alpha)


addmm.older_form()


@addmm.arrays
def _(k: Any, input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return product(k, mat1, mat2, None if beta == 0 else input, beta, alpha)


@addmm.errors
def _(input: Any, mat1: Any, mat2: Any, beta: Any, alpha: Any) -> None:
    x, y = mat1._a.shape, mat2._a.shape
    if (
        len(x) == len(y) == 2
        and x[1] == y[0]
        and input._a.shape in (y[1:], (x[0], y[1]))
        and mat1._a.dtype is mat2._a.dtype is input._a.dtype
    ):
        return
    if len(x) != 2:
        raise RuntimeError(f"mat1 must be a matrix, got {len(x)}-D tensor")
    if len(y) != 2:
        raise RuntimeError(f"mat2 must be a matrix, got {len(y)}-D tensor")
    terms_and_factors(input, mat1, mat2)
    if x[1] != y[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({x[0]}x{x[1]} and {y[0]}x{y[1]})")
    term_fits(input, (x[0], y[1]))


addmm.vjp(
    input=lambda g, beta: _times(g, beta),
    mat1=lambda g, mat2, alpha: _times(mm(g, adjoint(mat2)), alpha),
    mat2=lambda g, mat1, alpha: _times(mm(adjoint(mat1), g), alpha),
)


@composite("_addmm_activation", variants=("function", "out"))
def _addmm_activation(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Scalar = 1, alpha: Scalar = 1, use_gelu: bool = False
) -> Tensor:
    """relu (or gelu) of `addmm`."""
    out = addmm(input, mat1, mat2, beta=beta, alpha=alpha)
    if use_gelu:
        from flambeau._operators.op import NAMES

        return NAMES["nn"]["gelu"][0](out)
    return out.relu()


@op("addmv", variants=ALL_FORMS, lacks=("buC", "addmv_impl_cpu"), halves=True)
def addmv(k: Kernel[T], input: T, mat: T, vec: T, *, beta: Scalar = 1, alpha: Scalar = 1) -> T:
    """beta * input + alpha * (mat @ vec)."""
    return _blend(k, input, k.reshape(k.matmul(mat, k.reshape(vec, (-1, 1))), (mat.shape[0],)), beta, alpha)


addmv.older_form()


@addmv.arrays
def _(k: Any, input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    plus = None if beta == 0 else input if input.ndim == 0 else input[:, None]
    return product(k, mat, vec[:, None], plus, beta, alpha)[:, 0]


@addmv.errors
def _(input: Any, mat: Any, vec: Any, beta: Any, alpha: Any) -> None:
    if mat.ndim != 2 or vec.ndim != 1 or input.ndim > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim}")
    (n, m), v = mat._a.shape, vec._a.shape[0]
    if m != v or (input.ndim and input._a.shape[0] not in (1, n)):
        raise RuntimeError(
            f"size mismatch, got input ({input.shape[0] if input.ndim else 1}), mat ({n}x{m}), vec ({v})"
        )
    vector_dtypes(mat, vec, input)


addmv.vjp(
    input=lambda g, beta: _times(g, beta),
    mat=lambda g, vec, alpha: _times(outer(g, conj(vec)), alpha),
    vec=lambda g, mat, alpha: _times(mv(adjoint(mat), g), alpha),
)


@op("addr", variants=ALL_FORMS, packed="operands", lacks=("uC", "addr_cpu"))
def addr(k: Kernel[T], input: T, vec1: T, vec2: T, *, beta: Scalar = 1, alpha: Scalar = 1) -> T:
    """beta * input + alpha * outer(vec1, vec2)."""
    return _blend(k, input, k.reshape(vec1, (-1, 1)) * k.reshape(vec2, (1, -1)), beta, alpha)


addr.older_form()


@addr.errors
def _(input: Any, vec1: Any, vec2: Any, beta: Any, alpha: Any) -> None:
    for i, v in ((1, vec1), (2, vec2)):
        if v.ndim != 1:
            raise RuntimeError(f"addr: Expected 1-D argument vec{i}, but got {v.ndim}-D")
    term_fits(input, (vec1._a.shape[0], vec2._a.shape[0]))
    if input._a.dtype.kind in "iub":
        for name, v in (("beta", beta), ("alpha", alpha)):
            if isinstance(v, float):
                raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")


addr.vjp(
    input=lambda g, beta: _times(g, beta),
    vec1=lambda g, vec2, alpha: _times(mv(g, conj(vec2)), alpha),
    vec2=lambda g, vec1, alpha: _times(mv(g.t(), conj(vec1)), alpha),
)


@op("baddbmm", variants=ALL_FORMS, lacks=("buC", "baddbmm"), halves=True, autocast="lower", widens=True)
def baddbmm(k: Kernel[T], input: T, batch1: T, batch2: T, *, beta: Scalar = 1, alpha: Scalar = 1) -> T:
    """beta * input + alpha * (batch1 @ batch2)."""
    return _blend(k, input, k.matmul(batch1, batch2), beta, alpha)


baddbmm.older_form()


@baddbmm.arrays
def _(k: Any, input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return product(k, batch1, batch2, None if beta == 0 else input, beta, alpha)


@baddbmm.errors
def _(input: Any, batch1: Any, batch2: Any, beta: Any, alpha: Any) -> None:
    batches_fit(batch1, batch2)
    if input._a.dtype != batch1._a.dtype:
        found = [C_NAMES[t.dtype] for t in (input, batch1, batch2)]
        raise RuntimeError(
            f"Input dtypes must be the same, got: input {found[0]}, batch1: {found[1]}, batch2: {found[2]}"
        )
    same_dtypes(batch1, batch2)
    term_fits(input, (*batch1._a.shape[:2], batch2._a.shape[2]))


baddbmm.vjp(
    input=lambda g, beta: _times(g, beta),
    batch1=lambda g, batch2, alpha: _times(bmm(g, adjoint(batch2)), alpha),
    batch2=lambda g, batch1, alpha: _times(bmm(adjoint(batch1), g), alpha),
)


@op("addbmm", variants=ALL_FORMS, takes_float8=True, lacks=("buC", "addmm_impl_cpu_"), autocast="lower")
def addbmm(k: Kernel[T], input: T, batch1: T, batch2: T, *, beta: Scalar = 1, alpha: Scalar = 1) -> T:
    """beta * input + alpha * the sum of all products batch1[i] @ batch2[i]."""
    product = k.sum(k.matmul(batch1, batch2), (0,))
    return _blend(k, input, k.reshape(product, product.shape[1:]), beta, alpha)


addbmm.older_form()


@addbmm.errors
def _(input: Any, batch1: Any, batch2: Any, beta: Any, alpha: Any) -> None:
    batches_fit(batch1, batch2)
    terms_and_factors(input, batch1, batch2)
    term_fits(input, (batch1._a.shape[1], batch2._a.shape[2]))


addbmm.vjp(
    input=lambda g, beta: _times(g, beta),
    batch1=lambda g, batch1_shape, batch2, alpha: _times(
        bmm(g.unsqueeze(0).expand(batch1_shape[0], *g.shape), adjoint(batch2)), alpha
    ),
    batch2=lambda g, batch1, alpha: _times(
        bmm(adjoint(batch1), g.unsqueeze(0).expand(batch1.shape[0], *g.shape)), alpha
    ),
)

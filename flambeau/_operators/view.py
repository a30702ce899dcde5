"""Views that change sizes and the order of dimensions: reshape, permute, expand and their kind. No element is copied.

Windows on part of a tensor (select, slice, split, diagonal, ...) stand in part.py.
"""

from __future__ import annotations

from operator import index
from typing import Any

from flambeau._ground.once import warn_once
from flambeau._kernel.language import Dim, Dims, DType, IntList, Kernel, Shape, T
from flambeau._operators.op import METHOD, composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, class_name, dtype, of, of_type
from flambeau._values.overlap import offset
from flambeau._values.shape import infer, view_strides, wrap_dim, wrap_dims

VIEW = {"promote": "none", "view": True}


def elements(x: Any) -> Shape:
    """Strides of an array, in elements."""
    n = x.dtype.itemsize
    return tuple(s // n for s in x.strides)


def sizes(size: Any) -> Shape:
    """What was given as sizes, as a tuple of ints."""
    if isinstance(size, int) or getattr(size, "ndim", 1) == 0:  # or a number of NumPy's, a 0-d tensor
        return (index(size),)
    for n in size:
        if type(n) is not int:
            return tuple([n if isinstance(n, int) else index(n) for n in size])
    return size if type(size) is tuple else tuple(size)


SMALL = 1 << 12  # elements of gradients below which no kernel sums them


# ---------------------------------------------------------------- view, reshape


@op("view(Tensor(a) self, SymInt[] size)", "view.dtype(Tensor(a) self, ScalarType dtype)", variants=METHOD, **VIEW)
def view(k: Kernel[T], input: T, size: Shape | DType | None = None, *, dtype: DType | None = None) -> T:
    """The same elements in another shape (one size may be -1), or the same bytes as another dtype.

    >>> torch.arange(6).view(2, -1).shape
    torch.Size([2, 3])
    """
    return k.reshape(input, infer(sizes(size), _numel(input.shape)))


view.vjp(input=lambda g, input_shape: g.reshape(input_shape))
view.vjp_arrays(input=lambda k, g, input_shape: g.reshape(input_shape))


@view.arrays
def _(k: Any, input: Any, size: Any = None, *, dtype: Any = None) -> Any:
    if type(size) is not tuple:
        if size is None or isinstance(size, (DType, type)):
            return _reinterpreted(input, of_type(dtype if size is None else size))
        size = sizes(size)
    if input.flags.c_contiguous:
        try:
            out = input.reshape(size)
            if out.shape == size or min(size) >= -1:  # NumPy takes every negative size for -1
                return out
            size = infer(sizes(size), input.size)
        except (ValueError, TypeError):
            size = infer(sizes(size), input.size)
            return input.reshape(size)
    shape = infer(sizes(size), input.size)
    strides = view_strides(input.shape, elements(input), shape)
    if strides is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    if type(input).__module__ == "numpy":
        try:  # the array library's own view is quicker to make, where it has these strides
            out, n = input.reshape(shape, copy=False), input.itemsize
            if out.strides == tuple([s * n for s in strides]):
                return out
        except (ValueError, TypeError):
            pass
    return k.library("strided", input, shape=shape, strides=strides)


def _reinterpreted(x: Any, to: dtype) -> Any:
    n, m = x.dtype.itemsize, to.itemsize
    for is_so, name in zip(
        getattr(x, "signs", ()), ("conjugate view tensors", "tensors with negative bit set"), strict=False
    ):
        if is_so:
            raise RuntimeError(f"torch.Tensor.view is not supported for {name} when converting to a different dtype.")
    if n != m:
        names = f"{SPOKEN[of(x.dtype)]} as {SPOKEN[to]} (different element sizes)"
        if not x.ndim:
            raise RuntimeError(f"self.dim() cannot be 0 to view {names}")
        by = max(1, m // n)
        if x.shape[-1] % by:
            raise RuntimeError(f"self.size(-1) must be divisible by {by} to view {names}, but got {x.shape[-1]}")
        if m > n and offset(x) % m:
            raise RuntimeError(
                f"self.storage_offset() must be divisible by {by} to view {names}, but got {offset(x) // n}"
            )
        if x.strides[-1] != n and x.shape[-1] != 1 and x.size:
            raise RuntimeError(f"self.stride(-1) must be 1 to view {names}, but got {x.strides[-1] // n}")
        if m > n:
            for i, s in enumerate(x.strides[:-1]):
                if s % m:
                    raise RuntimeError(f"self.stride({i}) must be divisible by {by} to view {names}, but got {s // n}")
    return x.view(to.np)


def _numel(shape: Shape) -> int:
    out = 1
    for n in shape:
        out *= n
    return out


@composite("view_as", variants=METHOD, alias=True)
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """View this tensor in the shape of `other`."""
    return input.view(other.shape)


@op("_reshape_copy", promote="none", variants=())
def _reshape_copy(k: Kernel[T], input: T, size: Shape) -> T:
    """The elements in row-major order, in another shape, in new memory."""
    return k.reshape(input, size)


_reshape_copy.known_as("UnsafeViewBackward0").vjp(input=lambda g, input_shape: g.reshape(input_shape))
_reshape_copy.vjp_arrays(input=lambda k, g, input_shape: g.reshape(input_shape))


@_reshape_copy.arrays
def _(k: Any, input: Any, size: Shape) -> Any:
    if input.size >= 1 << 15:
        return k.library("copied", input, format="contiguous_format").reshape(size)
    return input.reshape(-1).reshape(size) if not input.flags.c_contiguous else input.copy().reshape(size)


@composite("reshape", layouts=True, alias=True)
def reshape(input: Tensor, shape: Shape) -> Tensor:
    """The same elements in another shape: a view where the strides allow it, else a copy.

    >>> torch.arange(6).reshape(3, 2).T.reshape(6)
    tensor([0, 2, 4, 1, 3, 5])
    """
    if input._a.flags.c_contiguous:
        return view(input, shape)
    wanted = infer(sizes(shape), input.numel())
    if view_strides(input.shape, elements(input._a), wanted) is None:
        return _reshape_copy(input, wanted)
    return view(input, wanted)


@composite("reshape_as", variants=METHOD, alias=True)
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """Reshape this tensor to the shape of `other`."""
    return reshape(input, other.shape)


@composite("flatten.using_ints", alias=True)
def flatten(input: Tensor, start_dim: Dim = 0, end_dim: Dim = -1) -> Tensor:
    """Joins the dimensions from `start_dim` to `end_dim` into one."""
    rank = input.ndim
    start, end = wrap_dim(start_dim, rank), wrap_dim(end_dim, rank)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if rank == 0:
        return reshape(input, (1,))
    if start == end:
        return input
    shape = input._a.shape
    return reshape(input, (*shape[:start], _numel(shape[start : end + 1]), *shape[end + 1 :]))


@composite("unflatten.int", alias=True)
def unflatten(input: Tensor, dim: Dim, sizes: Shape) -> Tensor:
    """Splits one dimension into several (one of which may be -1)."""
    dim, given = wrap_dim(dim, input.ndim), _ints(sizes)
    if not given:
        raise RuntimeError("unflatten: sizes must be non-empty")
    n = input.shape[dim]
    known = _numel(tuple(s for s in given if s != -1))
    if (-1 not in given and known != n) or (-1 in given and (known == 0 or n % known)):
        raise RuntimeError(
            f"unflatten: Provided sizes {list(given)} don't multiply up to the size of dim {dim} "
            f"({n}) in the input tensor"
        )
    return input.view((*input.shape[:dim], *infer(given, n), *input.shape[dim + 1 :]))


_ints = sizes


@composite("ravel", alias=True)
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return input.contiguous().view(-1)


# ---------------------------------------------------------------- order of dimensions


def _inverse(dims: Shape) -> Shape:
    out = [0] * len(dims)
    for i, d in enumerate(dims):
        out[d % len(dims)] = i
    return tuple(out)


@op("permute", **VIEW)
def permute(k: Kernel[T], input: T, dims: IntList) -> T:
    """The dimensions in another order.

    >>> torch.zeros(2, 3, 5).permute(2, 0, 1).shape
    torch.Size([5, 2, 3])
    """
    return k.permute(input, dims)


permute.vjp(input=lambda g, dims: g.permute(_inverse(dims)))
permute.vjp_arrays(input=lambda k, g, dims: g.transpose(_inverse(dims)))


@permute.arrays
def _(k: Any, input: Any, dims: Any) -> Any:
    try:
        return input.transpose(dims)
    except (ValueError, TypeError):
        _explain_order(input, sizes(dims))
        return input.transpose(sizes(dims))


def _explain_order(input: Any, dims: Shape) -> None:
    rank = input.ndim
    if len(dims) != rank:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            "length of the desired ordering "
            f"of dimensions i.e. input.dim() = {rank} is not equal to len(dims) = {len(dims)}"
        )
    seen = {d if d >= 0 else d + rank for d in dims}
    if len(seen) != rank or (rank and (max(seen) >= rank or min(seen) < 0)):
        for d in dims:
            wrap_dim(d, rank)
        raise RuntimeError("permute(): duplicate dims are not allowed.")


@op("transpose.int", **VIEW, variants=("function", "method", "inplace"))
def transpose(k: Kernel[T], input: T, dim0: Dim, dim1: Dim) -> T:
    """Exchanges two dimensions.

    >>> torch.zeros(2, 3, 5).transpose(0, -1).shape
    torch.Size([5, 3, 2])
    """
    rank = input.ndim
    a, b = wrap_dim(dim0, rank), wrap_dim(dim1, rank)
    dims = list(range(rank))
    if rank:
        dims[a], dims[b] = b, a
    return k.permute(input, dims)


transpose.vjp(input=lambda g, dim0, dim1: g.transpose(dim0, dim1))
transpose.vjp_arrays(input=lambda k, g, dim0, dim1: g.swapaxes(dim0, dim1) if g.ndim else g)


@transpose.arrays
def _(k: Any, input: Any, dim0: int, dim1: int) -> Any:
    try:
        return input.swapaxes(dim0, dim1)
    except IndexError:
        wrap_dim(dim0, input.ndim)
        wrap_dim(dim1, input.ndim)
        return input[...]


@op("swapaxes", **VIEW, variants=("function", "method", "inplace"))
def swapaxes(k: Kernel[T], input: T, axis0: Dim, axis1: Dim) -> T:
    """Exchanges two dimensions."""
    return transpose.body(k, input, axis0, axis1)


@op("swapdims", **VIEW, variants=("function", "method", "inplace"))
def swapdims(k: Kernel[T], input: T, dim0: Dim, dim1: Dim) -> T:
    """Exchanges two dimensions."""
    return transpose.body(k, input, dim0, dim1)


swapaxes.vjp(input=lambda g, axis0, axis1: g.transpose(axis0, axis1)).run = transpose.run
swapdims.vjp(input=lambda g, dim0, dim1: g.transpose(dim0, dim1)).run = transpose.run


@op("t", **VIEW, variants=("function", "method", "inplace"))
def t(k: Kernel[T], input: T) -> T:
    """The transpose of a matrix; a vector as it is."""
    return k.permute(input, range(input.ndim)[::-1])


t.vjp(input=lambda g: g.t())
t.vjp_arrays(input=lambda k, g: g.T)


@t.arrays
def _(k: Any, input: Any) -> Any:
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return input.T


@composite("numpy_T", variants=METHOD, python_name="T", layouts=True, alias=True)
def numpy_t(input: Tensor) -> Tensor:
    """The dimensions in reverse order."""
    if input._a.ndim == 2:
        return t(input)
    if input.ndim:
        from warnings import warn

        warn(
            "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated and it "
            "will throw an error in a "
            "future release. Consider `x.mT` to transpose batches of matrices or `x.permute(*torch.arange(x.ndim "
            "- 1, -1, -1))` to "
            "reverse the dimensions of a tensor.",
            stacklevel=3,
        )
    return permute(input, tuple(range(input.ndim))[::-1])


@composite("mT", variants=METHOD, layouts=True, alias=True)
def m_t(input: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    if not input.ndim:
        warn_once("Tensor.mT is deprecated on 0-D tensors. This function is the identity in these cases.")
        return input
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return transpose(input, -2, -1)


@composite("matrix_H", variants=METHOD, python_name="H", layouts=True, alias=True)
def matrix_h(input: Tensor) -> Tensor:
    """The conjugate transpose of a matrix."""
    if input.ndim == 0:
        return input
    if input.ndim != 2:
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {input.ndim}-D tensor."
            + (" For batches of matrices, consider using tensor.mH" if input.ndim > 2 else "")
        )
    return transpose(input, 0, 1).conj()


@composite("mH", variants=METHOD, layouts=True, alias=True)
def m_h(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, and conjugated."""
    if not input.ndim:
        warn_once("Tensor.mH is deprecated on 0-D tensors. This function is the identity in these cases.")
        return input
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.mH is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return transpose(input, -2, -1).conj()


@composite("adjoint", layouts=True, alias=True)
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, and conjugated."""
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return transpose(input, -2, -1).conj()


@composite(
    "movedim.intlist",
    "movedim.int(Tensor(a) self, int source, int destination) -> Tensor(a)",
    names=("moveaxis",),
    alias=True,
)
def movedim(input: Tensor, source: Dims, destination: Dims) -> Tensor:
    """Moves dimensions to other places; the rest keep their order."""
    rank = input.ndim
    a = (source,) if isinstance(source, int) else tuple(source)
    b = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(a) != len(b):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(a)} dims) should contain "
            "the same number of dims as "
            f"destination ({list(b)} dims)"
        )
    src, dst = tuple(wrap_dim(d, rank) for d in a), tuple(wrap_dim(d, rank) for d in b)
    if len(set(src)) != len(src):
        raise RuntimeError(f"movedim: repeated dim in `source` ({list(a)})")
    if len(set(dst)) != len(dst):
        raise RuntimeError(f"movedim: repeated dim in `destination` ({list(b)})")
    if rank == 0:
        return alias(input)
    order = dict(zip(dst, src, strict=True))
    rest = iter(d for d in range(rank) if d not in src)
    return permute(input, tuple(order[i] if i in order else next(rest) for i in range(rank)))


# ---------------------------------------------------------------- dimensions of size one


@op(
    "squeeze(Tensor(a) self)",
    "squeeze.dim(Tensor(a) self, int dim)",
    "squeeze.dims(Tensor(a) self, int[] dim)",
    **VIEW,
    variants=("function", "method", "inplace"),
)
def squeeze(k: Kernel[T], input: T, dim: Dims | None = None) -> T:
    """Without the dimensions of size 1 (or those of `dim` that have size 1)."""
    return k.reshape(input, tuple(input.shape[i] for i in _kept(input.shape, dim)))


squeeze.vjp(input=lambda g, input_shape: g.reshape(input_shape))
squeeze.vjp_arrays(input=lambda k, g, input_shape: g.reshape(input_shape))


@squeeze.arrays
def _(k: Any, input: Any, dim: Any = None) -> Any:
    shape = input.shape
    kept = _kept(shape, dim)
    if len(kept) == len(shape):
        return input[...]
    if input.flags.c_contiguous:
        return input.reshape([shape[i] for i in kept])
    if type(input).__module__ == "numpy":
        return input.squeeze(tuple([i for i in range(len(shape)) if i not in kept]))
    strides = elements(input)
    return k.library("strided", input, shape=tuple(shape[i] for i in kept), strides=tuple(strides[i] for i in kept))


def _kept(shape: Shape, dim: Any) -> list[int]:
    if dim is None:
        return [i for i, n in enumerate(shape) if n != 1]
    if isinstance(dim, int):
        dims: Any = (wrap_dim(dim, len(shape)),)
    else:
        dims = wrap_dims(dim, len(shape), empty_is_all=False)
    return [i for i, n in enumerate(shape) if n != 1 or i not in dims]


@op("unsqueeze", **VIEW, variants=("function", "method", "inplace"))
def unsqueeze(k: Kernel[T], input: T, dim: Dim) -> T:
    """With a dimension of size 1 inserted at `dim`.

    >>> torch.zeros(3).unsqueeze(0).shape
    torch.Size([1, 3])
    """
    at = wrap_dim(dim, input.ndim + 1)
    return k.reshape(input, (*input.shape[:at], 1, *input.shape[at:]))


unsqueeze.vjp(input=lambda g, dim: g.squeeze(dim))
unsqueeze.vjp_arrays(input=lambda k, g, dim: g.squeeze(dim))


@unsqueeze.arrays
def _(k: Any, input: Any, dim: int) -> Any:
    shape = input.shape
    at = wrap_dim(dim, len(shape) + 1)
    if input.flags.c_contiguous:
        return input.reshape(*shape[:at], 1, *shape[at:])
    st = elements(input)
    step = shape[at] * st[at] if at < len(shape) else 1
    return k.library("strided", input, shape=(*shape[:at], 1, *shape[at:]), strides=(*st[:at], step, *st[at:]))


# ---------------------------------------------------------------- expansion


@op("expand", **VIEW, variants=METHOD)
def expand(k: Kernel[T], input: T, size: Shape, *, implicit: bool = False) -> T:
    """Dimensions of size 1 repeated to a larger size, without a copy (-1 leaves a size as it is).

    >>> torch.tensor([[1], [2]]).expand(2, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    return k.expand(input, _expanded(input.shape, sizes(size)))


expand.vjp(input=lambda g, input_shape: g.sum_to_size(input_shape) if g.shape != input_shape else g)
expand.vjp_arrays(input=lambda k, g, input_shape: _summed_to(k, g, input_shape))


def _summed_to(k: Any, g: Any, shape: Shape) -> Any:
    """`sum_to_size` of a small array by the body of `sum`."""
    if g.shape == shape:
        return g
    if g.size >= SMALL or g.dtype.char not in "fd":
        return NotImplemented
    from flambeau._operators.reduce import sum  # reductions are written in terms of this file

    if not shape:
        return sum.run(k, g)
    lead = g.ndim - len(shape)
    dims = [i for i, m in enumerate(g.shape) if i < lead or (shape[i - lead] == 1 and m != 1)]
    return sum.run(k, g, dims, True).reshape(shape)


@expand.arrays
def _(k: Any, input: Any, size: Any, *, implicit: bool = False) -> Any:
    shape = input.shape
    size = sizes(size)
    if size == shape:
        return input[...]
    lead = len(size) - len(shape)
    if lead < 0:
        raise RuntimeError(
            f"expand({class_name(of(input.dtype))}{{{list(shape)}}}, size={list(size)}): "
            "the number of sizes provided "
            f"({len(size)}) must be greater or equal to the number of dimensions in the tensor "
            f"({input.ndim})"
        )
    n = input.dtype.itemsize
    strides = [0] * lead
    wanted = list(size)
    for i, (have, step) in enumerate(zip(shape, input.strides, strict=True), lead):
        want = wanted[i]
        if want == have or want == -1:
            wanted[i] = have
            strides.append(step // n)
        elif have == 1 and want >= 0:
            strides.append(0)
        else:
            _expanded(shape, size)
    if lead and min(wanted[:lead]) < 0:
        _expanded(shape, size)
    return k.library("strided", input, shape=wanted, strides=strides)


def _expanded(shape: Shape, size: Shape) -> Shape:
    lead = len(size) - len(shape)
    out = list(size)
    for i in reversed(range(len(size))):  # PyTorch finds the last fault first
        n = size[i]
        have = shape[i - lead] if i >= lead else 1
        if n == -1:
            if i < lead:
                raise RuntimeError(
                    f"The expanded size of the tensor ({n}) isn't allowed in a leading, non-existing dimension {i}"
                )
            n = have
        elif n < 0:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) isn't allowed in a leading, non-existing dimension {i}"
                if i < lead
                else f"Trying to create tensor with negative dimension {n}: {list(size)}"
            )
        if n != have and have != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                f"non-singleton dimension {i}.  "
                f"Target sizes: {list(size)}.  Tensor sizes: {list(shape)}"
            )
        out[i] = n
    return tuple(out)


@composite("expand_as", variants=METHOD, alias=True)
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Expand this tensor to the shape of `other`."""
    return input.expand(other.shape)


@composite("broadcast_to", alias=True)
def broadcast_to(input: Tensor, size: Shape) -> Tensor:
    """Broadcasts `input` to a shape."""
    return input.expand(size)


@composite("sum_to_size", variants=METHOD)
def sum_to_size(input: Tensor, size: Shape) -> Tensor:
    """Sums over the dimensions that broadcasting would have stretched, so that the result has this shape."""
    size, shape = sizes(size), tuple(input.shape)
    if not size:
        return input.sum()
    lead = len(shape) - len(size)
    if lead < 0 or any(n not in (1, m) for n, m in zip(size, shape[lead:], strict=True)):
        raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}.")
    dims = [i for i, m in enumerate(shape) if i < lead or (size[i - lead] == 1 and m != 1)]
    if not dims:
        return input
    out = input.sum(dims, keepdim=True)
    return out.view(size) if lead else out


# ---------------------------------------------------------------- the same elements, read otherwise


@op("alias", **VIEW, variants=())
def alias(k: Kernel[T], input: T) -> T:
    """The same tensor as a view."""
    return input[...]


alias.vjp(input=lambda g: g)


@op("_again", **VIEW, variants=(), differentiable=False)
def _again(k: Kernel[T], input: T, after: T) -> T:
    """The same tensor as a view; programs keep what is computed from it apart from what is computed from the tensor itself, and do so when `after` is there."""
    return input[...]


@op("view_as_real", **VIEW, variants=("function",))
def view_as_real(k: Kernel[T], input: T) -> T:
    """A complex tensor as pairs of real numbers, in a last dimension of size 2."""
    st = elements(input)
    return k.library(
        "strided", input, shape=(*input.shape, 2), strides=(*(2 * s for s in st), 1), dtype=of(input.dtype).to_real().np
    )


view_as_real.vjp(input=lambda g: view_as_complex(g.contiguous()))


@view_as_real.errors
def _(input: Any) -> None:
    if not input.is_complex():
        raise RuntimeError("view_as_real is only supported for complex tensors")
    if input.is_conj():
        raise RuntimeError(
            "view_as_real doesn't work on unresolved conjugated tensors.  To resolve the conjugate tensor so you can view it as real, use "
            "self.resolve_conj(); however, be warned that the resulting tensor will NOT alias the original."
        )


@op("view_as_complex", **VIEW, variants=("function",), autocast="float32")
def view_as_complex(k: Kernel[T], input: T) -> T:
    """Pairs of real numbers, in a last dimension of size 2, as complex numbers."""
    st = elements(input)
    return k.library(
        "strided",
        input,
        shape=input.shape[:-1],
        strides=tuple(s // 2 for s in st[:-1]),
        dtype=of(input.dtype).to_complex().np,
    )


view_as_complex.vjp(input=lambda g: view_as_real(g))


@view_as_complex.errors
def _(input: Any) -> None:
    name = SPOKEN[input.dtype]
    if name not in ("Half", "Float", "Double"):
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of scalar type: {name}"
        )
    a = input._a
    if not a.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if a.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if a.strides[-1] != a.dtype.itemsize:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % (2 * a.dtype.itemsize) for s in a.strides[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")


@op("real", **VIEW, variants=("function", "method"))
def _real(k: Kernel[T], input: T) -> T:
    """The real parts (a real tensor itself)."""
    x: Any = input
    if getattr(x.dtype, "fields", None):  # two halves
        return x["real"]
    return x.real if x.dtype.kind == "c" else x[...]


_real.vjp(input=lambda g: g).signs(lambda conjugate, negative: (False, negative))


@op("imag", **VIEW, variants=("function", "method"))
def _imag(k: Kernel[T], input: T) -> T:
    """The imaginary parts of a complex tensor."""
    x: Any = input
    return x["imag"] if getattr(x.dtype, "fields", None) else x.imag


_imag.vjp(input=lambda g: g * 1j).signs(lambda conjugate, negative: (False, conjugate != negative))


@_imag.errors
def _(input: Any) -> None:
    if not input.is_complex():
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


@composite("sym_size.int(Tensor self, int dim) -> SymInt", variants=())
def sym_size(self: Tensor, dim: int) -> int:
    """The size of a dimension, as graphs read it."""
    return int(self.shape[dim])


@composite("sym_stride.int(Tensor self, int dim) -> SymInt", variants=())
def sym_stride(self: Tensor, dim: int) -> int:
    """The stride of a dimension, as graphs read it."""
    return int(self.stride(dim))


@composite("sym_storage_offset(Tensor self) -> SymInt", variants=())
def sym_storage_offset(self: Tensor) -> int:
    """Where the tensor starts in its storage, as graphs read it."""
    return int(self.storage_offset())


@composite("sym_numel(Tensor self) -> SymInt", variants=())
def sym_numel(self: Tensor) -> int:
    """The number of elements, as graphs read it."""
    return int(self.numel())

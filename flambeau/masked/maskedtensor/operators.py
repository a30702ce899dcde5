"""What masked tensors support: operators over the data, reductions over what is there, moves of data and mask alike."""

from __future__ import annotations

import warnings

import flambeau
from flambeau import Tensor, masked

from .core import MaskedTensor, is_masked_tensor, match

aten = flambeau.ops.aten

# Facts about PyTorch, which no definition tells; aliases arrive as what they stand for.
_UNARY = frozenset((
    "abs", "acos", "acosh", "angle", "asin", "asinh", "atan", "atanh", "bitwise_not", "ceil", "clamp", "conj_physical",
    "cos", "cosh", "deg2rad", "digamma", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "floor", "frac", "lgamma",
    "log", "log10", "log1p", "log2", "logit", "i0", "isnan", "nan_to_num", "neg", "positive", "pow", "rad2deg",
    "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sgn", "signbit", "sin", "sinc", "sinh", "sqrt", "square", "tan",
    "tanh", "trunc"
))  # fmt: skip
_BINARY = frozenset((
    "add", "atan2", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "div",
    "floor_divide", "fmod", "logaddexp", "logaddexp2", "mul", "nextafter", "remainder", "sub", "eq", "ne", "le", "ge",
    "gt", "lt", "maximum", "minimum", "fmax", "fmin"
))  # fmt: skip
_ONLY_OUT_OF_PLACE = frozenset(("angle", "positive", "signbit", "isnan", "logaddexp", "logaddexp2", "equal", "fmin", "minimum", "maximum", "fmax"))  # fmt: skip
_MOVES = frozenset((
    "select", "transpose", "split", "t", "slice", "slice_backward", "select_backward", "index", "expand", "view",
    "_unsafe_view", "cat", "unsqueeze", "unfold", "unfold_backward", "im2col", "col2im", "stack"
))  # fmt: skip
_REDUCTIONS = ("sum", "mean", "amin", "amax", "argmin", "argmax", "prod", "all", "norm", "var", "std")
_NOT_THERE = (
    "If you would like this operator to be supported, please file an issue for a feature request at "
    "https://github.com/pytorch/maskedtensor/issues with a minimal reproducible code snippet.\nIn the case that the semantics for the "
    "operator are not trivial, it would be appreciated to also include a proposal for the semantics."
)


def dispatch(func, args, kwargs):
    """Call an operator some of whose tensors are masked, below the derivatives."""
    packet = func.overloadpacket
    name = packet.__name__
    plain = name[:-1] if name.endswith("_") and name[:-1] not in _ONLY_OUT_OF_PLACE else name
    if name in _REDUCTIONS:
        return reduce(name, *args, **kwargs)
    if name in _MOVES:
        return _wrapped(packet(*_mapped(args, _data), **kwargs), packet(*_mapped(args, _mask), **kwargs))
    if plain in _UNARY:
        return _unary(packet, args, kwargs, plain != name)
    if plain in _BINARY:
        return _binary(packet, args, kwargs, plain != name)
    rule = _RULES.get(name)
    if rule is not None:
        return rule(packet, *args, **kwargs)
    warnings.warn(f"{name} is not implemented in __torch_dispatch__ for MaskedTensor.\n{_NOT_THERE}", stacklevel=2)
    return NotImplemented


def _data(t):
    return t._masked_data if is_masked_tensor(t) else t


def _mask(t):
    return t._masked_mask if is_masked_tensor(t) else t


def _mapped(x, part):
    if isinstance(x, (list, tuple)):
        return type(x)(_mapped(i, part) for i in x)
    return part(x)


def _wrapped(data, mask):
    if isinstance(data, (list, tuple)):
        return type(data)(_wrapped(d, m) for d, m in zip(data, mask, strict=False))
    return MaskedTensor(data, mask) if isinstance(data, Tensor) else NotImplemented


def _over_values(fn, data, args):
    """A function of the elements of data (and of whatever else), in data's layout."""
    if data.layout is flambeau.sparse_coo:
        data = data.coalesce()
        return flambeau.sparse_coo_tensor(data.indices(), fn(data.values(), *args), data.size())
    if data.layout is flambeau.sparse_csr:
        return flambeau.sparse_csr_tensor(
            data.crow_indices(), data.col_indices(), fn(data.values(), *args), data.size()
        )
    return fn(data, *args)


def _unary(fn, args, kwargs, inplace):
    if kwargs:
        raise ValueError(
            "MaskedTensor unary ops require that len(kwargs) == 0. If you need support for this, please open an issue on Github."
        )
    if any(isinstance(a, Tensor) for a in args[1:]):
        raise TypeError("MaskedTensor unary ops do not support additional Tensor arguments")
    made = _over_values(fn, _data(args[0]), args[1:])
    if inplace:
        args[0]._set_data_mask(made, _mask(args[0]))
        return args[0]
    return _wrapped(made, _mask(args[0]))


def _binary(fn, args, kwargs, inplace):
    if kwargs:
        raise ValueError("len(kwargs) must equal 0")
    if any(isinstance(a, Tensor) for a in args[2:]):
        raise TypeError("MaskedTensor binary ops do not support Tensor arguments aside from the lhs and rhs")
    if is_masked_tensor(args[0]) and is_masked_tensor(args[1]) and not match(_mask(args[0]), _mask(args[1])):
        raise ValueError("Input masks must match. If you need support for this, please open an issue on Github.")
    x, y = _data(args[0]), _data(args[1])
    layout = x.layout if isinstance(x, Tensor) else flambeau.strided
    if layout is not flambeau.strided and isinstance(y, Tensor) and y.layout is layout:
        names = ("indices",) if layout is flambeau.sparse_coo else ("crow_indices", "col_indices")
        if not all(match(getattr(x, n)(), getattr(y, n)()) for n in names):
            kind = "sparse_coo" if layout is flambeau.sparse_coo else "sparse_csr"
            raise ValueError(
                f"{kind} indices must match. If you need support for this, please open an issue on Github."
            )
        if x.size() != y.size():
            raise ValueError("input1 and input2 must have the same size for binary functions.")
        y = y.values()
    made = _over_values(fn, x, (y, *args[2:])) if isinstance(x, Tensor) else fn(x, y, *args[2:])
    if inplace:
        args[0]._set_data_mask(made, _mask(args[0]))
        return args[0]
    mask = _mask(args[0] if is_masked_tensor(args[0]) else args[1])
    return _wrapped(made, mask.expand_as(made) if layout is flambeau.strided else mask)


# ---------------------------------------------------------------- reductions


def reduce(name, input, *args, **kwargs):
    """A reduction over the elements that are there; where there are none, the result is not there either."""
    if not is_masked_tensor(input):
        raise TypeError("Input to reduce_dim must be a MaskedTensor")
    if not args and not kwargs:
        return _reduce_all(name, input)
    return _reduce_dim(name, input, *args, **kwargs)


class _Reduced(flambeau.autograd.Function):
    """What a dense reduction gave, with a mask; the gradient goes on dense, up to where the data was taken out."""

    @staticmethod
    def forward(ctx, data, mask):
        return MaskedTensor(data, mask)

    @staticmethod
    def backward(ctx, grad_output):
        return _data(grad_output), None


def _function(name):
    if name != "all":
        return getattr(masked, name)

    def every(data, mask, dtype=None, **rest):
        return data.masked_fill(~mask, True).all(**rest)

    return every


def _reduce_all(name, input):
    data, mask = input.get_data(), input.get_mask()
    if input.is_sparse:
        data, mask = data.values(), mask.values()
    return _Reduced.apply(_function(name)(data, mask=mask), mask.any())


def _reduce_dim(name, input, dim, keepdim=False, dtype=None):
    if input.is_sparse:
        warnings.warn(f"The sparse version of {name} is not implemented in reductions.\n{_NOT_THERE}", stacklevel=2)
        return NotImplemented
    mask = input.get_mask()
    data = _function(name)(input.get_data(), dim=dim, keepdim=keepdim, dtype=dtype, mask=mask)
    for d in sorted([dim] if isinstance(dim, int) else dim, reverse=True):
        mask = mask.any(dim=d, keepdim=keepdim)
    return _Reduced.apply(data, mask)


# ---------------------------------------------------------------- rules of their own


def _as_masked(t):
    return t if is_masked_tensor(t) else MaskedTensor(t, flambeau.ones_like(t, dtype=flambeau.bool))


def _where(fn, condition, x, y):
    x, y = _as_masked(x), _as_masked(y)
    return MaskedTensor(fn(condition, _data(x), _data(y)), fn(condition, _mask(x), _mask(y)))


def _copy(fn, target, source, *_):
    if is_masked_tensor(source) and not match(_mask(target), _mask(source)):
        raise ValueError("args[0] mask and args[1] mask must match but do not")
    fn(_data(target), _data(source))
    return target


def _to_copy(fn, t, **kwargs):
    return MaskedTensor(fn(_data(t), **kwargs), fn(_mask(t), **{**kwargs, "dtype": flambeau.bool}))


def _softmax(fn, t, dim, half_to_float=False):
    rows = _data(t).masked_fill(~_mask(t), float("-inf"))
    return MaskedTensor(flambeau.softmax(rows, dim).nan_to_num(0.0), _mask(t))


def _softmax_backward(fn, grad, output, dim, input_dtype):
    if not (is_masked_tensor(grad) and is_masked_tensor(output)):
        raise ValueError(f"__torch_dispatch__, {fn}: grad and output must both be MaskedTensors")
    g, y = _data(grad).masked_fill(~_mask(grad), 0.0), _data(output)
    return MaskedTensor(y * (g - (g * y).sum(dim, keepdim=True)), _mask(grad))


def _scalar(fn, t):
    if not _mask(t):
        raise ValueError(f"__torch_dispatch__, {fn}: expected a mask tensor")
    return _data(t).item()


def _contiguity(fn, t, *args, **kwargs):
    if _data(t).layout is not flambeau.strided:
        raise ValueError(f"MaskedTensors with sparse data do not have {fn.__name__}")
    return _data(t).is_contiguous(*args, **kwargs)


def _new_ones(fn, t, size, **kwargs):
    if tuple(size) != tuple(_data(t).shape):
        return NotImplemented
    return MaskedTensor(fn(_data(t), size, **kwargs), _mask(t))


def _same_mask(fn, t, *args, **kwargs):
    return MaskedTensor(fn(_data(t), *args, **kwargs), _mask(t))


_RULES = {
    "where": _where,
    "copy_": _copy,
    "_to_copy": _to_copy,
    "_softmax": _softmax,
    "_softmax_backward_data": _softmax_backward,
    "_local_scalar_dense": _scalar,
    "is_contiguous": _contiguity,
    "is_same_size": lambda fn, a, b: _data(a).is_same_size(_data(b)),
    "detach": lambda fn, t: MaskedTensor(_data(t).detach(), _mask(t)),
    "clone": lambda fn, t, **_: MaskedTensor(_data(t).clone(), _mask(t)),
    **dict.fromkeys(("ones_like", "new_empty_strided"), _same_mask),
    "new_ones": _new_ones,  # where a backward pass begins
    "_to_dense": lambda fn, t, *_, **__: MaskedTensor(_data(t).to_dense(), _mask(t).to_dense()),
}


# ---------------------------------------------------------------- functions, above the derivatives


class _Laid(flambeau.autograd.Function):
    """Data and mask by a change of layout, undone for the gradient."""

    @staticmethod
    def forward(ctx, input, change, undo):
        ctx.undo = undo
        return change(input)

    @staticmethod
    def backward(ctx, grad_output):
        return ctx.undo(grad_output), None, None


def _sparse(csr):
    def change(t):
        if csr and t._masked_data.ndim != 2:
            raise ValueError(
                f"Only 2D tensors can be converted to the SparseCsr layout but got shape: {t._masked_data.size()}"
            )
        if t.layout == (flambeau.sparse_csr if csr else flambeau.sparse_coo):
            return t
        mask = t.get_mask().to_sparse_csr() if csr else t.get_mask().to_sparse_coo().coalesce()
        return MaskedTensor(_data(t).sparse_mask(mask), mask)

    return lambda t, *args, **kwargs: _Laid.apply(t, change, lambda g: g.to_dense())


def _to_dense(t, *args, **kwargs):
    back = {flambeau.sparse_coo: "to_sparse", flambeau.sparse_csr: "to_sparse_csr"}.get(t.layout)
    if back is None:
        return t
    return _Laid.apply(
        t, lambda x: MaskedTensor(_data(x).to_dense(), _mask(x).to_dense()), lambda g: getattr(g, back)()
    )


def _contiguous(t, *args, **kwargs):
    if t.is_contiguous():
        return t
    return _Laid.apply(t, lambda x: MaskedTensor(_data(x).contiguous(), _mask(x).contiguous()), lambda g: g)


class _Where(flambeau.autograd.Function):
    """Either of two masked tensors; each gets the other's part of the gradient masked out."""

    @staticmethod
    def forward(ctx, condition, input, other):
        ctx.mark_non_differentiable(condition)
        ctx.save_for_backward(condition)
        return _where(aten.where, condition, input, other)

    @staticmethod
    def backward(ctx, g):
        (condition,) = ctx.saved_tensors
        nothing = MaskedTensor(_data(g), flambeau.zeros_like(_mask(g)))
        return None, _where(aten.where, condition, g, nothing), _where(aten.where, condition, nothing, g)


def _function_where(*args, **kwargs):
    if len(args) != 3:
        raise ValueError(f"__torch_function__, torch.where: len(args) must be 3 but got {len(args)}")
    if kwargs:
        raise ValueError(f"__torch_function__, torch.where: len(kwargs) must be 0 but got {len(kwargs)}")
    return _Where.apply(*args)


def _reduction(name):
    return lambda input, *args, **kwargs: reduce(name, input, *args, **kwargs)


FUNCTIONS = {
    **{name: _reduction(name) for name in _REDUCTIONS},
    "where": _function_where,
    "contiguous": _contiguous,
    "to_dense": _to_dense,
    "to_sparse": _sparse(False),
    "to_sparse_csr": _sparse(True),
}

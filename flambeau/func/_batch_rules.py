"""How each primitive maps over a batch dimension that is the first of what batched tensors hold.

A rule gets the operator and its arguments, where `Batch(value)` stands for a batched tensor, and gives the results with the batch
first. Pointwise operators have one rule, composites need none (their parts are mapped); a primitive without a rule is run sample by
sample. Classes of primitives share a rule; the tables below say which belong to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flambeau._eager import call
from flambeau._ground.errors import DynamicShape
from flambeau._operators.op import REGISTRY, Op
from flambeau._tensor import Tensor
from flambeau._values.dtype import bool_
from flambeau._values.shape import wrap_dim

Rule = Callable[[Op, list[Any], Any], Any]
RULES: dict[str, Rule] = {}


class VmapInfo(NamedTuple):
    """What users' batch rules are told of the `vmap` that is running."""

    batch_size: int
    randomness: str


class Batch:
    """The value of a batched tensor: a sample has one dimension less."""

    __slots__ = ("value",)

    def __init__(self, value: Tensor) -> None:
        self.value = value

    @property
    def ndim(self) -> int:
        """The rank of one sample."""
        return self.value._a.ndim - 1


class Same:
    """A result that is the same for all samples."""

    __slots__ = ("value",)

    def __init__(self, value: Tensor) -> None:
        self.value = value


def rule(*overloads: str) -> Callable[[Rule], Rule]:
    def register(fn: Rule) -> Rule:
        for name in overloads:
            RULES[name] = fn
        return fn

    return register


def apply(op: Op, values: Sequence[Any], level: Any) -> Any:
    """The operator over a batch."""
    if op.custom is not None and op.custom.vmap is not None:
        return _custom(op, values, level)
    found = RULES.get(op.overload)
    if found is None:
        found = aligned if op.kind == "pointwise" else one_by_one
    return found(op, list(values), level)


_ASK = "Please file an issue at https://github.com/pytorch/pytorch/issues if you need this feature."
_REFUSED = {
    "equal": "Batching rule not implemented for aten::equal. We could not generate a fallback.",
    "allclose": f"vmap over torch.allclose isn't supported yet. {_ASK}",
}
_STATISTICS = ("Batch norm got a batched tensor as input while the running_mean or running_var, which will be updated in place, were not "
               "batched.\nIf you are using a module and do not need eval mode, please set `track_running_stats` to be False.If you are "
               "using a prebuilt module and do not need eval mode, please see the functorch website for resources on how to patch your "
               "module to work with vmap")  # fmt: skip
_MASK = ("vmap: We do not support batching operators that can support dynamic shape. Attempting to batch over indexing with a boolean "
         "mask.")  # fmt: skip
_DYNAMIC = {name: f"vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over aten::{shown}. {_ASK}"
            for name, shown in (("nonzero", "nonzero"), ("_unique2", "_unique2"), ("unique_dim", "unique_dim"),
                                ("_unique_runs", "unique_consecutive"))}  # fmt: skip
_DYNAMIC["masked_select"] = ("vmap: Attempted to vmap over `mask` in torch.masked_select(self, mask) We cannot support this because for "
                             f"each batch this would return a differently shaped Tensor. {_ASK}")  # fmt: skip


def check(op: Op, values: Sequence[Any]) -> None:
    """Refuse what has no meaning, or no one shape, for a batch."""
    if op.overload in _REFUSED:
        raise RuntimeError(_REFUSED[op.overload])
    if op.overload in _DYNAMIC:
        from flambeau.func._batched import BatchedTensor

        if op.overload != "masked_select" or type(values[1]) is BatchedTensor:
            raise DynamicShape(_DYNAMIC[op.overload])
    if op.overload == "batch_norm" and values[5]:
        from flambeau.func._batched import BatchedTensor

        if type(values[0]) is BatchedTensor and isinstance(values[3], Tensor) and type(values[3]) is not BatchedTensor:
            raise RuntimeError(_STATISTICS)
    if op.overload == "one_hot" and values[1] == -1:
        raise RuntimeError(
            "When vmap-ing torch.nn.functional.one_hot, please provide an explicit positive num_classes argument."
        )


def _custom(op: Op, values: Sequence[Any], level: Any) -> Any:
    """A user's operator by the rule that was registered for it."""
    info = VmapInfo(level.size, level.randomness)
    dims = tuple(0 if type(v) is Batch else None for v in values)
    out, where = op.custom.vmap(info, dims, *[v.value if type(v) is Batch else v for v in values])
    if isinstance(out, Tensor):
        return out if where == 0 else out.movedim(where, 0) if where is not None else full(out, level.size)
    wheres = where if isinstance(where, (tuple, list)) else (where,) * len(out)
    return type(out)(
        o.movedim(d, 0) if d is not None else full(o, level.size) for o, d in zip(out, wheres, strict=True)
    )


def write(op: Op, values: Sequence[Any], level: Any) -> None:
    """The in-place form over a batch: into the value of the first argument."""
    target = values[op.receiver_at].value
    if op.kind == "pointwise" or RULES.get(op.overload) is aligned:
        ranked = _align(op, list(values))
        if ranked[op.receiver_at] is target:
            call.general(op, tuple(ranked), None, True)
            return
    if RULES.get(op.overload) is filled and isinstance(values[1], (Batch, Tensor)):
        target.copy_(_source(list(values), level))
        return
    if (op.write is not None and not op.differentiable) or RULES.get(op.overload) is filled:
        call.general(op, tuple(v.value if type(v) is Batch else v for v in values), None, True)
        return
    target.copy_(apply(op, values, level))


def rank(v: Any) -> int:
    """The rank of one sample."""
    return v.ndim if type(v) is Batch else v._a.ndim


def full(v: Any, size: int) -> Any:
    """A tensor with the batch first, whether it is batched or not."""
    return v.value if type(v) is Batch else v.unsqueeze(0).expand(size, *v.shape)


def run(op: Op, values: Sequence[Any]) -> Any:
    return call.general(op, tuple(values))


def position(op: Op, name: str) -> int:
    return next(i for i, p in enumerate(op.params) if p.name == name)


# ---------------------------------------------------------------- sample by sample


def one_by_one(op: Op, values: list[Any], level: Any) -> Any:
    """Every sample on its own; none, of a batch of nothing, looks as one of zeros would."""
    if level.size:
        return stacked(samples(op, values, level))
    one = [Batch(v.value.new_zeros((1, *v.value.shape[1:]))) if type(v) is Batch else v for v in values]
    return _each(stacked([run(op, each(one, level, 1)[0])]), lambda t: t.narrow(0, 0, 0))


def samples(op: Op, values: Sequence[Any], level: Any) -> list[Any]:
    """The results of each sample."""
    return [run(op, given) for given in each(values, level)]


def each(values: Sequence[Any], level: Any, size: int | None = None) -> list[list[Any]]:
    """The arguments of each sample."""

    def sample(v: Any, i: int) -> Any:
        if type(v) is Batch:
            return v.value.select(0, i)
        if isinstance(v, (list, tuple)) and any(type(x) is Batch for x in v):
            return type(v)(sample(x, i) for x in v)
        return v

    return [[sample(v, i) for v in values] for i in range(level.size if size is None else size)]


def stacked(results: list[Any]) -> Any:
    """Results of the samples, put together."""
    first = results[0]
    if isinstance(first, Tensor):
        from flambeau._eager.names import public

        return public("stack")(results)
    if isinstance(first, (tuple, list)):
        parts = [stacked([r[i] for r in results]) for i in range(len(first))]
        return parts if isinstance(first, list) else tuple(parts)
    return first


# ---------------------------------------------------------------- elementwise


def _align(op: Op, values: list[Any]) -> list[Any]:
    """Tensors of one rank behind the batch, so that they broadcast as the samples do."""
    tensors = [i for i, p in enumerate(op.params) if p.is_tensor and isinstance(values[i], (Tensor, Batch))]
    most = max(rank(values[i]) for i in tensors)
    common = _common(op, values, tensors, most)
    out = list(values)
    for i in tensors:
        v = values[i]
        if type(v) is not Batch:
            continue
        t = v.value
        if common is not None and not v.ndim and not op.params[i].is_free and t.dtype != common:
            t = t.to(common)
        out[i] = t.reshape(t.shape[0], *(1,) * (most - v.ndim), *t.shape[1:]) if v.ndim < most else t
    return out


def _common(op: Op, values: list[Any], tensors: list[int], most: int) -> Any:
    """The dtype in which the samples meet, where a sample without dimensions must not count as one that has some."""
    if not most or op.promote == "none" or all(rank(values[i]) for i in tensors):
        return None
    operands = [
        v.value.select(0, 0) if type(v) is Batch else v
        for i, (p, v) in enumerate(zip(op.params, values, strict=True))
        if p.is_tensor and not p.is_free and v is not None
    ]
    return call.result_type(operands)


@rule("_still", "angle", "complex", "real", "imag", "view_as_real", "view_as_complex", "_conj", "_neg_view", "alias", "zero", "i0",
      "special_i0e", "special_i1", "special_i1e", "special_airy_ai", "special_bessel_j0", "special_bessel_j1", "special_bessel_y0",
      "special_bessel_y1", "special_modified_bessel_i0", "special_modified_bessel_i1", "special_modified_bessel_k0",
      "special_modified_bessel_k1", "special_scaled_modified_bessel_k0", "special_scaled_modified_bessel_k1",
      "special_spherical_bessel_j0", "special_erfcx", "special_ndtr", "special_ndtri", "special_log_ndtr", "special_entr", "igamma",
      "igammac", "special_zeta", "special_xlog1py", "frexp.Tensor", "_binary_cross_entropy", "_std_root",
      "special_chebyshev_polynomial_t", "special_chebyshev_polynomial_u", "special_chebyshev_polynomial_v",
      "special_chebyshev_polynomial_w", "special_shifted_chebyshev_polynomial_t", "special_shifted_chebyshev_polynomial_u",
      "special_shifted_chebyshev_polynomial_v", "special_shifted_chebyshev_polynomial_w", "special_hermite_polynomial_h",
      "special_hermite_polynomial_he", "special_laguerre_polynomial_l", "special_legendre_polynomial_p")  # fmt: skip
def aligned(op: Op, values: list[Any], level: Any) -> Any:
    """Elementwise: the batch is one more dimension that broadcasts."""
    return run(op, _align(op, values))


@rule("copy", "fill.Scalar")
def filled(op: Op, values: list[Any], level: Any) -> Any:
    """The last argument, of the first one's shape and dtype."""
    if not isinstance(values[1], (Batch, Tensor)):
        return run(op, (values[0].value, *values[1:]))
    return run(REGISTRY["copy"], (full(values[0], level.size), _source(values, level), False))


def _source(values: list[Any], level: Any) -> Any:
    """What is copied, as it broadcasts with the batch that it is copied to."""
    x, by = values[:2]
    return _behind(by, rank(x)) if rank(by) <= rank(x) else full(by, level.size)


@rule("_flat_in", "_blind_in")
def first_alone(op: Op, values: list[Any], level: Any) -> Any:
    """The first argument; the other one, of whatever shape, stands in the graph alone."""
    return run(op, (full(values[0], level.size), values[1].value if type(values[1]) is Batch else values[1]))


@rule("masked_fill.Scalar")
def masked_fill(op: Op, values: list[Any], level: Any) -> Any:
    if not isinstance(values[2], (Batch, Tensor)):
        return aligned(op, values, level)
    x, mask, value = _align(op, values)
    return value.to(x.dtype).where(mask, x)


@rule("clone", "_to_copy", "_contiguous", "empty_like", "zeros_like", "ones_like", "full_like")
def same_shape(op: Op, values: list[Any], level: Any) -> Any:
    """One result element for each element; a memory format of the samples does not carry over to the batch."""
    out = [v.value if type(v) is Batch else v for v in values]
    if "memory_format" in (names := [p.name for p in op.params]):
        at = names.index("memory_format")
        if out[at] is not None and out[at].name.startswith("channels"):
            out[at] = None
    return run(op, out)


# ---------------------------------------------------------------- along dimensions


def _shift(d: int, n: int) -> int:
    return wrap_dim(d, n, True) + 1


@rule("softmax.int", "log_softmax.int", "transpose.int", "swapaxes", "swapdims", "flip", "select.int", "slice.Tensor", "unbind.int",
      "split.Tensor", "diagonal", "unfold", "select_backward", "slice_backward", "diagonal_backward", "unfold_backward", "_fft_c2c",
      "_fft_r2c", "_fft_c2r", "cat", "linalg_vector_norm", "sum.dim_IntList", "mean.dim", "prod.dim_int", "max.dim", "amax",
      "min.dim", "amin", "any", "all", "var.correction", "logsumexp", "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin",
      "gather", "scatter.src", "scatter.value", "scatter_add", "scatter_reduce.two", "sort", "topk", "kthvalue", "median.dim",
      "nanmedian.dim", "mode", "squeeze", "permute", "argmax", "argmin", "roll")  # fmt: skip
def along(op: Op, values: list[Any], level: Any) -> Any:
    """Dimensions are counted behind the batch; where none is given, all but the batch are meant."""
    out, n, sized = list(values), None, op.overload.endswith("_backward")
    for i, p in enumerate(op.params):
        v = values[i]
        if p.is_list:
            n = max(rank(x) for x in v) if n is None else n
            if op.overload == "cat" and n > 1:  # which leaves out what is empty and has one dimension
                v = [x for x in v if rank(x) != 1]
            out[i] = [full(x, level.size) for x in v]
        elif p.is_tensor and isinstance(v, (Batch, Tensor)):
            n = rank(v) if n is None else n
            if not n and not sized and rank(v):
                return one_by_one(op, values, level)  # its rank is that of the result
            out[i] = full(v, level.size)
            if n == 0 and not sized:
                out[i] = out[i].unsqueeze(-1)
    assert n is not None
    for i, p in enumerate(op.params):
        v = values[i]
        if p.name == "input_sizes":
            if not v and op.overload == "unfold_backward":
                return one_by_one(op, values, level)
            n, out[i] = len(v), (level.size, *v)
    shown = max(n, 1)
    flattened = False
    for i, p in enumerate(op.params):
        v = values[i]
        note = p.annotation.removesuffix(" | None")
        if p.name == "dims" or note in ("Dim", "Dims"):
            if op.overload == "roll" and p.name == "shifts":
                continue
            if (v is None and p.annotation == "Dim | None") or (op.overload == "roll" and p.name == "dims" and v == ()):
                out[0], out[i], flattened = out[0].flatten(1), 1, True
            elif v is None or (
                isinstance(v, (tuple, list)) and not v and op.overload not in ("flip", "permute", "squeeze")
            ):
                out[i] = tuple(range(1, shown + 1))
            elif isinstance(v, (tuple, list)):
                out[i] = tuple(_shift(d, shown) for d in v)
                if op.overload == "permute":
                    out[i] = (0, *out[i])
            else:
                out[i] = _shift(v, shown)
        elif note == "Shape" and p.name == "dim":
            out[i] = tuple(_shift(d, shown) for d in v)
    if flattened and op.overload != "roll":
        keep = position(op, "keepdim")
        kept, out[keep] = out[keep], False
        result = run(op, out)
        return result.reshape(level.size, *(1,) * n) if kept else result
    if op.overload == "permute" and n == 0:
        return out[0].squeeze(-1)
    result = run(op, out)
    if flattened:
        return result.reshape(values[0].value.shape)
    if n == 0 and not sized and op.overload != "unfold":
        return _each(result, lambda t: t.squeeze(1) if t._a.ndim == 2 else t)
    return result.squeeze(1) if not n and op.overload == "unfold" else result


def _each(result: Any, fn: Any) -> Any:
    if isinstance(result, Tensor):
        return fn(result)
    return type(result)(fn(r) for r in result) if type(result) in (list, tuple) else tuple(fn(r) for r in result)


@rule("unsqueeze", "stack", "diag_embed")
def added(op: Op, values: list[Any], level: Any) -> Any:
    """As `along`, where the dimensions are those of the result."""
    out = list(values)
    if op.params[0].is_list:
        n = rank(values[0][0])
        out[0] = [full(x, level.size) for x in values[0]]
    else:
        n, out[0] = rank(values[0]), values[0].value
    for i, p in enumerate(op.params):
        if p.annotation == "Dim":
            out[i] = _shift(values[i], n + 1)
    return run(op, out)


@rule("max", "min", "prod", "median", "nanmedian")
def of_all(op: Op, values: list[Any], level: Any) -> Any:
    """A reduction of all elements: of the flat samples, along their one dimension."""
    x = values[0].value
    flat = x.flatten(1) if x._a.ndim > 1 else x.unsqueeze(1)
    match op.overload:
        case "max":
            return flat.amax(1)
        case "min":
            return flat.amin(1)
        case "prod":
            return flat.prod(1, dtype=values[1])
    return getattr(flat, op.overload)(1).values


@rule("index_select", "index_add", "index_copy", "index_fill.int_Scalar")
def by_index(op: Op, values: list[Any], level: Any) -> Any:
    """One index for all samples is an index of the batch; one for each becomes gather or scatter."""
    x, dim, index = values[:3]
    n = rank(x)
    d = _shift(dim, max(n, 1))
    if not n or rank(index) != 1 or (op.overload == "index_fill.int_Scalar" and type(values[3]) is Batch):
        return one_by_one(op, values, level)
    if type(index) is not Batch:
        out = [
            full(v, level.size) if isinstance(v, (Batch, Tensor)) and i in (0, 3) else v for i, v in enumerate(values)
        ]
        if op.overload == "index_fill.int_Scalar":
            out[3] = values[3]
        out[1] = d
        return run(op, out)
    t = full(x, level.size)
    i = index.value
    shape = list(t.shape)
    shape[d] = i.shape[1]
    i = i.reshape(level.size, *(1,) * (d - 1), i.shape[1], *(1,) * (n - d)).expand(shape)
    match op.overload:
        case "index_select":
            return t.gather(d, i)
        case "index_add":
            return t.scatter_add(d, i, full(values[3], level.size) * values[4])
        case "index_copy":
            return t.scatter(d, i, full(values[3], level.size))
    return t.masked_fill(t.new_zeros(t.shape, dtype=bool_).scatter(d, i, True), values[3])


# ---------------------------------------------------------------- shapes


@rule("view", "_unsafe_view", "_reshape_copy", "expand", "repeat", "new_empty", "new_zeros", "new_ones", "new_full")
def sized(op: Op, values: list[Any], level: Any) -> Any:
    """A size gets the batch in front."""
    out = [v.value if type(v) is Batch else v for v in values]
    t, size = out[0], values[1]
    if size is None or not isinstance(size, (tuple, list)):
        return one_by_one(op, values, level)
    if op.overload in ("expand", "repeat"):
        missing = len(size) - rank(values[0])
        if missing > 0:
            out[0] = t.reshape(t.shape[0], *(1,) * missing, *t.shape[1:])
    if op.overload in ("view", "_unsafe_view", "_reshape_copy") and -1 in size and t._a.size == 0:
        return one_by_one(op, values, level)
    out[1] = (1 if op.overload == "repeat" else -1 if op.overload == "expand" else t.shape[0], *size)
    return run(op, out)


@rule("_as_strided")
def as_strided(op: Op, values: list[Any], level: Any) -> Any:
    v, size, stride, offset = values[0].value, *values[1:4]
    return run(op, (v, (level.size, *size), (v.stride(0), *stride), offset, v.stride(), v.storage_offset()))


@rule("t")
def t(op: Op, values: list[Any], level: Any) -> Any:
    x = values[0]
    if x.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {x.ndim}D")
    return x.value.mT if x.ndim == 2 else x.value.view_as(x.value)


@rule("tril", "triu", "constant_pad_nd", "linalg_cholesky_ex", "linalg_lu_factor_ex", "_linalg_lu", "_lu_unpack", "linalg_qr",
      "_linalg_eigh", "linalg_eig", "_linalg_svd", "_svdvals", "linalg_inv_ex", "linalg_ldl_factor_ex", "linalg_det",
      "linalg_slogdet", "linalg_matrix_exp", "cholesky_inverse", "geqrf", "embedding", "one_hot", "linalg_solve_triangular",
      "cholesky_solve", "linalg_solve_ex")  # fmt: skip
def in_front(op: Op, values: list[Any], level: Any) -> Any:
    """Operators that take any number of dimensions in front of those that they work on."""
    if op.overload == "embedding" and type(values[0]) is Batch:
        return one_by_one(op, values, level)
    if op.overload == "linalg_solve_ex" and rank(values[0]) != rank(values[1]):
        return one_by_one(op, values, level)
    if op.overload == "embedding":
        return run(op, (values[0], values[1].value, *values[2:]))
    out = [full(v, level.size) if isinstance(v, (Batch, Tensor)) else v for v in values]
    if op.overload in ("linalg_solve_triangular", "cholesky_solve"):
        lead = max(rank(v) for v in values[:2])
        out[:2] = [t.reshape(t.shape[0], *(1,) * (lead + 1 - t.ndim), *t.shape[1:]) for t in out[:2]]
    return run(op, out)


# ---------------------------------------------------------------- products


def _matrix(v: Any, most: int) -> Any:
    """A factor with the batch and all batch dimensions of the samples in front of its last two."""
    if type(v) is not Batch:
        return v
    t = v.value
    return t.reshape(t.shape[0], *(1,) * (most - v.ndim), *t.shape[1:]) if v.ndim < most else t


def _product(x: Any, y: Any) -> Any:
    """matmul of two samples' values; either may be unbatched."""
    row, column = rank(x) == 1, rank(y) == 1
    if row:
        x = Batch(x.value.unsqueeze(1)) if type(x) is Batch else x.unsqueeze(0)
    if column:
        y = Batch(y.value.unsqueeze(-1)) if type(y) is Batch else y.unsqueeze(-1)
    most = max(rank(x), rank(y))
    out = _matrix(x, most) @ _matrix(y, most)
    out = out.squeeze(-1) if column else out
    return (out.squeeze(-1) if column else out.squeeze(-2)) if row else out


@rule("matmul", "mm", "bmm", "mv", "dot")
def product(op: Op, values: list[Any], level: Any) -> Any:
    return _product(values[0], values[1])


@rule("vdot")
def vdot(op: Op, values: list[Any], level: Any) -> Any:
    x = values[0]
    return _product(Batch(x.value.conj()) if type(x) is Batch else x.conj(), values[1])


@rule("outer")
def outer(op: Op, values: list[Any], level: Any) -> Any:
    x, y = (v.value if type(v) is Batch else v for v in values)
    return x.unsqueeze(-1) * y.unsqueeze(-2)


@rule("linear")
def linear(op: Op, values: list[Any], level: Any) -> Any:
    x, w, b = values
    if type(w) is not Batch and type(b) is not Batch:
        return run(op, (x.value, w, b))
    if rank(w) > 1:
        w = Batch(w.value.mT) if type(w) is Batch else w.mT
    out = _product(x, w)
    return out if b is None else out + _behind(b, out._a.ndim - (type(x) is Batch or type(w) is Batch))


def _behind(v: Any, n: int) -> Any:
    """A value that broadcasts with samples of rank n."""
    if type(v) is not Batch:
        return v
    t = v.value
    return t.reshape(t.shape[0], *(1,) * (n - v.ndim), *t.shape[1:])


@rule("addmm", "addmv", "baddbmm", "addr", "addbmm")
def added_product(op: Op, values: list[Any], level: Any) -> Any:
    x, a, b, beta, alpha = values
    if op.overload == "addr":
        p = (a.value if type(a) is Batch else a).unsqueeze(-1) * (b.value if type(b) is Batch else b).unsqueeze(-2)
    else:
        p = _product(a, b)
    p = p.sum(-3) if op.overload == "addbmm" else p
    p = p if alpha == 1 else p & bool(alpha) if p.dtype.kind == "b" else p * alpha
    batched = type(a) is Batch or type(b) is Batch
    if beta == 0:
        return p if batched else p.expand(level.size, *p.shape)
    x = _behind(x, p._a.ndim - batched)
    return p + (x if beta == 1 or p.dtype.kind == "b" else x * beta)


# ---------------------------------------------------------------- layers


def _fold(t: Any) -> Any:
    """batch, n, c, ... -> batch * n, c, ..."""
    return t.flatten(0, 1)


def _channels(v: Any, size: int) -> Any:
    """batch, n, c, ... -> n, batch * c, ...: a batch as groups of channels."""
    return full(v, size).transpose(0, 1).flatten(1, 2)


@rule("_conv", "_conv_input", "_conv_weight")
def convolution(op: Op, values: list[Any], level: Any) -> Any:
    """A batch of images is more images; a batch of weights, or of weight gradients, is more groups."""
    if not level.size:
        return one_by_one(op, values, level)
    b, out = level.size, list(values)
    at = position(op, "groups")
    groups = values[at]
    first, second = values[:2]
    bias = values[at + 1] if op.overload != "_conv_weight" else None
    if bias is not None:
        plain = [*values[: at + 1], None]
        plain = convolution(op, plain, level) if any(type(v) is Batch for v in plain) else run(op, plain).unsqueeze(0)
        ones = (1,) * (plain.ndim - 3)
        return plain + (bias.value.reshape(b, 1, -1, *ones) if type(bias) is Batch else bias.reshape(-1, *ones))
    if op.overload != "_conv_weight" and type(second) is not Batch:
        out[0] = _fold(first.value)
        if op.overload == "_conv_input":
            out[2] = (b * values[2][0], *values[2][1:])
        return run(op, out).unflatten(0, (b, -1))
    out[at] = groups * b
    if op.overload == "_conv_weight":
        out[0], out[1] = _channels(first, b), _channels(second, b)
        out[2] = (b * values[2][0], *values[2][1:])
        return run(op, out).unflatten(0, (b, -1))
    out[0], out[1] = _channels(first, b), _fold(second.value)
    if op.overload == "_conv_input":
        out[2] = (values[2][0], b * values[2][1], *values[2][2:])
    return run(op, out).unflatten(1, (b, -1)).transpose(0, 1)


@rule("_max_pool", "_avg_pool", "_adaptive_max_pool", "_avg_pool_backward")
def pooling(op: Op, values: list[Any], level: Any) -> Any:
    """A batch of images is more images."""
    x, out = values[0], list(values)
    spatial = len(values[position(op, "size")]) if op.overload != "_adaptive_max_pool" else len(values[1])
    extra = x.ndim - spatial - 1  # how many dimensions stand before the channels
    if extra not in (0, 1):
        return one_by_one(op, values, level)
    out[0] = _fold(x.value) if extra else x.value
    if op.overload == "_avg_pool_backward":
        shape = values[1]
        out[1] = (level.size * shape[0], *shape[1:]) if extra else (level.size, *shape)
    result = run(op, out)
    return _each(result, lambda t: t.unflatten(0, (level.size, -1))) if extra else result


@rule("_resampled")
def resampled(op: Op, values: list[Any], level: Any) -> Any:
    """Dims are counted from the end: one more before them changes nothing."""
    return run(op, [values[0].value, *values[1:]])


@rule("native_layer_norm")
def layer_norm(op: Op, values: list[Any], level: Any) -> Any:
    x, shape, w, b, eps = values
    if type(x) is not Batch:
        x = Batch(full(x, level.size))
    if type(w) is not Batch and type(b) is not Batch:
        return run(op, (x.value, shape, w, b, eps))
    y, mean, rstd = run(op, (x.value, shape, None, None, eps))
    y = y if w is None else y * _behind(w, x.ndim)
    return (y if b is None else y + _behind(b, x.ndim)), mean, rstd


@rule("native_batch_norm_statistics")
def batch_norm(op: Op, values: list[Any], level: Any) -> Any:
    """A batch is more channels; where only weight and bias are batched, the statistics are the same for all samples."""
    x, w, b, eps = values
    if type(x) is not Batch:
        y, mean, var = run(op, (x, None, None, eps))
        along = (1, -1, *(1,) * (x.ndim - 2))
        w, b = (None if v is None else full(v, level.size).reshape(level.size, *along) for v in (w, b))
        y = y if w is None else y * w
        return (y if b is None else y + b), Same(mean), Same(var)
    w, b = (None if v is None else full(v, level.size).flatten() for v in (w, b))
    y, mean, var = run(op, (_channels(x, level.size), w, b, eps))
    return y.unflatten(1, (level.size, -1)).transpose(0, 1), *(t.unflatten(0, (level.size, -1)) for t in (mean, var))


@rule("mse_loss")
def mse(op: Op, values: list[Any], level: Any) -> Any:
    x, y = _align(op, values)[:2]
    return _reduced((x - y) ** 2, values[2])


def _reduced(each: Any, reduction: int) -> Any:
    """As a loss reduces: 0 not at all, 1 to the mean, 2 to the sum."""
    if reduction == 0 or each._a.ndim == 1:
        return each
    return each.flatten(1).mean(1) if reduction == 1 else each.flatten(1).sum(1)


@rule("nll_loss_forward", "_nll")
def nll(op: Op, values: list[Any], level: Any) -> Any:
    """-weight[target] * input[target], over the samples' own classes."""
    x, target, weight, reduction, ignored = values
    n = rank(x)
    if type(weight) is Batch or rank(target) == n == 1:
        return one_by_one(op, values, level)
    x, target = full(x, level.size), full(target, level.size)
    c = 1 if n == 1 else 2
    counted = target != ignored
    at = target.masked_fill(~counted, 0)
    w = counted.to(x.dtype) if weight is None else weight[at] * counted
    each = -x.gather(c, at.unsqueeze(c)).squeeze(c) * w
    flat = (lambda v: v.flatten(1).sum(1)) if n > 1 else lambda v: v
    total = flat(w)
    out = each if reduction == 0 else flat(each) if reduction == 2 else flat(each) / total
    if len(op.outputs) < 2:
        return out
    return out, (total if reduction else total * 0)


@rule("embedding_dense_backward")
def embedding_backward(op: Op, values: list[Any], level: Any) -> Any:
    """One table of all samples' rows."""
    g, i, n, padding, by_frequency = values
    b = level.size
    g, i = full(g, b), full(i, b)
    from flambeau._eager.names import public

    start = public("arange")(b, device=i.device).reshape(b, *(1,) * (i._a.ndim - 1)) * n
    if padding >= 0:
        g = g.masked_fill((i == padding).unsqueeze(-1), 0)
    return run(op, (g, i + start, n * b, -1, by_frequency)).unflatten(0, (b, n))


# ---------------------------------------------------------------- indexing


def _arange(n: int, rank: int) -> Any:
    from flambeau._eager.names import public

    return public("arange")(n).reshape(n, *(1,) * rank)


@rule("index.Tensor")
def index(op: Op, values: list[Any], level: Any) -> Any:
    x, indices = values
    where = [k for k, i in enumerate(indices) if i is not None]
    adjacent = where == list(range(where[0], where[-1] + 1))
    if any(type(i) is not Batch and i is not None and i.dtype.kind == "b" for i in indices):
        indices = _without_masks(indices)
        where = [k for k, i in enumerate(indices) if i is not None]
    batched_index = any(type(i) is Batch for i in indices)
    depth = max(rank(i) for i in indices if i is not None)
    if not batched_index:
        out = run(op, (x.value, [None, *indices]))
        return out if adjacent else out.movedim(depth, 0)
    if any(type(i) is Batch and i.value.dtype.kind == "b" for i in indices):
        raise RuntimeError(_MASK)
    t = full(x, level.size)
    spread = [None if i is None else _behind(i, depth) for i in indices]
    out = run(op, (t, [_arange(level.size, depth), *spread]))
    lead = where[0]
    if adjacent and lead:  # the indexed dimensions came first: put them back behind those that lead
        out = out.movedim(tuple(range(1, depth + 1)), tuple(range(lead + 1, lead + depth + 1)))
    return out


def _without_masks(indices: Sequence[Any]) -> list[Any]:
    out: list[Any] = []
    for i in indices:
        out += list(i.nonzero(as_tuple=True)) if isinstance(i, Tensor) and i.dtype.kind == "b" else [i]
    return out


@rule("index_put")
def index_put(op: Op, values: list[Any], level: Any) -> Any:
    x, indices, source, accumulate = values
    if any(type(i) is Batch and i.value.dtype.kind == "b" for i in indices):
        raise RuntimeError(_MASK)
    indices = _without_masks(indices)
    where = [k for k, i in enumerate(indices) if i is not None]
    if where[0] != 0 or where != list(range(len(where))):
        return one_by_one(op, values, level)
    depth = max(rank(i) for i in indices if i is not None)
    t = full(x, level.size)
    spread = [_behind(i, depth) for i in indices]
    n = depth + rank(x) - len(where)
    return run(op, (t, [_arange(level.size, depth), *spread], _behind(source, n), accumulate))

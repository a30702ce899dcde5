"""Elementwise operators: the batch is one more dimension that broadcasts."""

from __future__ import annotations

from typing import Any

from flambeau._eager import promotion
from flambeau._operators.op import REGISTRY, Op
from flambeau._tensor import Tensor
from flambeau.func._batch_rules.table import Batch, behind, full, rank, rule, run


def align(op: Op, values: list[Any]) -> list[Any]:
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
    return promotion.result_type(operands)


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
    return run(op, align(op, values))


@rule("copy", "fill.Scalar")
def filled(op: Op, values: list[Any], level: Any) -> Any:
    """The last argument, of the first one's shape and dtype."""
    if not isinstance(values[1], (Batch, Tensor)):
        return run(op, (values[0].value, *values[1:]))
    return run(REGISTRY["copy"], (full(values[0], level.size), source_of(values, level), False))


def source_of(values: list[Any], level: Any) -> Any:
    """What is copied, as it broadcasts with the batch that it is copied to."""
    x, by = values[:2]
    return behind(by, rank(x)) if rank(by) <= rank(x) else full(by, level.size)


@rule("_flat_in", "_blind_in")
def first_alone(op: Op, values: list[Any], level: Any) -> Any:
    """The first argument; the other one, of whatever shape, stands in the graph alone."""
    return run(op, (full(values[0], level.size), values[1].value if type(values[1]) is Batch else values[1]))


@rule("masked_fill.Scalar")
def masked_fill(op: Op, values: list[Any], level: Any) -> Any:
    if not isinstance(values[2], (Batch, Tensor)):
        return aligned(op, values, level)
    x, mask, value = align(op, values)
    return value.to(x.dtype).where(mask, x)


@rule("clone", "_to_copy", "_contiguous", "empty_like", "zeros_like", "ones_like", "full_like")
def same_shape(op: Op, values: list[Any], level: Any) -> Any:
    """One result element for each element; a memory format is that of the batch."""
    out = [v.value if type(v) is Batch else v for v in values]
    if "memory_format" in (names := [p.name for p in op.params]):
        at = names.index("memory_format")
        if out[at] is not None and out[at].name.startswith("channels"):
            needed = 5 if out[at].name.endswith("3d") else 4
            if op.overload == "clone":
                raise RuntimeError(
                    "NYI: Tensor.clone(memory_format) inside vmap is only supported with memory_format torch.preserve_format or "
                    f"torch.contiguous_format (got ChannelsLast{'3d' * (needed == 5)})"
                )
            if out[0]._a.ndim != needed:  # PyTorch means the batch, with its dimension
                raise RuntimeError(f"required rank {needed} tensor to use {out[at].name} format")
    return run(op, out)

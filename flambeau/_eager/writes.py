"""Results that go into tensors that are there: in place (`x.add_(y)`) and `out=`."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from flambeau._backends import meta
from flambeau._backends.cpu.arrays import QUIET, loud, quiet
from flambeau._backends.cpu.casts import astype
from flambeau._backends.pending_arrays import PendingArray, alike, memory, settled as meant
from flambeau._eager import bodies, large, promotion, record, results
from flambeau._eager.graph import bump, check_inferred, node_of
from flambeau._eager.modes import STATE
from flambeau._eager.views import check_writable, rebase
from flambeau._operators.op import Op
from flambeau._tensor import Tensor, wrap
from flambeau._values import dtype as dtypes
from flambeau._values.overlap import are_same, check_apart, check_overlap, overlaps, warn_overlap
from flambeau._values.shape import broadcast, contiguous_strides


def write(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    """A primitive operator's result into its receiver (`into`), or into `out`."""
    if not into:
        return _out(op, values, out)
    target = values[op.receiver_at]
    check_inferred(target)
    if op.view:
        return _view_in_place(op, target, values)
    if type(op.expanded) is str:
        warn_overlap(target._a, f"{op.aten}_", op.expanded)
    elif not op.expanded:
        check_overlap(target._a)
    tracked = STATE.grad and op.leaves_trace and target._a.dtype.kind in "fcV" and record.any_history(op, values)
    if STATE.grad and (
        tracked or target._node is not None or (target._base is not None and node_of(target._base) is not None)
    ):
        check_writable(target)
    if op.promote == "sum":
        _refuse_sum(op, values, target)
    try:
        met = promotion.meet(op, values)
    except NotImplementedError:
        if op.kind == "pointwise":  # what does not fit is told before what there is no routine for
            _fits(
                op,
                target,
                values,
                promotion.promoted(
                    op,
                    promotion.result_type([v for p, v in zip(op.params, values, strict=True) if p.is_tensor]),
                    values,
                ),
            )
        raise
    if op.kind == "pointwise":
        check_apart(target._a, met[0], True)
    result_dtype = None if op.promote == "bool" else met[2]
    if result_dtype is not None and not dtypes.can_cast(result_dtype, target.dtype):
        _fits(op, target, values, result_dtype)
    if STATE.known is not None and STATE.known.written(op, values):
        return written(op, target, values, tracked, record.before_write(op, values) if tracked else None)
    if op.kind == "pointwise" and type(target._a) is np.ndarray and target._a.size >= large.LARGE:
        before = record.before_write(op, values) if tracked else None
        if large.call(op, *promotion.settled(*met), target._a) is not None:
            return written(op, target, values, tracked, before)
    arrays, _, steps = promotion.converted(op, *met)
    if op.write is not None and meta.has_meta(arrays):
        return written(op, target, values, tracked, record.before_write(op, values) if tracked else None)
    if op.write is not None:
        before = record.before_write(op, values) if tracked else None
        token = quiet(QUIET)
        try:
            bodies.call_body(op, op.write, (bodies.kernel_for(arrays, steps),), arrays)
        finally:
            loud(token)
        if type(target._a) is PendingArray:  # what was written is a copy of its numbers
            assign(target._a, arrays[op.receiver_at])
        return written(op, target, values, tracked, before)
    return stored(op, target, values, bodies.run(op, arrays, steps), tracked)


def stored(op: Op, target: Tensor, values: tuple[Any, ...], r: Any, tracked: bool = False) -> Tensor:
    """The target, into which a result is written."""
    a = target._a
    _fit(target, r.shape)
    if op.kind == "pointwise" and a.dtype.kind == "c" and r.dtype.kind == "f":
        raise RuntimeError(f"In-place {op.aten} is not supported for complex tensors.")
    before = record.before_write(op, values) if tracked else None
    assign(a, r)
    return written(op, target, values, tracked, before)


def _fit(target: Tensor, shape: Any) -> None:
    if tuple(shape) != tuple(target._a.shape):
        raise RuntimeError(f"output with shape {list(target._a.shape)} doesn't match the broadcast shape {list(shape)}")


def _fits(op: Op, target: Tensor, values: tuple[Any, ...], d: dtypes.dtype) -> None:
    """Raise where a result has another shape than the receiver, or a dtype that is not cast to its."""
    if op.kind == "pointwise":
        _fit(target, broadcast(*(tuple(v.shape) for v in values if isinstance(v, Tensor))))
    if not dtypes.can_cast(d, target.dtype):
        raise RuntimeError(
            f"result type {dtypes.SPOKEN[d]} can't be cast to the desired output type {dtypes.SPOKEN[target.dtype]}"
        )


def _refuse_sum(op: Op, values: tuple[Any, ...], target: Tensor) -> None:
    """What sums elements as 64-bit integers sums them in place as what they are, in no other dtype."""
    given = next((v for p, v in zip(op.params, values, strict=True) if p.name == "dtype"), None)
    if given is not None and given is not target.dtype:
        have, want = (dtypes.C_NAMES.get(d, d.name) for d in (target.dtype, given))
        raise RuntimeError(f"Bad in-place call: input tensor dtype {have} and output tensor dtype {want} should match")
    if target.dtype.kind == "b" or target.dtype in (dtypes.uint16, dtypes.uint32, dtypes.uint64):
        raise NotImplementedError(f"\"{op.lacks[0][1]}\" not implemented for '{dtypes.SPOKEN[target.dtype]}'")


def written(op: Op, target: Tensor, values: tuple[Any, ...], tracked: bool, before: Any) -> Tensor:
    """The target, which holds the result by now: its version counted, its history that of the call."""
    bump(target)
    if tracked:
        node = record.record_write(op, target, values, before)
        rebase(target, node)
    return target


def _view_in_place(op: Op, target: Tensor, values: tuple[Any, ...]) -> Tensor:
    """`squeeze_` and its kind: no element changes, the tensor itself becomes the view."""
    node = node_of(target)
    if STATE.grad and node is not None:
        check_writable(target)
    arrays, _, steps = promotion.converted(op, *promotion.meet(op, values))
    r = bodies.run(op, arrays, steps)
    made = record.make_node(op, values, (target,), wrap(target._a)) if STATE.grad and node is not None else None
    target._a = results.viewed(op, target._a, r)
    bump(target)
    if made is not None:
        target._node, target._nr = made, 0
    if target._base is not None and target._base._vc is not None:
        target._seen = target._base._vc[0]
    return target


def assign(a: Any, r: Any) -> None:
    token = quiet(QUIET)
    try:
        r = meant(r)
        if r.dtype.kind == "c" and a.dtype.kind != "c" and not a.dtype.fields:
            r = r.real
        a[...] = astype(r, a.dtype) if a.dtype.fields else r
    finally:
        loud(token)


def _out(op: Op, values: tuple[Any, ...], out: Any) -> Any:
    outs = out if isinstance(out, (tuple, list)) else (out,)
    for o in outs:
        if not isinstance(o, Tensor):
            raise TypeError(f"{op.name}(): argument 'out' must be Tensor, not {type(o).__name__}")
    if (
        STATE.grad
        and op.differentiable
        and (record.any_history(op, values) or any(o is not None and node_of(o) is not None for o in outs))
    ):
        raise RuntimeError(
            f"{op.name}(): functions with out=... arguments don't support automatic differentiation, but one of "
            "the arguments requires grad."
        )
    if op.promote == "sum" and isinstance(out, Tensor):  # it is computed in the dtype of what is there for it
        values = tuple(
            out.dtype if p.name == "dtype" and v is None else v for p, v in zip(op.params, values, strict=True)
        )
        if out.dtype.kind == "b" and op.aten in ("cumsum", "cumprod"):
            raise NotImplementedError(f"\"{op.lacks[0][1]}\" not implemented for 'Bool'")
    met = promotion.meet(op, values)
    for o in outs:
        if isinstance(o, Tensor):
            check_inferred(o)
            if op.kind == "pointwise" or any(p.is_free for p in op.params):  # the others are resized before
                check_overlap(o._a)
        if isinstance(o, Tensor) and (op.promote == "none" or op.kind == "pointwise"):
            onto = op.onto and are_same(o._a, met[0][0])
            check_apart(o._a, met[0][1:] if onto else met[0], op.kind == "pointwise")
    if op.native and isinstance(out, Tensor) and _out_native(op, met, out):
        return out
    arrays, result_dtype, steps = promotion.converted(op, *met)
    r = bodies.run(op, arrays, steps)
    made = r if isinstance(r, (tuple, list)) else (r,)
    for o, x in zip(outs, made, strict=True):
        x = np.asarray(x)
        d = dtypes.of(x.dtype)
        if result_dtype is not None and x.dtype.kind != "b" and result_dtype.is_complex == d.is_complex:
            d = result_dtype
        if d.np in dtypes.NARROW and o.dtype is not d:  # a wider target gets what the dtype of the result holds
            x = astype(x, d.np)
        check_exact(op, o, d)
        write_out(o, x, d, op.name)
    if isinstance(out, (tuple, list)):
        return record.named(op)(tuple(outs)) if op.outputs else tuple(outs)
    return out


def _out_native(op: Op, met: Any, out: Tensor) -> bool:
    """A large result straight into `out`, where nothing needs converting, resizing or refusing."""
    d = dtypes.bool_ if op.promote == "bool" else met[2]
    a = out._a
    if d is None or type(a) is not np.ndarray or not dtypes.can_cast(d, out.dtype):
        return False
    if op.kind != "pointwise" and any(type(x) is np.ndarray and np.may_share_memory(a, x) for x in met[0]):
        return False
    if overlaps(a) or not large.enough(met[0]) or large.call(op, *promotion.settled(*met), a) is None:
        return False
    bump(out)
    return True


def check_exact(op: Op, o: Tensor, d: dtypes.dtype) -> None:
    """Raise where `out=` must have the dtype of the result, and has not."""
    if op.exact and d is not o.dtype:
        want, got = (dtypes.C_NAMES.get(x, x.name) for x in (d, o.dtype))
        raise RuntimeError(f"Expected out tensor to have dtype {want}, but got {got} instead")


def write_out(o: Tensor, x: Any, d: dtypes.dtype, name: str, made: bool = False) -> None:
    """Store an array into an `out=` tensor: it is resized where it must be, and may not narrow the category.

    `made`: by an operator that makes tensors out of nothing; no warning comes then, but from `arange`.
    """
    if not dtypes.can_cast(d, o.dtype):
        raise RuntimeError(
            f"result type {dtypes.SPOKEN[d]} can't be cast to the desired output type {dtypes.SPOKEN[o.dtype]}"
        )
    if o._a.shape != x.shape:
        if o._a.size and name == "arange":
            warnings.warn(
                f"The number of elements in the out tensor of shape {list(o._a.shape)} is {o._a.size} which does not match the computed "
                f"number of elements {x.size}. Note that this may occur as a result of rounding error. The out tensor will be resized to a "
                f"tensor of shape ({x.size},).", UserWarning, stacklevel=4)  # fmt: skip
        elif o._a.size and not made:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(o._a.shape)}, which does not match the "
                f"required output shape {list(x.shape)}. This behavior is deprecated, and in a future PyTorch release outputs will "
                "not be resized unless they have zero elements. You can explicitly reuse an out tensor t by resizing it, inplace, "
                "to zero elements with t.resize_(0).", UserWarning, stacklevel=4)  # fmt: skip
        o._a = sized(o._a, x.shape)
    check_overlap(o._a)
    assign(o._a, x)
    bump(o)


def sized(a: Any, shape: tuple[int, ...]) -> Any:
    """An array of other sizes over the memory of one, which is made longer where it must be."""
    if not isinstance(memory(a), np.ndarray):
        return alike(np.empty(shape, a.dtype), a)
    from flambeau._backends.cpu.library_memory import owner  # library routines load when they are needed

    like, a = a, memory(a)
    held, start = owner(a)
    n, item = math.prod(shape), a.dtype.itemsize
    if start + n * item > held.nbytes:
        longer = np.zeros(start // item + n, a.dtype)
        have = np.frombuffer(held.reshape(-1).view(np.uint8), np.uint8) if held.size else np.empty(0, np.uint8)
        longer.view(np.uint8)[: have.size] = have
        held = longer
    return alike(np.ndarray(shape, a.dtype, held, start, [s * item for s in contiguous_strides(shape)]), like)


def store(op: Op, target: Tensor, result: Any, into: bool) -> Any:
    """Store a composite's result, already a tensor, into `self` or `out=`."""
    if isinstance(result, (tuple, list)):
        for o, r in zip(target, result, strict=True):
            store(op, o, r, into)
        return record.named(op)(tuple(target)) if op.outputs else tuple(target)
    if into:
        if not dtypes.can_cast(result.dtype, target.dtype):
            raise RuntimeError(
                f"result type {dtypes.SPOKEN[result.dtype]} can't be cast to the desired output type {dtypes.SPOKEN[target.dtype]}"
            )
        if result._a.shape != target._a.shape:
            raise RuntimeError(
                f"output with shape {list(target._a.shape)} doesn't match the broadcast shape {list(result._a.shape)}"
            )
        return target.copy_(result)
    if STATE.grad and (node_of(result) is not None or node_of(target) is not None):
        raise RuntimeError(
            f"{op.name}(): functions with out=... arguments don't support automatic differentiation, but one of "
            "the arguments requires grad."
        )
    check_exact(op, target, result.dtype)
    write_out(target, result._a, result.dtype, op.name)
    return target

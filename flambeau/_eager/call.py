"""The general lane: what every call means, whatever its arguments are. The flat functions of `derive` are its shortcuts.

A call is: overrides and modes, one device, promotion, refusals, the body, wrapping, history.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np

from flambeau._backends import meta
from flambeau._backends.cpu.arrays import QUIET, K, kernel, loud, quiet
from flambeau._backends.cpu.casts import astype
from flambeau._backends.cpu.layouts import FORMATS, channels_last as lies_last, laid, walked
from flambeau._backends.pending_arrays import NONE, PendingArray, alike, settled as meant
from flambeau._eager import arguments, large, narrow, record
from flambeau._eager.graph import bump, check_inferred, inferred, node_of
from flambeau._eager.modes import MODES, STATE
from flambeau._eager.views import check_writable, rebase, signed, view
from flambeau._operators.op import Op
from flambeau._tensor import LAYOUTS, PLAIN, Tensor, wrap
from flambeau._values import device as devices, dtype as dtypes
from flambeau._values.overlap import are_same, check_apart, check_overlap, warn_overlap
from flambeau._values.shape import broadcast, wrap_dims

NUMBERS = (bool, int, float, complex, np.generic)
F32, F64 = np.dtype("f4"), np.dtype("f8")
HOOKS: dict[
    str, Any
] = {}  # "override": fn(op, public, values, kind) -> result or NotImplemented; filled by overrides and autograd; "planned" by `planned`


def general(op: Op, values: tuple[Any, ...], out: Any = None, into: bool = False) -> Any:
    """Call an operator with its arguments in the order of its parameters. `into`: write the result over `input`."""
    if not MODES:
        known = HOOKS["planned"](op, values, out, into)
        if known is not None:
            return known
    for i in op.numbers:
        if isinstance(values[i], Tensor):
            arguments.check(op, values, into)
            values = (*values[:i], values[i].item(), *values[i + 1 :])
    if op.number_first and isinstance(values[0], NUMBERS):
        values = (_lifted(*values[:2]), *values[1:])
    if MODES or not _plain(op, values):
        if STATE.tracing:
            return HOOKS["trace"](op, values, out, into)
        result = HOOKS["override"](op, values, out, into)
        if result is not NotImplemented:
            return result
        room = _laid_out_otherwise(values, out) if LAYOUTS else ""
        if not room and op.layouts and op.kind != "composite":
            room = "sparse" if op.layouts is True else op.layouts
        if room:  # they load with the first tensor that needs them
            values = tuple(v.clone() if isinstance(v, Tensor) and type(v._a) is PendingArray else v for v in values)
            return importlib.import_module(f"flambeau._eager.{room}").call(op, values, out, into)
    try:
        for i, types in op.usual:
            if type(values[i]) not in types:
                arguments.check(op, values, into)
                values = arguments.plain(op, values)
                break
        if op.kind == "composite":
            for i, (p, v) in enumerate(zip(op.params, values, strict=True)):
                if p.is_tensor and not p.takes_number and not arguments.fits(p, v):
                    raise TypeError(misfit(op, values, i))
            if op.lacks:
                refuse_first(op, values)
            return _composite(op, values, out, into)
        if op.lacks and op.promote == "none":
            refuse_first(op, values)
        if op.check is not None:
            try:
                op.check(**{p.name: v for p, v in zip(op.params, values, strict=True)})
            except AttributeError:  # it met a number where a tensor should be
                meet(op, values)
                raise
        if into or out is not None:
            return _store(op, values, out, into)
        return computed(op, values) if STATE.known is None else STATE.known.result(op, values)
    except Exception:
        arguments.misused(op, values, into)
        raise


def computed(op: Op, values: tuple[Any, ...]) -> Any:
    """What a primitive operator gives for arguments that are checked."""
    met = meet(op, values)
    r = large.call(op, *settled(*met)) if op.native and large.enough(met[0]) else None
    if r is not None:
        return finish(op, values, r, None)
    given = (
        [a for p, a in zip(op.params, met[0], strict=True) if p.is_tensor and hasattr(a, "strides")]
        if op.kind == "pointwise" or op.packed == "operands"
        else None
    )
    arrays, result_dtype, steps = converted(op, *met)
    r = run(op, arrays, steps)
    return finish(op, values, r, result_dtype, given)


def _lifted(number: Any, other: Any) -> Tensor:
    """A number before a tensor or another number (`torch.add(1, x)`), as a 0-d tensor that changes no dtype that the number would not."""
    d = result_type([number, other]) if isinstance(other, Tensor) else dtypes.of_number(number)
    return wrap(np.array(number, d.np))


def _plain(op: Op, values: tuple[Any, ...]) -> bool:
    if op.layouts and op.kind != "composite":
        return False
    for p, v in zip(op.params, values, strict=True):
        if p.is_tensor:
            if type(v) in PLAIN:
                if type(v._a) in LAYOUTS:
                    return False
            elif v is not None and not isinstance(v, NUMBERS):
                return False
        elif p.is_list and v is not None:
            for x in v:
                if (type(x) not in PLAIN and x is not None) or (x is not None and type(x._a) in LAYOUTS):
                    return False
        elif isinstance(v, Tensor):
            return False
    return True


def _laid_out_otherwise(values: tuple[Any, ...], out: Any) -> str:
    """The room for the first tensor that is more than strided memory, if there is one."""
    for v in (*values, out):
        for t in v if type(v) in (list, tuple) else (v,):
            if isinstance(t, Tensor) and LAYOUTS.get(type(t._a)):
                return LAYOUTS[type(t._a)]
    return ""


def call_body(op: Op, body: Any, first: tuple[Any, ...], values: tuple[Any, ...]) -> Any:
    """Call a body (or another reading of it) with positional values where its parameters are keyword-only."""
    names = op.keywords
    if not names:
        return body(*first, *values)
    n = len(values) - len(names)
    return body(*first, *values[:n], **dict(zip(names, values[n:], strict=True)))


def run(op: Op, arrays: tuple[Any, ...], steps: Any = None) -> Any:
    """Read the body with arrays, quietly; `steps` is the dtype to which its steps are rounded."""
    if STATE.stand is not None:
        return STATE.stand(op, arrays)
    token = quiet(QUIET)
    try:
        if meta.has_meta(arrays):
            if op.custom is not None:
                return call_body(op, op.run, (K,), arrays)
            return meta.lifted(call_body(op, op.run, (K,), meta.lowered(arrays)))
        return call_body(op, op.run, (kernel_for(arrays, steps),), arrays)
    except ValueError:
        if op.kind == "pointwise":
            broadcast(
                *(a.shape for a in arrays if hasattr(a, "shape"))
            )  # says which sizes do not fit, in PyTorch's words
        raise
    finally:
        loud(token)


def kernel_for(arrays: tuple[Any, ...], steps: Any = None) -> Any:
    """The kernel of the backend that the arrays belong to."""
    return K if steps is None else kernel(steps)


# ---------------------------------------------------------------- dtypes

Met = tuple[list[Any], list[int], Any, narrow.Way]


def meet(op: Op, values: tuple[Any, ...]) -> Met:
    """The arguments with bare arrays for tensors, which of them meet in one dtype, that dtype (None: each keeps its own), and how."""
    params = op.params
    out = list(values)
    device = None
    tensors: list[int] = []
    given = None
    for i, p in enumerate(params):
        v = values[i]
        if p.is_tensor:
            if isinstance(v, Tensor):
                if not p.is_free:
                    tensors.append(i)
                out[i] = v._a if op.view or type(v._a) is not PendingArray else meant(v._a)
                device = _same_device(device, v, op)
            elif v is not None and p.takes_number and isinstance(v, NUMBERS):
                tensors.append(i)
            elif v is not None or not p.is_optional:
                raise TypeError(misfit(op, values, i))
        elif p.is_list and v is not None:
            if isinstance(v, Tensor):
                raise TypeError(
                    f"{op.aten}(): argument '{p.name}' (position {i + 1}) must be tuple of Tensors, not Tensor"
                )
            arrays: list[Any] = []
            for x in v:
                if not isinstance(x, Tensor) and (x is not None or "T | None]" not in p.annotation):
                    raise TypeError(
                        f"expected Tensor as element {len(arrays)} in argument {i}, but got {type(x).__name__}"
                    )
                arrays.append(None if x is None else x._a if type(x._a) is not PendingArray else meant(x._a))
            out[i] = arrays
        elif p.name == "dtype":
            given = v
    if device is None and tensors and "factory" not in op.variants:
        raise TypeError(misfit(op, values, tensors[0]))  # numbers alone
    if op.promote == "none":
        if op.lacks:
            refuse_first(op, values)
        for i in tensors:
            if not hasattr(out[i], "shape"):
                out[i] = beside(out[i], values[op.receiver_at])
        return out, tensors, None, narrow.PLAIN
    deciding = tensors
    if op.scalar:  # a number there has no say
        deciding = [i for i in tensors if params[i].name != op.scalar or isinstance(values[i], Tensor)]
    common = given if given is not None else promoted(op, result_type([values[i] for i in deciding]))
    if op.lacks:
        refuse(op, common, values)
    return out, tensors, common, narrow.way(op, out, common)


def refuse(op: Op, d: dtypes.dtype, values: tuple[Any, ...] = ()) -> None:
    """Raise where PyTorch has no routine for a dtype; what is wrong with sizes and dimensions it says before."""
    name = op.routine(d)
    if name:
        given = [(p, v) for p, v in zip(op.params, values, strict=False) if v is not None]
        shapes = [v._a.shape for p, v in given if p.is_tensor and isinstance(v, Tensor)]
        if op.kind == "pointwise" and shapes:
            broadcast(*shapes)
        for p, v in given:
            if shapes and p.name == "dim" and p.annotation.startswith("Dim") and isinstance(v, (int, tuple, list)):
                wrap_dims(v, len(shapes[0]))
        raise NotImplementedError(f"\"{name}\" not implemented for '{dtypes.SPOKEN[d]}'")


def refuse_first(op: Op, values: tuple[Any, ...]) -> None:
    """The same, by the dtype of the first tensor."""
    first = next((v for p, v in zip(op.params, values, strict=True) if p.is_tensor and isinstance(v, Tensor)), None)
    if first is not None and first._a.size:  # of nothing PyTorch asks no routine
        refuse(op, first.dtype, values)


def promoted(op: Op, common: dtypes.dtype) -> dtypes.dtype:
    """The dtype of the result where operands meet in `common`."""
    if op.promote == "float" and common.kind in "bi":
        return dtypes.get_default_dtype()
    if (op.promote == "sum" and common.kind in "bi") or (op.promote == "number" and common.kind == "b"):
        return dtypes.int64
    return common


def misfit(op: Op, values: tuple[Any, ...], i: int) -> str:
    """What PyTorch says where the argument at a position is no tensor."""
    return arguments.refusal(op, values, i, False)


def settled(out: list[Any], tensors: list[int], common: Any, how: narrow.Way) -> Met:
    """The same, with numbers as 0-d arrays: what a kernel takes."""
    if common is None or all(hasattr(out[i], "shape") for i in tensors):
        return out, tensors, common, how
    given = list(out)
    for i in tensors:
        if not hasattr(out[i], "shape"):
            given[i] = number(out[i], dtypes.float32 if i == how.wide else common)
    return given, tensors, common, how


def converted(op: Op, out: list[Any], tensors: list[int], common: Any, how: narrow.Way) -> tuple[tuple[Any, ...], Any, Any]:  # fmt: skip
    """The arrays that the body sees, the dtype of its result (None: whatever the body gives) and that of its steps."""
    if common is None:
        return tuple(out), None, None
    compute = common.np if op.halves and common.np in dtypes.HALVES else dtypes.NARROW.get(common.np, common.np)
    if common is dtypes.complex32:
        compute = dtypes.complex64.np
    for i in tensors:
        a = out[i]
        d = dtypes.float32 if i == how.wide else common
        if not hasattr(a, "shape"):
            out[i] = number(a, d, compute)
        elif a.dtype is not compute or d.np is not compute:
            if a.dtype.kind == "c" and not common.is_complex and common.kind != "b":
                a = a.real
            out[i] = astype(a if d is dtypes.complex32 else astype(a, d.np), compute)
    return tuple(out), (None if op.promote == "bool" else common), how.steps


def _same_device(device: Any, t: Tensor, op: Op) -> Any:
    """All tensors live on one device; a 0-d tensor on the CPU may meet any."""
    d = t.device
    if device is None or device == d:
        return d
    if t._a.ndim == 0 and d.type == "cpu":
        return device
    if op.aten == "copy" and device.type == "meta":  # nothing is written, wherever it comes from
        return device
    if op.aten == "copy" and d.type == "meta":
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    raise RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, {device} and {d}!"
    )


def number(value: Any, d: dtypes.dtype, compute: Any = None) -> Any:
    """A Python number as a 0-d array of a dtype; integers wrap around as in PyTorch."""
    if STATE.stand is not None:
        value = getattr(value, "raw", value)  # a capture's number: what it is now is of no interest
    if d.kind == "i" and not isinstance(value, (bool, np.bool_)):
        return np.asarray(int(value)).astype(d.np) if -(2**63) <= int(value) < 2**64 else _overflow()
    if type(value) is int and not -(2**63) <= value < 2**64:
        _overflow()
    if d is dtypes.complex32:
        d = dtypes.complex64
    a = np.asarray(value)
    token = quiet(QUIET)
    try:
        if d.np in dtypes.HALVES:  # through float32, as in PyTorch
            a = a.astype(F32)
        return a.astype(d.np).astype(compute if compute is not None else d.np, copy=False)
    finally:
        loud(token)


def beside(value: Any, t: Any) -> Any:
    """A Python number as a 0-d array for an operator that looks after dtypes itself: with all its digits, where the tensor can hold them."""
    d = dtypes.of_number(value)
    if isinstance(t, Tensor) and d is not dtypes.bool_ and t._a.dtype in _WIDE:
        d = dtypes.promote_types(d, dtypes.float64) if d.kind in "fc" else d
    return number(value, d)


_WIDE = frozenset(d.np for d in (dtypes.float64, dtypes.complex128, dtypes.int64, dtypes.int32))


def _overflow() -> Any:
    raise OverflowError("int too big to convert")


def result_type(operands: list[Any]) -> dtypes.dtype:
    """The dtype in which operands meet: tensors with dims outrank 0-d ones, and those outrank numbers, within a category.

    A lower rank decides only where it is of a higher category (an integer tensor times a float number is floating).
    """
    ranks: list[dtypes.dtype | None] = [None, None, None]
    for v in operands:
        if isinstance(v, Tensor):
            rank, d = (0, v.dtype) if v._a.ndim else (1, v.dtype)
        else:
            rank, d = 2, dtypes.of_number(v)
        ranks[rank] = d if ranks[rank] is None else dtypes.promote_types(ranks[rank], d)  # type: ignore[arg-type]
    result: dtypes.dtype | None = ranks[0]
    for lower in ranks[1:]:
        if lower is None:
            continue
        if result is None:
            result = lower
        elif _CATEGORY[lower.kind] > _CATEGORY[result.kind]:
            widens = lower.kind == "c" and result.kind == "f"
            result = result.to_complex() if widens else dtypes.promote_types(result, lower)
    return result if result is not None else dtypes.get_default_dtype()


Op.meeting = staticmethod(result_type)
_CATEGORY = {"b": 0, "i": 1, "f": 2, "c": 3, "q": 4}


# ---------------------------------------------------------------- results


def packed(r: Any, how: bool | str, like: Any = None) -> Any:
    """Arrays in order (see `Op.packed`): so PyTorch makes the results of operators that are not elementwise. `like`: the first operand."""
    if type(r) is tuple or type(r) is list:
        return type(r)(packed(x, how, like) for x in r)
    if how == "images" and type(r) is np.ndarray and r.ndim in FORMATS and r.ndim == like.ndim and lies_last(like):
        return laid(r, True)
    if type(r) is not np.ndarray or r.flags.c_contiguous or (how == "channels" and channels_last(r)):
        return r
    return np.ascontiguousarray(r)


def channels_last(a: Any) -> bool:
    """Whether the channels of images or volumes lie side by side."""
    return 4 <= a.ndim <= 5 and a.shape[1] > 1 and np.moveaxis(a, 1, -1).flags.c_contiguous


def _first(op: Op, values: tuple[Any, ...]) -> Any:
    return values[0]._a if op.packed == "images" else None


def packed_tensor(t: Any, how: bool | str, like: Any = None) -> Any:
    """A composite's result in order, or its several results."""
    if type(t) is tuple:
        return tuple(packed_tensor(x, how, like) for x in t)
    a = t._a
    if how == "images" and a.ndim in FORMATS and a.ndim == like.ndim and lies_last(like):
        return t if lies_last(a) else t.contiguous(memory_format=getattr(devices, FORMATS[a.ndim]))
    if type(a) is not np.ndarray or a.flags.c_contiguous or (how == "channels" and channels_last(a)):
        return t
    return t.contiguous()


def finish(op: Op, values: tuple[Any, ...], r: Any, result_dtype: Any, walk: Any = None) -> Any:
    """Wrap what the body gave, in the dtype it should have, and record the call where an input has history.

    `walk`: the operands as which an elementwise result lies.
    """
    if op.packed and op.packed != "operands":
        r = packed(r, op.packed, _first(op, values))
    return recorded(op, values, r, result_dtype, walk)


def recorded(op: Op, values: tuple[Any, ...], r: Any, result_dtype: Any = None, walk: Any = None) -> Any:
    """The second half of `finish`: for arrays that lie as they should."""
    if type(r) is tuple or type(r) is list:
        narrow = None if result_dtype is None else dtypes.NARROW.get(result_dtype.np)  # what bodies compute in
        outs = tuple(_wrap(op, values, x, result_dtype if x is not None and x.dtype == narrow else None) for x in r)
        if STATE.grad and op.differentiable:
            record.record(op, outs, values, type(r) is list)
        if type(r) is list:
            return list(outs) if not op.view else outs
        return outs if not op.outputs else record.named(op)(outs)
    o = _wrap(op, values, r, result_dtype)
    if walk is not None:
        o._a = walked(o._a, *walk)
    if STATE.grad and op.differentiable:
        record.record(op, (o,), values)
    return o


def _wrap(op: Op, values: tuple[Any, ...], r: Any, d: Any) -> Any:
    if r is None:
        return None
    if isinstance(r, Tensor):
        return r
    if not isinstance(r, np.ndarray) and isinstance(r, np.generic):
        r = np.asarray(r)
    if d is not None and r.dtype is not d.np and r.dtype.kind != "b":
        if d.is_complex == (r.dtype.kind == "c"):
            r = astype(r, d.np)
        elif d is dtypes.complex32 or d is dtypes.float16:  # its parts are halves; of halves
            r = astype(r, dtypes.float16.np if d.is_complex else dtypes.complex32.np)
    if op.view:
        source = values[0]
        return view(source, viewed(op, source._a, r))
    t = wrap(r)
    return inferred(t) if STATE.inference else t


def viewed(op: Op, source: Any, r: Any) -> Any:
    """The array of a view: what its memory stands for follows from what the source's does."""
    signs = NONE if type(source) is np.ndarray else getattr(source, "signs", NONE)
    if op.sign is not None:
        signs = op.sign(*signs)
    return r if signs == NONE and type(r) is np.ndarray and r.dtype.metadata is None else signed(r, signs)


def _composite(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    if into or out is not None:
        target = values[op.receiver_at] if into else out
        tracked = into and STATE.grad and record.any_history(op, values)
        if tracked:  # what the body saves must not be what is overwritten
            at = op.receiver_at
            values = (*values[:at], target.clone(), *values[at + 1 :])
        result = _composed(op, values)
        if into and result is values[op.receiver_at]:  # as it was: nothing is written, as dropout_ does in evaluation
            return target
        if tracked and node_of(target) is not None:
            check_writable(target)
        return store(op, target, result, into)
    result = _composed(op, values)
    if op.packed:
        result = packed_tensor(result, op.packed, _first(op, values))
    return record.named(op)(result) if op.outputs and isinstance(result, tuple) else result


def _composed(op: Op, values: tuple[Any, ...]) -> Any:
    """What the body of a composite gives."""
    try:
        return call_body(op, op.body, (), values)
    except AttributeError:  # it met None where a tensor should be
        for i, (p, v) in enumerate(zip(op.params, values, strict=True)):
            if v is None and p.is_tensor and not p.is_optional:
                raise TypeError(misfit(op, values, i)) from None
        raise


# ---------------------------------------------------------------- in place, and out=


def _store(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
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
    tracked = STATE.grad and op.differentiable and record.any_history(op, values)
    if STATE.grad and (
        tracked or target._node is not None or (target._base is not None and node_of(target._base) is not None)
    ):
        check_writable(target)
    if op.promote == "sum":
        _refuse_sum(op, values, target)
    try:
        met = meet(op, values)
    except NotImplementedError:
        if op.kind == "pointwise":  # what does not fit is told before what there is no routine for
            _fit(target, broadcast(*(tuple(v.shape) for v in values if isinstance(v, Tensor))))
        raise
    if op.kind == "pointwise":
        check_apart(target._a, met[0], True)
    result_dtype = None if op.promote == "bool" else met[2]
    if result_dtype is not None and not dtypes.can_cast(result_dtype, target.dtype):
        raise RuntimeError(
            f"result type {dtypes.SPOKEN[result_dtype]} can't be cast to the desired output type {dtypes.SPOKEN[target.dtype]}"
        )
    if STATE.known is not None and STATE.known.written(op, values):
        return _written(op, target, values, tracked, record.before_write(op, values) if tracked else None)
    if op.kind == "pointwise" and type(target._a) is np.ndarray and target._a.size >= large.LARGE:
        before = record.before_write(op, values) if tracked else None
        if large.call(op, *settled(*met), target._a) is not None:
            return _written(op, target, values, tracked, before)
    arrays, _, steps = converted(op, *met)
    if op.write is not None and meta.has_meta(arrays):
        return _written(op, target, values, tracked, record.before_write(op, values) if tracked else None)
    if op.write is not None:
        before = record.before_write(op, values) if tracked else None
        token = quiet(QUIET)
        try:
            call_body(op, op.write, (kernel_for(arrays, steps),), arrays)
        finally:
            loud(token)
        if type(target._a) is PendingArray:  # what was written is a copy of its numbers
            _assign(target._a, arrays[op.receiver_at])
        return _written(op, target, values, tracked, before)
    r = run(op, arrays, steps)
    a = target._a
    _fit(target, r.shape)
    if op.kind == "pointwise" and a.dtype.kind == "c" and r.dtype.kind == "f":
        raise RuntimeError(f"In-place {op.aten} is not supported for complex tensors.")
    before = record.before_write(op, values) if tracked else None
    _assign(a, r)
    return _written(op, target, values, tracked, before)


def _fit(target: Tensor, shape: Any) -> None:
    if tuple(shape) != tuple(target._a.shape):
        raise RuntimeError(f"output with shape {list(target._a.shape)} doesn't match the broadcast shape {list(shape)}")


def _refuse_sum(op: Op, values: tuple[Any, ...], target: Tensor) -> None:
    """What sums elements as 64-bit integers sums them in place as what they are, in no other dtype."""
    given = next((v for p, v in zip(op.params, values, strict=True) if p.name == "dtype"), None)
    if given is not None and given is not target.dtype:
        have, want = (dtypes.C_NAMES.get(d, d.name) for d in (target.dtype, given))
        raise RuntimeError(f"Bad in-place call: input tensor dtype {have} and output tensor dtype {want} should match")
    if target.dtype.kind == "b" or target.dtype in (dtypes.uint16, dtypes.uint32, dtypes.uint64):
        raise NotImplementedError(f"\"{op.lacks[0][1]}\" not implemented for '{dtypes.SPOKEN[target.dtype]}'")


def _written(op: Op, target: Tensor, values: tuple[Any, ...], tracked: bool, before: Any) -> Tensor:
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
    arrays, _, steps = converted(op, *meet(op, values))
    r = run(op, arrays, steps)
    made = record.make_node(op, values, (target,), wrap(target._a)) if STATE.grad and node is not None else None
    target._a = viewed(op, target._a, r)
    bump(target)
    if made is not None:
        target._node, target._nr = made, 0
    if target._base is not None and target._base._vc is not None:
        target._seen = target._base._vc[0]
    return target


def _assign(a: Any, r: Any) -> None:
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
    met = meet(op, values)
    for o in outs:
        if isinstance(o, Tensor):
            check_inferred(o)
        if isinstance(o, Tensor) and (op.promote == "none" or op.kind == "pointwise"):
            onto = op.onto and are_same(o._a, met[0][0])
            check_apart(o._a, met[0][1:] if onto else met[0], op.kind == "pointwise")
    if op.native and isinstance(out, Tensor) and _out_native(op, met, out):
        return out
    arrays, result_dtype, steps = converted(op, *met)
    r = run(op, arrays, steps)
    results = r if isinstance(r, (tuple, list)) else (r,)
    for o, x in zip(outs, results, strict=True):
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
    check_overlap(a)
    if not large.enough(met[0]) or large.call(op, *settled(*met), a) is None:
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
    check_overlap(o._a)
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
        o._a = alike(np.empty(x.shape, o._a.dtype), o._a)
    _assign(o._a, x)
    bump(o)


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

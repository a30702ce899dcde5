"""Creation: the general lane of operators whose result lives where `device=` says, in the layout `layout=` says."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from flambeau._backends import meta
from flambeau._backends.pending_arrays import memory
from flambeau._eager import arguments, bodies, writes
from flambeau._eager.graph import inferred
from flambeau._eager.modes import MODES, STATE
from flambeau._operators.op import Op
from flambeau._tensor import LAYOUTS, PLAIN, Tensor, wrap
from flambeau._values import default_device, dtype as dtypes
from flambeau._values.device import device as Device, layout as Layout, strided

HOOKS: list[
    Any
] = []  # asked first where a mode is active: fn(op, values, out, the keywords that all creation operators have)


NO_PINNED = "pin_memory=True requires a CUDA or other accelerator backend; no pinned memory allocator is available on this system."


def _described(op: Op, arrays: tuple[Any, ...]) -> Any:
    """What the operator would make, told without making it: sizes are asked for with no element."""
    at = next((i for i, p in enumerate(op.params) if p.name == "size"), None)
    if at is None:
        return bodies.run(op, arrays)
    size = arrays[at]
    size = (size,) if isinstance(size, int) else tuple(int(n) for n in size)
    if any(n < 0 for n in size):
        return bodies.run(op, arrays)
    small = bodies.run(op, (*arrays[:at], (0,) * len(size), *arrays[at + 1 :])) if size else bodies.run(op, arrays)
    dtype = np.asarray(small).dtype
    stride = next((v for p, v in zip(op.params, arrays, strict=True) if p.name == "stride"), None)
    return meta.MetaArray(size, dtype, None if stride is None else tuple(s * dtype.itemsize for s in stride))


def require(t: Tensor) -> None:
    """Make a new tensor a leaf of the graph."""
    if t._a.dtype.kind not in "fcV":
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    t.requires_grad = True


def on_cpu(where: Any) -> bool:
    """Whether a device that was asked for is the one that is there in any case."""
    kind = type(where)
    return (kind is str and where == "cpu") or (kind is Device and where.type == "cpu" and where.index is None)


def _asks(values: Any) -> bool:
    """Whether an argument, or an element of one, is of a class that may take over: a tensor's, or one of `fx`'s proxies."""
    for v in values:
        if type(v) in (tuple, list):
            if any(hasattr(type(n), "__torch_function__") and type(n) not in PLAIN for n in v):
                return True
        elif hasattr(type(v), "__torch_function__") and type(v) not in PLAIN:
            return True
    return False


def create(
    op: Op, values: tuple[Any, ...], out: Any, layout: Any, device: Any, pin_memory: bool, requires_grad: bool
) -> Any:
    """Call a creation operator. Without `device`: where the first tensor is, or else on the default device."""
    like = values[0] if isinstance(values[0], Tensor) else None
    if MODES or _asks(values):
        extra = {"layout": layout, "device": device, "pin_memory": pin_memory, "requires_grad": requires_grad}
        for hook in HOOKS:
            result = hook(op, values, out, extra)
            if result is not NotImplemented:
                return result
    if (layout is not None and layout is not strided) or (like is not None and LAYOUTS.get(type(like._a))):
        room = LAYOUTS.get(type(like._a), "sparse") if like is not None else "sparse"
        t = importlib.import_module(f"flambeau._eager.{room}.create").created(op, values, layout, like)
        if t is not None:
            if requires_grad:
                require(t)
            return t
    arguments.check(op, values)
    for name, v, kind in (
        ("layout", layout, Layout),
        ("pin_memory", pin_memory, bool),
        ("requires_grad", requires_grad, bool),
    ):
        if not isinstance(v, kind) and (v is not None or name == "requires_grad"):
            raise TypeError(
                f"{op.name}(): argument '{name}' must be {'torch.layout' if kind is Layout else 'bool'}, not {type(v).__name__}"
            )
    if pin_memory:
        raise RuntimeError(NO_PINNED)
    values = arguments.plain(op, values)
    if op.check is not None:
        op.check(**{p.name: v for p, v in zip(op.params, values, strict=True)})
    if isinstance(out, Tensor):  # what is drawn or computed depends on the dtype
        values = tuple(
            out.dtype if p.name == "dtype" and v is None else v for p, v in zip(op.params, values, strict=True)
        )
    if out is not None and like is None:
        values = tuple(
            out.dtype if p.name == "dtype" and v is None else v for p, v in zip(op.params, values, strict=True)
        )
    arrays = tuple(
        memory(v._a) if isinstance(v, Tensor) and p.is_tensor else v for p, v in zip(op.params, values, strict=True)
    )
    if like is not None and device is not None and meta.has_meta(arrays) and Device(device).type != "meta":
        arrays = (np.empty(arrays[0].shape, arrays[0].dtype), *arrays[1:])  # only its sizes and dtype are asked for
    on_meta = like is None and (default_device.get() if device is None else Device(device)).type == "meta"
    r = _described(op, arrays) if on_meta else bodies.run(op, arrays)
    if type(r) is not meta.MetaArray:
        r = np.asarray(r)
    if out is not None:
        writes.write_out(out, r, dtypes.of(r.dtype), op.name, True)
        return out
    t = wrap(r)
    if device is not None:
        device = Device(device)
    elif like is not None:
        device = like.device
    else:
        device = default_device.get()
    if device.type != t.device.type:
        from flambeau._eager.construct import to_device

        t = to_device(t, device, None)
    if requires_grad:
        require(t)
    return inferred(t) if STATE.inference else t

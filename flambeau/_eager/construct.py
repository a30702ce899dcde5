"""Tensors from Python data and NumPy arrays, and their conversion between dtypes and devices."""

from __future__ import annotations

import math
import operator
from array import array
from functools import cache
from typing import Any

import numpy as np

from flambeau import storage as storages
from flambeau._backends.cpu.arrays import QUIET, loud, quiet
from flambeau._backends.pending_arrays import settled
from flambeau._eager.create import on_cpu
from flambeau._eager.graph import inferred, node_of
from flambeau._eager.modes import MODES, STATE
from flambeau._tensor import LAYOUTS, PLAIN, Tensor, wrap
from flambeau._values import default_device, dtype as dtypes, storage as memory
from flambeau._values.device import CPU, device

_SIMPLE = {float: None, int: np.dtype("i8"), bool: np.dtype("?")}
_UNSIGNED = {"u2": "i4"}


def tensor(
    data: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new tensor with a copy of `data`: a number, nested sequences of numbers, an array, a tensor.

    Without `dtype`: floats become the default dtype, ints int64, bools bool; arrays keep theirs.

    >>> import flambeau as torch
    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    if MODES and STATE.recorder is not None:
        return STATE.recorder.new_tensor(data, dtype=dtype, device=device, requires_grad=requires_grad)
    if MODES and STATE.function_modes and not STATE.skip_function:
        from flambeau._eager.call import HOOKS

        given = {
            "dtype": dtype,
            "device": device,
            "pin_memory": pin_memory,
            "requires_grad": requires_grad,
        }
        return HOOKS["function"](
            tensor, (), data, **{k: v for k, v in given.items() if v is not None and v is not False}
        )
    if isinstance(data, Tensor):
        import warnings

        warnings.warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
                      "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).", UserWarning, stacklevel=2)  # fmt: skip
    if pin_memory:
        from flambeau._eager.create import NO_PINNED

        raise RuntimeError(NO_PINNED)
    t = fresh(wrap(array_of(data, dtypes.asked(dtype, "tensor"), copy=True)))
    if device is not None or default_device.get() is not CPU:
        t = on(t, device)
    if requires_grad:
        if not (t.dtype.is_floating_point or t.dtype.is_complex):
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        t.requires_grad = True
    return inferred(t) if STATE.inference else t


def fresh(t: Tensor) -> Tensor:
    """A tensor that was just made from data, as modes that see operators have it."""
    if not (MODES and STATE.dispatch_modes):
        return t
    from flambeau._eager.call import HOOKS

    return HOOKS["seen"]("lift_fresh", t)


def on(t: Tensor, where: Any) -> Tensor:
    """The tensor on a device (None: the default device)."""
    d = default_device.get() if where is None else device(where)
    return t if d.type == "cpu" else t.to(d)


def array_of(data: Any, d: dtypes.dtype | None, copy: bool) -> Any:
    """The array that Python data stand for, in a dtype or the one PyTorch infers."""
    kind, d = type(data), dtypes.of_type(d)
    if kind is float:
        d = dtypes.get_default_dtype() if d is None else d
        return np.array(data, d.np) if -6e4 < data < 6e4 else convert(np.array(data), d)
    if kind in (int, bool):
        if d is not None and d.kind == "i" and d.itemsize < 8:
            _fits(np.array(_checked_int(data, d)), d)
        return np.array(_checked_int(data, d), (np.int64 if kind is int else np.bool_) if d is None else None).astype(
            (np.int64 if kind is int else np.bool_) if d is None else d.np
        )
    if isinstance(data, Tensor):
        a = settled(data._a)
        if d is not None and a.dtype != d.np:
            return convert(a, d)
        return a.copy("K") if copy else a
    if isinstance(data, (np.ndarray, np.generic)):
        a = np.asarray(data)
        if a.dtype.byteorder == ">":
            raise ValueError(
                "given numpy array has byte order different from the native byte order. Conversion between byte orders is "
                "currently not supported."
            )
        if d is not None and a.dtype != d.np:
            return convert(a, d)
        dtypes.of(a.dtype)
        return a.copy() if copy else a
    if isinstance(data, complex):
        return np.array(data, (d or dtypes.default_complex()).np)
    if isinstance(data, (storages.UntypedStorage, storages.TypedStorage)):
        return _of_storage(data, d)
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{kind.__name__}'")
    if data is None:
        raise RuntimeError("Could not infer dtype of NoneType")
    if hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
        return array_of(np.asarray(data), d, copy)
    if hasattr(data, "__array_interface__") or hasattr(data, "__dlpack__"):
        return array_of(np.asarray(data), d, copy)
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__") or isinstance(data, dict):
        if hasattr(data, "__index__"):
            return np.array(int(data), (d or dtypes.int64).np)
        if hasattr(data, "__float__"):
            return np.array(float(data), (d or dtypes.get_default_dtype()).np)
        raise RuntimeError(f"Could not infer dtype of {kind.__name__}")
    return _from_sequence(data, d)


def _of_storage(storage: Any, d: dtypes.dtype | None) -> Any:
    """The elements that lie in a storage, in place: never a copy, even where one is asked for."""
    held = getattr(storage, "dtype", None)
    if d is not None and held is not None and d is not held:
        want, have = (storages.LEGACY_NAME.get(x, x.name.capitalize()).removesuffix("Storage") for x in (d, held))
        raise RuntimeError(f"Expected a Storage of type {want} or an UntypedStorage, but got {have}")
    d = d or held or dtypes.int64
    data = storage.untyped()._writable()
    count = data.size // d.itemsize
    return memory.view(data, d.np, 0, (count,), (1,))


def _fits(a: Any, d: dtypes.dtype) -> None:
    """Refuse integers that a smaller dtype does not hold."""
    low, high = dtypes.storable(d)
    if a.min() < low or a.max() > high:
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow")


def _checked_int(v: Any, d: dtypes.dtype | None) -> Any:
    if (d is None or d.kind == "i") and not -(2**63) <= v < (2**64 if d is dtypes.uint64 else 2**63):
        raise ValueError("Overflow when unpacking long long")
    return v


def convert(a: Any, d: dtypes.dtype) -> Any:
    """An array in another dtype, with PyTorch's rules for what is lost."""
    token = quiet(QUIET)
    try:
        if a.dtype.kind == "V" or d.np.kind == "V":
            return _convert_carried(a, d)
        if a.dtype.kind == "c" and not d.is_complex:
            return (a != 0) if d.kind == "b" else a.real.astype(d.np)
        if a.dtype.kind == "f" and d.kind == "i" and d.np.kind == "u":
            return a.astype(np.int64).astype(d.np)
        return a.astype(d.np)
    finally:
        loud(token)


def _convert_carried(a: Any, d: dtypes.dtype) -> Any:
    """To and from complex32, which NumPy knows only as a pair of halves (and ml_dtypes' types, which are of kind V)."""
    if a.dtype.fields and "real" in a.dtype.fields:
        a = a["real"].astype(np.float32) + 1j * a["imag"].astype(np.float32)
        return convert(a.astype(np.complex64), d)
    if d is dtypes.complex32:
        out = np.empty(a.shape, d.np)
        z = a.astype(np.complex64)
        out["real"], out["imag"] = z.real, z.imag
        return out
    if a.dtype.kind == "c":
        a = a.real
    if d.kind == "i" and a.dtype.kind == "V":
        a = a.astype(np.float32)
        return a.astype(np.int64).astype(d.np)
    return a.astype(d.np)


def _from_sequence(data: Any, d: dtypes.dtype | None) -> Any:
    shape = _shape_of(data)
    if not _has_objects(data):
        try:
            a: Any = np.array(data, dtype=None)
            if d is dtypes.uint64 and a.dtype.kind == "f" and a.size and a.max() >= 2.0**63:
                a = np.array(data, np.uint64)  # of integers on both sides of 2**63 NumPy has made floats
            if d is None and a.dtype.kind == "u" and a.dtype.itemsize == 8:
                a = None  # which of them are Python's, and too large
        except (ValueError, OverflowError):
            a = None
        if a is not None and a.shape == shape and a.dtype.kind in "biufc":
            if a.size == 0:
                return np.zeros(shape, (d or dtypes.get_default_dtype()).np)
            if d is None:
                if isinstance(data[0], np.generic) and len({type(x) for x in data}) > 1:
                    d = _infer(list(data))
                elif a.dtype.kind == "f" and _holds_python_floats(data):
                    d = dtypes.get_default_dtype()
                elif a.dtype.kind == "c" and _holds_python_floats(data):
                    d = dtypes.default_complex()
                else:
                    return np.ascontiguousarray(a) if a.ndim else a
            if a.dtype.kind in "iu" and d.kind == "i" and d.itemsize < 8:
                _fits(a, d)
            return convert(a, d) if a.dtype != d.np else a
    flat: list[Any] = []
    _flatten(data, shape, flat, 0)
    if flat and isinstance(flat[0], str):
        raise ValueError("too many dimensions 'str'")
    if any(isinstance(v, str) for v in flat):
        raise TypeError("new(): invalid data type 'str'")
    if d is None:
        d = _infer(flat)
    out = np.empty(len(flat), d.np)
    for i, v in enumerate(flat):
        try:
            out[i] = _element(v, d)
        except OverflowError:
            raise ValueError("Overflow when unpacking long long") from None
    return out.reshape(shape)


def _element(v: Any, d: dtypes.dtype) -> Any:
    """What a sequence holds at one place, as a number of `d`."""
    if isinstance(v, Tensor):
        if d.kind in "bi" and (v.dtype.kind not in "bi" or v.numel() != 1):
            raise TypeError("only integer tensors of a single element can be converted to an index")
        if v.numel() != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        v = v._a.item()
    if isinstance(v, (list, tuple, np.ndarray)):
        number: Any = operator.index if d.kind == "i" else math.fabs
        number(v)  # which refuses it in Python's words, or NumPy's
    if d.kind == "i" and isinstance(v, float):
        return int(v)
    if d.kind == "b":
        return bool(v)
    if not isinstance(v, (int, float, complex, np.generic)):
        nameless = v is None or not hasattr(v, "__float__")
        raise TypeError(f"Could not infer dtype of {type(v).__name__}" if nameless else "bad element")
    return v


def _holds_python_floats(data: Any) -> bool:
    while not isinstance(data, (float, int, complex, np.generic, np.ndarray)):
        if len(data) == 0:
            return True
        data = data[0]
    return isinstance(data, (float, int, complex)) and not isinstance(data, np.generic)


def _has_objects(data: Any) -> bool:
    """Whether a tensor or another object stands among the first elements (then elements are taken one by one)."""
    while isinstance(data, (list, tuple)):
        if not data:
            return False
        if any(isinstance(x, Tensor) for x in data):
            return True
        data = data[0]
    return not isinstance(data, (float, int, complex, np.generic, np.ndarray))


def _shape_of(data: Any) -> tuple[int, ...]:
    """The lengths of what is nested, at first places; a tensor within is a number, though it has dims of its own."""
    out: list[int] = []
    while True:
        if isinstance(data, np.ndarray):
            return (*out, *data.shape)
        if isinstance(data, (str, bytes, dict, set, Tensor)) or not hasattr(data, "__len__"):
            return tuple(out)
        out.append(len(data))
        if not len(data):
            return tuple(out)
        data = data[0]


def _flatten(data: Any, shape: tuple[int, ...], flat: list[Any], dim: int) -> None:
    if dim == len(shape):
        flat.append(data)
        return
    try:
        n = len(data)
    except TypeError:
        raise TypeError("not a sequence") from None
    if n != shape[dim]:
        raise ValueError(f"expected sequence of length {shape[dim]} at dim {dim} (got {n})")
    for x in data:
        _flatten(x, shape, flat, dim + 1)


def _infer(flat: list[Any]) -> dtypes.dtype:
    d: dtypes.dtype | None = None
    for v in flat:
        if isinstance(v, Tensor):
            k = v.dtype
        elif isinstance(v, np.generic):
            k = dtypes.of(v.dtype)
        elif isinstance(v, (bool, int, float, complex)):
            k = dtypes.of_number(v)
        elif isinstance(v, np.ndarray):
            k = dtypes.of(v.dtype)
        elif isinstance(v, (list, tuple)):
            k = _infer(list(v))
        else:
            raise RuntimeError(f"Could not infer dtype of {type(v).__name__}")
        d = k if d is None else dtypes.promote_types(d, k)
    return d or dtypes.get_default_dtype()


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor over the array's own memory."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not currently supported. "
            "(You can probably work around this by making a copy of your array  with array.copy().) "
        )
    if ndarray.dtype.byteorder == ">":
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is currently not supported."
        )
    dtypes.of(ndarray.dtype)
    if not ndarray.flags.writeable:
        import warnings

        warnings.warn("The given NumPy array is not writable, and PyTorch does not support non-writable tensors. This means writing to this tensor will "
                      "result in undefined behavior. You may want to copy the array to protect its data or make it writable before converting it to a "
                      "tensor. This type of warning will be suppressed for the rest of this program.", UserWarning, stacklevel=2)  # fmt: skip
    return fresh(wrap(ndarray.view(np.ndarray)))


def as_tensor(data: Any, dtype: dtypes.dtype | None = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing memory (and history) where that is possible."""
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(device=device, dtype=dtype)
    return on(fresh(wrap(array_of(data, dtypes.asked(dtype, "as_tensor"), copy=False))), device)


def asarray(
    obj: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`obj` as a tensor; `copy=True` always copies, `copy=False` never does (and raises where it would have to)."""
    if isinstance(obj, Tensor):
        t = obj if dtype is None and device is None else obj.to(device=device, dtype=dtype)
        if copy is False and t._a is not obj._a:
            raise _no_alias(obj.dtype, t.dtype)
        if copy and t is obj:
            t = obj.clone()
        if requires_grad != t.requires_grad:
            t = t.detach().requires_grad_(requires_grad) if requires_grad or not copy else t.detach()
        return t
    if not isinstance(obj, np.ndarray) and hasattr(obj, "__dlpack__"):
        t = from_dlpack(obj)
    elif isinstance(obj, (bytes, bytearray, memoryview, array)):
        t = frombuffer(obj, dtype=dtype or dtypes.get_default_dtype())
    else:
        if copy is False and not isinstance(obj, np.ndarray):
            raise ValueError("can't alias arbitrary sequence into a tensor.")
        t = wrap(array_of(obj, None if copy is False else dtype, copy=bool(copy)))
        copy = copy if copy is False else None  # that it was asked for has been seen to
    if dtype is not None and t.dtype is not dtype:
        if copy is False:
            raise _no_alias(t.dtype, dtype)
        t = wrap(convert(t._a, dtype))
    elif copy:
        t = wrap(t._a.copy())
    t = on(t, device)
    return t.requires_grad_(True) if requires_grad else t


def _no_alias(one: dtypes.dtype, other: dtypes.dtype) -> ValueError:
    return ValueError(f"can't alias tensor with dtype '{dtypes.SPOKEN[one]}' into dtype '{dtypes.SPOKEN[other]}'.")


def frombuffer(
    buffer: Any, *, dtype: dtypes.dtype, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A 1-d tensor over an object that has the buffer protocol."""
    n, dtype = memoryview(buffer).nbytes, dtypes.of_type(dtype)
    size = dtype.itemsize
    if n == 0 or count == 0:
        raise ValueError(f"both buffer length ({n}) and count ({count}) must not be 0")
    if not 0 <= offset < n:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({n} bytes) minus 1"
        )
    if count < 0 and (n - offset) % size:
        raise ValueError(
            f"buffer length ({n - offset} bytes) after offset ({offset} bytes) must be a multiple of element size ({size})"
        )
    if count > 0 and offset + count * size > n:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater than actual buffer length ({n} bytes)"
        )
    t = wrap(np.frombuffer(buffer, dtype.np, count, offset))
    return t.requires_grad_(True) if requires_grad else t


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of any object that speaks DLPack."""
    if isinstance(ext_tensor, Tensor):
        if type(ext_tensor._a) in LAYOUTS:
            from flambeau._eager.dlpack import check

            check(ext_tensor)
        t = ext_tensor.detach()
    else:
        from flambeau._eager.dlpack import imported

        t = imported(ext_tensor)
    return t.clone() if copy else t


# ---------------------------------------------------------------- conversion


def to(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The tensor in another dtype, on another device, or in another memory format; itself where nothing changes.

    `to(dtype)`, `to(device, dtype)`, `to(other)`, each with `non_blocking`, `copy`, `memory_format`.
    """
    if MODES or type(self) not in PLAIN:
        taken = _override(Tensor.to, self, *args, **kwargs)
        if taken is not NotImplemented:
            return taken
    elif len(args) + len(kwargs) == 1 and type(self._a) is np.ndarray:  # hot: what most calls are
        if args:
            first = d = args[0]
        else:
            first, d = kwargs.get("device"), kwargs.get("dtype")
        if type(d) is dtypes.dtype:
            if self._a.dtype is d.np:
                return self
            if self._a.dtype != d.np:
                return _copier()(self, dtype=d)
        elif first is not None and on_cpu(first):
            return self
    d, where, _, copy, fmt = parse_to(*args, **kwargs)
    return converted(self, d, where, copy, fmt)


def _override(method: Any, *args: Any, **kwargs: Any) -> Any:
    from flambeau._eager.call import HOOKS

    return HOOKS["method"](method, args, kwargs)


_TO = "".join(
    f" * ({first}, bool non_blocking = False, bool copy = False, *, torch.memory_format memory_format = None)\n"
    for first in ("torch.device device = None, torch.dtype dtype = None", "torch.dtype dtype", "Tensor tensor")
)


def parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, bool, Any]:
    """(dtype, device, non_blocking, copy, memory_format) of a call of `to`."""
    d, where = kwargs.pop("dtype", None), kwargs.pop("device", None)
    non_blocking, copy, fmt = (
        kwargs.pop("non_blocking", False),
        kwargs.pop("copy", False),
        kwargs.pop("memory_format", None),
    )
    other = kwargs.pop("other", None)
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
    rest = list(args)
    if rest:
        first = rest.pop(0)
        if isinstance(first, Tensor):
            other = first
        elif isinstance(first, dtypes.dtype) or dtypes.of_type(first) is not first:
            d = first
        elif isinstance(first, (device, str, int)) or first is None:
            where = first if first is None else device(first)
            if rest and (isinstance(dtypes.of_type(rest[0]), dtypes.dtype) or rest[0] is None):
                d = rest.pop(0)
        else:
            raise TypeError(
                f"to() received an invalid combination of arguments - got ({type(first).__name__}), but expected one of:\n{_TO}"
            )
    if rest:
        non_blocking = rest.pop(0)
    if rest:
        copy = rest.pop(0)
    if other is not None:
        d, where = other.dtype, other.device
    d = dtypes.of_type(d)
    if d is not None and not isinstance(d, dtypes.dtype):
        raise TypeError(
            f"to() received an invalid combination of arguments - got (dtype={type(d).__name__}, ), but expected one of:\n{_TO}"
        )
    return d, (device(where) if where is not None else None), non_blocking, copy, fmt


def converted(self: Any, d: Any, where: Any, copy: bool, fmt: Any) -> Any:
    """`to`, with its arguments sorted out."""
    a = self._a
    target = self.device if where is None else where
    same_device = target == self.device or (
        target.type == self.device.type and target.index in (None, self.device.index)
    )
    if not same_device and target.type != self.device.type:
        return to_device(self, target, d)
    copy = copy or not same_device  # "cpu:0" is the one CPU there is, but by a name of its own
    change = d is not None and a.dtype != d.np
    if (
        not change
        and not copy
        and (fmt is None or fmt.name == "preserve_format" or self.is_contiguous(memory_format=fmt))
    ):
        return self
    return _copier()(self, dtype=d, memory_format=fmt)


@cache
def _copier() -> Any:
    from flambeau._eager.names import public

    return public("_to_copy")


def to_device(self: Any, target: Any, d: Any) -> Any:
    """The tensor on another device."""
    from flambeau import _backends

    source = self if d is None or self.dtype is d else self.to(d)
    t = wrap(_backends.convert(source._a, self.device.type, target.type))
    return inferred(t) if type(self) is not Tensor and isinstance(self, Tensor) and self._inference else t


__all__ = ["as_tensor", "asarray", "from_numpy", "node_of", "tensor", "to"]


def new_tensor(self: Tensor, data: Any, *, dtype: dtypes.dtype | None = None, device: Any = None, requires_grad: bool = False, layout: Any = None,
               pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A new tensor with a copy of `data`, by default of this tensor's dtype and on its device."""
    t = fresh(wrap(array_of(data, self.dtype if dtype is None else dtype, copy=True)))
    where = self.device if device is None else device
    t = on(t, where)
    return t.requires_grad_(True) if requires_grad else t


Tensor.new_tensor = new_tensor  # type: ignore[attr-defined]
Tensor.to = to  # type: ignore[attr-defined]

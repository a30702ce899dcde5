"""DLPack where NumPy's own does not reach: bfloat16 and the 8-bit floats, which it knows no numbers for.

A capsule points to a struct that says, among other things, what the elements are: `code`, `bits`. It is read, and written, in place: on
the way in these dtypes become integers of their size, which NumPy takes, and on the way out integers become them.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

import numpy as np

from flambeau._tensor import Tensor, wrap
from flambeau._values import dtype as dtypes

# The standard's numbers of kinds of elements.
CODES = {
    "bfloat16": 4,
    "float8_e4m3fn": 10,
    "float8_e4m3fnuz": 11,
    "float8_e5m2": 12,
    "float8_e5m2fnuz": 13,
    "float8_e8m0fnu": 14,
}
UNSIGNED = 1
ONCE = ("from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you might have already "
        "constructed a tensor from it once.")  # fmt: skip


class DLDeviceType(IntEnum):
    """The protocol's numbers of kinds of devices."""

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3
    kDLOpenCL = 4
    kDLVulkan = 7
    kDLMetal = 8
    kDLVPI = 9
    kDLROCM = 10
    kDLROCMHost = 11
    kDLExtDev = 12
    kDLCUDAManaged = 13
    kDLOneAPI = 14
    kDLWebGPU = 15
    kDLHexagon = 16
    kDLMAIA = 17


DLDeviceType.__module__ = "flambeau.utils.dlpack"
_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, (ctypes.py_object,)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


def _elements(capsule: Any) -> Any:
    """The bytes (code, bits) of a capsule's struct."""
    name = _name(capsule)
    if name not in (b"dltensor", b"dltensor_versioned"):
        raise RuntimeError(ONCE)
    start = 0 if name == b"dltensor" else 32  # behind version, context, deleter and flags
    at = _pointer(capsule, name) + start + 20  # behind data, device and rank
    return (ctypes.c_uint8 * 2).from_address(at)


def check(t: Any) -> None:
    """Raise where a tensor's memory holds other numbers than its elements: the protocol has no word for it."""
    for is_so, name in ((t.is_conj(), "conjugate"), (t.is_neg(), "negative")):
        if is_so:
            raise BufferError(f"Can't export tensors with the {name} bit set")


def exported(a: Any, dtype: Any, options: dict[str, Any]) -> Any:
    """The capsule of an array whose dtype NumPy does not export."""
    capsule = a.view(f"u{dtype.itemsize}").__dlpack__(**options)
    _elements(capsule)[0] = CODES[dtype.name]
    return capsule


class _Taken:
    """An exporter whose elements are told to NumPy as integers."""

    def __init__(self, source: Any) -> None:
        self.source, self.code = source, UNSIGNED

    def __dlpack__(self, **options: Any) -> Any:
        try:
            capsule = self.source.__dlpack__(**options)
        except TypeError:
            capsule = self.source.__dlpack__()
        held = _elements(capsule)
        self.code = held[0]
        if self.code in CODES.values():
            held[0] = UNSIGNED
        return capsule

    def __dlpack_device__(self) -> Any:
        return self.source.__dlpack_device__()


def imported(source: Any) -> Tensor:
    """A tensor over the memory of any object that speaks DLPack."""
    taken = _Taken(source)
    t = wrap(np.from_dlpack(taken))
    name = next((n for n, code in CODES.items() if code == taken.code), None)
    return t if name is None else t.view(getattr(dtypes, name))

"""Where CPython and NumPy keep what generated code reads of their objects, checked once against objects that are known."""

from __future__ import annotations

import ctypes
import sys
import sysconfig

import numpy as np

# PyArrayObject_fields (numpy/ndarraytypes.h) and PyObject, 64-bit with the GIL. `layout` checks them.
OB_TYPE, DATA, NDIM, DIMS, STRIDES, DESCR, FLAGS = 8, 16, 24, 32, 40, 56, 64
FLOAT_VALUE = 16  # PyFloatObject.ob_fval
BYTES_VALUE = 32  # PyBytesObject.ob_sval
USED_FLAGS = 0x500  # NPY_ARRAY_ALIGNED | NPY_ARRAY_WRITEABLE: part of a signature
METH_FASTCALL = 0x80


def layout() -> bool:
    """Whether arrays, floats and bytes lie in memory as this file believes; read from objects that are known."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED") or hasattr(sys, "gettotalrefcount"):  # longer object headers
        return False
    word = lambda x, at: ctypes.c_int64.from_address(id(x) + at).value
    a = np.zeros((3, 5, 7), np.float32)
    for x in (a, a[1:, ::2, ::-1], a.T, np.zeros((), np.int64)):
        dims, strides = word(x, DIMS), word(x, STRIDES)
        good = (
            word(x, OB_TYPE) == id(np.ndarray)
            and word(x, DATA) == x.ctypes.data
            and ctypes.c_int32.from_address(id(x) + NDIM).value == x.ndim
            and tuple(ctypes.c_int64.from_address(dims + 8 * i).value for i in range(x.ndim)) == x.shape
            and tuple(ctypes.c_int64.from_address(strides + 8 * i).value for i in range(x.ndim)) == x.strides
            and word(x, DESCR) == id(x.dtype)
            and ctypes.c_int32.from_address(id(x) + FLAGS).value & USED_FLAGS == 0x500
        )
        if not good:
            return False
    number, text = 2.5, b"flambeau"
    return (
        ctypes.c_double.from_address(id(number) + FLOAT_VALUE).value == 2.5
        and ctypes.string_at(id(text) + BYTES_VALUE, 8) == text
    )


class MethodDef(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("meth", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]

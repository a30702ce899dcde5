"""Raising the versions of many tensors in one native call: what the entry of a compiled program does when it has written them."""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from typing import Any

from flambeau._backends.cpu.watch import ITEMS


class Raise:
    """Adds a number to the only element of each of some lists."""

    __slots__ = ("pairs",)

    def __init__(self, *pairs: tuple[list[int], int]) -> None:
        self.pairs = pairs

    def __call__(self) -> None:
        for counter, n in self.pairs:
            counter[0] += n

    def native(self) -> Any:
        """A builtin that does the same. For interpreters whose lists lie as `watch.same` found them."""
        new, method, _ = _builtin()
        words = (len(self.pairs), *(w for counter, n in self.pairs for w in (id(counter), n)))
        return new(ctypes.addressof(method), struct.pack(f"<{len(words)}q", *words), self)


@cache
def _builtin() -> tuple[Any, Any, Any]:
    """How builtins are made; the method, and its code, live as long as they."""
    from flambeau._backends.cpu.emit import Module
    from flambeau._backends.cpu.engine import engine
    from flambeau._backends.cpu.entry import native_entry
    from flambeau._backends.cpu.objects import BYTES_VALUE, METH_FASTCALL, MethodDef

    entry = native_entry()
    assert entry is not None
    native, m = engine(), Module("versions")
    for name in ("PyLong_FromLongLong", "PyList_SetItem"):
        native.provide(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0)
    f = m.function("ptr flambeau_raise(ptr self, ptr args, i64 nargs)")
    words = f.params[0] + BYTES_VALUE
    with f.loop(0, f.load("i64", words)) as i:
        counter, n = f.load("ptr", words, i * 2 + 1), f.load("i64", words, i * 2 + 2)
        before = f.call("i64", "PyLong_AsLongLong", f.load("ptr", f.load("ptr", counter + ITEMS)))
        made = f.call("ptr", "PyLong_FromLongLong", before + n)
        with f.when(made == 0):
            f.ret(0)
        f.call("i32", "PyList_SetItem", counter, f.value(0, "i64"), made)
    none = m.external(f, "object_none")
    f.call("void", "Py_IncRef", none)
    f.ret(none)
    code = native.load(str(m), ["flambeau_raise"], m.imports)
    method = MethodDef(b"raise_versions", code["flambeau_raise"], METH_FASTCALL, b"Adds to each of some counters.")
    return entry.new, method, code


__all__ = ["Raise"]

"""Arrays whose elements are still to be conjugated or negated: what conjugate and negative views hold.

The memory is that of the source; `signs` says what its numbers stand for. Whatever computes with such an array sees the numbers that
are meant: the general lane makes them where operands meet, and so does the array library where it is asked directly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Signs = tuple[bool, bool]  # conjugate, negative
NONE: Signs = (False, False)
_marked: dict[Any, Any] = {}  # dtype -> one that equals it without being it
_plain: dict[Any, Any] = {}  # and back: the two are one key
_bare = np.ndarray.dtype.__get__


class PendingArray(np.ndarray):
    """Strided memory, and what its numbers stand for; views keep it, copies hold the numbers themselves."""

    signs: Signs = NONE

    def __array_finalize__(self, obj: Any) -> None:
        self.signs = getattr(obj, "signs", NONE)

    @property
    def dtype(self) -> Any:
        """A dtype that equals the memory's; of real numbers it is another object, so that the flat functions pass them on."""
        d = _bare(self)
        if d.kind == "c" or d.fields:
            return d
        if d not in _marked:
            _plain[d] = d
            _marked[d] = np.dtype(d, metadata={"pending": True})
        return _marked[d]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        inputs = tuple(map(settled, inputs))
        if out is None:
            return getattr(ufunc, method)(*inputs, **kwargs)
        if method == "at":
            raise NotImplementedError("ufunc.at on memory that is conjugated or negated")
        made = getattr(ufunc, method)(*inputs, **kwargs)
        for o, r in zip(out, made if isinstance(made, tuple) else (made,), strict=True):
            o[...] = r
        return out[0] if len(out) == 1 else out

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return func(*_all_settled(args), **{name: _all_settled(v) for name, v in kwargs.items()})

    def __getitem__(self, index: Any) -> Any:
        r = memory(self)[index]
        return signed(r, self.signs) if isinstance(r, np.ndarray) else settled(signed(np.asarray(r), self.signs))[()]

    def __setitem__(self, index: Any, value: Any) -> None:
        into = memory(self)
        value = np.asarray(settled(value))
        into[index] = _turned(value if value.dtype.kind == "c" else value.astype(into.dtype, copy=False), self.signs)

    def copy(self, order: Any = "C") -> Any:
        made = settled(self)
        return made if order in "KA" or made.flags.c_contiguous else made.copy(order)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        return settled(self).astype(dtype, *args, **kwargs)

    def fill(self, value: Any) -> None:
        self[...] = value

    def item(self, *args: Any) -> Any:
        return settled(self).item(*args)

    def tolist(self) -> Any:
        return settled(self).tolist()

    def tobytes(self, *args: Any, **kwargs: Any) -> bytes:
        return settled(self).tobytes(*args, **kwargs)

    real = property(lambda self: signed(memory(self).real, (False, self.signs[1])))
    imag = property(lambda self: signed(memory(self).imag, (False, self.signs[0] != self.signs[1])))


def memory(a: Any) -> Any:
    """The array as its memory has it."""
    if not isinstance(a, np.ndarray) or (type(a) is np.ndarray and a.dtype.metadata is None):
        return a
    d = _bare(a)
    return a.view(_plain.get(d, d), np.ndarray)


def signed(a: Any, signs: Signs) -> Any:
    """The same memory, whose numbers stand for others."""
    a = memory(a)
    if type(a) is not np.ndarray:  # an array without elements carries the mark alone
        a.signs = signs
        return a
    if signs == NONE:
        return a
    made = a.view(PendingArray)
    made.signs = signs
    return made


def settled(a: Any) -> Any:
    """An array of the numbers that are meant."""
    return _turned(memory(a), a.signs) if type(a) is PendingArray else a


def _all_settled(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)(map(_all_settled, x))
    return settled(x)


def _turned(a: Any, signs: Signs) -> Any:
    conjugate, negative = signs
    if negative and a.dtype.kind == "b":
        raise NotImplementedError("\"neg_cpu\" not implemented for 'Bool'")
    if a.dtype.fields:  # two halves
        a = a.copy("K")
        if conjugate != negative:
            a["imag"] = -a["imag"]
        if negative:
            a["real"] = -a["real"]
        return a
    if conjugate:
        a = np.conjugate(a, out=...)  # an array, also where there is one number only
    return np.negative(a, out=...) if negative else a


def alike(a: Any, like: Any) -> Any:
    """An array over other memory, that stands for what `like` stands for."""
    signs = getattr(like, "signs", NONE)
    return a if signs == NONE and type(a) is not PendingArray else signed(a, signs)


def between(a: Any, b: Any) -> Signs:
    """What an array's numbers stand for where b's are taken as they are."""
    (c, n), (d, m) = getattr(a, "signs", NONE), getattr(b, "signs", NONE)
    return c != d, n != m

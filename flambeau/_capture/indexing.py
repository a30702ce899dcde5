"""Indexing in a capture: `t[index]` and `t[index] = value` as the operators that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._capture import selected
from flambeau._capture.breaks import Break
from flambeau._capture.numbers import Tracked
from flambeau._eager import getitem
from flambeau._operators.op import Op
from flambeau._tensor import LAYOUTS, PLAIN, Tensor, wrap
from flambeau._values import shape as values

if TYPE_CHECKING:
    from flambeau._capture.recorder import Recorder


def load(recorder: Recorder, t: Any, index: Any) -> Any:
    """`t[index]` as operators: select, slice, unsqueeze, and index for tensors."""
    plain_tensor(t)
    if recorder.tracer.selects and t._a.ndim and selected.single(index):
        return select(recorder, t, index)
    for i in index if type(index) is tuple else (index,):
        if isinstance(i, Tensor) and i._a.ndim == 0:
            raise Break("a tensor is used as an integer index", "index with Python integers, or torch.index_select")
        if isinstance(i, np.ndarray):
            raise Break("an array of NumPy is used as an index")
    symbolic = recorder.tracer.symbols is not None
    index = _numbers_fixed(index, symbolic)
    if not symbolic:
        recorder.unwatched(getitem.getitem, t, index)  # says what is wrong, if something is
    basic, tensors = _parsed(t, index)
    if symbolic:
        _within(basic, t._a)
    r = getitem.viewed(t, basic, function)
    if tensors is None:
        return r
    return function("index.Tensor")(r, _known(recorder, tensors))


def select(recorder: Recorder, t: Any, index: Any) -> Any:
    """`t[i]` where numbers of the index are in tensors: a copy stands for the view (`selected`)."""
    basic, tensors = selected.apart(_numbers_fixed(index, recorder.tracer.symbols is not None), t._a.ndim)
    r = t if all(i == slice(None) or i is Ellipsis for i in basic) else load(recorder, t, basic)
    if not selected.in_order(r._a, tensors):
        raise Break("a tensor is used as an integer index, for a view with gaps", "torch.index_select")
    made = function("index.Tensor")(r, _known(recorder, tensors))
    v = recorder.value(made)
    recorder.chosen[id(v)] = v.args[0]
    return made


def assign(recorder: Recorder, t: Any, index: Any, value: Any) -> None:
    """`t[index] = value` as operators: copy_, fill_, masked_fill_ and index_put_ of views."""
    plain_tensor(t)
    index = _numbers_fixed(index, recorder.tracer.symbols is not None)
    items = index if type(index) is tuple else (index,)
    if any(isinstance(i, np.ndarray) for i in items):
        raise Break("an array of NumPy is used as an index")
    single = [i for i in items if isinstance(i, Tensor) and i._a.ndim == 0]
    if single and (
        len(single) > 1
        or single[0]._a.dtype.kind == "b"
        or any(isinstance(i, (list, Tensor)) and i is not single[0] for i in items)
    ):
        raise Break("a tensor is used as an integer index, among other tensors, in an assignment")
    stand = wrap(np.zeros(1, np.int64))  # one number, which nobody reads now
    basic, tensors = _parsed(t, tuple(stand if single and i is single[0] else i for i in items))
    _within(basic, t._a)
    target_ = getitem.viewed(t, basic, function)
    if not isinstance(value, (Tensor, bool, int, float)):
        raise Break(f"a {type(value).__name__} is assigned to part of a tensor")
    if tensors is not None:
        _put(recorder, target_, [single[0] if x is stand else x for x in tensors], value)
    elif not isinstance(value, Tensor):
        target_.fill_(value)
    else:
        while value._a.ndim > target_._a.ndim and value._a.shape[0] == 1:
            value = value[0]
        target_.copy_(value)


def _put(recorder: Recorder, t: Any, tensors: list[Any], value: Any) -> None:
    """Values at indices that are tensors. One value where a mask is true needs no places."""
    tensors = _known(recorder, tensors)
    mask = tensors[0]
    one = not isinstance(value, Tensor) or value._a.ndim == 0
    if len(tensors) == 1 and one and mask is not None and mask._a.dtype.kind == "b":
        if mask._a.shape != t._a.shape[: mask._a.ndim]:
            raise Break("a mask of another shape than what it indexes")
        if mask._a.ndim < t._a.ndim:
            mask = mask.reshape(*mask._a.shape, *(1,) * (t._a.ndim - mask._a.ndim))
        if not isinstance(value, Tensor) and t._a.dtype.kind in "iub" and type(value) is not int:
            value = _converted(value, t._a.dtype.kind)
        t.masked_fill_(mask, value.to(t.dtype) if isinstance(value, Tensor) else value)
        return
    if not isinstance(value, Tensor):
        value = function("full")((), value, dtype=t.dtype)
    elif value._a.dtype != t._a.dtype:
        if not one:
            raise Break("values of another dtype are assigned to indices that are tensors")
        value = value.to(t.dtype)
    t.index_put_(tensors, value)


def _known(recorder: Recorder, tensors: list[Any]) -> list[Any]:
    """Indices as the program knows them: what was made of a list is a constant of it."""
    return [
        x if x is None or recorder.known(x) or recorder.tracer.source_of(x) is not None else recorder.constant(x)
        for x in tensors
    ]


def _within(basic: tuple[Any, ...], a: Any) -> None:
    """Whether integers of an index are in range is assumed; where one is not, the error has numbers in it, which are fixed."""
    try:
        getitem.check(basic, a)
    except IndexError:
        getitem.check(fixed(basic), np.broadcast_to(np.zeros(()), fixed(a.shape)))
        raise


def _converted(value: Any, kind: str) -> Any:
    """A number as a tensor of integers or truth values takes it."""
    return bool(value) if kind == "b" else int(value)


def _numbers_fixed(index: Any, symbolic: bool) -> Any:
    """An index is part of the program: changing numbers in it become guards, but for the ends of slices where sizes are expressions."""
    if isinstance(index, Tracked):
        return index if symbolic and values.symbolic(index) else index.fixed()
    if type(index) is tuple:
        return tuple(_numbers_fixed(i, symbolic) for i in index)
    if type(index) is slice and not symbolic:
        return slice(*(_numbers_fixed(i, symbolic) for i in (index.start, index.stop, index.step)))
    return index


def _parsed(t: Tensor, index: Any) -> tuple[tuple[Any, ...], list[Any] | None]:
    """`getitem.parse`, with integers that are expressions."""
    items = index if type(index) is tuple else (index,)
    if not any(map(values.symbolic, items)):
        return getitem.parse(t, index)
    basic, tensors = getitem.parse(t, tuple(0 if values.symbolic(i) else i for i in items))
    integers = iter([i for i in items if isinstance(i, (int, np.integer)) and not isinstance(i, (bool, np.bool_))])
    return tuple(next(integers) if type(b) is int else b for b in basic), tensors


# ---------------------------------------------------------------- what a recorder needs, too


def named(name: str) -> Op:
    """An operator."""
    from flambeau._operators.op import REGISTRY

    return REGISTRY[name]


def function(name: str) -> Any:
    """Its public function."""
    from flambeau._eager import derive

    return derive.function(named(name))


def fixed(x: Any) -> Any:
    """What changing numbers are now, which becomes an assumption."""
    return type(x)(map(fixed, x)) if type(x) in (list, tuple) else x.fixed() if isinstance(x, Tracked) else x


def plain_tensor(t: Any) -> None:
    """Refuse tensors that are more than strided memory."""
    if type(t) not in PLAIN:
        raise Break(f"a tensor of the subclass '{type(t).__name__}'")
    if type(t._a) in LAYOUTS:
        raise Break("a sparse, nested or quantized tensor")

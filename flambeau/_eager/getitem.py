"""Indexing syntax: `x[1, ..., None, 2:5]` is a view that the array library makes; tensors and masks among the indices go to `index`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau._backends.pending_arrays import settled
from flambeau._eager.graph import Node, bump, check_inferred, node_of, serial
from flambeau._eager.modes import MODES, STATE
from flambeau._eager.views import view
from flambeau._tensor import LAYOUTS, PLAIN, Tensor, new, wrap
from flambeau._values import dtype as dtypes
from flambeau._values.overlap import check_apart, check_overlap

_EVERYTHING = slice(None)
_INT64, _BOOL = np.dtype("i8"), np.dtype("?")
_FEW = 1 << 12  # elements up to which the array library picks them
_INTEGERS = (int, np.integer)


def getitem(self: Any, index: Any) -> Any:
    """`self[index]`: a view for integers, slices, None and `...`; a copy where tensors, masks or lists select."""
    if MODES or type(self) not in PLAIN:
        result = _override(self, "__getitem__", index)
        if result is not NotImplemented:
            return result
    a = self._a
    if type(a) is not np.ndarray and type(a) in LAYOUTS:
        return through_operators("getitem", self, index)
    if index is None:
        index = (None,)
    kind = type(index)
    if kind is int or kind is slice:
        if kind is slice and index.step is not None:
            index = _checked(index)
        try:
            r = a[index, ...]
        except IndexError:
            raise _explain(index, a, 0) from None
        except TypeError:
            r = a[_checked(index), ...]
        if kind is int and not a.ndim:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            )
    elif kind is tuple and _plain(index):
        try:
            r = a[index]
        except IndexError:
            raise _explain_all(parse(self, index)[0], a) from None
        if isinstance(r, np.generic):  # every dimension had an integer: NumPy gives the element itself
            r = a[(*index, Ellipsis)]
    else:
        if (
            kind is Tensor
            and index._a.dtype is _INT64
            and index._a.ndim
            and a.ndim
            and index._a.size * a.size < _FEW * len(a)
            and a.flags.c_contiguous
            and index._a.flags.c_contiguous
            and (self._node is None and self._base is None)
        ):
            try:
                return wrap(a[index._a])
            except IndexError:
                pass  # said below, in PyTorch's words
        tensors = _direct(index, a.ndim)
        if tensors is not None:
            return _operator("index")(self, tensors)
        basic, tensors = parse(self, index)
        try:
            r = a[basic]
        except IndexError:
            raise _explain_all(basic, a) from None
        if tensors is not None:
            return _operator("index")(_view(self, r, basic) if basic != (Ellipsis,) else self, tensors)
        index = basic
    return _view(self, r, index)


_operators: dict[str, Any] = {}


def _operator(name: str) -> Any:
    """The public function of that name: `index`, `index_put_`."""
    found = _operators.get(name)
    if found is None:
        from flambeau._eager.names import public

        found = _operators[name] = public(name)
    return found


def _direct(index: Any, ndim: int) -> list[Any] | None:
    """The tensor or None (for `:`) of each dimension, where an index has nothing but tensors and whole slices; else None."""
    out: list[Any] = []
    taken = count = 0
    for i in index if type(index) is tuple else (index,):
        if type(i) is Tensor:
            a = i._a
            if type(a) is not np.ndarray or not a.ndim:
                return None
            if a.dtype is _INT64:
                taken += 1
            elif a.dtype is _BOOL:
                taken += a.ndim
            else:
                return None
            out.append(i)
            count = len(out)
        elif type(i) is slice and i == _EVERYTHING:
            out.append(None)
            taken += 1
        elif type(i) is list and 0 < len(i) <= _FEW and not [n for n in i if type(n) is not int]:
            try:
                out.append(wrap(np.array(i, _INT64)))
            except OverflowError:
                return None
            taken += 1
            count = len(out)
        else:
            return None
    return out[:count] if count and taken <= ndim else None


def _plain(index: tuple[Any, ...]) -> bool:
    """Whether NumPy reads the index as PyTorch does: integers, plain slices, None, at most one ellipsis."""
    dots = 0
    for i in index:
        kind = type(i)
        if kind is slice:
            if (
                i.step is not None
                or not (i.start is None or type(i.start) is int)
                or not (i.stop is None or type(i.stop) is int)
            ):
                return False
        elif i is Ellipsis:
            dots += 1
        elif kind is not int and i is not None:
            return False
    return dots < 2


def _view(self: Any, r: Any, index: Any) -> Any:
    """The view `r` of self, with its history."""
    r = _with_strides(r, index, self._a)
    t = view(self, r)
    if STATE.grad:
        node = self._node if self._base is None else node_of(self)
        if node is not None:
            n = new(_kind(index))
            n.next = (node,)
            if self._nr:
                n.nrs = (self._nr,)
            n.index, n.into, n.seq = index, ((self._a.shape, self._a.dtype),), next(serial)
            t._node = n
    return t


def _with_strides(r: Any, index: Any, a: Any) -> Any:
    """NumPy gives a new axis the stride 0; PyTorch the span of the dimension that follows, before that is itself sliced."""
    if type(index) is not tuple or type(r) is not np.ndarray:
        return r
    for i in index:
        if i is None:
            break
    else:
        return r
    if a.flags.c_contiguous and r.size == a.size > 0 and 1 not in a.shape:
        return a.reshape(r.shape)  # all of it, in order: the strides of any such array
    strides, given, out = list(r.strides), a.ndim - sum(i is not None and i is not Ellipsis for i in index), 0
    d = 0
    for i in index:
        if i is None:
            strides[out] = a.shape[d] * a.strides[d] if d < a.ndim else a.dtype.itemsize
            out += 1
        elif i is Ellipsis:
            d, out = d + given, out + given
        else:
            d += 1
            out += not isinstance(i, int)
    from flambeau._backends.cpu.library_memory import owner

    memory, start = owner(r)
    return np.ndarray(r.shape, r.dtype, memory, start, strides)


class _Indexed(Node):
    """A basic index: the gradient goes back to where the elements came from."""

    index: Any
    into: Any
    saved = ()

    def arrays(self, g: Any) -> Sequence[Any]:
        out = np.zeros(*self.into[0])
        out[self.index] = g
        return (out,)

    def tensors(self, g: Any) -> Sequence[Any]:
        return (_placed(g, self.index, self.into[0]),)


class SelectBackward0(_Indexed):
    """x[i]."""


class SliceBackward0(_Indexed):
    """x[i:j]."""


class UnsqueezeBackward0(_Indexed):
    """x[None]."""


class AliasBackward0(_Indexed):
    """x[...]."""


class IndexPlaceBackward0(Node):
    """The derivative of a basic index's derivative: read the same elements again."""

    index: Any
    saved = ()

    def arrays(self, g: Any) -> Sequence[Any]:
        return (np.array(g[self.index]),)

    def tensors(self, g: Any) -> Sequence[Any]:
        return (getitem(g, self.index),)


def steps(index: tuple[Any, ...], ndim: int) -> list[tuple[str, int, Any]]:
    """A basic index (one ellipsis among its items) as operators: ("select" | "slice" | "unsqueeze", dim, integer | slice | None)."""
    dim = 0
    out: list[tuple[str, int, Any]] = []
    taken = sum(i is not None and i is not Ellipsis for i in index)
    for i in index:
        if i is None:
            out.append(("unsqueeze", dim, None))
            dim += 1
        elif i is Ellipsis:
            dim += ndim - taken
        elif isinstance(i, slice):
            if i != _EVERYTHING:
                out.append(("slice", dim, i))
            dim += 1
        else:
            out.append(("select", dim, i))
    return out


def by_operators(x: Any, items: list[Any]) -> tuple[Any, list[Any] | None]:
    """(the view that the plain part of an index makes, the tensors that go on to index it), in operators of samples."""
    from flambeau._eager.construct import tensor
    from flambeau._operators.op import REGISTRY

    basic: list[Any] = []
    advanced: list[Any] = []  # one entry for each dimension of the view (None for plain ones); ... stands for several
    for i in items if any(i is Ellipsis for i in items) else [*items, Ellipsis]:
        if i is None or i is Ellipsis or isinstance(i, slice):
            basic.append(i)
            advanced.append(Ellipsis if i is Ellipsis else None)
        elif isinstance(i, int) and not isinstance(i, bool):
            basic.append(i)
        else:
            i = tensor(i) if isinstance(i, bool) else _tensor_index(i)
            basic += [slice(None)] * (i.ndim if i.dtype.kind == "b" else 1)
            advanced.append(i)
    taken = sum(i is not None and i is not Ellipsis for i in basic)
    if taken > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    rest = x.ndim - taken
    for what, dim, i in steps(tuple(basic), x.ndim):
        if what == "slice":
            x = REGISTRY["slice.Tensor"](x, dim, i.start, i.stop, 1 if i.step is None else i.step)
        else:
            x = x.select(dim, i) if what == "select" else x.unsqueeze(dim)
    if not any(isinstance(i, Tensor) for i in advanced):
        return x, None
    at = next(k for k, i in enumerate(advanced) if i is Ellipsis)
    return x, [*advanced[:at], *[None] * rest, *advanced[at + 1 :]]


def through_operators(name: str, self: Any, index: Any, value: Any = None) -> Any:
    """`self[index]` ("getitem") or `self[index] = value` ("setitem") as calls of operators alone."""
    from flambeau._eager.construct import tensor
    from flambeau._eager.names import public

    view, tensors = by_operators(self, list(index) if isinstance(index, tuple) else [index])
    if name == "getitem":
        return view if tensors is None else public("index")(view, tensors)
    held = self.dtype if not self.is_quantized else dtypes.float32  # what elements are given in
    if not isinstance(value, Tensor):
        value = tensor(value, dtype=held)
    if tensors is None:
        view.copy_(value.expand(view.shape) if value.ndim <= view.ndim else value.reshape(view.shape))
    else:
        view.index_put_(tensors, value if value.is_quantized else value.to(held))
    return None


def _placed_by_operators(g: Any, index: Any, into: Any) -> Any:
    """`_placed` for gradients that are more than an array: batches, dual tensors."""
    from flambeau._operators.op import REGISTRY

    shape, d = into
    index = index if type(index) is tuple else (index,)
    index = index if any(i is Ellipsis for i in index) else (*index, Ellipsis)
    undo = []
    for what, dim, i in steps(index, len(shape)):
        undo.append((what, dim, i, shape))
        if what == "unsqueeze":
            shape = (*shape[:dim], 1, *shape[dim:])
        elif what == "select":
            shape = (*shape[:dim], *shape[dim + 1 :])
        else:
            shape = (*shape[:dim], len(range(*i.indices(shape[dim]))), *shape[dim + 1 :])
    for what, dim, i, before in reversed(undo):
        if what == "unsqueeze":
            g = g.squeeze(dim)
        elif what == "select":
            g = REGISTRY["select_backward"](g, before, dim, i)
        else:
            start, stop, step = i.indices(before[dim])
            g = REGISTRY["slice_backward"](g, before, dim, start, stop, step)
    return g


def _placed(g: Any, index: Any, into: Any) -> Any:
    """Zeros of the input's shape with g at the index, with history."""
    if MODES or type(g) not in PLAIN:
        return _placed_by_operators(g, index, into)
    shape, d = into
    out = np.zeros(shape, d)
    out[index] = settled(g._a)
    t = wrap(out)
    node = node_of(g)
    if node is not None and STATE.grad:
        n = IndexPlaceBackward0()
        n.next, n.index, n.seq = (node,), index, next(serial)
        if g._nr:
            n.nrs = (g._nr,)
        t._node = n
    return t


def _kind(index: Any) -> type[Node]:
    last = index
    if type(index) is tuple:
        real = [i for i in index if i is not Ellipsis]
        last = real[-1] if real else Ellipsis
    if last is None:
        return UnsqueezeBackward0
    return SliceBackward0 if isinstance(last, slice) else AliasBackward0 if last is Ellipsis else SelectBackward0


# ---------------------------------------------------------------- what an index means


def _checked(s: Any) -> Any:
    """A slice of Python integers with a positive step."""
    step = s.step
    if step is not None and (step._a.item() if isinstance(step, Tensor) else step) <= 0:
        raise ValueError("slice step cannot be zero" if step == 0 else "step must be greater than zero")
    try:
        return slice(
            *(None if v is None else v if isinstance(v, int) else v.__index__() for v in (s.start, s.stop, s.step))
        )
    except (AttributeError, TypeError):
        raise TypeError("slice indices must be integers or None or have an __index__ method") from None


def parse(self: Any, index: Any) -> tuple[tuple[Any, ...], list[Any] | None]:
    """(basic index, one tensor or None for each dimension of its result). The second is None where nothing but basic is left."""
    items = _items(index)
    basic, tensors, consumed = _apart(items)
    ndim = self._a.ndim
    if consumed > ndim:
        if ndim == 0 and len(items) == 1:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            )
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    if not any(b is Ellipsis for b in basic):
        basic.append(Ellipsis)
    return tuple(basic), _by_dimension(basic, tensors, ndim - consumed) if tensors else None


def _items(index: Any) -> list[Any]:
    """The indices, one by one: a list of what is no number is read as a tuple is."""
    if type(index) is tuple:
        return list(index)
    if (
        isinstance(index, list)
        and index
        and any(isinstance(i, (slice, type(None), type(Ellipsis), Tensor, list, tuple)) for i in index)
        and not (_is_nested_numbers(index))
    ):
        return list(index)
    return [index]


def _apart(items: list[Any]) -> tuple[list[Any], dict[int, Any], int]:
    """(basic index, tensors by their position in it, dimensions that both take). Masks stand for all of their dimensions."""
    basic: list[Any] = []
    tensors: dict[int, Any] = {}
    seen_ellipsis = False
    consumed = 0
    for i in items:
        kind = type(i)
        if kind is int:
            basic.append(i)
            consumed += 1
        elif kind is slice:
            basic.append(_checked(i))
            consumed += 1
        elif i is None:
            basic.append(None)
        elif i is Ellipsis:
            if not seen_ellipsis:
                basic.append(Ellipsis)
                seen_ellipsis = True
            else:
                basic.append(_EVERYTHING)  # a second ellipsis stands for one dimension
                consumed += 1
        elif kind is bool or kind is np.bool_:
            tensors[len(basic)] = wrap(np.array([i]))
            basic.append(None)
        elif isinstance(i, np.integer):
            basic.append(int(i))
            consumed += 1
        else:
            t = _tensor_index(i)
            if t._a.ndim == 0 and t._a.dtype.kind in "iu" and t._a.dtype != np.uint8:
                basic.append(int(t._a))
                consumed += 1
            elif t._a.ndim == 0 and t._a.dtype.kind == "b":
                tensors[len(basic)] = wrap(t._a.reshape(1))
                basic.append(None)
            else:
                n = t._a.ndim if _is_mask(t) else 1
                tensors[len(basic)] = t
                basic += [_EVERYTHING] * n
                consumed += n
    return basic, tensors, consumed


def _is_mask(t: Any) -> bool:
    return t._a.dtype.kind == "b" or t._a.dtype == np.uint8


def _by_dimension(basic: list[Any], tensors: dict[int, Any], rest: int) -> list[Any]:
    """For each dimension that the basic index leaves, its tensor or None, without the last ones that have none; `rest` are those of
    the ellipsis."""
    out: list[Any] = []
    position = 0
    while position < len(basic):
        b, t = basic[position], tensors.get(position)
        if t is not None:
            out.append(t)
            position += t._a.ndim if b is not None and _is_mask(t) else 1
            continue
        if b is Ellipsis:
            out += [None] * rest
        elif not isinstance(b, int):
            out.append(None)
        position += 1
    while out and out[-1] is None:
        out.pop()
    return out


def _is_nested_numbers(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return all(_is_nested_numbers(i) for i in x)
    return isinstance(x, (int, np.integer, bool))


def _tensor_index(i: Any) -> Any:
    if isinstance(i, Tensor):
        if i._a.dtype.kind not in "iub":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return i
    if isinstance(i, np.ndarray):
        if i.dtype.kind not in "iub":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return wrap(i)
    if isinstance(i, (list, tuple, range)):
        from flambeau._eager.construct import array_of

        a = array_of(list(i), None, True)
        return wrap(a.astype(np.int64) if a.size == 0 else a)
    if hasattr(i, "__index__"):
        return wrap(np.array(i.__index__()))
    if isinstance(i, str):
        raise TypeError("new(): invalid data type 'str'")
    raise IndexError(
        f"only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got {type(i).__name__})"
    )


def _explain(i: Any, a: Any, dim: int) -> Exception:
    if a.ndim == 0:
        return IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            if not isinstance(i, slice)
            else "slice() cannot be applied to a 0-dim tensor."
        )
    return IndexError(f"index {i} is out of bounds for dimension {dim} with size {a.shape[dim]}")


def _explain_all(basic: tuple[Any, ...], a: Any) -> Exception:
    before = basic[: basic.index(Ellipsis)]
    dim = 0
    for i in before:
        if isinstance(i, int) and not -a.shape[dim] <= i < a.shape[dim]:
            return _explain(i, a, dim)
        dim += i is not None
    dim = a.ndim - 1
    for i in reversed(basic[basic.index(Ellipsis) + 1 :]):
        if isinstance(i, int) and not -a.shape[dim] <= i < a.shape[dim]:
            return _explain(i, a, dim)
        dim -= i is not None
    return IndexError(f"too many indices for tensor of dimension {a.ndim}")


def check(basic: tuple[Any, ...], a: Any) -> None:
    """Raise where an integer of a basic index is out of range."""
    dim, taken = 0, sum(i is not None and i is not Ellipsis for i in basic)
    for i in basic:
        if isinstance(i, int) and not -a.shape[dim] <= i < a.shape[dim]:
            raise _explain(i, a, dim)
        dim += a.ndim - taken if i is Ellipsis else i is not None


# ---------------------------------------------------------------- writing


def setitem(self: Any, index: Any, value: Any) -> None:
    """`self[index] = value`, in place."""
    if MODES or type(self) not in PLAIN:
        result = _override(self, "__setitem__", index, value)
        if result is not NotImplemented:
            return
    if LAYOUTS and LAYOUTS.get(type(self._a)) == "quantized":
        through_operators("setitem", self, index, value)
        return
    if self._inference:
        check_inferred(self)
    tracked = STATE.grad and (node_of(self) is not None or (isinstance(value, Tensor) and node_of(value) is not None))
    kind = type(index)
    direct = _direct(index, self._a.ndim) if kind is Tensor or kind is tuple or kind is list else None
    basic, tensors = (
        ((Ellipsis,), direct)
        if direct is not None
        else ((_checked(index) if kind is slice and index.step is not None else index, Ellipsis), None)
        if kind is int or kind is slice
        else parse(self, index)
    )
    a = self._a
    try:
        r = a[basic]
    except IndexError:
        raise _explain_all(basic, a) from None
    if kind is int and not a.ndim:
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
        )
    if tensors is None and not tracked:
        source = settled(value._a) if isinstance(value, Tensor) else _as_value(value, a)
        _fit_and_write(r, source)
        bump(self)
        return
    value = value if isinstance(value, Tensor) else wrap(_as_value(value, a))
    target = _view(self, r, basic) if basic != (Ellipsis,) else self
    if tensors is None:
        target.copy_(_trimmed(value, r.shape))
    else:
        if value._a.dtype != a.dtype:
            if value._a.ndim or (value._a.dtype.kind not in "bif"):
                raise RuntimeError(
                    "Index put requires the source and destination dtypes match, got "
                    f"{_spoken(self)} for the destination and {_spoken(value)} for the source."
                )
            value = value.to(self.dtype)
        _operator("index_put_")(target, tensors, value)


def _spoken(t: Any) -> str:
    from flambeau._values.dtype import SPOKEN

    return SPOKEN[t.dtype]


def _as_value(value: Any, a: Any) -> Any:
    if isinstance(value, np.integer):
        value = int(value)
    if not isinstance(value, (bool, int, float, complex)):
        kind = f"numpy.{type(value).__name__}" if isinstance(value, (np.generic, np.ndarray)) else type(value).__name__
        raise TypeError(f"can't assign a {kind} to a torch.{dtypes.SPOKEN[dtypes.of(a.dtype)]}Tensor")
    if a.dtype.kind not in "c" and isinstance(value, complex):
        raise RuntimeError(
            f"value cannot be converted to type {'float' if a.dtype.itemsize == 4 else 'double'} without overflow"
        )
    if a.dtype.kind in "iu":
        dtypes.check_fits(value, dtypes.of(a.dtype), True)
        value = int(value) if isinstance(value, float) else value
    return np.array(value).astype(a.dtype) if a.dtype.kind != "V" or not a.dtype.fields else np.array(value)


def _trimmed(value: Any, shape: tuple[int, ...]) -> Any:
    """Leading dims of size 1 may be left out of what is assigned."""
    while value._a.ndim > len(shape) and value._a.shape[0] == 1:
        value = value[0]
    return value


def _fit_and_write(r: Any, source: Any) -> None:
    while source.ndim > r.ndim and source.shape[0] == 1:
        source = source[0]
    if source.ndim and source.shape != r.shape:
        _check_expand(source.shape, r.shape)
    if 0 in r.strides:
        check_overlap(r)
    if source.base is not None:
        check_apart(r, (source,), True)
    if source.dtype is r.dtype:
        r[...] = source
        return
    from flambeau._eager.construct import convert
    from flambeau._values.dtype import of

    r[...] = convert(source, of(r.dtype))


def _check_expand(shape: tuple[int, ...], into: tuple[int, ...]) -> None:
    if len(shape) > len(into):
        raise RuntimeError(
            f"expand(torch.FloatTensor{{{list(shape)}}}, size={list(into)}): the number of sizes provided ({len(into)}) must be "
            f"greater or equal to the number of dimensions in the tensor ({len(shape)})"
        )
    for d in range(1, len(shape) + 1):
        if shape[-d] != into[-d] and shape[-d] != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({into[-d]}) must match the existing size ({shape[-d]}) at non-singleton dimension "
                f"{len(into) - d}.  Target sizes: {list(into)}.  Tensor sizes: {list(shape)}"
            )


def _override(self: Any, name: str, *args: Any) -> Any:
    from flambeau._eager.call import HOOKS

    return HOOKS["method"](getattr(Tensor, name), (self, *args), {})


for _fn in (getitem, setitem):
    _fn.__name__, _fn.__qualname__ = f"__{_fn.__name__}__", f"Tensor.__{_fn.__name__}__"
Tensor.__getitem__ = getitem  # type: ignore[method-assign]
Tensor.__setitem__ = setitem  # type: ignore[method-assign]


def viewed(t: Any, basic: tuple[Any, ...], operator: Callable[[str], Callable[..., Any]]) -> Any:
    """The part of `t[basic]` that is a view, as calls of select, slice and unsqueeze; `operator` finds them by name."""
    dim, r = 0, t
    skip = t.ndim - sum(i is not None and i is not Ellipsis for i in basic)
    for i in basic:
        if i is Ellipsis:
            dim += skip
        elif i is None:
            r, dim = operator("unsqueeze")(r, dim), dim + 1
        elif isinstance(i, slice):
            if i != slice(None):
                r = operator("slice.Tensor")(r, dim, i.start, i.stop, 1 if i.step is None else i.step)
            dim += 1
        else:
            r = operator("select.int")(r, dim, i)
    return operator("alias")(t) if r is t else r

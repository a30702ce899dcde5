"""The namespace's own class of array: a tensor whose operators, indices and attributes are the standard's, not PyTorch's.

What is made by the namespace out of nothing is an `Array`, and so is what comes out of a function that was given one. Plain tensors in
give plain tensors out, whose operators remain PyTorch's. An `Array` among the operands of `+` decides, on either side of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from types import EllipsisType
from typing import Any, cast

import flambeau
from flambeau import Tensor
from flambeau.array_api._types import SIGNED, WIDE, as_number
from flambeau.overrides import _disabled_torch_function_impl

Key = int | slice | EllipsisType | Tensor | None
NUMBERS = (bool, int, float, complex)
UNARY = {"__abs__": "abs", "__neg__": "negative", "__pos__": "positive", "__invert__": "bitwise_invert"}
COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
ARITHMETIC = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide", "mod": "remainder",
    "pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip


class Array(Tensor):
    """A tensor with the operators of the array API standard.

    >>> from flambeau import array_api as xp
    >>> xp.ones(2, dtype=xp.int8) + xp.asarray(1, dtype=xp.int16)
    Array([2, 2], dtype=torch.int16)
    >>> xp.arange(4)[::-1]
    Array([3, 2, 1, 0])
    """

    __module__ = "flambeau.array_api"
    __torch_function__ = _disabled_torch_function_impl  # PyTorch's functions see a tensor, and answer with one
    __hash__ = Tensor.__hash__

    @property
    def size(self) -> int:  # type: ignore[override]
        """How many elements there are."""
        return math.prod(self.shape)

    @property
    def T(self) -> Array:  # type: ignore[override]
        """The matrix transposed; of two dimensions only."""
        if self.ndim != 2:
            raise ValueError(
                f"T is of matrices, and this array has {self.ndim} dimensions: mT transposes stacks of them"
            )
        return array(plain(self).mT)

    @property
    def mT(self) -> Array:  # type: ignore[override]
        """Each matrix transposed."""
        if self.ndim < 2:
            raise ValueError(f"mT is of matrices, and this array has {self.ndim} dimensions")
        return array(plain(self).mT)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Array:
        """This array on that device."""
        return array(self.to(device))

    def __getitem__(self, key: Key | tuple[Key, ...], /) -> Array:  # type: ignore[override]
        keys, backward = _forward(self.shape, key)
        return array(_flipped(plain(self), backward)[keys])

    def __setitem__(self, key: Key | tuple[Key, ...], value: Any, /) -> None:  # type: ignore[override]
        keys, backward = _forward(self.shape, key)
        x = plain(self)
        target = _flipped(x, backward)
        given = plain(value).to(self.dtype) if isinstance(value, Tensor) else as_number(value, self)
        if self.dtype in WIDE:  # PyTorch puts them by masks and indices only as what they are as wide as
            given = x.new_tensor(given, dtype=self.dtype) if not isinstance(given, Tensor) else given
            target, given = target.view(SIGNED[self.dtype]), given.view(SIGNED[self.dtype])
        target[keys] = given
        if backward:
            x.copy_(_flipped(target.view(self.dtype), backward))

    def __iter__(self) -> Iterator[Array]:
        if self.ndim == 0:
            raise TypeError("an array of no dimensions cannot be iterated over")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, value: Any, /) -> bool:  # type: ignore[override]
        return bool(plain(self == value).any())


def array(x: Tensor) -> Array:
    """x, with the standard's operators."""
    return cast(Array, x) if type(x) is Array else cast(Array, x.as_subclass(Array))


def plain(x: Any) -> Any:
    """x, with PyTorch's operators where it is an `Array`; lists and tuples of them, too."""
    if type(x) is Array:
        return x.as_subclass(Tensor)
    if type(x) in (list, tuple) and _holds_tensors(x):
        return type(x)(map(plain, x))
    return x


def _holds_tensors(x: Any) -> bool:
    """Whether a list or tuple (of lists, ...) has tensors in it; long lists of numbers are not walked."""
    while type(x) in (list, tuple) and x:
        if any(isinstance(item, Tensor) for item in x[:64]):
            return True
        x = x[0]
    return False


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif type(x) in (list, tuple) and _holds_tensors(x):
        for item in x:
            yield from _tensors(item)


def of_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function over plain tensors as one of the namespace: of plain tensors it answers plain ones, of all else arrays."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = [x for a in (*args, *kwargs.values()) for x in _tensors(a)]
        if given and not any(type(x) is Array for x in given):
            return function(*args, **kwargs)
        bare = {id(x): plain(x) for x in given}
        back = {id(b): x for x, b in zip(given, bare.values(), strict=False)} if len(bare) == len(given) else {}

        def there(a: Any) -> Any:
            if isinstance(a, Tensor):
                return bare[id(a)]
            return type(a)(map(there, a)) if type(a) in (list, tuple) and _holds_tensors(a) else a

        def here(out: Any) -> Any:
            if isinstance(out, Tensor):
                return array(back.get(id(out), out))
            if isinstance(out, tuple) and not isinstance(out, flambeau.Size):
                return type(out)(*map(here, out)) if hasattr(out, "_fields") else tuple(map(here, out))
            return out

        return here(function(*map(there, args), **{k: there(v) for k, v in kwargs.items()}))

    return call


def _flipped(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    if not axes:
        return x
    if x.dtype in WIDE:  # PyTorch moves them only as what they are as wide as
        return x.view(SIGNED[x.dtype]).flip(axes).view(x.dtype)
    return x.flip(axes)


def _forward(shape: tuple[int, ...], key: Any) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The key, with all its steps forward, of the array of that shape when these axes have been reversed."""
    keys = [plain(k) for k in (key if isinstance(key, tuple) else (key,))]
    taken = [k.ndim if _is_mask(k) else int(not (k is None or k is ... or isinstance(k, bool))) for k in keys]
    where = [i for i, k in enumerate(keys) if k is ...]
    if len(where) == 1:
        between = max(len(shape) - sum(taken), 0)
        keys[where[0] : where[0] + 1] = [slice(None)] * between
        taken[where[0] : where[0] + 1] = [1] * between
    backward, axis = [], 0
    for i, (k, n) in enumerate(zip(keys, taken, strict=True)):
        if isinstance(k, slice) and k.step is not None and k.step < 0 and axis < len(shape):
            found = range(shape[axis])[k]
            first = shape[axis] - 1 - found.start
            keys[i] = slice(first, first + len(found) * -k.step, -k.step) if found else slice(0, 0)
            backward.append(axis)
        elif (
            _is_mask(k)
            and 0 in k.shape
            and axis + n <= len(shape)
            and all(m in (0, s) for m, s in zip(k.shape, shape[axis:], strict=False))
        ):
            keys[i] = k.new_zeros(shape[axis : axis + n])  # a mask without elements picks none, whatever it lies on
        elif isinstance(k, Tensor) and not _is_mask(k):
            keys[i] = k.to(flambeau.int64)
        axis += n
    return tuple(keys), tuple(backward)


def _is_mask(k: Any) -> bool:
    return isinstance(k, Tensor) and k.dtype == flambeau.bool


def _unary(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def operator(self: Any, /) -> Any:
        return function(self)

    return operator


def _binary(function: Callable[[Any, Any], Any], swapped: bool = False) -> Callable[[Any, Any], Any]:
    def operator(self: Any, other: Any, /) -> Any:
        if not isinstance(other, (Tensor, *NUMBERS)):
            return NotImplemented
        return function(other, self) if swapped else function(self, other)

    return operator


def _into(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def operator(self: Any, other: Any, /) -> Any:
        if not isinstance(other, (Tensor, *NUMBERS)):
            return NotImplemented
        out = function(self, other)
        if out.dtype != self.dtype or out.shape != self.shape:
            raise TypeError(
                f"an array of {self.dtype} and shape {tuple(self.shape)} cannot hold the result in place: that is of "
                f"{out.dtype} and shape {tuple(out.shape)}"
            )
        plain(self).copy_(plain(out))
        return self

    return operator


def attach(functions: dict[str, Callable[..., Any]]) -> None:
    """Gives `Array` its operators: the namespace's functions, under the operators' names."""
    for operator, name in UNARY.items():
        _give(operator, _unary(functions[name]))
    for operator, name in COMPARISONS.items():
        _give(f"__{operator}__", _binary(functions[name]))
    for operator, name in ARITHMETIC.items():
        _give(f"__{operator}__", _binary(functions[name]))
        _give(f"__r{operator}__", _binary(functions[name], swapped=True))
        _give(f"__i{operator}__", _into(functions[name]))


def _give(name: str, operator: Any) -> None:
    operator.__name__, operator.__qualname__, operator.__module__ = name, f"Array.{name}", Array.__module__
    setattr(Array, name, operator)

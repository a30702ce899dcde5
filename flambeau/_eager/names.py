"""Public names: which flat functions, of one operator or of several, answer to a name, and the methods of Tensor.

The words of the kernel language get their meaning on tensors here, too, since derived derivatives call public functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._eager import derived
from flambeau._eager.choose import chooser
from flambeau._eager.derive import function, inplace
from flambeau._eager.modes import STATE
from flambeau._kernel.language import BINARY, TERNARY, UNARY
from flambeau._operators import load
from flambeau._operators.kinds import is_size
from flambeau._operators.op import METHODS, NAMES, REQUIRED, Op
from flambeau._tensor import Tensor, _attach, wrap

_METHODS_TOO = frozenset(
    ("addmv_", "as_strided_", "fill_", "resize_as_sparse_", "index_put_", "resize_as_", "zero_")
)  # in place, and functions of torch

# One function for a name: `__torch_function__` is given the one that programs have under it.
_CHOOSERS: dict[tuple[str, str], tuple[list[Any], Any]] = {}


def public(name: str, namespace: str = "") -> Any:
    """The public function of a name, or None where no operator has it."""
    ops = NAMES.get(namespace, {}).get(name)
    if not ops:
        load()
        ops = NAMES.get(namespace, {}).get(name)
    if not ops:
        return getattr(Tensor, name, None) if name in _METHODS_TOO and not namespace else None
    forms = [inplace(o) if name.endswith("_") and name[:-1] in (o.name, *o.aliases) else function(o) for o in ops]
    if len(forms) == 1:
        return forms[0]
    found = _CHOOSERS.get((namespace, name))
    if found is None or found[0] != forms:
        found = _CHOOSERS[namespace, name] = forms, chooser(name, ops, forms, method=False)
    return found[1]


def method(name: str) -> Any:
    """The Tensor method of a name, or None where no operator has it."""
    ops = METHODS.get(name)
    if not ops:
        return None
    forms = []
    for o in ops:
        written = name.endswith("_") and name[:-1] in (o.name, *o.aliases) and "inplace" in o.variants
        forms.append(_as_method(o, inplace(o) if written else function(o)))
    return forms[0] if len(forms) == 1 else chooser(name, ops, forms, method=True)


def _as_method(op: Op, fn: Any) -> Any:
    """`fn` taking self first, and sizes or dims as separate integers where PyTorch allows it: `x.view(2, 3)`."""
    params = op.params
    at = next((i for i, p in enumerate(params) if p.name == "input"), 0)
    if at:

        def reordered(self: Any, *args: Any, **kwargs: Any) -> Any:
            return fn(*args[:at], self, *args[at:], **kwargs)

        return _copy_name(reordered, fn)
    if (
        len(params) > 1
        and params[1].annotation in _SPREAD
        and not params[1].keyword
        and all(p.keyword for p in params[2:])
    ):
        name = params[1].name

        def spread(self: Any, *args: Any, **kwargs: Any) -> Any:
            if args and (isinstance(args[0], _INTS) or is_size(args[0])):
                return fn(self, args, **kwargs)
            if not args and name not in kwargs and params[1].default is REQUIRED:
                return fn(self, (), **kwargs)
            return fn(self, *args, **kwargs)

        return _copy_name(spread, fn)
    if len(params) > 1 and params[1].annotation == "Dims | None" and all(p.keyword for p in params[2:]):

        def gathered(self: Any, *args: Any, **kwargs: Any) -> Any:
            if len(args) > 1 and isinstance(args[0], _INTS):  # one dimension is an overload of its own
                return fn(self, args, **kwargs)
            return fn(self, *args, **kwargs)

        return _copy_name(gathered, fn)
    return fn


_INTS = (int, np.integer)


_SPREAD = ("Shape", "Dims", "Shape | DType", "Shape | DType | None")


def _copy_name(new_fn: Any, fn: Any) -> Any:
    new_fn.__name__, new_fn.__doc__, new_fn.__qualname__ = fn.__name__, fn.__doc__, "Tensor." + fn.__name__
    new_fn.__op__ = getattr(fn, "__op__", None)
    return new_fn


_PROPERTIES = frozenset(("T", "mT", "H", "mH", "real", "imag"))


def _build(name: str) -> Any:
    made = method(name)
    if made is not None:
        setattr(Tensor, name, _property(name, made) if name in _PROPERTIES else made)
    return made


def _unbuilt(name: str) -> Any:
    """An operator as an attribute, before it is first asked for or assigned to."""

    def built() -> Any:
        _attach["build"](name)  # which loads the operators first
        return Tensor.__dict__[name]

    return property(lambda self: built().__get__(self), lambda self, value: built().__set__(self, value))


def _property(name: str, view: Any) -> Any:
    """An operator as an attribute: `x.mT`; parts of numbers can be assigned to, `x.imag = y`."""
    return property(view, (lambda self, value: view(self).copy_(value)) if name in ("real", "imag") else None)


_attach["build"] = _build


def _methods() -> list[str]:
    """The names of all methods that operators have."""
    load()
    return list(METHODS)


_attach["names"] = _methods
for _name in _PROPERTIES:  # there from the start, since an assignment would not ask for them
    setattr(Tensor, _name, _unbuilt(_name))


# ---------------------------------------------------------------- words of the language, on tensors


def tensor_words() -> None:
    """Tell derived derivatives which public function a word of the language is, on tensors."""
    rename = {"sign": "sgn", "invert": "bitwise_not", "lshift": "bitwise_left_shift",
              "rshift": "bitwise_right_shift", "floordiv": "floor_divide"}  # fmt: skip
    for word in (*UNARY, *BINARY, *TERNARY):
        derived.TENSOR_WORDS["t_" + word] = _late(rename.get(word, word))
    derived.TENSOR_WORDS["t_fma"] = lambda x, y, z: x * y + z  # the operator that rounds once is made of this word


def _late(name: str) -> Any:
    def call_late(*args: Any) -> Any:
        fn = public(name)
        if fn is None:
            raise NotImplementedError(f"the word '{name}' has no operator on tensors")
        if name == "conj" and not isinstance(args[0], Tensor):
            return args[0].conjugate()
        return fn(*args) if STATE.tracing or all(isinstance(a, Tensor) for a in args) else _with_numbers(name, fn, args)

    return call_late


def _with_numbers(name: str, fn: Any, args: tuple[Any, ...]) -> Any:
    """A word that also meets numbers: as 0-d tensors where the operator takes tensors only."""
    if name == "sub" and not isinstance(args[0], Tensor):
        return public("rsub")(args[1], args[0])
    like = next((a for a in args if isinstance(a, Tensor)), None)
    params = fn.__op__.params
    if like is None or len(params) < len(args):
        return fn(*args)
    made = [
        a
        if isinstance(a, Tensor) or p.takes_number or not (p.is_tensor or p.annotation == "int")
        else int(a)
        if p.annotation == "int"
        else _as_operand(a, like)
        for a, p in zip(args, params, strict=False)
    ]
    return fn(*made)


def _as_operand(value: Any, like: Tensor) -> Tensor:
    d = like._a.dtype
    if STATE.recorder is not None:  # a program wants to know where a tensor comes from
        return STATE.recorder.new_tensor(
            value, dtype=None if isinstance(value, complex) and d.kind != "c" else like.dtype
        )
    return wrap(
        np.asarray(
            value, None if isinstance(value, complex) and d.kind != "c" else np.dtype(d.str) if d.kind != "V" else d
        )
    )


tensor_words()
__all__ = ["method", "public"]

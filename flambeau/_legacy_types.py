"""The old constructors: `torch.Tensor(2, 3)`, `torch.FloatTensor([1, 2])`, `x.type("torch.DoubleTensor")`."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from flambeau._eager.construct import array_of
from flambeau._eager.derive import function
from flambeau._eager.members import subclass
from flambeau._eager.modes import STATE
from flambeau._operators.view import alias
from flambeau._tensor import Tensor, new, wrap
from flambeau._values import device as devices, dtype as dtypes
from flambeau._values.shape import Size

_BY_NAME = {f"{spoken}Tensor": d for d, spoken in dtypes.SPOKEN.items()}
_types: dict[str, Any] = {}


def construct(d: dtypes.dtype, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    """From sizes (uninitialised), data, a storage or another tensor, in one dtype."""
    if not args:
        return wrap(np.empty((0,), d.np))
    first = args[0]
    if all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in args):
        return wrap(np.zeros(args, d.np))
    if isinstance(first, Size):
        return wrap(np.zeros(tuple(first), d.np))
    if isinstance(first, Tensor):
        if first.dtype is not d:
            raise TypeError(f"expected torch.{dtypes.SPOKEN[d]}Tensor (got {first.type()})")
        if device is not None:
            raise RuntimeError("Legacy tensor constructor of the form torch.Tensor(tensor, device=device) is not supported.  Use torch.tensor(...) or torch.as_tensor(...) instead.")  # fmt: skip
        return _aliased(first)
    if type(first).__name__ in ("UntypedStorage", "TypedStorage"):
        return wrap(np.empty((0,), d.np)).set_(first)
    if isinstance(first, float):
        raise TypeError("new(): data must be a sequence (got float)")
    return wrap(array_of(first, d, True))


def _aliased(first: Tensor) -> Tensor:
    """The same memory as a plain tensor, with its history; a subclass's `__torch_function__` is not asked."""
    before, STATE.no_function = STATE.no_function, True
    try:
        return cast(Tensor, function(alias)(first))
    finally:
        STATE.no_function = before


def new_tensor(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """What `cls(...)` makes for Tensor and its subclasses."""
    if "data" in kwargs:
        args = (kwargs.pop("data"), *args)
    first = args[0] if args else None
    if isinstance(first, Tensor) and cls is not Tensor:
        return subclass(cls, _aliased(first))
    t = construct(dtypes.get_default_dtype() if not isinstance(first, Tensor) else first.dtype, *args, **kwargs)
    if cls is Tensor:
        return t
    out = new(cls)
    out._a = t._a
    return out


class _TypeMeta(type):
    """The class of `FloatTensor`: calling it makes tensors of its dtype, and isinstance looks at the dtype."""

    dtype: Any

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dtype is cls.dtype

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return construct(cls.dtype, *args, **kwargs)


def find(name: str) -> Any:
    """The type of a name such as `LongTensor`, or None."""
    d = _BY_NAME.get(name)
    if d is None:
        return None
    if name not in _types:
        _types[name] = _TypeMeta(name, (), {"dtype": d, "__module__": "torch", "is_cuda": False})
    return _types[name]


class _SparseMeta(_TypeMeta):
    """The class of `sparse.FloatTensor`: called with indices, elements and sizes."""

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dtype is cls.dtype and x.layout is devices.sparse_coo

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        from flambeau._eager.sparse.create import sparse_coo_tensor

        if all(isinstance(a, int) for a in args):
            return sparse_coo_tensor(size=args, dtype=cls.dtype)
        return sparse_coo_tensor(*args)  # elements that are a tensor say their dtype


def sparse(name: str) -> Any:
    """The type of sparse tensors of a name such as `LongTensor`, or None."""
    d = _BY_NAME.get(name)
    if d is None:
        return None
    key = f"sparse.{name}"
    if key not in _types:
        _types[key] = _SparseMeta(name, (), {"dtype": d, "__module__": "torch.sparse", "is_cuda": False})
    return _types[key]


class _ElsewhereMeta(type):
    """The class of `cuda.FloatTensor` where there is no such device: nothing is one, and none can be made."""

    def __instancecheck__(cls, x: Any) -> bool:
        return False

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        kind = cls.__module__.removeprefix("torch.").upper()
        raise TypeError(f"type {cls.__module__}.{cls.__name__} not available. Torch not compiled with {kind} enabled.")


def elsewhere(device: str, name: str) -> Any:
    """The type of a name such as `LongTensor` or `LongStorage` on another type of device, or None."""
    kind = "Tensor" if name.endswith("Tensor") else "Storage"
    d = _BY_NAME.get(name.removesuffix(kind) + "Tensor")
    if d is None:
        return None
    key = f"{device}.{name}"
    if key not in _types:
        _types[key] = _ElsewhereMeta(
            name, (), {"dtype": d, "__module__": f"torch.{device}", "is_cuda": device == "cuda"}
        )
    return _types[key]


def dtype_of(kind: Any) -> dtypes.dtype:
    """The dtype that an old type (or its name) stands for."""
    if isinstance(kind, _TypeMeta):
        return kind.dtype
    name = kind if isinstance(kind, str) else kind.__name__
    d = _BY_NAME.get(name.removeprefix("torch."))
    if d is None:
        if name in ("torch.Tensor", "Tensor"):
            return dtypes.get_default_dtype()
        raise ValueError(f"invalid type: '{name}'")
    return d

"""class Tensor: a thin object around one strided array. No operator is named here: `_eager` attaches them all.

What a Tensor carries besides its array has class-level defaults, so that making one is two stores:
    _node, _nr   what computes its gradient (None: nothing does), and which of that node's outputs it is
    _base        the tensor it is a view of; _seen is the base's version when `_node` was last right
    _vc          [version], shared by everything that shares the memory; None means version 0, never shared
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flambeau._values import dtype as dtypes
from flambeau._values.device import CPU, device, layout, strided
from flambeau._values.shape import Size

PLAIN: set[type] = set()  # Tensor, and subclasses that change no operator (Parameter, Buffer)
LAYOUTS: dict[
    type, str
] = {}  # classes of arrays that are more than strided memory (sparse, quantized; once they exist), and the room
# of `_eager` where operators have other readings for them
MODES: list[str] = []  # one entry for each mode that is active in any thread (see _eager.modes)
CLASSES: dict[type, type] = {}  # those around which tensors are of a class of their own
_attach: dict[str, Any] = {}  # name -> what builds a missing method; filled by _eager.names


class _TensorMeta(type):
    """Builds methods when they are first asked for, on the class as on instances."""

    def __new__(mcls, name: str, bases: tuple[type, ...], space: dict[str, Any], **kwargs: Any) -> _TensorMeta:
        if len(bases) > 1:  # another base may come first, with Python's own idea of an instance's dict
            space.setdefault("__dict__", _user_dict)
        made = super().__new__(mcls, name, bases, space, **kwargs)
        if "subclass" in _attach and not space.get("__module__", "").startswith("flambeau."):
            _attach["subclass"](made)
        return made

    def __dir__(cls) -> list[str]:
        """All methods, those too that are made when they are asked for; not what makes them, which wrappers of every method would call."""
        return sorted({*type.__dir__(cls), *_attach.get("names", list)()} - {"__getattr__"})

    def __getattr__(cls, name: str) -> Any:
        build = _attach.get("build")
        made = build(name) if build is not None else None
        if made is None:
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        return getattr(cls, name)


class _Space:
    """Gives tensors a dict each, under a name of its own: `space(t)` is all of it, `t.__dict__` what users put there."""


space = _Space.__dict__["__dict__"].__get__


class _Attributes(dict[str, Any]):
    """What users hung on a tensor; writing here writes there."""

    def __init__(self, owner: Any) -> None:
        super().__init__((name, value) for name, value in space(owner).items() if name not in OURS)
        self._owner = space(owner)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self._owner[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        del self._owner[name]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        self._owner.pop(name, None)
        return super().pop(name, *default)

    def clear(self) -> None:
        for name in list(self):
            del self[name]

    def __reduce__(self) -> Any:
        return dict, (dict(self),)  # a copy belongs to no tensor


def _set_user_dict(self: Any, attributes: dict[str, Any]) -> None:
    own = _Attributes(self)
    own.clear()
    own.update(attributes)


_user_dict: Any = property(_Attributes, _set_user_dict)


class Tensor(_Space, metaclass=_TensorMeta):
    """A multi-dimensional array of one dtype, on one device, that can record what is done to it.

    >>> import flambeau as torch
    >>> torch.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(dim=0)
    tensor([4., 6.])
    """

    _a: Any
    _node: Any = None
    _nr: int = 0
    _base: Tensor | None = None
    _vc: list[int] | None = None
    _seen: int = 0
    _created: str = ""  # how a view came about: "", "no_grad", "inference", "multi", "custom"
    _grad: Tensor | None = None
    _grad_dtype: Any = False  # what gradients become: a dtype, None (whatever they are), False (this tensor's own)
    _retain: bool = False
    _hooks: Any = None
    _post_hooks: Any = None
    _inference: bool = False
    _ragged: Any = None  # the symbolic size that these offsets stand for, in nested tensors
    _tangents: Any = None  # level -> tangent, of a dual tensor

    if TYPE_CHECKING:  # what `_eager` attaches
        requires_grad: bool
        is_leaf: bool
        grad: Any

        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: object) -> Any: ...
        def __ne__(self, other: object) -> Any: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...

    __dict__ = _user_dict

    # ---- facts read off the array ----

    @property
    def shape(self) -> Size:
        return Size(self._a.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.of(self._a.dtype)

    @property
    def ndim(self) -> int:
        return self._a.ndim

    @property
    def device(self) -> device:
        return getattr(self._a, "torch_device", CPU)

    @property
    def layout(self) -> layout:
        return getattr(self._a, "layout", strided)

    @property
    def itemsize(self) -> int:
        return self._a.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self._a.nbytes

    def dim(self) -> int:
        """The number of dimensions."""
        return self._a.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return self._a.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._a.dtype.itemsize

    def __len__(self) -> int:
        if self._a.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self._a.shape[0]

    def __hash__(self) -> int:
        return id(self)

    def __getattr__(self, name: str) -> Any:
        cls = type(self)
        build = _attach.get("build")
        if build is not None and build(name) is not None:
            return getattr(self, name)
        raise AttributeError(f"'{cls.__name__}' object has no attribute '{name}'")

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *_attach.get("names", list)()} - {"__getattr__"})


Tensor.__module__ = "flambeau"
OURS = frozenset(Tensor.__annotations__)  # instance attributes that are ours, not the user's
PLAIN.add(Tensor)
new = object.__new__


def wrap(array: Any) -> Tensor:
    """A tensor around an array, without history."""
    t = new(Tensor)
    t._a = array
    return t


def around(array: Any) -> Tensor:
    """The same, of the class that goes with the array's layout."""
    t: Any = new(CLASSES.get(type(array), Tensor))
    t._a = array
    return t


def has_elements(t: Any) -> bool:
    """Whether t's elements can be looked at: not those of meta tensors, nor of one sample of a batch."""
    return getattr(t._a, "has_elements", True)


def twin(t: Any) -> Any:
    """Another object that is in all respects the tensor t."""
    other = new(type(t))
    space(other).update(space(t))
    return other


def bare(t: Any) -> Any:
    """t without history; the same memory, and whatever else t carries (tangents, a batch)."""
    if type(t) is Tensor and t._tangents is None:
        return wrap(t._a)
    other = twin(t)
    other._node, other._nr, other._base = None, 0, None
    return other

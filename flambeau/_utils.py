"""How tensors are taken apart for pickles and copies, and put together again, under the names that PyTorch's files use.

Also the few private functions of `torch._utils` that libraries import. Not a place for anything else.
"""

from __future__ import annotations

import copy
import copyreg
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau import storage as storages
from flambeau._backends.pending_arrays import settled
from flambeau._eager.views import signed
from flambeau._tensor import OURS, Tensor, wrap
from flambeau._values import device as devices, dtype as dtypes, storage as memory
from flambeau._values.qscheme import PACKED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def _public(path: str) -> Any:
    """Something of the public package, found when it is needed: files may name what floors above this one define."""
    module, _, name = path.rpartition(".")
    import importlib

    return getattr(importlib.import_module(module), name)


# ---------------------------------------------------------------- apart


def reduce_tensor(tensor: Tensor, protocol: Any = None) -> tuple[Any, ...]:
    """`Tensor.__reduce_ex__`: what rebuilds this tensor, over the same storage as its views."""
    state = _get_obj_state(tensor)
    rebuild, arguments = _parts(tensor)
    if type(tensor) is Tensor and not state:
        return rebuild, arguments
    return _rebuild_from_type_v2, (rebuild, type(tensor), arguments, state)


def _parts(tensor: Any) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
    if _hooks_of(tensor):
        _public("flambeau.utils.hooks.warn_if_has_hooks")(tensor)
    dtype, requires_grad = tensor.dtype, bool(tensor.requires_grad)
    if tensor.layout is not devices.strided:
        return _rebuild_sparse_tensor, _sparse_parts(tensor)
    size, stride = tuple(tensor.shape), tuple(tensor.stride())
    if tensor.device.type == "meta":
        return _rebuild_meta_tensor_no_storage, (dtype, size, stride, requires_grad)
    bytes_ = storages.of(tensor._a)
    if tensor.is_quantized:
        meaning = _meaning(tensor)
        if dtype in PACKED:  # several codes to a byte
            size, stride = tuple(tensor.shape), tuple(tensor.contiguous().stride())
            bytes_, tensor = storages.of(tensor.int_repr()._a), wrap(np.empty(0, np.uint8))
        typed = storages.TypedStorage(wrap_storage=bytes_, dtype=dtype)
        return _rebuild_qtensor, (typed, memory.offset(tensor._a), size, stride, meaning, requires_grad, OrderedDict())
    place = (memory.offset(tensor._a), size, stride, requires_grad, OrderedDict())
    marks = get_tensor_metadata(tensor)
    extra = (marks,) if marks else ()
    if dtype in storages.LEGACY_NAME:
        return _rebuild_tensor_v2, (storages.TypedStorage(wrap_storage=bytes_, dtype=dtype), *place, *extra)
    return _rebuild_tensor_v3, (bytes_, *place, dtype, *extra)


def _sparse_parts(tensor: Any) -> tuple[Any, ...]:
    if tensor.layout is devices.sparse_coo:
        return tensor.layout, (tensor._indices(), tensor._values(), tensor.size(), tensor.is_coalesced())
    by_rows = tensor.layout in (devices.sparse_csr, devices.sparse_bsr)
    starts, plain = ("crow_indices", "col_indices") if by_rows else ("ccol_indices", "row_indices")
    return tensor.layout, (getattr(tensor, starts)(), getattr(tensor, plain)(), tensor.detach().values(), tensor.size())


def _meaning(tensor: Any) -> tuple[Any, ...]:
    """How a quantized tensor is quantized, as files say it."""
    scheme = tensor.qscheme()
    if "tensor" in scheme.name:
        return scheme, tensor.q_scale(), tensor.q_zero_point()
    return scheme, tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points(), tensor.q_per_channel_axis()


def _hooks_of(tensor: Any) -> dict[int, Any] | None:
    """The hooks on a tensor's gradient, by number."""
    node = tensor._node
    hooks: dict[int, Any] | None = node.hooks.get(tensor._nr) if node is not None and node.hooks else None
    return hooks


def deepcopy_tensor(tensor: Any, memo: dict[Any, Any]) -> Any:
    """`Tensor.__deepcopy__`: views of one storage become views of one copy of it."""
    if not tensor.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  "
            "If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, "
            "see https://github.com/pytorch/pytorch/pull/103001"
        )
    if id(tensor) in memo:
        return memo[id(tensor)]
    array = settled(tensor._a)
    if array is tensor._a and tensor.device.type == "cpu" and tensor.layout is devices.strided:
        data = copy.deepcopy(storages.of(array), memo)._data
        strides = tuple(s // array.itemsize for s in array.strides)
        whole = memory.view(data, array.dtype, memory.offset(array), array.shape, strides)
        array = whole if not tensor.is_quantized else _public("flambeau._eager.quantized.create.again")(whole, array)
    elif array is tensor._a:
        array = array.copy()
    out = Tensor.__new__(type(tensor)) if type(tensor) is not Tensor else wrap(array)
    out._a = array
    memo[id(tensor)] = out
    if tensor.requires_grad:
        out.requires_grad = True
    if tensor._grad is not None:
        out._grad = copy.deepcopy(tensor._grad, memo)
    for name, value in _attributes(tensor).items():
        setattr(out, name, copy.deepcopy(value, memo))
    return out


def _attributes(tensor: Any) -> dict[str, Any]:
    """What the user (or a subclass) hung on a tensor."""
    own = dict(tensor.__dict__)
    for slot in copyreg._slotnames(type(tensor)) if type(tensor) is not Tensor else ():  # type: ignore[attr-defined]
        if slot not in OURS and hasattr(tensor, slot):
            own[slot] = getattr(tensor, slot)
    return own


def _get_obj_state(obj: Any) -> Any:
    """The state that Python would pickle; of a tensor, only what is not the tensor itself."""
    if isinstance(obj, Tensor):
        own = getattr(type(obj), "__getstate__", None)
        if own is not None and own is not getattr(object, "__getstate__", None):
            return own(obj)
        return _attributes(obj)
    if hasattr(obj, "__getstate__"):
        return obj.__getstate__()
    return obj.__dict__


def _set_obj_state(obj: Any, state: Any) -> Any:
    if isinstance(state, tuple):
        if len(state) != 2:
            raise RuntimeError(f"Invalid serialized state: {state}")
        parts: tuple[Any, ...] = state
    else:
        parts = (state,)
    for part in parts:
        for name, value in (part or {}).items():
            if name in OURS:
                raise RuntimeError(f"Invalid serialized state: {name} is not an attribute that can be set")
            setattr(obj, name, value)
    return obj


# ---------------------------------------------------------------- together again


def _rebuild_tensor(storage: Any, storage_offset: int, size: Sequence[int], stride: Sequence[int]) -> Tensor:
    return _rebuild(storage, storage.dtype, storage_offset, size, stride)


def _rebuild(storage: Any, dtype: dtypes.dtype, offset: int, size: Sequence[int], stride: Sequence[int]) -> Tensor:
    bytes_ = storage._untyped_storage if isinstance(storage, storages.TypedStorage) else storage
    if bytes_.device.type == "meta":
        return _rebuild_meta_tensor_no_storage(dtype, tuple(size), tuple(stride), False)
    return wrap(memory.view(bytes_._data, dtype.np, offset, tuple(size), tuple(stride)))


def _rebuild_tensor_v2(storage: Any, storage_offset: int, size: Sequence[int], stride: Sequence[int], requires_grad: bool,
                       backward_hooks: Any, metadata: Any = None) -> Any:  # fmt: skip
    tensor = _rebuild_tensor(storage, storage_offset, size, stride)
    return _finish(tensor, requires_grad, metadata)


def _rebuild_tensor_v3(storage: Any, storage_offset: int, size: Sequence[int], stride: Sequence[int], requires_grad: bool,
                       backward_hooks: Any, dtype: dtypes.dtype, metadata: Any = None) -> Any:  # fmt: skip
    if not isinstance(dtype, dtypes.dtype):
        raise TypeError(f"expected a torch.dtype, but got {type(dtype).__name__}")
    tensor = _rebuild(storage, dtype, storage_offset, size, stride)
    return _finish(tensor, requires_grad, metadata)


def _finish(tensor: Any, requires_grad: bool, metadata: Any) -> Any:
    if metadata:
        set_tensor_metadata(tensor, metadata)
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def _rebuild_meta_tensor_no_storage(dtype: Any, size: Any, stride: Any, requires_grad: bool) -> Any:
    empty_strided = _public("flambeau.empty_strided")
    return empty_strided(size, stride, dtype=dtype, device="meta", requires_grad=requires_grad)


def _rebuild_parameter(data: Any, requires_grad: bool, backward_hooks: Any) -> Any:
    return _public("flambeau.nn.parameter.Parameter")(data, requires_grad)


def _rebuild_parameter_with_state(data: Any, requires_grad: bool, backward_hooks: Any, state: Any) -> Any:
    return _set_obj_state(_rebuild_parameter(data, requires_grad, backward_hooks), state)


def _rebuild_from_type_v2(func: Any, new_type: type, args: Any, state: Any) -> Any:
    """A tensor of a subclass, or with attributes."""
    out = func(*args)
    if type(out) is not new_type:
        out = out.as_subclass(new_type)
    if getattr(new_type, "__setstate__", Tensor.__setstate__) is not Tensor.__setstate__:
        out.__setstate__(state)
        return out
    return _set_obj_state(out, state)


def _rebuild_sparse_tensor(layout: Any, data: Any) -> Any:
    if layout is devices.sparse_coo:
        indices, values, size, *rest = data
        return _public("flambeau.sparse_coo_tensor")(
            indices, values, size, check_invariants=False, is_coalesced=rest[0] if rest else None
        )
    if layout in (devices.sparse_csr, devices.sparse_csc, devices.sparse_bsr, devices.sparse_bsc):
        return _public("flambeau.sparse_compressed_tensor")(*data, layout=layout, check_invariants=False)
    raise NotImplementedError(f"rebuilding sparse tensor for layout {layout}")


def _rebuild_qtensor(storage: Any, storage_offset: int, size: Sequence[int], stride: Sequence[int], quantizer_params: Any,
                     requires_grad: bool, backward_hooks: Any) -> Any:  # fmt: skip
    from flambeau._eager.quantized.create import around, unpacked

    if storage.dtype in PACKED:
        flat = _rebuild_tensor(storage, 0, (storage.nbytes(),), (1,))
        return around(unpacked(flat, storage.dtype, tuple(size)), quantizer_params)
    return around(_rebuild_tensor(storage, storage_offset, size, stride), quantizer_params)


def _rebuild_nested_tensor(buffer: Any, sizes: Any, strides: Any, storage_offsets: Any) -> Any:
    from flambeau._eager.nested.strided import over

    return over(buffer, sizes._a, strides._a, storage_offsets._a)


def _rebuild_wrapper_subclass(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError("rebuilding wrapper subclasses of Tensor")


def _rebuild_device_tensor_from_cpu_tensor(data: Any, dtype: Any, device: Any, requires_grad: bool) -> Any:
    tensor = data.to(dtype=dtype, device=device)
    tensor.requires_grad = requires_grad
    return tensor


def _rebuild_device_tensor_from_numpy(data: Any, dtype: Any, device: Any, requires_grad: bool) -> Any:
    return _rebuild_device_tensor_from_cpu_tensor(wrap(data), dtype, device, requires_grad)


def set_state(tensor: Any, state: Any) -> None:
    """`Tensor.__setstate__`, for pickles of PyTorch before 0.4: (storage, offset, size, stride) and (requires_grad, ...)."""
    if not tensor.is_leaf:
        raise RuntimeError("__setstate__ can be only called on leaf Tensors")
    if isinstance(state, dict):
        _set_obj_state(tensor, state)
        return
    if len(state) == 5:
        *data, requires_grad, _ = state
        storage, offset, size, stride = data[0] if len(data) == 1 else data
    elif len(state) == 4:
        (storage, offset, size, stride), requires_grad = state, False
    else:
        (storage, offset, size, stride), requires_grad, _ = state
    tensor._a = _rebuild_tensor(storage, offset, size, stride)._a
    tensor.requires_grad = requires_grad


def get_tensor_metadata(tensor: Tensor) -> dict[str, bool]:
    """Which of the bits "conj" and "neg" are set."""
    return {name: True for name, on in (("conj", tensor.is_conj()), ("neg", tensor.is_neg())) if on}


def set_tensor_metadata(tensor: Tensor, metadata: dict[str, bool]) -> None:
    """Set the bits "conj" and "neg": what the memory holds is conjugated, or negated, where it is read."""
    tensor._a = signed(tensor._a, (metadata.get("conj", False), metadata.get("neg", False)))


for _name, _function in (
    ("__reduce_ex__", reduce_tensor),
    ("__deepcopy__", deepcopy_tensor),
    ("__setstate__", set_state),
):
    setattr(Tensor, _name, _function)
Tensor._backward_hooks = property(_hooks_of)  # read by libraries; hooks are added with register_hook
Tensor.untyped_storage = lambda self: storages.of(self._a)
Tensor._typed_storage = Tensor.storage = lambda self: storages.TypedStorage(
    wrap_storage=storages.of(self._a), dtype=self.dtype
)
Tensor.storage_type = lambda self: type(self.storage())


# ---------------------------------------------------------------- what libraries import


def _element_size(dtype: dtypes.dtype) -> int:
    """Bytes per element."""
    if not isinstance(dtype, dtypes.dtype):
        raise RuntimeError(f"expected torch.dtype, but got {type(dtype)}")
    return dtype.itemsize


def _import_dotted_name(name: str) -> Any:
    head, *rest = name.split(".")
    found = __import__("flambeau" if head == "torch" else head)
    for part in rest:
        found = getattr(found, part)
    return found


def _flatten_dense_tensors(tensors: Sequence[Any]) -> Any:
    """One vector of all elements."""
    return _public("flambeau.cat")([t.contiguous().view(-1) for t in tensors])


def _unflatten_dense_tensors(flat: Any, tensors: Sequence[Any]) -> tuple[Any, ...]:
    """Views of the vector, shaped like the tensors."""
    parts = flat.split([t.numel() for t in tensors])
    return tuple(part.view(t.shape) for part, t in zip(parts, tensors, strict=True))


def _take_tensors(tensors: Sequence[Any], size_limit: int) -> Iterator[list[Any]]:
    """Groups of tensors of one type, each of about `size_limit` bytes."""
    groups: dict[Any, tuple[list[Any], int]] = {}
    for tensor in tensors:
        kind, size = tensor.type(), tensor.numel() * tensor.element_size()
        group, total = groups.get(kind, ([], 0))
        if group and total + size > size_limit:
            yield group
            group, total = [], 0
        group.append(tensor)
        groups[kind] = group, total + size
    for group, _ in groups.values():
        if group:
            yield group


class KeyErrorMessage(str):
    """A message that KeyError shows as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return self


class ExceptionWrapper:
    """An exception and its traceback as text, to be raised again in another thread or process."""

    def __init__(self, exc_info: Any = None, where: str = "in background") -> None:
        kind, error, trace = sys.exc_info() if exc_info is None else exc_info  # not kept: frames would be kept alive
        self.exc_type, self.where = kind, where
        import traceback  # only where something went wrong

        self.exc_msg = "".join(traceback.format_exception(kind, error, trace))

    def reraise(self) -> None:
        """Raise an exception of the same type, whose message contains the original traceback."""
        message = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            message = KeyErrorMessage(message)
        elif getattr(self.exc_type, "message", None):
            raise self.exc_type(message=message)
        try:
            error = self.exc_type(message)
        except Exception:
            raise RuntimeError(message) from None  # its constructor wants something else
        raise error


class classproperty:
    """A property of the class itself."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.function(type(instance) if owner is None else owner)


def _get_available_device_type() -> str | None:
    """The type of accelerator that this machine has, or None."""
    import flambeau

    return "cuda" if flambeau.cuda.is_available() else None


def _get_device_module(device_type: str) -> Any:
    """The module of a type of device: `torch.cuda` for "cuda"."""
    import flambeau

    module = getattr(flambeau, device_type, None)
    if module is None:
        raise RuntimeError(
            f"Device '{device_type}' does not have a corresponding module registered as 'torch.{device_type}'."
        )
    return module


def get_device_module(device: Any = None) -> Any:
    """The module of a device: of this machine's accelerator, or of the CPU, where none is named.

    >>> get_device_module().__name__
    'flambeau.cpu'
    """
    from flambeau._values.device import device as _device

    if isinstance(device, str):
        device = _device(device)
    if device is not None and not isinstance(device, _device):
        raise RuntimeError(f"Invalid value of device '{device}', expect torch.device, str, or None")
    return _get_device_module(device.type if device is not None else _get_available_device_type() or "cpu")


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int:
    """The number of a device; where it has none and `optional`, the one in use."""
    from flambeau._values.device import device as _device

    if isinstance(device, str):
        device = _device(device)
    index = None
    if isinstance(device, _device):
        if not allow_cpu and device.type == "cpu":
            raise ValueError(f"Expected a non cpu device, but got: {device}")
        index = -1 if device.type == "cpu" else device.index
    elif isinstance(device, int):
        index = device
    if index is None:
        if not optional:
            raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")
        import flambeau

        index = flambeau.cuda.current_device()
    return index

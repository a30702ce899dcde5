"""Methods of Tensor that come from the modules around it: printing, files, storages, random state."""

from __future__ import annotations

from typing import Any

from flambeau import _utils
from flambeau._eager.graph import node_of
from flambeau._tensor import LAYOUTS, Tensor
from flambeau._values.device import CPU, sparse_coo, strided
from flambeau._values.dtype import SPOKEN


def _repr(self: Any, *, tensor_contents: Any = None) -> str:
    from flambeau import _tensor_str

    return _tensor_str._str(self, tensor_contents=tensor_contents)


def _deepcopy(self: Any, memo: dict[Any, Any]) -> Any:
    return _utils.deepcopy_tensor(self, memo)


def _reduce_ex(self: Any, proto: Any) -> Any:
    return _utils.reduce_tensor(self, proto)


def _set_state(self: Any, state: Any) -> None:
    _utils.set_state(self, state)


def _untyped_storage(self: Any) -> Any:
    """The bytes that this tensor (and every tensor sharing its memory) lies in."""
    from flambeau import storage

    if self.layout is not strided:
        kind = "SparseTensorImpl" if self.layout is sparse_coo else "SparseCsrTensorImpl"
        raise NotImplementedError(f"Cannot access storage of {kind}")
    return storage.of(self._a)


def _storage(self: Any) -> Any:
    """The storage as elements of this tensor's dtype."""
    from flambeau import storage

    return storage.TypedStorage(wrap_storage=self.untyped_storage(), dtype=self.dtype, _internal=True)


def _type(self: Any, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
    """The type's old-style name, or the tensor as another type."""
    if dtype is None:
        if self.layout is not strided and not self.is_nested:
            if not self.is_sparse:
                raise RuntimeError("Unimplemented backend SparseCsrCPU")
            return f"torch.sparse.{SPOKEN[self.dtype]}Tensor"
        if self.is_quantized:
            return f"torch.quantized.{SPOKEN[self.dtype]}Tensor"
        module = "torch" if self.device.type in ("cpu", "meta") else f"torch.{self.device.type}"
        return f"{module}.{SPOKEN[self.dtype]}Tensor"
    if isinstance(dtype, (str, type)):
        from flambeau import _legacy_types

        dtype = _legacy_types.dtype_of(dtype)
    return self.to(dtype)


def _cpu(self: Any, memory_format: Any = None) -> Any:
    """The tensor in main memory."""
    return self.to(CPU, memory_format=memory_format) if memory_format is not None else self.to(CPU)


def _cuda(self: Any, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
    """The tensor on a CUDA device."""
    return self.to("cuda" if device is None else device)


def _pin_memory(self: Any, device: Any = None) -> Any:
    """A copy in memory that an accelerator reads by itself: refused where there is none."""
    if device is not None and str(device).partition(":")[0] == "cpu":
        raise RuntimeError("CPU device type not an accelerator.")
    raise RuntimeError("Cannot access accelerator device when none is available.")


def _share_memory_(self: Any) -> Any:
    """Move to memory that other processes can see, with every tensor that shares it."""
    from flambeau._eager import shared

    if self.layout is not strided:
        _untyped_storage(self)  # there is none, and it says so
    return shared.share(self)


def _is_shared(self: Any) -> bool:
    """Whether other processes can see the tensor's memory; so it is where there is none."""
    from flambeau._eager import shared

    return self.numel() == 0 or shared.is_shared(self._a)


def _dlpack(self: Any, *, stream: Any = -1, max_version: tuple[int, int] | None = None,
            dl_device: tuple[Any, int] | None = None, copy: bool | None = None) -> Any:  # fmt: skip
    if node_of(self) is not None:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self.layout is not strided:
        raise BufferError("Can't export tensors with layout other than torch.strided")
    if type(self._a) in LAYOUTS:
        from flambeau._eager.dlpack import check

        check(self)
    if self.device.type != "cpu":
        raise BufferError(f"Cannot pack tensors on {self.device}")
    if stream is not None and type(stream) is not int:
        raise TypeError("stream must be ``int`` or ``none``")
    if stream not in (None, -1):
        raise AssertionError("stream should be None on cpu.")
    given = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
    options = {k: v for k, v in given.items() if v is not None}
    if self._a.dtype.num < 24:  # NumPy's own
        return self._a.__dlpack__(**options)
    from flambeau._eager.dlpack import exported

    return exported(self._a, self.dtype, options)


def _dlpack_device(self: Any) -> tuple[int, int]:
    from flambeau._eager.dlpack import DLDeviceType

    return DLDeviceType.kDLCPU, 0


def _new(self: Any, *args: Any, **kwargs: Any) -> Any:
    """A new tensor of this dtype, from sizes or data."""
    from flambeau import _legacy_types

    return _legacy_types.construct(self.dtype, *args, **kwargs)


def _array_namespace(self: Any, *, api_version: str | None = None) -> Any:
    """The functions of the array API standard for this tensor."""
    from flambeau import array_api

    if api_version not in (None, "2021.12", "2022.12", "2023.12", array_api.__array_api_version__):
        raise ValueError(f"unsupported array API version: {api_version!r}")
    return array_api


def _to_device(self: Any, device: Any, /, *, stream: Any = None) -> Any:
    """`to(device)`, by the array API standard's name."""
    return self.to(device)


Tensor.__repr__ = _repr  # type: ignore[assignment,method-assign]
Tensor.__deepcopy__, Tensor.__reduce_ex__, Tensor.__setstate__ = _deepcopy, _reduce_ex, _set_state  # type: ignore[attr-defined,assignment,method-assign]
Tensor.untyped_storage, Tensor.storage, Tensor._typed_storage = _untyped_storage, _storage, _storage  # type: ignore[attr-defined]
Tensor.type, Tensor.cpu, Tensor.cuda, Tensor.pin_memory, Tensor.new = _type, _cpu, _cuda, _pin_memory, _new  # type: ignore[attr-defined]
Tensor.share_memory_, Tensor.is_shared = _share_memory_, _is_shared  # type: ignore[attr-defined]
Tensor.__array_namespace__, Tensor.to_device = _array_namespace, _to_device  # type: ignore[attr-defined]
Tensor.__dlpack__, Tensor.__dlpack_device__ = _dlpack, _dlpack_device  # type: ignore[attr-defined]
for _name, _fn in vars(Tensor).items():
    if getattr(_fn, "__module__", "") == __name__ and hasattr(_fn, "__qualname__"):
        _fn.__name__, _fn.__qualname__ = _name, f"Tensor.{_name}"


def _construct(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """`torch.Tensor(2, 3)`: the old constructor."""
    from flambeau import _legacy_types

    return _legacy_types.new_tensor(cls, *args, **kwargs)


Tensor.__new__ = _construct  # type: ignore[method-assign,assignment]
Tensor.__init__ = lambda self, *args, **kwargs: None  # type: ignore[method-assign]

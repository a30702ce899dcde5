"""Storages as users see them: UntypedStorage (bytes), and the typed ones that older programs and files name.

A storage here is a handle on the memory that a tensor's array lies in; `_values.storage` finds that memory.
"""

from __future__ import annotations

import copy as _copy
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._tensor import Tensor, wrap
from flambeau._values import device as devices, dtype as dtypes, storage as memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Array = np.ndarray[Any, Any]

__all__ = ["TypedStorage", "UntypedStorage"]

_alive: weakref.WeakValueDictionary[tuple[int, int], UntypedStorage] = (
    weakref.WeakValueDictionary()
)  # by address and size

# What old files call a storage, by dtype; dtypes that are not listed are stored untyped.
LEGACY = {
    "Double": dtypes.float64, "Float": dtypes.float32, "Half": dtypes.float16, "Long": dtypes.int64, "Int": dtypes.int32,
    "Short": dtypes.int16, "Char": dtypes.int8, "Byte": dtypes.uint8, "Bool": dtypes.bool_, "BFloat16": dtypes.bfloat16,
    "ComplexDouble": dtypes.complex128, "ComplexFloat": dtypes.complex64, "QInt8": dtypes.qint8, "QInt32": dtypes.qint32,
    "QUInt8": dtypes.quint8, "QUInt4x2": dtypes.BY_NAME["quint4x2"], "QUInt2x4": dtypes.BY_NAME["quint2x4"],
}  # fmt: skip
LEGACY_NAME = {d: f"{name}Storage" for name, d in LEGACY.items()}


def of(array: Any) -> UntypedStorage:
    """The storage an array lies in: the same object for as long as anybody holds it."""
    if not isinstance(array, np.ndarray):  # no memory: the meta device
        return UntypedStorage(array.nbytes, device="meta")
    data = memory.bytes_of(memory.root(array))
    key = (memory.pointer(data), data.size)
    found = _alive.get(key) if data.size else None
    if found is None:
        found = UntypedStorage._around(data)
        if data.size:
            _alive[key] = found
    return found


class _Casts:
    """`storage.float()` and its kin: copies with another element type."""

    def _cast(self, dtype: dtypes.dtype) -> TypedStorage:
        raise NotImplementedError


def _caster(name: str, dtype: dtypes.dtype) -> Any:
    def cast(self: _Casts) -> TypedStorage:
        return self._cast(dtype)

    cast.__name__, cast.__doc__ = name, f"A copy with elements of {dtype}."
    return cast


for _name, _dtype in {
    "double": dtypes.float64, "float": dtypes.float32, "half": dtypes.float16, "long": dtypes.int64, "int": dtypes.int32,
    "short": dtypes.int16, "char": dtypes.int8, "byte": dtypes.uint8, "bool": dtypes.bool_, "bfloat16": dtypes.bfloat16,
    "complex_double": dtypes.complex128, "complex_float": dtypes.complex64, "float8_e5m2": dtypes.float8_e5m2,
    "float8_e4m3fn": dtypes.float8_e4m3fn, "float8_e5m2fnuz": dtypes.float8_e5m2fnuz,
    "float8_e4m3fnuz": dtypes.float8_e4m3fnuz,
}.items():  # fmt: skip
    setattr(_Casts, _name, _caster(_name, _dtype))


class UntypedStorage(_Casts):
    """A run of bytes on a device, shared by every tensor that views it.

    >>> UntypedStorage(4).nbytes()
    4
    """

    _data: Array
    _filename: str | None = None
    _shared: bool = False
    _checkpoint_offset: int | None = None
    device: devices.device
    is_sparse = is_sparse_csr = False

    def __init__(self, *args: Any, size: int | None = None, device: Any = "cpu") -> None:
        args = args if size is None else (*args, size)
        self.device = devices.device(device)
        if len(args) > 1:
            raise TypeError(f"torch.UntypedStorage(): takes at most 1 positional argument, but {len(args)} were given")
        content = args[0] if args else 0
        if isinstance(content, (int, np.integer)):
            if content < 0:
                raise RuntimeError(f"Storage size must not be negative, got {content}")
            if self.device.type == "meta":
                self._meta = int(content)
            self._data = np.empty(0 if self.device.type == "meta" else content, np.uint8)
        elif isinstance(content, (list, tuple)):
            self._data = np.array([int(b) & 0xFF for b in content], np.uint8)
        else:
            raise TypeError(
                f"torch.UntypedStorage(): argument must be an int or a sequence of ints, not {type(content).__name__}"
            )

    @classmethod
    def _around(cls, data: Array) -> UntypedStorage:
        self = cls.__new__(cls)
        self._data, self.device = data, devices.CPU
        return self

    # ---- size and place ----

    def nbytes(self) -> int:
        """How many bytes."""
        return self._meta if self.device.type == "meta" else self._data.size

    size = nbytes
    __len__ = nbytes

    def element_size(self) -> int:
        """1: the elements are bytes."""
        return 1

    def data_ptr(self) -> int:
        """The address of the first byte; 0 where there is none."""
        return memory.pointer(self._data) if self._data.size else 0

    @property
    def _cdata(self) -> int:
        return self.data_ptr() or id(self)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    is_hpu = property(lambda self: False)

    def hpu(self, device: Any = None, non_blocking: bool = False) -> Any:
        """Refused: there is no such device."""
        raise AssertionError("HPU device module is not loaded")

    def mps(self) -> Any:
        """Refused: there is no such device."""
        raise RuntimeError("torch.UntypedStorage(): Storage device not recognized: mps")

    def get_device(self) -> int:
        """The index of the device; -1 on the CPU."""
        return -1 if self.device.index is None else self.device.index

    def resizable(self) -> bool:
        """Whether `resize_` may change the size. Memory that arrays view keeps its size here."""
        return False

    def resize_(self, size: int) -> UntypedStorage:
        """Change the size; only to what it is already."""
        if size != self.nbytes():
            raise NotImplementedError("UntypedStorage.resize_ to another size")
        return self

    # ---- elements ----

    def _writable(self) -> Array:
        if self.device.type == "meta":
            raise NotImplementedError("Not available for 'meta' device type")
        return self._data

    def __getitem__(self, index: Any) -> Any:
        data = self._writable()
        if isinstance(index, slice):
            start, stop, step = index.indices(data.size)
            if step != 1:
                raise RuntimeError(f"Trying to slice with a step of {step}, but only a step of 1 is supported")
            part = memory.span(data, memory.pointer(data) + start, max(stop - start, 0))
            return UntypedStorage._around(part)
        if isinstance(index, (int, np.integer)):
            if not -data.size <= index < data.size:
                raise IndexError(f"index {index} out of range for storage of size {data.size}")
            return int(data[index])
        raise TypeError(f"can't index a {type(self).__module__}.{type(self).__name__} with {type(index).__name__}")

    def __setitem__(self, index: Any, value: int) -> None:
        self._writable()[index] = value

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def tolist(self) -> list[int]:
        """The bytes, as Python integers."""
        content: list[int] = self._writable().tolist()
        return content

    def fill_(self, value: int) -> UntypedStorage:
        """Set every byte."""
        self._writable()[:] = value
        return self

    def copy_(self, source: Any, non_blocking: bool | None = None) -> UntypedStorage:
        """Take the bytes of another storage of the same size."""
        other = source._untyped_storage if isinstance(source, TypedStorage) else source
        if other.nbytes() != self.nbytes():
            raise RuntimeError(f"size mismatch, got {other.nbytes()} bytes for a storage of {self.nbytes()}")
        self._writable()[:] = other._data
        return self

    def byteswap(self, dtype: dtypes.dtype) -> None:
        """Reverse the bytes of every element, in place."""
        width = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
        if width > 1:
            self._writable().view(f"u{width}").byteswap(inplace=True)

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage._around(self._writable().copy())

    def new(self) -> UntypedStorage:
        """An empty storage on the same device."""
        return UntypedStorage(0, device=self.device)

    def untyped(self) -> UntypedStorage:
        """This storage."""
        return self

    def cpu(self) -> UntypedStorage:
        """This storage, or a copy of it on the CPU."""
        return self

    def to(self, *, device: Any, non_blocking: bool = False) -> UntypedStorage:
        """A copy on another device."""
        target = devices.device(device)
        if target.type == self.device.type:
            return self
        if target.type == "meta":
            return UntypedStorage(self.nbytes(), device="meta")
        raise NotImplementedError(f"moving a storage to {target}")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> UntypedStorage:
        """A copy on a CUDA device."""
        return self.to(device="cuda" if device is None else device)

    def _cast(self, dtype: dtypes.dtype) -> TypedStorage:
        return TypedStorage(wrap_storage=UntypedStorage._around(self._data.copy()), dtype=dtypes.uint8)._cast(dtype)

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of this storage's type, or a copy with another type."""
        return "torch.storage.UntypedStorage" if dtype is None else self._cast(dtype)

    # ---- shared memory and files ----

    @classmethod
    def _new_shared(cls, size: int, *, device: Any = "cpu") -> UntypedStorage:
        """Zeroed bytes that processes can share."""
        from flambeau._eager import shared

        return cls._around(shared.create(size) if size else np.empty(0, np.uint8))

    def is_shared(self) -> bool:
        """Whether other processes see what is written here."""
        from flambeau._eager import shared

        return self._shared or shared.held_by(memory.root(self._data)) is not None

    def share_memory_(self) -> UntypedStorage:
        """Move to memory that processes share, with every tensor that views it."""
        from flambeau._eager import shared

        shared.share_storage(self)
        return self

    def is_pinned(self, device: Any = "cuda") -> bool:
        """Whether the memory is page-locked."""
        return False

    def pin_memory(self, device: Any = "cuda") -> UntypedStorage:
        """A page-locked copy: without an accelerator there is nothing to lock it for."""
        raise RuntimeError("Cannot access accelerator device when none is available.")

    @property
    def filename(self) -> str | None:
        """The file this storage maps, if it does."""
        return self._filename

    @classmethod
    def from_file(
        cls, filename: str, shared: bool = False, nbytes: int = 0, *, size: int | None = None
    ) -> UntypedStorage:
        """Map a file into memory; writes reach the file only if `shared`, which also makes it as large as asked for."""
        import mmap

        count = nbytes if size is None else size
        name = os.fspath(filename)
        if shared and (not os.path.exists(name) or os.path.getsize(name) < count):
            with open(name, "ab") as file:
                file.truncate(count)
        with open(name, "r+b" if shared else "rb") as file:
            have = os.fstat(file.fileno()).st_size
            if count > have:
                raise RuntimeError(f"unable to mmap {count} bytes from file <{name}>: file has only {have} bytes")
            if count == 0:
                return cls._around(np.empty(0, np.uint8))
            mapped = mmap.mmap(file.fileno(), count, access=mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY)
        out = cls._around(np.frombuffer(mapped, np.uint8))
        out._shared, out._filename = shared, name
        return out

    @classmethod
    def from_buffer(cls, buffer: Any, byte_order: str = "native", count: int = -1, offset: int = 0, *,
                    dtype: dtypes.dtype = dtypes.uint8) -> UntypedStorage:  # fmt: skip
        """A copy of the elements in a bytes-like object."""
        data = np.frombuffer(buffer, np.uint8, offset=offset).copy()
        out = cls._around(data if count < 0 else data[: count * dtype.itemsize].copy())
        if byte_order not in ("native", sys.byteorder):
            out.byteswap(dtype)
        return out

    def _write_file(self, file: Any, is_real_file: bool, save_size: bool, element_size: int) -> None:
        """The format of old files: how many elements, then their bytes."""
        if save_size:
            file.write((self.nbytes() // element_size).to_bytes(8, "little"))
        file.write(self._data.data)

    # ---- Python ----

    def __repr__(self) -> str:
        head = "".join(f" {b}\n" for b in self._data.tolist()) if self.device.type != "meta" else ""
        return head + f"[{self.type()}(device={self.device}) of size {len(self)}]"

    def __reduce__(self) -> Any:
        if self.device.type == "meta":
            return _meta, (self._meta,)
        return _around, (self._data,)

    def __copy__(self) -> UntypedStorage:
        return self.clone()

    def __deepcopy__(self, memo: dict[Any, Any]) -> UntypedStorage:
        seen = memo.setdefault("torch", {})
        if id(self) not in seen:
            seen[id(self)] = self.clone()
        found: UntypedStorage = seen[id(self)]
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self._cdata == other._cdata and len(self) == len(other)

    def __hash__(self) -> int:
        return hash(self._cdata)


def _around(data: Array) -> UntypedStorage:
    """Out of a pickle: the bytes themselves, which NumPy may have moved without copying (protocol 5)."""
    return UntypedStorage._around(data if data.flags.writeable else data.copy())


def _meta(size: int) -> UntypedStorage:
    return UntypedStorage(size, device="meta")


def _typed(storage: UntypedStorage, dtype: dtypes.dtype) -> TypedStorage:
    return TypedStorage(wrap_storage=storage, dtype=dtype)


def _load_from_bytes(content: bytes) -> Any:
    """Out of a plain pickle that PyTorch wrote: a whole checkpoint, as bytes."""
    import importlib
    import io

    return importlib.import_module("flambeau.serialization").load(io.BytesIO(content), weights_only=False)


StorageBase = UntypedStorage


class TypedStorage(_Casts):
    """A storage seen as elements of one dtype: how programs and files from before UntypedStorage name memory.

    >>> TypedStorage([1.0, 2.0], dtype=dtypes.float32).tolist()
    [1.0, 2.0]
    """

    dtype: dtypes.dtype
    _untyped_storage: UntypedStorage
    is_sparse = False

    def __init__(self, *args: Any, wrap_storage: UntypedStorage | None = None, dtype: dtypes.dtype | None = None,
                 device: Any = None, _internal: bool = False) -> None:  # fmt: skip
        self.dtype = dtype or dtypes.get_default_dtype()
        if wrap_storage is not None:
            if args:
                raise RuntimeError("TypedStorage: no positional arguments may be given when using 'wrap_storage'")
            self._untyped_storage = wrap_storage
            return
        if len(args) > 1:
            raise RuntimeError(f"{type(self).__name__}() received an invalid combination of arguments: too many")
        content = args[0] if args else 0
        where = devices.device("cpu" if device is None else device)
        if isinstance(content, (int, np.integer)):
            self._untyped_storage = UntypedStorage(int(content) * self.dtype.itemsize, device=where)
        else:
            if dtype is None and not isinstance(content, (list, tuple)):
                raise TypeError(f"Argument type not recognized: {type(content)}")
            values = np.array(list(content)).astype(self.dtype.np)
            self._untyped_storage = UntypedStorage._around(np.frombuffer(values.tobytes(), np.uint8).copy())

    def _elements(self) -> Array:
        return self._untyped_storage._writable().view(self.dtype.np)

    @property
    def device(self) -> devices.device:
        return self._untyped_storage.device

    def untyped(self) -> UntypedStorage:
        """The bytes alone."""
        return self._untyped_storage

    def nbytes(self) -> int:
        """How many bytes."""
        return self._untyped_storage.nbytes()

    def element_size(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    def size(self) -> int:
        """How many elements."""
        return self.nbytes() // self.dtype.itemsize

    _size = size
    __len__ = size
    _nbytes = nbytes
    _element_size = element_size

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._untyped_storage.data_ptr()

    _data_ptr = data_ptr

    @property
    def _cdata(self) -> int:
        return self._untyped_storage._cdata

    def _tensor(self) -> Tensor:
        return wrap(self._elements())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        if not isinstance(index, (int, np.integer)):
            raise RuntimeError(f"can't index a {type(self)} with {type(index)}")
        n = self.size()
        if not -n <= index < n:
            raise IndexError(f"index {index} out of range for storage of size {n}")
        return self._elements()[index].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(index, (int, np.integer, slice)):
            raise RuntimeError(f"can't index a {type(self)} with {type(index)}")
        self._elements()[index] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def tolist(self) -> list[Any]:
        """The elements, as Python numbers."""
        out: list[Any] = self._elements().tolist()
        return out

    def fill_(self, value: Any) -> TypedStorage:
        """Set every element."""
        self._elements()[:] = value
        return self

    def copy_(self, source: Any, non_blocking: bool | None = None) -> TypedStorage:
        """Take the elements of another storage, converted."""
        self._elements()[:] = (
            source._elements() if isinstance(source, TypedStorage) else source._data.view(self.dtype.np)
        )
        return self

    def clone(self) -> TypedStorage:
        """A copy."""
        return type(self)(wrap_storage=self._untyped_storage.clone(), dtype=self.dtype)

    def cpu(self) -> TypedStorage:
        """This storage on the CPU."""
        return self

    def _cast(self, dtype: dtypes.dtype) -> TypedStorage:
        values = np.ascontiguousarray(self._elements().astype(dtype.np))
        return TypedStorage(wrap_storage=UntypedStorage._around(memory.bytes_of(values)), dtype=dtype)

    def resize_(self, size: int) -> TypedStorage:
        """Change the number of elements; only to what it is already."""
        self._untyped_storage.resize_(size * self.dtype.itemsize)
        return self

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of this storage's type, or a copy with another type."""
        if dtype is not None:
            return self._cast(dtype if isinstance(dtype, dtypes.dtype) else dtype.dtype)
        return f"torch.{LEGACY_NAME[self.dtype]}" if self.dtype in LEGACY_NAME else "torch.storage.TypedStorage"

    def pickle_storage_type(self) -> str:
        """The name under which files know this storage's type."""
        if self.dtype not in LEGACY_NAME:
            raise KeyError(f"dtype {self.dtype} is not recognized")
        return LEGACY_NAME[self.dtype]

    _pickle_storage_type = pickle_storage_type

    def is_shared(self) -> bool:
        """Whether other processes see what is written here."""
        return self._untyped_storage.is_shared()

    def share_memory_(self) -> TypedStorage:
        """Move to memory that processes share."""
        self._untyped_storage.share_memory_()
        return self

    @classmethod
    def _new_shared(cls, size: int, device: Any = None, dtype: dtypes.dtype | None = None) -> TypedStorage:
        """`size` elements in memory that processes forked from here on will share."""
        dtype = dtype or dtypes.get_default_dtype()
        return cls(wrap_storage=UntypedStorage._new_shared(size * dtype.itemsize), dtype=dtype)

    def __repr__(self) -> str:
        head = "".join(f" {x}\n" for x in self.tolist()) if self.device.type != "meta" else ""
        if self.dtype in LEGACY_NAME:
            return head + f"[{self.type()} of size {len(self)}]"
        return head + f"[torch.storage.TypedStorage(dtype={self.dtype}, device={self.device}) of size {len(self)}]"

    def __reduce__(self) -> Any:
        return _typed, (self._untyped_storage, self.dtype)

    def __copy__(self) -> TypedStorage:
        return self.clone()

    def __deepcopy__(self, memo: dict[Any, Any]) -> TypedStorage:
        return type(self)(wrap_storage=_copy.deepcopy(self._untyped_storage, memo), dtype=self.dtype)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypedStorage) and self._untyped_storage == other._untyped_storage

    def __hash__(self) -> int:
        return hash(self._untyped_storage)


class _Legacy(type):
    """`isinstance(storage, FloatStorage)` holds for any typed storage with such elements."""

    _fixed: dtypes.dtype

    @property
    def dtype(cls) -> dtypes.dtype:
        return cls._fixed

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TypedStorage) and instance.dtype is cls._fixed


def _legacy(name: str, dtype: dtypes.dtype) -> type:
    def __new__(cls: Any, *args: Any, **kwargs: Any) -> TypedStorage:
        return TypedStorage(*args, **{**kwargs, "dtype": dtype})

    def from_file(filename: str, shared: bool, size: int) -> TypedStorage:
        return TypedStorage(wrap_storage=UntypedStorage.from_file(filename, shared, size * dtype.itemsize), dtype=dtype)

    def from_buffer(*args: Any, **kwargs: Any) -> TypedStorage:
        return TypedStorage(wrap_storage=UntypedStorage.from_buffer(*args, dtype=dtype, **kwargs), dtype=dtype)

    def _new_shared(size: int, device: Any = None) -> TypedStorage:
        return TypedStorage._new_shared(size, device, dtype)

    members = {"__new__": __new__, "_fixed": dtype, "__module__": "torch", "__doc__": f"Elements of {dtype}.",
               "from_file": staticmethod(from_file), "from_buffer": staticmethod(from_buffer),
               "_new_shared": staticmethod(_new_shared)}  # fmt: skip
    return _Legacy(name, (), members)


LEGACY_CLASSES: dict[str, type] = {f"{name}Storage": _legacy(f"{name}Storage", dtype) for name, dtype in LEGACY.items()}
globals().update(LEGACY_CLASSES)
Storage = LEGACY_CLASSES["FloatStorage"]


def storage_classes() -> Sequence[type]:
    """Every class that names a storage."""
    return (UntypedStorage, TypedStorage, *LEGACY_CLASSES.values())

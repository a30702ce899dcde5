"""Checkpoints in the formats before zip archives: a run of pickles followed by raw storages (to PyTorch 1.5), and tar files
(before 0.1.10), which are read only."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
from typing import IO, Any

from flambeau import _locations, _pickling, _utils, serialization, storage as storages
from flambeau._values import dtype as dtypes


def save(obj: Any, file: Any, pickle_module: Any, protocol: int) -> None:
    """Write the run of pickles: magic number, version, machine, object, keys; then each storage."""
    met = _pickling.Storages()

    def persistent(item: Any) -> Any:
        facts = met.identify(item)
        if facts is None:
            return None
        cls, key, location, numel = facts
        if cls is storages.UntypedStorage:
            cls = storages.LEGACY_CLASSES["ByteStorage"]
        return "storage", cls, key, location, numel, None  # no view of another storage

    machine = {
        "protocol_version": serialization.PROTOCOL_VERSION,
        "little_endian": sys.byteorder == "little",
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    for header in (serialization.MAGIC_NUMBER, serialization.PROTOCOL_VERSION, machine):
        pickle_module.dump(header, file, protocol=protocol)
    _pickling._pickler(pickle_module, file, protocol, persistent).dump(obj)
    keys = sorted(met.kept)
    pickle_module.dump(keys, file, protocol=protocol)
    if hasattr(file, "flush"):
        file.flush()
    for key in keys:
        storage = met.kept[key]
        storage._write_file(file, False, True, met.dtypes.get(storage.data_ptr(), dtypes.uint8).itemsize)


def load(file: IO[bytes], map_location: Any, pickle_module: Any, weights_only: bool, arguments: dict[str, Any]) -> Any:
    """Read either format."""
    if file.tell() == 0 and _is_tar(file):
        if weights_only:
            raise RuntimeError(
                f"Cannot use ``weights_only=True`` with files saved in the legacy .tar format. {serialization.ADVICE}"
            )
        return _load_tar(file, map_location, pickle_module, arguments)
    restore = _locations._restorer(map_location)
    known: dict[Any, storages.TypedStorage] = {}
    raw: dict[Any, storages.UntypedStorage] = {}  # what is read from the file, then copied to where it shall be
    size = _size(file)

    def persistent(pid: Any) -> Any:
        if not isinstance(pid, tuple) or not pid:
            raise pickle.UnpicklingError(f"saved_id must be a tuple, got {type(pid).__name__}")
        kind, *data = pid
        kind = _pickling._text(kind)
        if kind == "module":  # a class and its source, which is not compared here
            return data[0]
        if kind != "storage" or len(data) != 5:
            raise RuntimeError(f"Unknown saved id type: {kind}")
        cls, key, location, numel, view = data
        dtype = dtypes.uint8 if cls is storages.UntypedStorage else getattr(cls, "dtype", None)
        location = _pickling._text(location)
        facts = isinstance(dtype, dtypes.dtype) and isinstance(location, str) and isinstance(key, (str, bytes, int))
        if not facts or not isinstance(numel, int) or numel < 0:
            raise pickle.UnpicklingError("the description of a storage is corrupted")
        if key not in known:
            nbytes = numel * dtype.itemsize
            if nbytes > size:
                raise RuntimeError(f"unexpected EOF, expected {nbytes - size} more bytes. The file might be corrupted.")
            raw[key] = storages.UntypedStorage(nbytes)
            known[key] = _typed(restore(raw[key], location), dtype)
        if view is None:
            return known[key]
        if not isinstance(view, tuple) or len(view) != 3 or not all(isinstance(part, int) for part in view[1:]):
            raise pickle.UnpicklingError("the description of a storage is corrupted")
        view_key, offset, length = view
        if view_key not in known:
            part = known[key]._untyped_storage[offset * dtype.itemsize : (offset + length) * dtype.itemsize]
            known[view_key] = _typed(part, dtype)
        return known[view_key]

    def unknown(pid: Any) -> Any:
        raise pickle.UnpicklingError("unsupported persistent id encountered")

    def read(persistent_load: Any = unknown) -> Any:
        return _pickling._unpickler(file, persistent_load, pickle_module, weights_only, arguments).load()

    if read() != serialization.MAGIC_NUMBER:
        raise RuntimeError("Invalid magic number; corrupt file?")
    version = read()
    if version != serialization.PROTOCOL_VERSION:
        raise RuntimeError(f"Invalid protocol version: {version}")
    read()  # the machine it was written on
    result = read(persistent)
    keys = read()
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, (str, bytes, int)) or key not in raw:
            raise pickle.UnpicklingError(f"storage key {key!r} not found in deserialized_objects")
        _fill(file, raw[key], known[key].dtype.itemsize)
        target = known[key]._untyped_storage
        if target is not raw[key] and target.device.type != "meta":
            target.copy_(raw[key])
    return result


def _typed(storage: Any, dtype: dtypes.dtype) -> storages.TypedStorage:
    untyped = storage._untyped_storage if isinstance(storage, storages.TypedStorage) else storage
    return storages.TypedStorage(wrap_storage=untyped, dtype=dtype)


def _size(file: IO[bytes]) -> int:
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return end


def _fill(file: IO[bytes], storage: storages.UntypedStorage, element_size: int) -> None:
    """Read a storage: how many elements, then their bytes."""
    if serialization._options.skip_data:
        return
    count = struct.unpack("<q", _exactly(file, 8))[0]
    if count * element_size != storage.nbytes():
        raise RuntimeError(f"storage has wrong byte size: expected {storage.nbytes()} got {count * element_size}")
    n = storage.nbytes()
    for at in range(0, n, _PIECE):  # not whole: there would be two of it
        length = min(_PIECE, n - at)
        piece = file.read(length)
        if len(piece) != length:
            raise RuntimeError(
                f"unexpected EOF, expected {n - at - len(piece)} more bytes. The file might be corrupted."
            )
        storage._data[at : at + length] = memoryview(piece)


_PIECE = 1 << 20


def _exactly(file: IO[bytes], n: int) -> bytes:
    data = file.read(n)
    if len(data) != n:
        raise RuntimeError(f"unexpected EOF, expected {n - len(data)} more bytes. The file might be corrupted.")
    return data


def _is_tar(file: IO[bytes]) -> bool:
    head = file.read(262)
    file.seek(0)
    return head[257:262] == b"ustar"


def _load_tar(file: IO[bytes], map_location: Any, pickle_module: Any, arguments: dict[str, Any]) -> Any:
    """Three members: storages, tensors (which refer to them), and the pickle (which refers to both)."""
    import tarfile

    restore = _locations._restorer(map_location)
    known: dict[int, Any] = {}

    def named(pid: Any) -> Any:
        return pid[0] if isinstance(pid, tuple) else known[int(pid)]

    with tarfile.open(fileobj=file, mode="r:") as tar:

        def member(name: str) -> IO[bytes]:
            found = tar.extractfile(name)
            if found is None:
                raise RuntimeError(f"{name} is missing from the archive; corrupt file?")
            return io.BytesIO(found.read())

        def read(part: IO[bytes]) -> Any:
            return _pickling._unpickler(part, named, pickle_module, False, arguments).load()

        part = member("storages")
        for _ in range(read(part)):
            key, location, kind = read(part)
            count = struct.unpack("<q", _exactly(part, 8))[0]
            storage = storages.UntypedStorage(count * kind.dtype.itemsize)
            storage._data[:] = memoryview(_exactly(part, storage.nbytes()))
            known[key] = _typed(restore(storage, location), kind.dtype)
        for target, root, offset, count in read(part):
            width = known[root].dtype.itemsize
            known[target] = _typed(
                known[root]._untyped_storage[offset * width : (offset + count) * width], known[root].dtype
            )
        part = member("tensors")
        for _ in range(read(part)):
            key, storage_key, _kind = read(part)
            rank = struct.unpack("<i", _exactly(part, 8)[:4])[0]
            sizes = struct.unpack(f"<{rank}q", _exactly(part, 8 * rank))
            strides = struct.unpack(f"<{rank}q", _exactly(part, 8 * rank))
            offset = struct.unpack("<q", _exactly(part, 8))[0]
            known[key] = _utils._rebuild_tensor(known[storage_key], offset, sizes, strides)
        return read(member("pickle"))

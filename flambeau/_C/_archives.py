"""`torch._C.PyTorchFileReader` and `PyTorchFileWriter`: the records of a checkpoint, for programs that load parts of it themselves."""

from __future__ import annotations

import os
import sys
import weakref
from typing import Any

from flambeau import storage as storages
from flambeau._ground import archive
from flambeau._tensor import wrap
from flambeau._values import dtype as dtypes


class PyTorchFileReader:
    """Reads records of the archive in a file (a path, or an open binary file)."""

    def __init__(self, file: Any) -> None:
        self._file = open(file, "rb") if isinstance(file, (str, os.PathLike)) else file
        if self._file is not file:
            weakref.finalize(self, self._file.close)
        self._reader = archive.Reader(self._file)

    def has_record(self, name: str) -> bool:
        """Whether there is such a record."""
        return name in self._reader

    def get_all_records(self) -> list[str]:
        """The names of all records."""
        return self._reader.records()

    def get_record(self, name: str) -> bytes:
        """The bytes of a record."""
        return bytes(self._reader.read(name))

    def get_record_size(self, name: str) -> int:
        """How many bytes a record has."""
        return self._reader.size(name)

    def get_record_offset(self, name: str) -> int:
        """Where in the file the record's bytes start."""
        return self._reader.offset(name)

    def archive_name(self) -> str:
        """The name of the folder in which all records are."""
        return self._reader.name

    def get_storage_from_record(self, name: str, numel: int, dtype: Any) -> Any:
        """The elements of a record, as a tensor of one dimension (bytes, where a storage's class is given for a dtype)."""
        d = dtype if isinstance(dtype, dtypes.dtype) else dtypes.uint8
        nbytes = numel * d.itemsize
        have = self._reader.size(name)
        if have != nbytes:
            raise RuntimeError(f"record size ({have} bytes) does not match expected size ({nbytes} bytes = {numel} elements * {d.itemsize} bytes/element)")  # fmt: skip
        storage = storages.UntypedStorage(nbytes)
        if nbytes:
            self._reader.read(name, into=storage._data)
        tensor: Any = wrap(storage._data)
        return tensor if d is dtypes.uint8 else tensor.view(d)

    def serialization_id(self) -> str:
        """What stands for the names and checksums of all records; empty if the archive does not say."""
        record = ".data/serialization_id"
        return self.get_record(record).decode() if record in self._reader else ""


class PyTorchFileWriter:
    """Writes records of an archive into a file (a path, or an open binary file)."""

    def __init__(self, file: Any, compute_crc32: bool = True) -> None:
        path = os.fspath(file) if isinstance(file, (str, os.PathLike)) else None
        self._file = open(path, "wb") if path is not None else file
        self._own = path is not None
        name = os.path.splitext(os.path.basename(path))[0] if path is not None else "archive"
        self._writer = archive.Writer(self._file, name or "archive", checked=compute_crc32)
        self._version, self._ended = 3, False

    def set_min_version(self, version: int) -> None:
        """The version of the format is at least this."""
        self._version = max(self._version, version)

    def write_record(self, name: str, data: Any, size: int) -> None:
        """Write the first `size` bytes of something."""
        view = data._data if isinstance(data, storages.UntypedStorage) else data
        self._writer.add(name, memoryview(view).cast("B")[:size])

    def archive_name(self) -> str:
        """The name of the folder in which all records are."""
        return self._writer.name

    def serialization_id(self) -> str:
        """What stands for the names and checksums of all records so far."""
        return f"{self._writer.summed:020d}{len(self._writer.directory):020d}"

    def write_end_of_file(self) -> None:
        """End the archive."""
        if self._ended:
            return
        self._ended = True
        self._writer.add(".data/version" if self._version >= 6 else "version", f"{self._version}\n".encode())
        self._writer.add("byteorder", sys.byteorder.encode())
        self._writer.add(".data/serialization_id", self.serialization_id().encode())
        self._writer.close()
        if self._own:
            self._file.close()

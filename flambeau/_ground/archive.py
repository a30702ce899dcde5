"""Archives of named records: the uncompressed zip files in which PyTorch keeps checkpoints and programs.

Records are written as a stream (nothing is sought, nothing held back), each payload at a multiple of 64 bytes so that it can be
mapped into memory. What the records mean is none of this file's business.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from typing import IO, Any

ALIGNMENT = 64
_LARGE = _MARK = 0xFFFFFFFF  # sizes and offsets from here on stand in zip64 fields; where they would stand is this mark
_FLAGS, _DESCRIBED = 0x0800, 0x0008  # names in UTF-8; sizes stand behind the payload
_CHUNK = 1 << 20
_CORRUPT = (
    ". This is an internal miniz error. If you are seeing this error, there is a high likelihood that your checkpoint file is "
    "corrupted. This can happen if the checkpoint was not saved properly, was transferred incorrectly, or the file was modified "
    "after saving."
)


def failure(doing: str, why: str) -> RuntimeError:
    """The error of a damaged archive, in PyTorch's words."""
    return RuntimeError(f"PytorchStreamReader failed {doing}: {why}{_CORRUPT}")


class Writer:
    """Writes records to anything that has `write`.

    >>> file = io.BytesIO()
    >>> writer = Writer(file, "archive")
    >>> writer.add("greeting", b"hello")
    >>> writer.close()
    >>> _ = file.seek(0)
    >>> bytes(Reader(file).read("greeting"))
    b'hello'
    """

    def __init__(self, file: Any, name: str, checked: bool = True) -> None:
        self.write: Callable[[Any], Any] = file.write
        self.name, self.checked = name, checked
        self.place = 0
        self.directory: list[tuple[bytes, int, int, int]] = []  # name, flags, crc and size, offset
        self.summed = 0  # stands for all names and checksums: PyTorch's serialization_id

    def add(self, record: str, data: Any) -> None:
        """Write a record; `data` is bytes or anything with a buffer."""
        view = memoryview(data).cast("B")
        self._add(record, len(view), view)

    def skip(self, record: str, size: int) -> None:
        """Make room for a record without writing its payload: zeros."""
        self._add(record, size, None)

    def _add(self, record: str, size: int, view: memoryview | None) -> None:
        name = f"{self.name}/{record}".encode()
        offset = self.place
        large = size >= _LARGE or offset >= _LARGE
        flags = _FLAGS | (_DESCRIBED if size else 0)
        extra = struct.pack("<HHQQ", 1, 16, size, size) if large else b""
        start = offset + 30 + len(name) + len(extra) + 4
        padding = -start % ALIGNMENT
        extra += struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        sizes = (_MARK, _MARK) if large else (0, 0)
        self._put(
            struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 0, flags, 0, 0, 0, 0, *sizes, len(name), len(extra)) + name + extra
        )
        crc = 0
        if view is None:
            for done in range(0, size, _CHUNK):
                self._put(bytes(min(_CHUNK, size - done)))
        elif self.checked:
            for done in range(0, size, _CHUNK):
                part = view[done : done + _CHUNK]
                crc = zlib.crc32(part, crc)
                self._put(part)
        elif size:
            self._put(view)
        if size:
            self._put(struct.pack("<4sIQQ" if large else "<4sIII", b"PK\7\x08", crc, size, size))
        self.directory.append((name, flags, crc << 64 | size, offset))
        self.summed = zlib.crc32(name + struct.pack("<I", crc), self.summed)

    def _put(self, data: Any) -> None:
        self.write(data)
        self.place += len(data)

    def close(self) -> None:
        """Write the directory: without it the archive is worthless."""
        start = self.place
        for name, flags, facts, offset in self.directory:
            crc, size = facts >> 64, facts & (1 << 64) - 1
            large, far = size >= _LARGE, offset >= _LARGE
            fields = struct.pack("<QQ", size, size) * large + struct.pack("<Q", offset) * far
            extra = struct.pack("<HH", 1, len(fields)) + fields if fields else b""
            sizes = (_MARK, _MARK) if large else (size, size)
            self._put(struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 0, 0, flags, 0, 0, 0, crc, *sizes, len(name), len(extra),
                                  0, 0, 0, 0, _MARK if far else offset) + name + extra)  # fmt: skip
        end, count = self.place, len(self.directory)
        self._put(struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 0x031E, 45, 0, 0, count, count, end - start, start))
        self._put(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        few = min(count, 0xFFFF)
        self._put(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, few, few, min(end - start, _MARK), min(start, _MARK), 0))


class Reader:
    """Reads records of an archive in a seekable binary file, from its present position on."""

    def __init__(self, file: IO[bytes]) -> None:
        import zipfile  # its reading of directories is well tried; the payloads are read here, without copies

        self.file = file
        self.base = 0
        start = file.seek(0, os.SEEK_CUR) or file.tell()
        if start:
            file = _Window(file, start)  # type: ignore[assignment]
            self.base = start
        size = file.seek(0, os.SEEK_END)
        if size < 22:
            raise failure("reading zip archive", "not a ZIP archive")
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error, UnicodeDecodeError):
            raise failure("reading zip archive", "failed finding central directory") from None
        members = self._zip.infolist()
        if not members or "/" not in members[0].filename:
            raise failure(
                "reading zip archive", "archive does not contain any files" if not members else "no archive name"
            )
        self.name = members[0].filename.partition("/")[0]
        self._members = {m.filename.removeprefix(self.name + "/"): m for m in members}

    def __contains__(self, record: str) -> bool:
        return record in self._members

    def records(self) -> list[str]:
        """The names of all records."""
        return list(self._members)

    def size(self, record: str) -> int:
        """How many bytes a record has."""
        return self._member(record).file_size

    def _member(self, record: str) -> Any:
        member = self._members.get(record)
        if member is None:
            raise failure(f"locating file {record}", "file not found")
        return member

    def offset(self, record: str) -> int:
        """Where in the file the record's payload starts."""
        member = self._member(record)
        if member.compress_type != 0 or member.flag_bits & 1:
            raise failure(f"reading file {record}", "unsupported compression method or encryption")
        self.file.seek(self.base + member.header_offset)
        header = self.file.read(30)
        if len(header) != 30 or header[:4] != b"PK\3\4":
            raise failure(f"reading file {record}", "invalid header or archive is corrupted")
        name, extra = struct.unpack("<HH", header[26:])
        return int(self.base + member.header_offset + 30 + name + extra)

    def read(self, record: str, into: Any = None) -> Any:
        """The bytes of a record, checked; `into` (a buffer of its size) receives them in place."""
        member = self._member(record)
        if into is None:
            if member.file_size > self._end():
                raise failure(f"reading file {record}", "file read failed")
            into = bytearray(member.file_size)
        view = memoryview(into).cast("B")
        if member.compress_type:
            return self._inflate(record, member, view, into)
        self.file.seek(self.offset(record))
        crc = 0
        readinto = getattr(self.file, "readinto", None)
        for start in range(0, len(view), _CHUNK):
            part = view[start : start + _CHUNK]
            if readinto is not None:
                got = readinto(part)
            else:
                data = self.file.read(len(part))
                got = len(data)
                part[:got] = data
            if got != len(part):
                raise failure(f"reading file {record}", "file read failed")
            crc = zlib.crc32(part, crc) if member.CRC else 0  # 0: PyTorch was told not to compute it
        if crc != member.CRC:
            raise failure(f"reading file {record}", "CRC-32 check failed")
        return into

    def _inflate(self, record: str, member: Any, view: memoryview, into: Any) -> Any:
        """PyTorch writes no compressed records, but reads those that other tools wrote."""
        import zipfile

        try:
            with self._zip.open(member) as stream:
                data = stream.read(len(view) + 1)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError):
            raise failure(f"reading file {record}", "decompression failed or archive is corrupted") from None
        if len(data) != len(view):
            raise failure(f"reading file {record}", "file read failed")
        view[:] = data
        return into

    def _end(self) -> int:
        return self.file.seek(0, os.SEEK_END)


class _Window(io.RawIOBase):
    """A file from a certain position on."""

    def __init__(self, file: IO[bytes], start: int) -> None:
        self.file, self.start = file, start

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset + self.start if whence == os.SEEK_SET else offset, whence) - self.start

    def tell(self) -> int:
        return self.file.tell() - self.start

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

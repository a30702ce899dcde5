"""A content-addressed cache on disk: bytes kept under a key of named parts. Not a database; losing it costs only time.

The key is a list of (name, value) pairs, all of them hashed. Entries are written to a temporary file and renamed, so
that a reader sees a whole entry or none; each carries a checksum of its payload, and a damaged one is a miss. A folder
that cannot be written (read-only home, full disk) is no error. Any number of processes may share one folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from flambeau._ground import flags

Parts = Sequence[tuple[str, "str | bytes | int"]]

MAGIC = b"flambeau cache 1\n"
DIGEST = 32  # bytes of a blake2b checksum
SWEEP_EVERY = 64  # writes between two looks at the folder's total size
FRESH = 86400.0  # seconds within which a read does not renew an entry's age again


class CacheMissError(RuntimeError):
    """A compilation happened while FLAMBEAU_ASSERT_CACHED=1 forbade it."""


def default_folder() -> Path:
    """FLAMBEAU_CACHE_DIR, or flambeau/ under the platform's cache directory."""
    if chosen := flags.get("cache_dir"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "flambeau"


def digest(parts: Parts) -> str:
    """The name of the entry: a hash in which neither names nor values can run into each other."""
    h = hashlib.blake2b(digest_size=20)
    for name, value in parts:
        data = value if isinstance(value, bytes) else str(value).encode()
        h.update(b"%d:%s=%d:" % (len(name), name.encode(), len(data)))
        h.update(data)
    return h.hexdigest()


def describe(parts: Parts) -> dict[str, str]:
    """What is stored beside the payload for `why_missed`: short values as they are, long ones hashed."""
    short = {}
    for name, value in parts:
        data = value if isinstance(value, bytes) else str(value).encode()
        plain = not isinstance(value, bytes) and len(data) <= 200
        short[name] = str(value) if plain else "#" + hashlib.blake2b(data, digest_size=8).hexdigest()
    return short


class Cache:
    """`cache.fetch(parts, build)` is `build()`, remembered. Counts hits, misses and damaged entries."""

    def __init__(self, folder: Path | str | None = None, limit: int | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self.limit = flags.get("cache_size_mb") << 20 if limit is None else limit  # bytes
        self.hits = self.misses = self.damaged = 0
        self._writes = 0
        self.used: dict[str, None] = {}  # names of the entries that were read or written, in order

    def path(self, parts: Parts) -> Path:
        return self._at(digest(parts))

    def _at(self, name: str) -> Path:
        return self.folder / name[:2] / name[2:]

    def fetch(self, parts: Parts, build: Callable[[], bytes]) -> bytes:
        data = self.get(parts)
        if data is None:
            if flags.get("assert_cached"):
                raise CacheMissError(
                    f"nothing may be compiled (FLAMBEAU_ASSERT_CACHED=1), but {self.why_missed(parts)}"
                )
            data = build()
            self.put(parts, data)
        return data

    def get(self, parts: Parts) -> bytes | None:
        """The stored bytes, or None. A damaged entry is removed."""
        path = self.path(parts)
        try:
            raw = path.read_bytes()
        except OSError:
            self.misses += 1
            return None
        opened = unpack(raw)
        if opened is None:
            self.damaged += 1
            self.misses += 1
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self.hits += 1
        self.used[path.parent.name + path.name] = None
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > FRESH:
                os.utime(path)  # eviction removes what was not used for longest
        return opened[1]

    def put(self, parts: Parts, data: bytes) -> bool:
        """Stores an entry; False where the folder cannot be written."""
        path = self.path(parts)
        head = json.dumps(describe(parts)).encode()
        body = len(head).to_bytes(4, "little") + head + data
        return self._write(path, MAGIC + hashlib.blake2b(body, digest_size=DIGEST).digest() + body)

    def _write(self, path: Path, raw: bytes) -> bool:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns():x}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(raw)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            return False
        self.used[path.parent.name + path.name] = None
        self._writes += 1
        if self._writes % SWEEP_EVERY == 0 or (self._writes == 1 and self._unswept()):
            self.sweep()
        return True

    def _unswept(self) -> bool:
        """Whether no process has looked at the folder's size for a day. To look takes long where there is much."""
        stamp = self.folder / "swept"
        with contextlib.suppress(OSError):
            if time.time() - stamp.stat().st_mtime < FRESH:
                return False
        with contextlib.suppress(OSError):
            stamp.write_bytes(b"")
        return True

    def entries(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, path) of everything stored, unfinished writes included."""
        found = []
        with contextlib.suppress(OSError):
            for folder in os.scandir(self.folder):
                if len(folder.name) == 2 and folder.is_dir():
                    for item in os.scandir(folder.path):
                        with contextlib.suppress(OSError):
                            stat = item.stat()
                            found.append((stat.st_mtime, stat.st_size, Path(item.path)))
        return found

    def sweep(self) -> None:
        """Keeps the folder below its limit: oldest first, down to three quarters; drops writes a crash left behind."""
        entries = sorted(self.entries(), key=lambda e: e[0])
        total = sum(n for _, n, _ in entries)
        target = self.limit * 3 // 4 if total > self.limit else total
        now = time.time()
        for used, n, path in entries:
            abandoned = path.name.startswith(".") and now - used > 3600
            if total > target or abandoned:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= n

    def archive(self) -> tuple[bytes, list[str]]:
        """A ZIP file of the entries that this process read or wrote, and their names."""
        made, names = io.BytesIO(), []
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as z:
            for name in self.used:
                with contextlib.suppress(OSError):  # evicted since
                    z.writestr(name, self._at(name).read_bytes())
                    names.append(name)
        return made.getvalue(), names

    def restore(self, archive: bytes) -> list[str]:
        """Stores the entries of an archive; the names of those that were whole. Raises ValueError if it is none."""
        try:
            with zipfile.ZipFile(io.BytesIO(archive)) as z:
                entries = {n: z.read(n) for n in z.namelist() if re.fullmatch("[0-9a-f]{40}", n)}
        except (zipfile.BadZipFile, EOFError, zlib.error) as e:
            raise ValueError(f"these bytes are no archive of a cache: {e}") from e
        return [n for n, raw in entries.items() if unpack(raw) is not None and self._write(self._at(n), raw)]

    def clear(self) -> None:
        for _, _, path in self.entries():
            with contextlib.suppress(OSError):
                path.unlink()

    def why_missed(self, parts: Parts) -> str:
        """One sentence: how this key differs from the nearest one stored."""
        want = describe(parts)
        best: tuple[int, dict[str, str]] | None = None
        for _, _, path in self.entries():
            with contextlib.suppress(OSError):
                opened = unpack(path.read_bytes())
                if opened is not None:
                    same = sum(want.get(k) == v for k, v in opened[0].items())
                    if best is None or same > best[0]:
                        best = (same, opened[0])
        if best is None:
            return f"the cache in {self.folder} is empty"
        names = [n for n in {**want, **best[1]} if want.get(n) != best[1].get(n)]
        if not names:
            return "an entry with this key exists"

        def show(v: str | None) -> str:
            return "absent" if v is None else repr(v)

        told = "; ".join(f"{n} was {show(best[1].get(n))}, now {show(want.get(n))}" for n in names)
        return f"the nearest stored entry differs in {told}"


def unpack(raw: bytes) -> tuple[dict[str, str], bytes] | None:
    """(described parts, payload) of a stored entry; None when it is damaged."""
    start = len(MAGIC) + DIGEST
    if not raw.startswith(MAGIC) or len(raw) < start + 4:
        return None
    body = raw[start:]
    if hashlib.blake2b(body, digest_size=DIGEST).digest() != raw[len(MAGIC) : start]:
        return None
    n = int.from_bytes(body[:4], "little")
    return json.loads(body[4 : 4 + n]), body[4 + n :]

"""The disk cache: atomic, checked, bounded, shared by processes, and content with a folder it cannot write."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from flambeau._ground import flags
from flambeau._ground.cache import Cache, CacheMissError, digest

KEY = [("text", "define void @k()"), ("cpu", "znver4")]


def refuse() -> bytes:
    raise AssertionError("built again")


def test_built_once(tmp_path):
    cache = Cache(tmp_path)
    assert cache.fetch(KEY, lambda: b"code") == b"code"
    assert cache.fetch(KEY, refuse) == b"code"
    assert Cache(tmp_path).fetch(KEY, refuse) == b"code"


def test_parts_do_not_run_into_each_other():
    assert digest([("a", "bc")]) != digest([("ab", "c")])
    assert digest([("a", "b"), ("c", "d")]) != digest([("a", "b:1:c=1:d")])


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, None, "flip"])
def test_damaged_entries_are_rebuilt(tmp_path, damage):
    cache = Cache(tmp_path)
    cache.put(KEY, b"code" * 100)
    path = cache.path(KEY)
    raw = path.read_bytes()
    path.write_bytes(raw[:-7] if damage is None else raw[:-1] + b"?" if damage == "flip" else damage)
    assert cache.get(KEY) is None and cache.damaged == 1
    assert cache.fetch(KEY, lambda: b"new") == b"new" and cache.get(KEY) == b"new"


def test_a_folder_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = Cache(blocked / "cache")
    assert cache.fetch(KEY, lambda: b"code") == b"code"
    assert not cache.put(KEY, b"code") and cache.entries() == []
    cache.sweep()


def test_full_disk(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert Cache(tmp_path).fetch(KEY, lambda: b"code") == b"code"


def test_size_is_bounded(tmp_path):
    cache = Cache(tmp_path, limit=10_000)
    for i in range(40):
        cache.put([("i", i)], bytes(1000))
        os.utime(cache.path([("i", i)]), (i + 1, i + 1))
    cache.sweep()
    left = cache.entries()
    assert sum(n for _, n, _ in left) <= 7500
    assert cache.get([("i", 39)]) is not None and cache.get([("i", 0)]) is None


def test_why_missed(tmp_path):
    cache = Cache(tmp_path)
    assert "empty" in cache.why_missed(KEY)
    cache.put(KEY, b"")
    assert (
        cache.why_missed([KEY[0], ("cpu", "znver5")])
        == "the nearest stored entry differs in cpu was 'znver4', now 'znver5'"
    )


def test_compilation_can_be_forbidden(tmp_path):
    with flags.override("assert_cached", True), pytest.raises(CacheMissError, match="is empty"):
        Cache(tmp_path).fetch(KEY, lambda: b"code")


WRITER = """
import sys
from flambeau._ground.cache import Cache
cache = Cache(sys.argv[1])
for i in range(150):
    want = bytes([i]) * 5000
    assert cache.fetch([("i", i)], lambda: want) == want
assert cache.damaged == 0
"""


def test_many_processes_share_a_folder(tmp_path):
    jobs = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=Path(__file__).parents[2]) for _ in range(4)
    ]
    assert [job.wait(60) for job in jobs] == [0] * 4
    assert len(Cache(tmp_path).entries()) == 150


SECOND = """
import numpy as np
from flambeau._backends.cpu.matmul import matmul
from flambeau._backends.cpu.engine import engine
a = np.ones((64, 64), np.float32)
assert matmul(a, a)[0, 0] == 64
print(engine().compiled)
"""


def test_a_second_process_compiles_nothing(tmp_path):
    pytest.importorskip("llvmlite")
    env = {**os.environ, "FLAMBEAU_CACHE_DIR": str(tmp_path)}
    run = lambda **more: (
        subprocess.run(
            [sys.executable, "-c", SECOND],
            env={**env, **more},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert int(run()) > 0
    assert int(run(FLAMBEAU_ASSERT_CACHED="1")) == 0


ARTIFACTS = """
import sys
import flambeau as torch
if len(sys.argv) > 2:
    info = torch.compiler.load_cache_artifacts(open(sys.argv[2], "rb").read())
    assert info.inductor_artifacts and not info.empty()
f = torch.compile(lambda x: (x.sin() + x.cos()).sum(1))
x = torch.ones(300, 400)
torch.testing.assert_close(f(x), x.sin().add(x.cos()).sum(1))
if len(sys.argv) == 2:
    data, info = torch.compiler.save_cache_artifacts()
    assert info.inductor_artifacts
    open(sys.argv[1], "wb").write(data)
"""


def test_what_was_compiled_is_carried_to_another_cache(tmp_path):
    pytest.importorskip("llvmlite")

    def run(folder, *args, **more):
        env = {**os.environ, "FLAMBEAU_CACHE_DIR": str(tmp_path / folder), **more}
        done = subprocess.run(
            [sys.executable, "-c", ARTIFACTS, *args],
            env=env,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    saved = str(tmp_path / "saved")
    run("first", saved)
    run("second", "", saved, FLAMBEAU_ASSERT_CACHED="1")


def test_archives_that_are_none(tmp_path):
    cache = Cache(tmp_path / "a")
    cache.put([("k", 1)], b"one")
    archive, names = cache.archive()
    other = Cache(tmp_path / "b")
    assert other.restore(archive) == names and other.get([("k", 1)]) == b"one"
    for bad in (b"", b"PK", archive[:-30]):
        with pytest.raises(ValueError, match="no archive of a cache"):
            other.restore(bad)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as z:
        z.writestr("../outside", "x")
        z.writestr(names[0], "damaged")
    assert other.restore(made.getvalue()) == [] and not (tmp_path / "outside").exists()
    assert other.get([("k", 1)]) == b"one"


def test_keys_cover_all_sources_that_make_programs():
    pytest.importorskip("llvmlite")
    from flambeau._backends.cpu.engine import sources
    from flambeau._capture.stored import SOURCES

    root = Path(__file__).parents[2] / "flambeau"
    found = {Path(path).relative_to(root).as_posix() for path, _ in sources(*SOURCES)}
    assert {
        "_ops.py",
        "_tensor.py",
        "_eager/nested/jagged.py",
        "_kernel/ir.py",
        "fx/experimental/proxy_tensor.py",
    } <= found


def test_sources_are_read_again_only_where_they_were_changed(tmp_path, monkeypatch):
    pytest.importorskip("llvmlite")
    from flambeau._backends.cpu import engine

    file, reads = tmp_path / "source.py", []
    file.write_text("x = 1")
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda p: (reads.append(p.name), read(p))[1])
    monkeypatch.setattr(engine, "sources", lambda *places: [(str(file), os.stat(file))])

    def stamp():
        reads.clear()
        with flags.override("cache_dir", str(tmp_path / "cache")):
            return engine.stamp.__wrapped__(), "source.py" in reads

    first, looked = stamp()
    assert looked
    assert stamp() == (first, True)  # a change now might bear the same time
    monkeypatch.setattr(engine, "RACY", -(10**12))
    assert stamp() == (first, True)
    assert stamp() == (first, False)
    times = os.stat(file)
    file.write_text("x = 2")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # of the same size and age
    second, looked = stamp()
    assert second != first
    assert looked
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    assert stamp() == (second, True)
    assert stamp() == (second, False)

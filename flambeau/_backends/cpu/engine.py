"""IR text -> object code -> addresses in this process. Knows nothing of what the code does.

One engine serves the process: it compiles for the host (or only emits, for any other LLVM target), keeps object code
in the disk cache, links it with the few foreign symbols generated code may call, and unloads it when the `Code` that
owns it dies. llvmlite is imported when the first engine is asked for, never by `import flambeau`.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flambeau._ground import dumps, flags
from flambeau._ground.cache import Cache

LIGHT = 1  # five function passes, for kernels, which come hoisted and vectorised: half the time, the same code
RACY = 2_000_000_000  # nanoseconds within which two changes of a file may bear the same time
LEVEL = 2  # LLVM's -O2: our loops come vectorised and unrolled, -O3 only costs time


@dataclass(frozen=True)
class Target:
    """A machine to generate for: LLVM's triple, CPU name and feature string."""

    triple: str
    cpu: str
    features: str

    def has(self, feature: str) -> bool:
        return f"+{feature}" in self.features.split(",")

    @property
    def vector_bytes(self) -> int:
        """Width of the vectors that code for this target should use."""
        if self.has("avx512f"):
            return 64
        return 32 if self.has("avx") else 16  # SSE2, NEON and WebAssembly have 16

    @property
    def registers(self) -> int:
        """How many vector registers there are."""
        arm = self.triple.startswith(("aarch64", "arm64"))
        return 32 if arm or self.has("avx512f") else 16

    @property
    def halves(self) -> bool:
        """Whether there are instructions that convert float16."""
        return self.has("f16c") or self.triple.startswith(("aarch64", "arm64"))

    @property
    def scales(self) -> bool:
        """Whether there is an instruction for x * 2**n, for vectors of every width."""
        return self.has("avx512f") and self.has("avx512vl")

    @property
    def linux(self) -> bool:
        return "linux" in self.triple

    @property
    def darwin(self) -> bool:
        return "apple" in self.triple or "darwin" in self.triple

    @property
    def windows(self) -> bool:
        return "windows" in self.triple


# What code is tested to compile for. CPU names are the oldest machines worth a wide build.
TARGETS = {
    "linux-avx512": Target(
        "x86_64-unknown-linux-gnu", "x86-64-v4", "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+avx,+fma,+f16c"
    ),
    "linux-avx2": Target("x86_64-unknown-linux-gnu", "x86-64-v3", "+avx2,+avx,+fma,+f16c"),
    "linux-sse2": Target("x86_64-unknown-linux-gnu", "x86-64", ""),
    "linux-arm": Target("aarch64-unknown-linux-gnu", "neoverse-n1", "+neon"),
    "macos-arm": Target("arm64-apple-macosx11.0.0", "apple-m1", "+neon"),
    "macos-x86": Target("x86_64-apple-macosx11.0.0", "x86-64-v3", "+avx2,+avx,+fma,+f16c"),
    "windows": Target("x86_64-pc-windows-msvc", "x86-64-v3", "+avx2,+avx,+fma,+f16c"),
    "wasm": Target("wasm32-unknown-unknown", "generic", "+simd128"),
}


@cache
def installed() -> bool:
    return importlib.util.find_spec("llvmlite") is not None


def available() -> bool:
    """Whether native code can be generated here."""
    return bool(flags.get("native")) and installed()


def sources(*places: str) -> list[tuple[str, os.stat_result]]:
    """The generators' own source files, and those of other folders (whatever is below them) or modules: paths, and what the system says of them."""
    here = str(Path(__file__).parents[2])
    found: dict[str, os.stat_result] = {}
    folders = []
    for place in ("_backends/cpu", "_kernel", *places):
        path = os.path.join(here, place) if place else here
        if place.endswith(".py"):
            found[path] = os.stat(path)
        else:
            folders.append(path)
    while folders:
        files, within = _folder(folders.pop())
        found.update(files)
        folders += within
    return sorted(found.items())


@cache
def _folder(path: str) -> tuple[list[tuple[str, os.stat_result]], list[str]]:
    """The source files in a folder, and the folders."""
    files, within = [], []
    with os.scandir(path) as entries:
        for e in entries:
            if e.name.endswith(".py"):
                files.append((e.path, e.stat()))
            elif e.is_dir() and e.name != "__pycache__":
                within.append(e.path)
    return files, within


@cache
def stamp(*places: str) -> str:
    """A hash of the generators' own source (and of others'), so that a key may name its inputs instead of the text made from them.

    Files that lie there as they did when an earlier process read them (same size, and written, changed and placed as they were then)
    are not read again.
    """
    files = sources(*places)
    seen = [(path, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev) for path, s in files]
    store, parts = Cache(), [("files", repr(seen).encode())]
    known = store.get(parts)
    if known is not None:
        return known.decode()
    h = hashlib.blake2b(digest_size=16)
    for path, _ in files:
        h.update(os.path.basename(path).encode() + Path(path).read_bytes())
    made = h.hexdigest()
    settled = time.time_ns() - RACY
    if all(
        s.st_mtime_ns < settled and s.st_ctime_ns < settled for _, s in files
    ):  # a clock that stands still hides no change
        store.put(parts, made.encode())
    return made


class Code:
    """Machine code in memory: `code["name"]` is an address, valid while this object lives."""

    __slots__ = ("_tracker", "addresses", "needs")

    def __init__(self, tracker: Any, addresses: dict[str, int], needs: tuple[Code, ...]) -> None:
        self._tracker, self.addresses, self.needs = tracker, addresses, needs

    def __getitem__(self, name: str) -> int:
        return self.addresses[name]

    def function(self, name: str, result: Any, *args: Any, gil: bool = False) -> Any:
        """A ctypes function; with `gil` it is called holding the GIL."""
        kind = ctypes.PYFUNCTYPE if gil else ctypes.CFUNCTYPE
        f: Any = kind(result, *args)(self.addresses[name])
        f.code = self  # the function keeps its code alive
        return f


class Engine:
    """Compiles for one target; loads only where the target is the host."""

    def __init__(self, target: Target | None = None, store: Cache | None = None) -> None:
        import llvmlite.binding as llvm  # late: 50 MB of shared library

        self.llvm = llvm
        self.lock = threading.RLock()  # LLVM's global context serves one thread at a time
        if target is None:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            self.target = host()
        else:
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
            self.target = target
        self.store = Cache() if store is None else store
        self.symbols: dict[str, int] = {}
        self.compiled = self.loaded = 0
        self._jit: Any = None

    # -- compiling --------------------------------------------------------------------------------------------------

    def key(self, parts: Iterable[tuple[str, Any]], level: int = LEVEL) -> list[tuple[str, Any]]:
        t = self.target
        version = ".".join(map(str, self.llvm.llvm_version_info))
        return [
            *parts,
            ("triple", t.triple),
            ("cpu", t.cpu),
            ("features", t.features),
            ("llvm", version),
            ("level", level),
        ]

    def object(
        self, text: str | Callable[[], str], parts: Iterable[tuple[str, Any]] | None = None, level: int = LEVEL
    ) -> bytes:
        """Object code of IR text, from the cache where it is there.

        With `parts`, the key is those named parts and the generators' own source; the text, then a function, is only
        written when it is missed.
        """
        named = [("text", text)] if parts is None else [*parts, ("generators", stamp())]
        if parts is not None and (dumps.wanted("llvm") or dumps.wanted("assembly")):
            self.dump(named, text if isinstance(text, str) else text(), level)

        def build() -> bytes:
            with self.lock:
                return self.emit(text if isinstance(text, str) else text(), level)

        return self.store.fetch(self.key(named, level), build)

    def machine(self, level: int) -> Any:
        t = self.target
        reloc = "pic"  # object files must link anywhere; in memory, calls reach far symbols through stubs
        found = self.llvm.Target.from_triple(t.triple)
        return found.create_target_machine(
            cpu=t.cpu, features=t.features, opt=min(level, 3), reloc=reloc, codemodel="small"
        )

    def optimized(self, text: str, level: int = LEVEL) -> tuple[Any, Any]:
        """(LLVM module after the passes, target machine)."""
        llvm = self.llvm
        machine = self.machine(level)
        module = llvm.parse_assembly(f'target triple = "{self.target.triple}"\n{text}')
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization = options.slp_vectorization = False  # generators vectorise; LLVM's guess costs time
        passes = llvm.create_pass_builder(machine, options)
        if level > LIGHT:
            passes.getModulePassManager().run(module, passes)
            return module, machine
        few = llvm.create_new_function_pass_manager()
        few.add_sroa_pass()
        few.add_instruction_combine_pass()
        few.add_new_gvn_pass()
        few.add_loop_rotate_pass()
        few.add_instruction_combine_pass()
        for f in module.functions:
            if not f.is_declaration:
                few.run(f, passes)
        return module, machine

    def emit(self, text: str, level: int = LEVEL) -> bytes:
        """Object code, compiled now."""
        module, machine = self.optimized(text, level)
        self.compiled += 1
        return bytes(machine.emit_object(module))

    def assembly(self, text: str, level: int = LEVEL) -> str:
        """What a person reads to see why a kernel is slow."""
        with self.lock:
            module, machine = self.optimized(text, level)
            return str(machine.emit_assembly(module))

    def dump(self, named: list[tuple[str, Any]], text: str, level: int) -> None:
        """FLAMBEAU_LOGS=llvm,assembly, of kernels; what is named by its text alone is the machinery around them."""
        kind, *rest = ("a kernel" if "\n" in str(value) else str(value) for _, value in named[:-1])
        title = f"{kind} ({', '.join(rest)})"
        dumps.dump("llvm", title, text)
        if dumps.wanted("assembly"):
            dumps.dump("assembly", title, self.assembly(text, level))

    # -- loading ----------------------------------------------------------------------------------------------------

    def provide(self, name: str, address: int) -> None:
        """Makes a foreign function callable from generated code."""
        self.symbols[name] = address

    def link(
        self, data: bytes, exports: Iterable[str], imports: Iterable[str] = (), needs: tuple[Code, ...] = ()
    ) -> Code:
        """Loads object code and finds the exported names."""
        with self.lock:
            if self._jit is None:
                self._jit = self.llvm.create_lljit_compiler(self.machine(LEVEL))
            library = self.llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
            for name in imports:
                if name in self.symbols:
                    library.import_symbol(name, self.symbols[name])
            exports = list(exports)
            for name in exports:
                library.export_symbol(name)
            self.loaded += 1
            tracker = library.link(self._jit, f"flambeau{self.loaded}")
            return Code(tracker, {name: tracker[name] for name in exports}, needs)

    def load(
        self,
        text: str | Callable[[], str],
        exports: Iterable[str],
        imports: Iterable[str] = (),
        *,
        parts: Iterable[tuple[str, Any]] | None = None,
        level: int = LEVEL,
        needs: tuple[Code, ...] = (),
    ) -> Code:
        """Compiles, or finds, and loads: see `object` and `link`."""
        return self.link(self.object(text, parts, level), exports, imports, needs)


@cache
def host() -> Target:
    """The machine this process runs on."""
    import llvmlite.binding as llvm

    return Target(llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())


_engine: Engine | None = None
_lock = threading.Lock()


def engine() -> Engine:
    """The process's engine, made at the first call."""
    global _engine
    if _engine is None:
        with _lock:
            if _engine is None:
                _engine = Engine()
    return _engine

"""The thread pool: `flambeau_parallel(k, args, chunks, scratch_bytes)`, a native function that other code calls.

Workers are Python threads that call one generated function, give up the GIL in it, and wait there: they spin for a
moment after a job and then sleep on a futex (Linux), an address (macOS, Windows) or a condition variable (elsewhere).
A job is a kernel and a number of chunks. Each thread has its own range of them, the same one from job to job: what it
wrote is what it reads next, still in its cache. Whoever is through with its range helps with the others'; a chunk is
taken from its range's atomic counter. Chunks are cut by size alone and write disjoint memory, so results do not depend
on the number of threads. A second caller, or a kernel that calls `flambeau_parallel` itself, does not wait: it runs its
chunks alone.

A worker that wakes late must not touch a job that has ended. So the job has an `open` word and an `active` count: a
worker counts itself in and then looks whether the job is open; the caller closes the job and then waits until the
count is zero. Both orders are sequentially consistent, so one of the two always sees the other.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import os
import sys
import threading
import time
from functools import cache
from typing import Any

from flambeau._backends.cpu.emit import Function, Module, V
from flambeau._backends.cpu.engine import Code, Target, engine, host
from flambeau._ground import flags

MAX_THREADS = 256
LINE = 64  # bytes of a cache line: words that different threads write are kept apart
SPIN = 10000  # looks at a word before sleeping on it: about 100 us, what lies between two launches of a training step

# The pool's memory, in bytes from its start.
GENERATION = 0  # i32, counts jobs; idle workers sleep on it
OPEN = LINE  # i32, 1 while chunks of the current job may be taken
STOP = LINE + 4  # i32, 1 when workers should return
ACTIVE = 3 * LINE  # i32, workers inside the job; the caller sleeps on it
WAITING = 3 * LINE + 4  # i32, 1 while the caller sleeps
SLEEPERS = 4 * LINE  # i32, workers asleep
LOCK = 5 * LINE  # i32, 1 while a caller owns the pool
JOB = 6 * LINE  # kernel, args, ranges, scratch bytes
THREADS = 7 * LINE  # i64, how many threads may take part, the caller included
LIVE = 7 * LINE + 8  # i64, workers that exist
MUTEX = 8 * LINE  # room for a pthread mutex and a condition variable, where they are needed
SCRATCH = 12 * LINE  # per thread: pointer, bytes
RANGES = (
    SCRATCH + 16 * MAX_THREADS
)  # per thread, in a line of its own: the next chunk of its range, and the range's end
SIZE = RANGES + LINE * MAX_THREADS


def atomic(f: Function, op: str, p: V, value: int, type: str = "i32") -> V:
    """Read, modify, write; the old value."""
    return f.emit(type, f"atomicrmw {op} {p}, {f.value(value, type)} seq_cst")


def read(f: Function, p: V, type: str = "i32") -> V:
    return f.emit(type, f"load atomic {type}, {p} seq_cst, align {4 if type == 'i32' else 8}")


def write(f: Function, p: V, value: int | V, type: str = "i32") -> None:
    f.do(f"store atomic {f.value(value, type)}, {p} seq_cst, align {4 if type == 'i32' else 8}")


def pause(f: Function, target: Target) -> None:
    if target.triple.startswith("x86_64"):
        f.call("void", "llvm.x86.sse2.pause")
    elif target.triple.startswith(("aarch64", "arm64")):
        f.call("void", "llvm.aarch64.hint", f.value(1, "i32"))


def sleeping(m: Module, target: Target) -> None:
    """Defines wait(pool, word, seen), which returns some time after *word != seen, and wake(pool, word)."""
    wait = m.function("internal void wait(ptr pool, ptr word, i32 seen)")
    wake = m.function("internal void wake(ptr pool, ptr word)")
    (pool, word, seen), (_, word2) = wait.params, wake.params
    if target.linux:
        futex = 98 if "aarch64" in target.triple else 202  # the system call's number
        for f, w, op, value in ((wait, word, 128, seen), (wake, word2, 129, wake.value(0x7FFFFFFF, "i32"))):  # PRIVATE
            v = f.convert("zext", value, "i64")
            zero = f.value(0, "i64")
            # syscall(number, word, op, value, timeout, 0, 0); declared without dots: the registers are the same
            f.call("i64", "syscall", f.value(futex, "i64"), w, f.value(op, "i64"), v, zero, zero, zero)
    elif target.darwin:
        compare_and_wait, wake_all = 1, 0x101
        wait.call(
            "i32",
            "__ulock_wait",
            wait.value(compare_and_wait, "i32"),
            word,
            wait.convert("zext", seen, "i64"),
            wait.value(0, "i32"),
        )
        wake.call("i32", "__ulock_wake", wake.value(wake_all, "i32"), word2, wake.value(0, "i64"))
    elif target.windows:
        compared = wait.alloca("i32")
        wait.store(seen, compared)
        wait.call("i32", "WaitOnAddress", word, compared, wait.value(4, "i64"), wait.value(-1, "i32"))
        wake.call("void", "WakeByAddressAll", word2)
    else:
        for f in (wait, wake):
            f.call("i32", "pthread_mutex_lock", f.params[0] + MUTEX)
        with wait.forever() as done:
            changed = read(wait, word) != seen
            with wait.when(changed):
                wait.jump(done)
            wait.call("i32", "pthread_cond_wait", pool + (MUTEX + 2 * LINE), pool + MUTEX)
        wake.call("i32", "pthread_cond_broadcast", wake.params[0] + (MUTEX + 2 * LINE))
        for f in (wait, wake):
            f.call("i32", "pthread_mutex_unlock", f.params[0] + MUTEX)


def settle(f: Function, pool: V, word: V, seen: V, target: Target, asleep: int) -> None:
    """Looks at *word for a while, then sleeps while it is still `seen`; `asleep` counts or marks the sleeper."""
    spins = f.var("i64", 0)
    with f.forever() as done:
        with f.when(read(f, word) != seen):
            f.jump(done)
        with f.either(spins.get() < SPIN) as otherwise:
            pause(f, target)
            spins.set(spins.get() + 1)
            otherwise()
            atomic(f, "add", pool + asleep, 1)
            f.call("void", "wait", pool, word, seen)
            atomic(f, "sub", pool + asleep, 1)


def pool_text(target: Target) -> tuple[str, list[str]]:
    """IR of the pool, and the foreign functions it calls. The pool's memory is the symbol `flambeau_pool`."""
    m = Module("thread pool")
    m.globals.append(f"@flambeau_pool = global [{SIZE} x i8] zeroinitializer, align {LINE}")
    sleeping(m, target)
    here = lambda f: V(f, "ptr", "@flambeau_pool")

    # own(id, bytes): the scratch memory of thread `id`, grown when needed, aligned to a cache line
    f = m.function("internal ptr own(i64 id, i64 bytes)")
    id, bytes = f.params
    entry = here(f) + (SCRATCH + id * 16)
    with f.when(bytes == 0):
        f.ret(0)
    with f.when(f.load("i64", entry + 8) < bytes):
        f.call("void", "free", f.load("ptr", entry))
        f.store(f.call("ptr", "malloc", bytes + LINE), entry)
        f.store(bytes, entry + 8)
    f.ret(aligned(f, f.load("ptr", entry)))

    # take(id): runs chunks of the current job until none is left, those of its own range first
    f = m.function("internal void take(i64 id)")
    (id,) = f.params
    pool = here(f)
    kernel, args = f.load("ptr", pool + JOB), f.load("ptr", pool + (JOB + 8))
    ranges, bytes = f.load("i64", pool + (JOB + 16)), f.load("i64", pool + (JOB + 24))
    scratch = f.call("ptr", "own", id, bytes)
    with f.loop(id, id + ranges) as whose:
        next = pool + (RANGES + whose % ranges * LINE)
        last = f.load("i64", next + 8)
        with f.forever() as done:
            with f.when(read(f, next, "i64") >= last):  # most often so: nothing is written where others look
                f.jump(done)
            i = atomic(f, "add", next, 1, "i64")
            with f.when(i >= last):
                f.jump(done)
            f.call_pointer("void", kernel, args, i, i + 1, scratch)

    # flambeau_worker(id): a worker's whole life
    f = m.function("void flambeau_worker(i64 id)")
    (id,) = f.params
    pool = here(f)
    seen = f.var("i32", read(f, pool + GENERATION))
    with f.forever() as done:
        settle(f, pool, pool + GENERATION, seen.get(), target, SLEEPERS)
        seen.set(read(f, pool + GENERATION))
        with f.when(read(f, pool + STOP) != 0):
            f.jump(done)
        with f.when(id < f.load("i64", pool + THREADS)):
            atomic(f, "add", pool + ACTIVE, 1)
            with f.when(read(f, pool + OPEN) != 0):
                f.call("void", "take", id)
            left = atomic(f, "sub", pool + ACTIVE, 1)
            with f.when(left == 1), f.when(read(f, pool + WAITING) != 0):
                f.call("void", "wake", pool, pool + ACTIVE)
    atomic(f, "sub", pool + LIVE, 1, "i64")
    f.ret()

    # flambeau_parallel(kernel, args, chunks, scratch_bytes): every chunk, on as many threads as are free
    f = m.function("void flambeau_parallel(ptr kernel, ptr args, i64 chunks, i64 bytes)")
    kernel, args, chunks, bytes = f.params
    pool = here(f)
    several = (chunks > 1) & (f.load("i64", pool + THREADS) > 1) & (f.load("i64", pool + LIVE) > 0)
    with f.when(several | (bytes != 0)):
        got = f.emit("{ i32, i1 }", f"cmpxchg {pool + LOCK}, i32 0, i32 1 seq_cst seq_cst")
        with f.when(f.emit("i1", f"extractvalue {got}, 1")):
            with f.when(several ^ True):  # alone, in the memory that the owner of the pool has
                own = f.call("ptr", "own", f.value(0, "i64"), bytes)
                f.call_pointer("void", kernel, args, f.value(0, "i64"), chunks, own)
                write(f, pool + LOCK, 0)
                f.ret()
            ranges = f.min(f.load("i64", pool + THREADS), f.load("i64", pool + LIVE) + 1)
            for i, word in enumerate((kernel, args, ranges, bytes)):
                f.store(word, pool + (JOB + 8 * i))
            with f.loop(0, ranges) as i:
                f.store(i * chunks // ranges, pool + (RANGES + i * LINE))
                f.store((i + 1) * chunks // ranges, pool + (RANGES + i * LINE), 1)
            write(f, pool + OPEN, 1)
            atomic(f, "add", pool + GENERATION, 1)
            with f.when(read(f, pool + SLEEPERS) != 0):
                f.call("void", "wake", pool, pool + GENERATION)
            f.call("void", "take", f.value(0, "i64"))
            write(f, pool + OPEN, 0)
            with f.forever() as done:
                active = read(f, pool + ACTIVE)
                with f.when(active == 0):
                    f.jump(done)
                settle(f, pool, pool + ACTIVE, active, target, WAITING)
            write(f, pool + LOCK, 0)
            f.ret()
    with f.when(bytes == 0):
        f.call_pointer("void", kernel, args, f.value(0, "i64"), chunks, f.value(0, "ptr"))
        f.ret()
    memory = f.call("ptr", "malloc", bytes + LINE)
    f.call_pointer("void", kernel, args, f.value(0, "i64"), chunks, aligned(f, memory))
    f.call("void", "free", memory)
    f.ret()

    # flambeau_stop(): every worker returns
    f = m.function("void flambeau_stop()")
    write(f, here(f) + STOP, 1)
    atomic(f, "add", here(f) + GENERATION, 1)
    f.call("void", "wake", here(f), here(f) + GENERATION)
    return str(m), m.imports


def aligned(f: Function, p: V) -> V:
    """The first cache line boundary at or after p; null stays null only by chance, and is not asked for."""
    n = f.convert("ptrtoint", p, "i64")
    return f.convert("inttoptr", (n + (LINE - 1)) & -LINE, "ptr")


class Pool:
    """The process's workers: how many may run, and their birth and death."""

    def __init__(self) -> None:
        text, imports = pool_text(host())
        native = engine()
        for name in ("WaitOnAddress", "WakeByAddressAll") if sys.platform == "win32" else ():
            synch = getattr(ctypes, "WinDLL")("api-ms-win-core-synch-l1-2-0.dll")  # noqa: B009 (absent elsewhere)
            native.provide(name, ctypes.cast(getattr(synch, name), ctypes.c_void_p).value or 0)
        names = ["flambeau_pool", "flambeau_worker", "flambeau_parallel", "flambeau_stop"]
        self.code: Code = native.load(text, names, imports)
        native.provide("flambeau_parallel", self.code["flambeau_parallel"])
        native.provide("flambeau_pool", self.code["flambeau_pool"])
        self.memory = self.code["flambeau_pool"]
        self.run = self.code.function("flambeau_worker", None, ctypes.c_int64)
        self.stop_native = self.code.function("flambeau_stop", None)
        self.parallel = self.code.function("flambeau_parallel", None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)
        self.lock = threading.Lock()
        self.set_threads(default_threads())
        atexit.register(self.stop)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forked)

    def word(self, offset: int, kind: Any = ctypes.c_int64) -> Any:
        return kind.from_address(self.memory + offset)

    @property
    def threads(self) -> int:
        return int(self.word(THREADS).value)

    def set_threads(self, n: int) -> None:
        """Jobs that begin from now on use at most n threads."""
        self.word(THREADS).value = min(n, MAX_THREADS)
        self.start()

    def start(self) -> None:
        """Makes the workers that are missing. Cheap when none is."""
        live = self.word(LIVE)
        if live.value >= self.threads - 1:
            return
        with self.lock:
            while live.value < self.threads - 1:
                live.value += 1
                # not threading.Thread: workers are no business of threading.enumerate() and are stopped by `stop`
                _thread.start_new_thread(self.run, (live.value,))

    def stop(self) -> None:
        """Sends the workers home, before the interpreter is taken down."""
        if self.word(LIVE).value:
            self.stop_native()
            patience = time.monotonic() + 1.0
            while self.word(LIVE).value and time.monotonic() < patience:
                time.sleep(0.0005)

    def forked(self) -> None:
        """The child of a fork has the pool's memory and none of its threads: begin afresh, workers at the next launch."""
        threads = self.threads
        ctypes.memset(self.memory, 0, SCRATCH)
        self.word(THREADS).value = threads
        self.lock = threading.Lock()


def default_threads() -> int:
    """FLAMBEAU_NUM_THREADS, else OMP_NUM_THREADS as PyTorch reads it, else the cores this process may use."""
    chosen = int(flags.get("num_threads"))
    if chosen > 0:
        return chosen
    omp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if omp.isdigit() and int(omp) > 0:
        return int(omp)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


_wanted: int | None = None  # set_num_threads before the pool exists


@cache
def pool() -> Pool:
    """The process's pool, made at the first use."""
    made = Pool()
    if _wanted is not None:
        made.set_threads(_wanted)
    return made


def get_num_threads() -> int:
    """How many threads native kernels use."""
    if pool.cache_info().currsize:
        return pool().threads
    return _wanted or default_threads()


def set_num_threads(n: int) -> None:
    """Sets how many threads native kernels use; results do not depend on it."""
    global _wanted
    if n <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    _wanted = n
    if pool.cache_info().currsize:
        pool().set_threads(n)

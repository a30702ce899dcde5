"""Memory of large arrays: freed blocks are kept and given out again, so that results do not fault in fresh pages at every call.

NumPy lets its allocator be replaced (NEP 49): small sizes go on to its own, larger ones to the pool that is generated here.
Blocks come in eight sizes to each power of two; those of 2 MB and more lie on huge pages. Idle blocks never raise the
process's peak by much: before more is mapped, they are returned until what is used and idle together is within an eighth
(and 64 MB) of the most that was ever in use at one time. Linux only; elsewhere NumPy's own allocator stays.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

from flambeau._backends.cpu.emit import Function, Module, V
from flambeau._backends.cpu.engine import Code, engine

LIMIT = 1 << 17  # bytes from which the pool serves: below, malloc keeps what is freed
HUGE = 1 << 21
PAGE = 4096  # the page before a block holds its header
SLACK = 1 << 26
CAP = 1 << 30  # idle bytes at most
MAGIC = 0x6D61_6C66_7561_6562  # with the address, marks a block as ours

# The pool's memory, in bytes from its start, and a block's header, in bytes before the block.
LOCK, USED, IDLE, HIGH, DEFAULT, LISTS = 0, 8, 16, 24, 64, 128
SIZE = LISTS + 64 * 8 * 8
NEXT, BASE, LENGTH, BYTES, MARK = 56, 32, 24, 16, 8
DEFAULT_CTX, DEFAULT_MALLOC, DEFAULT_CALLOC, DEFAULT_REALLOC, DEFAULT_FREE = range(5)

SET_HANDLER, GET_HANDLER = 304, 305  # PyDataMem_SetHandler and GetHandler in NumPy's table of API functions
HANDLER = 128  # bytes before the functions in PyDataMem_Handler: its name, and a version

CAPSULE = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def text() -> tuple[str, list[str]]:
    """IR of the pool, and the foreign functions it calls. Its memory is the symbol `flambeau_memory`."""
    m = Module("memory")
    m.globals.append(f"@flambeau_memory = global [{SIZE} x i8] zeroinitializer, align 64")
    spinlock(m)
    idle_lists(m)
    fresh(m)
    take(m)
    give(m)
    handler(m)
    return str(m), m.imports


def own(f: Function) -> V:
    """The pool's memory."""
    return V(f, "ptr", "@flambeau_memory")


def spinlock(m: Module) -> None:
    """Defines lock() and unlock(): what is done under it is a few loads and stores, or a system call."""
    f = m.function("internal void lock()")
    with f.forever() as done:
        got = f.emit("{ i32, i1 }", f"cmpxchg {own(f) + LOCK}, i32 0, i32 1 seq_cst seq_cst")
        with f.when(f.emit("i1", f"extractvalue {got}, 1")):
            f.jump(done)
    f = m.function("internal void unlock()")
    f.do(f"store atomic i32 0, {own(f) + LOCK} seq_cst, align 4")


def idle_lists(m: Module) -> None:
    """Defines place(bytes), where the list of idle blocks of a size is; unmap(p), which returns a block to the system; and
    shrink(limit), which returns idle ones, the largest first, until no more than `limit` bytes are used and idle (under the lock)."""
    f = m.function("internal ptr place(i64 bytes)")
    (bytes,) = f.params
    top = highest(f, bytes - 1)
    f.ret(own(f) + (top * 8 + ((bytes - 1 >> top - 3) & 7)) * 8 + LISTS)

    f = m.function("internal void unmap(ptr p)")
    (p,) = f.params
    f.call("i32", "munmap", f.load("ptr", p + -BASE), f.load("i64", p + -LENGTH))

    f = m.function("internal void shrink(i64 limit)")
    (limit,) = f.params
    slot = f.var("i64", 64 * 8 - 1)
    with f.forever() as done:
        used, idle = f.load("i64", own(f) + USED), f.load("i64", own(f) + IDLE)
        with f.when((used + idle <= limit) | (slot.get() < 0)):
            f.jump(done)
        head = own(f) + slot.get() * 8 + LISTS
        p = f.load("ptr", head)
        with f.either(p == 0) as otherwise:
            slot.set(slot.get() - 1)
            otherwise()
            f.store(f.load("ptr", p + -NEXT), head)
            add(f, own(f) + IDLE, 0 - f.load("i64", p + -BYTES))
            f.call("void", "unmap", p)


def fresh(m: Module) -> None:
    """Defines fresh(bytes): a new block, or null."""
    f = m.function("internal ptr fresh(i64 bytes)")
    (bytes,) = f.params
    align = f.select(bytes >= HUGE, HUGE, PAGE, "i64")
    length = bytes + align + PAGE
    base = f.call(
        "i64", "mmap", f.value(0, "ptr"), length, *(f.value(n, "i32") for n in (3, 0x22, -1)), f.value(0, "i64")
    )
    with f.when(base == -1):
        f.ret(0)
    start = (base + PAGE + align - 1) & (0 - align)
    before, after = start - PAGE - base, base + length - (start + bytes)
    with f.when(before > 0):
        f.call("i32", "munmap", pointer(f, base), before)
    with f.when(after > 0):
        f.call("i32", "munmap", pointer(f, start + bytes), after)
    p = pointer(f, start)
    with f.when(bytes >= HUGE):
        f.call("i32", "madvise", p, bytes, f.value(14, "i32"))  # MADV_HUGEPAGE
    for value, at in ((start - PAGE, BASE), (bytes + PAGE, LENGTH), (bytes, BYTES), (start ^ MAGIC, MARK)):
        f.store(value, p + -at)
    f.ret(p)


def take(m: Module) -> None:
    """Defines take(size, zero): a block of at least that size, idle until now or fresh; null where there is no memory."""
    f = m.function("internal ptr take(i64 size, i64 zero)")
    size, zero = f.params
    grain = f.value(1, "i64") << highest(f, size - 1) - 3
    bytes = (size + grain - 1) & (0 - grain)
    head = f.call("ptr", "place", bytes)
    f.call("void", "lock")
    used = f.load("i64", own(f) + USED) + bytes
    high = f.max(f.load("i64", own(f) + HIGH), used)
    f.store(used, own(f) + USED)
    f.store(high, own(f) + HIGH)
    p = f.load("ptr", head)
    with f.when(p != 0):
        f.store(f.load("ptr", p + -NEXT), head)
        add(f, own(f) + IDLE, 0 - bytes)
        f.call("void", "unlock")
        with f.when(zero != 0):
            f.call("ptr", "memset", p, f.value(0, "i32"), size)
        f.ret(p)
    f.call("void", "shrink", high + (high >> 3) + SLACK)
    f.call("void", "unlock")
    p = f.call("ptr", "fresh", bytes)
    with f.when(p != 0):
        f.ret(p)
    f.call("void", "lock")  # out of memory: all that is idle goes back first
    f.call("void", "shrink", f.value(0, "i64"))
    f.call("void", "unlock")
    p = f.call("ptr", "fresh", bytes)
    with f.when(p == 0):
        f.call("void", "lock")
        add(f, own(f) + USED, 0 - bytes)
        f.call("void", "unlock")
    f.ret(p)


def give(m: Module) -> None:
    """Defines give(p): a block is idle from now on."""
    f = m.function("internal void give(ptr p)")
    (p,) = f.params
    bytes = f.load("i64", p + -BYTES)
    f.call("void", "lock")
    add(f, own(f) + USED, 0 - bytes)
    with f.either(f.load("i64", own(f) + IDLE) + bytes > CAP) as otherwise:
        f.call("void", "unmap", p)
        otherwise()
        head = f.call("ptr", "place", bytes)
        f.store(f.load("ptr", head), p + -NEXT)
        f.store(p, head)
        add(f, own(f) + IDLE, bytes)
    f.call("void", "unlock")


def handler(m: Module) -> None:
    """The five functions of NumPy's table; `flambeau_trim` returns all that is idle to the system."""

    def ours(f: Function, p: V) -> V:
        """Whether a block is the pool's. Others' have a header of malloc's before them, so the word is there to read."""
        at = f.convert("ptrtoint", p, "i64")
        found = f.var("i1", 0)
        with f.when(((at & (PAGE - 1)) == 0) & (at != 0)):
            found.set(f.load("i64", p + -MARK) == (at ^ MAGIC))
        return found.get()

    def default(f: Function, type: str, which: int, *args: V) -> V:
        table = own(f) + DEFAULT
        return f.call_pointer(type, f.load("ptr", table + 8 * which), f.load("ptr", table), *args)

    f = m.function("ptr flambeau_malloc(ptr ctx, i64 size)")
    _, size = f.params
    with f.when(size < LIMIT):
        f.ret(default(f, "ptr", DEFAULT_MALLOC, size))
    f.ret(f.call("ptr", "take", size, f.value(0, "i64")))

    f = m.function("ptr flambeau_calloc(ptr ctx, i64 count, i64 item)")
    _, count, item = f.params
    with f.when(count * item < LIMIT):
        f.ret(default(f, "ptr", DEFAULT_CALLOC, count, item))
    f.ret(f.call("ptr", "take", count * item, f.value(1, "i64")))

    f = m.function("void flambeau_free(ptr ctx, ptr p, i64 size)")
    _, p, size = f.params
    with f.either(ours(f, p)) as otherwise:
        f.call("void", "give", p)
        otherwise()
        default(f, "void", DEFAULT_FREE, p, size)

    f = m.function("ptr flambeau_realloc(ptr ctx, ptr p, i64 size)")
    ctx, p, size = f.params
    with f.when(ours(f, p)):
        q = f.call("ptr", "flambeau_malloc", ctx, size)
        with f.when(q != 0):
            f.call("ptr", "memcpy", q, p, f.min(size, f.load("i64", p + -BYTES)))
            f.call("void", "give", p)
        f.ret(q)
    f.ret(default(f, "ptr", DEFAULT_REALLOC, p, size))

    f = m.function("void flambeau_trim()")
    f.call("void", "lock")
    f.call("void", "shrink", f.value(0, "i64"))
    f.store(f.load("i64", own(f) + USED), own(f) + HIGH)
    f.call("void", "unlock")


def highest(f: Function, n: V) -> V:
    """The number of the highest bit that is set."""
    return 63 - f.call("i64", "llvm.ctlz.i64", n, f.value(1, "i1"))


def add(f: Function, p: V, n: V) -> None:
    f.store(f.load("i64", p) + n, p)


def pointer(f: Function, n: V) -> V:
    return f.convert("inttoptr", n, "ptr")


class Memory:
    """The pool, installed as the allocator of the arrays that this context makes."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.start = code["flambeau_memory"]
        self.trim = code.function("flambeau_trim", None)
        api = ctypes.pythonapi
        table = numpy_api()
        get = ctypes.PYFUNCTYPE(ctypes.py_object)(ctypes.c_int64.from_address(table + 8 * GET_HANDLER).value)
        put = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(
            ctypes.c_int64.from_address(table + 8 * SET_HANDLER).value
        )
        before = CAPSULE(get(), b"mem_handler")
        ctypes.memmove(self.start + DEFAULT, before + HANDLER, 40)
        names = ("flambeau_malloc", "flambeau_calloc", "flambeau_realloc", "flambeau_free")
        self.struct = ctypes.create_string_buffer(b"flambeau".ljust(HANDLER - 1, b"\0") + b"\1", HANDLER + 40)
        for i, name in enumerate(names):
            ctypes.c_int64.from_buffer(self.struct, HANDLER + 8 + 8 * i).value = code[name]
        make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        self.name = b"mem_handler"
        self.capsule = make(("PyCapsule_New", api))(ctypes.addressof(self.struct), self.name, None)
        put(self.capsule)
        # Arrays are freed until the very end of the process: this code must outlive the interpreter's own clearing up.
        for kept in (self, code, engine(), engine()._jit):
            api.Py_IncRef(ctypes.py_object(kept))
        os.register_at_fork(after_in_child=lambda: ctypes.memset(self.start + LOCK, 0, 4))

    def bytes(self, what: int) -> int:
        """USED, IDLE or HIGH bytes."""
        return int(ctypes.c_int64.from_address(self.start + what).value)


def numpy_api() -> int:
    """The address of NumPy's table of API functions."""
    try:
        from numpy._core._multiarray_umath import _ARRAY_API as capsule
    except ImportError:
        from numpy.core._multiarray_umath import _ARRAY_API as capsule  # type: ignore[no-redef]  # NumPy 1
    return int(CAPSULE(capsule, None))


def trim() -> None:
    """Return what is idle in the pool to the system, where there is a pool."""
    found = install() if install.cache_info().currsize else None
    if found is not None:
        found.trim()


def idle() -> int:
    """Bytes that the pool holds and nobody uses."""
    found = install() if install.cache_info().currsize else None
    return 0 if found is None else found.bytes(IDLE)


@cache
def install() -> Memory | None:
    """Makes the pool NumPy's allocator, once; None where that is not possible."""
    if not sys.platform.startswith("linux") or sys.implementation.name != "cpython":
        return None
    if ctypes.sizeof(ctypes.c_void_p) != 8 or os.sysconf("SC_PAGE_SIZE") != PAGE:
        return None
    malloc_settings = getattr(ctypes.CDLL(None), "mallopt", None)
    if (
        malloc_settings is not None
    ):  # glibc: what is freed below LIMIT stays, as it does once large blocks have been freed
        trim_threshold, mmap_threshold = -1, -3
        malloc_settings(trim_threshold, SLACK)
        malloc_settings(mmap_threshold, SLACK // 2)
    source, imports = text()
    exports = ["flambeau_memory", "flambeau_malloc", "flambeau_calloc", "flambeau_realloc", "flambeau_free", "flambeau_trim"]  # fmt: skip
    code = engine().load(source, exports, imports)
    engine().provide("flambeau_malloc", code["flambeau_malloc"])
    engine().provide("flambeau_free", code["flambeau_free"])
    return Memory(code)

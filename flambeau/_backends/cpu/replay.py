"""Array readings of small arrays in one call: the loops that `shadows.py` noted, run one after another by a generated builtin.

A tape becomes a block of words (`block`): what the arguments must be, what the results are, where each step's loop is and what
it walks over. The builtin answers None for arguments of another kind, and then the array reading itself runs. The bits
are those of the reading, whose own loops these are; still a tape is tried on numbers of chance against the reading before
it is used.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._backends.cpu import small
from flambeau._backends.cpu.arrays import QUIET, K, loud, quiet
from flambeau._backends.cpu.shadows import (
    DEPTH,
    OPERANDS,
    Buffer,
    Shadow,
    Step,
    Tape,
    Unfit,
    Unsuitable,
    noted,
)

if TYPE_CHECKING:
    from flambeau._backends.cpu.emit import Function, V

Array = np.ndarray[Any, Any]
SCRATCH = 1 << 17  # bytes of values between steps
SLOTS, RESULTS = 64, 8
CHECKED = -1  # the data of a loop that may end the call: it is given a word to say so
LINE = 64  # bytes: values begin at a multiple of it
STEP = 2 + DEPTH + OPERANDS * (2 + DEPTH)  # words of a step
HEADER = ("next", "arguments", "results", "constants", "temporaries", "steps", "scratch")
ITEMS = {"f": ("float", 4), "d": ("double", 8), "?": ("i8", 1), "l": ("i64", 8), "q": ("i64", 8)}


class Builtins:
    """The compiled entry, and builtins made of it."""

    def __init__(self) -> None:
        from flambeau._backends.cpu.engine import engine
        from flambeau._backends.cpu.objects import METH_FASTCALL, MethodDef

        found = small.builtins()
        if found is None or found.entry is None:
            raise Unsuitable("structs differ")
        module = replay_module()
        names = [f"flambeau_{name}" for name in OWN_LOOPS]
        self.code = engine().load(str(module), ["flambeau_replay", *names], module.imports)
        self.entry = found.entry
        self.own = found.own | {name: self.code[f"flambeau_{name}"] for name in OWN_LOOPS}
        self.method = MethodDef(
            b"replay", self.code["flambeau_replay"], METH_FASTCALL, b"The loops of a call, or None."
        )


@cache
def builtins() -> Builtins | None:
    try:
        return Builtins()
    except (Unsuitable, small.Unsuitable):
        return None


class Replay:
    """A builtin `call` that does, to arrays of kinds that were met, what `run(k, *values)` does; the values that are no arrays are always the same.

    `arrays` says which of the values are arrays; None in the place of one is an argument, too. `plain` is the reading whose numbers it
    must have, where that is another one.
    """

    MOST = 32  # kinds: beyond them it starts again

    def __init__(self, run: Callable[..., Any], arrays: Sequence[int], plain: Callable[..., Any] | None = None) -> None:
        self.run, self.arrays, self.plain = run, tuple(arrays), plain or run
        # Sums in another order are the same by chance about every other time.
        self.times = 1 if plain is None else 40
        self.hopeless = False  # whether no arrays will be taken
        self.first = np.zeros(1, np.int64)  # the address of the block that is tried first, which has that of the next
        self.kept: list[Any] = []
        found = builtins()
        if found is None:
            self.call: Callable[..., Any] = small.never
        else:
            address = struct.pack("<q", self.first.ctypes.data)
            self.call = found.entry.new(ctypes.addressof(found.method), address, (found, self.first, self.kept))

    def add(self, values: Sequence[Any]) -> bool:
        """Whether arrays like those among these values are taken from now on."""
        found = builtins()
        if found is None:
            return False
        try:
            tape, outs, several = noted(self.run, small.special, values, self.arrays)
            if several and len(outs) == 1:
                raise Unsuitable("a tuple of one")
            words, kept = block(tape, outs, [values[i] for i in self.arrays], found.own)
        except small.NotYetError:
            raise
        except Unfit:
            return False
        except Exception:  # whatever a shadow does not do: the reading itself has the last word
            self.hopeless = True
            return False
        if len(self.kept) >= self.MOST:
            self.first[0] = 0
            self.kept.clear()
        words[0] = before = self.first[0]
        self.kept.append((words, kept))
        self.first[0], good = words.ctypes.data, False
        try:
            good = tried(self.plain, values, self.arrays, self.call, self.times)
        finally:
            if not good:
                self.first[0] = before
                self.kept.pop()
        return good


def tried(run: Callable[..., Any], values: Sequence[Any], arrays: Sequence[int], made: Callable[..., Any], times: int) -> bool:  # fmt: skip
    """Whether a builtin gives what a reading gives, on numbers of chance in place of those of floating arrays."""
    chance = np.random.default_rng(7)
    given = list(values)
    for _ in range(times):
        for i in arrays:
            v = values[i]
            if v is not None:
                some = v.dtype.kind == "f"
                given[i] = chance.standard_normal(v.shape).astype(v.dtype) if some else np.ascontiguousarray(v)
        token = quiet(QUIET)
        try:
            expected = run(K, *given)
        finally:
            loud(token)
        found = made(*(given[i] for i in arrays))
        pairs = zip(found, expected, strict=True) if type(found) is tuple else [(found, expected)]
        if found is None or not all(f is e if e is None else same(f, np.asarray(e)) for f, e in pairs):
            return False
    return True


def same(x: Any, y: Any) -> bool:
    """Whether all bits are the same, but those of NaN."""
    if x.dtype is not y.dtype or x.shape != y.shape:
        return False
    return bool(((x == y) & (np.signbit(x) == np.signbit(y)) | (x != x) & (y != y)).all())


# -- programs -------------------------------------------------------------------------------------------------------


def block(tape: Tape, outs: Sequence[Shadow | None], arguments: Sequence[Array | None], own: dict[str, int]) -> tuple[Array, list[Any]]:  # fmt: skip
    """The words that the builtin reads (see `replay_module`), and what must live as long as they."""
    results = {o.buffer: i for i, o in enumerate(outs) if o is not None}
    constants: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for i, s in enumerate(tape.steps):
        for o in s.operands:
            if o.buffer.source is None:
                last[o.buffer] = i
            elif o.buffer.source[0] == "constant":
                constants.setdefault(o.buffer, len(constants))
    places, scratch = placed(tape.steps, last, results)
    temporaries = {offset: i for i, offset in enumerate(dict.fromkeys(places.values()))}
    base = (len(arguments), len(arguments) + len(constants), len(arguments) + len(constants) + len(temporaries))
    if base[2] + len(outs) > SLOTS or len(outs) > RESULTS or scratch > SCRATCH:
        raise Unfit("too much of it")

    def slot(b: Buffer) -> int:
        if b.source is None:
            return base[2] + results[b] if b in results else base[1] + temporaries[places[b]]
        return int(b.source[1]) if b.source[0] == "argument" else base[0] + constants[b]

    words = [0, len(arguments), len(outs), len(constants), len(temporaries), len(tape.steps), scratch]
    for a in (*arguments, *(None if o is None else o.view for o in outs)):
        words += [0, 0] if a is None else [id(a.dtype), a.ndim, *a.shape]
    words += [b.room.ctypes.data for b in constants]
    words += list(temporaries)
    for s in tape.steps:
        words += step(s, slot, own)
    return np.array(words, np.int64), [
        [b.room for b in constants],
        [a.dtype for a in arguments if a is not None],
        [s.loop for s in tape.steps],
    ]


def placed(steps: Sequence[Step], last: dict[Buffer, int], results: dict[Buffer, int]) -> tuple[dict[Buffer, int], int]:
    """Where values between steps lie (offsets), and the bytes that they need: what is read for the last time makes room."""
    places: dict[Buffer, int] = {}
    free: list[tuple[int, int]] = []  # (bytes, offset)
    end = 0
    for i, s in enumerate(steps):
        inner = [b for b in dict.fromkeys(o.buffer for o in s.operands) if b.source is None and b not in results]
        for b in inner:
            if b in places:
                continue
            need = -(-max(b.room.nbytes, 1) // LINE) * LINE
            fits = next((f for f in sorted(free) if f[0] >= need), None)
            if fits is None:
                places[b], end = end, end + need
            else:
                free.remove(fits)
                places[b] = fits[1]
                if fits[0] > need:
                    free.append((fits[0] - need, fits[1] + need))
        for b in inner:
            if last[b] == i:
                free.append((-(-max(b.room.nbytes, 1) // LINE) * LINE, places[b]))
    return places, end


def step(s: Step, slot: Callable[[Buffer], int], own: dict[str, int]) -> list[int]:
    """The words of one step."""
    if isinstance(s.loop, str):
        name = s.loop + "".join(str(ITEMS[c][1]) if s.loop != "cast" else c.replace("?", "b") for c in s.codes)
        if name not in own:
            raise Unsuitable(name)
        address, data = own[name], CHECKED if s.loop in ("take", "put") else 0
        if s.loop == "dot":
            data = found[0] if (found := small.loop_of(np.vecdot, s.codes * 2)) else 0
            if not data:
                raise Unsuitable("dot")
    else:
        found = small.loop_of(s.loop, s.codes)
        if found is None:
            raise Unsuitable(s.loop.__name__)
        address, data = found
    dims = [1] * (DEPTH - len(s.dims)) + list(s.dims)
    along = [[0] * (DEPTH - len(o.strides)) + list(o.strides) for o in s.operands]
    columns = [
        [slot(o.buffer) for o in s.operands],
        [o.offset for o in s.operands],
        *map(list, zip(*along, strict=True)),
    ]
    return [address, data, *dims, *(word for c in columns for word in c + [0] * (OPERANDS - len(c)))]


# -- the generated builtin ------------------------------------------------------------------------------------------


def replay_module() -> Any:
    """IR of `flambeau_replay(self, args, nargs)`.

    `self` holds the address of the address of the first block of words: HEADER, with the address of the block to be tried if this one does
    not fit; for each argument and each result (dtype, dims, sizes), no dtype where it is None; the addresses of constants; the
    offsets of values between steps; and each step as (loop, its data, DEPTH numbers of rounds, then, of all OPERANDS, the slots, offsets,
    and DEPTH times strides). The slots are the arguments, the constants, the values between, and the results.
    """
    from flambeau._backends.cpu.emit import Module
    from flambeau._backends.cpu.entry import decline, drop, give_back, room
    from flambeau._backends.cpu.objects import BYTES_VALUE, DATA

    m = Module("replayed calls")
    f = m.function("ptr flambeau_replay(ptr self, ptr args, i64 nargs)")
    self, args, nargs = f.params
    at = f.alloca("i64", SLOTS, 16)
    block, cursor = f.var("ptr", f.load("ptr", f.load("ptr", self + BYTES_VALUE))), f.var("ptr", 0)
    with f.forever() as found:
        with f.when(block.get() == 0):
            decline(f)
        cursor.set(f.call("ptr", "fits", block.get(), args, nargs, at))
        with f.when(cursor.get() != 0):
            f.jump(found)
        block.set(f.load("ptr", block.get()))
    head = {name: f.load("i64", block.get(), i) for i, name in enumerate(HEADER)}
    ndarray = m.external(f, "type_ndarray")

    outs = f.alloca("ptr", RESULTS, 16)
    null, made = f.value(0, "ptr"), f.var("i64", 0)
    first = nargs + head["constants"] + head["temporaries"]
    with f.loop(0, head["results"]) as i:
        descr, nd = f.load("ptr", cursor.get()), f.load("i64", cursor.get(), 1)
        with f.either(descr == 0) as otherwise:
            none = m.external(f, "object_none")
            f.call("void", "Py_IncRef", none)
            f.store(none, outs, i)
            otherwise()
            f.call("void", "Py_IncRef", descr)
            few, sizes = f.convert("trunc", nd, "i32"), cursor.get() + 16
            out = f.call("ptr", "PyArray_NewFromDescr", ndarray, descr, few, sizes, null, null, f.value(0, "i32"), null)
            with f.when(out == 0):
                drop(f, made.get(), outs)
                f.ret(0)
            f.store(out, outs, i)
            f.store(f.load("i64", out + DATA), at, first + i)
        made.set(i + 1)
        cursor.set(cursor.get() + (nd + 2) * 8)
    with f.loop(0, head["constants"]) as i:
        f.store(f.load("i64", cursor.get(), i), at, nargs + i)
    cursor.set(cursor.get() + head["constants"] * 8)
    between = room(f, "between", "i8", head["scratch"] + LINE)
    start = (f.convert("ptrtoint", between, "i64") + (LINE - 1)) & -LINE
    with f.loop(0, head["temporaries"]) as i:
        f.store(start + f.load("i64", cursor.get(), i), at, nargs + head["constants"] + i)
    cursor.set(cursor.get() + head["temporaries"] * 8)

    status = f.alloca("i64", 1, 16)
    f.store(f.value(0, "i64"), status)
    run(f, cursor.get(), head["steps"], at, status)
    with f.when(f.load("i64", status) != 0):
        drop(f, head["results"], outs)
        decline(f)
    give_back(f, head["results"], outs)
    fits(m)
    own_loops(m)
    return m


def fits(m: Any) -> None:
    """Defines fits(block, args, nargs, at): where the block's results begin, or 0. The arguments must be dense and of the sizes that
    are written; notes where they lie."""
    from flambeau._backends.cpu.objects import DATA, DESCR, DIMS, FLAGS, NDIM, OB_TYPE

    f = m.function("internal ptr fits(ptr block, ptr args, i64 nargs, ptr at)")
    block, args, nargs, at = f.params
    ndarray = m.external(f, "type_ndarray")
    with f.when(f.load("i64", block, HEADER.index("arguments")) != nargs):
        f.ret(0)
    cursor = f.var("ptr", block + 8 * len(HEADER))
    with f.loop(0, nargs) as i:
        x, spec = f.load("ptr", args, i), cursor.get()
        descr, nd = f.load("ptr", spec), f.load("i64", spec, 1)
        with f.either(descr == 0) as otherwise:
            with f.when(x != m.external(f, "object_none")):
                f.ret(0)
            otherwise()
            with f.when(f.load("ptr", x + OB_TYPE) != ndarray):
                f.ret(0)
            dense = f.emit("i32", f"and {f.load('i32', x + FLAGS)}, {0x101}")  # C_CONTIGUOUS, ALIGNED
            deep = f.convert("zext", f.load("i32", x + NDIM), "i64")
            with f.when((f.load("ptr", x + DESCR) != descr) | (dense != 0x101) | (deep != nd)):
                f.ret(0)
            dims = f.load("ptr", x + DIMS)
            with f.loop(0, nd) as d, f.when(f.load("i64", dims, d) != f.load("i64", spec + 16, d)):
                f.ret(0)
            f.store(f.load("i64", x + DATA), at, i)
        cursor.set(spec + (nd + 2) * 8)
    f.ret(cursor.get())


def run(f: Function, steps: V, count: V, at: V, status: V) -> None:
    """All steps: each calls its loop for every round of the loops around it."""
    from flambeau._backends.cpu.emit import vector

    all_ = vector("i64", OPERANDS)
    pointers, begins = f.alloca("i64", OPERANDS, 32), f.alloca("i64", OPERANDS, 32)
    now = f.var(all_)
    with f.loop(0, count) as j:
        spec = steps + j * (8 * STEP)
        outer, middle = f.load("i64", spec, 2), f.load("i64", spec, 3)
        columns = [spec + 8 * (2 + DEPTH + OPERANDS * c) for c in range(2 + DEPTH)]
        for q in range(OPERANDS):
            f.store(f.load("i64", at, f.load("i64", columns[0], q)) + f.load("i64", columns[1], q), begins, q)
        loop, data = f.load("ptr", spec), f.load("ptr", spec, 1)
        given = f.select(f.convert("ptrtoint", data, "i64") == CHECKED, status, data)
        far, near = (f.load(all_, columns[c], align=8) for c in (2, 3))
        with f.loop(0, outer) as i:
            now.set(f.load(all_, begins) + far * f.splat(i, OPERANDS))
            with f.loop(0, middle):
                f.store(now.get(), pointers)
                f.call_pointer("void", loop, pointers, spec + 8 * (1 + DEPTH), columns[1 + DEPTH], given)
                now.set(now.get() + near)


OWN_LOOPS = (
    *(
        "copy1",
        "copy4",
        "copy8",
        "dot4",
        "dot8",
        "total4",
        "total8",
        "take4",
        "take8",
        "put4",
        "put8",
        "kept4",
        "kept8",
    ),
    *("argmax4", "argmax8", "argmin4", "argmin8"),
    *("castbf", "castbd", "castlf", "castld", "castfd", "castdf"),
)
CASTS = {"b": "uitofp", "l": "sitofp"}


def own_loops(m: Any) -> None:
    """Inner loops as ufuncs have them, for what no ufunc does."""
    from flambeau._backends.cpu import sums

    for name in OWN_LOOPS:
        f = m.function(f"void flambeau_{name}(ptr args, ptr count, ptr walks, ptr data)")
        args, count, walks, data = f.params
        n = f.load("i64", count)
        x, y = f.load("ptr", args), f.load("ptr", args, 1)
        if name.startswith("total"):
            item = np.dtype("f" + name[-1])
            f.store(sums.total_of(f, x, n, item), y)
        elif name.startswith(("take", "put", "kept")):
            classes(f, name)
        elif name.startswith("arg"):
            first_of(f, name)
        elif name.startswith("dot"):  # as `vecdot` does it: one product, of vectors of n
            sizes, steps = f.alloca("i64", 2, 16), f.alloca("i64", 5, 16)
            for i, word in enumerate((f.value(1, "i64"), n)):
                f.store(word, sizes, i)
            for i, word in enumerate((*[f.value(0, "i64")] * 3, f.load("i64", walks), f.load("i64", walks, 1))):
                f.store(word, steps, i)
            f.call_pointer("void", data, args, sizes, steps, f.value(0, "ptr"))
        else:
            source, target = kinds(name)
            from_, to = f.load("i64", walks), f.load("i64", walks, 1)
            with f.loop(0, n) as i:
                v = f.load(source, x + from_ * i)
                if name.startswith("cast"):
                    code = CASTS.get(name[4]) or ("fpext" if target == "double" else "fptrunc")
                    v = f.convert(code, v, target)
                f.store(v, y + to * i)


def classes(f: Function, name: str) -> None:
    """See `shadows.Classes`: what is read or written, the classes, (how many there are, which is none), what is written."""
    args, count, walks, status = f.params
    item, number = int(name[-1]), "float" if name[-1] == "4" else "double"
    if name.startswith("kept"):
        found, limits, step = f.var("i64", 0), f.load("ptr", args, 1), f.load("i64", walks)
        none = f.load("i64", limits, 1)
        with f.loop(0, f.load("i64", count)) as i:
            there = f.load("i64", f.load("ptr", args) + step * i) != none
            found.set(found.get() + f.convert("zext", there, "i64"))
        f.store(f.convert("sitofp", found.get(), number), f.load("ptr", args, 2))
        return
    source, at, limits, target = (f.load("ptr", args, i) for i in range(4))
    by = [f.load("i64", walks, i) for i in range(4)]
    most, none, bad = f.load("i64", limits), f.load("i64", limits, 1), f.var("i64", 0)
    with f.loop(0, f.load("i64", count)) as i:
        c = f.load("i64", at + by[1] * i)
        inside = (c >= 0) & (c < most)
        with f.when(f.emit("i1", f"xor {inside}, true") & (c != none)):
            bad.set(1)
        place = f.select(inside & (c != none), c, 0, "i64") * item
        x, y = source + by[0] * i, target + by[3] * i
        f.store(f.load(number, x + place), y) if name.startswith("take") else f.store(f.load(number, x), y + place)
    f.store(f.emit("i64", f"or {f.load('i64', status)}, {bad.get().name}"), status)


def first_of(f: Function, name: str) -> None:
    """See `Shadow.place`."""
    args, count, walks, _ = f.params
    number, x, by = "float" if name[-1] == "4" else "double", f.load("ptr", args), f.load("i64", walks)
    best, at = f.var(number, f.load(number, x)), f.var("i64", 0)
    with f.loop(1, f.load("i64", count)) as i:
        v, b = f.load(number, x + by * i), best.get()
        further = v > b if name.startswith("argmax") else v < b
        nan = f.emit("i1", f"fcmp uno {v}, {v.name}") & f.emit("i1", f"fcmp ord {b}, {b.name}")
        with f.when(further | nan):
            best.set(v)
            at.set(i)
    f.store(at.get(), f.load("ptr", args, 1))


def kinds(name: str) -> tuple[str, str]:
    """The types that a loop reads and writes."""
    if name.startswith("copy"):
        return (f"i{8 * int(name[4:])}",) * 2
    source, target = (ITEMS["?" if c == "b" else c][0] for c in name[4:])
    return source, target

"""Matrix products: the kernel that walks blocks and panels, and the micro-kernels that it calls.

    out[p, q, m, n] = epilogue(sum over k of a[p, q, m, k] * b[p, q, k, n])

A kernel is generated for a `Form`: a dtype, the height and width of its tiles, how each operand is read, an epilogue.
Extents, strides and blocks are run-time values (`SLOTS`), so all shapes of one form share a kernel. The scheme is that
of GotoBLAS and BLIS (Van Zee & van de Geijn 2015), less what a shape does not need:

- A tile is `rows` x `vectors` of accumulators, as many as take least for a shape: 6 x 4 or 9 x 3 with AVX-512, and for few rows as
  wide as registers allow (1 x 16), so that `b` is read in long runs. The rows of `out` are spread evenly over tiles: two heights occur, r and r - 1.
- A unit is one block of `out`: some tiles of rows, some panels of columns. It packs for itself: threads share nothing.
  For each tile of rows, the panel of `a` stays in the first-level cache while panels of `b` stream past it, prefetched.
- An operand is copied into panels only where that pays: `b` not where few tiles read it, `a` not where its rows are
  contiguous and do not fall onto one another in the cache. See `plan`.
- The micro-kernel ends with the epilogue, from registers into `out`. Where k is cut, partial sums wait in `out` itself
  or, where that is narrower, in scratch memory. Cuts depend on shapes alone: so do the bits of a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from flambeau._backends.cpu.contract import PLAIN, TYPES, Epilogue, Tile, pair_product, tile
from flambeau._backends.cpu.emit import APART, Function, Module, V, Words, floating, size, vector
from flambeau._backends.cpu.engine import LIGHT, Code, Target, engine
from flambeau._backends.cpu.pack import packer, pair_packer, panels_packer
from flambeau._backends.cpu.registers import narrow, widen

SIZES = ("p", "q", "m", "n", "k")  # extents
BLOCK = ("tiles", "tb", "nb", "kb", "group")  # tiles of rows; tiles and columns of a block; depth; units of a chunk
STRIDES = tuple(f"{x}{d}" for x, dims in (("a", "pqmk"), ("b", "pqkn"), ("c", "pqmn")) for d in dims)  # in elements
SLOTS = ("c", "a", "b", *SIZES, *BLOCK, *STRIDES)  # then 4 per operand of the epilogue, then its scalars
AHEAD = 8  # steps of k by which lines of b are fetched before they are read
TOGETHER = 8  # panels of `a` that are packed at a time where its rows lie side by side


@dataclass(frozen=True)
class Form:
    """What a kernel is specialised to.

    `a` and `b` say how an operand is read: "rows" (its k stride is 1) or "lines" (its stride along the tile is 1), in
    place; "pack rows", "pack lines" or "pack any", copied into panels first.
    """

    dtype: str
    rows: int  # of the taller tiles
    both: bool  # tiles with one row less occur too
    vectors: int  # of a panel of columns; 0 where `out` is narrower
    edge: int  # vectors of the last panel, which may end within one; 0 where there is none
    a: str
    b: str
    dense: bool  # out's n stride is 1
    epilogue: Epilogue = PLAIN

    @property
    def heights(self) -> tuple[int, ...]:
        return (self.rows, self.rows - 1) if self.both else (self.rows,)

    @property
    def name(self) -> str:
        return "-".join(map(str, (*self.__dict__.values(),))).replace(str(self.epilogue), self.epilogue.name)


# -- one tile -------------------------------------------------------------------------------------------------------


def micro(m: Module, target: Target, form: Form, rows: int, vectors: int, edge: bool, prefix: str = "k") -> str:
    """Defines a micro-kernel and returns its name; it computes one tile of `out`.

        (args, a, as, b, bk, depth, part, step, flags, p, q, m0, n0, cols, next)

    `args` is the kernel's block of slots. a: the panel's first element; `as` is the distance of its rows where they are
    read in place, else that of its steps of k. b: likewise, `bk` between steps of k. Sums begin at 0 where flags & 1,
    else at part[row * step + column]; they go back there, or through the epilogue into `out` where flags & 2. p, q, m0,
    n0 say which tile of `out` it is, `cols` (with `edge`) how many of its columns exist. `next` is `part` of the tile after it.
    """
    memory, acc = TYPES[form.dtype]
    t = tile(target, form.dtype)
    n = t.lanes
    name = f"{prefix}_tile_{rows}_{'edge' if edge else vectors}"
    f = m.function(
        f"internal void {name}(ptr args, ptr noalias a, i64 as, ptr noalias b, i64 bk, i64 depth, ptr part, i64 step, "
        "i64 flags, i64 p, i64 q, i64 m0, i64 n0, i64 cols, ptr next)",
        APART,
    )
    args, a, as_, b, bk, depth, part, step, flags, p, q, m0, n0, cols, next = f.params
    wide, element = vector(acc, n), "i32" if t.pairs else acc
    mask = f.lane_mask(n, cols - (vectors - 1) * n) if edge else None
    partial = lambda v: mask is not None and v == vectors - 1
    read = lambda type, at, v: f.mload(type, at, mask) if partial(v) else f.load(type, at)  # type: ignore[arg-type]

    sums = [[f.var(wide, 0) for _ in range(vectors)] for _ in range(rows)]
    with f.when((flags & 1) == 0):
        for i in range(rows):
            for v in range(vectors):
                sums[i][v].set(read(wide, f.gep(acc, part, step * i + v * n), v))

    # meanwhile the next tile's sums are fetched, and the first lines of its rows, to where nothing that streams past drives them out
    each = 64 // size(acc)
    if memory == acc and form.dense:
        for i in range(rows):
            for o in range(0, vectors * n, each):
                f.prefetch(f.gep(acc, next, step * i + o), write=True)
    if form.a == "rows":
        for i in range(rows):
            for o in range(2):
                f.prefetch(f.gep(acc, a, as_ * (rows + i) + o * each), level=2)
    in_place = form.b == "lines"
    lines = range(0, vectors, max(1, 64 // (n * size(element))))
    fetch = [v * n for v in lines] if in_place or rows < vectors else []  # packed panels come by themselves

    with f.loop(0, depth) as k:  # what is fewer is held in registers: elements of a, or vectors of b
        at_a = f.gep(element, a, k if form.a == "rows" else k * as_)
        at_b = f.gep(element, b, k * bk)
        for o in fetch:
            f.prefetch(f.gep(element, at_b, bk * AHEAD + o))
        one = lambda i: f.splat(
            f.load(element, f.gep(element, at_a, as_ * i if form.a == "rows" else i), align=size(memory)), n
        )
        line = lambda v: (read if in_place else lambda type, at, v: f.load(type, at))(
            vector(element, n), f.gep(element, at_b, v * n), v
        )
        add = lambda s, x, y: s.set(pair_product(f, s.get(), x, y, t) if t.pairs else f.fma(x, y, s.get()))
        if rows < vectors:
            xs = [one(i) for i in range(rows)]
            for v in range(vectors):
                y = line(v)
                for i in range(rows):
                    add(sums[i][v], xs[i], y)
        else:
            ys = [line(v) for v in range(vectors)]
            for i in range(rows):
                x = one(i)
                for v in range(vectors):
                    add(sums[i][v], x, ys[v])

    with f.when((flags & 2) == 0):
        for i in range(rows):
            for v in range(vectors):
                at = f.gep(acc, part, step * i + v * n)
                f.mstore(sums[i][v].get(), at, mask) if partial(v) else f.store(sums[i][v].get(), at)  # type: ignore[arg-type]
        f.ret()

    slot = {s: i for i, s in enumerate(SLOTS)}
    word = lambda i, type="i64": f.load(type, f.gep("i64", args, i))
    operands = []
    for j, (dtype, along) in enumerate(form.epilogue.operands):
        kind, first = TYPES[dtype][0], len(SLOTS) + 4 * j
        base = f.gep(kind, word(first, "ptr"), p * word(first + 1) + q * word(first + 2) + m0 * word(first + 3))
        operands.append((kind, along, base, word(first + 3)))
    scalars = []
    for j in range(form.epilogue.scalars):
        s = word(len(SLOTS) + 4 * len(form.epilogue.operands) + j, "double")
        s = s if acc == "double" else f.convert("fptrunc", s, acc) if floating(acc) else f.convert("fptosi", s, acc)
        scalars.append(f.splat(s, n))
    cm, cn = word(slot["cm"]), word(slot["cn"])
    place = p * word(slot["cp"]) + q * word(slot["cq"]) + m0 * cm + (n0 if form.dense else n0 * cn)
    out = f.gep(memory, word(slot["c"], "ptr"), place)
    row = f.alloca(vector(memory, n), align=64)
    for i in range(rows):
        for v in range(vectors):
            got = []
            for kind, along, base, sm in operands:
                at = f.gep(kind, base, sm * i + (n0 + v * n if along == "row" else 0))
                o = read(vector(kind, n), at, v) if along == "row" else f.splat(f.load(kind, at), n)
                got.append(widen(f, o, acc))
            made = narrow(f, form.epilogue.body(f, sums[i][v].get(), got, scalars), memory)
            if not form.dense:
                f.store(made, row)
                with f.loop(0, f.min(cols - v * n, n) if partial(v) else n) as j:
                    f.store(f.load(memory, row, j), f.gep(memory, out, cm * i + (j + v * n) * cn))
            elif partial(v):
                f.mstore(made, f.gep(memory, out, cm * i + v * n), mask)  # type: ignore[arg-type]
            else:
                f.store(made, f.gep(memory, out, cm * i + v * n))
    return name


# -- blocks and panels ----------------------------------------------------------------------------------------------


def arguments(f: Function) -> Words:
    """The words that a kernel gets, but those of the epilogue."""
    return Words(f, " ".join(SLOTS[:3]), " ".join(SLOTS[3:]))


def together(form: Form, t: Tile) -> int:
    """Panels of `a` that are packed at a time; 0 where it is read in place."""
    return TOGETHER if form.a == "pack lines" and not t.pairs else int(form.a.startswith("pack"))


def ceil(x: V, by: V | int) -> V:
    return (x + (by - 1)) // by


@contextmanager
def units(f: Function, w: Words, width: int) -> Iterator[tuple[V, ...]]:
    """The units of a kernel's chunks. Of each: its tiles of rows (the first, and the one past the last), first column, columns, p and q.

    Panels are `width` columns. No block is more than one tile or panel larger than another: threads end together.
    """
    _, begin, end, _ = f.params
    mblocks, nblocks, panels = ceil(w["tiles"], w["tb"]), ceil(w["n"], w["nb"]), ceil(w["n"], width)
    count = w["p"] * w["q"] * mblocks * nblocks
    with f.loop(begin * w["group"], f.min(end * w["group"], count)) as unit:
        i, rest = unit % mblocks, unit // mblocks
        j, rest = rest % nblocks, rest // nblocks
        n0, n1 = j * panels // nblocks * width, f.min((j + 1) * panels // nblocks * width, w["n"])
        yield i * w["tiles"] // mblocks, (i + 1) * w["tiles"] // mblocks, n0, n1 - n0, rest // w["q"], rest % w["q"]


def text(target: Target, form: Form) -> Module:
    """IR of one kernel, `k`."""
    m = Module(f"product {form.name}", target.has("avx512bf16"))
    define(m, target, form)
    return m


def define(m: Module, target: Target, form: Form, name: str = "k") -> None:
    """Defines name(args, begin, end, scratch), the product of a form, in a module: another kernel may call it there.

    `args` points to 64-bit words, those of `SLOTS` in their order: addresses, extents, blocks (`matmul.choose`) and strides
    in elements; then for each operand of the epilogue its address and its strides over p, q and m; then the scalars, as
    float64. Chunks begin..end are computed, each `group` units, of p * q * blocks of rows * blocks of columns; any thread
    may compute any chunk, and they write disjoint parts of `out`. `scratch` is `matmul.scratch` bytes of the calling
    thread's own, aligned to a cache line. `out` is written only, and overlaps nothing that is read.
    """
    memory, acc = TYPES[form.dtype]
    t = tile(target, form.dtype)
    n = t.lanes
    element = "i32" if t.pairs else acc  # of panels
    many = together(form, t)
    if many > 1:
        for rows in form.heights:
            panels_packer(m, f"{name}_pack_a{rows}", memory, acc, n, rows, many)
    for operand, how in (("a", form.a), ("b", form.b)):
        if how.startswith("pack") and (operand == "b" or many == 1):
            if t.pairs:
                pair_packer(m, f"{name}_pack_{operand}", n)
            else:
                packer(m, f"{name}_pack_{operand}", memory, acc, n, how[5:])
    whole_b = form.b == "pack lines" and form.vectors > 1 and not t.pairs  # its rows may be a page apart
    if whole_b:
        panels_packer(m, f"{name}_pack_whole", memory, acc, n, form.vectors * n, 1)
    tiles = {}
    for rows in form.heights:
        tiles[rows] = [micro(m, target, form, rows, form.vectors, False, name)] if form.vectors else []
        tiles[rows] += [micro(m, target, form, rows, form.edge, True, name)] if form.edge else []
    width = (form.vectors or form.edge) * n  # of panels

    f = m.function(f"void {name}(ptr args, i64 begin, i64 end, ptr scratch)")
    args, *_, scratch = f.params
    w = arguments(f)
    few, more = w["m"] // w["tiles"], w["m"] % w["tiles"]  # `more` tiles have one row above `few`
    deep = w["kb"] + 1 >> 1 if t.pairs else w["kb"]  # steps of a full panel
    ap = scratch
    bp = f.gep(element, ap, (deep * form.rows + n) * many)
    sums = f.gep(element, bp, ceil(w["nb"], width) * width * deep if form.b.startswith("pack") else 0)
    with units(f, w, width) as (i0, i1, n0, cols, p, q):
        first_row = i0 * few + f.min(i0, more)
        a0 = f.gep(memory, w["a"], p * w["ap"] + q * w["aq"])
        b0 = f.gep(memory, w["b"], p * w["bp"] + q * w["bq"] + n0 * w["bn"])
        own = memory == acc and form.dense  # partial sums wait in `out`
        # k == 0 still stores the epilogue of 0: the loop runs at least once
        with f.loop(0, f.max(w["k"], 1), w["kb"]) as k0:
            depth = f.min(w["k"] - k0, w["kb"])
            steps = depth + 1 >> 1 if t.pairs else depth
            if form.b.startswith("pack"):
                first = cols - cols % width if whole_b else f.value(0, "i64")
                if whole_b:
                    with f.loop(0, first, width) as j:
                        src, to = f.gep(memory, b0, j + k0 * w["bk"]), f.gep(element, bp, j * steps)
                        one = f.value(1, "i64")
                        f.call("void", f"{name}_pack_whole", to, one, src, one, depth, w["bk"])
                with f.loop(first, cols, width) as j:
                    for v in range(width // n):
                        count = cols - j - v * n
                        with f.when(count > 0):
                            src = f.gep(memory, b0, (j + v * n) * w["bn"] + k0 * w["bk"])
                            dst = f.gep(element, bp, j * steps + v * n)
                            gap = f.value(width, "i64")
                            f.call("void", f"{name}_pack_b", dst, gap, src, count, depth, w["bn"], w["bk"])
            flags = f.select(k0 == 0, 1, 0, "i64") | f.select(k0 + w["kb"] >= w["k"], 2, 0, "i64")

            def across(i: V, rows: int, packed: V | None = None) -> None:
                """One tile of rows, all panels; it is already `packed` where several are at a time."""
                row = i * few + f.min(i, more)
                src = f.gep(memory, a0, row * w["am"] + k0 * w["ak"])
                panel, gap = src, w["am" if form.a == "rows" else "ak"]
                gap = gap >> 1 if t.pairs else gap  # of pairs
                if packed is not None:
                    panel, gap = packed, f.value(rows, "i64")
                elif form.a.startswith("pack"):
                    # groups of lanes from the last to the first: each overwrites the rubbish of the one after it
                    for g in reversed(range(-(-rows // n))):
                        part_of = f.gep(memory, src, w["am"] * (g * n))
                        count, to = f.value(rows - g * n, "i64"), f.gep(element, ap, g * n)
                        f.call(
                            "void", f"{name}_pack_a", to, f.value(rows, "i64"), part_of, count, depth, w["am"], w["ak"]
                        )
                    panel, gap = ap, f.value(rows, "i64")
                if own:
                    part, step = f.gep(memory, w["c"], p * w["cp"] + q * w["cq"] + row * w["cm"] + n0), w["cm"]
                else:
                    part, step = f.gep(acc, sums, (row - first_row) * w["nb"]), w["nb"]

                def call(micro_kernel: str, j: V) -> None:
                    if form.b == "lines":
                        line, down = f.gep(memory, b0, k0 * w["bk"] + j), w["bk"]
                    else:
                        line, down = f.gep(element, bp, j * steps), f.value(width, "i64")
                    here = f.gep(acc, part, j)
                    next = f.gep(acc, part, f.select(j + width < cols, j + width, step * rows))
                    f.call("void", micro_kernel, args, panel, gap, line, down, steps, here, step,
                           flags, p, q, row, n0 + j, cols - j, next)  # fmt: skip

                names = list(tiles[rows])
                if form.vectors and form.edge:
                    whole = cols - cols % width
                    with f.loop(0, whole, width) as j:
                        call(names[0], j)
                    with f.when(whole < cols):
                        call(names[1], whole)
                else:
                    with f.loop(0, cols, width) as j:
                        call(names[0], j)

            def down(begin: V, end: V, rows: int) -> None:
                """Tiles of one height."""
                if many < 2:
                    with f.loop(begin, end) as i:
                        across(i, rows)
                    return
                with f.loop(begin, end, many) as first:
                    src = f.gep(memory, a0, (first * few + f.min(first, more)) * w["am"] + k0 * w["ak"])
                    count, step = f.min(end - first, many), deep * rows + n
                    f.call("void", f"{name}_pack_a{rows}", ap, step, src, count, depth, w["ak"])
                    with f.loop(0, count) as i:
                        across(first + i, rows, f.gep(element, ap, i * step))

            middle = f.max(f.min(more, i1), i0) if form.both else i1
            down(i0, middle, form.rows)
            if form.both:
                down(middle, i1, form.rows - 1)


@cache
def kernel(form: Form) -> Code:
    """The compiled product; `code["k"]` has the signature of every kernel."""
    native = engine()
    parts = [("kernel", "product"), ("form", form.name)]
    return native.load(lambda: str(text(native.target, form)), ["k"], parts=parts, level=LIGHT)

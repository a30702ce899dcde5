"""Vectors in registers: widened from memory, narrowed back to it, transposed."""

from __future__ import annotations

from flambeau._backends.cpu.emit import Function, V, floating, lane, lanes, vector


def transpose(f: Function, rows: list[V], distance: int | None = None) -> list[V]:
    """n vectors of n lanes -> their transpose, in log2(n) rounds of two-operand shuffles; those of `distance` on."""
    n = len(rows)
    d = n // 2 if distance is None else distance
    while d:
        order = [i if i & d == 0 else i - d + n for i in range(n)]  # of row r and r + d: the blocks with bit d clear
        other = [i + d if i & d == 0 else i + n for i in range(n)]
        done = list(rows)
        for r in range(n):
            if r & d == 0:
                done[r], done[r + d] = f.shuffle(rows[r], rows[r + d], order), f.shuffle(rows[r], rows[r + d], other)
        rows, d = done, d // 2
    return rows


def widen(f: Function, x: V, to: str) -> V:
    """A value in memory's type, in the accumulator's."""
    type = vector(to, lanes(x.type))
    if x.type == type:
        return x
    if lane(x.type) == "bfloat" and to == "float":  # the upper half of a float
        n = lanes(x.type)
        upper = f.convert("zext", f.convert("bitcast", x, vector("i16", n)), vector("i32", n))
        return f.convert("bitcast", upper << f.value(16, upper.type), type)
    return f.convert("fpext" if floating(to) else "sext", x, type)


def narrow(f: Function, x: V, to: str) -> V:
    """A value of the accumulator's type, in memory's."""
    type = vector(to, lanes(x.type))
    if x.type == type:
        return x
    if to == "bfloat" and not f.module.rounds_bfloat:  # to nearest, ties to even; NaN stays NaN
        n = lanes(x.type)
        word = f.convert("bitcast", x, vector("i32", n))
        even = word + ((word >> f.value(16, word.type)) & f.value(1, word.type)) + f.value(0x7FFF, word.type)
        nan = f.emit(vector("i1", n), f"fcmp uno {x}, {x.name}")
        kept = f.select(nan, word | f.value(0x400000, word.type), even) >> f.value(16, word.type)
        return f.convert("bitcast", f.convert("trunc", kept, vector("i16", n)), type)
    return f.convert("fptrunc" if floating(to) else "trunc", x, type)

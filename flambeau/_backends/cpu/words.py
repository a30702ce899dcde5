"""The words of the kernel language on lanes: arithmetic, tests, casts and memory forms. Functions of reals are in `vecmath`."""

from __future__ import annotations

from collections.abc import Callable

from flambeau._backends.cpu import vecmath, vecmath_special
from flambeau._backends.cpu.lanes import BITS, Builder, Value, spell
from flambeau._kernel.ir import INTS, Scalar

MEMORY = {"float32": "float", "float64": "double", "float16": "half", "bfloat16": "i16", "bool": "i8"} | {
    name: f"i{bits}" for name, bits in INTS.items()
}
MEMORY_TYPES = {"float": "f32", "double": "f64", "half": "f16"}  # LLVM's name -> ours
BYTES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "bool": 1} | {
    name: bits // 8 for name, bits in INTS.items()
}
TYPES = {"float32": "f32", "float64": "f64", "bool": "i1"} | {name: f"i{bits}" for name, bits in INTS.items()}


# ---------------------------------------------------------------- memory


def from_memory(b: Builder, v: Value, dtype: str) -> Value:
    """What was loaded, in the form arithmetic has."""
    match dtype:
        case "bool":
            return v != 0
        case "float16":
            return b.convert("fpext", v, "f32")
        case "bfloat16":
            return b.from_bits(b.convert("zext", v, "i32") << 16)
    return v


def to_memory(b: Builder, v: Value, dtype: str) -> Value:
    match dtype:
        case "bool":
            return b.convert("zext", v, "i8")
        case "float16":
            return b.convert("fptrunc", v, "f16")
        case "bfloat16":
            return b.convert("trunc", b.lshr(bfloat(b, v), 16), "i16")
    return v


def bfloat(b: Builder, v: Value) -> Value:
    """The bits of a float32, rounded (ties to even) so that the upper half is the bfloat16; NaN stays NaN."""
    i = b.bits(v)
    rounded = i + 0x7FFF + (b.lshr(i, 16) & 1)
    return b.select(b.isnan(v), 0x7FC00000, rounded) & -0x10000


def cast(b: Builder, v: Value, source: str, to: str) -> Value:
    """As C does; a float too large for an integer becomes what the machine gives."""
    if to == "bfloat16":
        return b.from_bits(bfloat(b, cast(b, v, source, "float32")))
    if to == "float16":
        return b.convert("fpext", b.convert("fptrunc", cast(b, v, source, "float32"), "f16"), "f32")
    if source == to:
        return v
    type, unsigned = TYPES[to], source.startswith(("u", "b"))
    if to == "bool":
        return v != 0
    if v.real and type[0] == "f":
        return b.widen(v) if type == "f64" else b.narrow(v)
    if v.real:
        if to == "uint64":
            return b.convert("fptoui", v, "i64")
        wide = "i64" if to in ("int64", "uint32") else "i32"
        whole = b.convert("fptosi", v, wide)
        return whole if wide == type else b.convert("trunc", whole, type)
    if type[0] == "f":
        return b.convert("uitofp" if unsigned else "sitofp", v, type)
    have, want = BITS[v.type], BITS[type]
    if have == want:
        return v
    return b.convert("trunc" if have > want else "zext" if unsigned else "sext", v, type)


# ---------------------------------------------------------------- words


def maximum(b: Builder, x: Value, y: Value, dtype: str, sign: int = 1) -> Value:
    """The larger (or with sign -1 the smaller); NaN where either is."""
    x, y = b.agree(x, y)
    if x.real:
        best = b.larger(x, y) if sign > 0 else b.smaller(x, y)  # y where either is NaN
        return b.select(b.isnan(x), x, best)
    if x.type == "i1":
        return x | y if sign > 0 else x & y
    name = ("u" if dtype.startswith("u") else "s") + ("max" if sign > 0 else "min")
    return b.call(x.type, x.lanes, f"llvm.{name}.{b.suffix(x)}", x, y)


def fold(b: Builder, op: str, x: Value, y: Value, dtype: str) -> Value:
    """One step of a reduction."""
    match op:
        case "add":
            return x | y if x.type == "i1" else x + y
        case "mul":
            return x & y if x.type == "i1" else x * y
        case "maximum":
            return extreme(b, x, y, dtype)
        case "minimum":
            return extreme(b, x, y, dtype, -1)
        case "logical_and":
            return x & y
        case "logaddexp":
            return logaddexp(b, x, y)
    return x | y


def extreme(b: Builder, x: Value, y: Value, dtype: str, sign: int = 1) -> Value:
    """`maximum` of what was found and of what is met next: of zeros, one or the other. Whether y is NaN is known before x is."""
    if not x.real:
        return maximum(b, x, y, dtype, sign)
    x, y = b.agree(x, y)
    name, kind = f"llvm.{'maximum' if sign > 0 else 'minimum'}.{b.suffix(x)}", spell(x.type, x.lanes)
    b.declared.setdefault(name, f"declare {kind} @{name}({kind}, {kind})")
    return b.emit(x.type, x.lanes, f"call nsz {kind} @{name}({y}, {x})")


def logaddexp(b: Builder, x: Value, y: Value) -> Value:
    """log(exp(x) + exp(y)), without overflow; NaN where either is."""
    apart = b.select(x == y, b.const(0.0, x), b.abs(x - y))  # equal infinities are no distance apart
    apart = b.smaller(
        b.const(80.0 if x.type == "f32" else 700.0, x), apart
    )  # denormal exponentials are slow, and nothing
    return maximum(b, x, y, "") + vecmath.log1p(b, vecmath.exp(b, -apart))


def compare(b: Builder, op: str, x: Value, y: Value, dtype: str) -> Value:
    x, y = b.agree(x, y)
    signs = {
        "lt": ("olt", "lt"),
        "le": ("ole", "le"),
        "gt": ("ogt", "gt"),
        "ge": ("oge", "ge"),
        "eq": ("oeq", "eq"),
        "ne": ("une", "ne"),
    }
    real, whole = signs[op]
    if op not in ("eq", "ne"):
        whole = ("u" if dtype.startswith(("u", "b")) else "s") + whole
    code = f"fcmp {real}" if x.real else f"icmp {whole}"
    return b.emit("i1", x.lanes, f"{code} {x}, {y.name}")


def quotient(b: Builder, op: str, x: Value, y: Value, dtype: str) -> Value:
    """Integer floordiv, remainder (sign of y) and fmod (sign of x). A zero divisor is the caller's error: here it gives 0."""
    x, y = b.agree(x, y)
    zero = y == 0
    if dtype.startswith("u"):
        y = b.select(zero, 1, y)
        return b.select(zero, 0, b.udiv(x, y) if op == "floordiv" else b.urem(x, y))
    minus = y == -1  # the least integer / -1 overflows, and traps
    y = b.select(zero | minus, 1, y)
    q, r = x / y, b.srem(x, y)
    if op == "fmod":
        return r
    off = (r != 0) & ((r ^ y) < 0)
    if op == "floordiv":
        return b.select(zero, 0, b.select(minus, 0 - x, b.select(off, q - 1, q)))
    return b.select(off, r + y, r)


def shift(b: Builder, op: str, x: Value, n: Value, dtype: str) -> Value:
    """Counts outside the width shift everything out."""
    x, n = b.agree(x, n)
    bits = BITS[x.type]
    over = ~b.below(n, bits)
    if op == "lshift":
        return b.select(over, 0, x << b.select(over, 0, n))
    if dtype.startswith("u"):
        return b.select(over, 0, b.lshr(x, b.select(over, 0, n)))
    return x >> b.select(over, bits - 1, n)


def sign(b: Builder, x: Value, dtype: str) -> Value:
    if dtype.startswith("u"):
        return b.select(x != 0, b.const(1, x), 0)
    up, down = b.select(x > 0, b.const(1, x), 0), b.select(x < 0, b.const(1, x), 0)
    return up - down


def word(b: Builder, e: Scalar, x: list[Value]) -> Value:
    """The value of a word, of operands already computed."""
    op, first = e.op, x[0]
    dtype = e.src[-1].dtype
    match op:
        case "cast":
            return cast(b, first, e.src[0].dtype, e.arg)
        case "where":
            return b.select(first, x[1], x[2])
        case "fma":
            return b.fma(*x)
        case "add" | "mul" if first.type == "i1":
            return first | x[1] if op == "add" else first & x[1]
        case "add":
            return first + x[1]
        case "sub":
            return first - x[1]
        case "mul":
            return first * x[1]
        case "div":
            return first / x[1]
        case "neg":
            return -first
        case "lt" | "le" | "gt" | "ge" | "eq" | "ne":
            return compare(b, op, first, x[1], dtype)
        case "maximum" | "minimum":
            return maximum(b, first, x[1], dtype, 1 if op == "maximum" else -1)
        case "logical_and" | "bitwise_and":
            return first & x[1]
        case "logical_or" | "bitwise_or":
            return first | x[1]
        case "logical_xor" | "bitwise_xor":
            return first ^ x[1]
        case "logical_not":
            return ~first
        case "invert":
            return ~first
        case "lshift" | "rshift":
            return shift(b, op, first, x[1], dtype)
        case "abs":
            return first if dtype.startswith(("u", "b")) else b.abs(first)
        case "sign":
            return sign(b, first, dtype)
        case "isnan":
            return b.isnan(first) if first.real else b.number(0, "i1")
        case "isinf":
            return b.abs(first) == float("inf") if first.real else b.number(0, "i1")
        case "signbit":
            return b.bits(first) < 0 if first.real else b.number(0, "i1") if dtype.startswith(("u", "b")) else first < 0
        case "fmax" | "fmin":
            return fmax(b, op, first, x[1], dtype)
        case "floordiv" | "fmod" | "remainder" if not first.real:
            return quotient(b, op, first, x[1], dtype)
        case "floor" | "ceil" | "round" | "trunc" if not first.real:
            return first
        case "ldexp":
            power = x[1] if x[1].real else cast(b, x[1], e.src[1].dtype, e.dtype)
            return first * vecmath.exp2(b, power)
    function: Callable[..., Value] | None = getattr(vecmath, op, None) or getattr(vecmath_special, op, None)
    if function is None or not first.real:
        raise NotImplementedError(f"{op} of {dtype} in a native kernel")
    return function(b, *b_agree(b, x))


def b_agree(b: Builder, x: list[Value]) -> list[Value]:
    return x if len(x) == 1 else list(b.agree(*x))


def fmax(b: Builder, op: str, x: Value, y: Value, dtype: str) -> Value:
    """The larger or smaller; of a NaN and a number, the number."""
    x, y = b.agree(x, y)
    if not x.real:
        return maximum(b, x, y, dtype, 1 if op == "fmax" else -1)
    best = b.larger(y, x) if op == "fmax" else b.smaller(y, x)  # x where either is NaN
    return b.select(b.isnan(x), y, best)

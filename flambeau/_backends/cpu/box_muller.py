"""Box and Muller's transform in native code: `_values.normal.box_muller`, instruction for instruction, sixteen numbers at a time.

It gives the same bits as the NumPy text, which says what the steps are; here every fused multiply-add is one instruction.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.engine import Code, available, engine
from flambeau._values import normal

LANES = 8
GRAIN = 1 << 10  # blocks of a chunk
F, I = f"<{LANES} x float>", f"<{LANES} x i32>"


def _floats(value: Any) -> str:
    """A vector constant. LLVM writes a float as the double of the same value."""
    word = "0x" + struct.pack(">d", float(np.float32(value))).hex().upper()
    return "<" + ", ".join([f"float {word}"] * LANES) + ">"


def _ints(value: int) -> str:
    return "<" + ", ".join([f"i32 {value}"] * LANES) + ">"


class _Text:
    """Lines of IR; each method emits one instruction and returns its name."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, instruction: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def mul(self, x: str, y: str) -> str:
        return self(f"fmul {F} {x}, {y}")

    def add(self, x: str, y: str) -> str:
        return self(f"fadd {F} {x}, {y}")

    def fma(self, x: str, y: str, z: str) -> str:
        return self(f"call {F} @llvm.fma.v{LANES}f32({F} {x}, {F} {y}, {F} {z})")

    def bits(self, x: str) -> str:
        return self(f"bitcast {F} {x} to {I}")

    def float(self, x: str) -> str:
        return self(f"bitcast {I} {x} to {F}")


def _uniform(t: _Text, words: str) -> str:
    """24 random bits as a float in [0, 1)."""
    low = t(f"and {I} {words}, {_ints(0xFFFFFF)}")
    return t.mul(t(f"uitofp {I} {low} to {F}"), _floats(2.0**-24))


def _radius(t: _Text, u: str) -> str:
    """sqrt(-2 log(1 - u))."""
    u1 = t(f"fsub {F} {_floats(1)}, {u}")
    bits = t.bits(u1)
    e = t(f"sitofp {I} {t(f'sub {I} ' + t(f'lshr {I} {bits}, {_ints(23)}') + f', {_ints(126)}')} to {F}")
    m = t.float(t(f"or {I} {t(f'and {I} {bits}, {_ints(0x807FFFFF - (1 << 32))}')}, {_ints(0x3F000000)}"))
    below = t(f"fcmp olt {F} {m}, {_floats(normal.SQRT_HALF)}")
    e = t(f"select <{LANES} x i1> {below}, {F} {t(f'fsub {F} {e}, {_floats(1)}')}, {F} {e}")
    x = t(f"fsub {F} {m}, {_floats(1)}")
    x = t(f"select <{LANES} x i1> {below}, {F} {t.add(x, m)}, {F} {x}")
    square = t.mul(x, x)
    y = _floats(normal.LOG[0])
    for c in normal.LOG[1:]:
        y = t.fma(y, x, _floats(c))
    y = t.fma(t.mul(x, y), square, t.mul(e, _floats(normal.LN2_LOW)))
    y = t(f"fsub {F} {y}, {t.mul(square, _floats(0.5))}")
    y = t.fma(e, _floats(normal.LN2_HIGH), t.add(x, y))
    return t(f"call {F} @llvm.sqrt.v{LANES}f32({F} {t.mul(y, _floats(-2))})")


def _circle(t: _Text, u: str) -> tuple[str, str]:
    """(cos, sin) of 2 pi u."""
    theta = t.mul(u, _floats(normal.TWO_PI))
    j = t(f"fptosi {F} {t.mul(theta, _floats(normal.FOUR_OVER_PI))} to {I}")
    j = t(f"and {I} {t(f'add {I} {j}, {_ints(1)}')}, {_ints(-2)}")
    turns = t(f"sitofp {I} {j} to {F}")
    x = theta
    for c in normal.PI_4:
        x = t.fma(turns, _floats(c), x)
    square = t.mul(x, x)
    sine = t.fma(t.fma(_floats(normal.SIN[0]), square, _floats(normal.SIN[1])), square, _floats(normal.SIN[2]))
    sine = t.fma(t.mul(square, sine), x, x)
    cosine = t.fma(t.fma(_floats(normal.COS[0]), square, _floats(normal.COS[1])), square, _floats(normal.COS[2]))
    half = t(f"fneg {F} {t.mul(square, _floats(0.5))}")
    cosine = t.add(t.fma(t.mul(square, cosine), square, half), _floats(1))
    odd = t(f"icmp ne {I} {t(f'and {I} {j}, {_ints(2)}')}, {_ints(0)}")
    sin_bits = t.bits(t(f"select <{LANES} x i1> {odd}, {F} {cosine}, {F} {sine}"))
    cos_bits = t.bits(t(f"select <{LANES} x i1> {odd}, {F} {sine}, {F} {cosine}"))
    flip_sin = t(f"shl {I} {t(f'and {I} {j}, {_ints(4)}')}, {_ints(29)}")
    turned = t(f"xor {I} {t(f'sub {I} {j}, {_ints(2)}')}, {_ints(-1)}")
    flip_cos = t(f"shl {I} {t(f'and {I} {turned}, {_ints(4)}')}, {_ints(29)}")
    return t.float(t(f"xor {I} {cos_bits}, {flip_cos}")), t.float(t(f"xor {I} {sin_bits}, {flip_sin}"))


def text() -> str:
    """Blocks of eight words for radii and eight for angles: a kernel, `normals`, over (words, out, blocks, mean, std)."""
    t = _Text()
    here = t("getelementptr i32, ptr %words, i64 %at")
    radius = _radius(t, _uniform(t, t(f"load {I}, ptr {here}, align 4")))
    there = t(f"getelementptr i32, ptr {here}, i64 {LANES}")
    pair = _circle(t, _uniform(t, t(f"load {I}, ptr {there}, align 4")))
    out = t("getelementptr float, ptr %out, i64 %at")
    for i, part in enumerate(pair):
        value = t.fma(t.mul(radius, part), "%stds", "%means")
        where = t(f"getelementptr float, ptr {out}, i64 {i * LANES}")
        t.lines.append(f"  store {F} {value}, ptr {where}, align 4")
    body = "\n".join(t.lines)
    splat = "\n".join(
        f"  %{n}0 = insertelement {F} poison, float %{n}, i32 0\n"
        f"  %{n}s = shufflevector {F} %{n}0, {F} poison, {I} zeroinitializer"
        for n in ("mean", "std")
    )
    return f"""; Box and Muller's transform
declare {F} @llvm.fma.v{LANES}f32({F}, {F}, {F})
declare {F} @llvm.sqrt.v{LANES}f32({F})
define internal void @box_muller(ptr %words, ptr %out, i64 %blocks, float %mean, float %std) nounwind {{
entry:
{splat}
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %work ]
  %more = icmp ult i64 %i, %blocks
  br i1 %more, label %work, label %done
work:
  %at = mul i64 %i, {2 * LANES}
{body}
  %next = add i64 %i, 1
  br label %loop
done:
  ret void
}}
define void @normals(ptr %args, i64 %begin, i64 %end, ptr %scratch) nounwind {{
  %words = load ptr, ptr %args
  %p1 = getelementptr i64, ptr %args, i64 1
  %out = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %args, i64 2
  %count = load i64, ptr %p2
  %p3 = getelementptr i64, ptr %args, i64 3
  %mean8 = load double, ptr %p3
  %mean = fptrunc double %mean8 to float
  %p4 = getelementptr i64, ptr %args, i64 4
  %std8 = load double, ptr %p4
  %std = fptrunc double %std8 to float
  %first = mul i64 %begin, {GRAIN}
  %end1 = mul i64 %end, {GRAIN}
  %last = call i64 @llvm.smin.i64(i64 %end1, i64 %count)
  %blocks = sub i64 %last, %first
  %at = mul i64 %first, {2 * LANES}
  %from = getelementptr i32, ptr %words, i64 %at
  %to = getelementptr float, ptr %out, i64 %at
  call void @box_muller(ptr %from, ptr %to, i64 %blocks, float %mean, float %std)
  ret void
}}
declare i64 @llvm.smin.i64(i64, i64)
"""


@cache
def code() -> Code | None:
    """The compiled functions; None where there is no native code or no fused multiply-add."""
    if not available():
        return None
    e = engine()
    if not (e.target.has("fma") or e.target.triple.startswith(("aarch64", "arm64"))):
        return None
    return e.load(text, ["normals"], parts=[("kernel", "box_muller")])

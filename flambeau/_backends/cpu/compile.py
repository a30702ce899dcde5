"""Expressions and arguments -> a plan that the launcher runs: `fuse`, `generate` and the engine put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.engine import LIGHT, Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, Table
from flambeau._backends.cpu.layouts import channels_last, last_strides
from flambeau._backends.cpu.llvm import Machine, generate
from flambeau._ground import dumps
from flambeau._kernel.body import dump as dump_body
from flambeau._kernel.fuse import Program, fuse
from flambeau._kernel.ir import WORDS, Kernel
from flambeau._kernel.loops import Layout
from flambeau._kernel.record import Expr, cast, parameter, toposort
from flambeau._kernel.show import read, show
from flambeau._values.dtype import BY_NAME, float64, int64, of
from flambeau._values.shape import elementwise_strides

RELEASE = 1 << 16  # elements from which the interpreter's lock is given up
VERSION = 1


def layout(x: Any) -> Layout:
    """Where an argument's elements are; a Python number is passed by value."""
    if isinstance(x, np.ndarray):
        return Layout(of(x.dtype).name, x.shape, tuple(s // x.itemsize for s in x.strides))
    return Layout("float64" if isinstance(x, float) else "int64", (), (), scalar=True)


def recorded(x: Any, i: int) -> Expr:
    """The i-th parameter, of the argument's shape and dtype."""
    if isinstance(x, np.ndarray):
        return parameter(i, x.shape, of(x.dtype))
    return parameter(i, (), float64 if isinstance(x, float) else int64)


def fits(x: np.ndarray[Any, Any]) -> bool:
    """Whether a kernel can walk the array: aligned, and strides that are whole elements."""
    return bool(x.flags.aligned) and all(s % x.itemsize == 0 for s in x.strides)


@cache
def machine(target: Target) -> Machine:
    """What generation needs to know of a target."""
    arm = target.triple.startswith(("aarch64", "arm64"))
    return Machine(target.vector_bytes, arm or target.has("fma"), target.scales, target.registers)


_codes: dict[str, Code] = {}


def native(kernel: Kernel | str) -> Code:
    """The machine code of a kernel, or of its text, made once; its entry is `k`."""
    text = kernel if isinstance(kernel, str) else show(kernel)
    code = _codes.get(text)
    if code is None:
        e = engine()
        m = machine(e.target)
        dumps.dump("loops", "a kernel", text)
        made_for = [("vector", m.vector), ("fma", m.fma), ("scale", m.scale), ("registers", m.registers)]
        parts = [("kernel", text), *made_for, ("version", VERSION)]
        code = _codes[text] = e.load(lambda: generate(read(text), m), ["k"], parts=parts, level=LIGHT)
    return code


def result_layout(root: Expr, args: Sequence[Any]) -> Layout:
    """Dense; but a pointwise result lies as its operands do: the dims in the order of the first one's strides that differ."""
    dense = Layout.dense(root.dtype.name, root.shape)
    arrays = [x for x in args if hasattr(x, "strides") and x.ndim and x.size > 1]
    if all(x.flags.c_contiguous for x in arrays) or not all(
        e.op in WORDS or e.op in ELEMENTWISE for e in toposort(root)
    ):
        return dense
    shapes = [(x.shape, tuple(s // x.dtype.itemsize for s in x.strides)) for x in arrays]
    return Layout(root.dtype.name, root.shape, elementwise_strides(root.shape, shapes))


def format_layout(root: Expr, args: Sequence[Any]) -> Layout | None:
    """As an image or volume lies that has its channels last, if there is one of the result's shape among the arguments."""
    if any(x.shape == root.shape and channels_last(x) for x in args if isinstance(x, np.ndarray)):
        strides = last_strides(root.shape, 1)
        return Layout(root.dtype.name, root.shape, strides)
    return None


ELEMENTWISE = {"param", "const", "expand"}


def plan(program: Program, outs: Sequence[Layout], work: int = 0) -> Plan:
    """The launcher's form of a program whose results are new arrays of these layouts."""
    offsets, temp = [], 0
    for dtype, size in program.temps:
        offsets.append(temp)
        temp += (size * BY_NAME[dtype].itemsize + 63) & -64
    launches, codes = [], []
    for step in program.launches:
        code = native(step.kernel)
        codes.append(code)
        slots = []
        for kind, n in step.operands:
            slots.append((ARG, n) if kind == "in" else (OUT, n) if kind == "out" else (TEMP, offsets[n]))
        slots += [(CONST, n) for n in (*step.sizes, *step.grain)]
        launches.append(Launch(code["k"], tuple(slots), step.chunks, step.scratch))
    return Plan(tuple(map(result, outs)), tuple(launches), temp, work >= RELEASE, keep=tuple(codes))


def result(out: Layout) -> Result:
    dtype = BY_NAME[out.dtype].np
    dense = out.strides == Layout.dense(out.dtype, out.shape).strides
    return Result(dtype, out.shape, None if dense else tuple(s * dtype.itemsize for s in out.strides))


def prepared(roots: Sequence[Expr], args: Sequence[Any], formats: bool = False) -> Plan:
    """The plan of recorded expressions for arguments like these."""
    outs = [(format_layout(r, args) if formats else None) or result_layout(r, args) for r in roots]
    program = fuse(roots, [layout(x) for x in args], outs)
    return plan(
        program, outs, max(x.size for x in (*(a for a in args if isinstance(a, np.ndarray)), *map(empty, outs)))
    )


def empty(out: Layout) -> Any:
    """Something of the layout's size."""
    return np.broadcast_to(np.uint8(0), out.shape)


def prepared_into(root: Expr, args: Sequence[Any]) -> Plan | None:
    """The plan that writes one expression of `args[1:]` into `args[0]`; None where it does not fit there."""
    target = args[0]
    where = layout(target)
    if root.shape != target.shape or any(s == 0 and n > 1 for s, n in zip(where.strides, target.shape, strict=True)):
        return None
    program = fuse((cast(root, of(target.dtype)),), [layout(x) for x in args], [where])
    made = plan(program, [where], target.size)
    launches = tuple(
        replace(x, slots=tuple((ARG, 0) if slot[0] == OUT else slot for slot in x.slots)) for x in made.launches
    )
    return replace(made, results=(), launches=launches, written=(0,))


def compile(
    body: Callable[..., Any], name: str = "kernel", write: bool = False, formats: bool = False
) -> Callable[..., Any]:
    """`body(*exprs)` as a function of arrays and numbers: recorded and compiled for each signature that it meets.

    With `write`, a function of the array to write into and then those of the body; it answers None where the result does not
    fit there, or the arrays overlap in some other way than being the same view. With `formats`, results have their channels
    last where an argument of their shape has.
    """
    table = Table(name)

    def call(*args: Any) -> Any:
        out = table.call(*args)
        if out is None and not all(fits(x) for x in args if isinstance(x, np.ndarray)):
            return None
        if out is None and write:
            root = body(*(recorded(x, i) for i, x in enumerate(args) if i))
            dump_body(name, root if isinstance(root, tuple) else (root,))
            made = None if isinstance(root, tuple) or not args[0].flags.writeable else prepared_into(root, args)
            if made is not None:
                table.add(args, made)
                out = table.call(*args)
        elif out is None:
            root = body(*(recorded(x, i) for i, x in enumerate(args)))
            roots = root if isinstance(root, tuple) else (root,)
            dump_body(name, roots)
            table.add(args, prepared(roots, args, formats))
            out = table.call(*args)
        return out

    return call

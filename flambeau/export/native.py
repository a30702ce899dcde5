"""A model as an object file and a C header: its kernels, its weights and one function; no Python, no other library.

The function computes what the model does for inputs of the shapes that it was traced with. It runs on one thread, and uses
memory of the object's own: calls from several threads must not overlap.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import flambeau
from flambeau._backends.cpu import compile as compiling, engine as engines
from flambeau._backends.cpu.engine import LEVEL, TARGETS, Code, Engine, Target, host
from flambeau._backends.cpu.entry import native_entry
from flambeau._backends.cpu.launch import GATE, Plan
from flambeau._backends.cpu.threads import pool
from flambeau._capture import readings
from flambeau._capture.assembly import Assembly, Segment
from flambeau._capture.expressions import Program, build
from flambeau._capture.place import Place
from flambeau._capture.schedule import Schedule
from flambeau._values.shape import contiguous_strides
from flambeau.fx import GraphModule
from flambeau.fx.experimental.proxy_tensor import make_fx

C_TYPES = {"float32": "float", "float64": "double", "int64": "int64_t", "int32": "int32_t", "int16": "int16_t", "int8": "int8_t",
           "uint8": "uint8_t", "bool": "uint8_t", "float16": "uint16_t", "bfloat16": "uint16_t"}  # fmt: skip
LINE = 64


def emit(
    model: Callable[..., Any],
    inputs: Sequence[Any],
    path: str | Path,
    triple: str | Target | None = None,
    name: str = "model",
) -> None:
    """Write `path` (an object file) and the header beside it (`.h`).

    Args:
        model: what to trace: a module, or a function of tensors; its parameters and buffers become data of the object.
        inputs: example tensors; the function takes contiguous arrays of these shapes.
        path: where to write.
        triple: the machine: an LLVM triple, a name of `TARGETS`, or None for this one.
        name: the C function's name.
    """
    target = chosen(triple)
    gm, weights = traced(model, inputs)
    native_entry()  # what this process itself needs is made before another machine's code is asked for
    pool()
    with emitting(target) as native:
        made = Laid(build(gm, [*inputs, *weights], readings.ROUTINES, readings.OPERATORS), len(inputs))
        text = Text(made, native, weights, name)
        data = text.object()
    Path(path).write_bytes(data)
    Path(path).with_suffix(".h").write_text(text.header())


def chosen(triple: str | Target | None) -> Target:
    """The machine of a triple: the oldest one worth a wide build."""
    if triple is None:
        return host()
    if isinstance(triple, Target):
        return triple
    known = TARGETS.get(triple) or next((t for t in TARGETS.values() if t.triple == triple), None)
    return known or Target(triple, "generic", "")


def traced(model: Callable[..., Any], inputs: Sequence[Any]) -> tuple[GraphModule, list[Any]]:
    """The model's graph, with its tensors as further inputs; and those tensors."""
    with flambeau.no_grad():
        gm = make_fx(lambda *xs: model(*xs))(*inputs)
    last = gm.graph.find_nodes(op="placeholder")[-1]
    weights = []
    for node in gm.graph.find_nodes(op="get_attr"):
        with gm.graph.inserting_after(last):
            last = gm.graph.placeholder(f"weight_{len(weights)}")
        weights.append(getattr(gm, str(node.target)).detach().contiguous())
        node.replace_all_uses_with(last)
        gm.graph.erase_node(node)
    gm.recompile()
    return gm, weights


class Emitting(Engine):
    """Keeps the text of what is asked for instead of loading it; addresses are numbers to find it by."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.texts: dict[int, tuple[Any, str, tuple[Code, ...]]] = {}

    def load(
        self, text: Any, exports: Any, imports: Any = (), *, parts: Any = None, level: int = LEVEL, needs: Any = ()
    ) -> Code:
        addresses = {}
        for export in exports:
            addresses[export] = (1 << 40) + len(self.texts)
            self.texts[addresses[export]] = (text, export, tuple(needs))
        return Code(None, addresses, tuple(needs))


@contextmanager
def emitting(target: Target) -> Iterator[Emitting]:
    """Within the block, generators write for another machine, and nothing is loaded."""
    native = Emitting(target)
    before, codes, kernels = engines._engine, compiling._codes, remembered()
    fresh = {fn: cache(fn.__wrapped__) for _, _, fn in kernels}
    for module, name, fn in kernels:
        setattr(module, name, fresh[fn])
    engines._engine, compiling._codes = native, {}
    try:
        yield native
    finally:
        engines._engine, compiling._codes = before, codes
        for module, name, fn in kernels:
            setattr(module, name, fn)


def remembered() -> list[tuple[Any, str, Any]]:
    """The functions that remember kernels by what they are, wherever they are named: another machine's have the same names."""
    found = []
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("flambeau._backends.cpu."):
            for name, fn in list(vars(module).items()):
                wrapped = getattr(fn, "__wrapped__", None)
                if hasattr(fn, "cache_clear") and getattr(wrapped, "__annotations__", {}).get("return") == "Code":
                    found.append((module, name, fn))
    return found


class Laid:
    """A program with a place for everything, and no function that runs it."""

    def __init__(self, program: Program, inputs: int) -> None:
        for n, r in enumerate(program.results):
            if r.expr is None:
                raise NotImplementedError("a result that is an input or a constant, in an object file")
            program.results[n] = replace(r, strides=contiguous_strides(r.expr.shape), apart=True)
        if program.writes:
            raise NotImplementedError("a model that writes its inputs or parameters, in an object file")
        self.program, self.inputs = program, inputs
        self.schedule = Schedule(program)
        made = Assembly(self.schedule, whole=True)
        self.arena_size, self.pieces = made.arena_size, made.pieces
        for piece in self.pieces:
            if not isinstance(piece, Segment):
                raise NotImplementedError(f"{piece.name} has no native code")


class Text:
    """The module: kernels, weights, and the function that calls the kernels."""

    def __init__(self, laid: Laid, native: Emitting, weights: Sequence[Any], name: str) -> None:
        self.laid, self.native, self.weights, self.name = laid, native, weights, name
        self.launches = [x for piece in laid.pieces for x in piece.launches]
        self.symbols = {
            a: f"{name}_{n}" for n, a in enumerate(dict.fromkeys(x[0] for x in self.launches if x[0] != GATE))
        }
        self.results = sorted(laid.schedule.result_views)
        self.tables: dict[int, int] = {}  # address of an array that launches point at -> its number
        self.arrays: list[Any] = []
        for piece in laid.pieces:
            self.note(piece.keep)

    def note(self, kept: Any) -> None:
        """The arrays that launches hold by their address become data of the object."""
        if isinstance(kept, np.ndarray):
            self.tables[kept.ctypes.data] = len(self.arrays)
            self.arrays.append(kept)
        elif isinstance(kept, (list, tuple)):
            for x in kept:
                self.note(x)
        elif isinstance(kept, Plan):
            self.note(kept.keep)

    def object(self) -> bytes:
        llvm = self.native.llvm
        with self.native.lock:
            module, machine = self.native.optimized(self.entry())
            shared: set[str] = set()
            for address, symbol in self.symbols.items():
                text, export, needs = self.native.texts[address]
                source = re.sub(rf"@{export}\b", f"@{symbol}", written(text))
                module.link_in(self.native.optimized(source)[0])
                for code in needs:
                    self.share(module, code, shared)
            for f in module.functions:
                if not f.is_declaration and f.name != self.name:
                    f.linkage = llvm.Linkage.internal
            return bytes(machine.emit_object(module))

    def share(self, module: Any, code: Code, shared: set[str]) -> None:
        """Link in what a kernel calls of another's code, once."""
        for export, address in code.addresses.items():
            if export not in shared:
                shared.add(export)
                text, _, needs = self.native.texts[address]
                module.link_in(self.native.optimized(written(text))[0])
                shared.update(code.addresses)  # one text defines them all
                for other in needs:
                    self.share(module, other, shared)

    def entry(self) -> str:
        """The C function: places become addresses, launches become calls."""
        out = [f"declare void @{s}(ptr, i64, i64, ptr)" for s in self.symbols.values()]
        scratch = max((x[3] for x in self.launches), default=0)
        out.append(
            f"@arena = internal global [{self.laid.arena_size + scratch + 2 * LINE} x i8] zeroinitializer, align {LINE}"
        )
        for n, w in enumerate(self.weights):
            data = w._a.tobytes()
            shown = "".join(f"\\{b:02x}" for b in data)
            out.append(f'@weight{n} = internal constant [{len(data)} x i8] c"{shown}", align {LINE}')
        for n, a in enumerate(self.arrays):
            shown = "".join(f"\\{b:02x}" for b in a.tobytes())
            out.append(f'@table{n} = internal constant [{a.nbytes} x i8] c"{shown}", align {LINE}')
        names = [f"%i{n}" for n in range(self.laid.inputs)] + [f"%o{n}" for n, *_ in self.results]
        body = ["entry:"]
        most = max((len(x[1]) for x in self.launches), default=1)
        body.append(f"  %slots = alloca [{most} x i64], align 16")
        for n in range(self.laid.inputs):
            body.append(f"  %ai{n} = ptrtoint ptr %i{n} to i64")
        for n, *_ in self.results:
            body.append(f"  %ao{n} = ptrtoint ptr %o{n} to i64")
        for n in range(len(self.weights)):
            body.append(f"  %ai{self.laid.inputs + n} = ptrtoint ptr @weight{n} to i64")
        body += ["  %arena = ptrtoint ptr @arena to i64",
                 f"  %scratch = getelementptr i8, ptr @arena, i64 {self.laid.arena_size + -self.laid.arena_size % LINE}"]  # fmt: skip
        count = 0
        for n, (address, slots, chunks, _) in enumerate(self.launches):
            for i, (what, offset) in enumerate(slots):
                base, extra = self.word(what, offset)
                if base and extra:
                    body.append(f"  %v{count} = add i64 {base}, {extra}")
                    base = f"%v{count}"
                    count += 1
                place = f"%v{count}"
                count += 1
                body += [
                    f"  {place} = getelementptr i64, ptr %slots, i64 {i}",
                    f"  store i64 {base or extra}, ptr {place}",
                ]
            if address == GATE:
                body += [f"  %place{n} = load ptr, ptr %slots", f"  %bad{n} = load i8, ptr %place{n}",
                         f"  %open{n} = icmp eq i8 %bad{n}, 0", f"  br i1 %open{n}, label %after{n}, label %refused", f"after{n}:"]  # fmt: skip
            else:
                body.append(f"  call void @{self.symbols[address]}(ptr %slots, i64 0, i64 {chunks}, ptr %scratch)")
        body.append("  ret i32 0")
        if any(x[0] == GATE for x in self.launches):
            body += ["refused:", "  ret i32 1"]
        arguments = ", ".join(f"ptr {n}" for n in names)
        return "\n".join([*out, f"define i32 @{self.name}({arguments}) {{", *body, "}"]) + "\n"

    def word(self, what: Any, offset: int) -> tuple[str, int]:
        """(the value to add to, or "" for none; what is added)."""
        if not isinstance(what, Place):
            return (f"ptrtoint (ptr @table{self.tables[what]} to i64)", 0) if what in self.tables else ("", what)
        match what.kind:
            case "temp":
                return "%arena", what.index + offset
            case "arg":
                return f"%ai{what.index}", offset
        return f"%ao{what.index}", offset

    def header(self) -> str:
        """The declaration, with the shapes of what goes in and comes out."""
        guard = f"{self.name.upper()}_H"
        lines = [
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#include <stdint.h>",
            "",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            "",
        ]
        arguments = []
        for leaf in self.laid.program.leaves[: self.laid.inputs]:
            c = C_TYPES[leaf.layout.dtype]
            arguments.append(f"const {c} *in{leaf.input}")
            lines.append(f"/* in{leaf.input}: {c} {sizes(leaf.layout.shape)} */")
        for n, shape, _ in self.results:
            c = C_TYPES[self.laid.schedule.dtypes[n].name]
            arguments.append(f"{c} *out{n}")
            lines.append(f"/* out{n}: {c} {sizes(shape)} */")
        lines += ["/* 0, or 1 where an index is out of range. All arrays are contiguous. */",
                  f"int {self.name}({', '.join(arguments)});", "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]  # fmt: skip
        return "\n".join(lines)


def written(text: Any) -> str:
    """A text, or what the function that writes it gives."""
    return text if isinstance(text, str) else text()


def sizes(shape: Sequence[int]) -> str:
    """`[2][3]`, and how many elements that is."""
    return "".join(f"[{n}]" for n in shape) + f" = {math.prod(shape)}"

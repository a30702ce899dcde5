"""An operator's schema, in ATen's notation, printed from its typed signature: `aten::add.Tensor(Tensor self, ...) -> Tensor`.

What a body serves under several overloads is typed by the overload's name: a parameter `N` is a Tensor in `mul.Tensor` and a
Scalar in `mul.Scalar`. `Shape2` is a list of two sizes (`SymInt[2]`), `IntList2` one of two other numbers, `Size` one size.
"""

from __future__ import annotations

import math
import re
from typing import Any

from flambeau._operators.op import REQUIRED, Op, Param

_TYPES = {
    "T": "Tensor", "N": "Tensor", "Mask": "Tensor", "Index": "Tensor", "Scalar": "Scalar", "Dim": "int", "int": "int", "float": "float",
    "bool": "bool", "str": "str", "Shape": "SymInt[]", "Dims": "int[]", "Ints": "int[]",
    "Size": "SymInt", "Sizes": "SymInt[]", "IntList": "int[]", "ShapeList": "SymInt[]", "DType": "ScalarType", "Device": "Device",
    "Layout": "Layout", "MemoryFormat": "MemoryFormat", "Generator": "Generator", "Sequence[T]": "Tensor[]",
    "Sequence[T | None]": "Tensor?[]", "Sequence[float]": "float[]", "Sequence[bool]": "bool[]", "Any": "Any", "T | Scalar": "Tensor",
}  # fmt: skip


def _default(value: Any) -> str:
    match value:
        case bool() | None:
            return str(value)
        case float():
            return f"{int(value)}." if math.isfinite(value) and value == int(value) else f"{value:.17g}"
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(_default, value))}]"
    return str(value)


def _written(value: Any, kind: str) -> Any:
    """A default as PyTorch writes it: floating where the type is, one size for several dims once for each."""
    if kind == "float":
        return float(value)
    if kind.startswith("SymInt[") and kind[7].isdigit() and isinstance(value, int):
        return (value,) * int(kind[7])
    return value


def _type(p: Param, overload: str, position: int) -> str:
    kind, optional = p.note.removesuffix(" | None"), p.note.endswith(" | None")
    word = kind.rstrip("123456")
    text = _TYPES.get(word, word)
    if word != kind:
        text = text.replace("[]", f"[{kind[len(word) :]}]")
    if kind == "N" and is_number(overload, position):
        text = "Scalar"
    return text + ("?" if optional else "")


def is_number(overload: str, position: int) -> bool:
    """Whether the operand at a position is a number in this overload: "Scalar", "Tensor_Scalar", "ScalarSelf", "n_scalar", ..."""
    if overload in (
        "Scalar",
        "Scalar_mode",
        "ScalarOther",
        "Scalar_Other",
        "other_scalar",
        "n_scalar",
        "Tensor_Scalar",
    ):
        return position > 0
    return overload in ("ScalarSelf", "Scalar_Self", "self_scalar", "x_scalar", "Scalar_Tensor") and position == 0


_DEVICE = (
    "Layout? layout=None",
    "Device? device=None",
    "bool? pin_memory=None",
)  # what every constructor takes after its dtype


_MADE = re.compile(r", ScalarType\? dtype=\w+, " + re.escape(", ".join(_DEVICE)))

_RESULTS = {
    "T": "Tensor",
    "int": "int",
    "bool": "bool",
    "float": "float",
    "Scalar": "Scalar",
    "None": "()",
    "DType": "ScalarType",
}


def _result(op: Op) -> str:
    """What comes back: by the body's annotation, under the names of the outputs."""
    note = op.notes.get("return", "T")
    one = "Tensor(a)" if op.alias else "Tensor"
    if op.outputs and op.unnamed:
        return f"({', '.join(one for _ in op.outputs)})"
    if op.outputs:
        return f"({', '.join(f'{one} {n}' for n in op.outputs)})"
    if note.startswith("tuple[") and "..." not in note:
        kinds = [k.strip() for k in note[6:-1].split(",")]
        return f"({', '.join(one if k.startswith('T') else _TYPES.get(k, k) for k in kinds)})"
    if note in ("list[T]", "Sequence[T]", "tuple[T, ...]"):
        return f"{one}[]"
    known = _RESULTS.get(note, "Tensor")
    return one if known == "Tensor" else known


def schema(op: Op, overload: str | None = None) -> str:
    """The schema of one of the overloads that an operator serves."""
    name = overload or op.overload
    if name in op.schemas:  # written out beside its name; "..." is what every constructor takes after its dtype
        given = op.schemas[name].replace("...", ", ".join(_DEVICE))
        return f"aten::{name}{given}" + ("" if ") -> " in given else f" -> {_result(op)}")
    suffix = name.partition(".")[2]
    makes = (
        op.aten.startswith("new_") or op.aten.endswith("_like") or not any(p.is_tensor or p.is_list for p in op.params)
    )
    numbers = not suffix and f"{op.aten}.Tensor" in op.overloads  # `clamp` has numbers where `clamp.Tensor` has tensors
    each, writes = op.aten.startswith("_foreach_"), op.aten.startswith("_foreach_") and op.aten.endswith("_")
    parts: list[str] = []
    starred = False
    for position, p in enumerate(op.params):
        if p.keyword and not starred:
            parts.append("*")
            starred = True
        kind = _type(p, "Scalar" if numbers else suffix, position)
        if position == 0 and (op.alias or writes):
            kind = kind.replace("Tensor", "Tensor(a!)" if writes else "Tensor(a)")
        parts.append(
            f"{kind} {op.receiver if p.name == 'input' else p.name}"
            + ("" if p.default is REQUIRED else f"={_default(_written(p.default, kind))}")
        )
        if makes and p.keyword and p.name == "dtype":
            parts += _DEVICE
    result = "()" if each and writes else "Tensor[]" if each else _result(op)
    return f"aten::{name}({', '.join(parts)}) -> {result}"


def form(op: Op, name: str, overload: str, kind: str) -> str:
    """The schema of an overload by its public name, in one of its forms: "function", "inplace", "out"."""
    plain = overload.removesuffix("out").removesuffix("_") if kind == "out" else overload
    full = f"{op.aten}.{plain}" if plain else op.aten
    text = schema(op, full if full in op.overloads else None)
    _, _, rest = text.partition("(")
    rest, _, result = rest.rpartition(") -> ")
    shown = f"aten::{name}" + (f".{overload}" if overload else "")
    if kind == "inplace":
        rest = rest.replace("Tensor(a) self", "Tensor self")
        rest = (
            rest.replace("Tensor self", "Tensor(a!) self", 1)
            if "Tensor self" in rest
            else rest.replace("Tensor input", "Tensor(a!) self", 1)
        )
        return f"{shown}({rest}) -> Tensor(a!)"
    if kind == "out":
        names = op.outputs or ("out",)
        outs = [f"Tensor({chr(ord('a') + i)}!) {n}" for i, n in enumerate(names)]
        rest = _MADE.sub("", rest).removesuffix(", *")  # where and of what a new tensor would be
        rest += (", " if "*" in rest else ", *, ") + ", ".join(outs)
        marks = [o.partition(" ")[0] if op.unnamed or len(outs) == 1 else o for o in outs]
        written = ", ".join(marks)
        return f"{shown}({rest}) -> {written if len(outs) == 1 else f'({written})'}"
    return f"{shown}({rest}) -> {result}"

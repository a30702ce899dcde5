"""What PyTorch takes beside the arguments of its schemas, written into the heads of flat functions: NumPy's names, words of Python,
Python's types for dtypes."""

from __future__ import annotations

from keyword import iskeyword

from flambeau._eager.flat_text import as_tuple, bind, plain_default
from flambeau._operators.op import REQUIRED, Op, Param

_NUMPY = {"dim": "axis", "keepdim": "keepdims"}


def numpy_names(op: Op, text: str) -> str:
    """PyTorch takes `axis=` for `dim=` and `keepdims=` for `keepdim=`: written into the head of a function."""
    params = op.params
    named = [p for i, p in enumerate(params) if p.name in _NUMPY and (p.default is not REQUIRED or all(
        q.default is not REQUIRED for q in params[i + 1 :]))]  # fmt: skip
    if not named:
        return text
    head, doc, rest = text.split("\n", 2)
    lines_ = []
    for p in named:
        other = _NUMPY[p.name]
        if p.default is REQUIRED:
            head = head.replace(f", {p.name},", f", {p.name}=MISSING,").replace(f", {p.name})", f", {p.name}=MISSING)")
        head = head[:-2] + (f", {other}=None):" if "*" in head else f", *, {other}=None):")
        lines_ += [f"    if {other} is not None:", f"        {p.name} = {other}"]
        if p.default is REQUIRED:
            lines_ += [f"    elif {p.name} is MISSING:",
                       f"        raise TypeError('{op.name}() missing 1 required positional arguments: \"{p.name}\"')"]  # fmt: skip
    return "\n".join([head, doc, *lines_, rest])


def _is_given(op: Op, p: Param) -> str:
    """The condition that an argument is not the default."""
    same = "is not" if p.default is None or isinstance(p.default, bool) else "!="
    return f"{p.name} {same} {plain_default(op, p)}"


def together(op: Op, text: str) -> str:
    """Arguments that PyTorch takes beside another one alone, as `keepdim` of `sum` beside `dim`: the other's absence is told from its default."""
    if not op.together:
        return text
    head, doc, rest = text.split("\n", 2)
    params = {p.name: p for p in op.params}
    lines_ = []
    for name in reversed(
        [n for n in params if any(n == wanted for _, wanted in op.together)]
    ):  # the others know their defaults
        given = " or ".join(_is_given(op, params[p]) for p, wanted in op.together if wanted == name)
        lines_ += [
            f"    if {name} is MISSING:",
            f"        {name} = {plain_default(op, params[name])}",
            f"        if {given}: alone({bind(op, 'OP', op)}, {as_tuple(op)})",
        ]
    return "\n".join([head, doc, *lines_, rest])


def reserved_names(op: Op, text: str) -> str:
    """A parameter called as a word of Python is (`from`): taken where it is given by name, in a dict."""
    named = [p.name for p in op.params if p.name.endswith("_") and iskeyword(p.name[:-1]) and p.default is not REQUIRED]
    if not named:
        return text
    head, doc, rest = text.split("\n", 2)
    lines_ = [
        "    if reserved:",
        *(f"        {name} = reserved.pop('{name[:-1]}', {name})" for name in named),
        "        for name in reserved:",
        f"            raise TypeError(f\"{head[4:].partition('(')[0]}() got an unexpected keyword argument '{{name}}'\")",
    ]
    return "\n".join([head[:-2] + ", **reserved):", doc, *lines_, rest])


def python_types(op: Op, text: str) -> str:
    """PyTorch takes `int` for int64 among dtypes, and its kin: written below the docstring of a function."""
    taken = [p.name for p in op.params if p.annotation.startswith("DType")]
    if not taken:
        return text
    head, doc, rest = text.split("\n", 2)
    lines_ = [f"    if type({name}) is type: {name} = of_type({name})" for name in taken]
    return "\n".join([head, doc, *lines_, rest])

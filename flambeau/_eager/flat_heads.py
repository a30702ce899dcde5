"""What PyTorch takes beside the arguments of its schemas, written into the heads of flat functions: NumPy's names, words of Python,
Python's types for dtypes."""

from __future__ import annotations

from keyword import iskeyword
from typing import Any

from flambeau._eager.flat_text import as_tuple, bind, plain_default
from flambeau._eager.readings import refusal
from flambeau._operators.kinds import NUMPY_NAMES
from flambeau._operators.op import REQUIRED, Op
from flambeau._values.dtype import dtype


def numpy_names(op: Op, text: str) -> str:
    """PyTorch takes `axis=` for `dim=` and `keepdims=` for `keepdim=`: written into the head of a function."""
    params = op.params
    named = [p for i, p in enumerate(params) if p.name in NUMPY_NAMES and (p.default is not REQUIRED or all(
        q.default is not REQUIRED for q in params[i + 1 :]))]  # fmt: skip
    if not named:
        return text
    head, doc, rest = text.split("\n", 2)
    lines_ = []
    for p in named:
        other = NUMPY_NAMES[p.name]
        if p.default is REQUIRED:
            head = head.replace(f", {p.name},", f", {p.name}=MISSING,").replace(f", {p.name})", f", {p.name}=MISSING)")
        head = head[:-2] + (f", {other}=MISSING):" if "*" in head else f", *, {other}=MISSING):")
        lines_ += [f"    if {other} is not MISSING:", f"        {p.name} = {other}"]
        if p.default is REQUIRED:
            lines_ += [f"    elif {p.name} is MISSING:",
                       f"        raise TypeError('{op.name}() missing 1 required positional arguments: \"{p.name}\"')"]  # fmt: skip
    return "\n".join([head, doc, *lines_, rest])


def told(op: Op, text: str) -> str:
    """Arguments that PyTorch takes beside some others alone, as `keepdim` of `sum` beside `dim`: whether they are given is told from a mark."""
    if not op.told:
        return text
    head, doc, rest = text.split("\n", 2)
    names = [p for p in op.params if p.name in op.told]
    either = {name: known for pairs in op.renamed.values() for known, name in pairs.items()}
    lines_ = []
    for p in reversed(names):  # those before still have their marks
        refused = f"alone({bind(op, 'OP', op)}, {as_tuple(op)})"
        wrong = [f"{q} is MISSING" for n, q in op.together if n == p.name]
        wrong += [f"{q} is not MISSING" for n, q in op.apart if n == p.name]
        kinds = [form[p.name] for form in op.forms if p.name in form]
        if p.default is None and all(kind and not kind.endswith("?") for kind in kinds):
            wrong.append(f"{p.name} is None")  # an overload that has it wants one
        lines_ += [f"    if {p.name} is MISSING:", f"        {p.name} = {plain_default(op, p)}"]
        if p.name in either:
            lines_.append(f"        if {either[p.name]} is None: {refused}")
        if wrong:
            lines_.append(f"    elif {' or '.join(wrong)}: {refused}")
    return "\n".join([head, doc, *lines_, rest])


def spoken_names(op: Op, text: str) -> str:
    """A parameter that takes what overloads have under several names may be given by each of these."""
    for name, names in op.spoken.items():
        head, doc, rest = text.split("\n", 2)
        head = head.replace(f", {name},", f", {name}=MISSING,").replace(f", {name})", f", {name}=MISSING)")
        given = ", ".join(f"{other}=MISSING" for other in names)
        head = head[:-2] + (f", {given}):" if "*" in head else f", *, {given}):")
        lines_ = [f"    if {name} is MISSING:"]
        lines_ += [f"        if {other} is not MISSING: {name} = {other}" for other in names]
        lines_ += [f"        if {name} is MISSING: alone({bind(op, 'OP', op)}, {as_tuple(op)})",
                   f"    elif {' or '.join(f'{other} is not MISSING' for other in names)}: alone({bind(op, 'OP', op)}, {as_tuple(op)})"]  # fmt: skip
        text = "\n".join([head, doc, *lines_, rest])
    return text


def out_dtype(op: Op, text: str) -> str:
    """The dtype of a product that is wider than its operands: PyTorch has it on accelerators."""
    if not op.widens:
        return text
    head, doc, rest = text.split("\n", 2)
    out = ", out" if "out=None" in head else ""
    head = head[:-2] + ", out_dtype=MISSING):" if "*older" in head else head.replace(", *,", ", out_dtype=MISSING, *,")
    line = f"    if out_dtype is not MISSING: return {bind(op, 'WIDENED', widened)}({bind(op, 'OP', op)}, {as_tuple(op)}, out_dtype{out})"
    return "\n".join([head, doc, line, rest])


def widened(op: Op, values: tuple[Any, ...], d: Any, out: Any = None) -> Any:
    """A product in a dtype that is asked for: of meta tensors alone."""
    if not isinstance(d, dtype):
        names = [p.name for p in op.params if not p.keyword]
        raise TypeError(
            f"{op.name}() received an invalid combination of arguments - got ({'Tensor, ' * len(names)}out_dtype={type(d).__name__}), "
            "but expected one of:\n"
            + "".join(f" * ({', '.join(f'Tensor {n}' for n in names)}{more}, *, Tensor out = None)\n" for more in ("", ", torch.dtype out_dtype"))
        )  # fmt: skip
    if not values[0].is_meta:
        raise refusal(f"{op.name}.dtype" + "_out" * (out is not None), "CPU", "dtypes")
    return op(
        *values[: len(op.params) - len(op.keywords)],
        **dict(zip(op.keywords, values[-len(op.keywords) :], strict=False)),
    ).to(d)


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

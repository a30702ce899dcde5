"""Writes the functions that users call: one flat Python function for each operator, as source that tracebacks and pdb show.

A flat function is a short cut for the common case (plain tensors, one floating dtype, no mode active); for anything else it
calls the general lane (`call.general`), which defines what the call means. Functions are written when they are first asked for.

The lanes are written by `flat_pointwise.py` and `flat_structured.py`, the history of results by `flat_history.py`, what PyTorch takes beside its
schemas by `flat_heads.py`, all of pieces from `flat_text.py`; `print(torch.add.__source__)` shows the whole.
"""

from __future__ import annotations

import warnings
from typing import Any

from flambeau._eager import planned  # noqa: F401  (the general lane asks it first)
from flambeau._eager.flat_heads import numpy_names, out_dtype, python_types, reserved_names, spoken_names, told
from flambeau._eager.flat_pointwise import inplace_lane, pointwise
from flambeau._eager.flat_structured import composite, structured, write_lane
from flambeau._eager.flat_text import SCOPE, as_tuple, bind, header
from flambeau._eager.graph import Node
from flambeau._ground.source import build
from flambeau._operators.op import Op
from flambeau._tensor import Tensor

_functions: dict[Op, Any] = {}
_inplace: dict[Op, Any] = {}


def function(op: Op) -> Any:
    """The flat function of one operator."""
    made = _functions.get(op)
    if made is None:
        text = {"pointwise": pointwise, "op": structured, "composite": composite}[op.kind](op)
        text = told(op, reserved_names(op, _older_form(op, text, False)))
        text = python_types(op, numpy_names(op, out_dtype(op, spoken_names(op, text))))
        made = _functions[op] = _finish(op, build(op.name, text, SCOPE))
    return made


def inplace(op: Op) -> Any:
    """The in-place form of one operator: `add_`."""
    made = _inplace.get(op)
    if made is None:
        me = bind(op, "OP", op)
        text = "\n".join([f"def {op.name}_({header(op, out=False)}):", f'    """In-place version of :func:`{op.name}`."""',
                          *(inplace_lane(op, me) if op.kind == "pointwise" else write_lane(op, me) if op.kind == "op" else []),
                          f"    return general({me}, {as_tuple(op)}, None, True)"]) + "\n"  # fmt: skip
        made = _inplace[op] = _finish(op, build(op.name + "_", reserved_names(op, _older_form(op, text, True)), SCOPE))
    return made


def _finish(op: Op, fn: Any) -> Any:
    fn.__module__ = "flambeau" + ("._C._nn" if op.namespace == "nn" else "." + op.namespace if op.namespace else "")
    fn.__op__ = op
    fn.__doc__ = op.body.__doc__ if not fn.__name__.endswith("_") else fn.__doc__
    return fn


def _older_form(op: Op, text: str, into: bool) -> str:
    """More positional arguments than there are names for them: numbers in front of what they scale."""
    if not op.has_older_form:
        return text
    head, doc, rest = text.split("\n", 2)
    out = ", out" if not into and "out" in op.variants else ""
    values = ", ".join(p.name for p in op.params if not p.keyword)
    line = (
        f"    if older: return {bind(op, 'OLDER', _reordered)}({bind(op, 'OP', op)}, {into}, ({values}, *older){out})"
    )
    return "\n".join([head.replace(", *,", ", *older,"), doc, line, rest])


_warned: set[str] = set()


def _reordered(op: Op, into: bool, values: tuple[Any, ...], out: Any = None) -> Any:
    """A call in the older form, as it is written today."""
    name = op.name + "_" * into
    tensors = [v for v in values if isinstance(v, Tensor)]
    numbers = [v for v in values if not isinstance(v, Tensor)]
    names, keys = [p.name for p in op.params if not p.keyword], [p.name for p in op.params if p.keyword]
    if len(tensors) != len(names) or len(numbers) > len(keys) or not isinstance(values[-1], Tensor):
        raise TypeError(f"{name}() takes {len(names)} positional arguments but {len(values)} were given")
    if name not in _warned:
        _warned.add(name)
        old, now = (", ".join(words) for words in ([f"Number {k}" for k in keys[: len(numbers)]] + [f"Tensor {n}" for n in names[1:]],
                                                   [f"Tensor {n}" for n in names[1:]] + ["*"] + [f"Number {k} = 1" for k in keys]))  # fmt: skip
        warnings.warn(
            f"This overload of {name} is deprecated:\n\t{name}({old})\nConsider using one of the following signatures instead:\n"
            f"\t{name}({now})",
            stacklevel=3,
        )
    given = dict(zip(keys, numbers, strict=False)) | ({} if out is None else {"out": out})
    return (inplace if into else function)(op)(*tensors, **given)


Op.call = staticmethod(function)
__all__ = ["Node", "function", "inplace"]

"""How PyTorch tells that arguments do not fit: by the signatures that a public name has.

Only what has failed comes here, so nothing in this file needs to be fast.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._operators.kinds import NUMPY_NAMES, is_of
from flambeau._operators.op import METHODS, NAMES, REQUIRED, Op, Param
from flambeau._operators.overloads import arguments_of
from flambeau._values.dtype import dtype

if TYPE_CHECKING:
    from flambeau._ground.function_schema import Argument

_SPOKEN = {
    "Scalar": "Number", "SymInt": "int", "int": "int", "ScalarType": "torch.dtype", "Generator": "torch.Generator", "Layout": "torch.layout",
    "MemoryFormat": "torch.memory_format", "Device": "torch.device",
}  # fmt: skip


class Signature:
    """One overload as it is called: its parameters, without the receiver of a method."""

    def __init__(self, op: Op, overload: str, method: bool) -> None:
        arguments = [a for a, _ in arguments_of(op, overload)]
        self.self_name = "" if not method else arguments[op.receiver_at].name
        self.arguments = [a for i, a in enumerate(arguments) if not method or i != op.receiver_at]
        self.has_out = "out" in op.variants and not method and (overload == op.overload or overload.endswith(".Tensor"))
        self.first = op.receiver if op.receiver_at == 0 else ""

    @property
    def least(self) -> int:
        return sum(not a.has_default for a in self.arguments)

    @property
    def most(self) -> int:
        return len(self.arguments) + self.has_out

    def called(self, a: Argument) -> str:
        return "input" if a.name == "self" and a.type.startswith("Tensor") else a.name

    def parts(self) -> list[str]:
        """The parameters as PyTorch prints them."""
        out, starred = [], False
        for a in self.arguments:
            if a.kwarg_only and not starred:
                out.append("*")
                starred = True
            out.append(f"{spoken(a.type)} {self.called(a)}" + (f" = {_default(a)}" if a.has_default else ""))
        return [*out, *(([] if starred else ["*"]) + ["Tensor out = None"] if self.has_out else [])]

    def counts(self, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
        """Whether PyTorch thinks that the number of arguments is this one's, and says what is wrong with them."""
        parts = self.parts() or [""]
        return len(args) + len(kwargs) == len(parts) - (self.has_out and "out" not in kwargs)

    def wrong(self, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
        """The arguments, with marks about those that do not fit: in PyTorch's eyes none does that has a default, or takes several numbers."""
        named = {self.called(a): a for a in self.arguments if not a.has_default}
        unknown = [n for n in kwargs if n not in named and not (n == "out" and self.has_out)]
        if unknown:
            return f"      didn't match because some of the keywords were incorrect: {', '.join(unknown)}\n"
        fit = [not a.has_default and "int[" not in a.type.lower() for a in self.arguments]
        shown = [_marked(v, i < len(fit) and fit[i] and is_of(self.arguments[i].type, v)) for i, v in enumerate(args)]
        shown += [f"{n}={_marked(v, n == 'out' or is_of(named[n].type, v))}" for n, v in kwargs.items()]
        return f"      didn't match because some of the arguments have invalid types: ({', '.join(shown)})\n"

    def misfit(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
        """What is wrong with a call that was meant for this signature; empty if nothing is."""
        taken = [a for a in self.arguments if not a.kwarg_only]
        if len(args) > len(taken):
            least = self.least  # words that must be given count, too
            span = f"from {least} to {len(taken)}" if least != len(taken) else f"{len(taken)}"
            few = len(taken) == 1 and least == 1
            return f"{name}() takes {span} positional argument{'' if few else 's'} but {len(args)} {'was' if len(args) == 1 else 'were'} given"
        for i, a in enumerate(self.arguments):
            known = self.called(a)
            at = i < len(args) and not a.kwarg_only
            if not at and known not in kwargs:
                if a.has_default:
                    continue
                missing = [
                    self.called(b) for b in self.arguments[i:] if not b.has_default and self.called(b) not in kwargs
                ]
                quoted = ", ".join(f'"{m}"' for m in missing)
                return f"{name}() missing {len(missing)} required positional arguments: {quoted}"
            v = args[i] if at else kwargs[known]
            if not is_of(a.type, v) and not (v is None and a.has_default and a.default_value is None):
                elements = isinstance(v, (list, tuple)) and v and "int[" in a.type.lower()
                said = f"but found element of type {spoken_of(v[0])} at pos 0" if elements else f"not {spoken_of(v)}"
                return f"{name}(): argument '{known}'{f' (position {i + 1})' if at else ''} must be {spoken(a.type)}, {said}"
        unknown = [n for n in kwargs if n not in map(self.called, self.arguments) and not (n == "out" and self.has_out)]
        return f"{name}() got an unexpected keyword argument '{unknown[0]}'" if unknown else ""


def spoken(kind: str) -> str:
    """A schema's type in PyTorch's words."""
    kind = kind.removesuffix("?")
    if "[" in kind:
        return f"tuple of {spoken(kind[: kind.index('[')])}s"
    return _SPOKEN.get(kind, kind)


def spoken_of(v: Any) -> str:
    """The type of a value in PyTorch's words."""
    cls = type(v)
    if cls is dtype:
        return "torch.dtype"
    return f"numpy.{cls.__name__}" if isinstance(v, (np.generic, np.ndarray)) else cls.__name__


def _marked(v: Any, right: bool) -> str:
    return spoken_of(v) if right else f"!{spoken_of(v)}!"


def _default(a: Argument) -> str:
    v = a.default_value
    if isinstance(v, (list, tuple)) and v and all(x == v[0] for x in v) and "[" in a.type and a.type[-2].isdigit():
        return str(v[0])
    return f'"{v}"' if isinstance(v, str) and a.type.startswith("str") else str(tuple(v) if isinstance(v, list) else v)


def signatures(name: str, ops: Sequence[Op], method: bool) -> list[Signature]:
    """The signatures of some operators, in PyTorch's order: those with fewer arguments first, tensors before numbers."""
    found = [
        Signature(op, overload, method)
        for op in ops
        for overload in op.overloads
        if not overload.endswith("deprecated")
        and not (op.wraps and overload.endswith(".Scalar"))  # numbers count as tensors there
        and not (method and not _on_tensors(op, overload))
    ]
    return sorted(
        found,
        key=lambda s: (
            sum(not a.has_default for a in s.arguments),
            any(a.kwarg_only for a in s.arguments) and len(s.arguments) > 3,
            [_RANK.get(a.type.rstrip("?"), 5) for a in s.arguments],
        ),
    )


def _on_tensors(op: Op, overload: str) -> bool:
    """Whether what stands where a method's self is can be a tensor."""
    found = [a for a, _ in arguments_of(op, overload)]
    return op.receiver_at >= len(found) or found[op.receiver_at].type.startswith("Tensor")


_RANK = {"Tensor": 0, "Scalar": 1, "float": 1, "bool": 2, "int": 2, "SymInt": 2}


def refusal(name: str, ops: Sequence[Op], args: Sequence[Any], kwargs: dict[str, Any], method: bool) -> str:
    """What PyTorch says of a call that fits no signature; `args` are those after the receiver of a method."""
    known = signatures(name, ops, method)
    given = len(args) + len(kwargs)
    plausible = known if len(known) == 1 else [s for s in known if s.least <= given <= s.most]
    if len(plausible) == 1:
        said = plausible[0].misfit(name, args, kwargs)
        if said:
            return said
    got = "".join(f"{spoken_of(v)}, " for v in args) + "".join(
        f"{n}={spoken_of(kwargs[n])}, " for n in reversed(kwargs)
    )
    text = f"{name}() received an invalid combination of arguments - got ({got.removesuffix(', ') if args else got}), but expected one of:\n"
    for s in known:
        text += f" * ({', '.join(s.parts())})\n" + (s.wrong(args, kwargs) if s.counts(args, kwargs) else "")
    return text


def unpacked(op: Op, name: str, at: int, v: Any, into: bool) -> str:
    """What PyTorch says of an element of a list of whole numbers that is none."""
    called, _ = family(op, into)
    return f"{called}(): argument '{name}' failed to unpack the object at pos {at + 1} with error \"type must be tuple of ints,but got {spoken_of(v)}\""


# ---------------------------------------------------------------- how a call is written


def written(op: Op, values: tuple[Any, ...], into: bool) -> tuple[list[Any], dict[str, Any], bool]:
    """The arguments of a call as they stand in the program, positional and named ones, and whether it is of a method.

    A flat function does not know; the instruction that called it does.
    """
    method: bool = into
    names: tuple[str, ...] = ()
    given = [(i, p, v) for i, (p, v) in enumerate(zip(op.params, values, strict=True))]
    said = {i for i, p, v in given if not _is_default(p, v)}
    site = _site()
    count = 0
    if site is not None:
        count, names = site
    named_as = {p.name: n for p in op.params for n in (p.name, NUMPY_NAMES.get(p.name)) if n in names}
    at_all = said | {i for i, p, v in given if p.name in named_as}
    if site is not None:
        method = into or (count < len(at_all) and "method" in op.variants)
    by_name = {p.name for _, p, _ in given if p.keyword or p.name in named_as}
    last = max((i for i in said if op.params[i].name not in by_name), default=-1)
    last = max(last, count - len(names) - (not method))
    args = [v for i, p, v in given if p.name not in by_name and i <= last and not (method and i == op.receiver_at)]
    named = {
        named_as.get(p.name, p.name): v
        for i, p, v in given
        if (p.name in named_as and v is not REQUIRED) or (p.name in by_name and i in said)
    }
    order = [*(n for n in names if n in named), *(n for n in named if n not in names)]
    return args, {n.removesuffix("_"): named[n] for n in order}, method


def _is_default(p: Param, v: Any) -> bool:
    return (
        v is p.default
        or v is REQUIRED
        or (type(v) is type(p.default) and isinstance(v, (int, float, str)) and v == p.default)
    )


def _site() -> tuple[int, tuple[str, ...]] | None:
    """The number of arguments in the call that led into this package's functions, and the names of the last ones; None where it cannot be told."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (
        frame.f_code.co_filename.startswith("<flambeau ") or "/_eager/" in frame.f_code.co_filename.replace("\\", "/")
    ):
        frame = frame.f_back
    return None if frame is None else _call_at(frame.f_code, frame.f_lasti)


def _call_at(code: CodeType, offset: int) -> tuple[int, tuple[str, ...]] | None:
    *before, instruction = (i for i in dis.get_instructions(code) if i.offset <= offset)
    if instruction.opname not in ("CALL", "CALL_KW") or instruction.arg is None:
        return None
    names: tuple[str, ...] = ()
    for earlier in before[-2:]:
        if earlier.opname == "KW_NAMES":
            names = code.co_consts[earlier.arg or 0]
        elif instruction.opname == "CALL_KW" and isinstance(earlier.argval, tuple):
            names = earlier.argval
    return instruction.arg, names


def family(op: Op, into: bool) -> tuple[str, list[Op]]:
    """The name under which PyTorch refuses a call of an operator, and all operators of that public name."""
    name = op.name + "_" * into
    ops = METHODS.get(name) if into else NAMES.get(op.namespace, {}).get(op.name)
    return (f"{op.namespace}_" if op.namespace not in ("", "nn") else "") + name, (ops if ops and op in ops else [op])

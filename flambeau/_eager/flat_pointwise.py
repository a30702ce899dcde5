"""The text of flat functions of pointwise operators: operands of one dtype, which meet in one expression of NumPy's ufuncs.

Small arrays run that expression, or NumPy's loops at once where the backend has put them together (`small`); large ones a kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.cpu import small
from flambeau._backends.cpu.arrays import K
from flambeau._eager import bodies, derived, large
from flambeau._eager.flat_history import derived_history
from flambeau._eager.flat_text import (
    SCOPE,
    as_tuple,
    at_defaults,
    bind,
    checked,
    header,
    passed,
    unexpanded,
)
from flambeau._kernel.record import Expr, Opaque, toposort
from flambeau._kernel.text import lines
from flambeau._operators.op import REQUIRED, Op
from flambeau._values import dtype as dtypes


def pointwise(op: Op) -> str:
    """The function of a pointwise operator."""
    out = "out" in op.variants
    me = bind(op, "OP", op)
    text = [f"def {op.name}({header(op, out)}):", f'    """{op.aten}"""']
    tensors = [p for p in op.params if p.is_tensor]
    required = all(p.default is REQUIRED for p in op.params if not p.is_tensor)
    if (
        op.promote != "none"
        and not (required and len(tensors) < len(op.params))
        and all(p.default is not None for p in tensors)
    ):
        text += _pointwise_lane(op, me, out)
    text.append(f"    return general({me}, {as_tuple(op)}{', out' if out else ''})")
    return "\n".join(text) + "\n"


def _operands(op: Op, alike: str = "", floating: bool = True) -> tuple[list[str], list[str]]:
    """Lines that fetch the arrays (a0, a1 ...) of one dtype `d`, a floating one or of the set `alike`, and what must hold for the lane to go on."""
    tensors = [p for p in op.params if p.is_tensor]
    first = tensors[0].name
    text = [f"        a0 = {first}._a", "        d = a0.dtype"]
    kinds = (["d is F32 or d is F64"] if floating else []) + ([f"d in {alike} and d.metadata is None"] if alike else [])
    ok = [f"({' or '.join(kinds)})"]
    if tensors[0].is_free:  # a mask: the others decide
        text[1] = (
            "        d = "
            + "".join(f"{p.name}._a.dtype if type({p.name}) in PLAIN else " for p in tensors[1:])
            + "None"
        )
        ok.append("a0.dtype.kind == 'b'")
    for i, p in enumerate(tensors[1:], 1):
        text += [f"        k{i} = type({p.name})", f"        if k{i} in PLAIN:", f"            a{i} = {p.name}._a"]
        if p.annotation.startswith("N"):
            fits = (
                f"(k{i} is float and (d is F32 or d is F64) or k{i} is int and d is not BOOL)"
                if alike
                else f"(k{i} is float or k{i} is int)"
            )
            text += [f"        elif {fits} and d is not None:", f"            a{i} = constant({p.name}, d)"]
        text += ["        else:", f"            a{i} = a0; d = None"]
        ok.append(f"a{i}.dtype is d")
    return text, ok


def _pointwise_lane(op: Op, me: str, out: bool) -> list[str]:
    tensors = [p for p in op.params if p.is_tensor]
    statics = {p.name: p.default for p in op.params if not p.is_tensor}
    base = dtypes.int64 if op.routine(dtypes.float32) else dtypes.float64
    recorded = _recorded(op, statics, base)
    if recorded is None:
        return []
    root, ps = recorded
    conditions = ["not MODES", *(["out is None"] if out else []), f"type({tensors[0].name}) in PLAIN", *at_defaults(op)]
    others = _alike(op, statics, root, base)
    alike = bind(op, "ALIKE", others) if others else ""
    if base is dtypes.int64 and not others:
        return []
    fetch, ok = _operands(op, alike, base is dtypes.float64)
    body, (value,) = lines([root], {p: f"a{i}" for i, p in enumerate(ps)}, derived.array_word,
                           lambda c: derived.array_constant(SCOPE, c.arg), lambda c, x: f"{x}.astype(d)",
                           derived.array_tail)  # fmt: skip
    if value.startswith(("a", "constant")):
        body, value = [*body, f"r = {value}.copy()" if value.startswith("a") else f"r = {value}"], "r"
    kernel = bind(op, "NATIVE", large.forward(op))
    arrays = [f"a{i}" for i in range(len(tensors))]
    operands, order = ", ".join(arrays), []
    if op.run is op.body and body and body[-1].startswith(f"{value} = ") and body[-1].endswith("out=...)"):
        made = "d" if root.dtype is base else "BOOL"
        body[-1] = body[-1][:-1] + f" if {derived.in_order(arrays)} else room({made}, {operands}))"
    else:
        order = [
            "                if not r.ndim: r = asarray(r)",  # what is no ufunc gives a number for an array of one
            f"                if r.ndim > 1 and not ({derived.in_order(arrays)}): r = walked(r, {operands})",
        ]
    biggest = " or ".join(f"a{i}.size >= LARGE" for i in range(len(tensors)))
    biggest += "".join(f" or a0.shape != a{i}.shape and spread(a0, a{i})" for i in range(1, len(tensors)))
    large_enough = f"({biggest}) and (a1.ndim or a1.item() not in {op.short})" if op.short else biggest
    small_ = [f"            r = {kernel}({operands}) if {large_enough} else None"]
    if op.short and base is dtypes.float64:
        way = bind(op, "SHORTER", large.shorter)
        chosen = f"r is None and a0.size >= LARGE and not a1.ndim and a1.item() in {op.short}"
        small_.append(f"            if {chosen}: r = {way}({me}, a1.item())(a0)")
    if op.run is op.body and base is dtypes.float64 and not tensors[0].is_free:
        name = bind(op, "SMALL", None)
        small.install(SCOPE, name, root, ps, large.available)
        small_ = [
            f"            r = {name}({operands})",
            f"            if r is None and ({large_enough}): r = {kernel}({operands})",
        ]
    if alike and op.run is not op.body:
        ok.append(f"(d is F32 or d is F64 or not ({biggest}))")
    text = [f"    if {' and '.join(conditions)}:", *fetch, f"        if {' and '.join(ok)}:"]
    if alike and op.check is not None:
        text.append(f"            if d is not F32 and d is not F64: {checked(op)}")
    text = [*text,
            *small_, "            if r is None:",
            "                token = quiet(QUIET)", "                try:", *("                    " + line for line in body), f"                    r = {value}",
            "                except ValueError:", f"                    return general({me}, {as_tuple(op)})",
            "                finally:", "                    loud(token)",
            *order,
            "            o = new(Tensor)", "            o._a = r"]  # fmt: skip
    if op.run is not op.body:  # an array reading of its own: it takes the place of the text
        at = text.index("                try:")
        end = text.index("                except ValueError:")
        text[at + 1 : end] = [
            f"                    r = asarray({bind(op, 'RUN', op.run)}(K, {passed(op, {p.name: f'a{i}' for i, p in enumerate(tensors)})}))"
        ]
        if alike and op.promote != "bool":
            text.insert(
                text.index("                    loud(token)") + 1,
                f"                if r.dtype is not d: return general({me}, {as_tuple(op)})",
            )
    if op.differentiable and root.dtype.kind in "fc":
        text += derived_history(op, tensors)
    return [*text, "            return o"]


def _recorded(op: Op, statics: dict[str, Any], d: dtypes.dtype) -> tuple[Expr, list[Expr]] | None:
    """The body on operands of a dtype, and these; None where it has no text."""
    try:
        return derived.trace(op, statics, [p.name for p in op.params if p.is_tensor], d)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, Opaque):
        return None


def _alike(op: Op, statics: dict[str, Any], root: Expr, base: dtypes.dtype) -> frozenset[Any]:
    """The dtypes of integers, and bool, on which the lane for `base` runs: it has an array reading, or the same text as for `base`, for
    which it was recorded as `root`."""
    if op.promote not in ("default", "bool") or (
        op.run is op.body and any(e.op in large.EXACT for e in toposort(root))
    ):
        return frozenset()
    found = []
    for d in dtypes.ALL:
        if d.kind in "bi" and d.np in large.HELD and not op.routine(d):
            recorded = _recorded(op, statics, d) if op.run is op.body else None
            alike = op.run is not op.body or (recorded is not None and _same(root, recorded[0], base, d))
            if alike and (op.promote == "bool" or _kept(op, statics, d)):
                found.append(d.np)
    return frozenset(found)


def _kept(op: Op, statics: dict[str, Any], d: dtypes.dtype) -> bool:
    """Whether the array library answers in the dtype that it is given (of bools it makes numbers here and there)."""
    given = [np.ones((), "?" if p.is_free else d.np) if p.is_tensor else statics[p.name] for p in op.params]
    try:
        with np.errstate(all="ignore"):  # ones may have no negative
            return np.asarray(bodies.call_body(op, op.run, (K,), tuple(given))).dtype == d.np
    except (TypeError, ValueError, ArithmeticError, RuntimeError):
        return False


def _same(e: Expr, other: Expr, base: dtypes.dtype, d: dtypes.dtype) -> bool:
    """Whether two expressions are the same words, the second of dtype `d` where the first is of `base`."""
    return (e.op == other.op and e.op != "cast" and other.dtype is (d if e.dtype is base else e.dtype) and repr(e.arg) == repr(other.arg)
            and (e.op != "const" or type(e.arg) is int) and all(_same(x, y, base, d) for x, y in zip(e.src, other.src, strict=True)))  # fmt: skip


def inplace_lane(op: Op, me: str) -> list[str]:
    """Without history and with one floating dtype, the ufunc writes straight into the first operand."""
    tensors = [p for p in op.params if p.is_tensor]
    statics = {p.name: p.default for p in op.params if not p.is_tensor}
    if op.promote == "none" or any(p.default is None for p in tensors) or any(d is REQUIRED for d in statics.values()):
        return []
    if op.routine(dtypes.float32):
        return []
    try:
        root, ps = derived.trace(op, statics, [p.name for p in tensors], dtypes.float64)
    except (TypeError, ValueError, NotImplementedError, Opaque):
        return []
    if root.dtype.kind != "f" or derived.array_word(root.op)[:3] != "np_":
        return []
    fetch, ok = _operands(op)
    body, _ = lines([root], {p: f"a{i}" for i, p in enumerate(ps)}, derived.array_word,
                    lambda c: derived.array_constant(SCOPE, c.arg), lambda c, x: f"{x}.astype(d)",
                    derived.array_tail)  # fmt: skip
    if op.run is op.body:
        body[-1] = body[-1].partition(" = ")[2].replace(", out=...)", ", out=a0)")
    else:  # an array reading of its own
        given = passed(op, {p.name: f"a{i}" for i, p in enumerate(tensors)})
        body = [f"a0[...] = {bind(op, 'RUN', op.run)}(K, {given})"]
    history = " and ".join(f"{p.name}._node is None and {p.name}._base is None" if i == 0 else
                           f"(k{i} not in PLAIN or ({p.name}._node is None and {p.name}._base is None))"
                           for i, p in enumerate(tensors))  # fmt: skip
    first = tensors[0].name
    ok.append(unexpanded("a0"))
    ok += [
        f"(a{i}.base is None and a0.base is None or a{i}.size == 1 or not may_share(a0, a{i}))"
        for i in range(1, len(tensors))
    ]
    return [f"    if {' and '.join(['not MODES', f'type({first}) in PLAIN', f'not {first}._inference', *at_defaults(op)])}:", *fetch,
            f"        if a0.size < LARGE and {' and '.join(ok)} and (not STATE.grad or ({history})):",
            "            token = quiet(QUIET)", "            try:", *("                " + line for line in body),
            "            except ValueError:", f"                return general({me}, {as_tuple(op)}, None, True)",
            "            finally:", "                loud(token)",
            f"            vc = {first}._vc", f"            if vc is None: {first}._vc = [1]", "            else: vc[0] += 1",
            f"            return {first}"]  # fmt: skip

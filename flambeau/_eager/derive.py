"""Writes the functions that users call: one flat Python function for each operator, as source that tracebacks and pdb show.

A flat function is a short cut for the common case (plain tensors, one floating dtype, no mode active); for anything else it
calls the general lane (`call.general`), which defines what the call means. Functions are written when they are first asked for.
"""

from __future__ import annotations

import warnings
from itertools import count
from keyword import iskeyword
from typing import Any

import numpy as np

from flambeau._backends.cpu import small
from flambeau._backends.cpu.arrays import ERRORS, QUIET, K, loud, quiet
from flambeau._backends.cpu.layouts import room, walked
from flambeau._eager import arguments, call, create, derived, large, record, traced
from flambeau._eager.graph import Node, node_of, saved_alias, serial
from flambeau._eager.modes import MODES, STATE
from flambeau._eager.views import view
from flambeau._ground.source import build
from flambeau._kernel.record import Expr, Opaque, toposort
from flambeau._kernel.text import lines
from flambeau._operators.op import REQUIRED, Op, Param
from flambeau._tensor import LAYOUTS, Tensor, new
from flambeau._values import default_device, dtype as dtypes
from flambeau._values.device import CPU, memory_format as MemoryFormat
from flambeau._values.shape import Size

F32, F64 = np.dtype("f4"), np.dtype("f8")
SIZES = frozenset((int, tuple, list, Size))
_unique = count()
# What every generated function can see; operators add their own names, which are unique.
SCOPE: dict[str, Any] = {
    **derived.SCOPE, "general": call.general, "MODES": MODES, "STATE": STATE, "F64": F64, "new": new, "node_of": node_of,
    "saved_alias": saved_alias, "serial": serial, "view": view, "quiet": quiet, "loud": loud, "QUIET": QUIET, "ERRORS": ERRORS,
    "MISSING": REQUIRED, "create": create.create, "require": create.require, "here": default_device.get, "LAYOUTS": LAYOUTS, "CPU": CPU, "beside": call.beside, "of_type": dtypes.of_type, "ndarray": np.ndarray, "asarray": np.asarray, "record": record.record, "finish": call.finish, "viewed": call.viewed, "walked": walked, "room": room, "BOOL": dtypes.bool_.np, "packed": call.packed, "packed_tensor": call.packed_tensor, "next": next, "K": K, "misused": arguments.misused, "SIZES": SIZES, "memory_format_": MemoryFormat, "SIZES_OR_NONE": SIZES | {type(None)},
    "may_share": np.may_share_memory, "LARGE": large.LARGE, "HALVES": dtypes.HALVES, "structured": large.structured, "fused": traced.composite,
}  # fmt: skip
_functions: dict[Op, Any] = {}
_inplace: dict[Op, Any] = {}


def function(op: Op) -> Any:
    """The flat function of one operator."""
    made = _functions.get(op)
    if made is None:
        text = {"pointwise": _pointwise, "op": _structured, "composite": _composite}[op.kind](op)
        text = _python_types(op, _numpy_names(op, _reserved_names(op, _older_form(op, text, False))))
        made = _functions[op] = _finish(op, build(op.name, text, SCOPE))
    return made


def inplace(op: Op) -> Any:
    """The in-place form of one operator: `add_`."""
    made = _inplace.get(op)
    if made is None:
        me = _bind(op, "OP", op)
        text = "\n".join([f"def {op.name}_({_header(op, out=False)}):", f'    """In-place version of :func:`{op.name}`."""',
                          *(_inplace_lane(op, me) if op.kind == "pointwise" else _write_lane(op, me) if op.kind == "op" else []),
                          f"    return general({me}, {_tuple(op)}, None, True)"]) + "\n"  # fmt: skip
        made = _inplace[op] = _finish(op, build(op.name + "_", _reserved_names(op, _older_form(op, text, True)), SCOPE))
    return made


def _finish(op: Op, fn: Any) -> Any:
    fn.__module__ = "flambeau" + ("._C._nn" if op.namespace == "nn" else "." + op.namespace if op.namespace else "")
    fn.__op__ = op
    fn.__doc__ = op.body.__doc__ if not fn.__name__.endswith("_") else fn.__doc__
    return fn


def _bind(op: Op, what: str, value: Any) -> str:
    """A name of its own in the common scope."""
    name = f"{what}_{op.overload.replace('.', '_')}_{next(_unique)}"
    SCOPE[name] = value
    return name


# ---------------------------------------------------------------- pieces of text

_LITERALS = (bool, int, float, str, type(None))


def _default(op: Op, p: Param) -> str:
    if isinstance(p.default, _LITERALS):
        return derived.literal(p.default)
    return _bind(op, p.name.upper(), p.default)


_NUMPY = {"dim": "axis", "keepdim": "keepdims"}


def _numpy_names(op: Op, text: str) -> str:
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


def _reserved_names(op: Op, text: str) -> str:
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


def _older_form(op: Op, text: str, into: bool) -> str:
    """More positional arguments than there are names for them: numbers in front of what they scale."""
    if not op.has_older_form:
        return text
    head, doc, rest = text.split("\n", 2)
    out = ", out" if not into and "out" in op.variants else ""
    values = ", ".join(p.name for p in op.params if not p.keyword)
    line = (
        f"    if older: return {_bind(op, 'OLDER', _reordered)}({_bind(op, 'OP', op)}, {into}, ({values}, *older){out})"
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


def _python_types(op: Op, text: str) -> str:
    """PyTorch takes `int` for int64 among dtypes, and its kin: written below the docstring of a function."""
    taken = [p.name for p in op.params if p.annotation.startswith("DType")]
    if not taken:
        return text
    head, doc, rest = text.split("\n", 2)
    lines_ = [f"    if type({name}) is type: {name} = of_type({name})" for name in taken]
    return "\n".join([head, doc, *lines_, rest])


def _header(op: Op, out: bool) -> str:
    parts, starred = [], False
    for p in op.params:
        if p.keyword and not starred:
            parts.append("*")
            starred = True
        parts.append(p.name if p.default is REQUIRED else f"{p.name}={_default(op, p)}")
    if out:
        parts += [] if starred else ["*"]
        parts.append("out=None")
    return ", ".join(parts)


def _tuple(op: Op) -> str:
    return "(" + "".join(p.name + ", " for p in op.params) + ")"


def _statics(op: Op) -> list[str]:
    """Conditions under which the static arguments have their defaults."""
    return [
        f"{p.name} is {p.default}"
        if p.default is None or isinstance(p.default, bool)
        else f"{p.name} == {_default(op, p)}"
        for p in op.params
        if not p.is_tensor
    ]


def _usual(op: Op) -> list[str]:
    """Conditions under which the static arguments are of the usual types."""
    out = []
    for i, types in op.usual:
        name, taken = op.params[i].name, [t.__name__ + "_" * (t is MemoryFormat) for t in types if t is not type(None)]
        if len(types) > 2 and "tuple" in taken:
            out.append(f"type({name}) in {'SIZES' if types[-1] is not type(None) else 'SIZES_OR_NONE'}")
            continue
        one = (
            f"{name} is True or {name} is False"
            if taken == ["bool"]
            else " or ".join(f"type({name}) is {t}" for t in taken)
        )
        out.append(f"({name} is None or {one})" if type(None) in types else f"({one})" if " or " in one else one)
    return out


def _guarded(op: Op, me: str, lane: list[str]) -> list[str]:
    """A lane of an operator that takes lists: where it fails, its arguments are looked at before anything else is said."""
    if not any(p.annotation.startswith(("Shape", "Dims", "Ints", "Sequence", "Any")) for p in op.params):
        return lane
    return ["    try:", *("    " + line for line in lane), "    except Exception as error:", f"        misused({me}, {_tuple(op)}, error)",
            "        raise"]  # fmt: skip


def _call(op: Op, names: dict[str, str]) -> str:
    return ", ".join((f"{p.name}=" if p.keyword else "") + names.get(p.name, p.name) for p in op.params)


# ---------------------------------------------------------------- pointwise operators


def _pointwise(op: Op) -> str:
    out = "out" in op.variants
    me = _bind(op, "OP", op)
    text = [f"def {op.name}({_header(op, out)}):", f'    """{op.aten}"""']
    tensors = [p for p in op.params if p.is_tensor]
    required = all(p.default is REQUIRED for p in op.params if not p.is_tensor)
    if (
        op.promote != "none"
        and not (required and len(tensors) < len(op.params))
        and all(p.default is not None for p in tensors)
    ):
        text += _pointwise_lane(op, me, out)
    text.append(f"    return general({me}, {_tuple(op)}{', out' if out else ''})")
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
    conditions = ["not MODES", *(["out is None"] if out else []), f"type({tensors[0].name}) in PLAIN", *_statics(op)]
    others = _alike(op, statics, root, base)
    alike = _bind(op, "ALIKE", others) if others else ""
    if base is dtypes.int64 and not others:
        return []
    fetch, ok = _operands(op, alike, base is dtypes.float64)
    body, (value,) = lines([root], {p: f"a{i}" for i, p in enumerate(ps)}, derived.array_word,
                           lambda c: derived.array_constant(SCOPE, c.arg), lambda c, x: f"{x}.astype(d)",
                           derived.array_tail)  # fmt: skip
    if value.startswith(("a", "constant")):
        body, value = [*body, f"r = {value}.copy()" if value.startswith("a") else f"r = {value}"], "r"
    kernel = _bind(op, "NATIVE", large.forward(op))
    arrays = [f"a{i}" for i in range(len(tensors))]
    operands, order = ", ".join(arrays), []
    if op.run is op.body and body and body[-1].startswith(f"{value} = ") and body[-1].endswith("out=...)"):
        made = "d" if root.dtype is base else "BOOL"
        body[-1] = body[-1][:-1] + f" if {derived.in_order(arrays)} else room({made}, {operands}))"
    else:
        order = [f"                if r.ndim > 1 and not ({derived.in_order(arrays)}): r = walked(r, {operands})"]
    biggest = " or ".join(f"a{i}.size >= LARGE" for i in range(len(tensors)))
    large_enough = f"({biggest}) and (a1.ndim or a1.item() not in {op.short})" if op.short else biggest
    small_ = [f"            r = {kernel}({operands}) if {large_enough} else None"]
    if op.run is op.body and base is dtypes.float64 and not tensors[0].is_free:
        name = _bind(op, "SMALL", None)
        small.install(SCOPE, name, root, ps, large.available)
        small_ = [
            f"            r = {name}({operands})",
            f"            if r is None and ({large_enough}): r = {kernel}({operands})",
        ]
    if alike and op.run is not op.body:
        ok.append(f"(d not in {alike} or not ({biggest}))")
    text = [f"    if {' and '.join(conditions)}:", *fetch, f"        if {' and '.join(ok)}:"]
    if alike and op.check is not None:
        text.append(
            f"            if d in {alike}: {_bind(op, 'CHECK', op.check)}({', '.join(f'{p.name}={p.name}' for p in op.params)})"
        )
    text = [*text,
            *small_, "            if r is None:",
            "                token = quiet(QUIET)", "                try:", *("                    " + line for line in body), f"                    r = {value}",
            "                except ValueError:", f"                    return general({me}, {_tuple(op)})",
            "                finally:", "                    loud(token)",
            *order,
            "            o = new(Tensor)", "            o._a = r"]  # fmt: skip
    if op.run is not op.body:  # an array reading of its own: it takes the place of the text
        at = text.index("                try:")
        end = text.index("                except ValueError:")
        text[at + 1 : end] = [
            f"                    r = asarray({_bind(op, 'RUN', op.run)}(K, {_call(op, {p.name: f'a{i}' for i, p in enumerate(tensors)})}))"
        ]
        if alike and op.promote != "bool":
            text.insert(
                text.index("                    loud(token)") + 1,
                f"                if r.dtype is not d: return general({me}, {_tuple(op)})",
            )
    if op.differentiable and root.dtype.kind in "fc":
        text += _record_lane(op, tensors)
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
            return np.asarray(call.call_body(op, op.run, (K,), tuple(given))).dtype == d.np
    except (TypeError, ValueError, ArithmeticError, RuntimeError):
        return False


def _same(e: Expr, other: Expr, base: dtypes.dtype, d: dtypes.dtype) -> bool:
    """Whether two expressions are the same words, the second of dtype `d` where the first is of `base`."""
    return (e.op == other.op and e.op != "cast" and other.dtype is (d if e.dtype is base else e.dtype) and repr(e.arg) == repr(other.arg)
            and (e.op != "const" or type(e.arg) is int) and all(_same(x, y, base, d) for x, y in zip(e.src, other.src, strict=True)))  # fmt: skip


def _record_lane(op: Op, tensors: list[Param]) -> list[str]:
    """Lines that give `o` its history. The node's class is the derived one, or the one of the written rules."""
    names = [p.name for p in tensors]
    edges = []
    for i, n in enumerate(names):
        here = f"({n}._node if {n}._base is None else node_of({n}))"
        edges.append(f"            n{i} = {here}" + ("" if i == 0 else f" if k{i} in PLAIN else None"))
    some = " or ".join(f"n{i} is not None" for i in range(len(names)))
    text = [*edges, f"            if ({some}) and STATE.grad:"]
    if op.rules:
        guards = {p.name: "" if i == 0 else f"k{i} in PLAIN" for i, p in enumerate(tensors)}
        return _record_rules(op, {p.name: f"a{i}" for i, p in enumerate(tensors)}, guards, "            ")
    cls = derived.node_class(op, [p.default if not p.is_tensor else _SAMPLE for p in op.params])
    node = _bind(op, "Node", cls)
    text += [
        f"                n = new({node})",
        f"                n.next = ({''.join(f'n{i}, ' for i in range(len(names)))})",
    ]
    saved, versions = [], []
    for n in cls.names:  # type: ignore[attr-defined]
        users = cls.needed_by[n]  # type: ignore[attr-defined]
        if n == "out":
            text += [
                "                s_out = new(Tensor)",
                "                s_out._a = r",
                "                s_out._vc = o._vc = [0]",
            ]
            versions.append("0")
            saved.append("s_out")
            continue
        i = names.index(n)
        plain = f"0 if {n}._vc is None else {n}._vc[0]"
        if len(names) > 1 and len(users) < len(names):
            cond = " or ".join(f"n{u} is not None" for u in users)
            text.append(f"                s{i} = {n} if {cond} else None")
            test = f"s{i} is None" + (f" or k{i} not in PLAIN" if i else "")
            saved.append(f"s{i}")
            versions.append(f"-1 if {test} else {plain}")
        else:
            saved.append(n)
            versions.append(plain if i == 0 else f"-1 if k{i} not in PLAIN else {plain}")
    if saved:
        text += [f"                n.saved = ({''.join(s + ', ' for s in saved)})",
                 f"                n.versions = ({''.join('(' + v + '), ' for v in versions)})"]  # fmt: skip
    if len(names) > 1:
        text.append(f"                n.shapes = ({''.join(f'a{i}.shape, ' for i in range(len(names)))})")
        nrs = ", ".join(f"{n}._nr" if i == 0 else f"{n}._nr if k{i} in PLAIN else 0" for i, n in enumerate(names))
        some_nr = " or ".join(f"({n}._nr)" if i == 0 else f"(k{i} in PLAIN and {n}._nr)" for i, n in enumerate(names))
        text.append(f"                if {some_nr}: n.nrs = ({nrs})")
    else:
        text.append(f"                if {names[0]}._nr: n.nrs = ({names[0]}._nr,)")
    return [*text, "                n.seq = next(serial)", "                o._node = n"]


def _record_rules(op: Op, arrays: dict[str, str], guards: dict[str, str], pad: str) -> list[str]:
    """Lines that give `o` a node of the written rules. `guards`: what must hold for a parameter to be a tensor."""
    cls: Any = record.node_class(op, ())
    if op.outputs or any(p.is_list for p in op.params) or "outs" in cls.names:
        some = " or ".join(
            (f"({guards[n]} and " if guards[n] else "(") + f"({n}._node is not None or {n}._base is not None))"
            for n in arrays
        )
        return [f"{pad}if ({some}) and STATE.grad:", f"{pad}    record({_bind(op, 'OP', op)}, (o,), {_tuple(op)})"]
    edge, text = {}, []
    for i, n in enumerate(arrays):
        if n in op.rules or cls.joint:
            edge[n] = f"n{i}"
            text.append(
                f"{pad}n{i} = ({n}._node if {n}._base is None else node_of({n}))"
                + (f" if {guards[n]} else None" if guards[n] else "")
            )
    real = " and r.dtype.kind in 'fcV'" if op.promote == "none" else ""  # an integer result has no history
    text.append(f"{pad}if ({' or '.join(f'{e} is not None' for e in edge.values())}) and STATE.grad{real}:")
    pad += "    "
    node, left_out = _bind(op, "Node", cls), op.node_without[0]
    if left_out:
        node += f" if {left_out} is not None else {_bind(op, 'NodeWithout', record.class_without(op, cls))}"
    text += [
        f"{pad}n = new({node})",
        f"{pad}n.next = ({''.join(edge.get(n, 'None') + ', ' for n in arrays)})",
    ]
    into = [
        f"({a}.shape, {a}.dtype)" + (f" if {edge[n]} is not None else None" if guards[n] else "")
        if n in edge
        else "None"
        for n, a in arrays.items()
    ]
    text.append(f"{pad}n.into = ({''.join(x + ', ' for x in into)})")
    nrs = [(f"{n}._nr" + (f" if {guards[n]} else 0" if guards[n] else "")) if n in edge else "0" for n in arrays]
    text += (
        [f"{pad}nrs = ({''.join('(' + x + '), ' for x in nrs)})", f"{pad}if any(nrs): n.nrs = nrs"]
        if len(arrays) > 1
        else [f"{pad}if {nrs[0]}: n.nrs = ({nrs[0]},)"]
    )
    saved, versions = [], []
    for j, n in enumerate(cls.names):
        base = n.removesuffix("_shape").removesuffix("_dtype")
        if n in arrays:
            users = [edge[r] for r, ps in cls.read_by.items() if n in ps] or list(edge.values())
            conditions = ([f"({' or '.join(f'{u} is not None' for u in users)})"] if len(users) < len(edge) else []) + (
                [guards[n]] if guards[n] else []
            )
            if guards[n] and n != base:
                conditions = conditions[:-1]
            wanted = " and ".join(conditions)
            # A number in a tensor's place is saved as it is.
            value = f"{n} if {conditions[0]} else None" if len(users) < len(edge) else n
            saved.append(value)
            versions.append(f"(0 if {n}._vc is None else {n}._vc[0])" + (f" if {wanted} else -1" if wanted else ""))
        elif n == "out":
            text.append(f"{pad}s{j} = saved_alias(o)")
            saved.append(f"s{j}")
            versions.append("o._vc[0]")
        elif n.endswith("_shape") and base in arrays:
            saved.append(f"{arrays[base]}.shape")
            versions.append("-1")
        elif n.endswith("_dtype") and base in arrays:
            saved.append(f"{base}.dtype")
            versions.append("-1")
        else:
            saved.append(n)
            versions.append("-1")
    text += [
        f"{pad}n.saved = ({''.join('(' + x + '), ' for x in saved)})",
        f"{pad}n.versions = ({''.join('(' + x + '), ' for x in versions)})",
    ]
    return [*text, f"{pad}n.seq = next(serial)", f"{pad}o._node = n"]


_SAMPLE = object.__new__(Tensor)  # stands for any real tensor where only the kind of argument matters
_SAMPLE._a = np.zeros(())


def _inplace_lane(op: Op, me: str) -> list[str]:
    """Without history and with one floating dtype, the ufunc writes straight into the first operand."""
    tensors = [p for p in op.params if p.is_tensor]
    statics = {p.name: p.default for p in op.params if not p.is_tensor}
    if op.promote == "none" or any(p.default is None for p in tensors) or any(d is REQUIRED for d in statics.values()):
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
    head, _, last = body[-1].partition(" = ")
    body[-1] = last.replace(", out=...)", ", out=a0)")
    history = " and ".join(f"{p.name}._node is None and {p.name}._base is None" if i == 0 else
                           f"(k{i} not in PLAIN or ({p.name}._node is None and {p.name}._base is None))"
                           for i, p in enumerate(tensors))  # fmt: skip
    first = tensors[0].name
    ok.append(_unexpanded("a0"))
    ok += [
        f"(a{i}.base is None and a0.base is None or a{i}.size == 1 or not may_share(a0, a{i}))"
        for i in range(1, len(tensors))
    ]
    return [f"    if {' and '.join(['not MODES', f'type({first}) in PLAIN', f'not {first}._inference', *_statics(op)])}:", *fetch,
            f"        if a0.size < LARGE and {' and '.join(ok)} and (not STATE.grad or ({history})):",
            "            token = quiet(QUIET)", "            try:", *("                " + line for line in body),
            "            except ValueError:", f"                return general({me}, {_tuple(op)}, None, True)",
            "            finally:", "                loud(token)",
            f"            vc = {first}._vc", f"            if vc is None: {first}._vc = [1]", "            else: vc[0] += 1",
            f"            return {first}"]  # fmt: skip


def _unexpanded(a: str) -> str:
    """The condition that no elements of an array share memory, as those of an expanded tensor do: others are for the general lane."""
    return f"({a}.base is None or 0 not in {a}.strides)"


# ---------------------------------------------------------------- structured operators


def _factory(op: Op) -> str:
    """Creation: takes where and how besides what; sizes may be separate integers where they are all there is."""
    me, out = _bind(op, "OP", op), "out" in op.variants
    params = op.params
    spread = params[0].annotation == "Shape" and (len(params) == 1 or params[1].keyword)
    head = _header(op, out)
    if spread:
        rest = head.partition("*, ")[2]
        head = f"*sizes, {params[0].name}=None, {rest}"
    elif "*" not in head:
        head += ", *"
    lines_ = [
        f"def {op.name}({head}, layout=None, device=None, pin_memory=False, requires_grad=False, names=None):",
        f'    """{op.aten}"""',
    ]
    if spread:
        n = params[0].name
        lines_ += [
            f"    if {n} is None:",
            f"        {n} = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes",
            f"        if not sizes: raise TypeError('{op.name}() missing 1 required positional arguments: \"{n}\"')",
        ]
    first = params[0].name
    plain = [f"type({first}) in PLAIN", f"type({first}._a) is ndarray"] if params[0].is_tensor else ["here() is CPU"]
    plain += ["(requires_grad is False or requires_grad is True)", "(pin_memory is False or pin_memory is None)"]
    if op.check is None:
        lines_ += [f"    if {' and '.join(['device is None', 'not MODES', *_usual(op), *(['out is None'] if out else []), 'layout is None', *plain, 'not STATE.inference'])}:",
                   "        token = quiet(QUIET)", "        try:",
                   f"            r = {_bind(op, 'RUN', op.run)}(K, {_call(op, {first: first + '._a'} if params[0].is_tensor else {})})",
                   "        finally:", "            loud(token)", "        o = new(Tensor)", "        o._a = r if type(r) is ndarray else asarray(r)",
                   "        if requires_grad:", "            require(o)", "        return o"]  # fmt: skip
    lines_.append(
        f"    return create({me}, {_tuple(op)}, {'out' if out else 'None'}, layout, device, pin_memory, requires_grad)"
    )
    return "\n".join(lines_) + "\n"


def _structured(op: Op) -> str:
    if "factory" in op.variants:
        return _factory(op)
    out = "out" in op.variants
    me = _bind(op, "OP", op)
    text = [f"def {op.name}({_header(op, out)}):", f'    """{op.aten}"""']
    tensors = [p for p in op.params if p.is_tensor]
    lists = [p for p in op.params if p.is_list]
    if op.layouts:
        pass
    elif tensors and tensors[0] is op.params[0] and not lists and tensors[0].default is REQUIRED:
        text += _guarded(op, me, _structured_lane(op, me, tensors, out))
    elif (
        len(lists) == 1
        and op.promote == "none"
        and not op.view
        and lists[0].default is REQUIRED
        and not any(p.default is not REQUIRED or p.annotation == "N" for p in tensors)
    ):
        text += _guarded(op, me, _list_lane(op, me, lists[0], tensors, out))
    text.append(f"    return general({me}, {_tuple(op)}{', out' if out else ''})")
    return "\n".join(text) + "\n"


def _structured_lane(op: Op, me: str, tensors: list[Param], out: bool) -> list[str]:
    """Tensors that meet must share one floating dtype `d`, that of the first of them; numbers take it on."""
    meet = op.promote != "none"
    leader = next((p for p in tensors if not p.is_free), tensors[0])
    at = tensors.index(leader)
    other = f"            return general({me}, {_tuple(op)}{', out' if out else ''})"
    conditions = ["not MODES", *(["out is None"] if out else []), f"type({leader.name}) in PLAIN", *_usual(op),
                  *(["dtype is None"] if meet and any(p.name == "dtype" for p in op.params) else [])]  # fmt: skip
    text = [f"    if {' and '.join(conditions)}:", f"        a{at} = {leader.name}._a", f"        d = a{at}.dtype"]
    floating = "(d is F32 or d is F64 or d in HALVES)" if op.halves else "(d is F32 or d is F64)"
    ok = [floating] if meet else [f"type(a{at}) is ndarray"]
    if op.lacks and not meet:
        ok.append(_known(op, "d"))
    for i, p in enumerate(tensors):
        if p is leader:
            continue
        text += [f"        if type({p.name}) in PLAIN:", f"            a{i} = {p.name}._a"]
        if p.default is None:
            text += [f"        elif {p.name} is None:", f"            a{i} = None"]
            ok += [] if p.is_free else [f"(a{i} is None or {f'a{i}.dtype is d' if meet else f'type(a{i}) is ndarray'})"]
        else:
            ok += [] if p.is_free else [f"a{i}.dtype is d" if meet else f"type(a{i}) is ndarray"]
        if not meet and p.annotation == "N":
            text += [f"        elif type({p.name}) is float or type({p.name}) is int or type({p.name}) is bool:",
                     f"            a{i} = beside({p.name}, {leader.name})"]  # fmt: skip
        if meet and p.annotation == "N":
            text += [f"        elif (type({p.name}) is float or type({p.name}) is int) and (d is F32 or d is F64):",
                     f"            a{i} = constant({p.name}, d)"]  # fmt: skip
        text += ["        else:", other]
    pad = "        "
    if ok:
        text.append(f"        if {' and '.join(ok)}:")
        pad = "            "
    if op.check is not None:
        text.append(f"{pad}{_bind(op, 'CHECK', op.check)}({', '.join(f'{p.name}={p.name}' for p in op.params)})")
    arrays = {p.name: f"a{i}" for i, p in enumerate(tensors)}
    run = _bind(op, "RUN", op.run)
    if op.view:
        text.append(f"{pad}r = {run}(K, {_call(op, arrays)})")
    else:
        if op.native:
            statics = "".join(f"{p.name}, " for p in op.params if not p.is_tensor)
            present = "".join(f"a{i} is not None, " for i in range(len(tensors)))
            text += [f"{pad}r = None", f"{pad}if a0.size >= LARGE:", f"{pad}    kernel = structured({me}, ({statics}), ({present}))",
                     f"{pad}    if kernel is not None: r = kernel({', '.join(f'*(() if a{i} is None else (a{i},))' if p.default is None else f'a{i}' for i, p in enumerate(tensors))})",
                     f"{pad}if r is None:"]  # fmt: skip
        step = "    " if op.native else ""
        text += [
            pad + step + line
            for line in (
                "token = quiet(QUIET)",
                "try:",
                f"    r = {run}(K, {_call(op, arrays)})",
                "finally:",
                "    loud(token)",
            )
        ]
    some = " or ".join(f"({p.name} is not None and ({p.name}._node is not None or {p.name}._base is not None))" if p.default is None
                       else f"(type({p.name}) in PLAIN and ({p.name}._node is not None or {p.name}._base is not None))" if p.annotation == "N"
                       else f"{p.name}._node is not None or {p.name}._base is not None" for p in tensors if not p.is_free)  # fmt: skip
    text += [f"{pad}if type(r) is not ndarray:", f"{pad}    if type(r) is tuple or type(r) is list:",
             f"{pad}        return finish({me}, {_tuple(op)}, r, None)", f"{pad}    r = asarray(r)"]  # fmt: skip
    if op.packed:
        if op.packed == "images":
            text.append(
                f"{pad}if not (r.flags.c_contiguous and a{at}.flags.c_contiguous): r = packed(r, {op.packed!r}, a{at})"
            )
        elif op.packed == "operands":
            names = list(arrays.values())
            text.append(f"{pad}if r.ndim > 1 and not ({derived.in_order(names)}): r = walked(r, {', '.join(names)})")
        else:
            text.append(f"{pad}if not r.flags.c_contiguous: r = packed(r, {op.packed!r})")
    if op.view:
        r = "r" if op.sign is None or op.sign(False, False) == (False, False) else f"viewed({me}, a{at}, r)"
        text.append(f"{pad}o = view({tensors[0].name}, {r})")
    else:
        text += [f"{pad}o = new(Tensor)", f"{pad}o._a = r"]
    if op.differentiable and op.rules:
        guards = {p.name: f"a{i} is not None" if p.default is None else f"type({p.name}) in PLAIN" if p.annotation == "N" else ""
                  for i, p in enumerate(tensors)}  # fmt: skip
        text += _record_rules(op, arrays, guards, pad)
    elif op.differentiable:
        text += [f"{pad}if ({some}) and STATE.grad:", f"{pad}    record({me}, (o,), {_tuple(op)})"]
    return [*text, f"{pad}return o"]


def _known(op: Op, d: str) -> str:
    """The condition that an operator has a routine for a dtype."""
    lacking = _bind(op, "LACKING", frozenset(x.np for x in dtypes.ALL if op.routine(x)))
    return f"({d} is F32 or {d} is F64 or {d} not in {lacking})"


def _list_lane(op: Op, me: str, many: Param, tensors: list[Param], out: bool) -> list[str]:
    """Operators over a list of tensors (and some single ones) that look after dtypes themselves."""
    conditions = [
        "not MODES",
        *(["out is None"] if out else []),
        f"type({many.name}) not in PLAIN",
        *(f"type({p.name}) in PLAIN" for p in tensors),
        *_usual(op),
    ]
    gaps = "T | None]" in many.annotation
    value, given, array = ("None if t is None else ", " or t is None", " or a is None") if gaps else ("", "", "")
    text = [f"    if {' and '.join(conditions)}:", f"        xs = [{value}t._a for t in {many.name} if type(t) in PLAIN{given}]",
            f"        if len(xs) == len({many.name}) and all(type(a) is ndarray{array} for a in xs)"
            + "".join(f" and type({p.name}._a) is ndarray" for p in tensors) + ":"]  # fmt: skip
    if op.check is not None:
        text.append(f"            {_bind(op, 'CHECK', op.check)}({', '.join(f'{p.name}={p.name}' for p in op.params)})")
    arrays = {p.name: f"{p.name}._a" for p in tensors} | {many.name: "xs"}
    text += ["            token = quiet(QUIET)", "            try:", f"                r = {_bind(op, 'RUN', op.run)}(K, {_call(op, arrays)})",
             "            finally:", "                loud(token)", "            if type(r) is not ndarray:",
             f"                return finish({me}, {_tuple(op)}, r, None)",
             *([f"            if not r.flags.c_contiguous: r = packed(r, {op.packed!r})"] if op.packed else []), "            o = new(Tensor)", "            o._a = r"]  # fmt: skip
    if op.differentiable:
        text += ["            if STATE.grad:", f"                record({me}, (o,), {_tuple(op)})"]
    return [*text, "            return o"]


def _write_lane(op: Op, me: str) -> list[str]:
    """Without history, what the operator writes goes straight into the first tensor's memory."""
    tensors = [p for p in op.params if p.is_tensor]
    if op.write is None or op.promote != "none" or any(p.is_list for p in op.params) or tensors[0] is not op.params[0]:
        return []
    first = tensors[0].name
    conditions = ["not MODES", f"type({first}) in PLAIN", f"type({first}._a) is ndarray", f"not {first}._inference"]
    if op.expanded is not True:
        conditions.append(_unexpanded(f"{first}._a"))
    text = [f"    if {' and '.join(conditions)}:"]
    free = [f"{first}._node is None and {first}._base is None"]
    for p in tensors[1:]:
        text += [f"        if type({p.name}) in PLAIN:", f"            a_{p.name} = {p.name}._a"]
        if p.annotation == "N":
            text += [
                f"        elif type({p.name}) in (int, float, bool):",
                f"            a_{p.name} = asarray({p.name})",
            ]
        text += ["        else:", f"            return general({me}, {_tuple(op)}, None, True)"]
        if not p.is_free:
            free.append(f"(type({p.name}) not in PLAIN or ({p.name}._node is None and {p.name}._base is None))")
    conditions = [f"(not STATE.grad or ({' and '.join(free)}))", *(f"type(a_{p.name}) is ndarray" for p in tensors[1:])]
    text.append(f"        if {' and '.join(conditions)}:")
    if op.check is not None:
        text.append(f"            {_bind(op, 'CHECK', op.check)}({', '.join(f'{p.name}={p.name}' for p in op.params)})")
    arrays = {p.name: f"a_{p.name}" for p in tensors[1:]} | {first: first + "._a"}
    return [*text, "            token = quiet(QUIET)", "            try:", f"                {_bind(op, 'WRITE', op.write)}(K, {_call(op, arrays)})",
            "            finally:", "                loud(token)", f"            vc = {first}._vc", f"            if vc is None: {first}._vc = [1]",
            "            else: vc[0] += 1", f"            return {first}"]  # fmt: skip


def _composite(op: Op) -> str:
    out = "out" in op.variants
    me, body = _bind(op, "OP", op), _bind(op, "BODY", op.body)
    text = [f"def {op.name}({_header(op, out)}):", f'    """{op.aten}"""']
    types = " and ".join(
        f"({p.name} is None or type({p.name}) in PLAIN)"
        if p.default is None
        else f"(type({p.name}) in PLAIN or not isinstance({p.name}, Tensor))"
        if p.takes_number
        else f"type({p.name}) in PLAIN"
        for p in op.params
        if p.is_tensor
    )
    first = next((p.name for p in op.params if p.is_tensor), "")
    conditions = ["not MODES", *(["out is None"] if out else []), *([types] if types else []), *_usual(op)]
    if op.layouts:
        conditions.append(f"type({op.params[0].name}._a) not in LAYOUTS")
    if op.lacks:
        conditions.append(_known(op, f"{first}._a.dtype"))
    fields = _bind(op, "FIELDS", record.named(op)) if op.outputs else ""
    lane = [f"    if {' and '.join(conditions)}:"]
    if op.native and first:
        lane += [f"        if type({first}) in PLAIN and {first}._a.size >= LARGE:", f"            r = fused({me}, {_tuple(op)})",
                 f"            if r is not None: return {f'packed_tensor(r, {op.packed!r})' if op.packed else 'r'}"]  # fmt: skip
    made = f"{body}({_call(op, {})})"
    if op.packed:
        made = f"packed_tensor({made}, {op.packed!r}{f', {first}._a' if op.packed == 'images' else ''})"
    lane.append(f"        return {fields}({made})" if fields else f"        return {made}")
    text += [*_guarded(op, me, lane), f"    return general({me}, {_tuple(op)}{', out' if out else ''})"]
    return "\n".join(text) + "\n"


Op.call = staticmethod(function)
__all__ = ["Node", "function", "inplace"]

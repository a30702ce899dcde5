"""Lines of flat functions that give a result its history: a node of the class that belongs to the operator, with its edges and what the
derivative reads, as `record` does it in the general lane."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._eager import derived, record
from flambeau._eager.flat_text import (
    as_tuple,
    bind,
)
from flambeau._operators.op import Op, Param
from flambeau._tensor import Tensor

_SAMPLE = object.__new__(Tensor)  # stands for any real tensor where only the kind of argument matters
_SAMPLE._a = np.zeros(())


def derived_history(op: Op, tensors: list[Param]) -> list[str]:
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
        return written_history(op, {p.name: f"a{i}" for i, p in enumerate(tensors)}, guards, "            ")
    cls = derived.node_class(op, [p.default if not p.is_tensor else _SAMPLE for p in op.params])
    node = bind(op, "Node", cls)
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


def written_history(op: Op, arrays: dict[str, str], guards: dict[str, str], pad: str, fields: dict[str, str] | None = None) -> list[str]:  # fmt: skip
    """Lines that give `o` a node of the written rules, or the results that are several (`fields`: what each is called). `guards`: what
    must hold for a parameter to be a tensor."""
    cls: Any = record.node_class(op, ())
    if fields is not None:
        pass
    elif op.outputs or any(p.is_list for p in op.params) or "outs" in cls.names:
        some = " or ".join(
            (f"({guards[n]} and " if guards[n] else "(") + f"({n}._node is not None or {n}._base is not None))"
            for n in arrays
        )
        return [f"{pad}if ({some}) and STATE.grad:", f"{pad}    record({bind(op, 'OP', op)}, (o,), {as_tuple(op)})"]
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
    node, left_out = bind(op, "Node", cls), op.node_without[0]
    if left_out:
        node += f" if {left_out} is not None else {bind(op, 'NodeWithout', record.class_without(op, cls))}"
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
    fields = {"out": "o"} if fields is None else fields
    text += [f"{pad}s{j} = saved_alias({fields[n]})" for j, n in enumerate(cls.names) if n in fields]
    saved, versions = (
        zip(*(_saved(cls, j, n, arrays, guards, edge, fields) for j, n in enumerate(cls.names)))
        if cls.names
        else ((), ())
    )
    text += [
        f"{pad}n.saved = ({''.join('(' + x + '), ' for x in saved)})",
        f"{pad}n.versions = ({''.join('(' + x + '), ' for x in versions)})",
    ]
    text.append(f"{pad}n.seq = next(serial)")
    if not op.outputs:
        return [*text, f"{pad}o._node = n"]
    outs = list(fields.values())
    text += [
        f"{pad}n.outs = {len(outs)}",
        f"{pad}n.metas = ({''.join(f'({o}._a.shape, {o}._a.dtype), ' for o in outs)})",
    ]
    for nr, o in enumerate(outs):
        if nr not in op.constants:
            kind = f"if {o}._a.dtype.kind == 'f': " if nr else ""
            text.append(f"{pad}{kind}{o}._node, {o}._nr = n, {nr}")
    return text


def _saved(
    cls: Any,
    j: int,
    name: str,
    arrays: dict[str, str],
    guards: dict[str, str],
    edge: dict[str, str],
    fields: dict[str, str],
) -> tuple[str, str]:
    """What the node keeps for the j-th name that its rules read, and the version in which it must be found (-1: any)."""
    if name in arrays:
        users = [edge[r] for r, ps in cls.read_by.items() if name in ps] or list(edge.values())
        used = f"({' or '.join(f'{u} is not None' for u in users)})" if len(users) < len(edge) else ""
        wanted = " and ".join(c for c in (used, guards[name]) if c)
        # A number in a tensor's place is saved as it is.
        version = f"(0 if {name}._vc is None else {name}._vc[0])" + (f" if {wanted} else -1" if wanted else "")
        return f"{name} if {used} else None" if used else name, version
    if name in fields:
        return f"s{j}", f"{fields[name]}._vc[0]"
    base = name.removesuffix("_shape").removesuffix("_dtype")
    if base in arrays and base != name:
        return f"{arrays[base]}.shape" if name.endswith("_shape") else f"{base}.dtype", "-1"
    return name, "-1"

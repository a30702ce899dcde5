"""The text of flat functions of structured operators, of those that create tensors, and of composites.

Their bodies run on whole arrays (composites on tensors), or as one kernel where the operator is `native` and the first tensor large.
"""

from __future__ import annotations

from flambeau._eager import derived, record, replayed
from flambeau._eager.flat_history import written_history
from flambeau._eager.flat_text import (
    as_tuple,
    bind,
    checked,
    guarded,
    header,
    known,
    passed,
    unexpanded,
    usual_types,
    without_history,
)
from flambeau._operators.op import REQUIRED, Op, Param


def structured(op: Op) -> str:
    """The function of an operator over whole arrays."""
    if "factory" in op.variants:
        return _factory(op)
    out = "out" in op.variants
    me = bind(op, "OP", op)
    text = [f"def {op.name}({header(op, out)}):", f'    """{op.aten}"""']
    tensors = [p for p in op.params if p.is_tensor]
    lists = [p for p in op.params if p.is_list]
    if op.layouts:
        pass
    elif tensors and tensors[0] is op.params[0] and not lists and tensors[0].default is REQUIRED:
        text += guarded(op, me, _structured_lane(op, me, tensors, out))
    elif (
        len(lists) == 1
        and op.promote == "none"
        and not op.view
        and lists[0].default is REQUIRED
        and not any(p.default is not REQUIRED or p.annotation == "N" for p in tensors)
    ):
        text += guarded(op, me, _list_lane(op, me, lists[0], tensors, out))
    text.append(f"    return general({me}, {as_tuple(op)}{', out' if out else ''})")
    return "\n".join(text) + "\n"


def _structured_lane(op: Op, me: str, tensors: list[Param], out: bool) -> list[str]:
    """Tensors that meet must share one floating dtype `d`, that of the first of them; numbers take it on."""
    meet = op.promote != "none"
    leader = next((p for p in tensors if not p.is_free), tensors[0])
    at = tensors.index(leader)
    conditions = ["not MODES", *(["out is None"] if out else []), f"type({leader.name}) in PLAIN", *usual_types(op),
                  *(["dtype is None"] if meet and any(p.name == "dtype" for p in op.params) else [])]  # fmt: skip
    conditions += without_history(op)
    text = [f"    if {' and '.join(conditions)}:", f"        a{at} = {leader.name}._a", f"        d = a{at}.dtype"]
    floating = (
        f"(d is F32 or d is F64 or d in HALVES and type(a{at}) is ndarray)" if op.halves else "(d is F32 or d is F64)"
    )
    ok = [floating] if meet else [f"type(a{at}) is ndarray"]
    if (op.lacks or op.real) and not meet:
        ok.append(known(op, "d"))
    for i, p in enumerate(tensors):
        if p is not leader:
            lines, condition = _operand(p, i, leader, meet)
            text += [
                *lines,
                "        else:",
                f"            return general({me}, {as_tuple(op)}{', out' if out else ''})",
            ]
            ok += [] if p.is_free else [condition]
    arrays = {p.name: f"a{i}" for i, p in enumerate(tensors)}
    inner = [*_computed(op, me, tensors, arrays), *_result(op, me, tensors, at, arrays)]
    text += [f"        if {' and '.join(ok)}:", *("            " + line for line in inner)]
    if op.differentiable and op.rules:
        guards = {p.name: f"a{i} is not None" if p.is_optional else f"type({p.name}) in PLAIN" if p.annotation == "N" else ""
                  for i, p in enumerate(tensors)}  # fmt: skip
        text += written_history(op, arrays, guards, "            ")
    elif op.differentiable:
        some = " or ".join(f"({p.name} is not None and ({p.name}._node is not None or {p.name}._base is not None))" if p.is_optional
                           else f"(type({p.name}) in PLAIN and ({p.name}._node is not None or {p.name}._base is not None))" if p.annotation == "N"
                           else f"{p.name}._node is not None or {p.name}._base is not None" for p in tensors if not p.is_free)  # fmt: skip
        text += [f"            if ({some}) and STATE.grad:", f"                record({me}, (o,), {as_tuple(op)})"]
    return [*text, "            return o"]


def _operand(p: Param, i: int, leader: Param, meet: bool) -> tuple[list[str], str]:
    """Lines that fetch the array of an operand beside the leader, `a1`, and what must hold for it."""
    text = [f"        if type({p.name}) in PLAIN:", f"            a{i} = {p.name}._a"]
    fits = f"a{i}.dtype is d" if meet else f"type(a{i}) is ndarray"
    if p.is_optional:
        text += [f"        elif {p.name} is None:", f"            a{i} = None"]
        fits = f"(a{i} is None or {fits})"
    if p.annotation == "N" and meet:
        text += [f"        elif (type({p.name}) is float or type({p.name}) is int) and (d is F32 or d is F64):",
                 f"            a{i} = constant({p.name}, d)"]  # fmt: skip
    elif p.annotation == "N":
        text += [f"        elif type({p.name}) is float or type({p.name}) is int or type({p.name}) is bool:",
                 f"            a{i} = beside({p.name}, {leader.name})"]  # fmt: skip
    return text, fits


def _computed(op: Op, me: str, tensors: list[Param], arrays: dict[str, str]) -> list[str]:
    """Lines that compute `r`: by a kernel where the operator has one and the first array is large, else by the array reading."""
    run = f"r = {bind(op, 'RUN', op.run)}(K, {passed(op, arrays)})"
    check = [checked(op)] if op.check is not None else []
    if op.view:
        return [*check, run]
    quietly = ["token = quiet(QUIET)", "try:", f"    {run}", "finally:", "    loud(token)"]
    again, met = _again(op, tensors, arrays)
    if not op.native:
        if not again:
            return [*check, *quietly]
        return [
            *again,
            "if r is None:",
            *("    " + line for line in (*check, met, "if r is None:", *("    " + line for line in quietly))),
        ]
    statics = "".join(f"{p.name}, " for p in op.params if not p.is_tensor)
    present = "".join(f"a{i} is not None, " for i in range(len(tensors)))
    given = ", ".join(
        f"*(() if a{i} is None else (a{i},))" if p.is_optional else f"a{i}" for i, p in enumerate(tensors)
    )
    kernel = ["if a0.size >= LARGE:", f"    kernel = structured({me}, ({statics}), ({present}))",
              f"    if kernel is not None: r = kernel({given})"]  # fmt: skip
    rest = ["if r is None:", *("    " + line for line in quietly)]
    if not again:
        return [*check, "r = None", *kernel, *rest]
    return [*again, "if r is None:", *("    " + line for line in (*check, *kernel, f"el{met}", *rest))]


def _again(op: Op, tensors: list[Param], arrays: dict[str, str]) -> tuple[list[str], str]:
    """Lines that do a small call as it was done before, and the one that notes that there is no way yet: see `replayed`."""
    parts = [replayed.part(p, p.name) for p in op.params if not p.is_tensor]
    if None in parts or op.draws or op.by_data or (op.check is not None and any(p.takes_number for p in tensors)):
        return [], ""
    replays = bind(op, "REPLAYS", replayed.of_op(op))
    optional = {arrays[p.name]: p.is_optional for p in tensors}
    lines = replayed.asked(replays, list(optional), [x for x in parts if x is not None])
    if op.outputs:
        lines += ["if type(r) is tuple:", *("    " + line for line in _several(op, arrays, optional))]
    ready = ["r = _key = None", "if a0.size < LARGE and (d is F32 or d is F64):", *("    " + line for line in lines)]
    given = ", ".join(arrays.get(p.name, p.name) for p in op.params)
    return ready, f"if _key is not None: r = {replays}.met(_key, {given})"


def _several(op: Op, arrays: dict[str, str], optional: dict[str, bool]) -> list[str]:
    """Lines that return the tensors of several arrays, which are in order and of their dtypes."""
    outs = {name: f"o{i}" for i, name in enumerate(op.outputs)}
    text = [f"{', '.join(f'r{i}' for i in range(len(outs)))} = r"]
    for i, o in enumerate(outs.values()):
        text += [f"{o} = new(Tensor)", f"{o}._a = r{i}"]
    if op.differentiable:
        if op.rules and 0 not in op.constants and "outs" not in record.node_class(op, ()).names:  # type: ignore[attr-defined]
            guards = {n: f"{a} is not None" if optional[a] else "" for n, a in arrays.items()}
            text += written_history(op, arrays, guards, "", outs)
        else:
            text.append(f"if STATE.grad: record({bind(op, 'OP', op)}, ({', '.join(outs.values())}), {as_tuple(op)})")
    return [*text, f"return {bind(op, 'FIELDS', record.named(op))}(({', '.join(outs.values())}))"]


def _result(op: Op, me: str, tensors: list[Param], at: int, arrays: dict[str, str]) -> list[str]:
    """Lines that make the tensor `o` of `r`, in the layout that PyTorch gives it; `at`: which array leads."""
    text = ["if type(r) is not ndarray:", "    if type(r) is tuple or type(r) is list:",
            f"        return finish({me}, {as_tuple(op)}, r, None)", "    r = asarray(r)"]  # fmt: skip
    if op.packed == "images":
        text.append(f"if not (r.flags.c_contiguous and a{at}.flags.c_contiguous): r = packed(r, {op.packed!r}, a{at})")
    elif op.packed == "operands":
        names = list(arrays.values())
        text.append(f"if r.ndim > 1 and not ({derived.in_order(names)}): r = walked(r, {', '.join(names)})")
    elif op.packed:
        text.append(f"if not r.flags.c_contiguous: r = packed(r, {op.packed!r})")
    if not op.view:
        return [*text, "o = new(Tensor)", "o._a = r"]
    r = "r" if op.sign is None or op.sign(False, False) == (False, False) else f"viewed({me}, a{at}, r)"
    return [*text, f"o = view({tensors[0].name}, {r})"]


def _list_lane(op: Op, me: str, many: Param, tensors: list[Param], out: bool) -> list[str]:
    """Operators over a list of tensors (and some single ones) that look after dtypes themselves."""
    conditions = [
        "not MODES",
        *(["out is None"] if out else []),
        f"type({many.name}) not in PLAIN",
        *(f"type({p.name}) in PLAIN" for p in tensors),
        *usual_types(op),
    ]
    gaps = "T | None]" in many.annotation
    value, given, array = ("None if t is None else ", " or t is None", " and a is not None") if gaps else ("", "", "")
    text = [f"    if {' and '.join(conditions)}:", f"        xs = [{value}t._a for t in {many.name} if type(t) in PLAIN{given}]",
            f"        if len(xs) == len({many.name}) and not [a for a in xs if type(a) is not ndarray{array}]"
            + "".join(f" and type({p.name}._a) is ndarray" for p in tensors) + ":"]  # fmt: skip
    if op.check is not None:
        text.append("            " + checked(op))
    arrays = {p.name: f"{p.name}._a" for p in tensors} | {many.name: "xs"}
    text += ["            token = quiet(QUIET)", "            try:", f"                r = {bind(op, 'RUN', op.run)}(K, {passed(op, arrays)})",
             "            finally:", "                loud(token)", "            if type(r) is not ndarray:",
             f"                return finish({me}, {as_tuple(op)}, r, None)",
             *([f"            if not r.flags.c_contiguous: r = packed(r, {op.packed!r})"] if op.packed else []), "            o = new(Tensor)", "            o._a = r"]  # fmt: skip
    if op.differentiable:
        kept = f"[t for t in {many.name} if {'t is not None and ' if gaps else ''}(t._node is not None or t._base is not None)]"  # fmt: skip
        some = " or ".join([*(f"{p.name}._node is not None or {p.name}._base is not None" for p in tensors), kept])
        text += [f"            if STATE.grad and ({some}):", f"                record({me}, (o,), {as_tuple(op)})"]
    return [*text, "            return o"]


def write_lane(op: Op, me: str) -> list[str]:
    """Without history, what the operator writes goes straight into the first tensor's memory; so does what it computes of that tensor alone."""
    tensors = [p for p in op.params if p.is_tensor]
    lists = [p for p in op.params if p.is_list]
    if op.promote != "none" or op.view or tensors[0] is not op.params[0]:
        return []
    if op.write is None and (len(tensors) > 1 or lists):
        return []
    first = tensors[0].name
    conditions = ["not MODES", f"type({first}) in PLAIN", f"type({first}._a) is ndarray", f"not {first}._inference"]
    if op.write is None:
        conditions += usual_types(op)
    if op.lacks:
        conditions.append(known(op, f"{first}._a.dtype"))
    if op.expanded is not True:
        conditions.append(unexpanded(f"{first}._a"))
    text = [f"    if {' and '.join(conditions)}:"]
    free = [f"{first}._node is None and {first}._base is None"]
    for p in tensors[1:]:
        text += [f"        if type({p.name}) in PLAIN:", f"            a_{p.name} = {p.name}._a"]
        if p.annotation == "N":
            text += [
                f"        elif type({p.name}) in (int, float, bool):",
                f"            a_{p.name} = asarray({p.name})",
            ]
        text += ["        else:", f"            return general({me}, {as_tuple(op)}, None, True)"]
        if not p.is_free:
            free.append(f"(type({p.name}) not in PLAIN or ({p.name}._node is None and {p.name}._base is None))")
    conditions = [f"(not STATE.grad or ({' and '.join(free)}))", *(f"type(a_{p.name}) is ndarray" for p in tensors[1:])]
    for p in lists:  # of integers and masks, which have no history
        text += [f"        if type({p.name}) is not list and type({p.name}) is not tuple: return general({me}, {as_tuple(op)}, None, True)",
                 f"        a_{p.name} = [None if t is None else t._a for t in {p.name} if t is None or type(t) in PLAIN]"]  # fmt: skip
        conditions += [f"len(a_{p.name}) == len({p.name})", f"not [a for a in a_{p.name} if a is not None and (type(a) is not ndarray or a.dtype.kind not in 'iub')]"]  # fmt: skip
    text.append(f"        if {' and '.join(conditions)}:")
    if op.check is not None:
        text.append("            " + checked(op))
    arrays = {p.name: f"a_{p.name}" for p in (*tensors[1:], *lists)} | {first: first + "._a"}
    if op.write is None:
        does = f"r = {bind(op, 'RUN', op.run)}(K, {passed(op, arrays)})"
        kept = [f"            if type(r) is not ndarray or r.dtype is not {first}._a.dtype or r.shape != {first}._a.shape:",
                f"                return stored({me}, {first}, {as_tuple(op)}, r)", f"            if r is not {first}._a: {first}._a[...] = r"]  # fmt: skip
    else:
        does, kept = f"{bind(op, 'WRITE', op.write)}(K, {passed(op, arrays)})", []
    return [*text, "            token = quiet(QUIET)", "            try:", f"                {does}",
            "            finally:", "                loud(token)", *kept, f"            vc = {first}._vc", f"            if vc is None: {first}._vc = [1]",
            "            else: vc[0] += 1", f"            return {first}"]  # fmt: skip


def _factory(op: Op) -> str:
    """Creation: takes where and how besides what; sizes may be separate integers where they are all there is."""
    me, out = bind(op, "OP", op), "out" in op.variants
    params = op.params
    spread = params[0].annotation == "Shape" and (len(params) == 1 or params[1].keyword)
    head = header(op, out)
    if spread:
        rest = head.partition("*, ")[2]
        head = f"*sizes, {params[0].name}=None, {rest}"
    elif "*" not in head:
        head += ", *"
    lines_ = [
        f"def {op.name}({head}, layout=None, device=None, pin_memory=False, requires_grad=False):",
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
    plain = [f"type({first}) in PLAIN", f"type({first}._a) is ndarray"] if params[0].is_tensor else []
    where = f"({'True' if params[0].is_tensor else 'here() is CPU'} if device is None else device is CPU or on_cpu(device))"  # fmt: skip
    if any(p.name == "dtype" for p in params):
        plain.append("(dtype is None or type(dtype) is DTYPE)")
    plain += ["(requires_grad is False or requires_grad is True)", "(pin_memory is False or pin_memory is None)"]
    general = f"create({me}, {as_tuple(op)}, {'out' if out else 'None'}, layout, device, pin_memory, requires_grad)"
    if op.check is None:
        lines_ += [f"    if {' and '.join([where, 'not MODES', *usual_types(op), *(['out is None'] if out else []), 'layout is None', *plain, 'not STATE.inference'])}:",
                   "        token = quiet(QUIET)", "        try:",
                   f"            r = {bind(op, 'RUN', op.run)}(K, {passed(op, {first: first + '._a'} if params[0].is_tensor else {})})",
                   "        except TypeError:", f"            return {general}",  # a size is no number: a proxy's, or none at all
                   "        finally:", "            loud(token)", "        o = new(Tensor)", "        o._a = r if type(r) is ndarray else asarray(r)",
                   "        if requires_grad:", "            require(o)", "        return o"]  # fmt: skip
    lines_.append(f"    return {general}")
    return "\n".join(lines_) + "\n"


def _composite_again(op: Op) -> list[str]:
    """Lines that do a composite of small tensors without history as it was done before: see `replayed`."""
    tensors = [p for p in op.params if p.is_tensor]
    parts = [replayed.part(p, p.name) for p in op.params if not p.is_tensor]
    if None in parts or op.draws or op.by_data or op.outputs or any(p.takes_number for p in tensors):
        return []
    if op.check is not None:  # what the recorded body takes for granted
        return []
    replays = bind(op, "REPLAYS", replayed.of_composite(op))
    array = {p.name: f"None if {p.name} is None else {p.name}._a" if p.is_optional else f"{p.name}._a" for p in tensors}
    free = " and ".join(
        f"({n} is None or {n}._node is None and {n}._base is None)"
        if p.is_optional
        else f"{n}._node is None and {n}._base is None"
        for p, n in ((p, p.name) for p in tensors)
    )
    asked = replayed.asked(replays, list(array.values()), [x for x in parts if x is not None])
    given = ", ".join(array.get(p.name, p.name) for p in op.params)
    return [
        f"if not STATE.grad or {free}:",
        "    r = None",
        *("    " + line for line in asked),
        f"    if r is None: r = {replays}.met(_key, {given})",
        "    if r is not None:",
        "        o = new(Tensor)",
        "        o._a = r",
        "        return o",
    ]


def composite(op: Op) -> str:
    """The function of a composite: its body at once, where all tensors are plain."""
    out = "out" in op.variants
    me, body = bind(op, "OP", op), bind(op, "BODY", op.body)
    text = [f"def {op.name}({header(op, out)}):", f'    """{op.aten}"""']
    types = " and ".join(
        f"({p.name} is None or type({p.name}) in PLAIN)"
        if p.is_optional
        else f"(type({p.name}) in PLAIN or not isinstance({p.name}, Tensor))"
        if p.takes_number
        else f"type({p.name}) in PLAIN"
        for p in op.params
        if p.is_tensor
    )
    first = next((p.name for p in op.params if p.is_tensor), "")
    conditions = ["not MODES", *(["out is None"] if out else []), *([types] if types else []), *usual_types(op)]
    if op.layouts:
        conditions.append(f"type({op.params[0].name}._a) not in LAYOUTS")
    conditions += without_history(op)
    if op.lacks:
        conditions.append(known(op, f"{first}._a.dtype"))
    fields = bind(op, "FIELDS", record.named(op)) if op.outputs else ""
    lane = [f"    if {' and '.join(conditions)}:"]
    if op.native and first:
        lane += [f"        if type({first}) in PLAIN and {first}._a.size >= LARGE:", f"            r = fused({me}, {as_tuple(op)})",
                 f"            if r is not None: return {f'packed_tensor(r, {op.packed!r})' if op.packed else 'r'}"]  # fmt: skip
    if op.again and first:
        lane += ["        " + line for line in _composite_again(op)]
    made = f"{body}({passed(op, {})})"
    if op.packed:
        made = f"packed_tensor({made}, {op.packed!r}{f', {first}._a' if op.packed == 'images' else ''})"
    lane.append(f"        return {fields}({made})" if fields else f"        return {made}")
    text += [*guarded(op, me, lane), f"    return general({me}, {as_tuple(op)}{', out' if out else ''})"]
    return "\n".join(text) + "\n"

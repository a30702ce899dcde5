"""From a call to a Node: which values its derivative names, and how a gradient then passes through it.

Two kinds of node. A RuleNode calls the derivatives written under the operator (`op.vjp`), in tensor operations. A derived node has
the text of a derivative that was worked out from the operator's recorded body (`_kernel.rules`), once for arrays, once for tensors.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu.casts import LARGE, astype
from flambeau._backends.pending_arrays import memory, settled
from flambeau._eager import large, replayed
from flambeau._eager.graph import (
    Node,
    Undifferentiable,
    as_tensor,
    differentiate_by_tensors,
    node_of,
    saved_alias,
    serial,
    unpack,
    unwrap,
)
from flambeau._eager.modes import MODES, STATE
from flambeau._ground.errors import NeedsElements
from flambeau._operators.op import Op
from flambeau._tensor import LAYOUTS, PLAIN, Tensor, bare, new, wrap
from flambeau._values import dtype as dtypes

_named: dict[Op, Any] = {}
BY_SAMPLES: list[Any] = []  # fn(function of trees, trees): how `vmap` runs what looks at elements


def named(op: Op) -> Any:
    """The class of an operator's tuple of results: fields by name, as `torch.return_types` has them, where schemas name them."""
    known = _named.get(op)
    if known is not None:
        return known
    if op not in _named and op.unnamed:
        _named[op] = tuple
    if op not in _named:
        name = op.aten.lstrip("_")
        cls: Any = namedtuple(name, op.outputs)  # type: ignore[misc]
        cls.__module__ = "flambeau.return_types"
        cls.__new__ = _from_iterable  # type: ignore[method-assign,assignment]
        cls.__getnewargs__ = lambda self: (tuple(self),)  # type: ignore[attr-defined]
        _named[op] = cls._make
        cls.__str__ = cls.__repr__ = _show_named  # type: ignore[method-assign]
        RETURN_TYPES[name] = cls
    return _named[op]


def _from_iterable(cls: Any, iterable: Any = (), *more: Any) -> Any:
    """As PyTorch's result tuples are made, of one sequence; or, as named tuples are, of their fields."""
    return cls._make((iterable, *more) if more or isinstance(iterable, Tensor) else iterable)


RETURN_TYPES: dict[str, type] = {}


def _show_named(self: Any) -> str:
    fields = ",\n".join(f"{n}={v!r}" for n, v in zip(self._fields, self, strict=True))
    return f"torch.return_types.{type(self).__name__}(\n{fields})"


def inputs_of(op: Op, values: Sequence[Any]) -> list[tuple[int, str, Any]]:
    """(position, name, tensor) of every tensor argument; the elements of a list follow one another."""
    out = []
    for i, p in enumerate(op.params):
        if p.is_tensor:
            out.append((i, p.name, values[i] if isinstance(values[i], Tensor) else None))
        elif p.is_list and values[i] is not None:
            out += [(i, p.name, x) for x in values[i]]
    return out


def any_history(op: Op, values: Sequence[Any]) -> bool:
    """Whether some input has history, hence the call must be recorded."""
    for p, v in zip(op.params, values, strict=True):
        if p.is_tensor:
            if isinstance(v, Tensor) and (v._node is not None or v._base is not None) and node_of(v) is not None:
                return True
        elif p.is_list and v is not None:
            for x in v:
                if x is None or (
                    x._node is None
                    and ((base := x._base) is None or ((vc := base._vc) is not None and x._seen == vc[0]))
                ):
                    continue  # most are so: asked here rather than by a call for each
                if node_of(x) is not None:
                    return True
    return False


def record(op: Op, outs: tuple[Any, ...], values: Sequence[Any], listed: bool = False, seen: bool = False) -> None:
    """Give the outputs their history, if an input has one. Called in grad mode. `seen`: by the rules for PyTorch's graphs."""
    if not any_history(op, values):
        return
    live = [o is not None and o._a.dtype.kind in "fcV" and i not in op.constants for i, o in enumerate(outs)]
    if not any(live):
        return
    if op.real and "dual" not in MODES and any(o is not None and o._a.dtype.kind == "c" for o in outs):
        name = op.event_name or op.aten
        raise RuntimeError(f"{name} does not support automatic differentiation for outputs with complex dtype.")
    node = make_node(op, values, outs, None, seen_class(op) if seen else None)
    node.listed = listed  # type: ignore[attr-defined]
    if len(outs) > 1 or op.outputs:
        node.outs = len(outs)
        node.metas = tuple(None if o is None else (o._a.shape, o._a.dtype) for o in outs)
        for nr, (o, ok) in enumerate(zip(outs, live, strict=True)):
            if ok:
                o._node, o._nr = node, nr
                if op.view:
                    o._created = o._created or ("multi" if len(outs) > 1 else "")
    else:
        outs[0]._node = node
        if op.view and outs[0]._created == "no_grad":
            outs[0]._created = ""


def make_node(op: Op, values: Sequence[Any], outs: tuple[Any, ...], old: Any, cls: type[Node] | None = None) -> Node:
    """The node of one call; `old` stands for the first input where that was overwritten (an in-place call)."""
    cls = cls or node_class(op, values)
    node = new(cls)
    wanted = cls.wanted  # type: ignore[attr-defined]
    edges: list[Any] = []
    nrs: list[int] = []
    into: list[Any] = []
    for p, v in zip(op.params, values, strict=True):  # hot: every recorded call that no flat function records
        if p.is_tensor:
            ts: Any = (v,) if isinstance(v, Tensor) else (None,)
        elif p.is_list and v is not None:
            ts = v
        else:
            continue
        asked = wanted is None or p.name in wanted
        for t in ts:
            n = None
            if t is None:
                nrs.append(0)
            else:
                nrs.append(t._nr)
                if asked:
                    n = t._node if t._base is None else node_of(t)
            edges.append(n)
            if n is None:
                into.append(None)
            else:
                a = t._a
                nested = LAYOUTS and LAYOUTS.get(type(a)) == "nested"
                into.append(None if nested else (a.shape, memory(a).dtype))
    node.next = tuple(edges)
    if any(nrs):
        node.nrs = tuple(nrs)
    node.into = tuple(into)
    node.seq = next(serial)
    cls.save(node, op, values, outs, old)  # type: ignore[attr-defined]
    if LAYOUTS and any(
        [t is not None and type(t._a) in LAYOUTS for t in (*(t for _, _, t in inputs_of(op, values)), *outs)]
    ):
        differentiate_by_tensors(node)
    if STATE.anomaly:
        import traceback

        node.trace = "".join(traceback.format_stack()[:-3])
    return node


# ---------------------------------------------------------------- in place


def before_write(op: Op, values: Sequence[Any]) -> Any:
    """A copy of the tensor about to be overwritten, where the derivative names it."""
    cls = node_class(op, values)
    first = op.params[op.receiver_at].name
    if not cls.names_saved & {first, first + "_shape", first + "_dtype"}:  # type: ignore[attr-defined]
        return None
    t = values[op.receiver_at]
    if first in cls.names_saved:  # type: ignore[attr-defined]
        old = wrap(t._a.copy("K"))
        if STATE.copied is not None:
            STATE.copied(t, old)
    else:
        old = wrap(t._a)
    old._node, old._nr = node_of(t), t._nr
    return old


def record_write(op: Op, target: Tensor, values: Sequence[Any], old: Any) -> Node:
    """The node of an in-place call, made after the write: its first edge is what the target was before."""
    node = make_node(op, values, (target,), old)
    shared, saved = target._vc, node.saved or ()
    if shared is None or STATE.saved_hooks or not any(isinstance(v, Tensor) and v._vc is shared for v in saved):
        return node
    names, own = type(node).names, {p.name for p in op.params}  # type: ignore[attr-defined]
    if len(names) == len(saved):  # what was saved of the operands, and is overwritten
        overwritten = [
            n in own and isinstance(v, Tensor) and v._vc is shared for n, v in zip(names, saved, strict=True)
        ]
        node.versions = tuple(w - o for w, o in zip(node.versions, overwritten, strict=True))
    return node


# ---------------------------------------------------------------- nodes


_classes: dict[Any, type[Node]] = {}


def node_class(op: Op, values: Sequence[Any]) -> type[Node]:
    """The class of an operator's nodes: one for the written rules; derived ones depend on the static arguments too."""
    if op.custom is not None:
        return _classes.get(op) or _classes.setdefault(op, op.custom.node_class())
    if op.rules:
        cls = _classes.get(op)
        if cls is None:
            cls = _classes[op] = _rule_class(op)
        left_out, _ = op.node_without
        if (
            left_out
            and values
            and next(v for p, v in zip(op.params, values, strict=True) if p.name == left_out) is None
        ):
            return class_without(op, cls)
        return cls
    if op.kind == "pointwise":
        from flambeau._eager import derived

        return derived.node_class(op, values)
    cls = _classes.get(op)
    if cls is None:
        cls = _classes[op] = type(class_name(op), (_NoRule,), {"what": f"aten::{op.overload}"})
    return cls


def class_without(op: Op, cls: type[Node]) -> type[Node]:
    """The same class under the name that it has without one of the parameters."""
    return _classes.get((op, "without")) or _classes.setdefault((op, "without"), type(op.node_without[1], (cls,), {}))


def seen_class(op: Op) -> type[Node]:
    """The class of nodes whose derivative is what PyTorch's graphs show."""
    cls = _classes.get((op, "seen"))
    if cls is None:
        cls = _classes[op, "seen"] = _rule_class(op, op.seen_rules)
    return cls


def class_name(op: Op) -> str:
    """`MulBackward0`, `Log1PBackward0`: what `grad_fn` prints as."""
    return op.node_name or op.aten.strip("_").title().replace("_", "") + "Backward0"


class _NoRule(Undifferentiable):
    wanted = None
    names_saved: frozenset[str] = frozenset()
    into: Any = ()

    @classmethod
    def save(cls, node: Node, *_: Any) -> None:
        pass


def _parameters(rule: Any) -> tuple[str, ...]:
    code = rule.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _rule_class(op: Op, rules: dict[str, Any] | None = None) -> type[Node]:
    own, rules = rules is None, op.rules if rules is None else rules
    fields = op.outputs or ("out",)
    joint = rules.get("_")
    wants = {name: _parameters(rule) for name, rule in rules.items()}
    names = tuple(
        dict.fromkeys(
            n for ps in wants.values() for n in ps if n not in ("g", "needs", "recorded") and not n.startswith("g_")
        )
    )
    positions = {p.name: i for i, p in enumerate(op.params)}
    for n in names:
        base = n.removesuffix("_shape").removesuffix("_dtype")
        if n not in positions and n not in fields and base not in positions and n not in ("outs",):
            raise TypeError(f"the derivative of {op} names {n!r}, which is no parameter or result")
    lists = any(p.is_list for p in op.params)
    simple = own and (not (joint or op.outputs) or "_" in op.array_rules) and not lists and "outs" not in names
    bare = own and (op.outputs or lists) and op.array_rules.keys() == rules.keys() and not joint
    arrays = (
        _several_arrays(op, names, fields)
        if bare
        else _rule_arrays(op, names, wants, fields)
        if simple
        else _general_arrays
        if op.native and own
        else RuleNode.arrays
    )
    extra = {"arrays": arrays, "rules": rules}
    return type(class_name(op), (RuleNode,), {
        **extra, "op": op, "wants": wants, "names": names, "positions": positions, "fields": fields, "joint": staticmethod(joint) if joint else None,
        "read_by": op.read_by if joint else wants, "wanted": None if joint else frozenset(rules), "names_saved": frozenset(names),
        "output_saved": frozenset(i for i, n in enumerate(names) if n in fields), "sources": tuple(_source(n, positions, fields) for n in names),
        "forgets": any(n in fields or n == "outs" or (n in positions and _of_tensors(op.params[positions[n]])) for n in names),
    })  # fmt: skip


def _source(name: str, positions: dict[str, int], fields: tuple[str, ...]) -> tuple[str, str, int]:
    """Where what a rule names is found: (name, kind, place among the arguments or results)."""
    if name in positions:
        return name, "value", positions[name]
    if name in fields:
        return name, "field", fields.index(name)
    if name == "outs":
        return name, "outs", 0
    return name, "shape" if name.endswith("_shape") else "dtype", positions[name[:-6]]


def _of_tensors(p: Any) -> bool:
    return bool(p.is_tensor or p.is_list)


def _natively(node: Any, g: Any) -> Any:
    """A backward pass of large arrays as one kernel; None where the written rules must do it."""
    from flambeau._eager.traced import backward

    return backward(node, g)


def _general_arrays(self: Any, g: Any) -> Any:
    """The same by `RuleNode.arrays`, whatever is saved."""
    if (type(g) is np.ndarray and g.size >= LARGE) or any(
        isinstance(s, Tensor) and s._a.size >= LARGE for s in self.saved
    ):
        found = _natively(self, g)
        if found is not None:
            return found
    return RuleNode.arrays(self, g)


def _rule_arrays(op: Op, names: tuple[str, ...], wants: dict[str, tuple[str, ...]], fields: tuple[str, ...]) -> Any:
    """The text of a backward pass that is not recorded: each rule that is wanted, on tensors or (vjp_arrays) on bare arrays."""
    from flambeau._backends.cpu.arrays import K
    from flambeau._ground.source import build

    scope: dict[str, Any] = {"unpack": unpack, "wrap": wrap, "fit_array": fit_array, "fit": _fit, "K": K, "Tensor": Tensor, "ndarray": np.ndarray,
                             "asarray": np.asarray, "LARGE": LARGE, "natively": _natively, "several": _several, "F32": np.dtype("f4"), "F64": np.dtype("f8"), "general": lambda node, g: RuleNode.arrays(node, g)}  # fmt: skip
    out = [
        "def arrays(self, g):",
        f'    """The derivative of {op.name}: its written rules."""',
        *(
            [
                "    if self.listed:",
                "        gs = several(self, g)",
                "        if gs is None: return general(self, g)",
                "        g = gs",
            ]
            if op.array_rules.keys() == op.rules.keys()
            else ["    if self.listed: return general(self, g)"]
        ),
    ]
    by_name = {p.name: p for p in op.params}
    held = {n for n, p in by_name.items() if p.is_tensor} | {*fields}  # what may be a tensor with a version
    out += _unpacked(names, held)
    for n in names:
        if n in fields:
            out.append(f"    s_{n} = None if s_{n} is None else wrap(s_{n}._a)")

    # Of several results, the first is the only one that gradients come back from.
    gradient = f"g_{op.outputs[0]}" if op.outputs else "g"
    array = _bare
    if op.native:
        large = " or ".join(
            [
                "type(g) is ndarray and g.size >= LARGE",
                *(f"isinstance(s_{n}, Tensor) and s_{n}._a.size >= LARGE" for n in names if n in held),
            ]
        )
        out += [f"    if {large}:", "        found = natively(self, g)", "        if found is not None: return found"]
    inputs = [p.name for p in op.params if p.is_tensor]
    if op.outputs:
        out += ["    if type(g) is not list or type(g[0]) is not ndarray or g[0].dtype is not F32 and g[0].dtype is not F64: return general(self, g)",
                f"    {gradient} = g[0]"]  # fmt: skip

    def ruled(rule: Any, i: str) -> list[str]:
        """Lines that give `r` by a rule over arrays, or by a builtin that does what the rule did before."""
        ps = _parameters(rule)[1:]
        scope[f"rule{i}"] = rule
        args = ", ".join("tuple([n is not None for n in self.next])" if q == "needs" else array(q) for q in ps)
        parts = [None if q in held or q == gradient else "tuple([n is not None for n in self.next])" if q == "needs" else
                 f"s_{q}" if q.endswith("_dtype") else replayed.sizes(f"s_{q}") if q.endswith("_shape") else
                 replayed.part(by_name[q], f"s_{q}") for q in ps]  # fmt: skip
        takes = [q for q in ps if q in by_name and by_name[q].takes_number]
        tensors = [j for j, q in enumerate(ps) if q in held or q == gradient]
        if takes or any(x is None for j, x in enumerate(parts) if j not in tensors):
            return [f"r = rule{i}(K, {args})"]
        scope[f"replays{i}"] = replayed.Replays(rule, tensors)
        return [
            "r = _key = None",
            f"d = None if type({gradient}) is list else {gradient}.dtype",
            "if d is F32 or d is F64:",
            *(f"    x{j} = {array(ps[j])}" for j in tensors),
            *(
                "    " + line
                for line in replayed.asked(
                    f"replays{i}", [f"x{j}" for j in tensors], [x for x in parts if x is not None]
                )
            ),
            f"    if r is None: r = replays{i}.met(_key, {args})",
            f"if r is None: r = rule{i}(K, {args})",
        ]

    if "_" in op.array_rules:
        rs = "".join(f"r{i}, " for i in range(len(inputs)))
        out += [*("    " + line for line in ruled(op.array_rules["_"], "")), f"    {rs} = r", "    into = self.into"]
        for i in range(len(inputs)):
            out += [
                f"    if r{i} is not None and (r{i}.shape != into[{i}][0] or r{i}.dtype is not into[{i}][1]): r{i} = fit(r{i}, into[{i}])"
            ]
        return build("arrays", "\n".join([*out, f"    return ({rs})"]) + "\n", scope)
    by_tensor = [n for n in inputs if n in op.rules and n not in op.array_rules]
    if by_tensor:
        out.append("    t = wrap(g)")
    out.append("    into = self.into")
    for i, n in enumerate(inputs):
        out.append(f"    r{i} = None")
        if n not in op.rules:
            continue
        out.append(f"    if self.next[{i}] is not None:")
        if n in op.array_rules:
            out += [*("        " + line for line in ruled(op.array_rules[n], str(i))), "        if type(r) is not ndarray:",
                    "            if r is NotImplemented: return general(self, g)", "            r = asarray(r)", f"        r{i} = r"]  # fmt: skip
            out.append(
                f"        if r{i}.shape != into[{i}][0] or r{i}.dtype is not into[{i}][1]: r{i} = fit(r{i}, into[{i}])"
            )
        else:
            rule = op.rules[n]
            args = ", ".join("t" if q == "g" else f"s_{q}" for q in wants[n])
            out += [f"        r{i} = rule{i}({args})",
                    f"        if r{i} is not None: r{i} = fit_array(r{i}, into[{i}])"]  # fmt: skip
            scope[f"rule{i}"] = rule
    out.append(f"    return ({''.join(f'r{i}, ' for i in range(len(inputs)))})")
    return build("arrays", "\n".join(out) + "\n", scope)


def _several(node: Any, g: Any) -> list[Any] | None:
    """The gradients of a list of results, zeros where none came; None where they are more than arrays."""
    gs = g if type(g) is list else [g]
    for nr, x in enumerate(gs):
        if x is None:
            if gs is g:
                gs = list(g)
            gs[nr] = np.zeros(*node.metas[nr])
        elif type(x) is not np.ndarray:
            return None
    return gs


def _unpacked(names: tuple[str, ...], held: set[str]) -> list[str]:
    """Lines that read what a node saved, and see whether it was overwritten; `held`: names of what may be a tensor."""
    if not names:
        return []
    checked = [j for j, n in enumerate(names) if n in held]
    wrong = [
        f"versions[{j}] >= 0 and versions[{j}] != (0 if saved[{j}]._vc is None else saved[{j}]._vc[0]) or versions[{j}] == -2"
        for j in checked
    ]
    return ["    saved = self.saved", *(["    versions = self.versions"] if checked else []),
            f"    if {' or '.join(['saved is None', *wrong])}: saved = unpack(self)",
            f"    {', '.join('s_' + n for n in names)}{',' if len(names) == 1 else ''} = saved"]  # fmt: skip


def _bare(q: str) -> str:
    """What a rule over bare arrays is given under a name."""
    if q == "g" or q.startswith("g_") or q.endswith(("_shape", "_dtype")):
        return q if q.startswith("g") else f"s_{q}"
    return f"(s_{q}._a if isinstance(s_{q}, Tensor) else s_{q})"


def _several_arrays(op: Op, names: tuple[str, ...], fields: tuple[str, ...]) -> Any:
    """The same for operators with a list of inputs or several results, all of whose rules are over bare arrays."""
    from flambeau._backends.cpu.arrays import K
    from flambeau._ground.source import build

    scope: dict[str, Any] = {"unpack": unpack, "fit": _fit, "K": K, "Tensor": Tensor, "ndarray": np.ndarray,
                             "LARGE": LARGE, "natively": _natively, "general": lambda node, g: RuleNode.arrays(node, g)}  # fmt: skip
    wants = {n: _parameters(rule)[1:] for n, rule in op.array_rules.items()}
    used = {q for ps in wants.values() for q in ps}
    out = ["def arrays(self, g):", f'    """The derivative of {op.name}: its written rules."""']
    if op.outputs:
        out.append("    gs = g if type(g) is list else (g,)")
        reads = {q: op.outputs.index(q[2:]) for q in sorted(used) if q.startswith("g_")} | ({"g": 0} if "g" in used else {})  # fmt: skip
        out += [f"    {q} = gs[{nr}]" for q, nr in reads.items()]
        strange = [f"type({q}) is not ndarray" for q in reads]
    else:
        strange = ["self.listed", "type(g) is not ndarray"]
    out.append(f"    if {' or '.join(strange)}: return general(self, g)")
    held = {p.name for p in op.params if p.is_tensor or p.is_list} | {*fields}
    out += _unpacked(names, held)
    if op.native:
        large = " or ".join(["type(g) is ndarray and g.size >= LARGE", *(f"isinstance(s_{n}, Tensor) and s_{n}._a.size >= LARGE" for n in names if n in held)])  # fmt: skip
        out += [f"    if {large}:", "        found = natively(self, g)", "        if found is not None: return found"]
    for p in op.params:
        if p.is_list and p.name in used:
            out.append(f"    s_{p.name} = [x._a if isinstance(x, Tensor) else x for x in s_{p.name}]")
    tensors = sum(p.is_tensor for p in op.params)
    out += ["    into, edges = self.into, self.next", f"    many = len(edges) - {tensors}", "    rs = [None] * len(edges)", "    i = 0"]  # fmt: skip
    for p in op.params:
        if not (p.is_tensor or p.is_list):
            continue
        if p.name in op.array_rules:
            args = ", ".join(f"s_{q}" if q == p.name and p.is_list else _bare(q) for q in wants[p.name])
            scope["rule_" + p.name] = op.array_rules[p.name]
            call = f"rule_{p.name}(K, {args})"
            if p.is_list:
                out += [f"    if any(edges[i : i + many]): rs[i : i + many] = {call}"]
            else:
                out += [f"    if edges[i] is not None: rs[i] = {call}", "    if rs[i] is NotImplemented: return general(self, g)"]  # fmt: skip
        out.append(f"    i += {'many' if p.is_list else 1}")
    out += ["    for i, r in enumerate(rs):", "        if r is not None:", "            if edges[i] is None: rs[i] = None",
            "            elif r.shape != into[i][0] or r.dtype is not into[i][1]: rs[i] = fit(r, into[i])", "    return rs"]  # fmt: skip
    return build("arrays", "\n".join(out) + "\n", scope)


def _fit(a: Any, into: Any) -> Any:
    shape, d = into
    if a.shape != shape:
        a = sum_to(a, shape)
    return a if a.dtype is d else recast(a, d)


class FlatBackward0(Node):
    """A gradient, and what it was made of but does not change with."""

    def __init__(self, r: Tensor, edges: Sequence[tuple[Any, int, Any]]) -> None:
        self.next = (node_of(r), *(n for n, _, _ in edges))
        self.nrs = (r._nr, *(nr for _, nr, _ in edges))
        self.into = [like for _, _, like in edges]
        self.seq = next(serial)

    def arrays(self, g: Any) -> Sequence[Any]:
        return [None if self.next[0] is None else g, *(np.zeros(*like) for like in self.into)]

    def tensors(self, g: Any) -> Sequence[Any]:
        return [None if self.next[0] is None else g, *(wrap(np.zeros(*like)) for like in self.into)]


def beside(r: Tensor, edges: Sequence[tuple[Any, int, Any]]) -> Tensor:
    """r, joined to what it is flat in: PyTorch's second derivatives there are zeros, not absent."""
    if not edges or not STATE.grad or type(r) is not Tensor or (STATE.tracing and r._node is not None):
        return r
    o = new(Tensor)
    o._a = r._a
    o._tangents = r._tangents  # in forward mode, over reverse mode
    o._node = FlatBackward0(r, edges)
    return o


def flat(r: Tensor, sources: Sequence[Any]) -> Tensor:
    """The same for tensors, or None, that it was made of."""
    live = [t for t in sources if isinstance(t, Tensor) and node_of(t) is not None]
    return beside(r, [(node_of(t), t._nr, (t._a.shape, t._a.dtype)) for t in live])


class RuleNode(Node):
    """Calls the operator's written derivatives. `saved` holds what they name, in the order of `names`."""

    op: Op
    rules: dict[str, Any]
    wants: dict[str, tuple[str, ...]]
    names: tuple[str, ...]
    positions: dict[str, int]
    fields: tuple[str, ...]
    sources: tuple[tuple[str, str, int], ...]  # where each of `names` is found
    joint: Any
    read_by: dict[str, tuple[str, ...]]  # for each input, which inputs its gradient reads
    wanted: frozenset[str] | None
    names_saved: frozenset[str]
    output_saved: frozenset[int]
    into: tuple[Any, ...]
    ins: tuple[Any, ...]
    listed = False  # whether the result was a list, even if of one

    @classmethod
    def save(cls, node: Any, op: Op, values: Sequence[Any], outs: tuple[Any, ...], old: Any) -> None:
        needed = None
        if len(cls.read_by) > 1:  # save only what the wanted gradients name
            live = {name for (_, name, _), n in zip(inputs_of(op, values), node.next, strict=True) if n is not None}
            needed = {n for name in live for n in cls.read_by.get(name, ())}
            if cls.joint:
                needed.update(n for n in cls.names if n not in cls.read_by)
        saved: list[Any] = []
        versions: list[int] = []
        for n, kind, i in cls.sources:
            if needed is not None and n not in needed:
                saved.append(None)
                versions.append(-1)
                continue
            if kind == "value":
                v = old if i == op.receiver_at and old is not None else values[i]
            elif kind == "field":
                v = saved_alias(outs[i])
            elif kind == "outs":
                v = tuple(saved_alias(o) for o in outs)
            elif kind == "shape":
                v = values[i]
                v = tuple([x._a.shape for x in v]) if isinstance(v, (list, tuple)) else v._a.shape
            else:
                v = values[i].dtype
            if isinstance(v, Tensor):
                versions.append(0 if v._vc is None else v._vc[0])
            else:
                if isinstance(v, list):
                    v = tuple(v)
                versions.append(-1)
            saved.append(v)
        node.saved = tuple(saved)
        node.versions = tuple(versions)
        if STATE.saved_hooks:
            from flambeau.autograd.graph import pack_saved

            node.saved = pack_saved(node)

    def _run(self, g: Any, tensors: bool) -> list[Any]:
        saved = unpack(self)
        bound = dict(zip(self.names, saved, strict=True))
        for i in self.output_saved:
            if saved[i] is not None:
                t = bare(saved[i])
                if tensors and t._a.dtype.kind in "fcV":
                    t._node, t._nr = self, self.fields.index(self.names[i])
                bound[self.names[i]] = t
        if self.outs == 1 and not self.op.outputs:
            bound["g"] = [g] if self.listed and not isinstance(g, list) else g
        else:
            gs = g if self.outs > 1 or isinstance(g, list) else [g]
            used = {n for ps in self.wants.values() for n in ps}
            for nr, name in enumerate(self.op.outputs or ()):
                if "g_" + name in used:
                    bound["g_" + name] = gs[nr]
            if "g" in used:
                bound["g"] = gs if not self.op.outputs else gs[0]
        if self.joint:
            bound["needs"] = tuple(n is not None for n in self.next)
            bound["recorded"] = tensors and STATE.grad and not STATE.tracing
        try:
            return self._asked(bound)
        except NeedsElements:  # of a batch
            return list(
                BY_SAMPLES[0](lambda *vs: self._asked(dict(zip(bound, vs, strict=True))), tuple(bound.values()))
            )

    def _asked(self, bound: dict[str, Any]) -> list[Any]:
        """The gradients of the inputs, by the rules."""
        if self.joint:
            out = list(self.joint(*[bound[n] for n in self.wants["_"]]))
            return out + [None] * (len(self.next) - len(out))
        out = []
        lists: dict[str, Any] = {}
        for (name, k), n in zip(self._slots(), self.next, strict=True):
            if n is None:
                out.append(None)
                continue
            rule = self.rules[name]
            if k < 0:
                out.append(rule(*[bound[p] for p in self.wants[name]]))
            else:
                if name not in lists:
                    lists[name] = rule(*[bound[p] for p in self.wants[name]])
                out.append(lists[name][k])
        return out

    def _slots(self) -> list[tuple[str, int]]:
        """(parameter, position in its list or -1) for each edge."""
        names = [p for p in self.op.params if p.is_tensor or p.is_list]
        lists = len(self.next) - sum(p.is_tensor for p in names)
        many = sum(p.is_list for p in names)
        out: list[tuple[str, int]] = []
        for p in names:
            if p.is_tensor:
                out.append((p.name, -1))
            else:
                out += [(p.name, k) for k in range(lists // max(many, 1))]
        return out

    def arrays(self, g: Any) -> Sequence[Any]:
        if type(g) is list:
            g = [self._filled(x, nr) if x is None else as_tensor(x) for nr, x in enumerate(g)]
        else:
            g = as_tensor(g)
        return [
            None if x is None else fit_array(x, into) for x, into in zip(self._run(g, False), self.into, strict=True)
        ]

    def tensors(self, g: Any) -> Sequence[Any]:
        if type(g) is list:
            g = [self._filled(x, nr) if x is None else x for nr, x in enumerate(g)]
        rs = [None if x is None else fit_tensor(x, into) for x, into in zip(self._run(g, True), self.into, strict=True)]
        if not self.op.is_flat:
            return rs
        nrs = self.nrs or (0,) * len(rs)
        return [
            r if r is None else beside(r, [(n, nr, (r._a.shape, r._a.dtype))])
            for r, n, nr in zip(rs, self.next, nrs, strict=True)
        ]

    def _filled(self, g: Any, nr: int) -> Any:
        """Zeros for a gradient that never came, if a rule names it."""
        meta = self.metas[nr] if self.metas else None
        if meta is None or (self.op.outputs and not self._reads(nr)):
            return None
        return wrap(np.zeros(meta[0], meta[1]))

    def _reads(self, nr: int) -> bool:
        name = f"g_{self.op.outputs[nr]}"
        return any(name in named or (nr == 0 and "g" in named) for named in self.wants.values())


# ---------------------------------------------------------------- what a gradient must look like


def fit_array(t: Any, into: Any) -> Any:
    """A gradient as the input it belongs to: summed over the dims that were broadcast, in the input's dtype."""
    a = settled(t._a)
    if into is None or type(a) in LAYOUTS:
        return a
    shape, d = into
    if a.shape != shape:
        a = sum_to(a, shape)
    return a if a.dtype is d else recast(a, d)


def recast(a: Any, d: Any) -> Any:
    """In another dtype; the gradient of a real input of a complex result is real."""
    if a.dtype.kind == "c" and d.kind != "c":
        a = a.real
    return astype(a, d)


def sum_to(a: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting on an array."""
    lead = a.ndim - len(shape)
    if lead < 0:  # a gradient that is the same everywhere
        return np.broadcast_to(a, shape)
    dims = tuple(i for i in range(a.ndim) if i < lead or (shape[i - lead] == 1 and a.shape[i] != 1))
    if a.size >= large.LARGE and type(a) is np.ndarray and a.dtype in large.HELD:
        found = large.summed(dims, lead)(a)
        if found is not None:
            return found
    if a.dtype in dtypes.NARROW:
        return np.add.reduce(a.astype(np.float32), axis=dims, keepdims=True).astype(a.dtype).reshape(shape)
    return np.add.reduce(a, axis=dims, keepdims=True, dtype=a.dtype).reshape(shape)


def fit_tensor(t: Any, into: Any) -> Any:
    if into is None:
        return t
    shape, d = into
    if t._a.shape != shape:
        lead = t._a.ndim - len(shape)
        if lead < 0 or (t._a.size == 1 and t._a.ndim == len(shape)):
            return t.expand(shape)
        dims = tuple(i for i in range(t._a.ndim) if i < lead or (shape[i - lead] == 1 and t._a.shape[i] != 1))
        t = t.sum(dims, keepdim=True).reshape(shape) if dims else t.reshape(shape)
    if t._a.dtype is not d and t._a.dtype != d:
        if t._a.dtype.kind == "c" and d.kind != "c":
            t = t.real
        if t._a.dtype != d:
            t = t.to(dtypes.of(d))
    return t


__all__ = ["PLAIN", "record", "unwrap"]

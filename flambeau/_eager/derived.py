"""Derivatives worked out from recorded bodies, written as text: once over arrays, once over tensors.

What the text names is what a node saves: where the derivative meets the operator's own result, that result is kept and not
computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu import small
from flambeau._backends.cpu.arrays import K
from flambeau._backends.cpu.layouts import walked
from flambeau._eager import large
from flambeau._eager.graph import Node, saved_alias, unpack
from flambeau._eager.modes import STATE
from flambeau._eager.record import _parameters, class_name, fit_tensor, flat, recast, sum_to
from flambeau._ground.source import build
from flambeau._kernel.arrays import UFUNCS
from flambeau._kernel.record import Expr, Record, parameter
from flambeau._kernel.rules import gradients
from flambeau._kernel.text import lines, uses
from flambeau._operators.op import Op
from flambeau._tensor import PLAIN, Tensor, bare, wrap
from flambeau._values import dtype as dtypes

F32, F64 = np.dtype("f4"), np.dtype("f8")
_classes: dict[Any, type[Node]] = {}
_constants: dict[Any, dict[Any, Any]] = {}
_C32: dict[Any, Any] = {}
_named_constants: dict[tuple[str, str], str] = {}


def constant(value: Any, d: Any) -> Any:
    """A number as a 0-d array: NumPy takes those faster than Python numbers."""
    known = _C32 if d is F32 else _constants.get(d)
    if known is None:
        known = _constants[d] = {}
    key = value or repr(value)  # zeros are equal, but several numbers
    found = known.get(key)
    if found is None or found.dtype is not d or type(value) is bool:  # a dtype may be equal and another object
        if type(value) is int and not -(2**63) <= value < 2**64:
            raise OverflowError("int too big to convert")
        try:
            with np.errstate(over="ignore"):
                found = np.asarray(value, dtype=d)
        except OverflowError:  # integers wrap around
            found = np.asarray(value).astype(d)
        if len(known) > 4096:
            known.clear()
        known[key] = found
    return found


SCOPE: dict[str, Any] = {
    "np": np, "K": K, "PLAIN": PLAIN, "unpack": unpack, "sum_to": sum_to, "recast": recast, "wrap": wrap, "bare": bare, "constant": constant,
    "fit_tensor": fit_tensor, "walked": walked, "F32": F32, "F64": F64, "LARGE": large.LARGE, "NARROW": dtypes.NARROW, "HALVES": dtypes.HALVES, "where": np.where,
    **{"np_" + word: getattr(np, name) for word, name in UFUNCS.items()},
}  # fmt: skip
TENSOR_WORDS: dict[str, Any] = {}  # word -> the public function on tensors; filled by derive


def array_constant(scope: dict[str, Any], value: Any) -> str:
    """Source for a constant of dtype `d`: float32 ones are made once and have a name in the scope."""
    text = literal(value)
    if isinstance(value, complex):
        return f"constant({text}, d)"
    name = f"C32_{_named_constants.setdefault((type(value).__name__, text), str(len(_named_constants)))}"
    scope[name] = np.asarray(value, dtype=F32)
    return f"({name} if d is F32 else constant({text}, d))"


def widened(a: Any) -> Any:
    """float16 and its kin as float32."""
    return a.astype(dtypes.NARROW[a.dtype]) if a.dtype in dtypes.NARROW else a


def array_word(word: str) -> str:
    return "np_" + word if word in UFUNCS else "where" if word == "where" else "K." + word


def array_tail(word: str) -> str:
    """`out=...` asks a ufunc for an array where it would give a scalar (0-d operands)."""
    return ", out=..." if word in UFUNCS else ""


def literal(value: Any) -> str:
    """A number as Python source (inf and nan have no literal)."""
    if isinstance(value, complex):
        return f"complex({literal(value.real)}, {literal(value.imag)})"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    return repr(value)


def trace(op: Op, statics: dict[str, Any], present: Sequence[str], d: dtypes.dtype) -> tuple[Expr, list[Expr]]:
    """The body of a pointwise operator on 0-d parameters; absent tensors are None."""
    free = {p.name for p in op.params if p.is_free}
    ps = {n: parameter(i, (), dtypes.bool_ if n in free else d) for i, n in enumerate(present)}
    args, kwargs = [], {}
    for p in op.params:
        v = ps.get(p.name) if p.is_tensor else statics.get(p.name)
        if p.keyword:
            kwargs[p.name] = v
        else:
            args.append(v)
    return op.body(Record(), *args, **kwargs), list(ps.values())


def node_class(op: Op, values: Sequence[Any]) -> type[Node]:
    """The node class for these static arguments, this set of tensors, and real or complex numbers."""
    statics = {p.name: v for p, v in zip(op.params, values, strict=True) if not p.is_tensor}
    present = tuple(p.name for p, v in zip(op.params, values, strict=True) if p.is_tensor and v is not None)
    is_complex = any(isinstance(v, complex) or (isinstance(v, Tensor) and v._a.dtype.kind == "c") for v in values)
    key = (op, tuple((n, type(v), repr(v)) for n, v in statics.items()), present, is_complex)
    cls = _classes.get(key)
    if cls is None:
        cls = _classes[key] = make_class(op, statics, present, dtypes.complex128 if is_complex else dtypes.float64)
    return cls


class DerivedNode(Node):
    """A node whose derivative was worked out; `into` says what each input looked like (None: as the result)."""

    into: Any = None
    names: tuple[str, ...] = ()
    wanted: Any = None
    names_saved: frozenset[str] = frozenset()
    output_saved: frozenset[int] = frozenset()
    needed_by: dict[str, tuple[int, ...]]

    @classmethod
    def save(cls, node: Any, op: Op, values: Sequence[Any], outs: tuple[Any, ...], old: Any) -> None:
        bound = {p.name: v for p, v in zip(op.params, values, strict=True)}
        if old is not None:
            bound[op.params[op.receiver_at].name] = old
        saved, versions = [], []
        for n in cls.names:
            v = None
            if any(node.next[i] is not None for i in cls.needed_by[n]):
                v = saved_alias(outs[0]) if n == "out" else bound[n]
            saved.append(v)
            versions.append((0 if v._vc is None else v._vc[0]) if isinstance(v, Tensor) else -1)
        node.saved, node.versions = tuple(saved), tuple(versions)
        if STATE.saved_hooks:
            from flambeau.autograd.graph import pack_saved

            node.saved = pack_saved(node)


def make_class(op: Op, statics: dict[str, Any], present: tuple[str, ...], d: dtypes.dtype) -> type[Node]:
    """Differentiate a body and write the derivative out."""
    root, ps = trace(op, statics, present, d)
    g = parameter(len(ps), root.shape, root.dtype)
    edges = [p.name for p in op.params if p.is_tensor]
    if op.words:
        bound = {**statics, **dict(zip(present, ps, strict=True)), "g": g, "out": root}
        found = {
            n: rule(Record(), *(bound[q] for q in _parameters(rule)[1:]))
            for n, rule in op.words.items()
            if n in present
        }
    else:
        found = dict(zip(present, gradients(root, g, ps), strict=True))
    grads = [found.get(n) for n in edges]
    names_of = ({} if root in ps else {root: "out"}) | dict(zip(ps, present, strict=True))
    read = {
        n: tuple(
            i for i, e in enumerate(grads) if e is not None and _named(n, names_of) in uses([e], list(names_of), [root])
        )
        for n in dict.fromkeys((*present, *names_of.values()))
    }
    names = tuple(n for n in read if read[n])
    scope = dict(SCOPE)
    namespace = {
        "names": names, "names_saved": frozenset(names), "needed_by": read, "op": op,
        "wanted": None, "output_saved": frozenset(i for i, n in enumerate(names) if n == "out"),
        "arrays": build("arrays", _text(op, edges, grads, names, names_of, g, False, scope), scope),
        "tensors": build("tensors", _text(op, edges, grads, names, names_of, g, True, scope), scope | TENSOR_WORDS),
    }  # fmt: skip
    return type(class_name(op), (DerivedNode,), namespace)


def _named(name: str, names_of: dict[Expr, str]) -> Expr:
    return next(e for e, n in names_of.items() if n == name)


def _text(op: Op, edges: list[str], grads: list[Expr | None], names: tuple[str, ...], names_of: dict[Expr, str], g: Expr,
          tensors: bool, scope: dict[str, Any]) -> str:  # fmt: skip
    """The function of a gradient `g` that gives those of all inputs, over arrays or over tensors."""
    what = "tensors" if tensors else "arrays"
    binary = len(edges) > 1
    out = [
        f"def {what}(self, g):",
        f'    """The derivative of {op.name}, over {what}."""',
        *(_fetched_tensors(names) if tensors else _fetched_arrays(names)),
        "    into = self.into",
        *(["    shapes = self.shapes"] if binary else []),
    ]
    known = {e: n for e, n in names_of.items() if n in names} | {g: "g"}
    for i, (name, e) in enumerate(zip(edges, grads, strict=True)):
        out.append(f"    g_{name} = None")
        if e is None:
            continue
        out.append(f"    if self.next[{i}] is not None:")
        if tensors:
            out += _gradient_of_tensors(op, f"g_{name}", i, e, known, names)
        else:
            read = [
                n
                for n in ("g", *names)
                if (g if n == "g" else _named(n, names_of))
                in uses([e], list(names_of) + [g], [k for k in names_of if names_of[k] == "out" and "out" in names])
            ]
            kernel = _kernel_of(e, names_of, g, read, names)
            out += _gradient_of_arrays(f"g_{name}", i, e, known, kernel, read, scope, binary)
    out.append(f"    return ({', '.join('g_' + name for name in edges)},)")
    return "\n".join(out) + "\n"


def _unpacked(names: tuple[str, ...]) -> str:
    return f"{', '.join(names)}{',' if len(names) == 1 else ''}"


def _fetched_tensors(names: tuple[str, ...]) -> list[str]:
    """Lines that fetch what was saved."""
    out = [f"    {_unpacked(names)} = unpack(self)"] if names else []
    if "out" in names:
        out += ["    if out is not None:", "        out = bare(out)", "        out._node = self"]
    return out


def _fetched_arrays(names: tuple[str, ...]) -> list[str]:
    """Lines that fetch the arrays of what was saved, in the dtype in which the derivative computes (`d`): that of `g`, but float32
    for narrow ones, which are widened (`low`) or left to a kernel (`half`)."""
    out = [
        "    d, half, low = g.dtype, None, False",
        "    if d is not F32 and d is not F64 and d in NARROW:",
        "        if d in HALVES and g.size >= LARGE and self.into is not None: half = g",
        "        else: g, low = g.astype(F32), True",
        "        d = F32",
    ]
    if names and len(names) <= 2:  # what `unpack` does, without a call where nothing is wrong
        wrong = (
            f"versions[{j}] >= 0 and versions[{j}] != (0 if {n}._vc is None else {n}._vc[0]) or versions[{j}] == -2"
            for j, n in enumerate(names)
        )
        out += [
            "    saved, versions = self.saved, self.versions",
            *(f"    {n} = saved[{j}]" for j, n in enumerate(names)),
            f"    if {' or '.join(wrong)}:",
            f"        {_unpacked(names)} = saved = unpack(self)",
        ]
    elif names:
        out.append(f"    {_unpacked(names)} = unpack(self)")
    for n in names:
        array = "out._a" if n == "out" else f"{n}._a if isinstance({n}, Tensor) else constant({n}, d)"
        out += [f"    if {n} is not None:", f"        {n} = {array}", f"        if low: {n} = widened({n})"]
    return out


def in_order(names: Sequence[str]) -> str:
    """The condition under which the array library lays an elementwise result out as PyTorch does, without being told."""
    return " and ".join(f"{n}.flags.c_contiguous" for n in names)


def _the_same_everywhere(e: Expr) -> Any:
    """The number that an expression is, whatever the gradient is; None where it is none."""
    if e.op == "expand" and e.src[0].op == "const":
        e = e.src[0]
    return e.arg if e.op == "const" else None


def _gradient_of_tensors(op: Op, r: str, i: int, e: Expr, known: dict[Expr, str], names: tuple[str, ...]) -> list[str]:
    """Lines that compute the gradient of the i-th input."""
    body, (value,) = lines([e], known, lambda w: "t_" + w, lambda c: literal(c.arg),
                           lambda c, x: f"{x}.to(g.dtype)", lambda w: "")  # fmt: skip
    number = _the_same_everywhere(e)
    if number is not None:  # zeros are made in any layout
        value = f"g.new_full(g.shape, {literal(number)})" if number else "g.new_zeros(g.shape)"
    elif e.op == "expand":  # give it the gradient's shape
        value = f"g * 0.0 + {value}"
    out = ["        " + line for line in body]
    out.append(f"        {r} = {value}")
    if op.words:
        out.append(f"        {r} = flat({r}, ({''.join(n + ', ' for n in names)}))")
    shape = f"into[{i}] if into is not None else (self.shapes[{i}], g._a.dtype) if self.shapes is not None else None"
    return [*out, f"        {r} = fit_tensor({r}, {shape})"]


def _gradient_of_arrays(r: str, i: int, e: Expr, known: dict[Expr, str], kernel: Any, read: list[str], scope: dict[str, Any],
                        binary: bool) -> list[str]:  # fmt: skip
    """The same over arrays: by a kernel where there is one and the arrays are large, small or narrow enough for it, else by NumPy."""
    out, deep = [], "        "
    if kernel is None:
        out.append(f"        if half is not None: g = half if half.shape == into[{i}][0] else half.astype(F32)")
    else:
        scope[f"native{i}"], root, params = kernel
        small.install(scope, f"small{i}", root, params, large.available)
        scope[f"half{i}"], scope[f"wide{i}"] = large.halves(root, True), large.halves(root, False)
        given, deep = ", ".join(read), "            "
        out += [
            f"        if half is not None: {r} = (half{i} if half.shape == into[{i}][0] else wide{i})({given})",
            "        else:",
            f"            {r} = small{i}({given})",
            f"            if {r} is None and g.size >= LARGE and (d is F32 or d is F64): {r} = native{i}({given})",
            f"        if {r} is None:",
            "            if half is not None:",
            "                g = half.astype(F32)",
            *(f"                {n} = widened({n})" for n in read if n != "g"),
        ]
    body, (value,) = lines([e], known, array_word, lambda c: array_constant(scope, c.arg),
                           lambda c, x: f"{x}.astype(d)", array_tail)  # fmt: skip
    number = _the_same_everywhere(e)
    if number is not None:
        value = f"np.full_like(g, {literal(number)})"
    elif e.op == "expand":  # give it the gradient's shape
        value = f"np.full(g.shape, {value}, d)"
    out += [deep + line for line in body]
    out.append(f"{deep}{r} = {value}")
    if kernel is not None:
        out.append(f"            if {r}.ndim > 1 and not ({in_order(read)}): {r} = walked({r}, {', '.join(read)})")
    out += [
        "        if into is not None:",
        f"            if {r}.shape != into[{i}][0]: {r} = sum_to({r}, into[{i}][0])",
        f"            if {r}.dtype is not into[{i}][1]: {r} = recast({r}, into[{i}][1])",
    ]
    if binary:
        out.append(f"        elif shapes is not None and {r}.shape != shapes[{i}]: {r} = sum_to({r}, shapes[{i}])")
    return out


def _kernel_of(e: Expr, names_of: dict[Expr, str], g: Expr, read: list[str], names: tuple[str, ...]) -> Any:
    """One gradient as a generated kernel of the arrays that it reads; None where it is too plain to gain by one."""
    if e is g or e.op in ("const", "expand") or not read:
        return None
    order: dict[Expr, int] = {}
    for i, n in enumerate(read):
        order[g if n == "g" else _named(n, names_of)] = i
    fresh: dict[Expr, Expr] = {p: parameter(i, (), p.dtype) for p, i in order.items()}
    for node in _upto(e, order):
        if node not in order:
            fresh[node] = Expr(node.op, tuple(fresh[s] for s in node.src), node.arg, node.shape, node.dtype)
    params = [fresh[p] for p in sorted(order, key=lambda p: order[p])]
    return large.again([fresh[e]], g.dtype), fresh[e], params


def _upto(root: Expr, stop: dict[Expr, int]) -> list[Expr]:
    """The nodes below root, sources first, without what lies below `stop`."""
    out: dict[Expr, None] = {}
    stack = [(root, False)]
    while stack:
        e, done = stack.pop()
        if e in out:
            continue
        if done or e in stop:
            out[e] = None
        else:
            stack.append((e, True))
            stack += [(s, False) for s in e.src]
    return list(out)


DerivedNode.shapes = None  # type: ignore[attr-defined]  # the flat functions note shapes only; the general lane fills `into`
SCOPE["Tensor"], SCOPE["flat"], SCOPE["widened"] = Tensor, flat, widened

_QUICK: dict[str, Any] = {}
_OPERANDS = [parameter(i, (), dtypes.float64) for i in range(3)]
small.install(_QUICK, "fma", Record().fma(*_OPERANDS), _OPERANDS, large.available)
K.quick_fma = lambda x, y, z: _QUICK["fma"](x, y, z)

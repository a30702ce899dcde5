"""Exported programs as plain data, in the schema of PyTorch's `.pt2` files (version 8), and back.

Every argument is a dict of one entry that says what it is: `{"as_int": 3}`, `{"as_tensor": {"name": "x"}}`, `{"as_sym_ints": [...]}`. Sizes that
vary are SymPy expressions in their `srepr` text; they are read and written here without SymPy, as sums of products of names.
"""

from __future__ import annotations

import ast
import math
import operator
from fractions import Fraction
from typing import Any

import flambeau
from flambeau._backends.meta import MetaArray
from flambeau._ground import treespec_json
from flambeau._tensor import wrap
from flambeau._values import dtype as dtypes
from flambeau._values.device import device as Device, layout as Layout, memory_format as MemoryFormat
from flambeau.export import _calls
from flambeau.export.dynamic_shapes import Bounds, Derived, Size, Symbol
from flambeau.export.exported_program import CallSpec, ExportedProgram
from flambeau.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymIntArgument,
    TensorArgument,
)
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node

VERSION = {"major": 8, "minor": 20}
OPSET = {"aten": 10}
_DTYPES = ("", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex32", "complex64", "complex128", "bool",
           "bfloat16", *[""] * 14, "uint16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "uint32",
           "uint64")  # fmt: skip
_LAYOUTS = ("", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn", "strided")
_FORMATS = ("", "contiguous_format", "channels_last", "channels_last_3d", "preserve_format")
_SIZE_FUNCTIONS = {f"_operator.{f.__name__}": f for f in (operator.mul, operator.add, operator.sub, operator.floordiv, operator.mod, operator.neg,
                                                         operator.pow, operator.eq, operator.ne, operator.lt, operator.le, operator.gt,
                                                         operator.ge, operator.truediv)}  # fmt: skip


def _one(union: dict[str, Any]) -> tuple[str, Any]:
    """The entry of a union."""
    found = [(k, v) for k, v in union.items() if v is not None]
    if len(found) != 1:
        raise RuntimeError(f"a value of an exported program must be of one kind: {union!r}")
    return found[0]


# ---------------------------------------------------------------- sizes


def _size(value: Any) -> dict[str, Any]:
    """A number, or a number that depends on dynamic sizes."""
    if not isinstance(value, Size):
        return {"as_int": int(value)}
    terms = []
    for factor, symbols in value.terms:
        parts = [_number(factor)] if factor != 1 or not symbols else []
        for s in dict.fromkeys(symbols):
            name = f"Symbol('{s.name}', positive=True, integer=True)"
            power = symbols.count(s)
            parts.append(name if power == 1 else f"Pow({name}, Integer({power}))")
        terms.append(parts[0] if len(parts) == 1 else f"Mul({', '.join(parts)})")
    text = terms[0] if len(terms) == 1 else f"Add({', '.join(terms)})"
    return {"as_expr": {"expr_str": text, "hint": {"as_int": int(value.hint)}}}


def _number(f: Fraction) -> str:
    return f"Integer({f.numerator})" if f.denominator == 1 else f"Rational({f.numerator}, {f.denominator})"


class _Sizes:
    """Reads sizes; each name is one Symbol."""

    def __init__(self, ranges: dict[str, Any]) -> None:
        self.ranges, self.symbols = ranges, {}  # type: ignore[var-annotated]

    def __call__(self, data: dict[str, Any]) -> Any:
        kind, value = _one(data)
        if kind == "as_int":
            return value
        hint = value.get("hint") or {}
        hint = int(_one(hint)[1]) if hint else 1
        terms = self.terms(ast.parse(value["expr_str"], mode="eval").body)
        if terms is None:
            return hint  # no sum of products: what it was in the example
        merged: dict[tuple[Symbol, ...], Fraction] = {}
        for f, names in terms:
            key = tuple(sorted(names, key=lambda s: s.name))
            merged[key] = merged.get(key, Fraction(0)) + f
        size = Size([(f, names) for names, f in merged.items() if f], hint)
        if size.symbol is not None:
            size.symbol.hint = hint
        return size

    def symbol(self, name: str) -> Symbol:
        if name not in self.symbols:
            bounds = self.ranges.get(name) or {}
            high = bounds.get("max_val")
            self.symbols[name] = Symbol(
                name, 1, bounds.get("min_val") or 0, math.inf if high is None else high, (-1, -1)
            )
        return self.symbols[name]

    def terms(self, e: ast.expr) -> list[tuple[Fraction, tuple[Symbol, ...]]] | None:
        """The terms of a sum; None where there is more to it."""
        if isinstance(e, ast.Constant) and isinstance(e.value, int):
            return [(Fraction(e.value), ())]
        if isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.USub):
            inner = self.terms(e.operand)
            return None if inner is None else [(-f, m) for f, m in inner]
        if not (isinstance(e, ast.Call) and isinstance(e.func, ast.Name)):
            return None
        if e.func.id == "Symbol" and isinstance(e.args[0], ast.Constant):
            return [(Fraction(1), (self.symbol(str(e.args[0].value)),))]
        parts = [self.terms(a) for a in e.args]
        if any(p is None for p in parts):
            return None
        known: Any = parts
        match e.func.id:
            case "Integer":
                return known[0]
            case "Rational":
                return [(known[0][0][0] / known[1][0][0], ())]
            case "Add":
                return [t for p in known for t in p]
            case "Mul":
                out: list[tuple[Fraction, tuple[Symbol, ...]]] = [(Fraction(1), ())]
                for p in known:
                    out = [(f * g, m + n) for f, m in out for g, n in p]
                return out
            case "Pow" if len(known[0]) == 1 and not known[1][0][1] and known[1][0][0].denominator == 1:
                (f, m), n = known[0][0], int(known[1][0][0])
                return [(f**n, m * n)] if n > 0 else None
        return None


# ---------------------------------------------------------------- tensors and arguments


def tensor_meta(t: Any, meta: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a tensor is like."""
    meta = meta or {}
    return {
        "dtype": _DTYPES.index(t.dtype.name),
        "sizes": [_size(n) for n in meta.get("shape", t.shape)],
        "requires_grad": bool(meta.get("requires_grad", t.requires_grad)),
        "device": {"type": t.device.type if t.device.type != "meta" else "cpu", "index": t.device.index},
        "strides": [_size(n) for n in meta.get("stride", t.stride())],
        "storage_offset": _size(meta.get("offset", t.storage_offset())),
        "layout": _LAYOUTS.index("strided"),
    }


def _argument(x: Any) -> dict[str, Any]:
    """One argument of a call, or one result of the graph."""
    match x:
        case None:
            return {"as_none": True}
        case Node():
            if isinstance(x.meta.get("val"), flambeau.Tensor):
                return {"as_tensor": {"name": x.name}}
            kind = "bool" if isinstance(x.meta.get("val"), bool) else "float" if isinstance(x.meta.get("val"), float) else "int"  # fmt: skip
            return {f"as_sym_{kind}": {"as_name": x.name}}
        case bool():
            return {"as_bool": x}
        case int():
            return {"as_int": x}
        case float():
            return {"as_float": x}
        case complex():
            return {"as_complex": {"real": x.real, "imag": x.imag}}
        case str():
            return {"as_string": x}
        case dtypes.dtype():
            return {"as_scalar_type": _DTYPES.index(x.name)}
        case Device():
            return {"as_device": {"type": x.type, "index": x.index}}
        case Layout():
            return {"as_layout": _LAYOUTS.index(str(x).rpartition(".")[2])}
        case MemoryFormat():
            return {"as_memory_format": _FORMATS.index(str(x).rpartition(".")[2])}
        case list() | tuple():
            return _list(x)
    raise NotImplementedError(f"torch.export.save of a graph with an argument of type {type(x).__name__}")


def _list(xs: Any) -> dict[str, Any]:
    made = [_argument(x) for x in xs]
    kinds = {k for m in made for k in m}
    if kinds <= {"as_tensor"} and made:
        return {"as_tensors": [m["as_tensor"] for m in made]}
    if kinds <= {"as_tensor", "as_none"} and made:
        return {"as_optional_tensors": made}
    if kinds <= {"as_int"}:
        return {"as_ints": list(xs)}
    for plain in ("bool", "float", "string"):
        if kinds == {f"as_{plain}"}:
            return {f"as_{plain}s": list(xs)}
    if kinds == {"as_int", "as_sym_int"} or kinds == {"as_sym_int"}:
        return {"as_sym_ints": [m.get("as_sym_int") or {"as_int": m["as_int"]} for m in made]}
    if kinds == {"as_float", "as_int"}:
        return {"as_floats": [float(x) for x in xs]}
    raise NotImplementedError(f"torch.export.save of a graph with a list of {sorted(kinds)}")


class _Arguments:
    """Reads arguments; nodes by their names."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def __call__(self, data: dict[str, Any]) -> Any:
        kind, value = _one(data)
        match kind:
            case "as_none":
                return None
            case "as_tensor":
                return self.nodes[value["name"]]
            case "as_tensors":
                return [self.nodes[v["name"]] for v in value]
            case "as_nested_tensors":
                return [[self.nodes[v["name"]] for v in inner] for inner in value]
            case "as_optional_tensor":
                return self(value)
            case "as_optional_tensors":
                return [self(v) for v in value]
            case "as_sym_int" | "as_sym_float" | "as_sym_bool":
                return self.named(value)
            case "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
                return [self.named(v) for v in value]
            case "as_scalar_type":
                return getattr(flambeau, _DTYPES[value])
            case "as_layout":
                return getattr(flambeau, _LAYOUTS[value])
            case "as_memory_format":
                return getattr(flambeau, _FORMATS[value])
            case "as_device":
                return Device(value["type"]) if value["index"] is None else Device(value["type"], value["index"])
            case "as_complex":
                return complex(value["real"], value["imag"])
            case "as_float":
                return float(value)
            case "as_int" | "as_ints" | "as_bool" | "as_bools" | "as_string" | "as_strings" | "as_floats":
                return value
        raise NotImplementedError(f"torch.export.load of a graph with arguments of the kind {kind!r}")

    def named(self, data: dict[str, Any]) -> Any:
        kind, value = _one(data)
        return self.nodes[value] if kind == "as_name" else value


# ---------------------------------------------------------------- the program


def to_json(program: ExportedProgram, opset: dict[str, int] | None = None) -> dict[str, Any]:
    """The program without its tensors."""
    nodes = list(program.graph.nodes)
    tensors: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    calls = []
    requires = {s.arg.name for s in program.graph_signature.input_specs if s.kind is InputKind.PARAMETER and program._state[str(s.target)].requires_grad}  # fmt: skip
    for n in nodes:
        value = n.meta.get("val")
        if isinstance(value, flambeau.Tensor):
            tensors[n.name] = tensor_meta(value, {**n.meta, "requires_grad": n.name in requires})
        elif isinstance(value, (list, tuple)):  # results that nobody uses have no node, but a name
            tensors |= {
                f"{n.name}_unused_{i}": tensor_meta(v) for i, v in enumerate(value) if isinstance(v, flambeau.Tensor)
            }
        elif n.op == "call_function" and type(value) is int:
            numbers[n.name] = _size(n.meta.get("size", value))
        if n.op == "call_function" and not _is_part(n):
            calls.append(_call(n))
    output = nodes[-1]
    signature = program.graph_signature
    return {
        "graph_module": {
            "graph": {
                "inputs": [_placeholder(n, s) for n, s in zip(nodes, signature.input_specs, strict=False)],
                "outputs": [_argument(x) for x in output.args[0]],
                "nodes": calls,
                "tensor_values": tensors,
                "sym_int_values": numbers,
                "sym_bool_values": {},
                "is_single_tensor_return": False,
                "custom_obj_values": {},
                "sym_float_values": {},
            },
            "signature": {
                "input_specs": [_input(s) for s in signature.input_specs],
                "output_specs": [_output(s, x) for s, x in zip(signature.output_specs, output.args[0], strict=True)],
            },
            "module_call_graph": _calls.to_data(program.module_call_graph, _argument, {n.name: n for n in nodes}),
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "opset_version": {**OPSET, **(opset or {})},
        "range_constraints": {
            str(name): {"min_val": b.lower, "max_val": None if b.upper == math.inf else int(b.upper)}
            for name, b in program.range_constraints.items()
            if name.isidentifier()  # the others follow from these
        },
        "schema_version": VERSION,
        "verifiers": [program.dialect],
        "torch_version": str(flambeau.version.torch),
        "guards_code": [],
    }


def _is_part(n: Node) -> bool:
    """Whether a node only names one of several results of another."""
    return n.target is operator.getitem and isinstance(n.args[0], Node) and isinstance(n.args[0].meta.get("val"), (list, tuple))  # fmt: skip


def _call(n: Node) -> dict[str, Any]:
    target: Any = n.target
    if hasattr(target, "_schema"):
        names = [a.name for a in target._schema.arguments]
        inputs = [{"name": name, "arg": _argument(x), "kind": 1} for name, x in zip(names, n.args, strict=False)]
        inputs += [{"name": k, "arg": _argument(x), "kind": 2} for k, x in n.kwargs.items()]
        target = f"torch.ops.{target}"
        several = n.target._schema.returns  # type: ignore[union-attr]
    else:
        target = f"_operator.{target.__name__}"
        if target not in _SIZE_FUNCTIONS:
            raise NotImplementedError(f"torch.export.save of a graph that calls {n.target}")
        inputs = [{"name": name, "arg": _argument(x), "kind": 1} for name, x in zip("ab", n.args, strict=False)]
        several = []
    value = n.meta.get("val")
    if isinstance(value, (list, tuple)):
        parts = {user.args[1]: user for user in n.users if _is_part(user)}
        results = [{"name": parts[i].name if i in parts else f"{n.name}_unused_{i}"} for i in range(len(value))]
        outputs = [{"as_tensor": r} for r in results] if len(several) > 1 else [{"as_tensors": results}]
    else:
        outputs = [_argument(n)] if value is not None else []
    return {"target": target, "inputs": inputs, "outputs": outputs, "metadata": _calls.place_to_data(n), "is_hop_single_tensor_return": None, "name": n.name}  # fmt: skip


def _placeholder(n: Node, s: InputSpec) -> dict[str, Any]:
    return _argument(s.arg.value) if isinstance(s.arg, ConstantArgument) else _argument(n)


def _input(s: InputSpec) -> dict[str, Any]:
    name = {"name": s.arg.name}
    match s.kind:
        case InputKind.PARAMETER:
            return {"parameter": {"arg": name, "parameter_name": s.target}}
        case InputKind.BUFFER:
            return {"buffer": {"arg": name, "buffer_name": s.target, "persistent": bool(s.persistent)}}
        case InputKind.CONSTANT_TENSOR:
            return {"tensor_constant": {"arg": name, "tensor_constant_name": s.target}}
        case InputKind.USER_INPUT if isinstance(s.arg, ConstantArgument):
            return {"constant_input": {"name": s.arg.name, "value": _argument(s.arg.value)}}
        case InputKind.USER_INPUT:
            return {"user_input": {"arg": {"as_tensor": name}}}
    raise NotImplementedError(f"torch.export.save of a program with an input of the kind {s.kind.name}")


_MUTATIONS = {
    OutputKind.BUFFER_MUTATION: ("buffer_mutation", "buffer_name"),
    OutputKind.PARAMETER_MUTATION: ("parameter_mutation", "parameter_name"),
    OutputKind.USER_INPUT_MUTATION: ("user_input_mutation", "user_input_name"),
}


def _output(s: OutputSpec, x: Any) -> dict[str, Any]:
    if s.kind in _MUTATIONS:
        kind, name = _MUTATIONS[s.kind]
        return {kind: {"arg": {"name": s.arg.name}, name: s.target}}
    if s.kind is not OutputKind.USER_OUTPUT:
        raise NotImplementedError(f"torch.export.save of a program with an output of the kind {s.kind.name}")
    return {"user_output": {"arg": _argument(x)}}


def from_json(data: dict[str, Any], state: dict[str, Any], constants: dict[str, Any], example: Any) -> ExportedProgram:
    """The program again, given its tensors."""
    major = data["schema_version"]["major"]
    if major != VERSION["major"]:
        raise RuntimeError(f"Serialized schema version {data['schema_version']} does not match our current schema version {VERSION}.")  # fmt: skip
    module, ranges = data["graph_module"], data["range_constraints"]
    read = _Reading(module["graph"], _Sizes(ranges), [_name(s) for s in module["signature"]["input_specs"]])
    inputs = [read.input(s) for s in module["signature"]["input_specs"]]
    outputs = [read.output(s) for s in module["signature"]["output_specs"]]
    whole = next(entry["signature"] for entry in module["module_call_graph"] if not entry["fqn"])
    with treespec_json.importing_nothing():
        spec = CallSpec(treespec_json.treespec_loads(whole["in_spec"]), treespec_json.treespec_loads(whole["out_spec"]))
    bounds = {name: Bounds(r.get("min_val") or 0, math.inf if r.get("max_val") is None else r["max_val"]) for name, r in ranges.items()}  # fmt: skip
    program = ExportedProgram(
        None,
        GraphModule({}, read.graph, "GraphModule"),
        ExportGraphSignature(inputs, outputs),
        state,
        bounds,
        spec,
        example,
        constants,
        read.dynamic(inputs),
    )
    program._dialect = (data.get("verifiers") or ["TRAINING"])[0]
    with treespec_json.importing_nothing():
        program._module_call_graph = _calls.from_data(module["module_call_graph"], read.argument)
    return program


def _name(spec: dict[str, Any]) -> str | None:
    """What an input is called, where the file says."""
    _, s = _one(spec)
    return s.get("name") or (s.get("arg") or {}).get("name")


class _Reading:
    """A graph being built from its data."""

    def __init__(self, data: dict[str, Any], sizes: _Sizes, names: list[str | None]) -> None:
        self.data, self.sizes, self.graph, self.argument = data, sizes, Graph(), _Arguments()
        for i, (entry, known) in enumerate(zip(data["inputs"], names, strict=True)):
            _, value = _one(entry)
            name = value.get("name") or value.get("as_name") if isinstance(value, dict) else known
            name = _identifier(name or f"input_{i}")
            self.note(self.graph.placeholder(name), name)
        self.placeholders = list(self.graph.nodes)
        for entry in data["nodes"]:
            self.call(entry)
        self.graph.output(tuple(self.argument(x) for x in data["outputs"]))

    def note(self, node: Node, name: str) -> None:
        """Give a node the name it has in the file (some are no names that graphs here would give), and what is said of its value."""
        node.name = _identifier(name)
        self.argument.nodes[name] = node
        meta = self.data["tensor_values"].get(node.name)
        if meta is None:
            number = self.data["sym_int_values"].get(node.name)
            if number is not None:
                size = self.sizes(number)
                node.meta["val"] = size.hint if isinstance(size, Size) else size
                if isinstance(size, Size):
                    node.meta["size"] = size
            return
        node.meta["val"], shape, stride = self.value(meta)
        if any(isinstance(n, Size) for n in shape):
            node.meta["shape"], node.meta["stride"] = tuple(shape), tuple(stride)

    def value(self, meta: dict[str, Any]) -> tuple[Any, list[Any], list[Any]]:
        """A tensor as the file describes it, and its sizes and strides."""
        shape, stride = ([self.sizes(n) for n in meta[key]] for key in ("sizes", "strides"))
        d = getattr(flambeau, _DTYPES[meta["dtype"]])
        plain = [n.hint if isinstance(n, Size) else n for n in shape]
        steps = [(n.hint if isinstance(n, Size) else n) * d.itemsize for n in stride]
        return wrap(MetaArray(tuple(plain), d.np, tuple(steps))), shape, stride

    def call(self, entry: dict[str, Any]) -> None:
        target = entry["target"]
        fn: Any = _SIZE_FUNCTIONS.get(target)
        if fn is None:
            fn = _operator(target)
        args = [self.argument(a["arg"]) for a in entry["inputs"] if a.get("kind") != 2]
        kwargs = {_identifier(a["name"]): self.argument(a["arg"]) for a in entry["inputs"] if a.get("kind") == 2}
        outputs = [_one(o) for o in entry["outputs"]]
        single = len(outputs) == 1 and outputs[0][0] in ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float")
        name = entry.get("name") or (self.result(outputs[0]) if single else None)
        node = self.graph.create_node("call_function", fn, tuple(args), kwargs, name=name)
        place = _calls.place_from_data(entry.get("metadata") or {})
        node.meta.update(place)
        if single:
            self.note(node, self.result(outputs[0]))
            return
        results = outputs[0][1] if len(outputs) == 1 and outputs[0][0] == "as_tensors" else [v if k == "as_tensor" else None for k, v in outputs]  # fmt: skip
        values = []
        for i, r in enumerate(results):
            if r is None or r["name"] not in self.data["tensor_values"]:
                values.append(None)
                continue
            if r["name"] == f"{node.name}_unused_{i}":
                values.append(self.value(self.data["tensor_values"][r["name"]])[0])
                continue
            part = self.graph.create_node("call_function", operator.getitem, (node, i), {}, name=r["name"])
            part.meta.update(place)
            self.note(part, r["name"])
            values.append(part.meta.get("val"))
        if values:
            node.meta["val"] = values

    @staticmethod
    def result(output: tuple[str, Any]) -> str:
        return output[1]["name"] if output[0] == "as_tensor" else output[1]["as_name"]

    def input(self, data: dict[str, Any]) -> InputSpec:
        kind, s = _one(data)
        match kind:
            case "parameter":
                return InputSpec(InputKind.PARAMETER, TensorArgument(s["arg"]["name"]), s["parameter_name"])
            case "buffer":
                return InputSpec(InputKind.BUFFER, TensorArgument(s["arg"]["name"]), s["buffer_name"], s["persistent"])
            case "tensor_constant":
                return InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(s["arg"]["name"]), s["tensor_constant_name"])  # fmt: skip
            case "constant_input":
                return InputSpec(InputKind.USER_INPUT, ConstantArgument(s["name"], self.argument(s["value"])), None)
            case "user_input":
                what, value = _one(s["arg"])
                if what == "as_tensor":
                    return InputSpec(InputKind.USER_INPUT, TensorArgument(value["name"]), None)
                if what == "as_sym_int":
                    return InputSpec(InputKind.USER_INPUT, SymIntArgument(value["as_name"]), None)
                return InputSpec(InputKind.USER_INPUT, ConstantArgument("", self.argument(s["arg"])), None)
        raise NotImplementedError(f"torch.export.load of a program with an input of the kind {kind!r}")

    def output(self, data: dict[str, Any]) -> OutputSpec:
        kind, s = _one(data)
        for what, (name, target) in _MUTATIONS.items():
            if kind == name:
                return OutputSpec(what, TensorArgument(s["arg"]["name"]), s[target])
        if kind != "user_output":
            raise NotImplementedError(f"torch.export.load of a program with an output of the kind {kind!r}")
        value = self.argument(s["arg"])
        arg = TensorArgument(value.name) if isinstance(value, Node) else ConstantArgument("", value)
        return OutputSpec(OutputKind.USER_OUTPUT, arg, None)

    def dynamic(self, inputs: list[InputSpec]) -> dict[tuple[int, int], Symbol | Derived]:
        """Which sizes of the user's inputs vary."""
        where: dict[tuple[int, int], Symbol | Derived] = {}
        users = [n for n, s in zip(self.placeholders, inputs, strict=True) if s.kind is InputKind.USER_INPUT]
        for i, n in enumerate(users):
            for d, size in enumerate(n.meta.get("shape", ())):
                form = size.linear if isinstance(size, Size) else None
                if form is None:
                    continue
                where[i, d] = form
                if form.symbol.place == (-1, -1) or (form.symbol.through is not None and form is form.symbol):
                    form.symbol.place, form.symbol.through = (i, d), None if form is form.symbol else form
        return where


def _identifier(name: Any) -> str:
    """A name that may stand in the graph's code. Code is made of them: a file's names are not taken unseen."""
    if not isinstance(name, str) or not name.isidentifier():
        raise RuntimeError(f"the graph has a value with the name {name!r}, which is no identifier")
    return name


def _operator(target: str) -> Any:
    """The operator of a dotted name: `torch.ops.aten.add.Tensor`. Nothing else is called."""
    parts = target.split(".")
    if parts[:2] != ["torch", "ops"] or len(parts) != 5:
        raise NotImplementedError(f"torch.export.load of a graph that calls {target}")
    try:
        return getattr(getattr(getattr(flambeau.ops, parts[2]), parts[3]), parts[4])
    except AttributeError:
        raise NotImplementedError(f"torch.export.load of a graph that calls {target}, which is not here") from None

"""From an exported graph to an ONNX model: names, dtypes, sizes and constants. What each operator becomes stands in `_operators`."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from onnx import TensorProto, helper, numpy_helper

import flambeau
from flambeau.export import ExportedProgram
from flambeau.export.graph_signature import InputKind
from flambeau.fx.node import Node
from flambeau.onnx import _operators, _shapes  # noqa: F401  each registers its rules
from flambeau.onnx.errors import OnnxExporterError, OnnxExporterWarning, UnsupportedOperatorError

DTYPES = {
    flambeau.float32: TensorProto.FLOAT, flambeau.float64: TensorProto.DOUBLE, flambeau.float16: TensorProto.FLOAT16,
    flambeau.bfloat16: TensorProto.BFLOAT16, flambeau.int64: TensorProto.INT64, flambeau.int32: TensorProto.INT32,
    flambeau.int16: TensorProto.INT16, flambeau.int8: TensorProto.INT8, flambeau.uint8: TensorProto.UINT8, flambeau.bool: TensorProto.BOOL,
}  # fmt: skip


SMALLEST = 18  # the operator set in which `_operators` writes, or a newer one
DATA = frozenset(
    (
        "nonzero",
        "argwhere",
        "masked_select",
        "_unique2",
        "unique_consecutive",
        "unique_dim",
        "bincount",
        "repeat_interleave",
    )
)


def model(program: ExportedProgram, input_names: Any, output_names: Any, opset: int, exactly: bool) -> Any:
    """The program as a ModelProto. Sets older than the smallest are reached by ONNX's own converter, where it can."""
    opsets = [helper.make_opsetid("", max(opset, SMALLEST))]
    graph = Builder(program, list(input_names or ()), list(output_names or ()), opset).build()
    made = helper.make_model(graph, opset_imports=opsets, producer_name="flambeau")
    made.ir_version = max(10, helper.find_min_ir_version_for(opsets))
    made.producer_version = flambeau.__version__
    onnx.checker.check_model(made, full_check=made.ByteSize() < 1_500_000_000)
    if opset >= SMALLEST:
        return made
    try:
        return onnx.version_converter.convert_version(made, opset)
    except Exception as why:
        if exactly:
            raise NotImplementedError(f"torch.onnx.export with opset_version={opset} for this model: {why}") from why
        warnings.warn(
            f"Failed to convert the model to the target version {opset} using the ONNX C API. The model was not modified: {why}",
            OnnxExporterWarning,
            stacklevel=4,
        )
        return made


def depends_on_data(node: Node) -> bool:
    """Whether sizes of a node's result depend on the elements of its inputs."""
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    if name == "index" and len(node.args) > 1 and isinstance(node.args[1], (list, tuple)):
        return any(isinstance(i, Node) and i.meta["val"].dtype in (flambeau.bool, flambeau.uint8) for i in node.args[1])
    return name in DATA


class Builder:
    """One ONNX graph that grows: `add` makes a node and answers the name of its result."""

    def __init__(self, program: ExportedProgram, input_names: list[str], output_names: list[str], opset: int) -> None:
        self.opset = opset
        self.program, self.input_names, self.output_names = program, input_names, output_names
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.env: dict[Node, Any] = {}
        self.tensors: dict[Node, Any] = {}  # placeholders whose values belong to the model
        self.taken: set[str] = set()
        self.constants: dict[Any, str] = {}

    def build(self) -> Any:
        signature, program = self.program.graph_signature, self.program
        inputs, given = [], 0
        placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
        index = 0
        for node, spec in zip(placeholders, signature.input_specs, strict=True):
            if spec.kind is InputKind.USER_INPUT:
                val = node.meta["val"]
                if isinstance(val, flambeau.Tensor):
                    name = self.input_names[given] if given < len(self.input_names) else str(node.target)
                    given += 1
                    sizes = [
                        str(program._dynamic[index, d]) if (index, d) in program._dynamic else n
                        for d, n in enumerate(val.shape)
                    ]
                    self.env[node] = self.fresh(name)
                    inputs.append(helper.make_tensor_value_info(self.env[node], self.dtype(val.dtype), sizes))
                else:
                    self.env[node] = val
                index += 1
            else:
                state = program._state if spec.kind is not InputKind.CONSTANT_TENSOR else program._constants
                self.tensors[node] = state[str(spec.target)]
                self.env[node] = self.fresh(str(spec.target))
        for node in program.graph.nodes:
            if node.op == "call_function":
                self.call(node)
        outputs: list[Any] = []
        renamed: dict[str, str] = {}  # results that have the name of an output
        open_ = any(n.op == "call_function" and depends_on_data(n) for n in program.graph.nodes)
        (results,) = next(n for n in program.graph.nodes if n.op == "output").args
        for i, r in enumerate(results):
            if not isinstance(r, Node):
                raise OnnxExporterError(f"output {i} is {r!r}, which is no tensor")
            name = self.fresh(self.output_names[i] if i < len(self.output_names) else r.name)
            old = self.name(r)
            if old in renamed or not any(old in n.output for n in self.nodes):
                self.nodes.append(helper.make_node("Identity", [old], [name]))
            else:
                renamed[old] = name
            val = r.meta["val"]
            shape = [n if isinstance(n, int) else str(n) for n in r.meta.get("shape", val.shape)]
            sizes = [None] * val.ndim if open_ else shape
            outputs.append(helper.make_tensor_value_info(name, self.dtype(val.dtype), sizes))
        for n in self.nodes:
            n.input[:] = [renamed.get(i, i) for i in n.input]
            n.output[:] = [renamed.get(o, o) for o in n.output]
        used = {i for n in self.nodes for i in n.input}
        for node, t in self.tensors.items():
            if self.env[node] in used:
                self.initializers[self.env[node]] = self.proto(t, self.env[node])
        return helper.make_graph(
            self.nodes,
            type(program._root).__name__,
            inputs,
            outputs,
            [v for k, v in self.initializers.items() if k in used],
        )

    def call(self, node: Node) -> None:
        target = node.target
        if target is operator.getitem:
            source, i = node.args
            self.env[node] = self.env[source][i]
            return
        if target in (operator.mul, operator.add, operator.floordiv):
            word = {operator.mul: "Mul", operator.add: "Add", operator.floordiv: "Div"}[target]
            self.env[node] = self.add(word, *(self.scalar(a) for a in node.args))
            return
        name = str(target).removeprefix("aten.").partition(".")[0]
        writes = name.endswith("_") and not name.startswith("__")
        rule = _operators.RULES.get(name.rstrip("_") if writes else name)
        if rule is None:
            raise UnsupportedOperatorError(f"aten::{name}", self.opset)
        if writes and node.args[0] in self.tensors and not node.users:
            return  # running statistics are no part of the model's result
        try:
            self.env[node] = rule(self, node, *node.args, **node.kwargs)
        except TypeError as error:
            raise OnnxExporterError(
                f"aten::{name} with these arguments has no ONNX counterpart here: {error}"
            ) from error
        if writes:
            source = node.args[0]
            if any(
                "view" in str(u.target) or "select" in str(u.target) or "slice" in str(u.target) for u in source.users
            ):
                raise OnnxExporterError(f"aten::{name} writes into memory that other tensors share")
            self.env[source] = self.env[node]

    # ---- values ----

    def fresh(self, name: str) -> str:
        n, base = 0, name
        while name in self.taken:
            n += 1
            name = f"{base}_{n}"
        self.taken.add(name)
        return name

    def dtype(self, d: Any) -> int:
        if d not in DTYPES:
            raise OnnxExporterError(f"ONNX has no dtype like {d}")
        return int(DTYPES[d])

    def proto(self, t: Any, name: str) -> Any:
        t = t.detach().contiguous()
        if t.dtype == flambeau.bfloat16:
            raw = t.view(flambeau.int16).numpy().tobytes()
            return helper.make_tensor(name, TensorProto.BFLOAT16, list(t.shape), raw, raw=True)
        return numpy_helper.from_array(np.ascontiguousarray(t.numpy()).reshape(tuple(t.shape)), name)

    def add(self, op: str, *inputs: str | None, outputs: int = 1, **attributes: Any) -> Any:
        names = [self.fresh(f"{op.lower()}_{len(self.nodes)}" + (f"_{i}" if i else "")) for i in range(outputs)]
        given = ["" if i is None else i for i in inputs]
        while given and not given[-1]:
            given.pop()
        self.nodes.append(helper.make_node(op, given, names, **{k: v for k, v in attributes.items() if v is not None}))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, dtype: Any) -> str:
        """A tensor of numbers: a scalar where `value` is one."""
        key = (repr(value), dtype)
        if key not in self.constants:
            name = self.fresh(f"constant_{len(self.constants)}")
            self.initializers[name] = self.proto(flambeau.tensor(value, dtype=dtype), name)
            self.constants[key] = name
        return self.constants[key]

    def initializer(self, t: Any, name: str) -> str:
        name = self.fresh(name)
        self.initializers[name] = self.proto(t, name)
        return name

    def name(self, x: Any, dtype: Any = None) -> str:
        """The name of a value, cast to `dtype`; numbers become constants of it."""
        if isinstance(x, Node):
            val = x.meta.get("val")
            found: str = self.env[x]
            if isinstance(found, str):
                if dtype is not None and isinstance(val, flambeau.Tensor) and val.dtype != dtype:
                    return self.cast(found, dtype)
                if dtype is not None and not isinstance(val, flambeau.Tensor) and dtype != flambeau.int64:
                    return self.cast(found, dtype)  # a size
                return found
            x = found
        return self.constant(x, dtype if dtype is not None else flambeau.tensor(x).dtype)

    def cast(self, name: str, dtype: Any) -> str:
        return self.add("Cast", name, to=self.dtype(dtype))

    def scalar(self, x: Any) -> str:
        """A size: an int64 without dims."""
        return self.name(x, flambeau.int64)

    def ints(self, values: Sequence[Any]) -> str:
        """Sizes as one vector."""
        if all(isinstance(v, int) for v in values):
            return self.constant(list(values), flambeau.int64)
        zero = self.constant([0], flambeau.int64)
        return self.add("Concat", *(self.add("Unsqueeze", self.scalar(v), zero) for v in values), axis=0)

    def met(self, *xs: Any) -> Any:
        """The dtype in which operands meet."""
        values = [x.meta["val"] if isinstance(x, Node) else x for x in xs]
        d = values[0]
        out = flambeau.result_type(d, values[1]) if len(values) > 1 else flambeau.result_type(d, d)
        for v in values[2:]:
            out = flambeau.promote_types(out, v.dtype) if isinstance(v, flambeau.Tensor) else out
        return out

"""A prepared graph turned into one that computes in codes: each value is there as floats or as codes, and is turned where it is needed."""

from __future__ import annotations

from typing import Any

import flambeau as torch
from flambeau import fx
from flambeau.ao.nn import quantized as nnq
from flambeau.ao.quantization.fx import roles
from flambeau.ao.quantization.fx.prepare import QUANTIZATION
from flambeau.ao.quantization.observer import _is_activation_post_process
from flambeau.ao.quantization.quantization_mappings import (
    get_default_dynamic_quant_module_mappings,
    get_default_static_quant_module_mappings,
)
from flambeau.ao.quantization.quantize import _remove_qconfig, swap_module
from flambeau.nn import functional as F


class _Value:
    """What a node of the prepared graph has become: floats, codes, and how codes are to be made of floats."""

    def __init__(self, floats: Any = None, codes: Any = None, watcher: Any = None, prefix: str = "") -> None:
        self.floats, self.codes, self.watcher, self.prefix = floats, codes, watcher, prefix


class Conversion:
    """Builds the graph in codes."""

    def __init__(self, model: Any) -> None:
        self.model, self.old = model, model.graph
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.roles = model.meta[QUANTIZATION]["roles"]
        self.graph = fx.Graph()
        self.values: dict[Any, _Value] = {}
        self.done: set[Any] = set()

    # ---- values ----

    def floats(self, node: Any) -> Any:
        """The value of a node as floats."""
        v = self.values[node]
        if v.floats is None:
            v.floats = self.graph.call_method("dequantize", (v.codes,))
        return v.floats

    def codes(self, node: Any) -> Any:
        """The value of a node as codes; None where nothing says how."""
        v = self.values[node]
        if v.codes is None and v.watcher is not None:
            scale, zero = v.watcher.calculate_qparams()
            names = [self._buffer(f"{v.prefix}{kind}", t) for kind, t in (("scale", scale), ("zero_point", zero))]
            args = [self.graph.get_attr(name) for name in names]
            v.codes = self.graph.call_function(torch.quantize_per_tensor, (v.floats, *args, v.watcher.dtype))
        return v.codes

    def _buffer(self, name: str, t: Any) -> str:
        i = 0
        while hasattr(self.model, f"{name}_{i}"):
            i += 1
        self.model.register_buffer(f"{name}_{i}", t.detach().reshape(()).clone())
        return f"{name}_{i}"

    def _copy(self, node: Any, get: Any) -> Any:
        return self.graph.node_copy(node, get)

    # ---- nodes ----

    def run(self) -> Any:
        for node in self.old.nodes:
            if node not in self.values and node not in self.done:
                self.values[node] = self._converted(node)
        return self.graph

    def _converted(self, node: Any) -> _Value:
        if node.op == "call_module" and _is_activation_post_process(self.modules.get(node.target)):
            return self._watched(node)
        role = self.roles.get(node.name)
        if role == roles.SWAPPED:
            self._swap(node, get_default_dynamic_quant_module_mappings())
            return _Value(self._copy(node, self.floats))
        if role is not None:
            made = self._in_codes(node, role)
            if made is not None:
                return _Value(codes=made)
        return _Value(self._copy(node, self.floats))

    def _watched(self, node: Any) -> _Value:
        source, watcher = node.args[0], self.modules[node.target]
        v = self.values[source]
        if v.codes is not None:
            return v
        user = next(iter(node.users), None)
        prefix = "_"
        if (
            user is not None
            and user.op == "call_module"
            and not _is_activation_post_process(self.modules.get(user.target))
        ):
            prefix = user.target.replace(".", "_") + "_input_"
        return _Value(v.floats, None, watcher, prefix)

    def _watcher(self, node: Any) -> Any:
        """What watches the value of a node."""
        for user in node.users:
            module = self.modules.get(user.target) if user.op == "call_module" else None
            if _is_activation_post_process(module):
                return module
        return None

    def _swap(self, node: Any, mapping: Any) -> None:
        module = self.modules[node.target]
        if type(module) in mapping:
            made = swap_module(module, mapping, {})
            self.model.add_submodule(node.target, made)
            self.modules[node.target] = made

    def _in_codes(self, node: Any, role: str) -> Any:
        inputs = [self.codes(n) for n in roles.inputs_of(node, role)]
        if not inputs or any(n is None for n in inputs):
            return None
        if role == roles.PAIR:
            return self._pair(node, inputs)
        watcher = self._watcher(node)
        kind = roles.kind_of(node, self.modules)
        if role == roles.FIXED and kind is torch.nn.Softmax:
            scale, zero = watcher.calculate_qparams()
            module = nnq.Softmax(self.modules[node.target].dim, float(scale), int(zero))
            self.model.add_submodule(node.target, module)
        if role in (roles.SHARED, roles.FIXED, roles.JOIN):
            return self._copy(node, lambda n: self.codes(n) if n in roles.inputs_of(node, role) else self.floats(n))
        if watcher is None:
            return None
        if node.op == "call_module":
            self.modules[node.target].activation_post_process = watcher
            self._swap(node, get_default_static_quant_module_mappings())
            return self._copy(node, self.codes)
        return self._function(node, inputs, watcher)

    def _numbers(self, watcher: Any) -> tuple[float, int]:
        scale, zero = watcher.calculate_qparams()
        return float(scale), int(zero)

    def _pair(self, node: Any, inputs: list[Any]) -> Any:
        name = "add" if roles.kind_of(node, self.modules) in roles.ADDITIONS else "mul"
        watcher, last = self._watcher(node), node
        if watcher is None:
            last = next(iter(node.users))
            watcher, name = self._watcher(last), name + "_relu"
        if watcher is None:
            return None
        made = self.graph.call_function(getattr(torch.ops.quantized, name), (*inputs, *self._numbers(watcher)))
        if last is not node:
            self.values[last] = _Value(codes=made)
            self.done.add(last)
        return made

    def _function(self, node: Any, inputs: list[Any], watcher: Any) -> Any:
        numbers = self._numbers(watcher)
        ops = torch.ops.quantized
        args, kwargs = node.args, node.kwargs
        if node.target is torch.matmul:
            return self.graph.call_function(ops.matmul, (*inputs, *numbers))
        if node.target is F.dropout:
            return self.graph.call_function(ops.dropout, (*inputs, *numbers))
        if node.target is F.hardswish:
            return self.graph.call_function(ops.hardswish, (*inputs, *numbers))
        if node.target is F.elu:
            return self.graph.call_function(
                ops.elu, (*inputs, *numbers, args[1] if len(args) > 1 else kwargs.get("alpha", 1.0))
            )
        slope = args[1] if len(args) > 1 else kwargs.get("negative_slope", 0.01)
        return self.graph.call_function(ops.leaky_relu, (*inputs, slope, False, *numbers))


def convert(model: Any, remove_qconfig: bool) -> Any:
    """The model in codes."""
    if QUANTIZATION not in model.meta:
        raise ValueError("convert_fx: the model was not prepared: call prepare_fx or prepare_qat_fx first")
    model.meta = dict(model.meta)
    conversion = Conversion(model)
    model.graph = conversion.run()
    model.graph.lint()
    for node in conversion.old.nodes:
        if node.op == "call_module" and _is_activation_post_process(conversion.modules.get(node.target)):
            model.delete_submodule(node.target)
    model.delete_all_unused_submodules()
    if remove_qconfig:
        _remove_qconfig(model)
    del model.meta[QUANTIZATION]
    model.recompile()
    return model

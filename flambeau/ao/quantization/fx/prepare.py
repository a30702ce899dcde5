"""A traced model made ready: modules fused, configurations found, observers put in."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from flambeau import fx, nn
from flambeau.ao.quantization.fuser_method_mappings import _DEFAULT_OP_LIST_TO_FUSER_METHOD
from flambeau.ao.quantization.fx import roles
from flambeau.ao.quantization.qconfig_mapping import _FIXED_QPARAMS_OP_TO_OBSERVER
from flambeau.ao.quantization.quantization_mappings import get_default_qat_module_mappings
from flambeau.ao.quantization.quantize import swap_module

QUANTIZATION = "quantization"  # where a prepared graph's facts are kept, in its `meta`


class QuantizationTracer(fx.Tracer):
    """A tracer that notes in which module each node came about, and goes into no module that is not to be looked into."""

    def __init__(self, skipped_module_names: list[str], skipped_module_classes: list[Any]) -> None:
        super().__init__()
        self.skipped_module_names, self.skipped_module_classes = skipped_module_names, skipped_module_classes
        self.places: dict[str, str] = {}  # node -> the module in whose forward it is called
        self._path = [""]

    def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
        return (
            super().is_leaf_module(m, module_qualified_name)
            or module_qualified_name in self.skipped_module_names
            or type(m) in self.skipped_module_classes
            or isinstance(m, roles.FUSED)
        )

    def call_module(self, m: Any, forward: Any, args: Any, kwargs: Any) -> Any:
        self._path.append(self.path_of_module(m))
        try:
            return super().call_module(m, forward, args, kwargs)
        finally:
            self._path.pop()

    def create_node(
        self, kind: str, target: Any, args: Any, kwargs: Any, name: Any = None, type_expr: Any = None
    ) -> Any:
        node = super().create_node(kind, target, args, kwargs, name, type_expr)
        self.places[node.name] = self._path[-1]
        return node


def traced(model: Any, names: list[str], classes: list[Any]) -> tuple[Any, dict[str, str]]:
    """The graph of a model, and where each node came about."""
    if isinstance(model, fx.GraphModule):
        return model, {n.name: "" for n in model.graph.nodes}
    tracer = QuantizationTracer(names, classes)
    graph = tracer.trace(model)
    made = fx.GraphModule(model, graph)
    made.training = model.training
    return made, tracer.places


# ---------------------------------------------------------------- fusing


def fuse(model: Any, is_qat: bool) -> None:
    """Make one of modules that follow one another, each the only one to see what the one before gives."""
    modules = dict(model.named_modules())
    longest = max(map(len, _DEFAULT_OP_LIST_TO_FUSER_METHOD))
    for node in list(model.graph.nodes):
        if node.op != "call_module" or node.target not in modules or node.graph is not model.graph:
            continue
        chain = [node]
        while len(chain) < longest and len(chain[-1].users) == 1:
            chain.append(next(iter(chain[-1].users)))
        for n in range(len(chain), 1, -1):
            parts = [_module(c, modules) for c in chain[:n]]
            method = _DEFAULT_OP_LIST_TO_FUSER_METHOD.get(tuple(map(type, parts)))
            if method is not None and all(c.args and c.args[0] is p for p, c in pairwise(chain[:n])):
                _replace(model, chain[:n], method(is_qat, *parts), modules)
                break
    model.delete_all_unused_submodules()
    model.recompile()


def _module(node: Any, modules: dict[str, Any]) -> Any:
    """The module that a node calls; an activation, too, where it is called as a function."""
    if node.op == "call_module":
        return modules.get(node.target)
    return nn.ReLU() if node.target in roles.ACTIVATIONS else None


def _replace(model: Any, chain: list[Any], fused: Any, modules: dict[str, Any]) -> None:
    first = chain[0]
    parent, _, name = first.target.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, name, fused)
    modules[first.target] = fused
    chain[-1].replace_all_uses_with(first)
    for node in reversed(chain[1:]):
        model.graph.erase_node(node)
        if node.op == "call_module" and not any(n.target == node.target for n in model.graph.nodes):
            model.delete_submodule(node.target)


# ---------------------------------------------------------------- configurations


def qconfigs(model: Any, mapping: Any, places: dict[str, str]) -> dict[str, Any]:
    """The configuration of each node, by its name: the most special that the mapping has."""
    modules = dict(model.named_modules())
    seen: dict[tuple[str, Any], int] = {}
    out = {}
    for node in model.graph.nodes:
        if node.op not in ("call_module", "call_function", "call_method"):
            continue
        kind = roles.kind_of(node, modules)
        original = type(modules[node.target][0]) if isinstance(modules.get(node.target), roles.FUSED) else kind
        path = node.target if node.op == "call_module" else places.get(node.name, "")
        index = seen[path, kind] = seen.get((path, kind), -1) + 1
        out[node.name] = _found(mapping, (kind, original), path, index)
    return out


def _found(mapping: Any, kinds: tuple[Any, ...], path: str, index: int) -> Any:
    parents = [path]
    while parents[-1]:
        parents.append(parents[-1].rpartition(".")[0])
    for parent in parents:
        for kind in kinds:
            if (parent, kind, index) in mapping.module_name_object_type_order_qconfigs:
                return mapping.module_name_object_type_order_qconfigs[parent, kind, index]
    for parent in parents:
        if parent in mapping.module_name_qconfigs:
            return mapping.module_name_qconfigs[parent]
    for pattern, qconfig in mapping.module_name_regex_qconfigs.items():
        if any(re.match(pattern, parent) for parent in parents if parent):
            return qconfig
    for kind in kinds:
        if kind in mapping.object_type_qconfigs:
            return mapping.object_type_qconfigs[kind]
    return mapping.global_qconfig


# ---------------------------------------------------------------- observers


class _Watch:
    """Puts observers into a graph."""

    def __init__(self, model: Any, configs: dict[str, Any]) -> None:
        self.model, self.configs, self.modules = model, configs, dict(model.named_modules())
        self.seen: dict[Any, Any] = {}  # node -> what watches it
        self.roles: dict[str, str] = {}
        self.tails: set[Any] = set()  # activations that belong to the sum or product before
        self.count = 0

    def after(self, node: Any, watcher: Any) -> Any:
        """A node that watches another, right behind it."""
        name = f"activation_post_process_{self.count}"
        self.count += 1
        self.model.add_submodule(name, watcher)
        with self.model.graph.inserting_after(node):
            made = self.model.graph.call_module(name, (node,))
        self.seen[node] = made
        return made

    def input(self, node: Any, qconfig: Any) -> Any:
        """What watches an input of a node that is to compute in codes."""
        if node.op == "call_module" and node in self.seen.values():
            return node
        return self.seen[node] if node in self.seen else self.after(node, qconfig.activation())

    def run(self) -> None:
        graph = self.model.graph
        for node in list(graph.nodes):
            qconfig = self.configs.get(node.name)
            role = roles.role_of(node, self.modules, qconfig)
            if role is None:
                continue
            node_inputs = roles.inputs_of(node, role)
            if role != roles.SWAPPED and (not node_inputs or any(n.op == "get_attr" for n in node_inputs)):
                continue
            self.roles[node.name] = role
            if role == roles.SWAPPED:
                continue
            if node in self.tails:
                self._watched(node, qconfig.activation())
                continue
            for source in node_inputs:
                node.replace_input_with(source, self.input(source, qconfig))
            tail = self._activation(node) if role == roles.PAIR else None
            if tail is not None:  # what follows is watched, with it
                self.tails.add(tail)
                continue
            self._output(node, role, qconfig)

    def _activation(self, node: Any) -> Any:
        """The activation that alone sees what a sum or product gives."""
        user = next(iter(node.users)) if len(node.users) == 1 else None
        if user is not None and user.op != "output" and roles.kind_of(user, self.modules) in roles.ACTIVATIONS:
            return user
        return None

    def _output(self, node: Any, role: str, qconfig: Any) -> None:
        first = roles.inputs_of(node, role)[0]
        if (
            role in (roles.SHARED, roles.JOIN)
            and first.op == "call_module"
            and first.target.startswith("activation_post_process")
        ):
            watcher = getattr(self.model, first.target)
            if role == roles.JOIN:  # all that are joined share one range
                for other in roles.inputs_of(node, role)[1:]:
                    self.model.add_submodule(other.target, watcher)
        else:
            watcher = self._fixed(node, qconfig) if role == roles.FIXED else qconfig.activation()
        self._watched(node, watcher)

    def _watched(self, node: Any, watcher: Any) -> None:
        """Put an observer between a node and all that use it."""
        users = list(node.users)
        made = self.after(node, watcher)
        for user in users:
            user.replace_input_with(node, made)

    def _fixed(self, node: Any, qconfig: Any) -> Any:
        from flambeau.ao.quantization.fake_quantize import FakeQuantizeBase, FixedQParamsFakeQuantize

        made = qconfig.activation()
        if hasattr(made, "scale") and type(made).__name__.startswith("FixedQParams"):
            return made
        observer = _FIXED_QPARAMS_OP_TO_OBSERVER[roles.kind_of(node, self.modules)]
        return FixedQParamsFakeQuantize(observer) if isinstance(made, FakeQuantizeBase) else observer()


def prepare(model: Any, mapping: Any, is_qat: bool, places: dict[str, str]) -> Any:
    """Put observers into a traced and fused model."""
    configs = qconfigs(model, mapping, places)
    modules = dict(model.named_modules())
    qat = get_default_qat_module_mappings() if is_qat else {}
    for node in list(model.graph.nodes):
        if node.op != "call_module" or configs.get(node.name) is None:
            continue
        module = modules[node.target]
        for part in module.modules() if isinstance(module, roles.FUSED) else (module,):
            part.qconfig = configs[node.name]
        if type(module) in qat:
            model.add_submodule(node.target, swap_module(module, qat, {}))
    watch = _Watch(model, configs)
    watch.run()
    model.graph.lint()
    model.recompile()
    model.meta[QUANTIZATION] = {"roles": watch.roles, "is_qat": is_qat}
    return model

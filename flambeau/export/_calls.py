"""Calls of a model's parts: what `preserve_module_call_signature` keeps of them, through decompositions and files."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import flambeau
from flambeau._ground import treespec_json
from flambeau.export.exported_program import ExportedProgram, ModuleCallEntry, ModuleCallSignature, ProgramModule
from flambeau.export.graph_signature import ArgumentSpec, ConstantArgument, TensorArgument
from flambeau.fx.experimental.proxy_tensor import Recording, get_proxy_mode
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.interpreter import Interpreter
from flambeau.fx.node import Node
from flambeau.utils import _pytree as pytree


class Signatures:
    """Notes what some parts of a model are called with, and what they give."""

    def __init__(self, mod: Any, wanted: Iterable[str]) -> None:
        self.mod = mod
        self.wanted = {path: functools.reduce(getattr, path.split("."), mod) for path in wanted}

    @contextmanager
    def noted(self, recording: Recording) -> Iterator[None]:
        """While the model runs."""
        self.found: dict[str, list[list[Any]]] = {path: [] for path in self.wanted}
        hooks = []
        for path, part in self.wanted.items():
            before = functools.partial(self._called, recording, path)
            hooks.append(part.register_forward_pre_hook(before, with_kwargs=True))
            hooks.append(part.register_forward_hook(functools.partial(self._left, recording, path), with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _called(self, recording: Recording, path: str, part: Any, args: Any, kwargs: Any) -> None:
        leaves, spec = pytree.tree_flatten((args, kwargs))
        self._agrees(path, "in_spec", 1, spec)
        self.found[path].append([[recording.value(x) for x in leaves], spec, [], None])

    def _left(self, recording: Recording, path: str, part: Any, args: Any, kwargs: Any, out: Any) -> None:
        leaves, spec = pytree.tree_flatten(out)
        call = next(c for c in reversed(self.found[path]) if c[3] is None)
        call[2:] = [[recording.value(x) for x in leaves], spec]
        self._agrees(path, "out_spec", 3, spec)

    def _agrees(self, path: str, name: str, at: int, spec: Any) -> None:
        first = next((c[at] for c in self.found[path] if c[at] is not None), spec)
        if first != spec:
            raise AssertionError(f"{name} mismatch for _export_root.{path}: {first} != {spec}")

    def entries(self, traced: Any) -> list[ModuleCallEntry]:
        """All parts of the model, then the further calls of those whose signatures were noted."""

        def entry(path: str, call: list[Any], name: str) -> ModuleCallEntry:
            inputs, outputs = ([_spec(traced.replaced.get(x, x)) for x in xs] for xs in (call[0], call[2]))
            return ModuleCallEntry(name, ModuleCallSignature(inputs, outputs, call[1], call[3]))

        first, later = [], []
        for path, _ in self.mod.named_modules(remove_duplicate=False):
            if path:
                calls = self.found.get(path) or []
                first.append(entry(path, calls[0], path) if calls else ModuleCallEntry(path))
                later += [entry(path, call, f"{path}@{n}") for n, call in enumerate(calls) if n]
        return first + later


def _spec(x: Any) -> ArgumentSpec:
    return TensorArgument(x.name) if isinstance(x, Node) else ConstantArgument("", x)


class Replay(ProgramModule):
    """A program that is traced once more: what is recorded keeps its place in the model, and is found by its old name."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program, check=False)
        object.__setattr__(self, "_nodes", {})

    def _run(self, module: GraphModule, values: list[Any]) -> Any:
        recording = get_proxy_mode()
        return Placed(module, recording, self._nodes).run(*values, enable_io_processing=False)

    def renamed(self, traced: Any) -> list[ModuleCallEntry]:
        """The program's calls, by the names of the nodes that stand there now."""
        taken = {n.name for n in traced.graph.nodes}

        def one(arg: ArgumentSpec) -> ArgumentSpec:
            if not isinstance(arg, TensorArgument):
                return arg
            node = self._nodes.get(arg.name)
            if node is not None:
                return TensorArgument(traced.replaced.get(node, node).name)
            return TensorArgument(arg.name + "_unused" if arg.name in taken else arg.name)

        return [
            ModuleCallEntry(e.fqn, s and ModuleCallSignature([one(x) for x in s.inputs], [one(x) for x in s.outputs],
                                                             s.in_spec, s.out_spec, s.forward_arg_names))
            for e in self._program[0].module_call_graph for s in (e.signature,)
        ]  # fmt: skip


class Placed(Interpreter):
    """Runs a graph while another is recorded, whose nodes are where those were that they come from."""

    meta: dict[str, Any]  # what is said of the place of the node that is running

    def __init__(self, module: GraphModule, recording: Any, nodes: dict[str, Node]) -> None:
        super().__init__(module)
        self.recording, self.nodes = recording, nodes

    def run_node(self, n: Node) -> Any:
        self.meta = {k: n.meta[k] for k in ("nn_module_stack", "stack_trace") if k in n.meta}
        if self.recording is not None:
            self.recording.places = self
        r = super().run_node(n)
        if self.recording is not None and isinstance(r, flambeau.Tensor) and n.op != "output":
            node = self.recording.value(r)
            if isinstance(node, Node):
                self.nodes[n.name] = node
        return r


def to_data(entries: list[ModuleCallEntry], argument: Any, nodes: dict[str, Node]) -> list[dict[str, Any]]:
    """Entries for a file; `argument` writes a node or a constant."""

    def one(arg: ArgumentSpec) -> Any:
        if isinstance(arg, ConstantArgument):
            return argument(arg.value)
        return argument(nodes[arg.name]) if arg.name in nodes else {"as_tensor": {"name": arg.name}}

    def signature(s: ModuleCallSignature | None) -> Any:
        return s and {
            "inputs": [one(x) for x in s.inputs],
            "outputs": [one(x) for x in s.outputs],
            "in_spec": treespec_json.treespec_dumps(s.in_spec),
            "out_spec": treespec_json.treespec_dumps(s.out_spec),
            "forward_arg_names": s.forward_arg_names,
        }

    return [{"fqn": e.fqn, "signature": signature(e.signature)} for e in entries]


def from_data(data: list[dict[str, Any]], read: Any) -> list[ModuleCallEntry]:
    """Entries of a file; `read` gives a node or a constant."""

    def one(x: dict[str, Any]) -> ArgumentSpec:
        (kind, value), *_ = x.items()
        if kind == "as_tensor":
            return TensorArgument(value["name"])
        return _spec(read(x))

    def signature(s: Any) -> ModuleCallSignature | None:
        return s and ModuleCallSignature(
            [one(x) for x in s["inputs"]],
            [one(x) for x in s["outputs"]],
            treespec_json.treespec_loads(s["in_spec"]),
            treespec_json.treespec_loads(s["out_spec"]),
            s.get("forward_arg_names"),
        )

    return [ModuleCallEntry(e["fqn"], signature(e["signature"])) for e in data]


def place_to_data(n: Node) -> dict[str, str]:
    """Where a node is in the model and in its source, for a file."""
    stack = n.meta.get("nn_module_stack")
    place = (
        {"nn_module_stack": ";".join(f"{key},{path},{kind}" for key, (path, kind) in stack.items())} if stack else {}
    )
    return {**place, **{k: n.meta[k] for k in ("stack_trace",) if n.meta.get(k)}}


def place_from_data(data: dict[str, str]) -> dict[str, Any]:
    """The same of a file."""
    place: dict[str, Any] = {k: data[k] for k in ("stack_trace",) if k in data}
    if data.get("nn_module_stack"):
        entries = [entry.split(",", 2) for entry in data["nn_module_stack"].split(";")]
        if all(len(entry) == 3 for entry in entries):
            place["nn_module_stack"] = {key: (path, kind) for key, path, kind in entries}
    return place

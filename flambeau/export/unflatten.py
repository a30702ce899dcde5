"""An exported program as modules again: each part of the model with the graph of what it does."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable
from typing import Any

import flambeau
from flambeau.export.exported_program import ExportedProgram, ModuleCallSignature
from flambeau.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from flambeau.fx import _pytree as fx_pytree
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule, _assign_attr
from flambeau.fx.node import Node, map_arg, nodes_in
from flambeau.utils import _pytree as pytree

__all__ = ["FlatArgsAdapter", "InterpreterModule", "UnflattenedModule", "unflatten"]


class FlatArgsAdapter:
    """Says how arguments of another structure become those that the program was exported with: override `adapt`."""

    def adapt(self, target_spec: Any, input_spec: Any, input_args: list[Any], metadata: Any = None, obj: Any = None) -> list[Any]:  # fmt: skip
        """The flat arguments of the exported program."""
        raise NotImplementedError

    def get_flat_arg_paths(self) -> list[str]:
        """Names of the flat arguments, for errors."""
        return []


class _GraphOwner(flambeau.nn.Module):
    """A module that runs a graph over its own attributes."""

    graph: Graph
    _ty: str | None = None

    def type_name(self) -> str | None:
        """The class of the part of the model that this stands for."""
        return self._ty

    def finalize(self) -> None:
        """The code of the graph as it is now."""
        for name, spec in self.graph.__dict__.get("_specs", {}).items():
            setattr(self, name, spec)
        self.__dict__["graph_module"] = GraphModule(self, self.graph)
        self.graph.owning_module = self
        self.graph.lint()

    def print_readable(self, print_output: bool = True, include_stride: bool = False, include_device: bool = False, colored: bool = False) -> str:  # fmt: skip
        """The code as a class, and that of the parts."""
        text = self._readable(include_stride, include_device, False)
        if print_output:
            print(text)
        return text

    def _readable(self, stride: bool, device: bool, expanded: bool) -> str:
        from flambeau.fx.graph_module import readable

        return readable(
            self,
            type(self).__name__ if isinstance(self, UnflattenedModule) else self._get_name(),
            stride,
            device,
            expanded,
        )


class InterpreterModule(_GraphOwner):
    """A part of the model; what it takes is what its graph takes, in order."""

    def __init__(self, graph: Graph, ty: str | None = None) -> None:
        super().__init__()
        self.graph, self._ty = graph, ty
        self._run_with_interpreter = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.graph_module).forward(self, *args, **kwargs)


class _Call:
    """A call of a part: the nodes and calls within, in order."""

    def __init__(self, key: str, path: str, kind: str | None) -> None:
        self.key, self.path, self.kind = key, path, kind
        self.items: list[Node | _Call] = []

    def nodes(self) -> Iterable[Node]:
        for x in self.items:
            if isinstance(x, _Call):
                yield from x.nodes()
            else:
                yield x


def _calls(graph: Graph) -> _Call:
    """The nodes of a graph by the calls that they belong to."""
    root = _Call("", "", None)
    opened = [root]
    for n in graph.nodes:
        if n.op in ("placeholder", "output"):
            continue
        stack = n.meta.get("nn_module_stack")
        if stack is None:
            opened[-1].items.append(n)
            continue
        entries = [(key.removeprefix("L__self__"), *entry) for key, entry in stack.items() if entry[0]]
        root.kind = root.kind or next((kind for _, (path, kind) in stack.items() if not path), None)
        depth = 0
        while depth < len(entries) and depth + 1 < len(opened) and opened[depth + 1].key == entries[depth][0]:
            depth += 1
        del opened[depth + 1 :]
        for key, path, kind in entries[depth:]:
            opened[-1].items.append(_Call(key, path, kind))
            opened.append(opened[-1].items[-1])  # type: ignore[arg-type]
        opened[-1].items.append(n)
    return root


class UnflattenedModule(_GraphOwner):
    """What `unflatten` gives: the parts of the model under their old names."""

    def __init__(self, export_module: ExportedProgram, flat_args_adapter: FlatArgsAdapter | None = None) -> None:
        super().__init__()
        self._program = [export_module]
        self.flat_args_adapter = flat_args_adapter
        self.graph_signature = export_module.graph_signature
        self.range_constraints = export_module.range_constraints
        self.check_input_constraints, self.adapted = True, False
        flat = export_module.graph
        inputs = [n for n in flat.nodes if n.op == "placeholder"]
        self._state = {
            n: str(s.target)
            for n, s in zip(inputs, self.graph_signature.input_specs, strict=True)
            if s.kind is not InputKind.USER_INPUT
        }
        self._own()
        whole = _calls(flat)
        self._ty = whole.kind
        output = next(n for n in reversed(list(flat.nodes)) if n.op == "output")
        builder = _Builder(self._state, self)
        self.graph = builder.root(whole, [n for n in inputs if n not in self._state], self._writes(output, inputs))
        builder.hand(self)
        self._in_order()
        for m in self.modules():
            if isinstance(m, InterpreterModule):
                m.finalize()
        self.finalize()

    def _in_order(self) -> None:
        """The parts in the model's order."""
        root = self._program[0]._root
        if root is None:
            return
        order = {name: i for i, (name, _) in enumerate(root.named_modules(remove_duplicate=False))}
        for path, m in list(self.named_modules()):
            where = {k: order.get(f"{path}.{k}" if path else k, len(order)) for k in m._modules}
            m._modules = {k: m._modules[k] for k in sorted(m._modules, key=where.__getitem__)}

    def _own(self) -> None:
        """Parameters, buffers and constants of its own, equal to the program's; what was one tensor is one tensor."""
        program, made = self._program[0], dict[int, Any]()
        kinds = {str(s.target): s for s in self.graph_signature.input_specs if s.kind is not InputKind.USER_INPUT}
        for name, t in (*program._state.items(), *program._constants.items()):
            if id(t) not in made:
                copied = t.detach().clone()
                made[id(t)] = flambeau.nn.Parameter(copied, t.requires_grad) if isinstance(t, flambeau.nn.Parameter) else copied  # fmt: skip
            spec = kinds.get(name)
            _assign_attr(made[id(t)], self, name)
            if spec is not None and spec.kind is InputKind.BUFFER and not spec.persistent:
                *path, last = name.split(".")
                self.get_submodule(".".join(path))._non_persistent_buffers_set.add(last)

    def _writes(self, output: Node, inputs: list[Node]) -> list[tuple[Any, Node | None]]:
        """(what is given, and into what it is written first) of each result."""
        at = {n.name: n for n in inputs}
        of_state = {target: n for n, target in self._state.items()}
        found: list[tuple[Any, Node | None]] = []
        for value, spec in zip(output.args[0], self.graph_signature.output_specs, strict=True):  # type: ignore[arg-type]
            into = None
            if spec.kind in (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION):
                into = of_state[str(spec.target)]
            elif spec.kind is OutputKind.USER_INPUT_MUTATION:
                into = at[str(spec.target)]
            found.append((value, into))
        return found

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        flat = self.process_forward_inputs(*args, **kwargs)
        results = type(self.graph_module).forward(self, *flat)
        return pytree.tree_unflatten(list(results), self._program[0].call_spec.out_spec)

    def process_forward_inputs(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The arguments in the order of the graph's inputs."""
        program = self._program[0]
        leaves, spec = pytree.tree_flatten((args, kwargs))
        wanted = program.call_spec.in_spec
        if spec != wanted:
            ordered = {k: kwargs[k] for k in program.example_inputs[1] if k in kwargs}
            leaves, spec = pytree.tree_flatten((args, ordered))
        if spec != wanted:
            if not self.adapted:
                print(f"Input treespec does not match with exported module's: \nInput treespec: {spec}. ", f"Exported module treespec: {wanted}")  # fmt: skip
                print("Adapting flat arg to match exported module's treespec")
            if self.flat_args_adapter is None:
                raise TypeError("There is no flat args adapter specified. Are you sure you are calling this with the right arguments? ")  # fmt: skip
            leaves = self.flat_args_adapter.adapt(wanted, spec, leaves, {}, args)
            if len(leaves) != wanted.num_leaves:
                raise TypeError(f"Flat args adaption failed, number of args mismatch Adapted: {len(leaves)} \nExported module: {wanted.num_leaves}")  # fmt: skip
            self.adapted = True
        if self.check_input_constraints:
            _check(program, args, kwargs, leaves)
        return leaves


def _check(program: ExportedProgram, args: Any, kwargs: Any, leaves: list[Any]) -> None:
    """Raise where sizes are not those that the program holds for."""
    paths = [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path((args, kwargs))[0]]
    first: dict[str, int] = {}
    for i, (path, x, example) in enumerate(
        zip(paths, leaves, pytree.tree_leaves(program.example_inputs), strict=False)
    ):
        at = "*args" + path.removeprefix("[0]") if path.startswith("[0]") else "**kwargs" + path.removeprefix("[1]")
        if not isinstance(example, flambeau.Tensor):
            continue
        if not isinstance(x, flambeau.Tensor):
            raise RuntimeError(f"Expected input at {at} to be a tensor, but got {type(x)}")
        if x.ndim != example.ndim:
            raise RuntimeError(f"Unexpected number of dimensions in input at {at}.shape (expected {example.shape}, got {x.shape})")  # fmt: skip
        for d, (n, m) in enumerate(zip(x.shape, example.shape, strict=True)):
            s, where = program._dynamic.get((i, d)), f"Expected input at {at}.shape[{d}] to be"
            if s is None:
                if n != m:
                    raise RuntimeError(f"{where} equal to {m}, but got {n}. If you meant for this dimension to be dynamic, please re-export and specify dynamic_shapes (e.g. with Dim.DYNAMIC)")  # fmt: skip
                continue
            size = s.root_of(n)
            if size is None or first.setdefault(s.symbol.name, size) != size:
                raise RuntimeError(f"{where} equal to {s.of(first.get(s.symbol.name, s.symbol.hint))}, but got {n}")
            if size > s.symbol.high:
                raise RuntimeError(f"{where} <= {s.of(s.symbol.high)}, but got {n}")
            if size < s.symbol.low and s.symbol.low > 2:
                raise RuntimeError(f"{where} >= {s.of(s.symbol.low)}, but got {n}")


class _Builder:
    """Makes the graphs of calls."""

    def __init__(self, state: dict[Node, str], root: Any) -> None:
        self.state, self.whole = state, root
        self.made: dict[str, list[InterpreterModule]] = {}
        self.graphs = root._program[0].graph_module._modules
        entries = root._program[0].module_call_graph
        self.signatures = {e.fqn: e.signature for e in entries if e.fqn and e.signature is not None}

    def root(self, call: _Call, inputs: list[Node], results: list[tuple[Any, Node | None]]) -> Graph:
        graph = Graph()
        env = {n: _input(graph, n) for n in inputs}
        wanted = [v for v, _ in results if isinstance(v, Node)]
        self.fill(graph, call, env, wanted, "")
        for value, into in results:
            if into is not None and isinstance(value, Node):
                target = env[into] if into in env else self.read(graph, into, "", env)
                env[value] = graph.call_function(flambeau.ops.aten.copy_.default, (target, env[value]))
                env[value].meta.update(value.meta)
        for value, _ in results:
            if isinstance(value, Node) and value in self.state:
                self.read(graph, value, "", env)
        graph.output(tuple(env[v] if isinstance(v, Node) else v for v, into in results if into is None))
        return graph

    def hand(self, owner: Any) -> None:
        """Graphs that a graph hands on, to `cond`, belong to its module."""
        for n in owner.graph.nodes:
            if n.op == "get_attr" and isinstance(self.graphs.get(str(n.target)), GraphModule):
                owner.add_module(str(n.target), self.graphs[str(n.target)])

    def read(self, graph: Graph, n: Node, path: str, env: dict[Node, Node]) -> Node:
        """A node that reads a parameter or buffer, at the beginning of the graph."""
        if n not in env:
            target = self.state[n].removeprefix(path + ".") if path else self.state[n]
            before = ("placeholder", "get_attr") if path else ("placeholder",)
            specs = graph.__dict__.get("_specs", {})
            last = [m for m in graph.nodes if m.op in before and m.target not in specs]
            with (
                graph.inserting_after(last[-1])
                if last
                else graph.inserting_before(next(iter(graph.nodes), graph._root))
            ):
                env[n] = graph.get_attr(target)
            env[n].meta.update(n.meta)
        return env[n]

    def fill(self, graph: Graph, call: _Call, env: dict[Node, Node], wanted: list[Node], path: str) -> None:
        """The nodes of a call; calls within become modules."""
        for x in call.items:
            if isinstance(x, _Call):
                self.module(graph, x, env, wanted, path, call)
                continue
            for used in nodes_in((x.args, x.kwargs)):
                if used in self.state:
                    self.read(graph, used, path, env)
            env[x] = graph.node_copy(x, lambda n: env[n])

    def module(
        self, graph: Graph, call: _Call, env: dict[Node, Node], wanted: list[Node], path: str, outer: _Call
    ) -> None:
        inside = list(call.nodes())
        within = set(inside)
        given: dict[Node, None] = {}
        for n in inside:
            for used in nodes_in((n.args, n.kwargs)):
                own = used in self.state and self.state[used].startswith(call.path + ".")
                if used not in within and not own:
                    given[used] = None
        results = [n for n in inside if n in wanted or any(u not in within for u in n.users)]
        signature = self.signatures.get(call.key)
        if signature is not None:
            self.preserved(graph, call, env, list(given), signature, path)
            return
        inner = Graph()
        here = {n: _input(inner, n) for n in given}
        self.fill(inner, call, here, results, call.path)
        inner.output(here[results[0]] if len(results) == 1 else [here[n] for n in results])
        part = InterpreterModule(inner, call.kind)
        self.hand(part)
        name = self.place(call, part, path)
        for n in given:
            if n in self.state:
                self.read(graph, n, path, env)
        node = graph.call_module(name, tuple(env[n] for n in given))
        facts = ("val", "shape", "stride", "offset", "size")  # not where it was called: that is said inside
        if len(results) == 1:
            env[results[0]] = node
            node.meta.update({k: v for k, v in results[0].meta.items() if k in facts})
            return
        node.meta["val"] = [n.meta.get("val") for n in results]
        for i, n in enumerate(results):
            env[n] = graph.call_function(operator.getitem, (node, i))
            env[n].meta.update({k: v for k, v in n.meta.items() if k in facts})

    def preserved(
        self,
        graph: Graph,
        call: _Call,
        env: dict[Node, Node],
        given: list[Node],
        signature: ModuleCallSignature,
        path: str,
    ) -> None:
        """A part that is called as the model calls it: its arguments and results are put together and taken apart around the call."""
        known = {n.name: n for n in (*self.state, *env, *call.nodes())}
        inputs = [known.get(a.name) if isinstance(a, TensorArgument) else None for a in signature.inputs]
        outputs = [known.get(a.name) if isinstance(a, TensorArgument) else None for a in signature.outputs]
        inner, here = Graph(), dict[Node, Node]()
        args_spec, kwargs_spec = signature.in_spec.children_specs
        taken = [inner.placeholder(f"_positional_arg_{i}") for i in range(args_spec.num_children)]
        named = {str(k): inner.placeholder(str(k)) for k in kwargs_spec.context}
        parts = inner.call_function(
            fx_pytree.tree_flatten_spec, ((tuple(taken), named), _spec(inner, signature.in_spec))
        )
        for i, n in enumerate(inputs):
            part = inner.call_function(operator.getitem, (parts, i), name=n.name if n is not None else f"_constant_{i}")
            if n is not None:
                here[n] = part
                part.meta.update(n.meta)
        foreign: dict[str, str] = {}  # what the part takes of the model that is not its own
        returned = [n for n in outputs if n in self.state and n not in here]
        for n in (*given, *returned):
            if n in here or (n in returned and self.state[n].startswith(call.path + ".")):
                continue
            if n not in self.state:
                raise NotImplementedError(
                    f"unflatten with the signature of {call.path} preserved, which takes {n.name} otherwise than as an argument"
                )
            foreign[f"_{n.name}"] = self.state[n]
            here[n] = _attribute(inner, f"_{n.name}")
        self.fill(inner, call, here, [n for n in outputs if n is not None], call.path)
        for n in returned:
            self.read(inner, n, call.path, here)
        values = [
            a.value if isinstance(a, ConstantArgument) else here.get(n) if n is not None else None
            for a, n in zip(signature.outputs, outputs, strict=True)
        ]
        inner.output(inner.call_function(pytree.tree_unflatten, (tuple(values), _spec(inner, signature.out_spec))))
        part = InterpreterModule(inner, call.kind)
        for attribute, target in foreign.items():
            setattr(part, attribute, self.whole_tensor(target))
        self.hand(part)
        name = self.place(call, part, path)
        for n in inputs:
            if n in self.state:
                self.read(graph, n, path, env)
        flat = [
            a.value if isinstance(a, ConstantArgument) else env[n] if n is not None else None
            for a, n in zip(signature.inputs, inputs, strict=True)
        ]
        whole = graph.call_function(pytree.tree_unflatten, (flat, _spec(graph, signature.in_spec)))
        args, kwargs = (graph.call_function(operator.getitem, (whole, i)) for i in (0, 1))
        given_args = tuple(graph.call_function(operator.getitem, (args, i)) for i in range(len(taken)))
        given_kwargs = {k: graph.call_function(operator.getitem, (kwargs, k)) for k in named}
        made = graph.call_module(name, given_args, given_kwargs)
        results = graph.call_function(fx_pytree.tree_flatten_spec, (made, _spec(graph, signature.out_spec)))
        for i, n in enumerate(outputs):
            if n is not None:
                env[n] = graph.call_function(operator.getitem, (results, i))
                env[n].meta.update(
                    {k: v for k, v in n.meta.items() if k in ("val", "shape", "stride", "offset", "size")}
                )

    def whole_tensor(self, target: str) -> Any:
        """A parameter, buffer or constant of the whole."""
        value = self.whole
        for name in target.split("."):
            value = getattr(value, name)
        return value

    def place(self, call: _Call, module: InterpreterModule, path: str) -> str:
        """Put a part where the model has it; a part that is called again does so by the graph it has, or is there once more."""
        relative = call.path.removeprefix(path + ".") if path else call.path
        known = self.made.setdefault(call.path, [])
        for k, m in enumerate(known):
            if _same(m.graph, module.graph):
                return relative + (f"@{k}" if k else "")
        name = relative + (f"@{len(known)}" if known else "")
        full = call.path + (f"@{len(known)}" if known else "")
        known.append(module)
        *prefix, last = full.split(".")
        owner: Any = self.whole
        for part in prefix:
            if part not in owner._modules:
                owner.add_module(part, flambeau.nn.Module())
            owner = owner._modules[part]
        old = owner._modules.get(last)
        original = old if old is not None else self.whole.get_submodule(call.path) if known[:-1] else None
        if original is not None:  # what was put there before: parameters, buffers, parts
            for box in ("_parameters", "_buffers", "_modules"):
                getattr(module, box).update(
                    {k: v for k, v in getattr(original, box).items() if k not in getattr(module, box)}
                )
            module._non_persistent_buffers_set.update(original._non_persistent_buffers_set)
        owner._modules[last] = module
        return name


def _spec(graph: Graph, spec: pytree.TreeSpec) -> Node:
    """A node that reads a structure, which the graph's module holds."""
    specs = graph.__dict__.setdefault("_specs", {})
    name = f"_spec_{len(specs)}"
    specs[name] = spec
    return _attribute(graph, name)


def _attribute(graph: Graph, name: str) -> Node:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module comes later
        return graph.get_attr(name)


def _input(graph: Graph, n: Node) -> Node:
    made = graph.placeholder(n.name)
    made.meta.update(n.meta)
    return made


def _same(a: Graph, b: Graph) -> bool:
    """Whether two graphs do the same."""
    mapped: dict[Node, Node] = {}
    one, other = list(a.nodes), list(b.nodes)
    if len(one) != len(other):
        return False
    for x, y in zip(one, other, strict=True):
        if x.op != y.op or (x.op != "placeholder" and x.target != y.target):
            return False
        mapped[x] = y
        if map_arg((x.args, x.kwargs), lambda n: mapped[n]) != (y.args, y.kwargs) and x.op != "placeholder":
            return False
    return True


def unflatten(module: ExportedProgram, flat_args_adapter: FlatArgsAdapter | None = None) -> UnflattenedModule:
    """The program as modules: parts of the model under the names that they had, each with the graph of what it did.

    Args:
        module: what `export` gave.
        flat_args_adapter: for arguments of another structure.

    >>> import flambeau as torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    >>> again = torch.export.unflatten(torch.export.export(net, (torch.ones(1, 2),)))
    >>> [name for name, _ in again.named_children()]
    ['0', '1']
    """
    return UnflattenedModule(module, flat_args_adapter)

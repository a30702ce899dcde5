"""An exported model: its graph, what the graph's inputs are, and the tensors that belong to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flambeau
from flambeau.export.graph_signature import ArgumentSpec, ExportGraphSignature, InputKind, OutputKind
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.utils import _pytree as pytree


@dataclass
class CallSpec:
    """The structure of the arguments, and of the result."""

    in_spec: Any
    out_spec: Any


@dataclass
class ModuleCallSignature:
    """What a call of a part of the model takes and gives, and the structure of both."""

    inputs: list[ArgumentSpec]
    outputs: list[ArgumentSpec]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec
    forward_arg_names: list[str] | None = None

    def replace_all_uses_with(self, original_node: Any, new_node: Any) -> None:
        """Names another node wherever the first is named."""
        for arg in (*self.inputs, *self.outputs):
            if arg.name == original_node.name:
                arg.name = new_node.name


@dataclass
class ModuleCallEntry:
    """A part of the model by its path (`@1` for its second call), and its signature if that was to be preserved."""

    fqn: str
    signature: ModuleCallSignature | None = None


class ExportedProgram:
    """What `torch.export.export` answers. It is not called itself: `module()` makes a module of it."""

    def __init__(self, root: Any, graph_module: GraphModule, signature: ExportGraphSignature, state: dict[str, Any], bounds: dict[str, Any],
                 call: CallSpec, example: Any, constants: dict[str, Any], dynamic: Any) -> None:  # fmt: skip
        self._root, self._graph_module, self._graph_signature = root, graph_module, signature
        self._state, self._range_constraints, self._call_spec = state, bounds, call
        self._example_inputs, self._constants, self._dynamic = example, constants, dynamic
        self._dialect = "TRAINING"
        self._module_call_graph: list[ModuleCallEntry] = []
        self._report: Any = None  # of `draft_export`

    @property
    def graph_module(self) -> GraphModule:
        """The graph as a module of flat inputs."""
        return self._graph_module

    @property
    def graph(self) -> Graph:
        """The graph; its placeholders are described by `graph_signature`."""
        return self._graph_module.graph

    @property
    def graph_signature(self) -> ExportGraphSignature:
        """What inputs and outputs stand for."""
        return self._graph_signature

    @property
    def state_dict(self) -> dict[str, Any]:
        """Parameters and persistent buffers by name."""
        left_out = self._graph_signature.non_persistent_buffers
        return {k: v for k, v in self._state.items() if k not in left_out}

    @property
    def constants(self) -> dict[str, Any]:
        """Tensors that are neither, by name."""
        left_out = self._graph_signature.non_persistent_buffers
        return {**self._constants, **{k: v for k, v in self._state.items() if k in left_out}}

    @property
    def tensor_constants(self) -> dict[str, Any]:
        """The same."""
        return self.constants

    @property
    def range_constraints(self) -> dict[str, Any]:
        """Bounds of dynamic sizes."""
        return self._range_constraints

    @property
    def call_spec(self) -> CallSpec:
        """The structure of arguments and result."""
        return self._call_spec

    @property
    def module_call_graph(self) -> list[ModuleCallEntry]:
        """The model itself, then its parts; signatures are those of `preserve_module_call_signature`."""
        return self._module_call_graph

    @property
    def example_inputs(self) -> Any:
        """The arguments of the traced call: (args, kwargs)."""
        return self._example_inputs

    @property
    def dialect(self) -> str:
        """TRAINING: composite operators and writes in place are kept. ATEN: neither is there."""
        return self._dialect

    def parameters(self) -> Any:
        """Parameters, in order."""
        return (p for _, p in self.named_parameters())

    def named_parameters(self) -> Any:
        """Parameters with their names."""
        return ((name, self._state[name]) for name in self._graph_signature.parameters)

    def buffers(self) -> Any:
        """Buffers, in order."""
        return (b for _, b in self.named_buffers())

    def named_buffers(self) -> Any:
        """Buffers with their names."""
        return ((name, self._state[name]) for name in self._graph_signature.buffers)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Unable to call ExportedProgram directly. You should use `exported_program.module()` instead."
        )

    def module(self, check_guards: bool = True) -> Any:
        """A module with the graph as its forward, called like the exported one."""
        return ProgramModule(self, check_guards)

    def run_decompositions(self, decomp_table: dict[Any, Callable[..., Any]] | None = None) -> ExportedProgram:
        """The program in fewer kinds of operators, and without writes: what the model writes to becomes further outputs.

        Args:
            decomp_table: overload -> a function of tensors that stands for it; `default_decompositions()` if None, which leaves core ATen
                alone. With an empty table composite operators alone are taken apart.

        Raises:
            NotImplementedError: the model writes into a view of a tensor.

        >>> import flambeau as torch
        >>> program = torch.export.export(torch.nn.SiLU(), (torch.ones(2),)).run_decompositions()
        >>> [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        ['aten.sigmoid.default', 'aten.mul.Tensor']
        """
        from flambeau._decomp import core_aten_decompositions
        from flambeau.export._trace import decomposed

        return decomposed(self, core_aten_decompositions() if decomp_table is None else dict(decomp_table))

    def __str__(self) -> str:
        code = self.graph_module.print_readable(print_output=False).replace("\n", "\n    ")
        return (
            f"ExportedProgram:\n    {code}\nGraph signature: "
            + str(self.graph_signature).replace("\n", "\n    ")
            + f"\nRange constraints: {self.range_constraints}\n"
        )


_MUTATIONS = (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION, OutputKind.USER_INPUT_MUTATION)


class ProgramModule(flambeau.nn.Module):
    """An exported graph as a module: parameters and buffers under their old names."""

    def __init__(self, program: ExportedProgram, check: bool) -> None:
        super().__init__()
        signature = program.graph_signature
        for s in signature.input_specs:
            if s.kind is InputKind.USER_INPUT:
                continue
            *path, name = str(s.target).split(".")
            owner: Any = self
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, flambeau.nn.Module())
                owner = owner._modules[part]
            if s.kind is InputKind.PARAMETER:
                owner.register_parameter(name, program._state[str(s.target)])
            elif s.kind is InputKind.BUFFER:
                owner.register_buffer(name, program._state[str(s.target)], persistent=bool(s.persistent))
            else:
                setattr(owner, name, program._constants[str(s.target)])
        self._program, self._check = [program], check

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        program = self._program[0]
        leaves = _leaves(program, args, kwargs)
        if self._check:
            _check(program, leaves)
        user = iter(leaves)
        values = []
        for s in program.graph_signature.input_specs:
            values.append(next(user) if s.kind is InputKind.USER_INPUT else self._tensor(str(s.target)))
        results = list(self._run(program.graph_module, values))
        specs = program.graph_signature.output_specs
        while specs and results and specs[0].kind in _MUTATIONS:
            spec, specs, value = specs[0], specs[1:], results.pop(0)
            if spec.kind is OutputKind.USER_INPUT_MUTATION:
                names = [s.arg.name for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
                leaves[names.index(str(spec.target))].copy_(value)
            else:
                with flambeau.no_grad():
                    self._tensor(str(spec.target)).copy_(value)
        return pytree.tree_unflatten(results, program.call_spec.out_spec)

    def _run(self, module: GraphModule, values: list[Any]) -> Any:
        return module(*values)

    def _tensor(self, target: str) -> Any:
        value: Any = self
        for part in target.split("."):
            value = getattr(value, part)
        return value

    @property
    def graph(self) -> Graph:
        """The graph, as the program has it."""
        return self._program[0].graph

    @property
    def code(self) -> str:
        """The graph as Python."""
        return self._program[0].graph_module.code

    def train(self, mode: bool = True) -> Any:
        """Refused: what the module does was fixed when it was exported."""
        raise NotImplementedError("Calling train() is not supported yet.")

    def eval(self) -> Any:
        """Refused: what the module does was fixed when it was exported."""
        raise NotImplementedError("Calling eval() is not supported yet.")


def _leaves(program: ExportedProgram, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Arguments in the order of the graph's inputs."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    if spec != program.call_spec.in_spec:
        example_args, example_kwargs = program.example_inputs
        ordered = {k: kwargs[k] for k in example_kwargs if k in kwargs}
        leaves, spec = pytree.tree_flatten((args, ordered))
        if spec != program.call_spec.in_spec or len(ordered) != len(kwargs):
            if set(kwargs) != set(example_kwargs):
                raise ValueError(
                    f"Ran into a kwarg keyword mismatch: Got the following keywords {list(kwargs)} but expected {list(example_kwargs)}"
                )
            raise ValueError(
                f"Trying to flatten user inputs with exported input tree spec: \n{program.call_spec.in_spec}\nbut actually got "
                f"inputs with tree spec of: \n{spec}"
            )
    return leaves


def check(program: ExportedProgram, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises AssertionError or ValueError if the program does not hold for these arguments."""
    _check(program, _leaves(program, args, kwargs))


def _check(program: ExportedProgram, leaves: list[Any]) -> None:
    """Inputs must be what the graph holds for."""
    examples = pytree.tree_leaves(program.example_inputs)
    names = [s.arg.name for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    first: dict[str, tuple[str, int]] = {}  # where each size was read, and what it was
    for i, (name, x, example) in enumerate(zip(names, leaves, examples, strict=True)):
        if not isinstance(example, flambeau.Tensor):
            if type(x) is not type(example) or x != example:
                raise AssertionError(f"Guard failed: {name} == {example!r}")
            continue
        if not isinstance(x, flambeau.Tensor) or x.ndim != example.ndim or x.dtype != example.dtype:
            raise AssertionError(
                f"Guard failed: input {i} must be a tensor of {example.ndim} dimensions and dtype {example.dtype}"
            )
        for d, (n, m) in enumerate(zip(x.shape, example.shape, strict=True)):
            read, s = f"{name}.size()[{d}]", program._dynamic.get((i, d))
            if s is None:
                holds, guard = n == m, f"{read} == {m}"
            elif s.symbol.name in first:
                other, size = first[s.symbol.name]
                holds = n == s.of(size)
                guard = f"{read} == {s.name.replace(s.symbol.name, other)}"
            elif n > s.of(s.symbol.high):
                holds, guard = False, f"{read} <= {s.of(s.symbol.high)}"
            else:
                size = s.root_of(n)
                holds, guard = n >= s.of(s.symbol.low), f"{read} >= {s.of(s.symbol.low)}"
                if holds and size is None:
                    holds, guard = False, f"{read} == {s.name}"
                first[s.symbol.name] = (read if s.symbol is s else f"({read} as {s.name})", size or 0)
            if not holds:
                raise AssertionError(f"Guard failed: {guard}")

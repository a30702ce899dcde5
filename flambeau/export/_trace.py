"""`export`: a module's operators as a graph whose inputs are its parameters, its buffers and what a caller gives."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from typing import Any

import numpy as np

import flambeau
from flambeau._decomp.core import CORE
from flambeau._dynamo.exc import UserError
from flambeau._eager import bodies, call
from flambeau._operators import overloads
from flambeau._operators.op import REGISTRY, Op
from flambeau._ops import written
from flambeau.export import dynamic_shapes as shapes
from flambeau.export._calls import Placed, Replay, Signatures
from flambeau.export._places import Places
from flambeau.export.exported_program import CallSpec, ExportedProgram, ModuleCallEntry, ModuleCallSignature
from flambeau.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from flambeau.fx.experimental.proxy_tensor import Recording
from flambeau.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node, map_arg
from flambeau.utils import _pytree as pytree


class Composites(Recording):
    """Records calls as they are made: what is made of other operators stays one node, if PyTorch has an operator of that name.

    Nodes know where in the model they were called.
    """

    places: Places | None = None
    functional = False

    def inner(self) -> Composites:
        made = type(self)(self.table)
        made.places = self.places
        return made

    def refusal(self, what: str) -> Exception:
        return GuardOnDataDependentSymNode(
            f"Could not guard on data-dependent expression: {what} reads elements of a tensor that differs from call to call. Keep what "
            "follows in tensors, as torch.where does."
        )

    def called(self, op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
        if op.aten == "split" and not isinstance(values[1], int):
            op = REGISTRY["split_with_sizes"]  # as `Tensor.split` of PyTorch hands lists on
        if op.kind == "composite" and not self.running and out is None:
            # PyTorch switches cuDNN off while it exports, which shows in the graph
            off = [p.name == "cudnn_enabled" for p in op.params]
            return self.record(op, tuple(False if o else v for o, v in zip(off, values, strict=True)) if any(off) else values, into)  # fmt: skip
        return super().called(op, values, out, into)

    def results(self, node: Node, r: Any) -> None:
        super().results(node, r)
        if self.places is not None:
            place = self.places.meta
            while node.op != "root":  # the elements of a tuple, too
                node.meta.update(place)
                node = node.next


class Functional(Recording):
    """Records operators taken apart by a table, without writes in place: a written tensor is from then on the result of an operator."""

    places: Places | Placed | None = None
    functional = True

    def results(self, node: Node, r: Any) -> None:
        super().results(node, r)
        place = self.places.meta if self.places is not None else {}
        while place and node.op != "root":
            node.meta.update(place)
            node = node.next

    def called(self, op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
        if not self.running and out is None and not into:
            overload = overloads.chosen(op, values)
            if overload in CORE and written(overload) not in self.table:
                return self.record(op, values, False)
            if op.seen_as is not None and op not in self.apart:
                self.apart.append(op)
                try:
                    return bodies.call_body(op, op.seen_as, (), values)
                finally:
                    self.apart.pop()
        return super().called(op, values, out, into)

    def record(self, op: Op, values: tuple[Any, ...], into: bool) -> Any:
        if op.aten == "view" and not isinstance(values[1], flambeau.dtype) and _scattered(values[0], values[1]):
            # What was in order in the model need not be so when operators before it were taken apart.
            values = (values[0].clone(memory_format=flambeau.contiguous_format), *values[1:])
        if not into:
            return super().record(op, values, into)
        target = values[op.receiver_at]
        for other in self.kept:
            if other is not target._a and np.may_share_memory(other, target._a):
                raise NotImplementedError(
                    f"ExportedProgram.run_decompositions of a model that writes into a view ({op.aten}_)"
                )
        node, _ = self.ran(op, values, lambda: call.general(op, values, None, True))
        self.note(target, node)
        return target


def _scattered(t: Any, shape: Any) -> bool:
    """Whether a tensor's strides allow no view of a shape."""
    from flambeau._operators.view import elements, infer, sizes, view_strides

    return not t.is_contiguous() and view_strides(t.shape, elements(t._a), infer(sizes(shape), t.numel())) is None


_SEE = "For more information about this error, see: https://pytorch.org/docs/main/generated/exportdb/index.html#dynamic-shapes-validation"


def export(
    mod: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    strict: bool = False,
    preserve_module_call_signature: tuple[str, ...] = (),
    prefer_deferred_runtime_asserts_over_guards: bool = False,
    _recording: Any = None,
) -> ExportedProgram:
    """A graph of all operators that a module's call with these arguments reaches.

    Args:
        mod: the module.
        args, kwargs: example arguments.
        dynamic_shapes: for each argument (by position or name) the dimensions that vary: a dict or sequence of `Dim`s, or None.
        strict: no difference here: operators are recorded while the module runs.

    Raises:
        UserError: `args` is no tuple.
        ValueError: `mod` is no module.
        RuntimeError: the graph is another one for other sizes, or a size took a form that is no polynomial of the dynamic ones.

    >>> import flambeau as torch
    >>> program = torch.export.export(torch.nn.Linear(2, 3), (torch.ones(4, 2),))
    >>> [node.name for node in program.graph.nodes]
    ['p_weight', 'p_bias', 'input_1', 'linear', 'output']
    """
    if not isinstance(mod, flambeau.nn.Module):
        raise ValueError(f"Expected `mod` to be an instance of `torch.nn.Module`, got {type(mod)}.")
    if not isinstance(args, tuple):
        raise UserError(f"Expecting `args` to be a tuple of example positional inputs, got {type(args)}")
    kwargs = dict(kwargs or {})
    leaves, in_spec = pytree.tree_flatten((args, kwargs))
    given = _spread(mod, args, kwargs, dynamic_shapes)
    names = _input_names(mod, args, kwargs)
    with _untouched(mod, leaves):
        calls = Signatures(mod, preserve_module_call_signature)
        traced, varying, where = _traced(mod, leaves, in_spec, names, given, _recording or Composites, calls)
    bounds = {s.name: shapes.Bounds(s.low, s.high) for s in varying}
    bounds |= {
        s.name: shapes.Bounds(s.of(s.symbol.low), s.of(s.symbol.high))
        for s in where.values()
        if isinstance(s, shapes.Derived)
    }
    program = traced.program((args, kwargs), bounds, where)
    program._module_call_graph = [
        ModuleCallEntry("", ModuleCallSignature([], [], in_spec, traced.out_spec, _argument_names(mod, args, kwargs))),
        *calls.entries(traced),
    ]
    if isinstance(dynamic_shapes, shapes.AdditionalInputs):
        dynamic_shapes.verify(program)
    return program


@contextmanager
def _untouched(mod: Any, leaves: list[Any]) -> Iterator[None]:
    """Buffers, inputs and the generator are afterwards what they were: exporting a model does not run it, as far as anybody sees."""
    tensors = [t for t in (*mod.buffers(), *leaves) if isinstance(t, flambeau.Tensor) and t.device.type != "meta"]
    before = [(t, t._version, t.detach().clone()) for t in tensors]
    generator = flambeau.get_rng_state()
    try:
        yield
    finally:
        flambeau.set_rng_state(generator)
        with flambeau.no_grad():
            for t, version, old in before:
                if t._version != version:
                    t.copy_(old)


def _traced(mod: Any, leaves: list[Any], in_spec: Any, names: list[str], given: list[Any], make: Any, calls: Signatures) -> tuple[_Trace, list[shapes.Symbol], dict[tuple[int, int], shapes.Symbol]]:  # fmt: skip
    """The model's trace, for all sizes that were said to vary; which they are, and where."""
    # Sizes that have no names may be one and the same, and those of `Dim.AUTO` the example's alone: PyTorch finds that out, too.
    fixed = shapes.without_automatic(given)
    for sizes, tied in ((given, False), (given, True), (fixed, True)):
        varying, where = shapes.symbols(leaves, sizes, tied)
        traced = _Trace(mod, leaves, in_spec, names, make(), calls)
        if not varying:
            break
        try:
            _generalize(traced, mod, leaves, in_spec, names, varying, where, make)
            break
        except RuntimeError as error:
            if sizes is fixed or (
                fixed == given and (tied or len(shapes.symbols(leaves, given, True)[0]) == len(varying))
            ):
                if "Constraints violated" in str(error) or isinstance(error, NotImplementedError):
                    raise
                raise UserError(
                    f'Constraints violated ({", ".join(s.name for s in varying)})! For more information, run with TORCH_LOGS="+dynamic".\n'
                    f"  - With other sizes than the example's, the model fails: {error}"
                ) from error
    return traced, varying, where


class _Trace:
    """One run of the module, recorded; placeholders stand before everything else."""

    def __init__(
        self,
        mod: Any,
        leaves: list[Any],
        in_spec: Any,
        names: list[str],
        recording: Composites | Functional | None = None,
        calls: Signatures | None = None,
    ) -> None:
        self.mod, self.in_spec, self.recording = mod, in_spec, recording or Composites()
        self.inputs: list[InputSpec] = []
        self.constants: dict[str, Any] = {}
        graph = self.graph = self.recording.graph
        self.state: dict[str, Any] = {}
        seen: set[int] = set()
        persistent = mod.state_dict().keys()
        for name, p in mod.named_parameters(remove_duplicate=False):
            self._lift(InputKind.PARAMETER, "p_", name, p, None, seen)
        for name, b in mod.named_buffers(remove_duplicate=False):
            self._lift(InputKind.BUFFER, "b_", name, b, name in persistent, seen)
        for name, t in _plain_tensors(mod):
            if id(t) not in seen:
                self.constants[name] = t
                self._lift(InputKind.CONSTANT_TENSOR, "c_", name, t, None, seen)
        self.given: list[Node] = []
        for name, x in zip(names, leaves, strict=True):
            node = graph.placeholder(name)
            self.given.append(node)
            if isinstance(x, flambeau.Tensor):
                self.recording.note(x, node)
                self.inputs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None))
            else:
                node.meta["val"] = x
                self.inputs.append(InputSpec(InputKind.USER_INPUT, ConstantArgument(node.name, x), None))
        started = dict(self.recording.nodes)
        args, kwargs = pytree.tree_unflatten(leaves, in_spec)
        self.replaced: dict[Node, Node] = {}  # reads of constants by the inputs that they became
        with Places(mod) as places, calls.noted(self.recording) if calls is not None else nullcontext(), self.recording:
            self.recording.places = places
            out = mod(*args, **kwargs)
        results, self.out_spec = pytree.tree_flatten(out)
        self._lift_constants()
        values = tuple(self.recording.value(r) for r in results)
        self.outputs = self._mutations(started) if self.recording.functional else []
        graph.output((*(self.changed[s.arg.name] for s in self.outputs), *values))
        self.outputs += [
            OutputSpec(
                OutputKind.USER_OUTPUT,
                TensorArgument(v.name) if isinstance(v, Node) else ConstantArgument("", v),
                None,
            )
            for v in values
        ]
        graph.eliminate_dead_code(_acts)

    def _mutations(self, started: dict[int, Node]) -> list[OutputSpec]:
        """Inputs that are other values at the end than at the beginning: buffers, parameters, what the caller gave."""
        kinds = {InputKind.BUFFER: OutputKind.BUFFER_MUTATION, InputKind.PARAMETER: OutputKind.PARAMETER_MUTATION,
                 InputKind.USER_INPUT: OutputKind.USER_INPUT_MUTATION}  # fmt: skip
        now = {node: self.recording.nodes[key] for key, node in started.items() if self.recording.nodes.get(key) is not node}  # fmt: skip
        by_name = {node.name: made for node, made in now.items()}
        self.changed = {made.name: made for made in now.values()}
        found = []
        for order in kinds:
            for s in self.inputs:
                made = by_name.get(s.arg.name)
                if made is not None and s.kind is order:
                    found.append(OutputSpec(kinds[order], TensorArgument(made.name), s.target or s.arg.name))
        return found

    def _lift(self, kind: InputKind, prefix: str, name: str, t: Any, persistent: bool | None, seen: set[int]) -> None:
        if kind is not InputKind.CONSTANT_TENSOR:
            self.state[name] = t
        if id(t) in seen:
            return
        seen.add(id(t))
        node = self.graph.placeholder(prefix + name.replace(".", "_"))
        self.recording.note(t, node)
        self.inputs.append(InputSpec(kind, TensorArgument(node.name), name, persistent))

    def _lift_constants(self) -> None:
        """Tensors that came up on the way become inputs, too."""
        last = self.given[0] if self.given else None
        position = sum(s.kind is not InputKind.USER_INPUT for s in self.inputs)
        self.graphs = {k: v for k, v in self.recording.attributes.items() if isinstance(v, GraphModule)}
        for n in [n for n in self.graph.nodes if n.op == "get_attr" and n.target not in self.graphs]:
            name = f"lifted_tensor_{len([c for c in self.constants if c.startswith('lifted_tensor_')])}"
            self.constants[name] = self.recording.attributes[n.target]
            anchor = last or next(iter(self.graph.nodes))
            with self.graph.inserting_before(anchor):
                node = self.graph.placeholder(f"c_{name}")
            node.meta.update(n.meta)
            n.replace_all_uses_with(node)
            self.recording.nodes = {k: node if v is n else v for k, v in self.recording.nodes.items()}
            self.graph.erase_node(n)
            self.replaced[n] = node
            self.inputs.insert(position, InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), name))
            position += 1

    def calls(self) -> list[Node]:
        return [n for n in self.graph.nodes if n.op != "placeholder"]

    def program(self, example: Any, bounds: dict[str, Any], where: Any) -> ExportedProgram:
        module = GraphModule(self.graphs, self.graph, "GraphModule")
        signature = ExportGraphSignature(self.inputs, self.outputs)
        return ExportedProgram(
            self.mod,
            module,
            signature,
            self.state,
            bounds,
            CallSpec(self.in_spec, self.out_spec),
            example,
            self.constants,
            where,
        )


def _acts(n: Node) -> bool:
    """Whether a node must stay though nobody uses its result."""
    if n.op in ("placeholder", "output"):
        return True
    schema = getattr(n.target, "_schema", None)
    return bool(getattr(schema, "is_mutable", False))


def _plain_tensors(mod: Any) -> list[tuple[str, Any]]:
    """Tensors that modules hold as plain attributes, by name."""
    out = []
    for prefix, m in mod.named_modules():
        for name, value in vars(m).items():
            if isinstance(value, flambeau.Tensor):
                out.append((f"{prefix}.{name}" if prefix else name, value))
    return out


def _input_names(mod: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """A name for every leaf of the arguments: the parameter's, and where in it the leaf is."""
    names: list[str] = []
    for base, a in zip(_argument_names(mod, args, kwargs), (*args, *kwargs.values()), strict=True):
        names += [base + _path(path) for path, _ in pytree.tree_flatten_with_path(a)[0]]
    return names


def _argument_names(mod: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """What `forward` calls what it was given; those of `*args` are numbered."""
    parameters = list(inspect.signature(mod.forward).parameters.values())
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [plain[i] if i < len(plain) else f"{rest}_{i - len(plain)}" for i in range(len(args))] + list(kwargs)


def _path(path: Any) -> str:
    return "".join(f"_{getattr(k, 'key', getattr(k, 'idx', getattr(k, 'name', '')))}" for k in path)


def _spread(mod: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: Any) -> list[Any]:
    """What was said of each leaf's dimensions, in the order of the leaves."""
    if isinstance(given, (shapes.ShapesCollection, shapes.AdditionalInputs)):
        given = given.dynamic_shapes(mod, args, kwargs)
    bound = [*args, *kwargs.values()]
    if given is None:
        return [None] * len(pytree.tree_leaves((args, kwargs)))
    if isinstance(given, dict):
        parameters = [*list(inspect.signature(mod.forward).parameters)[: len(args)], *kwargs]
        unknown = set(given) - set(parameters)
        if unknown:
            raise UserError(
                f"When `dynamic_shapes` is specified as a dict, its top-level keys must be the arg names {parameters} of `inputs`, but here "
                f"they are {list(given)}. Alternatively, you could also ignore arg names entirely and specify `dynamic_shapes` as a "
                f"list/tuple matching `inputs`. {_SEE}"
            )
        given = [given.get(name) for name in parameters]
    if len(given) != len(bound):
        raise UserError(
            f"Detected mismatch between the structure of `inputs` and `dynamic_shapes`: `inputs` has {len(bound)} elements, but "
            f"`dynamic_shapes` has {len(given)} elements\n{_SEE}"
        )
    out: list[Any] = []
    for x, spec in zip(bound, given, strict=True):
        _one(x, spec, out)
    return out


def _one(x: Any, spec: Any, out: list[Any]) -> None:
    if isinstance(x, (list, tuple)) and spec is not None:
        for y, s in zip(x, spec, strict=True):
            _one(y, s, out)
    elif isinstance(x, dict) and spec is not None:
        for k, y in x.items():
            _one(y, spec.get(k), out)
    else:
        out += [spec] + [None] * (len(pytree.tree_leaves(x)) - 1)


def decomposed(program: ExportedProgram, table: Any) -> ExportedProgram:
    """The program once more, with operators taken apart by a table and without writes in place."""
    args, kwargs = program.example_inputs
    leaves, in_spec = pytree.tree_flatten((args, kwargs))
    names = [s.arg.name for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    module = Replay(program)
    tensors = [
        t for t in (*program._state.values(), *program._constants.values(), *leaves) if isinstance(t, flambeau.Tensor)
    ]
    before = [t.detach().clone() for t in tensors]
    where = program._dynamic
    varying = list(dict.fromkeys(s.symbol for s in where.values()))
    make = lambda: Functional(table)
    try:
        traced = _Trace(module, leaves, in_spec, names, make())
        calls = module.renamed(traced)
        if varying:
            _generalize(traced, module, leaves, in_spec, names, varying, where, make)
    finally:
        with flambeau.no_grad():
            for t, old in zip(tensors, before, strict=True):
                t.copy_(old)
    made = traced.program(program.example_inputs, program.range_constraints, where)
    made._dialect, made._root, made._module_call_graph = "ATEN", program._root, calls
    return made


def _generalize(traced: _Trace, mod: Any, leaves: list[Any], in_spec: Any, names: list[str], varying: list[shapes.Symbol],
                where: dict[tuple[int, int], shapes.Symbol], recording: Any = Composites) -> None:  # fmt: skip
    """Replace every number of the graph that depends on dynamic sizes by what computes it."""
    points = [{s: s.hint for s in varying}, *shapes.samples(varying)]
    graphs, inputs = [traced.calls()], [traced.given]
    for sizes in points[1:]:
        state = {k: v.detach().clone() for k, v in mod.state_dict().items()}
        generator = flambeau.get_rng_state()
        try:
            other = _Trace(mod, shapes.resized(leaves, where, sizes), in_spec, names, recording())
        finally:
            flambeau.set_rng_state(generator)
            mod.load_state_dict(state)  # running statistics and the like are as the one traced call left them
        graphs.append(other.calls())
        inputs.append(other.given)
    if any(len(g) != len(graphs[0]) for g in graphs):
        raise RuntimeError(
            "Constraints violated: the model takes other operators for other sizes of its dynamic dimensions"
        )
    sizes_of: dict[shapes.Symbol, Node] = {}
    graph = traced.graph
    anchor = graphs[0][0]
    describe = _Described(varying, points)
    for rows in zip(*inputs, strict=True):
        describe(rows)
    for rows in zip(*graphs, strict=True):
        describe(rows)
        if any(r.target != rows[0].target for r in rows):
            raise RuntimeError(
                f"Constraints violated: the model takes other operators for other sizes of its dynamic dimensions ({rows[0].target})"
            )
        if "branches" in rows[0].meta and any(
            a.code != b.code
            for r in rows[1:]
            for a, b in zip(r.meta["branches"], rows[0].meta["branches"], strict=True)
        ):
            raise NotImplementedError("torch.cond in torch.export with branches that depend on dynamic sizes")
        flat = [pytree.tree_flatten((map_arg(list(r.args), lambda n: n), dict(r.kwargs))) for r in rows]
        if any(f[1] != flat[0][1] for f in flat):
            raise RuntimeError(f"Constraints violated: arguments of {rows[0].target} change their form with the sizes")
        changed, values = False, []
        for column in zip(*(f[0] for f in flat), strict=True):
            first = column[0]
            if isinstance(first, Node) or all(type(c) is type(first) and c == first for c in column):
                values.append(first)
                continue
            if not all(isinstance(c, int) for c in column):
                raise RuntimeError(
                    f"Constraints violated: an argument of {rows[0].target} depends on a dynamic size: {column}"
                )
            form = shapes.polynomial(varying, points, column)
            if form is None:
                raise RuntimeError(
                    f"Constraints violated: {rows[0].target} takes {list(column)} for sizes {[list(p.values()) for p in points]} of "
                    f"{[s.name for s in varying]}, which is no polynomial of them"
                )
            values.append(_computed(graph, rows[0], form, sizes_of, traced.given, anchor))
            changed = True
        if changed:
            args, kwargs = pytree.tree_unflatten(values, flat[0][1])
            rows[0].args, rows[0].kwargs = tuple(args), kwargs


class _Described:
    """Notes what the sizes of a node's tensor are in terms of the dynamic ones: `meta["shape"]`, `meta["stride"]`, `meta["offset"]`."""

    def __init__(self, varying: list[shapes.Symbol], points: list[dict[shapes.Symbol, int]]) -> None:
        self.varying, self.points = varying, points
        self.known: dict[tuple[int, ...], Any] = {}

    def __call__(self, rows: tuple[Node, ...]) -> None:
        values = [r.meta.get("val") for r in rows]
        if not all(isinstance(v, flambeau.Tensor) for v in values) or len({v.ndim for v in values}) > 1:
            return
        for name, read in (("shape", lambda v: v.shape), ("stride", lambda v: v.stride())):
            rows[0].meta[name] = tuple(self.size(column) for column in zip(*map(read, values), strict=True))
        rows[0].meta["offset"] = self.size(tuple(v.storage_offset() for v in values))

    def size(self, column: tuple[int, ...]) -> Any:
        """A number where all agree; else what computes it, or the example's where that is no polynomial."""
        if len(set(column)) == 1:
            return column[0]
        if column not in self.known:
            form = shapes.polynomial(self.varying, self.points, column)
            self.known[column] = column[0] if form is None else shapes.Size(form, column[0])
        return self.known[column]


def _computed(
    graph: Graph, before: Node, form: Any, sizes_of: dict[Any, Node], given: list[Node], anchor: Node
) -> Node:
    """Nodes that compute a polynomial of sizes."""

    def size(s: Any) -> Node:
        if s not in sizes_of:
            i, d = s.place
            with graph.inserting_before(anchor):
                read = graph.call_function(flambeau.ops.aten.sym_size.int, (given[i], d))
                form = s.through or s
                read.meta["val"] = form.of(s.hint)
                whole = [(Fraction(form.of(1) - form.of(0)), (s,)), (Fraction(form.of(0)), ())]
                read.meta["size"] = shapes.Size([t for t in whole if t[0]], form.of(s.hint))
                if s.through is not None:  # the size itself is read nowhere
                    if s.through.offset:
                        read = _arithmetic(graph, operator.add, read, -s.through.offset)
                    if s.through.factor != 1:
                        read = _arithmetic(graph, operator.floordiv, read, s.through.factor)
                sizes_of[s] = read
        return sizes_of[s]

    needed = {s for _, m in form for s in m}
    for s in needed:
        size(s)
    common = math.lcm(*(f.denominator for f, _ in form))
    total: Any = None
    with graph.inserting_before(before):
        for f, m in form:
            term: Any = int(f * common)
            for s in m:
                term = size(s) if term == 1 else _arithmetic(graph, operator.mul, size(s), term)
            total = term if total is None else _arithmetic(graph, operator.add, total, term)
        if common != 1:
            total = _arithmetic(graph, operator.floordiv, total, common)
    return total


def _arithmetic(graph: Graph, fn: Any, x: Any, y: Any) -> Node:
    """A node that computes with sizes; what its result is stands in its meta."""
    node = graph.call_function(fn, (x, y))
    hints = [v.meta["val"] if isinstance(v, Node) else v for v in (x, y)]
    a, b = (v.meta["size"].terms if isinstance(v, Node) else [(Fraction(v), ())] for v in (x, y))
    node.meta["val"] = fn(*hints)
    if fn is operator.add:
        terms = [*a, *b]
    else:
        terms = [(f * (g if fn is operator.mul else 1 / g), (*m, *n)) for f, m in a for g, n in b]
    node.meta["size"] = shapes.Size(terms, node.meta["val"])
    return node

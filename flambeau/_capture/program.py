"""What a recorder noted, as an `fx.GraphModule`, and as what the backend made of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from flambeau._backends.meta import MetaArray
from flambeau._capture import backends
from flambeau._capture.breaks import BackendCompilerFailed, Break
from flambeau._capture.recorder import Recorder, Value
from flambeau._capture.refusals import looks
from flambeau._capture.sized import numbered
from flambeau._dynamo import config
from flambeau._eager.graph import AccumulateGrad
from flambeau._eager.modes import STATE
from flambeau._ops import OpOverload
from flambeau._tensor import Tensor, wrap
from flambeau._values.shape import symbolic
from flambeau.fx.codegen import _custom_builtins
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule


class Program:
    """A graph, its inputs in order, and the function that the backend made."""

    def __init__(self, recorder: Recorder, outputs: list[Value], live: bool, lent: tuple[int, ...] = ()) -> None:
        self.live, self.lent = live, lent  # results whose memory the caller gives, where the program takes it
        lines = _needed(recorder.lines, outputs)
        self.count = sum(v.kind in ("call", "method") for v in lines)
        used = {id(a) for v in lines for a in operands(v)} | {id(v) for v in outputs}
        self.inputs = [(s, v, x) for s, v, x in recorder.inputs if id(v) in used]
        atoms = self._atoms(lines) if recorder.tracer.symbols is not None else None
        self.lines, self.outputs, self.atoms = lines, outputs, atoms
        self.run: Callable[..., Sequence[Any]] = self.by_graph
        if live:
            self.module  # noqa: B018  (it is made in the grad mode that is on now)

    def by_graph(self, *inputs: Any) -> Any:
        """What the program does before a backend has made something of it."""
        return self.module(*inputs)

    @cached_property
    def module(self) -> GraphModule:
        """The graph. A program that an earlier process made needs none (`stored.recalled`)."""
        module, atoms = _module(self.lines, self.inputs, self.outputs, self.live), self.atoms
        if atoms or (atoms is not None and numbered(module)):
            module.meta["atoms"] = atoms  # which input tells each number that sizes depend on
            module.meta["sizes"] = {
                i: v.size for i, (_, v, _) in enumerate(self.inputs) if symbolic(v.size) and v.size.atoms <= set(atoms)
            }  # inputs that these numbers tell
        module.meta["lent"] = self.lent
        module.meta["live"] = self.live  # whether results take part in a backward pass outside
        return module

    def _atoms(self, lines: list[Value]) -> dict[Any, tuple[int, int]]:
        """Where the inputs tell what sizes are made of; what none tells becomes an input."""
        from flambeau._capture.sizes import SymInt, atoms

        wanted = set[Any]()
        for v in (*lines, *(v for _, v, _ in self.inputs)):
            for sample in v.sample if isinstance(v.sample, list) else [v.sample]:
                if isinstance(sample, tuple):
                    wanted |= atoms(tuple(sample[0])) | atoms(tuple(sample[2]))
        found: dict[Any, tuple[int, int]] = {}
        for i, (_, v, x) in enumerate(self.inputs):
            if isinstance(x, Tensor):
                for d, n in enumerate(v.sample[0]):
                    if type(n) is SymInt and len(n.poly) == 1 and n.source.kind == "size":
                        found.setdefault(next(iter(atoms(n))), (i, d))
        for i, (s, _, x) in enumerate(self.inputs):
            if not isinstance(x, Tensor):
                found |= {a: (i, -1) for a in wanted if a.source is s and a not in found}
        for a in sorted(wanted - set(found), key=lambda a: a.order):
            found[a] = (len(self.inputs), -1)
            v = Value("input", a.source)
            v.sample = a.value
            self.inputs.append((a.source, v, a.value))
        return {a: found[a] for a in wanted}

    def compile(self, backend: Callable[..., Any], examples: list[Any], blueprint: Any = None) -> None:
        """Let the backend make a function of it, in the grad mode in which it will run. `blueprint`: what the native one made earlier."""
        before, STATE.grad = STATE.grad, STATE.grad and self.live
        try:
            if backend is not backends.native:
                self.module.recompile()  # whoever edits the graph says when its code is another one
            if blueprint is not None:
                self.run = backends.recalled(lambda: self.module, blueprint)
            else:
                self.run = backends.made(backend, self.module, examples)
        except Exception as problem:
            if config.suppress_errors:
                raise Break(f"the backend raised {problem!r}") from problem
            raise BackendCompilerFailed(backend, problem) from problem
        finally:
            STATE.grad = before

    def call(self, casting: bool = False) -> Callable[..., Sequence[Any]]:
        """What an entry calls: without history where no result has one, and without autocast (`casting`: it is on), which the graph has done."""
        run = self.run
        if casting:
            run = _uncast(run)
        if self.live or getattr(self.run, "native", False):  # a native program asks for no switch
            return run

        def quiet(*inputs: Any) -> Sequence[Any]:
            before, STATE.grad = STATE.grad, False
            try:
                return run(*inputs)
            finally:
                STATE.grad = before

        return quiet


def _uncast(run: Callable[..., Any]) -> Callable[..., Any]:
    def uncast(*inputs: Any) -> Any:
        before, STATE.autocast = STATE.autocast, None
        try:
            return run(*inputs)
        finally:
            STATE.autocast = before

    return uncast


def operands(v: Value) -> list[Value]:
    """The values that a line is made of."""
    out: list[Value] = []
    _collect(v.args, out)
    _collect(tuple(v.kwargs.values()), out)
    return out


def _collect(x: Any, out: list[Value]) -> None:
    if isinstance(x, Value):
        out.append(x)
    elif isinstance(x, (tuple, list)):
        for y in x:
            _collect(y, out)
    elif isinstance(x, slice):
        _collect((x.start, x.stop, x.step), out)


def writes(v: Value) -> bool:
    """Whether a line writes to its first operand."""
    return isinstance(v.target, OpOverload) and v.target.is_write


def sees(v: Value) -> bool:
    """Whether what a line gives lies in the memory of its first operand (or, of several views, one does)."""
    return v.kind in ("item", "method") or (
        isinstance(v.target, OpOverload) and (v.target.is_view or v.target.is_write)
    )


def _needed(lines: list[Value], outputs: list[Value]) -> list[Value]:
    """Without the lines whose results nobody uses, and that cannot fail for what tensors hold."""
    wanted = {id(v) for v in outputs}
    keep = []
    for v in reversed(lines):
        if v.effect or id(v) in wanted or (v.kind == "call" and looks(v.target, v.sample)):
            keep.append(v)
            wanted.update(id(a) for a in operands(v))
    return keep[::-1]


def _module(lines: list[Value], inputs: list[tuple[Any, Value, Any]], outputs: list[Value], live: bool) -> GraphModule:
    graph = Graph()
    nodes: dict[int, Any] = {}
    constants: dict[str, Any] = {}
    names = placed([source.spoken() for source, _, _ in inputs])
    for name, (source, v, x) in zip(names, inputs, strict=True):
        node = graph.placeholder(name)
        if isinstance(x, Tensor):
            node.meta["val"] = described(v.sample)
        else:
            node.meta["val"], node.meta["number"] = x, type(x)
        node.meta["source"] = source.spoken()
        nodes[id(v)] = node
    mode = STATE.grad
    for v in lines:
        if live and v.grad != mode and v.kind != "constant":
            _switch(graph, v.grad)
            mode = v.grad
        args, kwargs = _mapped(v.args, nodes), {k: _mapped(a, nodes) for k, a in v.kwargs.items()}
        if v.kind == "constant":
            name = f"_tensor_constant{len(constants)}"
            constants[name] = wrap(v.target)
            node = graph.create_node("get_attr", name)
        elif v.kind == "item":
            import operator

            node = graph.call_function(operator.getitem, args)
        elif v.kind == "method":
            node = graph.call_method(v.target, args, kwargs)
        else:
            node = graph.call_function(v.target, args, kwargs)
        node.meta["val"] = (
            tuple(None if s is None else described(s) for s in v.sample)
            if isinstance(v.sample, list)
            else None
            if v.sample is None
            else described(v.sample)
        )
        if v.part is not None:
            node.meta["part"] = v.part  # the checkpointed part of the function that it belongs to
        nodes[id(v)] = node
    if live and mode != STATE.grad:
        _switch(graph, STATE.grad)
    graph.output(tuple(nodes[id(v)] for v in outputs))
    graph._late = True
    return GraphModule(constants, graph)


def _switch(graph: Graph, mode: bool) -> None:
    from flambeau._C import _set_grad_enabled

    graph.call_function(_set_grad_enabled, (mode,))


def _mapped(x: Any, nodes: dict[int, Any]) -> Any:
    if isinstance(x, Value):
        return nodes[id(x)]
    if isinstance(x, tuple):
        return tuple(_mapped(y, nodes) for y in x)
    if isinstance(x, list):
        return [_mapped(y, nodes) for y in x]
    if isinstance(x, slice):
        return slice(*(_mapped(y, nodes) for y in (x.start, x.stop, x.step)))
    return x


def described(sample: Any) -> Any:
    """A tensor without elements that has the shape, strides and dtype of a value."""
    shape, dtype, strides, needs = sample
    t = wrap(MetaArray(shape, dtype, strides))
    if needs:
        t._node = AccumulateGrad(t)
    return t


def placed(spoken: list[str]) -> list[str]:
    """The names of a graph's inputs."""
    taken: dict[str, int] = {}  # names are cut short: the same one may come again
    found = []
    for name in map(_name, spoken):
        taken[name] = taken.get(name, -1) + 1
        found.append(f"{name}_{taken[name]}" if taken[name] else name)
    return found


def _name(spoken: str) -> str:
    name = re.sub(r"\W+", "_", spoken.removeprefix("self.")).strip("_")[-60:].lstrip("_")
    plain = name and not name[0].isdigit() and name not in _custom_builtins and name != "self"
    return name if plain else f"arg_{name}"

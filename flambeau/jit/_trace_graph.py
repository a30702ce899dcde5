"""The graph of one call, as it ran: operators with the shapes of what they took and gave, parameters as inputs.

What libraries count with (fvcore, mmengine): nothing is compiled from it. Modules may say where they begin and end
(`torch._C._get_tracing_state().push_scope`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Any

import flambeau
from flambeau import overrides
from flambeau._eager import call, create, modes
from flambeau._operators import overloads
from flambeau._operators.op import Op
from flambeau.jit._language import tracing, types as ty
from flambeau.jit._language.core import GraphView
from flambeau.jit._language.express import type_of
from flambeau.jit._language.graph import Graph, Node, Value
from flambeau.utils import _pytree

Tensor = flambeau.Tensor
# PyTorch records what these are made of.
APART = frozenset(
    ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "lstm_cell", "gru_cell", "rnn_tanh_cell",
     "rnn_relu_cell")
)  # fmt: skip


class Recorder:
    """Writes down the outermost operators of a call."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.known: dict[int, tuple[Any, Value]] = {}  # by the tensor's id: the tensor, kept alive, and its value
        self.scopes: list[str] = []
        self.thread, self.inside = threading.get_ident(), False

    def push_scope(self, name: str) -> None:
        """What follows belongs to this part."""
        self.scopes.append(name)

    def pop_scope(self) -> None:
        self.scopes.pop()

    # ---- values ----

    def input(self, t: Any, name: str = "") -> None:
        self.known[id(t)] = (t, self.graph.block.param(ty.CompleteTensor(t), name))

    def add(self, kind: str, inputs: Sequence[Value] = (), **attrs: Any) -> Node:
        node = self.graph.block.add(Node(kind, inputs, **attrs))
        node.scope = "/".join(self.scopes)
        return node

    def value(self, x: Any) -> Value:
        if isinstance(x, Tensor):
            if id(x) not in self.known:
                self.known[id(x)] = (x, self.add("prim::Constant", value=x.detach()).output(ty.CompleteTensor(x)))
            return self.known[id(x)][1]
        if isinstance(x, (list, tuple)):
            parts = [self.value(v) for v in x]
            return self.add("prim::ListConstruct", parts).output(ty.List(parts[0].type if parts else ty.INT))
        x = tracing.operators.code_of(x)
        node = self.add("prim::Constant", **({} if x is None else {"value": x}))
        return node.output(type_of(x))

    def gave(self, node: Node, result: Any) -> None:
        """The results of a node are its outputs."""
        if isinstance(result, Tensor):
            self.known[id(result)] = (result, node.output(ty.CompleteTensor(result)))
        elif isinstance(result, list):
            whole = node.output(ty.List(ty.TENSOR))
            parts = self.add("prim::ListUnpack", [whole])
            for r in result:
                self.gave(parts, r)
        elif isinstance(result, tuple):
            for r in result:
                self.gave(node, r)
        else:
            node.output(type_of(result))

    # ---- calls ----

    def called(self, op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
        """Asked by the general lane before it runs an operator."""
        if self.inside or threading.get_ident() != self.thread or op.aten in APART:
            return NotImplemented
        return self.noted(op, values, into, lambda: call.general(op, values, out, into))

    def created(self, op: Op, values: tuple[Any, ...], out: Any, extra: dict[str, Any]) -> Any:
        """Asked before a tensor is made from sizes."""
        if self.inside or threading.get_ident() != self.thread:
            return NotImplemented
        rest = (extra[n] for n in ("layout", "device", "pin_memory", "requires_grad"))
        return self.noted(op, values, False, lambda: create.create(op, values, out, *rest))

    def noted(self, op: Op, values: tuple[Any, ...], into: bool, run: Any) -> Any:
        inputs = self.arguments(op, values)
        self.inside = True
        try:
            result = run()
        finally:
            self.inside = False
        name = "_convolution" if op.aten == "convolution" else op.aten + "_" * (into and not op.aten.endswith("_"))
        self.gave(self.add(f"aten::{name}", inputs), result)
        return result

    def arguments(self, op: Op, values: tuple[Any, ...]) -> list[Value]:
        """All arguments of the overload that was called."""
        taken = overloads.arguments_of(op, overloads.chosen(op, values))
        inputs = [self.value(_written(a.type, values[at])) for a, at in taken]
        if op.aten == "convolution":  # `_convolution` has four switches more: for cuDNN, all as they are from the start
            inputs += [self.value(on) for on in (False, False, True, True)]
        return inputs

    def call_script(self, fn: Any, args: Any, kwargs: Any, owner: Any = None) -> Any:
        """A compiled function called while recording: what it runs is recorded."""
        from flambeau.jit._language.call import arguments

        tracing.STATE.current = None
        try:
            inputs = arguments(fn.schema, fn.short, args, kwargs, owner is not None)
            return fn.call(*([owner, *inputs] if owner is not None else inputs))
        finally:
            tracing.STATE.current = self

    def __enter__(self) -> Recorder:
        overrides.EXTRA.insert(0, self.called)
        create.HOOKS.insert(0, self.created)
        tracing.STATE.current = self
        modes.enter("trace")
        return self

    def __exit__(self, *error: Any) -> None:
        modes.leave("trace")
        tracing.STATE.current = None
        overrides.EXTRA.remove(self.called)
        create.HOOKS.remove(self.created)


def _written(kind: str, value: Any) -> Any:
    """A number where a schema has a tensor, or as many numbers as a list has."""
    if isinstance(value, (int, float)) and kind.startswith("Tensor"):
        return flambeau.tensor(value)
    length = re.search(r"\[(\d+)\]", kind)
    return [value] * int(length[1]) if length and type(value) is int else value


def _get_trace_graph(
    f: Any, args: Any = (), kwargs: dict[str, Any] | None = None, strict: bool = True, _force_outplace: bool = False,
    return_inputs: bool = False, _return_inputs_states: bool = False,
) -> Any:  # fmt: skip
    """(the graph of `f(*args)`, what it gave), and the inputs where they are asked for."""
    args = args if isinstance(args, tuple) else (args,)
    leaves, spec = _pytree.tree_flatten((args, kwargs or {}))
    copies = [x.clone() if isinstance(x, Tensor) and not x.requires_grad else x for x in leaves]
    recorder = Recorder()
    tensors = [x for x in copies if isinstance(x, Tensor)]
    for i, t in enumerate(tensors):
        recorder.input(t, "input" if i == 0 and isinstance(f, flambeau.nn.Module) else "")
    if isinstance(f, flambeau.nn.Module):
        for t in dict.fromkeys(f.state_dict(keep_vars=True).values()):
            if isinstance(t, Tensor) and id(t) not in recorder.known:
                recorder.input(t)
    given, named = _pytree.tree_unflatten(copies, spec)
    with recorder:
        result = f(*given, **named)
        found = [recorder.value(t) for t in _pytree.tree_leaves(result) if isinstance(t, Tensor)]
        if len(found) > 1 or isinstance(result, (tuple, list)):
            pack = recorder.add("prim::TupleConstruct", found).output(ty.Tuple(*(v.type for v in found)))
            found = [pack]
    recorder.graph.block.returns = found
    graph = GraphView(recorder.graph)
    if return_inputs:
        return graph, result, tuple(tensors)
    return (graph, result, (tuple(tensors), result)) if _return_inputs_states else (graph, result)

"""Forward and backward passes as graphs, compiled ahead of the backward pass by compilers of one's choice.

A function is run once on its inputs while a recording notes the operators of its forward pass and of its derivative. The joint graph is cut
in two by a partitioner, a compiler gets each half, and what the compilers give becomes one function of autograd.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import flambeau
from flambeau import Tensor
from flambeau._backends.meta import MetaArray
from flambeau._eager.modes import STATE
from flambeau._functorch import python_key
from flambeau._functorch.partitioners import default_partition
from flambeau._tensor import wrap
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node
from flambeau.utils import _pytree as pytree
from flambeau.utils._python_dispatch import TorchDispatchMode

__all__ = ["aot_function", "aot_module", "aot_module_simplified", "compiled_function", "compiled_module", "get_aot_compilation_context",
           "get_aot_graph_name", "get_graph_being_compiled", "make_boxed_compiler", "make_boxed_func"]  # fmt: skip

_being: list[str] = []  # the graphs that are being compiled, the innermost last
_serial = [0]


def get_aot_graph_name() -> str:
    """The name of the function that is being compiled."""
    return f"model__{_serial[0]}"


def get_graph_being_compiled() -> str:
    """The name of the graph that a compiler has at hand: `model__0_forward_0`."""
    return _being[-1] if _being else get_aot_graph_name()


def get_aot_compilation_context() -> tuple[list[str], str, int]:
    """(the graphs being compiled, the name of the model, which function it is)."""
    return _being, "model", _serial[0]


def make_boxed_func(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one list of arguments from one of several."""

    def boxed(args: Any) -> Any:
        return f(*args)

    boxed._boxed_call = True  # type: ignore[attr-defined]
    return boxed


def make_boxed_compiler(compiler: Callable[..., Any]) -> Callable[..., Any]:
    """A compiler whose functions take one list of arguments."""

    @functools.wraps(compiler)
    def boxed(fx_g: Any, inps: Any) -> Any:
        made = compiler(fx_g, inps)
        if made is None:
            raise AssertionError("The compiler must return a callable")
        return make_boxed_func(made)

    return boxed


def _called(fn: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    """The results of a compiled graph, as a list."""
    if getattr(fn, "_boxed_call", False):
        out = fn(list(args))
    else:
        warnings.warn(
            "Your compiler for AOTAutograd is returning a function that doesn't take boxed arguments. Please wrap it with "
            "functorch.compile.make_boxed_func or handle the boxed arguments yourself. See "
            "https://github.com/pytorch/pytorch/pull/83137#issuecomment-1211320670 for rationale.",
            stacklevel=2,
        )
        out = fn(*args)
    return list(out) if isinstance(out, (tuple, list)) else [out]


def _compile(compiler: Callable[..., Any], graph: GraphModule, kind: str, inputs: Sequence[Any]) -> Callable[..., Any]:
    _being.append(f"{get_aot_graph_name()}_{kind}_{_serial[0]}")
    try:
        return compiler(graph, list(inputs))
    finally:
        _being.pop()


class _Graph(TorchDispatchMode):
    """Notes the primitive operators that run, those of derivatives too, as a graph."""

    def __init__(self, table: Any = None) -> None:
        super().__init__()
        self.graph, self.table = Graph(), table or {}
        self.nodes: dict[int, Node] = {}  # by the array that a tensor is around: aliases of one array are one value
        self.kept: list[Any] = []
        self.attributes: dict[str, Any] = {}
        self.apart: list[Any] = []  # what is being taken apart

    def inputs(self, names: Sequence[str], values: Sequence[Any]) -> None:
        """Inputs, behind those there are; the gradients of results are known when the results are."""
        for name, x in zip(names, values, strict=True):
            before = next((n for n in self.graph.nodes if n.op != "placeholder"), None)
            with self.graph.inserting_before(before) if before is not None else contextlib.nullcontext():
                node = self.graph.placeholder(name)
            if isinstance(x, Tensor):
                self.note(x, node)

    def note(self, t: Tensor, node: Node) -> None:
        self.nodes[id(t._a)] = node
        self.kept.append(t._a)
        node.meta["val"] = wrap(MetaArray(t._a.shape, t._a.dtype, t._a.strides))

    def value(self, x: Any) -> Any:
        """What stands in the graph for an argument or result."""
        if not isinstance(x, Tensor):
            return x
        if id(x._a) not in self.nodes:
            if x.requires_grad:
                raise AssertionError(
                    "A tensor that requires gradients is no argument of the function that is compiled: its gradient would be lost. Make it an "
                    "argument, or compile the module with aot_module"
                )
            name = f"_tensor_constant{len(self.attributes)}"
            self.attributes[name] = x
            before = next((n for n in self.graph.nodes if n.op not in ("placeholder", "get_attr")), None)
            with self.graph.inserting_before(before) if before is not None else contextlib.nullcontext():
                node = self.graph.get_attr(name)
            self.note(x, node)
        return self.nodes[id(x._a)]

    def decomposed(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What the table makes of a call; what cannot be taken apart leaves no trace."""
        from flambeau._decomp import applied

        before, known = set(self.graph.nodes), dict(self.nodes)
        self.apart.append(func)
        try:
            with self:
                made = applied(self.table, func, args, kwargs)
        finally:
            self.apart.pop()
        if made is NotImplemented:
            for node in [n for n in reversed(list(self.graph.nodes)) if n not in before]:
                self.graph.erase_node(node)
            self.nodes = known
        return made

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self.table and func not in self.apart:
            made = self.decomposed(func, args, kwargs)
            if made is not NotImplemented:
                return made
        given, named = pytree.tree_map(self.value, (_listed(list(args)), kwargs))
        result = func(*args, **kwargs)
        node = self.graph.call_function(func, tuple(given), named, name=func.overloadpacket.__name__)
        if isinstance(result, Tensor):
            self.note(result, node)
        elif isinstance(result, (tuple, list)):
            for i, x in enumerate(result):
                if isinstance(x, Tensor):
                    self.note(x, self.graph.call_function(operator.getitem, (node, i)))
        return result


def _listed(args: Any) -> Any:
    """Sizes and dims as lists, as PyTorch's graphs have them."""
    return [_listed(a) if isinstance(a, (tuple, list)) else a for a in args]


def _table(decompositions: Any) -> Any:
    return decompositions if decompositions is not None else python_key.CURRENT_DECOMPOSITION_TABLE or None


class _Function:
    """One function, compiled for the inputs that it met first."""

    def __init__(self, fn: Callable[..., Any], fw: Any, bw: Any, partition: Any, table: Any, inference: Any) -> None:
        self.fn, self.fw, self.bw = fn, fw, bw or fw
        self.partition, self.table, self.inference = partition, table, inference or fw
        self.run: Callable[..., Any] | None = None
        self.spec: Any = None

    def __call__(self, flat: Sequence[Any]) -> list[Any]:
        """The flat results for flat arguments."""
        if self.run is None:
            generator = flambeau.get_rng_state()
            try:
                self.run = self.compiled(flat)
            finally:
                flambeau.set_rng_state(generator)
                _serial[0] += 1
        return self.run(*flat)  # type: ignore[no-any-return]

    def results(self, args: Sequence[Any]) -> list[Any]:
        flat, self.spec = pytree.tree_flatten(self.fn(*args))
        return flat

    def compiled(self, flat: Sequence[Any]) -> Callable[..., Any]:
        trains = STATE.grad and any(isinstance(x, Tensor) and x.requires_grad for x in flat)
        return self.joint(flat) if trains else self.forward(flat)

    def forward(self, flat: Sequence[Any]) -> Callable[..., Any]:
        """The forward pass alone."""
        given = [x.detach() if isinstance(x, Tensor) else x for x in flat]
        recording = _Graph(_table(self.table))
        recording.inputs([f"arg{i}_1" for i in range(len(given))], given)
        with recording, flambeau.no_grad():
            outs = self.results(given)
        recording.graph.output(tuple(map(recording.value, outs)))
        graph = GraphModule(recording.attributes, recording.graph, "<lambda>")
        made = _compile(self.inference, graph, "inference", given)
        return lambda *args: _called(made, args)

    def joint(self, flat: Sequence[Any]) -> Callable[..., Any]:
        """Both passes, cut in two."""
        given = [x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in flat]
        wanted = [x for x in given if isinstance(x, Tensor) and x.requires_grad]
        recording = _Graph(_table(self.table))
        recording.inputs([f"primals_{i}" for i in range(1, len(given) + 1)], given)
        with recording, flambeau.enable_grad():
            outs = self.results(given)
        flows = [isinstance(o, Tensor) and o.requires_grad for o in outs]
        ends = [o for o, flow in zip(outs, flows) if flow]
        tangents = [flambeau.ones_like(o.detach()) for o in ends]
        recording.inputs([f"tangents_{i}" for i in range(1, len(ends) + 1)], tangents)
        values = [recording.value(o) for o in outs]
        with recording:
            found = iter(
                flambeau.autograd.grad(ends, wanted, tangents, allow_unused=True) if ends else [None] * len(wanted)
            )
        grads = [next(found) if isinstance(x, Tensor) and x.requires_grad else None for x in given]
        recording.graph.output((*values, *map(recording.value, grads)))
        joint = GraphModule(recording.attributes, recording.graph, "joint_helper")
        forward, backward = self.partition(joint, [tuple(given), tuple(tangents)], num_fwd_outputs=len(outs))
        with flambeau.no_grad():
            plain = [x.detach() if isinstance(x, Tensor) else x for x in given]
            saved = list(forward(*[x.clone() if isinstance(x, Tensor) else x for x in plain]))[len(outs) :]
        run = _compile(self.fw, forward, "forward", plain)
        back = _compile(self.bw, backward, "backward", [*saved, *(t.detach() for t in tangents)])
        return _function(run, back, flows)


def _function(run: Callable[..., Any], back: Callable[..., Any], flows: Sequence[bool]) -> Callable[..., Any]:
    """Compiled passes as a function that autograd knows."""

    class CompiledFunction(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            found = _called(run, args)
            outs, saved = found[: len(flows)], found[len(flows) :]
            ctx.save_for_backward(*(s for s in saved if isinstance(s, Tensor)))
            ctx.others = [None if isinstance(s, Tensor) else (s,) for s in saved]
            ctx.mark_non_differentiable(*(o for o, flow in zip(outs, flows) if not flow and isinstance(o, Tensor)))
            ctx.set_materialize_grads(True)
            return tuple(outs)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            tensors = iter(ctx.saved_tensors)
            saved = [next(tensors) if s is None else s[0] for s in ctx.others]
            return tuple(_called(back, [*saved, *(g for g, flow in zip(grads, flows) if flow)]))

    return lambda *args: list(CompiledFunction.apply(*args))


def aot_function(fn: Callable[..., Any], fw_compiler: Any, bw_compiler: Any = None, partition_fn: Any = default_partition,
                 decompositions: Any = None, num_params_buffers: int = 0, keep_inference_input_mutations: bool = False,
                 inference_compiler: Any = None, *, dynamic: bool = False, enable_log: bool = True) -> Callable[..., Any]:  # fmt: skip
    """`fn`, its forward and backward passes compiled when it is called first; later calls take what was made then.

    Args:
        fn: a function of tensors and other values.
        fw_compiler, bw_compiler: functions of an `fx.GraphModule` and example inputs; the second is the first where it is not given.
        partition_fn: how the joint graph is cut.
        decompositions: operators to take apart, and how.
        inference_compiler: for calls without gradients; `fw_compiler` where it is not given.

    >>> import flambeau as torch
    >>> from flambeau._functorch.compilers import nop
    >>> f = aot_function(lambda x: x.sin().sum(), nop)
    >>> x = torch.zeros(2, requires_grad=True)
    >>> f(x).backward()
    >>> x.grad
    tensor([1., 1.])
    """
    made: list[Any] = []

    @functools.wraps(fn)
    def returned_function(*args: Any, **kwargs: Any) -> Any:
        flat, spec = pytree.tree_flatten((args, kwargs))
        if not made:

            def of_flat(*values: Any) -> Any:
                inner, named = pytree.tree_unflatten(list(values), spec)
                return fn(*inner, **named)

            made.append(_Function(of_flat, fw_compiler, bw_compiler, partition_fn, decompositions, inference_compiler))
        return pytree.tree_unflatten(made[0](flat), made[0].spec)

    return returned_function


def aot_module(mod: Any, *args: Any, **kwargs: Any) -> Any:
    """A module around another whose passes are compiled; arguments as of `aot_function`."""
    if not isinstance(mod, flambeau.nn.Module):
        raise AssertionError(f"mod must be a nn.Module, got {type(mod)}")

    def functional_call(parameters: Any, buffers: Any, *inner: Any, **named: Any) -> Any:
        return flambeau.func.functional_call(mod, {**parameters, **buffers}, inner, named)

    run = aot_function(functional_call, *args, **kwargs)

    class AOTModule(flambeau.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.orig_module = mod

        def forward(self, *inner: Any, **named: Any) -> Any:
            return run(dict(mod.named_parameters()), dict(mod.named_buffers()), *inner, **named)

    return AOTModule()


def aot_module_simplified(mod: Any, args: Any, fw_compiler: Any, bw_compiler: Any = None, partition_fn: Any = default_partition,
                          decompositions: Any = None, keep_inference_input_mutations: bool = False, inference_compiler: Any = None,
                          **_: Any) -> Callable[..., Any]:  # fmt: skip
    """For backends of `compile`: a function of a captured graph's inputs, its passes compiled for the examples `args`."""
    state = {**dict(mod.named_parameters(remove_duplicate=False)), **dict(mod.named_buffers(remove_duplicate=False))}
    names = list(state)

    def of_flat(*values: Any) -> Any:
        given = dict(zip(names, values))
        return flambeau.func.functional_call(mod, given, tuple(values[len(names) :]))

    made = _Function(of_flat, fw_compiler, bw_compiler, partition_fn, decompositions, inference_compiler)
    made.run = made.compiled([*state.values(), *args])
    _serial[0] += 1

    def forward(*inner: Any) -> Any:
        return pytree.tree_unflatten(made([*state.values(), *inner]), made.spec)

    forward.zero_grad, forward.named_parameters, forward.named_buffers = (  # type: ignore[attr-defined]
        mod.zero_grad, mod.named_parameters, mod.named_buffers)  # fmt: skip
    return forward


compiled_function, compiled_module = aot_function, aot_module

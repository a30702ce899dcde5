"""Compilers for `aot_function`: functions of a graph and example inputs that give a function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flambeau
from flambeau._decomp import get_decompositions
from flambeau._functorch.aot_autograd import aot_function, aot_module, make_boxed_compiler
from flambeau._functorch.compile_utils import strip_overloads
from flambeau._functorch.partitioners import draw_graph, min_cut_rematerialization_partition

__all__ = ["debug_compile", "draw_graph_compile", "memory_efficient_fusion", "nnc_jit", "nop", "print_compile",
           "ts_compile"]  # fmt: skip


@make_boxed_compiler
def nop(fx_g: Any, _: Any) -> Any:
    """The graph as it is."""
    return fx_g


@make_boxed_compiler
def print_compile(fx_g: Any, _: Any) -> Any:
    """The graph as it is, printed."""
    print(fx_g.code)
    return fx_g


def draw_graph_compile(name: str) -> Callable[..., Any]:
    """A compiler that prints the graph and draws it into a file."""

    def draw(fx_g: Any, _: Any, name: str) -> Any:
        print(fx_g.code)
        draw_graph(fx_g, name)
        return fx_g

    return make_boxed_compiler(functools.partial(draw, name=name))


def _scripted(fx_g: Any) -> Any:
    strip_overloads(fx_g)
    for node in fx_g.graph.nodes:
        if node.target is flambeau.ops.aten._to_copy and len(node.args) == 1 and set(node.kwargs) == {"dtype"}:
            node.target = flambeau.ops.aten.to
    fx_g.recompile()
    return flambeau.jit.freeze(flambeau.jit.script(fx_g.eval()))


@make_boxed_compiler
def ts_compile(fx_g: Any, inps: Sequence[Any]) -> Any:
    """The graph as a frozen TorchScript module, run once on the examples."""
    made = flambeau.jit.optimize_for_inference(_scripted(fx_g))
    made(*inps)
    return made


@make_boxed_compiler
def simple_ts_compile(fx_g: Any, _: Any) -> Any:
    """The graph as a frozen TorchScript module."""
    return _scripted(fx_g)


def nnc_jit(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose passes are TorchScript."""
    return aot_function(f, simple_ts_compile)


def debug_compile(fx_g: Any, inps: Sequence[Any]) -> Any:
    """Writes the graph to the folder `foo`, prints a program that makes it smaller, and compiles it."""
    fx_g.to_folder("foo")
    print(
        "\nimport torch\nimport torch.fx as fx\nfrom functorch.compile import minifier\n\n"
        f"inps = {[(i.shape, i.dtype) for i in inps]}\n"
        "inps = [torch.ones(shape, dtype=dtype) for (shape, dtype) in inps]\nfrom foo import FxModule\n"
        "minifier(fx.symbolic_trace(FxModule()), inps, module_fails)  # module_fails(graph, inputs): whether the failure is there\n"
    )
    return ts_compile(fx_g, inps)


def memory_efficient_fusion(fn: Any, **kwargs: Any) -> Any:
    """A function (or module) whose passes are TorchScript, and whose backward pass computes again what is cheap."""
    config = {"fw_compiler": ts_compile, "bw_compiler": ts_compile, "partition_fn": min_cut_rematerialization_partition,
              "decompositions": _decompositions(), **kwargs}  # fmt: skip
    return (aot_module if isinstance(fn, flambeau.nn.Module) else aot_function)(fn, **config)


_TAKEN_APART = (
    "detach gelu_backward leaky_relu_backward sigmoid_backward threshold_backward hardtanh_backward hardsigmoid_backward hardswish_backward "
    "tanh_backward silu_backward elu_backward elu leaky_relu hardtanh hardswish hardsigmoid masked_fill.Scalar masked_fill.Tensor conj_physical"
)


@functools.cache
def _decompositions() -> dict[Any, Any]:
    found = []
    for name in _TAKEN_APART.split():
        base, _, overload = name.partition(".")
        packet = getattr(flambeau.ops.aten, base, None)
        if packet is not None:
            found.append(getattr(packet, overload) if overload else packet)
    return dict(get_decompositions(found))


def __getattr__(name: str) -> Any:
    if name == "default_decompositions":  # made when it is asked for: it needs all operators
        return _decompositions()
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

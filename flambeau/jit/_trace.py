"""Tracing: a program from what a function does to example inputs."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import flambeau
from flambeau.jit import _state

__all__ = ["TracerWarning", "TracingCheckError", "is_tracing", "trace", "trace_module"]


class TracerWarning(Warning):
    """A traced function did something that its trace may not show."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """Nothing to do: our own library does not warn about itself."""


class TracingCheckError(Exception):
    """A trace does not do what its function does."""


def is_tracing() -> bool:
    """Whether a trace is being made."""
    from flambeau.jit._language.tracing import STATE

    return STATE.current is not None


def _script_if_tracing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `fn` when it is first called within a trace; elsewhere it is plain Python."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not is_tracing():
            return fn(*args, **kwargs)
        from flambeau.jit import script

        return script(wrapper.__original_fn)(*args, **kwargs)  # type: ignore[attr-defined]

    wrapper.__original_fn = fn  # type: ignore[attr-defined]
    wrapper.__script_if_tracing_wrapper = True  # type: ignore[attr-defined]
    return wrapper


def script_if_tracing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `fn` when it is first called within a trace; elsewhere it is plain Python."""
    return _script_if_tracing(fn)


def _traced_type(module: Any, memo: dict[int, Any], top: bool = False) -> Any:
    """The type of a module that is traced: its tensors and its modules."""
    from flambeau._jit_internal import _qualified_name
    from flambeau.jit import ScriptModule
    from flambeau.jit._language import types as ty
    from flambeau.jit._recursive import unique

    if id(module) in memo:
        return memo[id(module)]
    if isinstance(module, ScriptModule):
        return module._c._type()
    t = memo[id(module)] = ty.Class("", is_module=True)
    for name, child in module._modules.items():
        t.attributes[name] = _traced_type(child, memo) if child is not None else ty.NONE
    t.qualified = unique(_qualified_name(type(module)))
    parts, t.attributes = t.attributes, {}
    for box, kept in ((module._parameters, t.parameters), (module._buffers, t.buffers)):
        for name, v in box.items():
            t.attributes[name] = ty.TENSOR if v is not None else ty.NONE
            if v is not None:
                kept.add(name)
    t.attributes["training"] = ty.BOOL
    t.attributes.update(parts)
    return t


def _build(module: Any, memo: dict[int, Any], seen: dict[int, Any], cls: Any = None) -> Any:
    from flambeau.jit import ScriptModule
    from flambeau.jit._script import TracedModule, new_module

    if isinstance(module, ScriptModule):
        return module
    if id(module) in seen:
        return seen[id(module)]
    made = new_module(memo[id(module)], cls or TracedModule)
    seen[id(module)] = made
    made.__dict__["training"] = module.training
    made._parameters.update(module._parameters)
    made._buffers.update(module._buffers)
    made.__dict__["_non_persistent_buffers_set"] = set(module._non_persistent_buffers_set)
    for name, child in module._modules.items():
        made._modules[name] = None if child is None else _build(child, memo, seen)
    return made


def _graph(
    fn: Any, inputs: tuple[Any, ...], names: list[str], module: Any, t: Any, strict: bool, named: dict[str, Any]
) -> Any:
    """The graph and signature of one call."""
    from flambeau.jit._language import scopes, tracing, types as ty
    from flambeau.jit._language.schema import Argument, Schema

    tracer = tracing.Tracer(t, module)
    em = tracer.em
    arguments = [Argument("self", t)] if t is not None else []

    def enter(x: Any, name: str) -> Any:
        """An input: tensors become values, containers of them are taken apart."""
        kind = _type_of_input(x)
        v = em.block.param(kind, name)
        arguments.append(Argument(name, kind))
        return unpack(x, v)

    def unpack(x: Any, v: Any) -> Any:
        if isinstance(x, flambeau.Tensor):
            copy = x.view_as(x) if x.requires_grad else x.detach()
            tracer.put(copy, v)
            return copy
        if isinstance(x, tuple):
            parts = [unpack(y, p) for y, p in zip(x, em.unpack(v))]
            return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
        if isinstance(x, list):
            from flambeau.jit._language.graph import Node

            n = em.block.add(Node("prim::ListUnpack", [v]))
            return [unpack(y, n.output(v.type.element)) for y in x]
        if isinstance(x, dict):
            return {k: unpack(y, em.op("aten::__getitem__", v, em.constant(k))) for k, y in x.items()}
        if x is None:
            return None
        raise RuntimeError(
            f"Type '{type(x).__name__}' cannot be traced. Only Tensors and (possibly nested) Lists, Dicts, and Tuples of Tensors can be traced"
        )

    args = [enter(x, n) for x, n in zip(inputs, names)]
    kwargs = {n: enter(x, n) for n, x in named.items()}
    with tracing.watching(tracer):
        result = fn(*args, **kwargs)

    def leave(r: Any) -> Any:
        if isinstance(r, flambeau.Tensor):
            v = tracer.met(r)
            if v is None:
                raise RuntimeError(
                    f"output {len(left) + 1} ({r}) of traced region did not have observable data dependence with trace inputs; this probably "
                    "indicates your program cannot be understood by the tracer."
                )
            left.append(v)
            return v
        if isinstance(r, tuple):
            return em.tuple_of([leave(x) for x in r])
        if isinstance(r, list):
            if strict:
                warnings.warn("Encountering a list at the output of the tracer might cause the trace to be incorrect, this is only valid if the container structure does not change based on the module's inputs. Consider using a constant container instead (e.g. for `list`, use a `tuple` instead. for `dict`, use a `NamedTuple` instead). If you absolutely need this and know the side effects, pass strict=False to trace() to allow this behavior.", TracerWarning, stacklevel=3)  # fmt: skip
            parts = [leave(x) for x in r]
            return em.list_of(parts, parts[0].type if parts else ty.TENSOR)
        if isinstance(r, dict):
            if strict:
                raise RuntimeError("Encountering a dict at the output of the tracer might cause the trace to be incorrect, this is only valid if the container structure does not change based on the module's inputs. Consider using a constant container instead (e.g. for `list`, use a `tuple` instead. for `dict`, use a `NamedTuple` instead). If you absolutely need this and know the side effects, pass strict=False to trace() to allow this behavior.")  # fmt: skip
            flat = [x for k, v in r.items() for x in (em.constant(k), leave(v))]
            return em.node("prim::DictConstruct", flat, ty.Dict(flat[0].type, flat[1].type))
        if isinstance(r, tracing.TracedInt):
            return r.value
        raise RuntimeError(
            "Only tensors, lists, tuples of tensors, or dictionary of tensors can be output from traced functions"
        )

    left: list[Any] = []  # the tensors of the result so far
    em.block.returns = [leave(result)]
    scopes.settle(em.graph, t is not None)
    name = getattr(fn, "__name__", "forward")
    return em.graph, Schema(name, "", arguments, [Argument("", em.block.returns[0].type)])


def _type_of_input(x: Any) -> Any:
    from flambeau.jit._language import types as ty

    if isinstance(x, flambeau.Tensor):
        return ty.TENSOR
    if isinstance(x, tuple):
        return ty.Tuple(*map(_type_of_input, x))
    if isinstance(x, list):
        return ty.List(_type_of_input(x[0]) if x else ty.TENSOR)
    if isinstance(x, dict):
        return ty.Dict(*map(_type_of_input, next(iter(x.items())))) if x else ty.Dict(ty.STR, ty.TENSOR)
    return {str: ty.STR, int: ty.INT, float: ty.FLOAT, bool: ty.BOOL}.get(type(x), ty.NONE)


def _names(fn: Any, count: int) -> list[str]:
    from flambeau._jit_internal import get_callable_argument_names

    found = [n for n in get_callable_argument_names(fn) if n != "self"]
    return [found[i] if i < len(found) else f"argument_{i + 1}" for i in range(count)]


def _tuple(example_inputs: Any) -> tuple[Any, ...]:
    if isinstance(example_inputs, (flambeau.Tensor, dict)):
        return (example_inputs,)
    return tuple(example_inputs)


def trace(
    func: Any, example_inputs: Any = None, optimize: Any = None, check_trace: bool = True, check_inputs: Any = None,
    check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False, _module_class: Any = None,
    _compilation_unit: Any = None, example_kwarg_inputs: dict[str, Any] | None = None, _store_inputs: bool = True,
) -> Any:  # fmt: skip
    """Run a function or module on example inputs and keep what it called as a program."""
    from flambeau.jit import ScriptFunction, ScriptModule
    from flambeau.jit._language.program import Compiled

    if not _state._enabled:
        return func
    if isinstance(func, (ScriptModule, ScriptFunction)):
        warnings.warn(
            "The input to trace is already a ScriptModule, tracing it is a no-op. Returning the object as is.",
            stacklevel=2,
        )
        return func
    if isinstance(func, flambeau.nn.Module):
        if example_inputs is None and example_kwarg_inputs is None:
            raise RuntimeError("example_kwarg_inputs should be a dict")
        return trace_module(func, {"forward": example_inputs if example_inputs is not None else example_kwarg_inputs}, None, check_trace,
                            [{"forward": i} for i in check_inputs] if check_inputs is not None else None, check_tolerance, strict,
                            example_inputs_is_kwarg=example_inputs is None)  # fmt: skip
    owner = getattr(func, "__self__", None)
    if isinstance(owner, flambeau.nn.Module):
        if func.__name__ == "forward":
            return trace(
                owner,
                example_inputs,
                None,
                check_trace,
                check_inputs,
                check_tolerance,
                strict,
                example_kwarg_inputs=example_kwarg_inputs,
            )
        raise AttributeError("trace doesn't support compiling individual module's functions.\nPlease use trace_module")
    inputs, named = (
        (_tuple(example_inputs), {}) if example_inputs is not None else ((), dict(example_kwarg_inputs or {}))
    )
    graph, schema = _graph(func, inputs, _names(func, len(inputs)), None, None, strict, named)
    from flambeau._jit_internal import _qualified_name
    from flambeau.jit._recursive import unique

    try:
        name = _qualified_name(func)
    except Exception:  # lambdas and callables have no name that a program could have
        name = "__torch__._traced"
    compiled = Compiled(unique(name))
    compiled._graph, compiled.schema = graph, schema
    made = ScriptFunction(compiled, func)
    if check_trace:
        _check(func, made, [(inputs, named), *(((_tuple(i), {})) for i in check_inputs or ())], check_tolerance)
    return made


def trace_module(
    mod: Any, inputs: dict[str, Any], optimize: Any = None, check_trace: bool = True, check_inputs: Any = None, check_tolerance: float = 1e-5,
    strict: bool = True, _force_outplace: bool = False, _module_class: Any = None, _compilation_unit: Any = None,
    example_inputs_is_kwarg: bool = False, _store_inputs: bool = True,
) -> Any:  # fmt: skip
    """Trace several methods of a module on example inputs of each."""
    from flambeau.jit._language.program import Compiled
    from flambeau.jit._script import TopLevelTracedModule

    if not _state._enabled:
        return mod
    if not isinstance(mod, flambeau.nn.Module):
        raise AttributeError("expected torch.nn.Module as the first argument")
    if not isinstance(inputs, dict):
        raise AttributeError("expected a dictionary of (method_name, input) pairs")
    memo: dict[int, Any] = {}
    t = _traced_type(mod, memo, top=True)
    for method, example in inputs.items():
        fn = mod if method == "forward" else getattr(mod, method)
        plain = mod.forward if method == "forward" else fn
        if example_inputs_is_kwarg:
            args, named = (), dict(example)
        else:
            args, named = _tuple(example), {}
        graph, schema = _graph(fn, args, _names(plain, len(args)), mod, t, strict, named)
        schema.name = method
        compiled = Compiled(f"{t.qualified}.{method}")
        compiled._graph, compiled.schema, compiled.owner = graph, schema, t
        t.methods[method] = compiled
    made = _build(mod, memo, {}, TopLevelTracedModule)
    if check_trace:
        for method, example in inputs.items():
            fn = mod if method == "forward" else getattr(mod, method)
            runs = [((), dict(example)) if example_inputs_is_kwarg else (_tuple(example), {})]
            runs += [(_tuple(i[method]), {}) for i in check_inputs or ()]
            _check(fn, getattr(made, method), runs, check_tolerance)
    return made


def _check(fn: Any, traced: Any, runs: Any, tolerance: float) -> None:
    """Compare a trace with its function."""
    from flambeau.utils import _pytree

    for args, named in runs:
        state = flambeau.get_rng_state()
        want = fn(*args, **named)
        flambeau.set_rng_state(state)
        got = traced(*args, **named)
        flambeau.set_rng_state(state)
        for i, (g, w) in enumerate(zip(_pytree.tree_leaves(got), _pytree.tree_leaves(want))):
            if not isinstance(w, flambeau.Tensor):
                continue
            try:
                flambeau.testing.assert_close(g, w, rtol=tolerance, atol=tolerance, equal_nan=True, check_dtype=False)
            except AssertionError as e:
                warnings.warn(f"Output nr {i + 1}. of the traced function does not match the corresponding output of the Python function. Detailed error:\n{e}", TracerWarning, stacklevel=4)  # fmt: skip

"""Functions of the library that mean something else in a capture than what their code says."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from flambeau._capture import again, backward as backwards
from flambeau._capture.breaks import Break
from flambeau._capture.builtin_calls import HANDLERS
from flambeau._capture.operations import unpack
from flambeau._capture.tracer import Tracer
from flambeau._eager.modes import STATE
from flambeau._tensor import Tensor


def install() -> None:
    """Functions of the library that mean something else in a capture."""
    import flambeau
    from flambeau import autograd
    from flambeau._capture import calls, control, transformed
    from flambeau._eager import autocast, construct, graph, names
    from flambeau.amp import grad_scaler
    from flambeau.autograd import _dual
    from flambeau.func import _transforms, _vmap
    from flambeau.optim import optimizer
    from flambeau.utils import checkpoint

    HANDLERS[autograd.backward] = backwards.backward
    HANDLERS[autograd.grad] = backwards.grad
    HANDLERS[flambeau.Tensor.backward] = (
        lambda tr, t, gradient=None, retain_graph=None, create_graph=False, inputs=None: backwards.backward(
            tr, t, gradient, retain_graph, create_graph, None, inputs
        )
    )
    HANDLERS[construct.tensor] = _tensor
    HANDLERS[autograd.Function.apply.__func__] = calls.custom_apply  # type: ignore[attr-defined]
    saved = autograd.function.FunctionCtx.saved_tensors.fget  # type: ignore[attr-defined]
    HANDLERS[saved] = lambda tr, ctx: saved(ctx)
    HANDLERS[construct.as_tensor] = _as_tensor
    HANDLERS[flambeau.Tensor.requires_grad_] = _requires_grad
    HANDLERS[flambeau.Tensor.register_hook] = _register_hook
    HANDLERS[flambeau.Tensor.retain_grad] = _retain_grad
    HANDLERS[flambeau.Tensor.detach_] = _detach_in_place
    HANDLERS[flambeau.Tensor._make_subclass] = _make_subclass  # type: ignore[attr-defined]
    HANDLERS[flambeau.Tensor.is_shared] = lambda tr, t: False
    for name in ("is_compiling", "is_dynamo_compiling"):
        HANDLERS[getattr(control, name)] = lambda tr: True
    HANDLERS[control.graph_break] = _graph_break
    HANDLERS[autocast.enabled] = lambda tr, kind: autocast.enabled(kind)
    HANDLERS[autocast.switch] = lambda tr, kind, to: autocast.switch(kind, to)
    HANDLERS[autocast.clear] = lambda tr: autocast.clear()
    HANDLERS[autocast.nest] = _nest
    HANDLERS[checkpoint._without_reentry] = _checkpoint
    HANDLERS[grad_scaler._infinite] = _infinite
    HANDLERS[optimizer._infinite] = lambda tr, found: _infinite(tr, [found])
    HANDLERS[autograd.graph.saved_tensors_hooks.__enter__] = _packing
    HANDLERS[autograd.graph.saved_tensors_hooks.__exit__] = lambda tr, block, *exc: tr.recorder.packing.pop() and None
    HANDLERS[graph.node_of] = transformed.seen
    HANDLERS[graph.Node.name] = _node_name
    for fn in (graph.Node.register_hook, graph.Node.register_prehook):
        HANDLERS[fn] = lambda tr, node, hook, fn=fn: _node_hook(tr, node, hook, fn)
    HANDLERS[graph.Removable.remove] = _hook_removed
    HANDLERS[_dual.variable] = transformed.variable
    HANDLERS[_dual.running.__enter__] = transformed.enter
    HANDLERS[_dual.running.__exit__] = transformed.leave
    HANDLERS[_dual.closed] = transformed.closed
    HANDLERS[_dual.beyond] = transformed.beyond
    HANDLERS[autograd.gradients] = transformed.gradients
    HANDLERS[_vmap.run] = transformed.mapped
    HANDLERS[_transforms.jvp] = transformed.directional
    HANDLERS[names.public] = lambda tr, name: names.public(name)
    HANDLERS[checkpoint._with_reentry] = _checkpoint_with_reentry


def _infinite(tr: Tracer, found: Any) -> bool:
    """Steps are good, as a rule: a call whose step is not is refused, and eager code leaves it out."""
    total = sum(unpack(tr, found))
    if not isinstance(total, Tensor):
        return bool(total)
    tr.expect(total, False)
    return False


def _graph_break(tr: Tracer, *message: Any) -> None:
    raise Break("graph_break() is called")


def _nest(tr: Tracer, by: int) -> int:
    from flambeau._eager import autocast

    tr.nested += by
    return autocast.nest(by)


def _checkpoint(tr: Tracer, function: Any, preserve: Any, context_fn: Any, determinism_check: Any, debug: Any, early_stop: Any,
                args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # fmt: skip
    """A checkpointed part is captured like any other, and marked: the program computes it again where the backward pass needs it."""
    from flambeau.utils import checkpoint

    if debug or checkpoint._checkpoint_debug_enabled or determinism_check not in checkpoint._METADATA:
        raise Break("checkpoint() with debug or a check of one's own")
    if context_fn is not checkpoint.noop_context_fn:
        raise Break("checkpoint() with contexts of one's own")
    random, tr.recorder.random = tr.recorder.random, False
    try:
        with again.part(tr.recorder) if STATE.grad else nullcontext():
            result = tr.call(function, args, kwargs)
        if tr.recorder.random and not preserve and STATE.grad:
            raise Break("checkpoint() draws other random numbers the second time")
        return result
    finally:
        tr.recorder.random |= random


def _checkpoint_with_reentry(tr: Tracer, function: Any, preserve: Any, args: tuple[Any, ...]) -> Any:
    from flambeau.utils import checkpoint

    needs = any(isinstance(x, Tensor) and x.requires_grad for x in args)
    if STATE.grad and not needs:
        tr.call(checkpoint.check_backward_validity, (args,), {})
    before, STATE.grad = STATE.grad, STATE.grad and needs
    try:
        return _checkpoint(tr, function, preserve, checkpoint.noop_context_fn, "none", False, True, args, {})
    finally:
        STATE.grad = before


def _tensor(tr: Tracer, data: Any, **options: Any) -> Any:
    tr.deep(data)
    return tr.recorder.new_tensor(data, **options)


def _as_tensor(tr: Tracer, data: Any, dtype: Any = None, device: Any = None) -> Any:
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(device=device, dtype=dtype)
    return _tensor(tr, data, dtype=dtype, device=device)


def _requires_grad(tr: Tracer, t: Any, requires_grad: bool = True) -> Any:
    tr.store_attr(t, "requires_grad", requires_grad)
    return t


def _register_hook(tr: Tracer, t: Any, hook: Any) -> Any:
    if tr.source_of(t) is not None:
        raise Break("a hook is put on a tensor from outside")
    tr.recorder.custom = "a hook of a tensor"
    return t.register_hook(hook)


def _packing(tr: Tracer, block: Any) -> None:
    from flambeau._capture.transformed import followed
    from flambeau.autograd import graph

    if graph._disabled:
        raise Break("hooks of saved tensors are disabled")
    hooks = tr.load_attr(block, "pack_hook"), tr.load_attr(block, "unpack_hook")
    tr.recorder.custom = "hooks of saved tensors"
    tr.recorder.packing.append((followed(tr, hooks[0]), followed(tr, hooks[1])))


def _node_name(tr: Tracer, node: Any) -> str:
    _inside(tr, node)
    return str(node.name())


def _node_hook(tr: Tracer, node: Any, hook: Any, fn: Any) -> Any:
    _inside(tr, node)
    tr.recorder.custom = "a hook of an autograd node"
    return fn(node, hook)


def _inside(tr: Tracer, node: Any) -> None:
    """Whether a node is one of those that the capture records: others may be other ones at each call."""
    if id(node) in tr.outside_nodes or (node.leaf and not tr.is_inside(node)):
        raise Break("a node of a graph that was recorded outside")


def _hook_removed(tr: Tracer, handle: Any) -> None:
    if tr.source_of(handle) is not None:
        raise Break("a hook that was put on outside is removed")
    handle.remove()


def _retain_grad(tr: Tracer, t: Any) -> None:
    if tr.source_of(t) is not None and not t.is_leaf:
        raise Break("retain_grad() of a tensor from outside")
    tr.recorder.custom = "retain_grad()"
    t.retain_grad()


def _detach_in_place(tr: Tracer, t: Any) -> Any:
    raise Break("detach_() is called", "use detach()")


def _make_subclass(tr: Tracer, cls: Any, data: Any, require_grad: bool = False, **_: Any) -> Any:
    made = Tensor._make_subclass(cls, tr.recorder.detach(data), False)
    if require_grad:
        made.requires_grad = True
        tr.recorder.inside_leaf = True
    return made

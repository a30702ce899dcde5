"""The backward pass while a capture records: the walk of `_eager.graph.execute`, with gradients as tensors throughout.

Each derivative is the one written in tensor operations (`.vjp`), so that what it does is noted like everything else.
Hooks and the backward of custom functions are followed by the capture, as all code of users is.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from flambeau import autograd
from flambeau._capture import again, rewritten
from flambeau._capture.breaks import Break
from flambeau._eager import record
from flambeau._eager.graph import TWICE, Node, node_of
from flambeau._eager.modes import STATE
from flambeau._eager.views import AsStridedBackward0, CopySlices
from flambeau._tensor import Tensor
from flambeau._values import dtype as dtypes
from flambeau._values.shape import contiguous_strides, is_dense
from flambeau.autograd import _sequence
from flambeau.autograd.function import BackwardCFunction

_BY_SERIAL = attrgetter("seq")


def backward(tracer: Any, tensors: Any, grad_tensors: Any = None, retain_graph: Any = None, create_graph: bool = False,
             grad_variables: Any = None, inputs: Any = None) -> None:  # fmt: skip
    """`torch.autograd.backward`."""
    keep = create_graph if retain_graph is None else bool(retain_graph)
    tensors = _sequence(tensors)
    grads = (None,) * len(tensors) if grad_tensors is None else _sequence(grad_tensors)
    roots = _roots(tracer, tensors, grads)
    if inputs is None:
        _execute(tracer, roots, keep, create_graph, None)
        return
    if not isinstance(inputs, Tensor) and len(inputs) == 0:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    targets = _sequence(inputs)
    for t, g in zip(targets, _captured(tracer, roots, targets, keep, create_graph), strict=True):
        if g is not None:
            _accumulate(tracer, t, g, create_graph)


def grad(tracer: Any, outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: Any = None, create_graph: bool = False,
         only_inputs: bool = True, allow_unused: Any = None, is_grads_batched: bool = False,
         materialize_grads: bool = False) -> tuple[Any, ...]:  # fmt: skip
    """`torch.autograd.grad`."""
    if is_grads_batched:
        raise Break("torch.autograd.grad(is_grads_batched=True)")
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    keep = create_graph if retain_graph is None else bool(retain_graph)
    outputs, inputs = _sequence(outputs), _sequence(inputs)
    grads = (None,) * len(outputs) if grad_outputs is None else _sequence(grad_outputs)
    found = _captured(tracer, _roots(tracer, outputs, grads), inputs, keep, create_graph)
    out: list[Any] = []
    for i, (g, t) in enumerate(zip(found, inputs, strict=True)):
        if g is None and materialize_grads:
            g = _zeros(t._a.shape, t.dtype)
        elif g is None and not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set allow_unused=True if this "
                "is the desired behavior."
            )
        out.append(g)
    return tuple(out)


def _roots(tracer: Any, tensors: Sequence[Any], grads: Sequence[Any]) -> list[tuple[Node, int, Tensor]]:
    """Where the pass begins, as in eager; gradients that are made up are not recorded as a call."""
    tracer.deep(list(zip(tensors, grads, strict=True)))
    return autograd._roots(tensors, grads, lambda t: _unrecorded(_public("ones"), tuple(t._a.shape), dtype=t.dtype))


def _captured(tracer: Any, roots: Any, targets: Sequence[Any], keep: bool, create: bool) -> list[Any]:
    wanted: dict[Node, dict[int, Any]] = {}
    nodes = []
    for t in targets:
        tracer.examine(t)
        node = node_of(t)
        if node is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        wanted.setdefault(node, {})[t._nr] = None
        nodes.append(node)
    before, STATE.partial = STATE.partial, True
    try:
        _execute(tracer, roots, keep, create, wanted)
    finally:
        STATE.partial = before
    return [wanted[n][t._nr] for n, t in zip(nodes, targets, strict=True)]


def _execute(tracer: Any, roots: Any, keep: bool, create: bool, targets: dict[Node, dict[int, Any]] | None) -> None:
    buffer: dict[Node, list[Any]] = {}
    order: list[Node] = []
    waiting: dict[Node, int] = {}
    seen: set[Node] = set()
    stack: list[Node] = []
    grad_mode, STATE.grad = STATE.grad, create
    try:
        for node, nr, g in roots:
            _put(buffer, node, nr, g)
            if node not in seen:
                seen.add(node)
                stack.append(node)
                if node.leaf:
                    waiting.setdefault(node, 0)
        while stack:
            node = stack.pop()
            if node.leaf:
                continue
            if id(node) in tracer.outside_nodes:
                if targets is not None and node in targets:
                    order.append(node)
                    continue
                raise Break(
                    "backward() goes on into a graph that was recorded outside",
                    "run the forward pass in the same function",
                )
            order.append(node)
            for child in node.next:
                if child is not None:
                    if child.leaf:
                        waiting[child] = waiting.get(child, 0) + 1
                    if child not in seen:
                        seen.add(child)
                        stack.append(child)
        order.sort(key=_BY_SERIAL, reverse=True)
        needed = _needed(order, targets) if targets is not None else None
        for leaf in [leaf for leaf, n in waiting.items() if n == 0]:
            _finish(tracer, leaf, buffer, create, targets)
        for node in order:
            slots = buffer.pop(node, None)
            if slots is not None and node.watched:
                slots = _hooks(tracer, node, slots, create)
            grads: Sequence[Any]
            if targets is not None:
                wanted = targets.get(node)
                if wanted is not None and slots is not None:
                    for nr in wanted:
                        if slots[nr] is not None:
                            wanted[nr] = slots[nr] if wanted[nr] is None else wanted[nr] + slots[nr]
                if node not in needed:  # type: ignore[operator]
                    for child in node.next:
                        if child is not None and child.leaf:
                            waiting[child] -= 1
                            if not waiting[child]:
                                _finish(tracer, child, buffer, create, targets)
                    continue
            if slots is None:
                grads = (None,) * len(node.next)
            else:
                if node.saved is None:
                    raise RuntimeError(TWICE)
                with again.derivative(tracer.recorder, node, slots):
                    grads = _through(tracer, node, slots, create)
                if node.post:
                    grads = _post_hooks(tracer, node, grads, slots)
                if not keep:
                    tracer.spent.add(id(node))
                    tracer.keep(node)
                    node.release()
            for i, child in enumerate(node.next):
                if child is None:
                    continue
                gi = grads[i]
                if gi is not None:
                    _put(buffer, child, node.nrs[i] if node.nrs and not child.leaf else 0, gi)
                if child.leaf:
                    waiting[child] -= 1
                    if not waiting[child]:
                        _finish(tracer, child, buffer, create, targets)
    finally:
        STATE.grad = grad_mode


def _through(tracer: Any, node: Node, slots: list[Any], create: bool) -> Sequence[Any]:
    """The gradients of a node's inputs."""
    if isinstance(node, (AsStridedBackward0, CopySlices)):
        return rewritten.through(tracer, node, slots[0])
    many = node.outs > 1 or bool(getattr(getattr(node, "op", None), "outputs", ()))
    if isinstance(node, BackwardCFunction):
        if node.materialize_grads:
            slots = [_filled(node, nr) if g is None else g for nr, g in enumerate(slots)]
        return tracer.custom_backward(node, slots, create)
    if many and isinstance(node, record.RuleNode):
        slots = [_filled(node, nr) if g is None else g for nr, g in enumerate(slots)]
    return node.tensors(slots if node.outs > 1 else slots[0])


def _filled(node: Any, nr: int) -> Any:
    meta = node.metas[nr] if node.metas else None
    return None if meta is None else _zeros(meta[0], dtypes.of(meta[1]))


def _zeros(shape: Any, dtype: Any) -> Any:
    return _unrecorded(_public("zeros"), tuple(shape), dtype=dtype)


def _public(name: str) -> Any:
    from flambeau._eager.names import public

    return public(name)


def _unrecorded(fn: Any, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, device="cpu", **kwargs)


def _needed(order: list[Node], targets: dict[Node, Any]) -> set[Node]:
    out: set[Node] = set()
    for node in reversed(order):
        if any(child is not None and (child in targets or child in out) for child in node.next):
            out.add(node)
    return out


def _put(buffer: dict[Node, list[Any]], node: Node, nr: int, g: Any) -> None:
    slots = buffer.get(node)
    if slots is None:
        slots = buffer[node] = [None] * node.outs
    slots[nr] = g if slots[nr] is None else slots[nr] + g


def _finish(tracer: Any, leaf: Any, buffer: dict[Node, list[Any]], create: bool, targets: Any) -> None:
    slots = buffer.pop(leaf, None)
    if slots is None:
        return
    t = leaf.ref()
    hooked = leaf.watched or (t is not None and t._post_hooks)
    if hooked:
        slots = _hooks(tracer, leaf, slots, create)
    if targets is not None:
        if leaf in targets:
            targets[leaf][0] = slots[0]
        return
    if t is None:
        return
    _accumulate(tracer, t, slots[0], create)
    if leaf.post:
        raise Break("a hook of the node that accumulates a gradient")
    if hooked:
        for fn in _held(tracer, _outside(tracer, t, "_post_hooks", t._post_hooks)):
            tracer.call(fn, (t,), {})


def _accumulate(tracer: Any, t: Any, g: Any, create: bool) -> None:
    """`t.grad += g`, as a read and a write of an attribute of t."""
    old = tracer.tensor_grad(t)
    if old is None:
        tracer.set_tensor_grad(t, g if create and g._node is not None else _laid_out_as(t, g))
    elif create:
        tracer.set_tensor_grad(t, old + g)
    else:
        old.add_(g)


def _laid_out_as(t: Any, g: Any) -> Any:
    """A copy of a gradient that lies as its leaf does, where that has no gaps and no overlaps; else in order: PyTorch's rule."""
    shape, steps = t._a.shape, t.stride()
    plain = t._a.flags.c_contiguous or not is_dense(shape, steps)
    made = g.clone()
    want = contiguous_strides(shape) if plain else steps
    if all(n == 1 or a == b for n, a, b in zip(shape, made.stride(), want, strict=True)):
        return made
    return made.contiguous() if plain else _public("empty_like")(t).copy_(g)


def _hooks(tracer: Any, node: Node, slots: list[Any], create: bool) -> list[Any]:
    """Hooks of the node's outputs, its pre-hooks, and gradients that are retained."""
    slots = list(slots)
    for nr, hooks in _hooks_of(tracer, node):
        for fn in hooks:
            if slots[nr] is not None:
                result = tracer.call(fn, (slots[nr],), {})
                if result is not None:
                    if not _alike(result, slots[nr]):
                        raise Break("a hook returns something other than a gradient")
                    slots[nr] = result
    for fn in list(node.pre.values()) if node.pre else ():
        result = tracer.call(fn, (tuple(slots),), {})
        if result is not None:
            slots = _replaced(tracer, result, slots)
    if node.retained is not None:
        for nr, ref in node.retained.items():
            t = ref()
            if t is not None and slots[nr] is not None:
                if t._grad is not None:
                    raise Break("a retained gradient is accumulated")
                t._grad = slots[nr]
    return slots


def _hooks_of(tracer: Any, node: Any) -> list[tuple[int, list[Any]]]:
    """The hooks of a node's outputs. Those of a leaf from outside are assumed to be these."""
    t = node.ref() if node.leaf else None
    if t is None or tracer.source_of(t) is None:
        table = node.hooks
    else:
        table = _outside(tracer, t, "_node.hooks", node.hooks)
        for name in ("pre", "post", "retained"):
            if _outside(tracer, t, f"_node.{name}", getattr(node, name)):
                raise Break("a hook of the node that accumulates a gradient")
    _held(tracer, table)
    return [(nr, _held(tracer, hooks)) for nr, hooks in (table or {}).items()]


def _outside(tracer: Any, t: Any, name: str, value: Any) -> Any:
    """Something of a leaf, which is read at each call where the leaf is from outside."""
    source = tracer.source_of(t)
    return value if source is None else tracer.reach(value, tracer.sources.anew(f"{{}}.{name}", source))


def _held(tracer: Any, table: Any) -> list[Any]:
    """What a table of hooks holds."""
    if table is None:
        return []
    tracer.scan(table)
    return list(table.values())


def _post_hooks(tracer: Any, node: Node, grads: Sequence[Any], slots: list[Any]) -> Sequence[Any]:
    """What the hooks of a node make of the gradients of its inputs."""
    for fn in list(node.post.values()):  # type: ignore[union-attr]
        result = tracer.call(fn, (tuple(grads), tuple(slots)), {})
        if result is not None:
            grads = _replaced(tracer, result, grads)
    return grads


def _replaced(tracer: Any, result: Any, before: Sequence[Any]) -> list[Any]:
    """The gradients that a hook of a node gives for those that it was given."""
    tracer.deep(result)
    given = list(result) if isinstance(result, (tuple, list)) else [result]
    if len(given) != len(before) or not all(
        y is None or x is None or _alike(x, y) for x, y in zip(given, before, strict=True)
    ):
        raise Break("a hook of an autograd node gives other gradients than there are")
    return given


def _alike(x: Any, y: Any) -> bool:
    """Whether a tensor can be the gradient in the place of another."""
    return isinstance(x, Tensor) and x._a.shape == y._a.shape and x._a.dtype == y._a.dtype

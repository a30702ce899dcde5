"""Automatic differentiation of everything that was recorded: `backward`, `grad`, and what surrounds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau._eager.derived import constant as _constant
from flambeau._eager.graph import DISPATCHED, Node, accumulate, as_tensor, execute, node_of, unwrap
from flambeau._eager.modes import MODES, STATE
from flambeau._operators.op import Op
from flambeau._tensor import PLAIN, Tensor, bare, wrap
from flambeau._torch_dispatch import takes_over
from flambeau.autograd import forward_ad as forward_ad, function as function, grad_mode as grad_mode, graph as graph
from flambeau.autograd.anomaly_mode import detect_anomaly as detect_anomaly, set_detect_anomaly as set_detect_anomaly
from flambeau.autograd.function import Function as Function, NestedIOFunction as NestedIOFunction
from flambeau.autograd.grad_mode import (
    enable_grad as enable_grad,
    enforce_grad_layout_policy as enforce_grad_layout_policy,
    inference_mode as inference_mode,
    no_grad as no_grad,
    set_grad_enabled as set_grad_enabled,
    set_multithreading_enabled as set_multithreading_enabled,
)
from flambeau.autograd.gradcheck import (
    gradcheck as gradcheck,
    gradgradcheck as gradgradcheck,
)  # over the module's own name

NO_GRAD = "element {} of tensors does not require grad and does not have a grad_fn"


def _roots(
    tensors: Sequence[Tensor], grads: Sequence[Any], ones: Callable[[Tensor], Tensor]
) -> list[tuple[Node, int, Tensor]]:
    """(node, output number, gradient) for each output; gradients of scalars that are not given are `ones`."""
    out = []
    for i, (t, g) in enumerate(zip(tensors, grads, strict=True)):
        node = node_of(t)
        if node is None:
            raise RuntimeError(NO_GRAD.format(i))
        if g is None:
            if t._a.size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            if t._a.dtype.kind == "c":
                raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {t.dtype}")
            g = ones(t)
        else:
            if not isinstance(g, Tensor):
                raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
            if g._a.shape != t._a.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a shape of {t.shape}."
                )
            if (g._a.dtype.kind == "c") != (t._a.dtype.kind == "c"):
                raise RuntimeError(
                    "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
                    f"grad_output[{i}] has a dtype of {g.dtype} and output[{i}] has a dtype of {t.dtype}."
                )
            if g._a.dtype != t._a.dtype:
                g = g.to(t.dtype)
        out.append((node, t._nr, g))
    return out


def _begun(tensors: Sequence[Tensor], grads: Sequence[Any], create: bool) -> list[tuple[Node, int, Any]]:
    """The roots of an eager pass: arrays, or tensors where it is recorded itself."""
    return [(node, nr, g if create else unwrap(g)) for node, nr, g in _roots(tensors, grads, _ones)]


def _ones(t: Tensor) -> Tensor:
    plain = type(t) in PLAIN or not takes_over(t)
    if plain and not (MODES and ("make_fx" in MODES or "dispatch" in MODES)):
        return wrap(np.ones(t._a.shape, t._a.dtype))
    from flambeau._eager.names import public

    return public("ones_like")(t)


def _sequence(x: Any) -> tuple[Any, ...]:
    return (x,) if isinstance(x, Tensor) or x is None else tuple(x)


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             grad_variables: Any = None, inputs: Any = None) -> None:  # fmt: skip
    """Add the gradients of `tensors` to the `.grad` of the leaves they were computed from.

    Arguments:
        tensors: one tensor or several; where one has more than one element its gradient must be given.
        grad_tensors: gradients of `tensors`, of the same shapes; None stands for 1.
        retain_graph: keep what was saved, so that backward can run again (default: `create_graph`).
        create_graph: record the backward pass itself, for derivatives of higher order.
        inputs: accumulate into these only.

    >>> import flambeau as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> torch.autograd.backward((x * x).sum())
    >>> x.grad
    tensor([2., 4.])
    """
    if inputs is not None and not isinstance(inputs, Tensor) and len(inputs) == 0:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    if retain_graph is None:
        retain_graph = create_graph
    if isinstance(tensors, Tensor) and inputs is None:  # the usual call
        if (
            not MODES
            and not DISPATCHED
            and type(tensors) in PLAIN
            and grad_tensors is None
            and not create_graph
            and tensors._a.ndim == 0
            and tensors._a.dtype.kind == "f"
        ):
            node = node_of(tensors)
            if node is not None:
                execute(((node, tensors._nr, _constant(1.0, tensors._a.dtype)),), bool(retain_graph), False)
                return
        tensors = (tensors,)
        grads: Any = (
            (grad_tensors,) if isinstance(grad_tensors, Tensor) or grad_tensors is None else tuple(grad_tensors)
        )
        _execute(tensors, grads, bool(retain_graph), create_graph)
        return
    tensors = _sequence(tensors)
    grads = (None,) * len(tensors) if grad_tensors is None else _sequence(grad_tensors)
    if inputs is None:
        _execute(tensors, grads, bool(retain_graph), create_graph)
        return
    targets = _sequence(inputs)
    found, lifted = _captured(tensors, grads, targets, bool(retain_graph), create_graph, False)
    before, STATE.grad = STATE.grad, create_graph
    try:
        for t, g in zip(targets, found, strict=True):
            if g is not None:
                accumulate(t, g, lifted)
    finally:
        STATE.grad = before


def _execute(tensors: Sequence[Tensor], grads: Sequence[Any], keep: bool, create: bool) -> None:
    """Gradients to the leaves."""
    lifted = create or _lifted(tensors)
    execute(_begun(tensors, grads, lifted), keep, lifted, recorded=create)


def _captured(tensors: Sequence[Tensor], grads: Sequence[Any], targets: Sequence[Tensor], keep: bool, create: bool,
              recorded: bool) -> tuple[list[Any], bool]:  # fmt: skip
    """The gradients that reach the targets, and whether they are tensors."""
    lifted = create or _lifted(tensors)
    roots = _begun(tensors, grads, lifted)
    wanted: dict[Node, dict[int, Any]] = {}
    nodes = []
    for t in targets:
        node = node_of(t)
        if node is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        wanted.setdefault(node, {})[t._nr] = None
        nodes.append(node)
    before, STATE.partial = STATE.partial, True
    try:
        execute(roots, keep, lifted, wanted, create or (lifted and recorded))
    finally:
        STATE.partial = before
    return [wanted[n][t._nr] for n, t in zip(nodes, targets, strict=True)], lifted


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
         only_inputs: bool = True, allow_unused: bool | None = None, is_grads_batched: bool = False,
         materialize_grads: bool = False) -> tuple[Any, ...]:  # fmt: skip
    """The gradients of `outputs` with respect to `inputs`; nothing is accumulated anywhere.

    Arguments:
        outputs, grad_outputs, retain_graph, create_graph: as for `backward`.
        inputs: the tensors to differentiate with respect to.
        allow_unused: give None (rather than an error) for an input that the outputs do not depend on.
        is_grads_batched: `grad_outputs` have a leading batch dimension; one gradient for each of its entries.
        materialize_grads: zeros instead of None.

    >>> import flambeau as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> (dy,) = torch.autograd.grad(x**2, x, create_graph=True)
    >>> torch.autograd.grad(dy, x)
    (tensor(2.),)
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    if allow_unused is None:
        allow_unused = materialize_grads
    if retain_graph is None:
        retain_graph = create_graph
    outputs, inputs = _sequence(outputs), _sequence(inputs)
    grads = (None,) * len(outputs) if grad_outputs is None else _sequence(grad_outputs)
    if is_grads_batched:
        n = next(g for g in grads if g is not None)._a.shape[0]
        rows = [
            grad(
                outputs,
                inputs,
                [None if g is None else g[i] for g in grads],
                True if i < n - 1 else retain_graph,
                create_graph,
                allow_unused=allow_unused,
                materialize_grads=materialize_grads,
            )
            for i in range(n)
        ]
        return tuple(
            None
            if column[0] is None
            else column[0].unsqueeze(0).expand(1, *column[0].shape)
            if len(column) == 1
            else _stack(column)
            for column in zip(*rows, strict=True)
        )
    found = gradients(outputs, inputs, grads, bool(retain_graph), create_graph, False)
    out: list[Any] = []
    for i, (g, t) in enumerate(zip(found, inputs, strict=True)):
        if g is None:
            if materialize_grads:
                out.append(wrap(np.zeros(t._a.shape, t._a.dtype)))
                continue
            if not allow_unused:
                raise RuntimeError(
                    f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set allow_unused=True if this "
                    "is the desired behavior."
                )
            out.append(None)
        else:
            out.append(g)
    return tuple(out)


def gradients(outputs: Sequence[Any], inputs: Sequence[Any], grads: Sequence[Any], keep: bool, create: bool,
              recorded: bool) -> list[Any]:  # fmt: skip
    """The gradients of outputs with respect to inputs, None where there is none.

    `recorded`: where batches are inside, what happens to them is recorded even where their samples' history is not (`create`).
    """
    found, lifted = _captured(outputs, grads, inputs, keep, create, recorded)
    return [None if g is None else g if create else bare(g) if lifted else as_tensor(g) for g in found]


def _lifted(tensors: Sequence[Tensor]) -> bool:
    """Whether gradients must travel as tensors: bare arrays would lose tangents, batches and subclasses, and modes not see them."""
    if MODES and ("dual" in MODES or "vmap" in MODES or "dispatch" in MODES or "make_fx" in MODES):
        return True
    return any(type(t) not in PLAIN and takes_over(t) for t in tensors) or (
        bool(DISPATCHED) and _reaches_dispatched(tensors)
    )


def _reaches_dispatched(tensors: Sequence[Tensor]) -> bool:
    """Whether a subclass that takes over had part in the history of some tensors."""
    waiting = [node for node in map(node_of, tensors) if node is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node in DISPATCHED:
            return True
        for child in node.next:
            if child is not None and child not in seen:
                seen.add(child)
                waiting.append(child)
    return False


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    from flambeau._eager.names import public

    return public("stack")(list(tensors))


def _is_checkpoint_valid() -> bool:
    """Whether the backward pass that is running accumulates into all leaves, as one inside it would."""
    return not STATE.partial


def variable(*args: Any, **kwargs: Any) -> Any:
    """Refused: `torch.tensor` makes tensors."""
    raise RuntimeError("torch.autograd.variable(...) is deprecated, use torch.tensor(...) instead")


_LAZY = {
    "Variable": "variable",
    "functional": None,
    "profiler": None,
    "profiler_util": None,
    "kineto_available": "profiler",
    "DeviceType": "profiler_util",
    "_profiler_enabled": "profiler",
}


def _of_function(fn: Any, inputs: Sequence[Any], g: Any) -> list[Any]:
    """What reaches the inputs of fn(*inputs), of whose (first) result g is the gradient; zeros where nothing does."""
    recorded = STATE.grad and any(node_of(x) is not None for x in (*inputs, g))
    with enable_grad():
        xs = [x.view_as(x) if recorded and node_of(x) is not None else x.detach().requires_grad_() for x in inputs]
        out = fn(*xs)
        out = out[0] if isinstance(out, (tuple, list)) else out
        found = gradients([out], xs, [g], False, recorded, False)
    return [x.new_zeros(x.shape) if r is None else r for r, x in zip(found, xs, strict=True)]


Op.gradients = staticmethod(_of_function)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        module = importlib.import_module(f"flambeau.autograd.{_LAZY[name] or name}")
        return module if _LAZY[name] is None else getattr(module, name)
    raise AttributeError(f"module 'flambeau.autograd' has no attribute '{name}'")

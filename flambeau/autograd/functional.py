"""Jacobians, Hessians and their products with vectors, of functions of tensors, by reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau._eager.graph import node_of
from flambeau._eager.modes import STATE
from flambeau._tensor import Tensor, wrap


def _tuple(x: Any, name: str, owner: str) -> tuple[tuple[Tensor, ...], bool]:
    single = not isinstance(x, tuple)
    xs = (x,) if single else x
    for i, t in enumerate(xs):
        if not isinstance(t, Tensor):
            if single:
                raise TypeError(
                    f"The {name} given to {owner} must be either a Tensor or a tuple of Tensors but the given {name} has type {type(t)}."
                )
            raise TypeError(
                f"The {name} given to {owner} must be either a Tensor or a tuple of Tensors but the value at index {i} has type {type(t)}."
            )
    return xs, single


def _fresh(xs: tuple[Tensor, ...], create: bool) -> tuple[Tensor, ...]:
    """Copies to differentiate with respect to, which keep their history where the result should have one."""
    return tuple(x.view_as(x) if create and node_of(x) is not None else x.detach().requires_grad_(True) for x in xs)


def _vectors(v: Any, like: tuple[Tensor, ...], what: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) != 1 or like[0]._a.size != 1:
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single Tensor with a single element."
                if what == "out"
                else "The vector v can only be None if the input to the user-provided function is a single Tensor with a single element."
            )
        return tuple(wrap(np.ones_like(t._a)) for t in like)
    vs, _ = _tuple(v, "v", what)
    if len(vs) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(vs)}.")
    for i, (a, b) in enumerate(zip(vs, like, strict=True)):
        if a._a.shape != b._a.shape:
            raise RuntimeError(
                f"v has invalid size: should be {b.shape} but got {a.shape}."
                if len(like) == 1
                else f"Entry {i} in v has invalid size: should be {b.shape} but got {a.shape}."
            )
    return vs


def _grad(outputs: Any, inputs: Any, grads: Any, create: bool, strict: bool = False, keep: bool = True) -> list[Tensor]:
    from flambeau import autograd

    pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if node_of(o) is not None]
    if not pairs:
        found: tuple[Any, ...] = (None,) * len(inputs)
    else:
        found = autograd.grad(
            [o for o, _ in pairs],
            inputs,
            [g for _, g in pairs],
            retain_graph=keep,
            create_graph=create,
            allow_unused=True,
        )
    out = []
    for i, (g, x) in enumerate(zip(found, inputs, strict=True)):
        if g is None:
            if strict:
                raise RuntimeError(
                    f"The output of the user-provided function is independent of input {i}. This is not allowed in strict mode."
                )
            g = wrap(np.zeros_like(x._a))
        out.append(g)
    return out


def _differentiable(ys: Any, strict: bool) -> None:
    """In strict mode every output must have history."""
    for i, y in enumerate(ys):
        if strict and node_of(y) is None:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs must be computed in a "
                "differentiable manner from the input when running in strict mode."
            )


_STRATEGY = ('Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs than inputs, '
             '"forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".')  # fmt: skip


def _check_strategy(create_graph: bool, strict: bool, vectorize: bool, strategy: str) -> None:
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(_STRATEGY)
    advice = "are not supported together (yet). Please either set"
    owner = "torch.autograd.functional.jacobian:"
    if strategy == "forward-mode":
        if create_graph:
            raise NotImplementedError(
                f'{owner} `create_graph=True` and `strategy="forward-mode"` {advice} `create_graph=False` or `strategy="reverse-mode"`.'
            )
        if strict:
            raise RuntimeError(
                f'{owner} `strict=True` and `strategy="forward-mode"` {advice} `strict=False` or `strategy="reverse-mode"`.'
            )
        if not vectorize:
            raise NotImplementedError(
                "Computing Jacobian using forward-AD or forward-over-reverse Hessian isonly implemented for `vectorize=True`."
            )
    elif strict and vectorize:
        raise RuntimeError(
            f"{owner} `strict=True` and `vectorized=True` are not supported together. Please either set `strict=False` or "
            "`vectorize=False`."
        )


def _finish(xs: list[Tensor], single: bool, create: bool) -> Any:
    out = tuple(x if create else x.detach() for x in xs)
    return out[0] if single else out


class _grad_on:
    def __enter__(self) -> None:
        self.before, STATE.grad = STATE.grad, True

    def __exit__(self, *exc: object) -> None:
        STATE.grad = self.before


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), v^T J): the product of a vector with the Jacobian."""
    with _grad_on():
        xs, single = _tuple(inputs, "inputs", "vjp")
        xs = _fresh(xs, create_graph)
        ys, single_out = _tuple(func(*xs), "outputs of the user-provided function", "vjp")
        _differentiable(ys, strict)
        out = _grad(ys, xs, _vectors(v, ys, "out"), create_graph, strict)
    return _finish(list(ys), single_out, create_graph), _finish(out, single, create_graph)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), J v), by differentiating the vector-Jacobian product once more."""
    with _grad_on():
        xs, _ = _tuple(inputs, "inputs", "jvp")
        vs = _vectors(v, xs, "in")
        xs = _fresh(xs, create_graph)
        ys, single_out = _tuple(func(*xs), "outputs of the user-provided function", "jvp")
        _differentiable(ys, strict)
        us = tuple(wrap(np.zeros_like(y._a)).requires_grad_(True) for y in ys)
        gs = _grad(ys, xs, us, True, strict)
        out = _grad(gs, us, vs, create_graph)
    return _finish(list(ys), single_out, create_graph), _finish(out, single_out, create_graph)


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The Jacobian: for each output and input a tensor of shape output.shape + input.shape.

    >>> import flambeau as torch
    >>> torch.autograd.functional.jacobian(lambda x: x**2, torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    _check_strategy(create_graph, strict, vectorize, strategy)
    with _grad_on():
        xs, single = _tuple(inputs, "inputs", "jacobian")
        xs = _fresh(xs, create_graph)
        ys, single_out = _tuple(func(*xs), "outputs of the user-provided function", "jacobian")
        _differentiable(ys, strict)
        table = []
        for y in ys:
            rows: list[list[Tensor]] = [[] for _ in xs]
            for j in range(y._a.size):
                seed = np.zeros(y._a.shape, y._a.dtype)
                seed.reshape(-1)[j] = 1
                for i, g in enumerate(_grad((y,), xs, (wrap(seed),), create_graph, strict)):
                    rows[i].append(g)
            table.append([_stacked(r, y._a.shape, x) for r, x in zip(rows, xs, strict=True)])
    made = [[t if create_graph else t.detach() for t in row] for row in table]
    if single:
        return made[0][0] if single_out else tuple(row[0] for row in made)
    return tuple(made[0]) if single_out else tuple(tuple(row) for row in made)


def _stacked(rows: list[Tensor], shape: tuple[int, ...], x: Tensor) -> Tensor:
    from flambeau._eager.names import public

    if not rows:
        return wrap(np.zeros(shape + x._a.shape, x._a.dtype))
    return public("stack")(rows).reshape(shape + x._a.shape)


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The matrix (or tuple of tuples of tensors) of second derivatives of a function with one scalar output."""
    _, single = _tuple(inputs, "inputs", "hessian")

    def gradient(*xs: Tensor) -> Any:
        y = _scalar(func(*xs), "hessian")
        # The gradient is taken of what jacobian made: it must have history even where the caller wants none.
        found = _grad((y,), xs, (wrap(np.ones_like(y._a)),), True, strict)
        return found[0] if single else tuple(found)

    return jacobian(gradient, inputs, create_graph=create_graph, strict=strict)


def _scalar(y: Any, owner: str) -> Tensor:
    if not isinstance(y, Tensor):
        raise RuntimeError(f"The function given to {owner} should return a single Tensor")
    if y._a.size != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {owner} should contain a single element")
    return y.squeeze()


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), v^T H) for a function with one scalar output."""
    with _grad_on():
        xs, single = _tuple(inputs, "inputs", "vhp")
        vs = _vectors(v, xs, "in")
        xs = _fresh(xs, create_graph)
        y = func(*xs)
        _differentiable((y,), strict)
        gs = _grad((_scalar(y, "vhp"),), xs, (wrap(np.ones((), y._a.dtype)),), True, strict)
        out = _grad(gs, xs, vs, create_graph, strict)
    return _finish([y], True, create_graph), _finish(out, single, create_graph)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), H v) for a function with one scalar output; H is symmetric, so that this is `vhp`."""
    return vhp(func, inputs, v, create_graph, strict)


# ---------------------------------------------------------------- the parts that other libraries build their derivatives of


def _as_tuple(inp: Any, arg_name: str | None = None, fn_name: str | None = None) -> Any:
    """(whether it was a tuple, it as a tuple of tensors); with no names for what is refused, the tuple alone."""
    if arg_name is None and fn_name is None:
        return tuple(inp) if isinstance(inp, (tuple, list)) else (inp,)
    found, single = _tuple(inp, str(arg_name), str(fn_name))
    return not single, found


def _tuple_postprocess(res: Any, to_unpack: Any) -> Any:
    """Undoes `_as_tuple`, of one level or of two: what is false there was no tuple."""
    outer, inner = to_unpack if isinstance(to_unpack, tuple) else (to_unpack, True)
    if not inner:
        res = tuple(row[0] for row in res)
    return res if outer else res[0]


def _grad_preprocess(inputs: Any, create_graph: bool, need_graph: bool) -> tuple[Tensor, ...]:
    """Tensors of their own for a function to be differentiated by."""
    return tuple(x.view_as(x) if create_graph and node_of(x) is not None else x.detach().requires_grad_(need_graph) for x in inputs)  # fmt: skip


def _grad_postprocess(inputs: Any, create_graph: bool) -> Any:
    """Derivatives, without their history unless it is wanted."""
    if not isinstance(inputs[0], Tensor):
        return tuple(_grad_postprocess(row, create_graph) for row in inputs)
    return inputs if create_graph else tuple(g.detach() for g in inputs)


def _autograd_grad(outputs: Any, inputs: Any, grad_outputs: Any = None, create_graph: bool = False, retain_graph: bool | None = None,
                   is_grads_batched: bool = False) -> tuple[Any, ...]:  # fmt: skip
    """`autograd.grad`, by those outputs that have a history; Nones where none has."""
    from flambeau import autograd

    grads = (None,) * len(outputs) if grad_outputs is None else grad_outputs
    pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o is not None and node_of(o) is not None]
    if not pairs:
        return (None,) * len(inputs)
    roots, seeds = zip(*pairs, strict=True)
    return autograd.grad(roots, inputs, seeds, retain_graph, create_graph, allow_unused=True, is_grads_batched=is_grads_batched)  # fmt: skip


def _construct_standard_basis_for(tensors: tuple[Tensor, ...], tensor_numels: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The rows of an identity matrix over all elements, cut into the columns of each tensor."""
    parts, before = [], 0
    for t, count in zip(tensors, tensor_numels, strict=True):
        part = t.new_zeros(sum(tensor_numels), count)
        part.diagonal(-before).fill_(1)
        parts.append(part)
        before += count
    return tuple(parts)

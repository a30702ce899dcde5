"""grad, vjp, jvp and what is made of them: functions of trees of tensors become their derivatives.

Each call differentiates with respect to variables of its own (`variable`), behind which lies whatever history the inputs had: so
transforms nest, and what an outer one needs is kept, while history that nobody outside can reach is dropped (`_closed`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from flambeau import autograd
from flambeau._eager.graph import Node, node_of
from flambeau._eager.modes import STATE
from flambeau._eager.names import public
from flambeau._ground.tree import PyTree, tree_flatten, tree_map, tree_unflatten, treespec_pprint
from flambeau._tensor import Tensor
from flambeau.autograd import _dual
from flambeau.autograd._dual import beyond, closed, running, variable
from flambeau.func._vmap import vmap

Argnums = int | tuple[int, ...]


class _recording:
    """The block in which calls are recorded."""

    def __enter__(self) -> bool:
        self.before, STATE.grad = STATE.grad, True
        return self.before

    def __exit__(self, *exc: object) -> None:
        STATE.grad = self.before


def _closed(tree: PyTree, own: set[Node], recorded: bool) -> PyTree:
    """Results without the history that only this transform could see."""
    return tree_map(lambda t: closed(t, own, recorded) if isinstance(t, Tensor) else t, tree)


def _variables(tree: PyTree) -> tuple[PyTree, list[Tensor], Any]:
    leaves, spec = tree_flatten(tree)
    for x in leaves:
        if not isinstance(x, Tensor):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
    fresh = [variable(x) for x in leaves]
    return tree_unflatten(fresh, spec), fresh, spec


def _zeros(found: Iterable[Any], like: Iterable[Tensor]) -> list[Any]:
    return [public("zeros_like")(x) if g is None else g for g, x in zip(found, like, strict=True)]


def _gradients(outs: list[Tensor], xs: list[Tensor], gs: list[Any], own: set[Node], keep: bool) -> list[Any]:
    """Gradients of outs with respect to xs; recorded only where somebody outside could differentiate them."""
    live = [(o, g) for o, g in zip(outs, gs, strict=True) if node_of(o) is not None]
    if not live:
        return _zeros([None] * len(xs), xs)
    create = beyond([node_of(o) for o, _ in live], own) or any(
        g is not None and node_of(g) is not None for _, g in live
    )
    found = autograd.gradients([o for o, _ in live], xs, [g for _, g in live], keep or create, create, True)
    return _zeros(found, xs)


# ---------------------------------------------------------------- reverse mode


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(func(*primals), vjp_fn), or with the function's second result behind where `has_aux`.

    `vjp_fn(cotangents)` gives, for cotangents like the outputs, a tuple of the
    gradients of the primals: v^T J. It can be called again.

    >>> import flambeau as torch
    >>> y, vjp_fn = torch.func.vjp(torch.sin, torch.zeros(3))
    >>> vjp_fn(torch.ones(3))
    (tensor([1., 1., 1.]),)
    """
    with _recording() as recorded:
        given, xs, spec = _variables(primals)
        own = {n for x in xs if (n := node_of(x)) is not None}
        with running(own):
            result = func(*given)
        aux = None
        if has_aux:
            if not (isinstance(result, tuple) and len(result) == 2):
                raise RuntimeError(
                    "vjp(f, *primals): output of function f should be a tuple: (output, aux) if has_aux is True"
                )
            result, aux = result
        outs, out_spec = tree_flatten(result)
        _check_outputs("vjp(f, *primals)", outs, result)
        for o in outs:
            if not (o.is_floating_point() or o.is_complex()):
                raise RuntimeError(
                    f"vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got Tensor with dtype {o.dtype}"
                )

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        gs, g_spec = tree_flatten(cotangents)
        if g_spec != out_spec:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. cotangents: "
                f"{treespec_pprint(g_spec)}, primal output: {treespec_pprint(out_spec)}"
            )
        with _recording() as outer:
            found = _gradients(outs, xs, gs, own, retain_graph)
            return _closed(tree_unflatten(found, spec), own, outer)

    shown = _closed(result, own, recorded)
    return (shown, vjp_fn, _closed(aux, own, recorded)) if has_aux else (shown, vjp_fn)


def _check_outputs(api: str, outs: list[Any], result: Any) -> None:
    if not outs:
        raise RuntimeError(f"{api}: Expected f to be a function that has non-empty output (got output = {result})")
    for o in outs:
        if not isinstance(o, Tensor):
            raise RuntimeError(f"{api}: expected f(*primals) to return only tensors, got unsupported type {type(o)}")


def _arguments(argnums: Argnums, args: tuple[Any, ...]) -> tuple[int, ...]:
    """The positions that are differentiated, checked."""
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    numbers = (argnums,) if isinstance(argnums, int) else argnums
    if not numbers:
        raise RuntimeError("argnums must be non-empty")
    out = []
    for n in numbers:
        if not isinstance(n, int):
            raise RuntimeError(f"argnum must be int, got: {type(n)}")
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
        out.append(n % len(args))
    if len(set(out)) != len(out):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return tuple(out)


def _replaced(args: tuple[Any, ...], at: tuple[int, ...], by: Iterable[Any]) -> list[Any]:
    out = list(args)
    for n, x in zip(at, by, strict=True):
        out[n] = x
    return out


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives (gradient, value) of a scalar function; with `has_aux` (gradient, (value, aux)).

    Arguments:
        func: gives a tensor of one element, or (that, anything) where `has_aux`.
        argnums: which positional argument, or arguments, to differentiate with respect to: trees of tensors.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _recording() as recorded:
            at = _arguments(argnums, args)
            given, xs, spec = _variables(tuple(args[n] for n in at))
            own = {n for x in xs if (n := node_of(x)) is not None}
            with running(own):
                output = func(*_replaced(args, at, given), **kwargs)
            aux = None
            if has_aux:
                if not (isinstance(output, tuple) and len(output) == 2):
                    raise RuntimeError(
                        "grad_and_value(f)(*args): output of function f should be a tuple: (output, aux) if has_aux is True"
                    )
                output, aux = output
            if not isinstance(output, Tensor):
                raise RuntimeError(
                    f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(output)}"
                )
            if output.dim() != 0:
                raise RuntimeError(
                    f"grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with {output.dim()} dims. "
                    "Maybe you wanted to use the vjp or jacrev APIs instead?"
                )
            if output.is_complex():
                raise RuntimeError(
                    "grad_and_value: Expected all outputs to be real but received complex tensor at flattened input idx: 0"
                )
            found = _gradients([output], xs, [None], own, False)
            gradients = tree_unflatten(found, spec)
            gradients = gradients[0] if isinstance(argnums, int) else gradients
            gradients, output, aux = (_closed(t, own, recorded) for t in (gradients, output, aux))
        return (gradients, (output, aux)) if has_aux else (gradients, output)

    return wrapper


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient function of a scalar function; with `has_aux` it gives (gradient, aux). Arguments as for `grad_and_value`.

    >>> import flambeau as torch
    >>> torch.func.grad(torch.func.grad(torch.sin))(torch.tensor(0.0)) == 0
    tensor(True)
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gradients, rest = grad_and_value(func, argnums, has_aux)(*args, **kwargs)
        return (gradients, rest[1]) if has_aux else gradients

    return wrapper


def _basis(leaves: list[Tensor]) -> list[Tensor]:
    """For n elements in all: n unit vectors, cut into the leaves' shapes."""
    sizes = [x.numel() for x in leaves]
    n, start, out = sum(sizes), 0, []
    for x, size in zip(leaves, sizes, strict=True):
        e = public("zeros")((n, size), dtype=x.dtype, device=x.device)
        e.diagonal(-start).fill_(1)  # type: ignore[attr-defined]
        out.append(e.view(n, *x.shape))
        start += size
    return out


def jacrev(func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None,
           _preallocate_and_copy: bool = False) -> Callable[..., Any]:  # fmt: skip
    """The Jacobian by reverse mode: for each output (outside) and input (inside) a tensor of both their shapes.

    `chunk_size`: at most so many rows at once.

    >>> import flambeau as torch
    >>> torch.func.jacrev(lambda x: x * x)(torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        at = _arguments(argnums, args)
        chosen = tuple(args[n] for n in at)
        found = vjp(lambda *xs: func(*_replaced(args, at, xs), **kwargs), *chosen, has_aux=has_aux)
        output, vjp_fn = found[:2]
        outs, out_spec = tree_flatten(output)
        _check_outputs("jacrev", outs, output)

        def rows(*gs: Any) -> Any:
            return vjp_fn(tree_unflatten(gs, out_spec))

        grads = vmap(rows, chunk_size=chunk_size)(*_basis(outs))
        leaves, in_spec = tree_flatten(grads)
        by_output: list[Any] = []
        start = 0
        for o in outs:
            n = o.numel()
            parts = [g.narrow(0, start, n).reshape(*o.shape, *g.shape[1:]) for g in leaves]
            tree = tree_unflatten(parts, in_spec)
            by_output.append(tree[0] if isinstance(argnums, int) else tree)
            start += n
        jacobian = by_output[0] if out_spec.is_leaf() else tree_unflatten(by_output, out_spec)
        return (jacobian, found[2]) if has_aux else jacobian

    return wrapper


# ---------------------------------------------------------------- forward mode


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """(func(*primals), J v): the derivative in the direction of `tangents`, a tuple like `primals`; with `has_aux`, aux behind.

    >>> import flambeau as torch
    >>> torch.func.jvp(torch.sin, (torch.tensor(0.0),), (torch.tensor(2.0),))
    (tensor(0.), tensor(2.))
    """
    api = "jvp(f, primals, tangents)"
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{api}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    leaves, spec = tree_flatten(primals)
    vs, v_spec = tree_flatten(tangents)
    if spec != v_spec:
        raise RuntimeError(
            f"{api}: Expected primals and tangents to have the same python structure. For example, if primals is a tuple of 3 tensors, "
            f"tangents also must be. Got primals with structure {spec} and tangents with structure {v_spec}"
        )
    for name, xs in (("primals", leaves), ("tangents", vs)):
        if not xs:
            raise RuntimeError(f"{api}: Expected {name} to contain at least one Tensor.")
        for x in xs:
            if not isinstance(x, Tensor):
                raise RuntimeError(f"{api}: Expected {name} to only contain Tensors, got {type(x)}")
    level = _dual.enter()
    STATE.transforms += 1
    try:
        duals = [autograd.forward_ad.dual_at(x, v, level) for x, v in zip(leaves, vs, strict=True)]
        result = func(*tree_unflatten(duals, spec))
        aux = None
        if has_aux:
            if not (isinstance(result, tuple) and len(result) == 2):
                raise RuntimeError(f"{api}: output of function f should be a tuple: (output, aux) if has_aux is True")
            result, aux = result
        outs, out_spec = tree_flatten(result)
        for o in outs:
            if not isinstance(o, Tensor):
                raise RuntimeError(f"{api}: expected f(*args) to return only tensors, got unsupported type {type(o)}")
        values, found = [_dual.primal(o, level) for o in outs], [_dual.tangent(o, level) for o in outs]
        if strict and any(v is None for v in found):
            raise RuntimeError(
                "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed with "
                "strict=True."
            )
        aux = tree_map(lambda t: _dual.primal(t, level) if isinstance(t, Tensor) else t, aux)
    finally:
        STATE.transforms -= 1
        _dual.leave(level)
    moved = _zeros(found, values)
    out = tree_unflatten(values, out_spec), tree_unflatten(moved, out_spec)
    return (*out, aux) if has_aux else out


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The Jacobian by forward mode; results as `jacrev`."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        at = _arguments(argnums, args)
        chosen = tuple(args[n] for n in at)
        leaves, in_spec = tree_flatten(chosen)

        def column(*vs: Any) -> Any:
            return jvp(
                lambda *xs: func(*_replaced(args, at, xs), **kwargs),
                chosen,
                tree_unflatten(vs, in_spec),
                has_aux=has_aux,
            )[1:]

        basis = _basis(leaves)
        dims: Any = (0,)
        if has_aux:
            results, aux = vmap(column, randomness=randomness)(*basis)
            aux = tree_map(lambda t: t[0] if isinstance(t, Tensor) else t, aux)
        else:
            (results,) = vmap(column, out_dims=dims, randomness=randomness)(*basis)
        outs, out_spec = tree_flatten(results)
        sizes = [x.numel() for x in leaves]
        by_output = []
        for o in outs:
            parts = [
                part.movedim(0, -1).reshape(*o.shape[1:], *x.shape)
                for part, x in zip(o.split(sizes, 0), leaves, strict=True)
            ]
            tree = tree_unflatten(parts, in_spec)
            by_output.append(tree[0] if isinstance(argnums, int) else tree)
        jacobian = by_output[0] if out_spec.is_leaf() else tree_unflatten(by_output, out_spec)
        return (jacobian, aux) if has_aux else jacobian

    return wrapper


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The matrix of second derivatives: forward over reverse.

    >>> import flambeau as torch
    >>> torch.func.hessian(lambda x: (x * x).sum())(torch.zeros(2))
    tensor([[2., 0.],
            [0., 2.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(func(*primals), jvp_fn): the derivative at the primals, as a linear function of tangents that does not run `func` again."""
    output, vjp_fn = vjp(func, *primals)
    outs, out_spec = tree_flatten(output)
    zeros = tuple(public("zeros_like")(o) for o in outs)

    def transposed(*us: Any) -> Any:
        return vjp_fn(tree_unflatten(us, out_spec))

    gradients, apply = vjp(transposed, *zeros)
    in_spec = tree_flatten(gradients)[1]

    def jvp_fn(*tangents: Any) -> Any:
        vs, spec = tree_flatten(tangents)
        if spec != in_spec:
            raise RuntimeError(f"Expected the tangents {spec} to have the same argspec as the primals {in_spec}")
        return tree_unflatten(apply(tangents), out_spec)

    return output, jvp_fn


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """`func` without effects on what it is given: inputs that it writes to are copied first."""
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(
            f"functionalize(f, remove='mutations'): received invalid argument for remove={remove}. Valid options are:\n"
            "     remove='mutations': all inplace and out= operators will be removed from the program, and replaced"
            " with their out-of-place equivalents.\n"
            "     remove='mutations_and_views': In addition to the above, all aliasing operators {view} will be"
            " replaced with their non-aliasing counterparts, {view}_copy.\n"
        )

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapper


__all__ = ["functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp"]

"""gradcheck: compares analytic derivatives with finite differences; gradgradcheck: the derivatives of the derivatives.

The numerical Jacobian uses central differences, (f(x + eps) - f(x - eps)) / (2 eps), in each real (and imaginary) direction of each
input; the analytic one is assembled from one backward pass for each element of each output, or, in forward mode, from one dual
number for each element of each input. All are float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau._eager.graph import node_of
from flambeau._eager.modes import STATE
from flambeau._tensor import LAYOUTS, Tensor, wrap


class GradcheckError(RuntimeError):
    """The derivatives differ."""


def _tensors(x: Any) -> tuple[Tensor, ...]:
    if isinstance(x, Tensor):
        return (x,)
    return tuple(t for t in x if isinstance(t, Tensor)) if isinstance(x, (tuple, list)) else ()


def _outputs(result: Any) -> tuple[Tensor, ...]:
    return tuple(o for o in _tensors(result) if node_of(o) is not None)


def _numerical(fn: Callable[[], Any], x: Tensor, eps: float, which: int) -> Any:
    """The Jacobian of output number `which` with respect to x: rows are elements of x, columns those of the output.

    For a complex x there is one for the real and one for the imaginary direction.
    """
    a = x._a
    directions = (eps, 1j * eps) if a.dtype.kind == "c" else (eps,)
    jacobians = []
    for d in directions:
        rows = []
        for index in np.ndindex(a.shape):
            before = a[index].copy()
            a[index] = before + d
            up = _detached(fn(), which)
            a[index] = before - d
            down = _detached(fn(), which)
            a[index] = before
            rows.append((up - down) / (2 * eps))
        jacobians.append(np.array(rows) if rows else np.zeros((0, 0)))
    return jacobians


def _detached(result: Any, which: int) -> Any:
    t = _tensors(result)[which]
    return t._a.reshape(-1).copy()


def _analytic(output: Tensor, inputs: list[Tensor], create: bool) -> tuple[list[list[Any]], bool]:
    """For each input, its Jacobian's columns as [real seed, imaginary seed]; and whether a second run gave the same."""
    from flambeau import autograd

    n = output._a.size
    seeds = (1.0, 1j) if output._a.dtype.kind == "c" else (1.0,)
    columns: list[list[list[Any]]] = [[[] for _ in seeds] for _ in inputs]
    same = True
    for s, seed in enumerate(seeds):
        for j in range(n):
            g = np.zeros(output._a.shape, output._a.dtype)
            g.reshape(-1)[j] = seed
            runs = [
                autograd.grad(output, inputs, wrap(g.copy()), retain_graph=True, allow_unused=True) for _ in range(2)
            ]
            for i, (first, second) in enumerate(zip(*runs, strict=True)):
                x = inputs[i]
                for t in (first, second):
                    if t is not None and (t._a.dtype != x._a.dtype or t._a.shape != x._a.shape):
                        raise GradcheckError("grad is incorrect " + ("type" if t._a.dtype != x._a.dtype else "size"))
                if (first is None) != (second is None) or (
                    first is not None and not np.array_equal(first._a, second._a, equal_nan=True)
                ):
                    same = False
                columns[i][s].append(np.zeros(x._a.size, x._a.dtype) if first is None else first._a.reshape(-1).copy())
    return [
        [np.array(c).T if c else np.zeros((inputs[i]._a.size, 0)) for c in columns[i]] for i in range(len(inputs))
    ], same


def _tangents(func: Callable[..., Any], given: tuple[Any, ...], x: Tensor, wanted: list[int]) -> list[list[Any]]:
    """For each wanted output, its Jacobian with respect to x by forward mode, in the real and, for a complex x, the imaginary direction."""
    from flambeau.autograd import forward_ad

    def replaced(value: Any, dual: Tensor) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(replaced(v, dual) for v in value)
        return dual if value is x else value.detach() if isinstance(value, Tensor) else value

    a = x._a
    directions = (1.0, 1j) if a.dtype.kind == "c" else (1.0,)
    rows: list[list[list[Any]]] = [[[] for _ in directions] for _ in wanted]
    for d, direction in enumerate(directions):
        for index in np.ndindex(a.shape):
            g = np.zeros(a.shape, a.dtype)
            g[index] = direction
            with forward_ad.dual_level():
                dual = forward_ad.make_dual(x.detach(), wrap(g))
                results = _tensors(func(*(replaced(v, dual) for v in given)))
                for k, which in enumerate(wanted):
                    out, tangent = forward_ad.unpack_dual(results[which])
                    rows[k][d].append(
                        np.zeros(out._a.size, out._a.dtype) if tangent is None else tangent._a.reshape(-1).copy()
                    )
    return [[np.array(r) if r else np.zeros((0, 0)) for r in per] for per in rows]


def gradcheck(func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True,
              nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
              check_batched_forward_grad: bool = False, check_forward_ad: bool = False, check_backward_ad: bool = True,
              fast_mode: bool = False, masked: Any = None) -> bool:  # fmt: skip
    """Whether the gradients of `func(*inputs)` agree with finite differences, for every input that requires a gradient.

    >>> import flambeau as torch
    >>> x = torch.rand(3, dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.sin, (x,))
    True
    """
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if any(isinstance(x, Tensor) and type(x._a) in LAYOUTS for x in given):
        from flambeau._eager.sparse.check import over_parts

        func, given = over_parts(func, given, bool(masked))
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    try:
        _check(func, given, eps, atol, rtol, nondet_tol, check_backward_ad, check_forward_ad)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Callable[..., Any], given: tuple[Any, ...], eps: float, atol: float, rtol: float, nondet_tol: float, backward: bool, forward: bool
) -> None:  # fmt: skip
    live = [t for x in given for t in _tensors(x) if node_of(t) is not None]
    if not live:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )
    for i, t in enumerate(live):
        if t._a.dtype not in (np.float64, np.complex128):
            import warnings

            warnings.warn(f"Input #{i} requires gradient and is not a double precision floating point or complex. This check will likely fail if all "
                          "the inputs are not of double precision floating point or complex. ", stacklevel=3)  # fmt: skip
        if t._a.size and any(n > 1 and s == 0 for n, s in zip(t._a.shape, t._a.strides, strict=True)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are non-overlapping to be able to "
                "compute the numerical gradients correctly. You should call .contiguous on the input before passing it to gradcheck."
            )

    def call() -> Any:
        before, STATE.grad = STATE.grad, False
        try:
            return func(*given)
        finally:
            STATE.grad = before

    result = func(*given)
    tensors = _tensors(result)
    recorded = [i for i, o in enumerate(tensors) if node_of(o) is not None]
    if not recorded:
        for i in range(len(tensors)):
            for t in live:
                if tensors[i]._a.dtype.kind in "fc" and any(
                    np.abs(j).max(initial=0) > atol for j in _numerical(call, t, eps, i)
                ):
                    raise GradcheckError("Numerical gradient for function expected to be zero")
        return
    if forward:
        for i, t in enumerate(live):
            columns = _tangents(func, given, t, recorded)
            for which, analytic in zip(recorded, columns, strict=True):
                for d, expected in enumerate(_numerical(call, t, eps, which)):
                    if not np.allclose(analytic[d], expected, rtol=rtol, atol=atol, equal_nan=True):
                        part = "While considering the imaginary part of complex inputs only, " if d else ""
                        raise GradcheckError(
                            f"{part}Jacobian computed with forward mode mismatch for output {which} with respect to input {i},\n"
                            f"numerical:{wrap(expected)}\nanalytical:{wrap(analytic[d])}\n"
                        )
    for which in recorded if backward else ():
        analytic, same = _analytic(tensors[which], live, False)
        if not same and nondet_tol == 0.0:
            raise GradcheckError(
                "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives different "
                "values, although analytical gradient matches numerical gradient."
            )
        for i, t in enumerate(live):
            numerical = _numerical(call, t, eps, which)
            for expected, got, part in _pairs(numerical, analytic[i], t._a.dtype.kind == "c"):
                if expected.shape != got.shape:
                    expected = expected.reshape(got.shape)
                if not np.allclose(got, expected, rtol=rtol, atol=atol, equal_nan=True):
                    raise GradcheckError(
                        f"{part}Jacobian mismatch for output {which} with respect to input {i},\nnumerical:{wrap(expected)}\n"
                        f"analytical:{wrap(got)}\n"
                    )


def _pairs(numerical: list[Any], analytic: list[Any], complex_in: bool) -> Any:
    """What must agree. With L = <g, f>, a backward pass for the seed g gives dL/dRe(x) + i dL/dIm(x)."""
    for s, got in enumerate(analytic):
        seed_is_imaginary = s == 1
        project: Any = np.imag if seed_is_imaginary else np.real
        part = "While considering the imaginary part of complex outputs only, " if seed_is_imaginary else ""
        expected = project(numerical[0])
        if complex_in:
            expected = expected + 1j * project(numerical[1])
        yield expected, got, part


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
                  gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True, nondet_tol: float = 0.0,
                  check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
                  check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False, masked: bool = False) -> bool:  # fmt: skip
    """Whether the second derivatives agree with finite differences of the first."""
    from flambeau import autograd

    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if grad_outputs is None:
        outputs = _outputs(func(*given))
        rng = np.random.default_rng(0)
        grads = []
        for o in outputs:
            a = rng.standard_normal(o._a.shape)
            if o._a.dtype.kind == "c":
                a = a + 1j * rng.standard_normal(o._a.shape)
            g = wrap(np.asarray(a, o._a.dtype))
            grads.append(g.requires_grad_(True))
        grad_outputs = tuple(grads)
    else:
        grad_outputs = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    n = len(grad_outputs)

    def derivative(*args: Any) -> Any:
        xs, gs = args[:-n], args[-n:]
        before, STATE.grad = STATE.grad, True
        try:
            outputs = _outputs(func(*xs))
            live = [t for x in xs for t in _tensors(x) if node_of(t) is not None]
            found = autograd.grad(outputs, live, gs, create_graph=True, allow_unused=True)
        finally:
            STATE.grad = before
        return tuple(g for g in found if g is not None)

    return gradcheck(
        derivative,
        (*given, *grad_outputs),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
    )


def get_numerical_jacobian(
    fn: Callable[..., Any], inputs: Any, target: Any = None, eps: float = 1e-3, grad_out: float = 1.0
) -> list[Any]:
    """The Jacobian of a one-output function by central differences, for each input."""
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    return [
        wrap(np.asarray(_numerical(lambda: fn(inputs), t, eps, 0)[0]))
        for t in itertools.chain.from_iterable(map(_tensors, given))
    ]

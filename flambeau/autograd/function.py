"""Function: an operation whose forward and backward are written by the user."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau._eager import views
from flambeau._eager.graph import (
    DISPATCHED,
    TWICE,
    Node,
    as_tensor,
    bump,
    node_of,
    saved_alias,
    serial,
    stale,
    unwrap,
    version,
)
from flambeau._eager.modes import MODES, STATE
from flambeau._tensor import PLAIN, Tensor, bare, wrap
from flambeau._torch_dispatch import takes_over

ONCE = ("saved_tensors can only be accessed once when clear_saved_tensors_on_access=True is set on the autograd.Function. Either access "
        "saved_tensors only once, or set clear_saved_tensors_on_access=False.")  # fmt: skip
OLD_SAVED = "Hints: use ctx.saved_tensors instead of ctx.saved_variables"


NO_CONTEXT = ("In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must override the "
              "setup_context staticmethod. For more details, please see https://pytorch.org/docs/main/notes/extending.func.html")  # fmt: skip

APPLIED: list[
    Any
] = []  # asked first where a mode is active: fn(cls, args) -> what `called` gives, or NotImplemented (forward mode)
FORWARDS: list[Any] = []  # fn(cls, args) -> what runs in place of `forward`, or None (vmap)


class _Unset:
    """An attribute of a call that was not set: of the class it is there, as a descriptor."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __set_name__(self, owner: type, name: str) -> None:
        self.__name__, self.__objclass__ = name, owner

    def __get__(self, node: Any, owner: type) -> Any:
        return self if node is None else self.value


class FunctionCtx(Node):
    """What `forward` and `backward` share: the node of the call itself."""

    to_save: Any = _Unset(None)
    dirty_tensors: Any = _Unset(None)
    non_differentiable: Any = _Unset(None)
    saved_for_forward: Any = _Unset(None)
    materialize_grads: Any = _Unset(True)
    clear_saved_tensors_on_access: bool = False
    _accessed: bool = False
    needs_input_grad: Any = _Unset(())
    _once: bool = False

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for backward: `ctx.saved_tensors` gives them back. Call it in forward."""
        self.to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for a `jvp`."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    "save_for_forward expects all arguments to be tensors; you should save non-tensors as attributes on ctx."
                )
        self.saved_for_forward = tensors

    def mark_dirty(self, *args: Any) -> None:
        """Say which inputs forward modified in place; they must also be returned."""
        self.dirty_tensors = args

    def mark_non_differentiable(self, *args: Any) -> None:
        """Say which outputs no gradient flows through."""
        self.non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether undefined gradients arrive in backward as zeros (the default) or as None."""
        self.materialize_grads = value

    def mark_shared_storage(self, *pairs: Any) -> None:
        pass

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to an input."""
        return any(self.needs_input_grad)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept, checked for in-place changes."""
        saved = self.saved
        if self.saved_for_forward is not None:  # a `jvp` asks: forgotten when the call ends
            return self.saved_for_forward
        if saved is None:
            raise RuntimeError(TWICE)
        if self.clear_saved_tensors_on_access:
            if self._accessed:
                raise RuntimeError(ONCE)
            self._accessed, self.saved = True, (None,) * len(saved)
        out: list[Any] = []
        for entry in saved:
            kind, t, v = entry
            if kind == "none":
                out.append(None)
            elif kind == "packed":
                out.append(t.restore())
            else:
                if version(t) != v:
                    raise stale(self, 0, t, v, int(kind) if kind not in ("input", "plain") else None)
                if kind == "input":
                    out.append(t)
                else:  # an output: give it its history back
                    alias = bare(t)
                    alias._vc = t._vc
                    if kind != "plain":
                        alias._node, alias._nr = self, int(kind)
                    out.append(alias)
        return tuple(out)

    saved_variables = saved_tensors

    def maybe_clear_saved_tensors(self) -> None:
        """Forget what was saved, where `clear_saved_tensors_on_access` asks for it."""
        if self.clear_saved_tensors_on_access and self.saved is not None:
            self._accessed, self.saved = True, (None,) * len(self.saved)


class BackwardCFunction(FunctionCtx):
    """The node of a custom function's call."""

    _function: Any = None
    _shapes: tuple[Any, ...] = ()

    @property
    def _forward_cls(self) -> Any:
        return self._function

    def name(self) -> str:
        return type(self).__name__

    def _call(self, gs: list[Any], create: bool) -> list[Any]:
        gs = [self._zeros(nr) if g is None and self.materialize_grads else g for nr, g in enumerate(gs)]
        cls = self._function
        backward = cls.vjp if cls.backward is Function.backward else cls.backward
        before = STATE.grad
        STATE.grad = create
        try:
            if cls.boxed_grads_call:
                boxed, gs = gs, []  # backward has the only reference
                result = backward(self, boxed)
            else:
                result = backward(self, *gs)
        finally:
            STATE.grad = before
        result = result if isinstance(result, tuple) else tuple(result) if isinstance(result, list) else (result,)
        n = len(self.needs_input_grad)
        if len(result) > n and all(r is None for r in result[n:]):
            result = result[:n]
        if len(result) != n:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected {n}, got {len(result)})"
            )
        out = []
        at = 0
        for r, shape in zip(result, self._shapes, strict=True):
            if shape is None:
                if r is not None:
                    raise RuntimeError(
                        f"function {self.name()} returned a gradient different than None at position {at + 1}, but the "
                        "corresponding forward input was not a Variable"
                    )
                at += 1
                continue
            # What no history needs is not looked at.
            out.append(self._checked(r, shape, at) if self.needs_input_grad[at] else None)
            at += 1
        return out

    def _checked(self, r: Any, meta: Any, at: int) -> Any:
        if r is None:
            return None
        if not isinstance(r, Tensor):
            raise RuntimeError(f"expected Variable or None (got {type(r).__name__})")
        shape, d = meta
        if r._a.shape != shape:
            from flambeau._values.shape import broadcast

            try:
                fits = broadcast(r._a.shape, shape) == tuple(r._a.shape)
            except RuntimeError:
                fits = False
            if not fits:
                raise RuntimeError(
                    f"Function {self.name()} returned an invalid gradient at index {at} - got {list(r._a.shape)} but expected "
                    f"shape compatible with {list(shape)}"
                )
        from flambeau._eager.record import fit_tensor

        return fit_tensor(r, meta)

    def _zeros(self, nr: int) -> Any:
        meta = self.metas[nr] if self.metas else None
        return None if meta is None else wrap(np.zeros(*meta))

    def arrays(self, g: Any) -> Sequence[Any]:
        gs = g if type(g) is list else [g]
        return [unwrap(r) for r in self._call([None if x is None else as_tensor(x) for x in gs], False)]

    def tensors(self, g: Any) -> Sequence[Any]:
        gs = list(g) if type(g) is list else [g]
        return self._call(
            gs, STATE.grad
        )  # as the pass has it: gradients that travel as tensors are not always recorded

    def release(self) -> None:
        self.saved = None


class FunctionMeta(type):
    """Gives each Function the class of its nodes."""

    def __init__(cls, name: str, bases: Any, attrs: Any) -> None:
        once = getattr(cls, "clear_saved_tensors_on_access", False)
        cls._backward_cls = type(
            name + "Backward", (BackwardCFunction,), {"_function": cls, "clear_saved_tensors_on_access": once}
        )
        super().__init__(name, bases, attrs)


class _SingleLevelFunction(metaclass=FunctionMeta):
    """What a Function may define."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The operation. Takes `ctx` first, unless `setup_context` is defined."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Save what backward needs, given the inputs and the output of forward."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradient of each input of forward, given those of its outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The tangent of each output, given those of the inputs."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )


class Function(_SingleLevelFunction, FunctionCtx):
    """An operation with a backward of its own: subclass it, write static `forward` and `backward`, call `apply`.

    >>> import flambeau as torch
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x**2
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    generate_vmap_rule = False
    clear_saved_tensors_on_access = False  # whether `ctx.saved_tensors` is given out once, and forgotten here
    boxed_grads_call = False  # whether backward takes its gradients as one list, which it may empty as it goes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        import warnings

        warnings.warn(
            f"{self.__class__} should not be instantiated. Methods on autograd functions are all static, so you should invoke them on the "
            "class itself. Instantiating an autograd function will raise an error in a future version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function with "
            "static forward method. (Example: https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """How the function maps over a batch dimension."""
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap staticmethod or set generate_vmap_rule=True."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward, and record the call where an input requires a gradient."""
        separate = cls.setup_context is not _SingleLevelFunction.setup_context
        if kwargs:
            args = _bound(cls, args, kwargs, separate)
        if STATE.transforms and not separate:
            raise RuntimeError(NO_CONTEXT)
        node, result = called(cls, args)
        node.saved_for_forward = None
        return result


def called(cls: Any, args: tuple[Any, ...]) -> tuple[Any, Any]:
    """(the node of a call, its result); the node leads somewhere only where the call was recorded."""
    if MODES:
        for hook in APPLIED:
            found = hook(cls, args)
            if found is not NotImplemented:
                return found
    node, tensors, recording = begun(cls, args)
    before, STATE.grad = STATE.grad, False
    try:
        if cls.setup_context is not _SingleLevelFunction.setup_context:
            forward = (
                next((f for f in map(lambda hook: hook(cls, args), FORWARDS) if f is not None), cls.forward)
                if MODES
                else cls.forward
            )
            result = forward(*args)
            cls.setup_context(node, args, result)
        else:
            result = cls.forward(node, *args)
    finally:
        STATE.grad = before
    node.seq = next(serial)
    if MODES and not recording and node.saved_for_forward is None:
        node.saved_for_forward = tuple(node.to_save or ())
    return node, _wrap_outputs(node, result, tensors, recording)


def begun(cls: Any, args: tuple[Any, ...]) -> tuple[Any, list[Tensor], bool]:
    """Before forward runs: (the node of a call, which knows its inputs, the tensors among these, whether the call is recorded)."""
    node: Any = cls._backward_cls()
    tensors = [a for a in args if isinstance(a, Tensor)]
    node.next = tuple(node_of(t) for t in tensors)
    recording = STATE.grad and any(e is not None for e in node.next)
    node.needs_input_grad = (
        tuple(isinstance(a, Tensor) and node_of(a) is not None for a in args) if STATE.grad else (False,) * len(args)
    )
    node._shapes = tuple((a._a.shape, a._a.dtype) if isinstance(a, Tensor) else None for a in args)
    nrs = tuple(t._nr for t in tensors)
    if any(nrs):
        node.nrs = nrs
    return node, tensors, recording


def _bound(cls: Any, args: Any, kwargs: Any, separate: bool) -> tuple[Any, ...]:
    import inspect

    signature = inspect.signature(cls.forward)
    bound = signature.bind(*(() if separate else (None,)), *args, **kwargs)
    bound.apply_defaults()
    return bound.args if separate else bound.args[1:]


def _wrap_outputs(node: Any, result: Any, inputs: list[Tensor], recording: bool) -> Any:
    outs = list(result) if isinstance(result, (tuple, list)) else [result]
    dirty, undifferentiable = {id(t) for t in node.dirty_tensors or ()}, {id(t) for t in node.non_differentiable or ()}
    given = {id(t): t for t in inputs}
    for i, o in enumerate(outs):
        if not isinstance(o, Tensor):
            continue
        if id(o) in dirty:
            if recording:
                if o.requires_grad and o.is_leaf:
                    raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
                views.check_writable(o)
            bump(o)
        elif id(o) in given:  # an input returned as it is: a new tensor over the same memory
            alias = views.view(o, o._a) if recording else views.alias(o, o._a)
            if id(o) in undifferentiable:
                undifferentiable.add(id(alias))
            outs[i] = alias
            if recording:
                alias._created = "custom"
                alias._base = alias._base
    if recording:
        node.outs = len(outs)
        node.metas = tuple((o._a.shape, o._a.dtype) if isinstance(o, Tensor) else None for o in outs)
        for nr, o in enumerate(outs):
            if not isinstance(o, Tensor) or id(o) in undifferentiable or o._a.dtype.kind not in "fcV":
                if isinstance(o, Tensor) and id(o) in undifferentiable:
                    o._node = None
                continue
            if id(o) in dirty and o._base is not None:
                views.rebase(o, node)
            else:
                o._node, o._nr = node, nr
        _save(node, outs)
        if any(type(t) not in PLAIN and takes_over(t) for t in (*inputs, *outs)):
            DISPATCHED.add(node)
    node.to_save = node.dirty_tensors = node.non_differentiable = None
    return (tuple(outs) if isinstance(result, tuple) else outs) if isinstance(result, (tuple, list)) else outs[0]


def _save(node: Any, outs: list[Any]) -> None:
    positions = {id(o): nr for nr, o in enumerate(outs)}
    saved: list[tuple[str, Any, int]] = []
    for t in node.to_save or ():
        if t is None:
            saved.append(("none", None, 0))
            continue
        if not isinstance(t, Tensor):
            raise TypeError(
                f"save_for_backward can only save variables, but argument {len(saved)} is of type {type(t).__name__}"
            )
        if STATE.saved_hooks:
            from flambeau.autograd.graph import Packed

            saved.append(("packed", Packed(saved_alias(t) if id(t) in positions else t, *STATE.saved_hooks[-1]), 0))
        elif id(t) in positions:
            alias = saved_alias(t)
            saved.append((str(positions[id(t)]) if t._node is node else "plain", alias, version(t)))
        else:
            saved.append(("input", t, version(t)))
    node.saved = tuple(saved)


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """For a `backward` that is not itself differentiable: a second derivative then is an error."""

    @functools.wraps(fn)
    def wrapper(ctx: Any, *args: Any) -> Any:
        if not STATE.grad:
            return fn(ctx, *args)
        before, STATE.grad = STATE.grad, False
        try:
            outputs = fn(ctx, *args)
        finally:
            STATE.grad = before
        needs = any(isinstance(a, Tensor) and node_of(a) is not None for a in args)
        if not needs:
            return outputs
        given = outputs if isinstance(outputs, tuple) else (outputs,)
        fresh = []
        for o in given:
            if o is not None:
                o = o.detach()
                node = _DifferentiatedTwice(
                    "trying to differentiate twice a function that was marked with @once_differentiable"
                )
                node.seq = next(serial)
                node.next = (None,)
                o._node = node
            fresh.append(o)
        return tuple(fresh) if isinstance(outputs, tuple) else fresh[0]

    return wrapper


class _DifferentiatedTwice(Node):
    def __init__(self, message: str) -> None:
        self.message = message

    def arrays(self, g: Any) -> Sequence[Any]:
        raise RuntimeError(self.message)

    tensors = arrays


class InplaceFunction(Function):
    """Kept for old programs."""


class NestedIOFunction(Function):
    """Kept for old programs."""

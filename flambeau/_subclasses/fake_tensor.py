"""Fake tensors: on a device, with sizes, strides, a dtype and a history, and without elements.

Inside a `FakeTensorMode` new tensors are fake, and operators say what their results would be: models are made and run, forwards and backwards, in no
memory and no time. What each operator does is what it does for meta tensors; a fake tensor stands for one of these, and has a device besides.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flambeau
from flambeau._eager.modes import STATE
from flambeau._values import default_device
from flambeau.utils import _pytree as pytree
from flambeau.utils._python_dispatch import TorchDispatchMode


@dataclass
class DynamicOutputShapeException(RuntimeError):
    """The sizes of an operator's result depend on elements."""

    func: Any


@dataclass
class DataDependentOutputException(RuntimeError):
    """What an operator gives depends on elements."""

    func: Any


@dataclass
class UnsupportedOperatorException(RuntimeError):
    """An operator that says nothing about tensors without elements."""

    func: Any


class UnsupportedFakeTensorException(RuntimeError):
    """A tensor that no fake one can stand for."""


_READS = frozenset(("_local_scalar_dense", "item", "equal", "is_nonzero", "allclose", "data_ptr"))
_OPEN = frozenset(("nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount", "argwhere"))  # fmt: skip
_META = flambeau.device("meta")


class FakeTensor(flambeau.Tensor):
    """A tensor without elements, on a device."""

    fake_mode: FakeTensorMode
    fake_device: Any
    constant: Any = None

    @staticmethod
    def __new__(cls: type, fake_mode: Any, elem: Any, device: Any, constant: Any = None, **_: Any) -> Any:
        if elem.device.type != "meta":
            raise AssertionError(f"elem must be on the meta device, got {elem.device.type}")
        device = flambeau.device(device)
        made: Any = flambeau.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, elem.shape, strides=elem.stride(), dtype=elem.dtype, device=device, requires_grad=elem.requires_grad
        )
        made._a.start = elem.storage_offset() * elem.element_size()
        made.fake_mode, made._elem, made.fake_device, made.constant = fake_mode, elem.detach(), device, constant
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    @staticmethod
    def from_tensor(t: Any, fake_mode: FakeTensorMode) -> Any:
        """A fake tensor for t."""
        return fake_mode.from_tensor(t)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        mode = next(t.fake_mode for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, FakeTensor))
        return mode.dispatch(func, types, args, kwargs)

    __torch_function__ = flambeau._C._disabled_torch_function_impl

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        words = [f"size={tuple(self.shape)}"]
        if self.fake_device.type != "cpu":
            words.insert(0, f"device='{self.fake_device}'")
        if self.dtype not in (flambeau.get_default_dtype(), flambeau.bool) or self.dtype is flambeau.bool:
            words.append(f"dtype={self.dtype}".replace("flambeau.", "torch."))
        if self.grad_fn is not None:
            words.append(f"grad_fn=<{self.grad_fn.name()}>")
        elif self.requires_grad:
            words.append("requires_grad=True")
        return f"FakeTensor(..., {', '.join(words)})"

    def __deepcopy__(self, memo: Any) -> Any:
        made = FakeTensor(self.fake_mode, self._elem, self.fake_device)
        made.requires_grad_(self.requires_grad)
        memo[id(self)] = made
        return made

    def tolist(self) -> Any:
        """Elements cannot be read."""
        raise DataDependentOutputException(flambeau.ops.aten._local_scalar_dense.default)

    def numpy(self, *, force: bool = False) -> Any:
        """Elements cannot be read."""
        raise RuntimeError(".numpy() is not supported for tensor subclasses.")


class FakeTensorMode(TorchDispatchMode):
    """The block in which tensors are fake.

    Args:
        allow_non_fake_inputs: take tensors that were made outside as if they were fake.

    >>> import flambeau as torch
    >>> with FakeTensorMode():
    ...     torch.nn.Linear(4, 3)(torch.ones(2, 4))
    FakeTensor(..., size=(2, 3), grad_fn=<AddmmBackward0>)
    """

    def __init__(self, *, allow_fallback_kernels: bool = True, allow_non_fake_inputs: bool = False, shape_env: Any = None,
                 static_shapes: bool | None = None, export: bool = False) -> None:  # fmt: skip
        if static_shapes is False or (shape_env is not None and static_shapes is None):
            raise NotImplementedError("torch._subclasses.FakeTensorMode with sizes that are symbols (shape_env) is not implemented")  # fmt: skip
        self.allow_fallback_kernels, self.allow_non_fake_inputs = allow_fallback_kernels, allow_non_fake_inputs
        self.shape_env, self.static_shapes, self.export = shape_env, True, export
        self.fake_tensor_converter = FakeTensorConverter()

    def from_tensor(self, tensor: Any, *, static_shapes: bool | None = None, source: Any = None, symbolic_context: Any = None,
                    trace: bool = True) -> Any:  # fmt: skip
        """A fake tensor for a tensor; the same one each time."""
        return self.fake_tensor_converter.from_real_tensor(self, tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.dispatch(func, types, args, kwargs or {})

    def dispatch(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """What an operator gives."""
        if func.namespace == "profiler":  # ranges hold no tensors
            return func(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        found = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, FakeTensor)]
        if (
            found
            and all(t.constant is not None for t in found)
            and flambeau.Tag.nondeterministic_seeded not in func.tags
        ):
            known = self._of_constants(func, args, kwargs, found[0].fake_device)
            if known is not NotImplemented:
                return known
        if name in _READS:
            raise DataDependentOutputException(func)
        for a, t in zip(func._schema.arguments, args, strict=False):
            if a.is_write and isinstance(t, FakeTensor):
                t.constant = None
        if name in _OPEN or (name == "index" and any(_is_mask(t) for t in args[1])) or (name == "repeat_interleave" and kwargs.get("output_size") is None and func._overloadname in ("Tensor", "self_Tensor")):  # fmt: skip
            raise DynamicOutputShapeException(func)
        if name == "lift_fresh":
            return args[0] if found else self._constant(args[0], args[0].device)
        device = next((t.fake_device for t in found if t.dim()), found[0].fake_device if found else None)
        if "device" in kwargs or device is None:
            asked = kwargs.get("device")
            device = flambeau.device(asked) if asked is not None else device or default_device.get()
        if (not found or kwargs.get("device") is not None) and any(a.name == "device" for a in func._schema.arguments):
            kwargs = {**kwargs, "device": _META}

        def inside(x: Any) -> Any:
            if isinstance(x, FakeTensor):
                return x._elem
            if not isinstance(x, flambeau.Tensor) or x.device.type == "meta":
                return x
            if not (self.allow_non_fake_inputs or x.dim() == 0 or x in self.fake_tensor_converter):
                raise AssertionError(
                    f"Please convert all Tensors to FakeTensors first or instantiate FakeTensorMode with 'allow_non_fake_inputs'. Found in {func}"
                )
            return self.from_tensor(x)._elem

        args, kwargs = pytree.tree_map(inside, (args, kwargs))
        before, STATE.dispatch_modes = STATE.dispatch_modes, ()
        try:
            with flambeau.no_grad():
                result = func(*args, **kwargs)
        finally:
            STATE.dispatch_modes = before
        return pytree.tree_map(lambda x: FakeTensor(self, x, device) if isinstance(x, flambeau.Tensor) else x, result)

    def _constant(self, t: Any, device: Any) -> Any:
        """A fake tensor that knows its one element: steps are counted, and rates looked at, where nothing else is known."""
        with unset_fake_temporarily():
            elem = flambeau.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")
        return FakeTensor(self, elem, device, constant=t if t.numel() <= 1 else None)

    def _of_constants(self, func: Any, args: Any, kwargs: Any, device: Any) -> Any:
        """What an operator gives for known elements; NotImplemented where that would be many."""
        given = pytree.tree_map(lambda x: x.constant if isinstance(x, FakeTensor) else x, (args, kwargs))
        with unset_fake_temporarily(), flambeau.no_grad():
            result = func(*given[0], **given[1])
        if func._schema.is_mutable:
            return args[0]
        made = pytree.tree_leaves(result)
        if any(isinstance(t, flambeau.Tensor) and t.numel() > 1 for t in made):
            return NotImplemented
        return pytree.tree_map(lambda x: self._constant(x, device) if isinstance(x, flambeau.Tensor) else x, result)


def _is_mask(t: Any) -> bool:
    return t is not None and t.dtype in (flambeau.bool, flambeau.uint8)


class FakeTensorConverter:
    """Makes fake tensors, and remembers for which tensors."""

    def __init__(self, *, copy_data: bool = False, export: bool = False) -> None:
        self.export = export
        self._known: dict[int, tuple[Any, Any]] = {}

    def __contains__(self, t: Any) -> bool:
        known = self._known.get(id(t))
        return known is not None and known[0]() is t

    def from_real_tensor(self, fake_mode: FakeTensorMode, t: Any, make_constant: bool = False, **_: Any) -> Any:
        """The fake tensor for t."""
        if isinstance(t, FakeTensor):
            if t.fake_mode is not fake_mode:
                raise AssertionError("Mixing fake modes NYI")
            return t
        if t in self:
            return self._known[id(t)][1]
        if t.is_sparse or t.is_quantized or t.layout is not flambeau.strided:
            raise UnsupportedFakeTensorException(f"fake tensors for {t.layout} ones")
        before, STATE.dispatch_modes = STATE.dispatch_modes, ()
        try:
            elem = flambeau.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")
            made = FakeTensor(fake_mode, elem, t.device)
            made._a.start = t.storage_offset() * t.element_size()
        finally:
            STATE.dispatch_modes = before
        made.requires_grad_(t.requires_grad)
        if isinstance(t, flambeau.nn.Parameter):
            made = flambeau.nn.Parameter(made, requires_grad=t.requires_grad)
        self._known[id(t)] = (weakref.ref(t), made)
        return made

    def from_meta_and_device(self, fake_mode: FakeTensorMode, t: Any, device: Any, **_: Any) -> Any:
        """The fake tensor on a device that a meta tensor describes."""
        return FakeTensor(fake_mode, t, device)


def is_fake(x: object) -> bool:
    """Whether a tensor is fake."""
    return isinstance(x, FakeTensor)


def maybe_get_fake_mode(t: Any) -> FakeTensorMode | None:
    """The mode of a fake tensor."""
    return t.fake_mode if isinstance(t, FakeTensor) else None


@contextlib.contextmanager
def unset_fake_temporarily() -> Iterator[FakeTensorMode | None]:
    """A block in which new tensors are not fake; the mode that it interrupts."""
    before = STATE.dispatch_modes
    STATE.dispatch_modes = tuple(itertools.filterfalse(lambda m: isinstance(m, FakeTensorMode), before))
    try:
        yield next((m for m in before if isinstance(m, FakeTensorMode)), None)
    finally:
        STATE.dispatch_modes = before

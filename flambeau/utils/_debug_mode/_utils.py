"""How tensors are told in a debug text, and the numbers that stand for their elements."""

from __future__ import annotations

import os
import traceback
import weakref
from typing import Any

import flambeau
from flambeau.utils._dtype_abbrs import dtype_abbrs
from flambeau.utils._python_dispatch import _disable_current_modes
from flambeau.utils._pytree import tree_map
from flambeau.utils.weak import WeakIdRef

_HERE = os.path.dirname(flambeau.__file__) + os.sep

# What `DebugMode.dispatch_hooks` put here, innermost last.
_DISPATCH_RECORD_HOOKS: list[Any] = []
_DISPATCH_LOG_HOOKS: list[Any] = []
_DISPATCH_PRE_LOG_HOOKS: list[Any] = []


class TensorIdTracker:
    """Numbers for tensors, in the order in which they are met; one that is gone gives its number to nobody."""

    def __init__(self) -> None:
        self.tensor_memo: dict[WeakIdRef, int] = {}
        self.next_tensor_id = 0

    def _id(self, tensor: Any) -> int:
        ref = WeakIdRef(tensor)
        if ref not in self.tensor_memo:
            self.tensor_memo[ref] = self.next_tensor_id
            self.next_tensor_id += 1
            weakref.finalize(tensor, self.tensor_memo.pop, ref, None)
        return self.tensor_memo[ref]


def _stringify_shape(shape: Any) -> str:
    return f"[{', '.join(str(x) for x in shape)}]"


def _stringify_attributes(tensor: Any, attributes: Any) -> str:
    pairs = [f"{name}={getattr(tensor, name)}" for name in attributes if hasattr(tensor, name)]
    return f"{{{', '.join(pairs)}}}" if pairs else ""


def _tensor_debug_string(tensor: Any, attributes: Any, tensor_memo: TensorIdTracker | None = None) -> str:
    if not isinstance(tensor, flambeau.Tensor):
        raise RuntimeError(f"Unsupported tensor type: {type(tensor)}")
    from flambeau._subclasses.fake_tensor import FakeTensor

    kind = "ft" if isinstance(tensor, FakeTensor) else "t"
    number = "" if tensor_memo is None else f"${tensor_memo._id(tensor)}"
    return f"{kind}{number}: {dtype_abbrs[tensor.dtype]}{_stringify_shape(tensor.shape)}{_stringify_attributes(tensor, attributes)}"


def _arg_to_str(arg: Any, attributes: Any, tensor_memo: TensorIdTracker | None = None) -> str:
    def told(x: Any) -> Any:
        return _tensor_debug_string(x, attributes, tensor_memo) if isinstance(x, flambeau.Tensor) else x

    return str(tree_map(told, arg))


def norm_hash_fn(t: Any, use_scalar: bool = False) -> Any:
    """The sum of the elements' magnitudes, in double precision."""
    with _disable_current_modes():
        if not (t.is_floating_point() or t.is_complex()):
            t = t.float()
        wide = t.contiguous().to(flambeau.complex128 if t.is_complex() else flambeau.float64)
        out = wide.norm(p=1)
        return out.item() if use_scalar else out


def hash_tensor_fn(t: Any, use_scalar: bool = False) -> Any:
    """All bits of all elements, combined (`torch.hash_tensor`)."""
    if t.is_floating_point():
        wide = t.to(flambeau.float64)
    elif t.is_complex():
        wide = t.to(flambeau.complex128).view(flambeau.float64)
    else:
        wide = t.to(flambeau.int64)
    out = flambeau.hash_tensor(wide) if t.numel() else flambeau.zeros((), dtype=flambeau.uint64, device=t.device)
    return out.item() if use_scalar else out


def _compute_rel_diff(hash1: Any, hash2: Any) -> Any:
    return abs(hash1 - hash2) / max(abs(hash1), abs(hash2), 1e-10)


def _of_the_program(file: str) -> bool:
    return not file.startswith((_HERE, "<flambeau ", "<frozen "))  # operators' functions are texts without files


def _get_stack_trace() -> str:
    """Where the call stands in the program, without what is flambeau's own."""
    frames = [f for f in traceback.extract_stack() if _of_the_program(f.filename)]
    return "".join(traceback.format_list(frames))


def _maybe_get_autograd_trace() -> str | None:
    """Where the call was recorded whose derivative is being computed."""
    node = flambeau._C._current_autograd_node()
    return None if node is None else node.trace


def _get_user_stack_trace(stack_trace_str: str) -> str | None:
    """The last line of a trace, in one line."""
    from flambeau.fx.graph import _parse_stack_trace

    trace = _parse_stack_trace(stack_trace_str, lambda file, name, code: _of_the_program(file))
    return f"File: {trace.file}:{trace.lineno} in {trace.name}, code: {trace.code}" if trace else None


def _get_op_name(op: Any) -> str:
    if isinstance(op, flambeau._ops.OpOverload):
        return op.__qualname__
    if hasattr(op, "__module__") and hasattr(op, "__name__"):
        return f"{op.__module__}.{op.__name__}"
    return str(op)


def _run_hook(hook: Any, *args: Any) -> dict[str, Any]:
    out = hook(*args)
    if out is not None and not isinstance(out, dict):
        raise AssertionError(f"hook must return None or dict, got {type(out).__name__}")
    return out or {}

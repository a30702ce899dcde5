"""`DebugMode`: what ran inside a block, as a text with a line for each call."""

from flambeau.utils._debug_mode._calls import _AnnotateCall, _DebugCall, _get_call_name, _OpCall
from flambeau.utils._debug_mode._mode import DebugInterpreter, DebugMode, get_active_debug_mode
from flambeau.utils._debug_mode._utils import TensorIdTracker, _stringify_shape, hash_tensor_fn, norm_hash_fn

__all__ = ["DebugMode", "get_active_debug_mode"]

_KEPT = (
    _AnnotateCall, _DebugCall, _OpCall, _get_call_name, DebugInterpreter, TensorIdTracker, _stringify_shape, hash_tensor_fn, norm_hash_fn,
)  # fmt: skip

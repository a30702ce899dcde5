"""Dispatch keys: the layers through which PyTorch sends a call. Here they are names, in sets, that libraries register functions under."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

from flambeau._eager.modes import STATE

_DEVICES = ("CPU", "CUDA", "XPU", "MPS", "HPU", "MTIA", "IPU", "XLA", "HIP", "Meta", "PrivateUse1")
_NAMES = (
    "Undefined", "Dense", *_DEVICES, "Quantized", "Sparse", "SparseCsr", "NestedTensor", "BackendSelect", "Python", "PythonDispatcher",
    "PythonTLSSnapshot", "Fake", "Functionalize", "Named", "Conjugate", "Negative", "ZeroTensor", "ADInplaceOrView", "AutogradOther", "AutogradFunctionality",
    *(f"Autograd{d}" for d in _DEVICES), "AutogradNestedTensor", "Tracer", "PreDispatch", "Autocast", *(f"Autocast{d}" for d in _DEVICES if d != "Meta"),
    "FuncTorchBatched", "FuncTorchBatchedDecomposition", "Batched", "VmapMode", "FuncTorchVmapMode", "FuncTorchGradWrapper", "FuncTorchDynamicLayerFrontMode",
    "FuncTorchDynamicLayerBackMode", "Autograd", "CompositeImplicitAutograd", "CompositeImplicitAutogradNestedTensor", "CompositeExplicitAutograd",
    "CompositeExplicitAutogradNonFunctional", "FuncTorchBatchedDecomposition",
)  # fmt: skip

DispatchKey: Any = enum.Enum("DispatchKey", list(dict.fromkeys(_NAMES)), module=__name__)


class DispatchKeySet:
    """Some dispatch keys."""

    def __init__(self, keys: Any) -> None:
        self._keys = frozenset((keys,) if isinstance(keys, DispatchKey) else keys)

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._keys | other._keys)

    def __and__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._keys & other._keys)

    def __sub__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._keys - other._keys)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def add(self, key: Any) -> DispatchKeySet:
        """The set with one more key."""
        return DispatchKeySet(self._keys | {key})

    def remove(self, key: Any) -> DispatchKeySet:
        """The set without a key."""
        return DispatchKeySet(self._keys - {key})

    def has(self, key: Any) -> bool:
        """Whether a key is among them."""
        return key in self._keys

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DispatchKeySet) and other._keys == self._keys

    def __hash__(self) -> int:
        return hash(self._keys)

    def __repr__(self) -> str:
        return f"DispatchKeySet({', '.join(sorted(k.name for k in self._keys))})"


class _ExcludeDispatchKeyGuard:
    """The block in which some keys are passed by. Autocast's keys mean what they say; others are refused by name."""

    def __init__(self, keys: DispatchKeySet) -> None:
        names = [key.name for key in keys]
        if not all(name.startswith("Autocast") for name in names):
            raise NotImplementedError(f"torch._C._ExcludeDispatchKeyGuard({keys}) is not implemented")
        self.kinds = {name.removeprefix("Autocast").lower() for name in names}

    def __enter__(self) -> None:
        self.before = STATE.autocast
        if self.before:
            STATE.autocast = {kind: d for kind, d in self.before.items() if kind not in self.kinds} or None

    def __exit__(self, *_: object) -> None:
        STATE.autocast = self.before

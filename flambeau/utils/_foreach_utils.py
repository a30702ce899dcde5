"""Which devices have list-wise operators, and lists of tensors grouped by device and dtype."""

from typing import TypeAlias

import flambeau
from flambeau import Tensor

TensorListList: TypeAlias = list[list[Tensor | None]]
Indices: TypeAlias = list[int]


def _get_foreach_kernels_supported_devices() -> list[str]:
    """Where list-wise operators are PyTorch's default."""
    return ["cuda", "xpu", "mtia", "privateuseone"]


def _get_fused_kernels_supported_devices() -> list[str]:
    """Where optimizers accept `fused=True`."""
    return ["mps", "cuda", "xpu", "hpu", "cpu", "mtia", "privateuseone"]


def _group_tensors_by_device_and_dtype(tensorlistlist, with_indices=False):
    """Splits parallel lists by the device and dtype of the first list's tensors.

    Returns {(device, dtype): (lists, positions in the given lists)}; positions only if asked for.
    """
    groups = {}
    for i, row in enumerate(zip(*tensorlistlist, strict=True)):
        lists, indices = groups.setdefault((row[0].device, row[0].dtype), ([[] for _ in row], []))
        for tensors, tensor in zip(lists, row, strict=True):
            tensors.append(tensor)
        if with_indices:
            indices.append(i)
    return groups


def _device_has_foreach_support(device) -> bool:
    return device.type in (*_get_foreach_kernels_supported_devices(), "cpu") and not flambeau.jit.is_scripting()


def _has_foreach_support(tensors, device) -> bool:
    """Can these tensors be given to a list-wise operator?"""
    return _device_has_foreach_support(device) and all(t is None or type(t) is Tensor for t in tensors)

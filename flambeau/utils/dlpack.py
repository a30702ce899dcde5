"""DLPack under PyTorch's path: tensors from other libraries, and for them."""

import flambeau
from flambeau._eager.dlpack import DLDeviceType

__all__ = ["DLDeviceType", "from_dlpack"]


class _Capsule:
    """A capsule as an object that speaks the protocol."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **kwargs):
        return self.capsule

    def __dlpack_device__(self):
        return DLDeviceType.kDLCPU, 0


def from_dlpack(ext_tensor, *, device=None, copy=None):
    """A tensor over the memory of any object that speaks DLPack, or of a capsule.

    >>> import numpy
    >>> flambeau.utils.dlpack.from_dlpack(numpy.arange(3))
    tensor([0, 1, 2])
    """
    if not hasattr(ext_tensor, "__dlpack__"):
        if device is not None or copy is not None:
            raise AssertionError("device and copy kwargs not supported when ext_tensor is already a DLPack capsule.")
        ext_tensor = _Capsule(ext_tensor)
    return flambeau.from_dlpack(ext_tensor, device=device, copy=copy)


def to_dlpack(tensor):
    """A capsule around a tensor's memory, for another library's `from_dlpack`."""
    if not isinstance(tensor, flambeau.Tensor):
        raise TypeError("data must be a Tensor")
    return tensor.__dlpack__(max_version=(1, 0))  # older capsules say that nobody may write

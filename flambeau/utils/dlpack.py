"""DLPack under PyTorch's path: tensors from other libraries, and for them."""

from enum import IntEnum

import flambeau
from flambeau import from_dlpack

__all__ = ["DLDeviceType", "from_dlpack"]


class DLDeviceType(IntEnum):
    """The protocol's numbers of kinds of devices."""

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3
    kDLOpenCL = 4
    kDLVulkan = 7
    kDLMetal = 8
    kDLVPI = 9
    kDLROCM = 10
    kDLROCMHost = 11
    kDLExtDev = 12
    kDLCUDAManaged = 13
    kDLOneAPI = 14
    kDLWebGPU = 15
    kDLHexagon = 16
    kDLMAIA = 17


def to_dlpack(tensor):
    """A capsule around a tensor's memory, for another library's `from_dlpack`."""
    if not isinstance(tensor, flambeau.Tensor):
        raise TypeError("data must be a Tensor")
    return tensor.__dlpack__()

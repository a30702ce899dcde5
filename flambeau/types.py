"""Names for annotations of programs that use flambeau."""

import builtins
import os
from collections.abc import Sequence
from typing import IO, Any, TypeAlias, Union

from flambeau._tensor import Tensor
from flambeau._values.device import device as _device
from flambeau._values.dtype import dtype as _dtype
from flambeau._values.generator import Generator
from flambeau._values.shape import Size
from flambeau.autograd.graph import GradientEdge
from flambeau.storage import TypedStorage, UntypedStorage

__all__ = ["Device", "FileLike", "Number", "Storage"]

_int, _float, _bool, _symint = builtins.int, builtins.float, builtins.bool, builtins.int
_TensorOrTensors: TypeAlias = Union[Tensor, Sequence[Tensor]]
_TensorOrTensorsOrGradEdge: TypeAlias = Union[Tensor, Sequence[Tensor], GradientEdge, Sequence[GradientEdge]]
_size: TypeAlias = Union[Size, list[builtins.int], tuple[builtins.int, ...]]
_dispatchkey: TypeAlias = Any
Number: TypeAlias = Union[builtins.int, builtins.float, builtins.bool]
_Number = (builtins.int, builtins.float, builtins.bool)
Device: TypeAlias = Union[_device, str, builtins.int, None]
FileLike: TypeAlias = Union[str, os.PathLike[str], IO[bytes]]
Storage: TypeAlias = Union[TypedStorage, UntypedStorage]
DispatchKey = Any
_dtype_or_none: TypeAlias = Union[_dtype, None]
_generator: TypeAlias = Generator

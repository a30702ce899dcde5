"""`torch._C._nn`: the operators behind `nn.functional`."""

from flambeau._eager.namespace import fill
from flambeau._tensor import Tensor
from flambeau._values.device import device as _device
from flambeau._values.dtype import asked, dtype as _dtype

__getattr__, __dir__ = fill(globals(), "nn")


def _parse_to(*args, **kwargs):
    """What `to(...)` of a module asks for: (device, dtype, non_blocking, memory_format), None where it says nothing."""
    device, dtype, tensor = kwargs.pop("device", None), kwargs.pop("dtype", None), kwargs.pop("tensor", None)
    asked(dtype, "to")
    layout = kwargs.pop("memory_format", None)
    given = list(args)
    if given and isinstance(given[0], Tensor):
        tensor = given.pop(0)
    elif given and isinstance(given[0], _dtype):
        dtype = given.pop(0)
    elif given:
        device = given.pop(0)
        if given and (given[0] is None or isinstance(given[0], _dtype)):
            dtype = given.pop(0)
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    flags = dict(zip(("non_blocking", "copy"), given, strict=False)) | kwargs
    unknown = flags.keys() - {"non_blocking", "copy"}
    if unknown or len(given) > 2 or not isinstance(device, (str, int, _device, type(None))):
        shown = ", ".join([*(type(a).__name__ for a in args), *(f"{k}={type(v).__name__}" for k, v in kwargs.items())])
        raise TypeError(
            f"to() received an invalid combination of arguments - got ({shown}), but expected one of:\n"
            " * (torch.device device = None, torch.dtype dtype = None, bool non_blocking = False, bool copy = False, *, "
            "torch.memory_format memory_format = None)\n"
            " * (torch.dtype dtype, bool non_blocking = False, bool copy = False, *, "
            "torch.memory_format memory_format = None)\n"
            " * (Tensor tensor, bool non_blocking = False, bool copy = False, *, "
            "torch.memory_format memory_format = None)\n"
        )
    if device is not None and not isinstance(device, _device):
        device = _device(device)
    return device, dtype, bool(flags.get("non_blocking", False)), layout

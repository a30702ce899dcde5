"""DataParallel: a batch split over the GPUs of one process; with at most one GPU, the module itself."""

import flambeau

from ..modules.module import Module

__all__ = ["DataParallel", "data_parallel"]


def _one_device(device_ids):
    """The CUDA device to run on, or None for the CPU."""
    if not flambeau.cuda.is_available():
        return None
    ids = list(range(flambeau.cuda.device_count())) if device_ids is None else list(device_ids)
    if len(ids) > 1:
        raise NotImplementedError(f"DataParallel over more than one device (got {len(ids)})")
    return flambeau.device("cuda", ids[0] if isinstance(ids[0], int) else flambeau.device(ids[0]).index or 0)


def _to(x, device):
    if isinstance(x, flambeau.Tensor):
        return x.to(device)
    if isinstance(x, dict):
        return type(x)((k, _to(v, device)) for k, v in x.items())
    if isinstance(x, (list, tuple)):
        items = [_to(v, device) for v in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    return x


class DataParallel(Module):
    """Runs ``module`` on the device there is; its parameters are named ``module.*``, as on several.

    >>> from flambeau import nn
    >>> [name for name, _ in DataParallel(nn.Linear(2, 2)).named_parameters()]
    ['module.weight', 'module.bias']
    """

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        device = _one_device(device_ids)
        self.module = module
        if device is None:
            self.device_ids = []
            return
        self.dim = dim
        self.device_ids = [device.index]
        self.output_device = device.index if output_device is None else output_device
        self.src_device_obj = device
        self.module.to(device)

    def forward(self, *inputs, **kwargs):
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        for t in (*self.module.parameters(), *self.module.buffers()):
            if t.device != self.src_device_obj:
                raise RuntimeError(
                    "module must have its parameters and buffers on device "
                    f"{self.src_device_obj} (device_ids[0]) but found one of them on device: {t.device}"
                )
        return self.module(*_to(inputs, self.src_device_obj), **_to(kwargs, self.src_device_obj))


def data_parallel(module, inputs, device_ids=None, output_device=None, dim=0, module_kwargs=None):
    """Calls ``module`` on ``inputs``, moved to the device there is."""
    inputs = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
    device = _one_device(device_ids)
    if device is None:
        raise RuntimeError("device type could not be determined")
    return module(*_to(inputs, device), **_to(module_kwargs or {}, device))

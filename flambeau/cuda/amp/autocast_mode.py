"""The older names of `torch.autocast` for CUDA."""

import flambeau as torch
from flambeau.amp import autocast_mode

__all__ = ["autocast", "custom_bwd", "custom_fwd"]


class autocast(autocast_mode.autocast):
    """`torch.autocast("cuda", ...)`."""

    def __init__(self, enabled=True, dtype=torch.float16, cache_enabled=True):
        autocast_mode.superseded("cuda", "autocast")
        super().__init__("cuda", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


def custom_fwd(fwd=None, *, cast_inputs=None):
    """`torch.amp.custom_fwd(..., device_type="cuda")`."""
    autocast_mode.superseded("cuda", "custom_fwd", argument=True)
    return autocast_mode.custom_fwd(fwd, device_type="cuda", cast_inputs=cast_inputs)


def custom_bwd(bwd):
    """`torch.amp.custom_bwd(..., device_type="cuda")`."""
    autocast_mode.superseded("cuda", "custom_bwd", argument=True)
    return autocast_mode.custom_bwd(bwd, device_type="cuda")

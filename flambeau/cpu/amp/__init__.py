"""The older names of `torch.amp` for the CPU."""

import flambeau as torch
from flambeau.amp import autocast_mode, grad_scaler


class autocast(autocast_mode.autocast):
    """`torch.autocast("cpu", ...)`."""

    def __init__(self, enabled=True, dtype=torch.bfloat16, cache_enabled=True):
        autocast_mode.superseded("cpu", "autocast")
        super().__init__("cpu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class GradScaler(grad_scaler.GradScaler):
    """`torch.amp.GradScaler("cpu", ...)`."""

    def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000, enabled=True):
        autocast_mode.superseded("cpu", "GradScaler")
        super().__init__("cpu", init_scale, growth_factor, backoff_factor, growth_interval, enabled)

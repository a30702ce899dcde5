"""Tracing that goes below the public functions."""

from flambeau._ground.submodules import on_demand

__getattr__ = on_demand(__name__, "proxy_tensor", "symbolic_shapes")

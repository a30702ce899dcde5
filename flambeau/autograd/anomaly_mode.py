"""Anomaly mode: backward errors name the forward call that they come from, and NaN gradients are errors."""

from __future__ import annotations

import warnings
from typing import Any

from flambeau._eager import modes
from flambeau._eager.modes import STATE


def _set(mode: bool, check_nan: bool) -> None:
    if mode != STATE.anomaly:
        (modes.enter if mode else modes.leave)("anomaly")
    STATE.anomaly, STATE.anomaly_nan = mode, check_nan


class set_detect_anomaly:
    """Anomaly mode on or off, at once, and until the end of the block when used with `with`."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.prev = STATE.anomaly, STATE.anomaly_nan
        _set(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        _set(*self.prev)


class detect_anomaly(set_detect_anomaly):
    """Record where each operation was called, and check every gradient for NaN, inside the block."""

    def __init__(self, check_nan: bool = True) -> None:
        self.prev = STATE.anomaly, STATE.anomaly_nan
        self.check_nan = check_nan
        warnings.warn("Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging.",
                      stacklevel=2)  # fmt: skip

    def __enter__(self) -> None:
        self.prev = STATE.anomaly, STATE.anomaly_nan
        _set(True, self.check_nan)


def is_anomaly_enabled() -> bool:
    """Whether `detect_anomaly` is on."""
    return STATE.anomaly

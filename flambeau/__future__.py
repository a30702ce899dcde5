"""Switches for how modules convert their parameters."""

_switches = {"overwrite": False, "swap": False}


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Whether ``Module.to`` and its kind make new parameters instead of giving the old ones new data."""
    _switches["overwrite"] = value


def get_overwrite_module_params_on_conversion() -> bool:
    """Whether conversions make new parameters."""
    return _switches["overwrite"]


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Whether conversions and ``load_state_dict`` exchange a parameter's whole contents with the new tensor's."""
    _switches["swap"] = value


def get_swap_module_params_on_conversion() -> bool:
    """Whether conversions exchange contents."""
    return _switches["swap"]

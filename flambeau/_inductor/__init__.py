"""The names of PyTorch's compiler that programs set before they compile. Kernels here are chosen by fixed rules."""

from __future__ import annotations

from functools import cache
from importlib import import_module, resources
from typing import Any

from flambeau._inductor import config as config

__all__ = [
    "aoti_compile_and_package",
    "aoti_load_package",
    "cudagraph_mark_step_begin",
    "list_mode_options",
    "list_options",
]

_LITE = ("reorder_for_peak_memory", "reorder_for_compute_comm_overlap", "triton.reorder_for_reducing_graph_partitions", "use_pre_grad_passes",
         "use_joint_graph_passes", "use_post_grad_passes", "use_dce", "allow_buffer_reuse")  # fmt: skip
_MODES: dict[str, dict[str, bool]] = {
    "default": {},
    "lite": {"fallback_by_default": True, "selective_decompose": True, **dict.fromkeys(_LITE, False)},
    "reduce-overhead": {"triton.cudagraphs": True},
    "max-autotune-no-cudagraphs": {"max_autotune": True, "coordinate_descent_tuning": True},
    "max-autotune": {"max_autotune": True, "triton.cudagraphs": True, "coordinate_descent_tuning": True},
}
_TYPES = {"bool": bool, "int": int, "str": str, "float": float}


def cudagraph_mark_step_begin() -> None:
    """Where a new step begins, for CUDA graphs; there are none here."""


def list_mode_options(mode: str | None = None, dynamic: bool | None = None) -> dict[str, Any]:
    """What a mode of `compile` sets; of all modes where none is named.

    >>> list_mode_options("max-autotune-no-cudagraphs")
    {'max_autotune': True, 'coordinate_descent_tuning': True}
    """
    if not mode:
        return {name: dict(options) for name, options in _MODES.items()}
    if mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    return dict(_MODES[mode])


@cache
def _options() -> dict[str, str]:
    """The options of PyTorch's code generator, each with the type that is asked for; "" for any."""
    text = resources.files("flambeau._inductor").joinpath("options.txt").read_text()
    return {name: kind for name, _, kind in (line.partition(" ") for line in text.splitlines())}


def list_options() -> list[str]:
    """The names of the options of `compile`."""
    return list(_options())


def check(mode: str | None, options: dict[str, Any] | None) -> None:
    """Raise where a mode, or an option, does not exist, or an option is of another type."""
    if mode:
        list_mode_options(mode)
    for key, value in (options or {}).items():
        name = key.replace("-", "_")
        if name not in _options():
            raise RuntimeError(f"Unexpected optimization option {key}, known options are {list_options()}")
        kind = _options()[name]
        if kind and not isinstance(value, _TYPES[kind]):
            raise RuntimeError(f"Unexpected type of attr {key}, got {type(value).__name__} should be {kind}")


def aoti_compile_and_package(
    exported_program: Any,
    _deprecated_unused_args: Any = None,
    _deprecated_unused_kwargs: Any = None,
    *,
    package_path: Any = None,
    inductor_configs: dict[str, Any] | None = None,
) -> Any:
    """Compile an exported program and write it to a `.pt2` file (a path, a binary file, or a new file); gives that.

    Of `inductor_configs`, `"aot_inductor.package_constants_in_so": False` leaves parameters and buffers out; the others are checked only.
    """
    check(None, inductor_configs)
    return _package().compile_and_package(exported_program, package_path, inductor_configs or {})


def aoti_load_package(path: Any, run_single_threaded: bool = False, device_index: int = -1) -> Any:
    """The model that `aoti_compile_and_package` wrote, to be called."""
    return _package().load_package(path)


def _package() -> Any:
    """The module of packages, which stands on `export`, two floors above."""
    return import_module("flambeau._inductor.package")


def __getattr__(name: str) -> Any:
    if name in ("package", "utils"):
        return import_module(f"flambeau._inductor.{name}")
    if name == "compile":
        from flambeau._capture.backends import find

        return lambda gm, example_inputs, options=None: find("inductor")(gm, list(example_inputs))
    raise AttributeError(f"module 'torch._inductor' has no attribute '{name}'")

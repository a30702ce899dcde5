"""What the compiler prints, switched on by PyTorch's names: `set_logs(graph=True, recompiles=True)` is FLAMBEAU_LOGS=graph,recompiles.

Names of stages that do not exist here are accepted and print nothing; names that PyTorch does not know are errors. Levels of loggers are
set on `logging`'s loggers of the same modules.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from flambeau._ground import dumps, flags

_STAGES = {
    "graph": "graph", "graph_code": "graph", "graph_code_verbose": "graph", "aot_graphs": "graph", "aot_joint_graph": "graph",
    "pre_grad_graphs": "graph", "post_grad_graphs": "graph", "guards": "guards", "graph_breaks": "breaks", "recompiles": "recompiles",
    "recompiles_verbose": "recompiles", "output_code": "source", "kernel_code": "loops",
}  # fmt: skip
_OTHERS = frozenset((
    "bytecode", "ddp_graphs", "side_effects", "graph_sizes", "trace_source", "trace_call", "trace_bytecode", "schedule", "perf_hints",
    "ir_pre_fusion", "ir_post_fusion", "onnx_diagnostics", "fusion", "overlap", "cudagraphs", "sym_node", "compiled_autograd",
    "compiled_autograd_verbose", "cudagraph_static_inputs", "benchmarking", "autotuning", "incremental", "graph_region_expansion",
    "inductor_metrics", "hierarchical_compile", "compute_dependencies", "caching",
))  # fmt: skip
_LOGGERS = {
    "all": "torch", "dynamo": "torch._dynamo", "aot": "torch._functorch", "autograd": "torch.autograd", "inductor": "torch._inductor",
    "dynamic": "torch.fx.experimental.symbolic_shapes", "distributed": "torch.distributed", "c10d": "torch.distributed.distributed_c10d",
    "ddp": "torch.nn.parallel.distributed", "fsdp": "torch.distributed.fsdp", "dtensor": "torch.distributed.tensor", "onnx": "torch.onnx",
    "export": "torch.export",
}  # fmt: skip


def set_logs(*, modules: dict[str, Any] | None = None, **names: Any) -> None:
    """Print these stages of compiled programs, and no others; levels are for loggers (`dynamo=logging.DEBUG`).

    Args:
        modules: more names, of stages or of Python modules.
    """
    for name in names:
        if name not in _STAGES and name not in _OTHERS and name not in _LOGGERS:
            raise TypeError(f"set_logs() got an unexpected keyword argument '{name}'")
    stages: list[str] = []
    levels: dict[str, int] = {}
    for name, value in {**names, **(modules or {})}.items():
        if value is None:
            continue
        if name in _STAGES or name in _OTHERS:
            if not isinstance(value, bool):
                raise ValueError(f"Expected bool to enable artifact {name}, received {value}")
            if value and name in _STAGES and _STAGES[name] not in stages:
                stages.append(_STAGES[name])
            continue
        logger = _LOGGERS.get(name) or (name if name in (modules or {}) and "." in name else None)
        if logger is None:
            raise ValueError(f"Unrecognized log or artifact name passed to set_logs: {name}")
        if value not in _known_levels():
            raise ValueError(f"Unrecognized log level for log {name}: {value}, valid level values are: {','.join(map(str, _known_levels()))}")  # fmt: skip
        levels[logger] = value
    if levels.get("torch.fx.experimental.symbolic_shapes", logging.WARNING) <= logging.INFO:
        stages.append("dynamic")
    flags.TABLE["logs"].value = ",".join(stages)
    for logger, level in levels.items():
        logging.getLogger(logger).setLevel(level)


def _known_levels() -> list[int]:
    return sorted(set(logging.getLevelNamesMapping().values()), reverse=True)


def getArtifactLogger(module_qname: str, artifact_name: str) -> logging.Logger:
    """A logger for one kind of output of a module."""
    if artifact_name not in _STAGES and artifact_name not in _OTHERS:
        raise ValueError(f"Artifact name: {artifact_name!r} not registered,please call register_artifact({artifact_name!r}) in torch._logging.registrations.")  # fmt: skip
    return logging.getLogger(f"{module_qname}.__{artifact_name}")


class LazyString:
    """A text that is made when it is printed."""

    def __init__(self, func: Callable[..., str], *args: Any, **kwargs: Any) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs

    def __str__(self) -> str:
        return self.func(*self.args, **self.kwargs)


def trace_structured(name: str, *args: Any, **kwargs: Any) -> None:
    """Nothing is recorded: there is no trace file."""


@lru_cache(None)
def warning_once(logger_obj: logging.Logger, *args: Any, **kwargs: Any) -> None:
    """A warning of a logger that is given once."""
    logger_obj.warning(*args, **kwargs)


__all__ = ["LazyString", "getArtifactLogger", "set_logs", "trace_structured", "warning_once"]
assert set(_STAGES.values()) <= set(dumps.STAGES)

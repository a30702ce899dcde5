"""The profiler as PyTorch's core spells it."""

from __future__ import annotations

from dataclasses import dataclass, field

from flambeau.autograd.profiler import record_function
from flambeau.profiler.profiler import ProfilerActivity as ProfilerActivity


@dataclass(eq=False)
class _ExperimentalConfig:
    """Settings of what watches hardware; there is nothing here that they could change."""

    profiler_metrics: list[str] = field(default_factory=list)
    profiler_measure_per_kernel: bool = False
    verbose: bool = False
    performance_events: list[str] = field(default_factory=list)
    enable_cuda_sync_events: bool = False
    adjust_profiler_step: bool = False
    disable_external_correlation: bool = False
    profile_all_threads: bool = False
    capture_overload_names: bool = False
    record_python_gc_info: bool = False
    expose_kineto_event_metadata: bool = False
    custom_profiler_config: str = ""
    adjust_timestamps: bool = False
    trace_only: bool = False


class _RecordFunctionFast:
    """A range of that name, for a `with` block that is entered often."""

    def __init__(self, name: str, input_values: object = None, keyword_values: object = None) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.range = record_function(self.name)
        self.range.__enter__()

    def __exit__(self, *error: object) -> None:
        self.range.__exit__(None, None, None)

"""`torch.profiler`: what ran, how long, in tables and as traces."""

from flambeau.autograd.profiler import kineto_available, record_function
from flambeau.autograd.profiler_util import DeviceType
from flambeau.profiler.execution_trace import ExecutionTraceObserver
from flambeau.profiler.profiler import (
    ProfilerAction,
    ProfilerActivity,
    _KinetoProfile,
    profile,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)

__all__ = [
    "DeviceType", "ExecutionTraceObserver", "ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip

"""What a profile is made of: events in time, averages of events of one name, and their table."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections import defaultdict
from enum import Enum
from typing import Any, NamedTuple

from . import profiler_flops

WIDTH = 12


class DeviceType(Enum):
    """Where something ran."""

    CPU = 0
    CUDA = 1
    MKLDNN = 2
    OPENGL = 3
    OPENCL = 4
    IDEEP = 5
    HIP = 6
    FPGA = 7
    MAIA = 8
    XLA = 9
    Vulkan = 10
    Metal = 11
    XPU = 12
    MPS = 13
    Meta = 14
    HPU = 15
    VE = 16
    Lazy = 17
    IPU = 18
    MTIA = 19
    PrivateUse1 = 20

    def __int__(self) -> int:
        return self.value


class Interval:
    """From start to end, in microseconds."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end

    def elapsed_us(self) -> float:
        """How long."""
        return self.end - self.start


class _Formatted:
    cpu_time_total: float
    self_cpu_time_total: float
    count: int
    device_time_total = self_device_time_total = 0.0

    @property
    def cpu_time(self) -> float:
        """The mean time of a call, in microseconds."""
        return 0.0 if self.count == 0 else self.cpu_time_total / self.count

    @property
    def device_time(self) -> float:
        """0: nothing runs on another device."""
        return 0.0

    cpu_time_str = property(lambda self: _time(self.cpu_time))
    cpu_time_total_str = property(lambda self: _time(self.cpu_time_total))
    self_cpu_time_total_str = property(lambda self: _time(self.self_cpu_time_total))
    device_time_str = property(lambda self: _time(0.0))
    device_time_total_str = property(lambda self: _time(0.0))


class Kernel(NamedTuple):
    """Something that ran on another device, for so many microseconds."""

    name: str
    device: int
    duration: float


class FunctionEvent(_Formatted):
    """One call: its name, when it ran, in which thread, within which other call."""

    def __init__(self, id: int, name: str, thread: int, start_us: float, end_us: float, overload_name: str | None = None,
                 fwd_thread: int | None = None, input_shapes: Any = None, stack: Any = None, scope: int = 0, use_device: str | None = None,
                 cpu_memory_usage: int = 0, device_memory_usage: int = 0, is_async: bool = False, is_remote: bool = False,
                 sequence_nr: int = -1, node_id: int = -1, device_type: DeviceType = DeviceType.CPU, device_index: int = 0,
                 device_resource_id: int | None = None, is_legacy: bool = False, flops: int | None = None, trace_name: str | None = None,
                 concrete_inputs: Any = None, kwinputs: Any = None, is_user_annotation: bool = False, is_python_function: bool = False,
                 activity_type: Any = None, metadata_json: Any = None, flow_id: int | None = None, flow_type: int | None = None,
                 flow_start: bool | None = None, external_id: int = 0, linked_correlation_id: int = 0, extra_meta: Any = None,
                 structured_input_shapes: Any = None, structured_input_strides: Any = None, input_dtypes: Any = None, python_id: int = -1,
                 python_parent_id: int = -1, python_module_id: int = -1) -> None:  # fmt: skip
        self.id, self.name, self.trace_name, self.thread = id, name, trace_name or name, thread
        self.overload_name, self.use_device = overload_name, use_device
        self.time_range = Interval(start_us, end_us)
        self.input_shapes = [] if input_shapes is None else input_shapes
        self.stack = [] if stack is None else stack
        self.scope, self.sequence_nr, self.is_user_annotation = scope, sequence_nr, is_user_annotation
        self.count, self.node_id, self.fwd_thread = 1, node_id, fwd_thread
        self.is_async, self.is_remote, self.is_legacy = is_async, is_remote, is_legacy
        self.is_python_function, self.activity_type, self.metadata_json = (
            is_python_function,
            activity_type,
            metadata_json,
        )
        self.device_type, self.device_index = device_type, device_index
        self.device_resource_id = thread if device_resource_id is None else device_resource_id
        self.flow_id, self.flow_type, self.flow_start = flow_id, flow_type, flow_start
        self.external_id, self.linked_correlation_id, self.extra_meta = external_id, linked_correlation_id, extra_meta
        self.concrete_inputs = [] if concrete_inputs is None else concrete_inputs
        self.kwinputs = {} if kwinputs is None else kwinputs
        self.structured_input_shapes = [] if structured_input_shapes is None else structured_input_shapes
        self.structured_input_strides = [] if structured_input_strides is None else structured_input_strides
        self.input_dtypes = [] if input_dtypes is None else input_dtypes
        self.python_id, self.python_parent_id, self.python_module_id = python_id, python_parent_id, python_module_id
        self.cpu_children: list[FunctionEvent] = []
        self.cpu_parent: FunctionEvent | None = None
        self.kernels: list[Kernel] = []
        self.flops = flops
        self.cpu_memory_usage, self.device_memory_usage = cpu_memory_usage, device_memory_usage
        self.self_device_memory_usage = device_memory_usage

    @property
    def self_cpu_memory_usage(self) -> int:
        """What it took of memory less what it gave back, without what it called; in bytes."""
        return self.cpu_memory_usage - sum(c.cpu_memory_usage for c in self.cpu_children)

    def append_kernel(self, name: str, device: int, duration: float) -> None:
        """Note something that it started on another device."""
        self.kernels.append(Kernel(name, device, duration))

    @property
    def key(self) -> str:
        """The name."""
        return self.name

    @property
    def cpu_time_total(self) -> float:  # type: ignore[override]
        """Its time, with that of what it called, in microseconds."""
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """Its time without that of what it called."""
        return self.cpu_time_total - sum(c.cpu_time_total for c in self.cpu_children)

    def append_cpu_child(self, child: FunctionEvent) -> None:
        """Note a call made within this one."""
        self.cpu_children.append(child)
        child.cpu_parent = self

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} device_type={self.device_type} node_id={self.node_id} cpu_time={self.cpu_time_str} "
            f"start_us={self.time_range.start} end_us={self.time_range.end} cpu_children={[c.id for c in self.cpu_children]} "
            f"cuda_time={self.device_time_str} name={self.name} thread={self.thread} input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage} "
            f"cuda_memory_usage={self.device_memory_usage} is_async={self.is_async} is_remote={self.is_remote} seq_nr={self.sequence_nr} is_legacy={self.is_legacy}>"
        )


class FunctionEventAvg(_Formatted):
    """All calls of one name (and shapes, and place) together."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.count = 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.input_shapes: Any = None
        self.stack: Any = None
        self.node_id, self.scope, self.flops = 0, None, 0
        self.is_async = self.is_remote = self.is_legacy = self.is_user_annotation = False
        self.cpu_memory_usage = self.device_memory_usage = 0
        self.self_cpu_memory_usage = self.self_device_memory_usage = 0
        self.cpu_children: list[Any] | None = None
        self.cpu_parent: Any = None

    def add(self, other: Any) -> FunctionEventAvg:
        """Count another call, or other calls, in."""
        if self.key is None:
            self.key, self.input_shapes, self.stack = other.key, other.input_shapes, other.stack
            self.node_id, self.scope = other.node_id, other.scope
            self.is_user_annotation = other.is_user_annotation
        self.cpu_time_total += other.cpu_time_total
        self.self_cpu_time_total += other.self_cpu_time_total
        self.count += other.count
        self.cpu_memory_usage += other.cpu_memory_usage
        self.self_cpu_memory_usage += other.self_cpu_memory_usage
        self.flops = (self.flops or 0) + (other.flops or 0)
        return self

    __iadd__ = add

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} cpu_time={self.cpu_time_str}  "
            f"self_cuda_time={_time(0.0)} cuda_time={self.device_time_str} input_shapes={self.input_shapes or ''} "
            f"cpu_memory_usage={self.cpu_memory_usage} cuda_memory_usage={self.device_memory_usage}>"
        )


class EventList(list[Any]):
    """Events, or averages of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._record_shapes = bool(kwargs.pop("record_shapes", args[1] if len(args) > 1 else False))
        self._with_stack = bool(kwargs.pop("with_stack", args[2] if len(args) > 2 else False))
        self._profile_memory = bool(kwargs.pop("profile_memory", False))
        self._use_device, self._with_flops = kwargs.pop("use_device", None), kwargs.pop("with_flops", False)
        super().__init__(*args[:1], **kwargs)

    def __str__(self) -> str:
        return self.table()

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all, in microseconds."""
        return float(sum(e.self_cpu_time_total for e in self))

    def total_average(self) -> FunctionEventAvg:
        """All in one."""
        total = FunctionEventAvg()
        for e in self:
            total.add(e)
        total.key = "Total"
        total.input_shapes = None
        return total

    def key_averages(
        self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """One entry for each name (and shapes; and innermost lines of the stack)."""
        found: dict[Any, FunctionEventAvg] = defaultdict(FunctionEventAvg)
        for e in self:
            shapes = str(e.input_shapes) if group_by_input_shapes else ""
            average = found[e.key, shapes, tuple(e.stack[:group_by_stack_n])]
            average.add(e)
            if not group_by_input_shapes:
                average.input_shapes = ""
            average.stack = e.stack[:group_by_stack_n]
        return EventList(
            found.values(),
            self._record_shapes and group_by_input_shapes,
            group_by_stack_n > 0,
            profile_memory=self._profile_memory,
            with_flops=self._with_flops,
        )

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75, max_name_column_width: int = 55,
              max_shapes_column_width: int = 80, header: str | None = None, top_level_events_only: bool = False,
              time_unit: str | None = None) -> str:  # fmt: skip
        """A table of times, in the order of `sort_by` (an attribute such as "cpu_time_total", largest first)."""
        events = [e for e in self if not top_level_events_only or e.cpu_parent is None]
        if not events:
            return ""
        if sort_by is not None:
            attribute = sort_by.replace("cuda", "device").replace("xpu", "device")
            events.sort(key=lambda e: getattr(e, attribute), reverse=True)
        name = min(max(len(str(e.key)) for e in events) + 4, max_name_column_width)
        columns: list[tuple[str, int]] = [("Name", name)]
        memory = ("CPU Mem", "Self CPU Mem") if self._profile_memory else ()
        times = ("Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg")
        columns += [(c, WIDTH) for c in (*times, *memory, "# of Calls")]
        shapes = self._record_shapes
        if shapes:
            columns.append(
                ("Input Shapes", min(max(len(str(e.input_shapes)) for e in events) + 4, max_shapes_column_width))
            )
        stacked = self._with_stack and any(e.stack for e in events)
        if stacked:
            longest = max(len(line) for e in events for line in e.stack)
            columns.append(("Source Location", min(longest + 4, max_src_column_width)))
        counts = [e.flops for e in events if e.flops] if self._with_flops else []
        factor, unit = profiler_flops.scale(min(counts, default=0))
        if counts:
            columns.append((f"Total {unit}", WIDTH))
        rule = "".join("-" * w + "  " for _, w in columns)

        def line(cells: list[str]) -> str:
            return "".join(f"{_cut(c, w):>{w}}  " for c, (_, w) in zip(cells, columns, strict=True))

        whole = sum(e.self_cpu_time_total for e in events)
        rows = [rule, line([c for c, _ in columns]), rule]
        if header is not None:
            rows = ["=" * len(rule), header, *rows]
        for e in events[: row_limit if row_limit >= 0 else None]:
            cells = [
                str(e.key), _share(e.self_cpu_time_total, whole), _time(e.self_cpu_time_total, time_unit), _share(e.cpu_time_total, whole),
                _time(e.cpu_time_total, time_unit), _time(e.cpu_time, time_unit),
                *((_memory(e.cpu_memory_usage), _memory(e.self_cpu_memory_usage)) if memory else ()), str(e.count),
            ]  # fmt: skip
            if shapes:
                cells.append(str(e.input_shapes))
            if stacked:
                cells.append(e.stack[0] if e.stack else "")
            last = [""] if counts else []
            if counts:
                cells.append(f"{e.flops * factor:8.3f}" if e.flops else "--")
            rows.append(line(cells))
            rows += [line([""] * (len(columns) - 1 - len(last)) + [s, *last]) for s in (e.stack[1:] if stacked else ())]
        return "\n".join([*rows, rule, f"Self CPU time total: {_time(whole, time_unit)}", ""])

    def export_chrome_trace(self, path: str, metadata: dict[str, Any] | None = None) -> None:
        """Write the events as a trace that Perfetto and chrome://tracing open; gzipped where the name ends in .gz."""
        pid = os.getpid()
        trace: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "ts": 0, "pid": pid, "tid": 0, "args": {"name": "python"}},
            {"ph": "M", "name": "process_labels", "ts": 0, "pid": pid, "tid": 0, "args": {"labels": "CPU"}},
        ]
        for thread in sorted({e.thread for e in self}):
            trace.append(
                {
                    "ph": "M",
                    "name": "thread_name",
                    "ts": 0,
                    "pid": pid,
                    "tid": thread,
                    "args": {"name": f"thread {thread} (python)"},
                }
            )
        for e in self:
            args: dict[str, Any] = {"External id": e.id, "Sequence number": e.sequence_nr}
            if e.input_shapes:
                args["Input Dims"] = e.input_shapes
            if e.name == "[memory]":
                trace.append({"ph": "i", "s": "t", "cat": "cpu_instant_event", "name": e.name, "pid": pid, "tid": e.thread,
                              "ts": e.time_range.start, "args": {"Bytes": e.cpu_memory_usage, "Device Type": 0, "Device Id": -1}})  # fmt: skip
                continue
            if self._profile_memory:
                args["Self CPU Mem (bytes)"] = e.self_cpu_memory_usage
            if e.stack:
                args["Call stack"] = ";".join(e.stack)
            kind = "user_annotation" if e.is_user_annotation else "cpu_op"
            trace.append({"ph": "X", "cat": kind, "name": e.name, "pid": pid, "tid": e.thread, "ts": e.time_range.start,
                          "dur": e.time_range.elapsed_us(), "args": args})  # fmt: skip
        whole = {
            "schemaVersion": 1,
            "deviceProperties": [],
            "displayTimeUnit": "ms",
            **(metadata or {}),
            "traceEvents": trace,
            "traceName": path,
        }
        data = json.dumps(whole).encode()
        write(path, gzip.compress(data) if path.endswith(".gz") else data)

    def supported_export_stacks_metrics(self) -> list[str]:
        """What `export_stacks` can weigh stacks by."""
        return ["self_cpu_time_total", "self_cuda_time_total", "self_xpu_time_total", "self_privateuse1_time_total"]

    def export_stacks(self, path: str, metric: str) -> None:
        """Write stacks and their times, a line each, as flame graph programs read them."""
        if metric not in self.supported_export_stacks_metrics():
            raise ValueError(f"metric should be one of: {self.supported_export_stacks_metrics()!s}")
        lines = []
        for e in self:
            weight = int(getattr(e, metric, 0) if "cpu" in metric else 0)
            if e.stack and weight > 0:
                lines.append(
                    ";".join(s.translate(str.maketrans(" ;\t\n", "____")) for s in reversed(e.stack)) + f" {weight}\n"
                )
        write(path, "".join(lines).encode())


def write(path: str, data: bytes) -> None:
    """A file, complete or not at all."""
    folder = os.path.dirname(os.path.abspath(path))
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _time(us: float, unit: str | None = None) -> str:
    """1.500ms"""
    if unit == "s" or (unit is None and us >= 1_000_000):
        return f"{us / 1_000_000:.3f}s"
    if unit == "ms" or (unit is None and us >= 1000):
        return f"{us / 1000:.3f}ms"
    return f"{us:.3f}us"


def _memory(n: int) -> str:
    """1.50 KB"""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(n) >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n} B"


def _share(part: float, whole: float) -> str:
    return "NaN" if whole == 0 else f"{part * 100 / whole:.2f}%"

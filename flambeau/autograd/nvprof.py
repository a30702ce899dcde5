"""Files of nvprof's: a database of marks (from `emit_nvtx`), calls of the CUDA runtime, and kernels."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from flambeau.autograd.profiler_util import FunctionEvent

_LAUNCH = 211  # the number of cudaLaunchKernel among the calls

_MARKS = """
SELECT start.id AS mark, start.name AS name, start.timestamp AS begin, stop.timestamp AS finish
FROM CUPTI_ACTIVITY_KIND_MARKER AS start JOIN CUPTI_ACTIVITY_KIND_MARKER AS stop ON start.id = stop.id
WHERE start.name != 0 AND stop.name = 0
"""
_KERNELS = f"""
SELECT marks.mark AS mark, kernel.name AS name, kernel.start AS begin, kernel.end AS finish, runtime._id_ AS launch, runtime.cbid AS call
FROM ({_MARKS}) AS marks
JOIN CUPTI_ACTIVITY_KIND_RUNTIME AS runtime ON marks.begin < runtime.start AND runtime.end < marks.finish
JOIN CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL AS kernel ON kernel.correlationId = runtime.correlationId
"""


def read(path: str) -> list[FunctionEvent]:
    """The marked calls, by time."""
    with closing(sqlite3.connect(path)) as base:
        base.row_factory = sqlite3.Row
        names = {row["id"]: row["value"] for row in base.execute("SELECT _id_ AS id, value FROM StringTable")}
        events: dict[int, FunctionEvent] = {}
        for row in base.execute(_MARKS):
            if row["mark"] in events:
                raise RuntimeError(f"duplicate key: ({row['mark']},)")
            events[row["mark"]] = FunctionEvent(
                row["mark"], names[row["name"]], 0, row["begin"], row["finish"], node_id=0
            )
        for row in base.execute(_KERNELS):
            if row["call"] != _LAUNCH:
                raise AssertionError(f"Expected CUDA runtime cbid to be {_LAUNCH}, but got {row['call']}")
            events[row["mark"]].append_kernel(row["name"], 0, row["finish"] - row["begin"])
    return sorted(events.values(), key=lambda e: e.time_range.start)

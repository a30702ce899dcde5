"""Execution traces: each call with its inputs and results, as the Chakra format has it."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from flambeau._tensor import Tensor
from flambeau.autograd.profiler import Session
from flambeau.autograd.profiler_util import FunctionEvent, write

_SCHEMA = "1.1.1-chakra.0.0.4"


class _Observed(Session):
    """A recording that keeps what calls were given and gave."""

    def __init__(self) -> None:
        super().__init__(True, False)
        self.facts: dict[int, tuple[Any, Any]] = {}

    def note(self, op: Any, name: str, values: tuple[Any, ...], run: Any) -> Any:
        def kept() -> Any:
            event, result = self.local.open[-1], run()
            self.facts[event.id] = _described(values), _described((result,))
            return result

        return super().note(op, name, values, kept)


def _described(values: Any) -> dict[str, list[Any]]:
    return {
        "values": [
            None if isinstance(v, Tensor) else v if isinstance(v, (bool, int, float, str, type(None))) else str(v)
            for v in values
        ],
        "shapes": [list(v.shape) if isinstance(v, Tensor) else [] for v in values],
        "types": [
            f"Tensor({str(v.dtype).removeprefix('torch.')})" if isinstance(v, Tensor) else type(v).__name__
            for v in values
        ],
    }


class ExecutionTraceObserver:
    """Writes an execution trace: `register_callback(path)`, `start()`, ..., `stop()`; or given to `profile`.

    >>> import flambeau as torch, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "trace.json")
    >>> observer = torch.profiler.ExecutionTraceObserver().register_callback(path)
    >>> observer.start()
    >>> y = torch.ones(2) + 1
    >>> observer.stop()
    >>> [node["name"] for node in json.load(open(path))["nodes"]]
    ['[pytorch|profiler|execution_trace|process]', 'aten::ones', 'aten::add']
    """

    def __init__(self) -> None:
        self._path: str | None = None
        self._session: _Observed | None = None
        self._begun = 0.0

    def register_callback(self, output_file_path: str) -> ExecutionTraceObserver:
        """Where the trace goes; gzipped where the name ends in .gz."""
        self._path = output_file_path
        return self

    def unregister_callback(self) -> None:
        """Forgets it; a recording that runs ends."""
        self.stop()
        self._path = None

    def get_output_file_path(self) -> str | None:
        """Where the trace goes."""
        return self._path

    output_file_path = property(get_output_file_path)

    @property
    def is_registered(self) -> bool:
        """Whether it knows where the trace goes."""
        return self._path is not None

    def is_running(self) -> bool:
        """Whether it records."""
        return self._session is not None

    def start(self) -> None:
        """Records."""
        if self._path is not None and self._session is None:
            self._session, self._begun = _Observed(), time.monotonic() * 1e6
            self._session.start()

    def stop(self) -> None:
        """Ends the recording and writes it."""
        session, self._session = self._session, None
        if session is None or self._path is None:
            return
        session.stop()
        root = {"id": 1, "name": "[pytorch|profiler|execution_trace|process]", "ctrl_deps": 1, "inputs": _described(()),
                "outputs": _described(()), "attrs": [{"name": "rf_id", "type": "uint64", "value": 0}]}  # fmt: skip
        whole = {
            "schema": _SCHEMA, "pid": os.getpid(), "time": time.strftime("%Y-%m-%d %H:%M:%S"), "start_ts": int(self._begun),
            "nodes": [root, *(_node(e, session) for e in session.events)], "finish_ts": int(time.monotonic() * 1e6),
        }  # fmt: skip
        data = json.dumps(whole, default=str).encode()
        if self._path.endswith(".gz"):
            import gzip

            data = gzip.compress(data)
        write(self._path, data)

    cleanup = unregister_callback


def _node(e: FunctionEvent, session: _Observed) -> dict[str, Any]:
    given, got = session.facts.get(e.id, (_described(()), _described(())))
    facts = (("rf_id", "uint64", e.id), ("fw_parent", "uint64", 0), ("seq_id", "int64", e.sequence_nr), ("scope", "uint64", e.scope),
             ("tid", "uint64", e.thread))  # fmt: skip
    return {
        "id": e.id + 1, "name": e.name, "ctrl_deps": 1 if e.cpu_parent is None else e.cpu_parent.id + 1, "inputs": given, "outputs": got,
        "attrs": [{"name": n, "type": t, "value": v} for n, t, v in facts],
    }  # fmt: skip

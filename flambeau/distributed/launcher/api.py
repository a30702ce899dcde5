"""The agent: it meets those of other machines, starts the workers of this one, watches them, starts them again.

The first agent keeps a store. Agents tell by it how many workers each has, that an attempt has failed, and that they are
done; their workers meet by it, under a prefix for each attempt.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flambeau.distributed._errors import DistError
from flambeau.distributed._store import TCPStore
from flambeau.distributed.elastic.multiprocessing import (
    DefaultLogsSpecs,
    LogsSpecs,
    RunProcsResult,
    SignalException,
    start_processes,
)
from flambeau.distributed.elastic.multiprocessing.errors import ChildFailedError

__all__ = ["LaunchConfig", "elastic_launch", "launch_agent"]


@dataclass
class LaunchConfig:
    """How many workers on how many machines, where their agents meet, how often they may fail."""

    min_nodes: int
    max_nodes: int
    nproc_per_node: int
    logs_specs: LogsSpecs | None = None
    run_id: str = ""
    role: str = "default_role"
    rdzv_endpoint: str = ""
    rdzv_backend: str = "etcd"
    rdzv_configs: dict[str, Any] = field(default_factory=dict)
    rdzv_timeout: int = -1
    max_restarts: int = 3
    monitor_interval: float = 0.1
    start_method: str = "spawn"
    log_line_prefix_template: str | None = None
    metrics_cfg: dict[str, str] = field(default_factory=dict)
    local_addr: str | None = None
    event_log_handler: str = "null"
    numa_options: Any = None
    signals_to_handle: str = "SIGTERM,SIGINT,SIGHUP,SIGQUIT"
    duplicate_stdout_filters: list[str] | None = None
    duplicate_stderr_filters: list[str] | None = None
    virtual_local_rank: bool = False
    shutdown_timeout: int | None = None

    def __post_init__(self) -> None:
        if self.rdzv_timeout != -1:
            self.rdzv_configs["timeout"] = self.rdzv_timeout
        self.rdzv_configs.setdefault("timeout", 900)
        if self.logs_specs is None:
            self.logs_specs = DefaultLogsSpecs()


class elastic_launch:
    """`elastic_launch(config, entrypoint)(*args)` runs a program or a function by the workers; what each returned, by rank."""

    def __init__(
        self, config: LaunchConfig, entrypoint: Callable[..., Any] | str | None, health_check_server: Any = None
    ) -> None:
        self._config, self._entrypoint = config, entrypoint

    def __call__(self, *args: Any) -> dict[int, Any]:
        return launch_agent(self._config, self._entrypoint, list(args))


def _name(entrypoint: Any, args: list[Any]) -> str:
    if not isinstance(entrypoint, str):
        return str(entrypoint.__qualname__)
    program = next((a for a in args if isinstance(a, str) and not a.startswith("-")), None)
    return os.path.basename(program) if program else entrypoint


def launch_agent(config: LaunchConfig, entrypoint: Any, args: list[Any]) -> dict[int, Any]:
    """Run the workers of this machine; what each returned, by rank."""
    if entrypoint is None:
        raise ValueError("an entrypoint is needed")
    agent = _Agent(config, entrypoint, args)
    try:
        result = agent.run()
    finally:
        agent.close()
    if result.is_failed():
        failures = {agent.first + local: failure for local, failure in result.failures.items()}
        raise ChildFailedError(_name(entrypoint, args), failures)
    return {agent.first + local: value for local, value in result.return_values.items()}


class _Agent:
    """The agent of this machine."""

    def __init__(self, config: LaunchConfig, entrypoint: Any, args: list[Any]) -> None:
        if config.min_nodes != config.max_nodes:
            raise NotImplementedError(
                f"launching on a number of nodes that changes ({config.min_nodes}:{config.max_nodes})"
            )
        if config.rdzv_backend not in ("static", "c10d", ""):
            raise NotImplementedError(f"the rendezvous backend {config.rdzv_backend!r}: there are 'static' and 'c10d'")
        self.config, self.entrypoint, self.args = config, entrypoint, args
        self.nodes, self.run_id = config.max_nodes, config.run_id or str(uuid.uuid4())
        self.store, self.host = self._meet()
        count = config.nproc_per_node
        self.store.set(f"agent/workers/{self.node}", str(count))
        counts = [int(self.store.get(f"agent/workers/{node}")) for node in range(self.nodes)]
        self.first, self.world = sum(counts[: self.node]), sum(counts)

    def _meet(self) -> tuple[TCPStore, str]:
        """The store of all agents, and the host that keeps it; sets the number of this machine."""
        endpoint, timeout = self.config.rdzv_endpoint, timedelta(seconds=float(self.config.rdzv_configs["timeout"]))
        host, _, port = endpoint.rpartition(":") if ":" in endpoint else (endpoint, "", "")
        host, number = host or "localhost", int(port or (29400 if endpoint else 0))
        rank = self.config.rdzv_configs.get("rank")
        if rank is not None and self.config.rdzv_backend == "static":
            self.node = int(rank)
            return TCPStore(host, number, None, self.node == 0, timeout, wait_for_workers=False), host
        if self.nodes == 1:
            self.node = 0
            return TCPStore(host, number, None, True, timeout, wait_for_workers=False), host
        # Whoever can listen there keeps the store; the others find it.
        is_host = self.config.rdzv_configs.get("is_host")
        keeps = str(is_host).lower() in ("1", "true", "yes") if is_host is not None else _is_here(host)
        store = None
        if keeps:
            with contextlib.suppress(OSError, DistError):
                store = TCPStore(host, number, None, True, timeout, wait_for_workers=False)
        if store is None:
            store = TCPStore(host, number, None, False, timeout, wait_for_workers=False)
        self.node = store.add(f"agent/joined/{self.run_id}", 1) - 1
        if self.node >= self.nodes:
            raise RuntimeError(f"{self.nodes} agents have met already")
        return store, host

    def _environment(self, local: int, attempt: int) -> dict[str, str]:
        config, rank = self.config, self.first + local
        found = {
            "LOCAL_RANK": local, "RANK": rank, "GROUP_RANK": self.node, "ROLE_RANK": rank, "ROLE_NAME": config.role,
            "LOCAL_WORLD_SIZE": config.nproc_per_node, "WORLD_SIZE": self.world, "GROUP_WORLD_SIZE": self.nodes,
            "ROLE_WORLD_SIZE": self.world, "MASTER_ADDR": self.host, "MASTER_PORT": self.store.port,
            "TORCHELASTIC_RESTART_COUNT": attempt, "TORCHELASTIC_MAX_RESTARTS": config.max_restarts,
            "TORCHELASTIC_RUN_ID": self.run_id, "TORCHELASTIC_USE_AGENT_STORE": True,
        }  # fmt: skip
        if config.virtual_local_rank:
            found["LOCAL_RANK"] = 0
        if "OMP_NUM_THREADS" in os.environ:
            found["OMP_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
        return {key: str(value) for key, value in found.items()}

    def run(self) -> RunProcsResult:
        """Run the workers, again where they fail and may."""
        attempt = 0
        os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = self.config.signals_to_handle
        while True:
            result = self._attempt(attempt)
            if result is not None and not result.is_failed():
                self._leave()
                return result
            if attempt >= self.config.max_restarts:
                if result is None:
                    raise RuntimeError(
                        f"workers of another node failed, {self.config.max_restarts} times more than they may"
                    )
                return result
            attempt += 1
            # All agents have ended their workers before any starts new ones.
            self._gather(f"agent/restarts/{attempt}")

    def _attempt(self, attempt: int) -> RunProcsResult | None:
        """How one attempt ended; None if it failed elsewhere."""
        count = self.config.nproc_per_node
        envs = {local: self._environment(local, attempt) for local in range(count)}
        prefixes = None
        template = self.config.log_line_prefix_template
        if template:
            names = ("role_name", "local_rank", "rank")
            prefixes = {
                local: _filled(template, dict(zip(names, (self.config.role, local, self.first + local))))
                for local in range(count)
            }
        assert self.config.logs_specs is not None
        arguments = {local: tuple(_filled(a, {"local_rank": local}) for a in self.args) for local in range(count)}
        workers = start_processes(
            self.config.role, self.entrypoint, arguments, envs, self.config.logs_specs, prefixes, self.config.start_method,
            self.config.numa_options, self.config.duplicate_stdout_filters, self.config.duplicate_stderr_filters,
        )  # fmt: skip
        ending = self.config.shutdown_timeout or 30
        failed = f"agent/failed/{attempt}"
        try:
            while True:
                result = workers.wait(0)
                if result is not None:
                    if result.is_failed():
                        with contextlib.suppress(DistError):
                            self.store.set(failed, str(self.node))
                    return result
                if self.nodes > 1 and self.store.check([failed]):
                    return None
                time.sleep(self.config.monitor_interval)
        except SignalException as asked:
            workers.close(asked.sigval, ending)
            raise
        finally:
            workers.close(signal.SIGTERM, ending)

    def _gather(self, key: str) -> None:
        """Wait until all agents have come here."""
        self.store.add(key, 1)
        self._until(key)

    def _until(self, key: str) -> None:
        end = time.monotonic() + float(self.config.rdzv_configs["timeout"])
        while self.store.add(key, 0) < self.nodes:
            if time.monotonic() > end:
                raise RuntimeError("the agents of other nodes did not come in time")
            time.sleep(0.05)

    def _leave(self) -> None:
        """The agent that keeps the store waits for the others, whose workers may still need it."""
        with contextlib.suppress(DistError):
            self.store.add("agent/done", 1)
            if self.node == 0:
                self._until("agent/done")

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def _filled(text: Any, values: dict[str, Any]) -> Any:
    """Text with its `${names}` replaced."""
    if isinstance(text, str):
        for name, value in values.items():
            text = text.replace("${" + name + "}", str(value))
    return text


def _is_here(host: str) -> bool:
    """Whether a host's name is this machine's."""
    if host in ("localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()):
        return True
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(host)
        with socket.socket() as probe:
            probe.bind((address, 0))  # works for one's own addresses only
            return True
    return False

"""Calls between processes under the path of PyTorch's library: the constants and the plain classes. No agent can be made."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

_DEFAULT_INIT_METHOD = "env://"
_DEFAULT_NUM_WORKER_THREADS = 16
_DEFAULT_RPC_TIMEOUT_SEC = 60.0
_UNSET_RPC_TIMEOUT = -1.0


class WorkerInfo(NamedTuple):
    """A process that takes part: its name and number."""

    name: str
    id: int


class _Absent:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"torch.distributed.rpc: {type(self).__name__} is not implemented")


class RpcAgent(_Absent):
    """What sends and receives calls."""


class TensorPipeAgent(RpcAgent):
    """The agent that sends tensors through pipes."""


class RpcBackendOptions(_Absent):
    """How an agent is set up."""


class _TensorPipeRpcBackendOptionsBase(RpcBackendOptions):
    """The same, of the agent that sends tensors through pipes."""


class PyRRef(_Absent):
    """A value that another process owns."""


class RemoteProfilerManager(_Absent):
    """Profiles of calls in other processes."""


def _is_current_rpc_agent_set() -> bool:
    """Whether an agent runs."""
    return False


def _get_current_rpc_agent() -> NoReturn:
    raise RuntimeError(
        "Current RPC agent is not set! Did you initialize the RPC framework (e.g. by calling `rpc.init_rpc`)?"
    )


def get_rpc_timeout() -> float:
    """How many seconds a call may take."""
    return float(_get_current_rpc_agent())


def enable_gil_profiling(flag: bool) -> None:
    """There are no calls whose waiting could be profiled."""


def _cleanup_python_rpc_handler() -> None:
    """Nothing is held."""

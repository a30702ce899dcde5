"""Free ports, and stores that workers meet at."""

from __future__ import annotations

import datetime
import socket
from contextlib import closing
from typing import Any

import flambeau.distributed as dist
from flambeau.distributed.elastic.utils.logging import get_logger

logger = get_logger(__name__)


def create_c10d_store(
    is_server: bool,
    server_addr: str,
    server_port: int = -1,
    world_size: int = 1,
    timeout: float = 600,
    wait_for_workers: bool = True,
    retries: int = 3,
    use_libuv: bool | None = None,
) -> Any:
    """A `TCPStore`; where no port is given, one that is free, tried anew when another process was quicker."""
    if server_port == -1 and world_size > 1:
        raise ValueError(
            f"server_port must be specified when world_size > 1, got server_port={server_port}, world_size={world_size}"
        )
    left = retries if server_port == -1 else 1
    while True:
        left -= 1
        try:
            return dist.TCPStore(
                server_addr,
                get_free_port() if server_port == -1 else server_port,
                world_size,
                is_server,
                datetime.timedelta(seconds=timeout),
                wait_for_workers,
            )
        except OSError:
            if left <= 0:
                raise
            logger.warning("a port was taken in the meantime; another one is tried")


def get_free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with closing(get_socket_with_port()) as bound:
        return int(bound.getsockname()[1])


def get_socket_with_port() -> socket.socket:
    """A socket that holds a free port until it is closed."""
    for family, kind, protocol, _, _ in socket.getaddrinfo("localhost", None, socket.AF_UNSPEC, socket.SOCK_STREAM):
        bound = socket.socket(family, kind, protocol)
        try:
            bound.bind(("localhost", 0))
            bound.listen(0)
            return bound
        except OSError as error:
            bound.close()
            logger.warning("Socket creation attempt failed.", exc_info=error)
    raise RuntimeError("Failed to create a socket")

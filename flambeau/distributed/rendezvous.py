"""Where ranks meet: `env://`, `tcp://host:port`, `file:///path`, and schemes of one's own."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlparse

from flambeau.distributed._store import DEFAULT, FileStore, PrefixStore, TCPStore

__all__ = ["register_rendezvous_handler", "rendezvous"]

_handlers: dict[str, Callable[..., Iterator[tuple[Any, int, int]]]] = {}


def register_rendezvous_handler(scheme: str, handler: Callable[..., Iterator[tuple[Any, int, int]]]) -> None:
    """Serve addresses of a scheme: handler(url, timeout=...) yields (store, rank, world size)."""
    if scheme in _handlers:
        raise RuntimeError(f"Rendezvous handler for {scheme}:// already registered")
    _handlers[scheme] = handler


def rendezvous(url: str, rank: int = -1, world_size: int = -1, **kwargs: Any) -> Iterator[tuple[Any, int, int]]:
    """Yields a store that all ranks share, this process's rank, and how many there are."""
    if not isinstance(url, (str, bytes)):
        raise RuntimeError(f"`url` must be a string. {type(url)}: {url}")
    parts = urlparse(str(url))
    query = dict(parse_qsl(parts.query))
    if rank != -1:
        query["rank"] = str(rank)
    if world_size != -1:
        query["world_size"] = str(world_size)
    handler = _handlers.get(parts.scheme)
    if handler is None:
        raise RuntimeError(f"No rendezvous handler for {parts.scheme}://")
    return handler(parts, query, **kwargs)


def _missing(scheme: str, what: str) -> ValueError:
    return ValueError(f"Error initializing torch.distributed using {scheme}:// rendezvous: {what}")


def _place(scheme: str, query: dict[str, str]) -> tuple[int, int]:
    """The rank, and how many there are."""
    for name in ("rank", "world_size"):
        if name not in query:
            raise _missing(scheme, f"{name.replace('_', ' ')} parameter missing")
    return int(query["rank"]), int(query["world_size"])


def _file(parts: Any, query: dict[str, str], timeout: timedelta = DEFAULT, **_: Any) -> Iterator[tuple[Any, int, int]]:
    if not parts.path:
        raise _missing("file", "path missing")
    rank, size = _place("file", query)
    store = FileStore(parts.path, size)
    store.set_timeout(timeout)
    yield store, rank, size


def _tcp(parts: Any, query: dict[str, str], timeout: timedelta = DEFAULT, **_: Any) -> Iterator[tuple[Any, int, int]]:
    if not parts.port:
        raise _missing("tcp", "port number missing")
    rank, size = _place("tcp", query)
    yield TCPStore(str(parts.hostname), parts.port, size, rank == 0, timeout), rank, size


def _env(parts: Any, query: dict[str, str], timeout: timedelta = DEFAULT, **_: Any) -> Iterator[tuple[Any, int, int]]:
    def value(name: str) -> str:
        found = query.get(name.lower(), os.environ.get(name))
        if found is None:
            raise _missing("env", f"environment variable {name} expected, but not set")
        return found

    rank, size = int(value("RANK")), int(value("WORLD_SIZE"))
    host, port = value("MASTER_ADDR"), int(value("MASTER_PORT"))
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store: Any = TCPStore(host, port, size, rank == 0 and not agent, timeout, wait_for_workers=not agent)
    yield (PrefixStore(f"/worker/attempt_{attempt}", store) if agent else store), rank, size


register_rendezvous_handler("tcp", _tcp)
register_rendezvous_handler("env", _env)
register_rendezvous_handler("file", _file)


class _Callable(types.ModuleType):
    """This module: `torch.distributed.rendezvous` is also the name of the function in it."""

    def __call__(self, url: str, rank: int = -1, world_size: int = -1, **kwargs: Any) -> Iterator[tuple[Any, int, int]]:
        return rendezvous(url, rank, world_size, **kwargs)


sys.modules[__name__].__class__ = _Callable

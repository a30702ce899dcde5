"""Groups: joining all ranks of a program, groups of some of them, who is in which."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NewType

import flambeau
from flambeau.distributed._group import ProcessGroup
from flambeau.distributed._reduce_op import ReduceOp
from flambeau.distributed._store import PrefixStore, Store
from flambeau.distributed._transport import Transport
from flambeau.distributed.constants import default_pg_timeout
from flambeau.distributed.rendezvous import rendezvous

__all__ = [
    "Backend", "BackendConfig", "GroupMember", "GroupName", "destroy_process_group", "get_backend",
    "get_backend_config", "get_default_backend_for_device", "get_global_rank", "get_group_rank",
    "get_node_local_rank", "get_pg_count", "get_process_group_ranks", "get_rank", "get_world_size", "group",
    "init_process_group", "is_backend_available", "is_gloo_available", "is_initialized", "is_mpi_available",
    "is_nccl_available", "is_torchelastic_launched", "is_ucc_available", "is_xccl_available", "new_group",
    "new_subgroups", "new_subgroups_by_enumeration", "shrink_group", "split_group", "supports_complex",
]  # fmt: skip

GroupName = NewType("GroupName", str)


class Backend(str):
    """What carries messages: "gloo" names the one there is, over sockets."""

    UNDEFINED, GLOO, NCCL, UCC, MPI, XCCL, FAKE = "undefined", "gloo", "nccl", "ucc", "mpi", "xccl", "fake"
    backend_list = [UNDEFINED, GLOO, NCCL, XCCL, UCC, MPI, FAKE]
    default_device_backend_map = {"cpu": GLOO, "cuda": NCCL, "xpu": XCCL, "mps": GLOO}

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return str.__new__(cls, getattr(Backend, name.upper(), Backend.UNDEFINED) if "_" not in name else name.lower())  # fmt: skip

    @classmethod
    def register_backend(cls, name: str, func: Callable[..., Any], extended_api: bool = False, devices: Any = None) -> None:  # fmt: skip
        """Refused: there is one way of carrying messages."""
        raise NotImplementedError("torch.distributed.Backend.register_backend")


class BackendConfig:
    """Which backend serves which kind of device: "cpu:gloo,cuda:nccl"."""

    def __init__(self, backend: Backend) -> None:
        text = str(backend)
        if ":" in text:
            self.device_backend_map = {d.strip(): Backend(b.strip()) for d, b in (p.split(":") for p in text.split(","))}  # fmt: skip
        elif text == Backend.UNDEFINED:
            self.device_backend_map = {d: Backend(b) for d, b in Backend.default_device_backend_map.items()}
        else:
            self.device_backend_map = {d: Backend(text) for d in Backend.default_device_backend_map}

    def __repr__(self) -> str:
        return ",".join(f"{d}:{b}" for d, b in self.device_backend_map.items())

    def get_device_backend_map(self) -> dict[str, Backend]:
        """Device -> backend."""
        return self.device_backend_map


class GroupMember:
    """Marks: not in a group; the group of all (once it is there)."""

    NON_GROUP_MEMBER = -100
    WORLD: ProcessGroup | None = None


class _GroupMeta(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        return GroupMember.WORLD

    @WORLD.setter
    def WORLD(cls, group: ProcessGroup | None) -> None:
        GroupMember.WORLD = group


class group(metaclass=_GroupMeta):
    """`group.WORLD`: the group of all ranks."""


class _World:
    """What there is in this process."""

    def __init__(self) -> None:
        self.transport: Transport | None = None
        self.groups: dict[int, ProcessGroup] = {}
        self.counter = itertools.count(1)


_world = _World()


def is_initialized() -> bool:
    """Whether this process has joined others."""
    return GroupMember.WORLD is not None


def is_gloo_available() -> bool:
    """Whether messages can go over sockets."""
    return True


def _is_absent() -> bool:
    """No: it needs a library that is not used here."""
    return False


is_mpi_available = is_nccl_available = is_ucc_available = is_xccl_available = _is_absent


def is_backend_available(backend: str) -> bool:
    """Whether a backend is there."""
    return backend.lower() == Backend.GLOO


def is_torchelastic_launched() -> bool:
    """Whether `torch.distributed.run` started this process."""
    return os.environ.get("TORCHELASTIC_RUN_ID") is not None


def supports_complex(reduceOp: Any) -> bool:
    """Whether complex numbers can be combined so."""
    return reduceOp not in (ReduceOp.MAX, ReduceOp.MIN, ReduceOp.PRODUCT, ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)


def init_process_group(backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None, world_size: int = -1,
                       rank: int = -1, store: Store | None = None, group_name: str = "", pg_options: Any = None, device_id: Any = None,
                       _ranks: list[int] | None = None) -> None:  # fmt: skip
    """Join all ranks of a program.

    Args:
        backend: "gloo", or None.
        init_method: where they meet: "env://" (the default: MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE), "tcp://host:port", "file:///path".
        timeout: how long operations wait for other ranks.
        world_size, rank: how many there are, and which this is.
        store: a store they share, instead of `init_method`.

    Raises:
        ValueError: already joined, or arguments that do not go together.
        DistNetworkError, DistBackendError: the others do not come.

    >>> import flambeau as torch
    >>> torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    >>> x = torch.ones(2)
    >>> torch.distributed.all_reduce(x)
    >>> x, torch.distributed.get_world_size()
    (tensor([1., 1.]), 1)
    >>> torch.distributed.destroy_process_group()
    """
    if GroupMember.WORLD is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None and init_method is not None:
        raise AssertionError("Cannot specify both init_method and store.")
    name = Backend(backend) if backend and ":" not in backend else backend or Backend.GLOO
    names = {str(b) for b in BackendConfig(name).device_backend_map.values()} if ":" in name else {str(name)}  # type: ignore[arg-type]
    if Backend.GLOO not in names:
        raise RuntimeError(f"Distributed package doesn't have {str(name).upper()} built in")
    wait = default_pg_timeout if timeout is None else timeout
    if not isinstance(wait, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {wait}")
    if store is not None:
        if world_size <= 0:
            raise AssertionError("world_size must be positive if using store")
        if rank < 0:
            raise AssertionError("rank must be non-negative if using store")
    else:
        store, rank, world_size = next(rendezvous(init_method or "env://", rank, world_size, timeout=wait))
        store.set_timeout(wait)
    shared = PrefixStore("default_pg", store)
    _world.transport = Transport(shared, rank, world_size, wait, _own_address(store))
    made = ProcessGroup(_world.transport, 0, range(world_size), wait, group_name or "0", Backend.GLOO, "default_pg")
    _world.groups = {0: made}
    _world.counter = itertools.count(1)
    GroupMember.WORLD = made


def _own_address(store: Any) -> str:
    """The address under which the others reach this process: the one by which it reaches the store."""
    while hasattr(store, "underlying_store"):
        store = store.underlying_store
    host, port = getattr(store, "host", None), getattr(store, "port", None)
    if host is None or host in ("localhost", "127.0.0.1", "::1"):
        return "127.0.0.1"
    if "GLOO_SOCKET_ADDRESS" in os.environ:
        return os.environ["GLOO_SOCKET_ADDRESS"]
    for family, kind, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
        with contextlib.suppress(OSError), socket.socket(family, kind, proto) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    return "127.0.0.1"


@atexit.register
def _say_goodbye() -> None:
    """When the program ends: the others know that nothing went wrong."""
    if _world.transport is not None:
        _world.transport.close()


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Leave a group; without one, all of them."""
    if group == GroupMember.NON_GROUP_MEMBER:
        return
    if GroupMember.WORLD is None:
        raise AssertionError("Process group cannot be None")
    if group is not None and group is not GroupMember.WORLD:
        _world.groups.pop(the_group(group).number, None)
        the_group(group).shutdown()
        return
    for g in _world.groups.values():
        g.shutdown()
    if _world.transport is not None:
        _world.transport.close()
    _world.groups, _world.transport = {}, None
    GroupMember.WORLD = None


def the_group(group: Any) -> ProcessGroup:
    """A group; all ranks, where none is given."""
    if group is not None:
        if hasattr(group, "get_group"):  # a mesh of one dimension
            return group.get_group()
        return group
    if GroupMember.WORLD is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return GroupMember.WORLD


def _get_default_group() -> ProcessGroup:
    return the_group(None)


def _resolve_process_group(name: str) -> ProcessGroup:
    return next(g for g in _world.groups.values() if g.name_ == name)


def member(group: Any) -> ProcessGroup | None:
    """A group; None outside of it: calls do nothing then."""
    found = None if group == GroupMember.NON_GROUP_MEMBER else the_group(group)
    return None if found is None or found.rank() < 0 else found


def get_rank(group: ProcessGroup | None = None) -> int:
    """This process's rank in a group; -1 outside of it."""
    g = member(group)
    return -1 if g is None else g.rank()


def _rank_not_in_group(group: Any) -> bool:
    """Whether this process is outside a group."""
    return group is not None and group == GroupMember.NON_GROUP_MEMBER


def get_world_size(group: ProcessGroup | None = None) -> int:
    """How many ranks a group has; -1 outside of it."""
    g = member(group)
    return -1 if g is None else g.size()


def get_backend(group: ProcessGroup | None = None) -> Backend:
    """A group's backend."""
    g = member(group)
    if g is None:
        raise ValueError("Invalid process group specified")
    return Backend(g.backend_)


def get_backend_config(group: ProcessGroup | None = None) -> str:
    """A group's backends by device."""
    return str(BackendConfig(get_backend(group)))


def get_default_backend_for_device(device: Any) -> str:
    """The backend for a kind of device."""
    kind = device.type if isinstance(device, flambeau.device) else str(device).partition(":")[0]
    found = Backend.default_device_backend_map.get(kind)
    if found is None:
        raise ValueError(f"Default backend not registered for device : {device}")
    return found


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """A rank of the whole as a rank of a group."""
    if the_group(group) is GroupMember.WORLD:
        return global_rank
    if global_rank not in the_group(group).ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return the_group(group).ranks.index(global_rank)


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """A rank of a group as a rank of the whole."""
    if the_group(group) is GroupMember.WORLD:
        return group_rank
    if not 0 <= group_rank < len(the_group(group).ranks):
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return the_group(group).ranks[group_rank]


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """A group's ranks, as the whole program counts them."""
    return list(the_group(group).ranks)


def get_pg_count() -> int:
    """How many groups there are."""
    return len(_world.groups)


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """Which process of its machine this is."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is not None:
        return int(fallback_rank)
    raise RuntimeError("LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to work, assuming you are not running in a multi-device context and want the code to run locally instead.")  # fmt: skip


def new_group(ranks: Sequence[int] | None = None, timeout: timedelta | None = None, backend: Any = None, pg_options: Any = None,
              use_local_synchronization: bool = False, group_desc: str | None = None, device_id: Any = None, sort_ranks: bool = True) -> Any:  # fmt: skip
    """A group of some ranks. All ranks call this, in the same order, also those that are not in it."""
    world = the_group(None)
    chosen = list(range(world.size())) if ranks is None else [int(r) for r in ranks]
    for r in chosen:
        if not 0 <= r < world.size():
            raise ValueError(f"Rank {r} is out of range. Valid ranks are 0 to {world.size() - 1} (world_size={world.size()})")  # fmt: skip
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"ranks list must not contain duplicate entries, got {chosen}")
    if sort_ranks:
        chosen.sort()
    if backend is not None and Backend(backend) not in (Backend.GLOO, Backend.UNDEFINED) and ":" not in str(backend):
        raise RuntimeError(f"Distributed package doesn't have {str(backend).upper()} built in")
    number = next(_world.counter)
    if world.rank() not in chosen:
        return GroupMember.NON_GROUP_MEMBER
    made = ProcessGroup(
        world.transport, number, chosen, timeout or world.timeout, str(number), Backend.GLOO, group_desc or ""
    )
    _world.groups[number] = made
    return made


def new_subgroups(group_size: int | None = None, group: ProcessGroup | None = None, timeout: timedelta | None = None, backend: Any = None,
                  pg_options: Any = None, group_desc: str | None = None) -> tuple[Any, list[Any]]:  # fmt: skip
    """All ranks in groups of one size: this process's, and all of them."""
    n = get_world_size()
    if group_size is None:
        raise ValueError("Default group size only takes effect when CUDA is available.If your subgroup using a backend that does not depend on CUDA,please pass in 'group_size' correctly.")  # fmt: skip
    if group_size <= 0:
        raise ValueError(f"The arg 'group_size' ({group_size}) must be positive")
    if n < group_size:
        raise ValueError(f"The arg 'group_size' ({group_size}) must not exceed the world size ({n})")
    if n % group_size:
        raise ValueError(f"The world size ({n}) must be divisible by 'group_size={group_size}'")
    lists = [list(range(start, start + group_size)) for start in range(0, n, group_size)]
    return new_subgroups_by_enumeration(lists, timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(ranks_per_subgroup_list: Sequence[Sequence[int]], timeout: timedelta | None = None, backend: Any = None,
                                 pg_options: Any = None, group_desc: str | None = None) -> tuple[Any, list[Any]]:  # fmt: skip
    """Groups of the given ranks, which must not overlap: this process's, and all of them."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    flat = [r for ranks in ranks_per_subgroup_list for r in ranks]
    if len(set(flat)) < len(flat):
        raise ValueError("rank has appeared in more than one subgroup")
    return _new_groups(ranks_per_subgroup_list, timeout, backend, group_desc)


def _new_groups(lists: Sequence[Sequence[int]], timeout: timedelta | None, backend: Any, description: str | None) -> tuple[Any, list[Any]]:  # fmt: skip
    made = [new_group(ranks, timeout, backend, group_desc=description) for ranks in lists]
    return next((g for g in made if g != GroupMember.NON_GROUP_MEMBER), None), made


def split_group(parent_pg: ProcessGroup | None = None, split_ranks: list[list[int]] | None = None, timeout: timedelta | None = None,
                pg_options: Any = None, group_desc: str | None = None, backend: Any = None) -> Any:  # fmt: skip
    """This process's part of a group that is split: its lists are ranks of the group."""
    if not split_ranks:
        raise ValueError("split_ranks cannot be None or empty")
    parent = the_group(parent_pg)
    lists = [[parent.ranks[r] for r in ranks] for ranks in split_ranks]
    return _new_groups(lists, timeout, backend, group_desc)[0]


def shrink_group(ranks_to_exclude: list[int], group: ProcessGroup | None = None, shrink_flags: int = 0, pg_options: Any = None) -> Any:  # fmt: skip
    """A group without some of its ranks; the others call this, and those may be gone."""
    old = the_group(group)
    left = [r for i, r in enumerate(old.ranks) if i not in ranks_to_exclude]
    return new_group(left, old.timeout)


def place_of(g: ProcessGroup, whole: int | None, own: int | None) -> int:
    """A rank given as of the whole, or as of the group."""
    if whole is not None and own is not None:
        raise ValueError("Can't specify both group_rank and global_rank")
    if own is not None:
        return own
    if whole is None:
        raise ValueError("Must specify global_rank or group_rank")
    return get_group_rank(g, whole)

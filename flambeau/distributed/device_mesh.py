"""Ranks in a grid: groups along each dimension of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flambeau
from flambeau import distributed as dist

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """Ranks in a grid, with a process group along each of its dimensions.

    Args:
        device_type: where ranks compute: "cpu".
        mesh: the ranks, in as many dimensions as the grid has.
        mesh_dim_names: names of the dimensions, by which parts are taken: `mesh["tp"]`.

    All ranks make the same meshes, in the same order.

    >>> import flambeau as torch
    >>> torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    >>> mesh = torch.distributed.init_device_mesh("cpu", (1, 1), mesh_dim_names=("dp", "tp"))
    >>> mesh["tp"].size(), mesh.get_coordinate()
    (1, [0, 0])
    >>> torch.distributed.destroy_process_group()
    """

    def __init__(self, device_type: str, mesh: Any, *, mesh_dim_names: Sequence[str] | None = None, backend_override: Any = None,
                 _init_backend: bool = True, _rank: int | None = None, _groups: list[Any] | None = None, _root: DeviceMesh | None = None) -> None:  # fmt: skip
        self.device_type = device_type
        self.mesh: Any = mesh.detach().to(flambeau.int64) if isinstance(mesh, flambeau.Tensor) else flambeau.tensor(mesh, dtype=flambeau.int64)  # fmt: skip
        self.mesh_dim_names = tuple(mesh_dim_names) if mesh_dim_names else None
        if self.mesh_dim_names is not None and len(self.mesh_dim_names) != self.mesh.ndim:
            raise RuntimeError(f"mesh_dim_names {self.mesh_dim_names} do not fit a mesh of {self.mesh.ndim} dimensions")
        flat = self.mesh.flatten().tolist()
        if len(set(flat)) < len(flat):
            raise RuntimeError(f"a rank stands twice in the mesh {self.mesh.tolist()}")
        if not dist.is_initialized():
            dist.init_process_group()
        if max(flat, default=0) >= dist.get_world_size():
            raise RuntimeError(f"Mesh should not be bigger than default world size {dist.get_world_size()}, but found {len(flat)} ranks!")  # fmt: skip
        self._rank = dist.get_rank() if _rank is None else _rank
        places = (self.mesh == self._rank).nonzero()
        self._coordinate: list[int] | None = places[0].tolist() if len(places) else None
        self._root = _root
        self._groups: list[Any] = self._made() if _groups is None and _init_backend else list(_groups or [])

    def _made(self) -> list[Any]:
        """A group along each dimension; of all its lines, the one that this rank is in."""
        groups = []
        for dim in range(self.mesh.ndim):
            own = None
            for line in self.mesh.movedim(dim, -1).reshape(-1, self.mesh.size(dim)).tolist():
                made = dist.new_group(line, sort_ranks=False)
                own = made if self._rank in line else own
            groups.append(own)
        return groups

    # ---- what it is like ----

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple(self.mesh.shape)

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return self.mesh.ndim  # type: ignore[no-any-return]

    def size(self, mesh_dim: int | None = None) -> int:
        """How many ranks there are, or along one dimension."""
        return self.mesh.numel() if mesh_dim is None else self.mesh.size(mesh_dim)  # type: ignore[no-any-return]

    def get_coordinate(self) -> list[int] | None:
        """Where this rank is; None outside."""
        return list(self._coordinate) if self._coordinate is not None else None

    def get_rank(self) -> int:
        """This process's rank in the whole."""
        return dist.get_rank()

    def _dim(self, mesh_dim: int | str | None) -> int:
        if mesh_dim is None:
            if self.ndim > 1:
                raise RuntimeError(f"Found the DeviceMesh have {self.ndim} dimensions. Optional kwarg `mesh_dim` needs to be specified when device_mesh.ndim > 1.")  # fmt: skip
            return 0
        if isinstance(mesh_dim, str):
            if not self.mesh_dim_names or mesh_dim not in self.mesh_dim_names:
                raise KeyError(f"Invalid mesh_dim_name {mesh_dim!r}: the mesh has {self.mesh_dim_names}")
            return self.mesh_dim_names.index(mesh_dim)
        return mesh_dim

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This rank's place along a dimension."""
        dim = self._dim(mesh_dim)
        if self._coordinate is None:
            raise RuntimeError("this rank is not part of the mesh")
        return self._coordinate[dim]

    def get_group(self, mesh_dim: int | str | None = None) -> Any:
        """The process group along a dimension."""
        return self._groups[self._dim(mesh_dim)]

    def get_all_groups(self) -> list[Any]:
        """The process groups along all dimensions."""
        return [self.get_group(i) for i in range(self.ndim)]

    # ---- parts ----

    def __getitem__(self, names: str | tuple[str, ...]) -> DeviceMesh:
        if not self.mesh_dim_names:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        wanted = (names,) if isinstance(names, str) else tuple(names)
        missing = [n for n in wanted if n not in self.mesh_dim_names]
        if missing:
            raise KeyError(f"Invalid mesh_dim_name {missing[0]!r} specified. Valid mesh_dim_names are {self.mesh_dim_names}.")  # fmt: skip
        if wanted == self.mesh_dim_names:
            return self
        dims = [self.mesh_dim_names.index(n) for n in wanted]
        at = self._coordinate or [0] * self.ndim
        index = tuple(slice(None) if d in dims else at[d] for d in range(self.ndim))
        kept = sorted(dims)
        part = self.mesh[index].permute([kept.index(d) for d in dims])
        return DeviceMesh(self.device_type, part, mesh_dim_names=wanted, _rank=self._rank, _groups=[self._groups[d] for d in dims],
                          _root=self._root or self)  # fmt: skip

    def _get_root_mesh(self) -> DeviceMesh:
        return self._root or self

    @staticmethod
    def from_group(group: Any, device_type: str, mesh: Any = None, *, mesh_dim_names: tuple[str, ...] | None = None) -> DeviceMesh:  # fmt: skip
        """A mesh over groups that are there already."""
        if not isinstance(group, (list, tuple)):
            ranks = dist.get_process_group_ranks(group)
            return DeviceMesh(device_type, ranks, mesh_dim_names=mesh_dim_names, _groups=[group])
        if mesh is None:
            raise ValueError("Must pass mesh if passing multiple ProcessGroups")
        return DeviceMesh(device_type, mesh, mesh_dim_names=mesh_dim_names, _groups=list(group))

    def __repr__(self) -> str:
        if self.mesh_dim_names:
            inside = ", ".join(f"{n}={s}" for n, s in zip(self.mesh_dim_names, self.shape, strict=True))
            return f"DeviceMesh(({inside}), '{self.device_type}')"
        return f"DeviceMesh({self.shape}, '{self.device_type}')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceMesh) and (self is other or (
            self.device_type == other.device_type and self.mesh_dim_names == other.mesh_dim_names and self.mesh.tolist() == other.mesh.tolist()))  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.device_type, self.mesh_dim_names, tuple(self.mesh.flatten().tolist()), self.shape))


def init_device_mesh(device_type: str, mesh_shape: tuple[int, ...], *, mesh_dim_names: tuple[str, ...] | None = None, backend_override: Any = None) -> DeviceMesh:  # fmt: skip
    """A mesh of all ranks in order; joins the ranks first, if that has not been done.

    Raises:
        RuntimeError: names that repeat or do not fit, a device type with an index.
    """
    if mesh_dim_names is not None:
        if len(set(mesh_dim_names)) != len(mesh_dim_names):
            raise RuntimeError(f"Each mesh_dim_name must be unique. Found repeated mesh_dim_name in mesh_dim_names {mesh_dim_names}")  # fmt: skip
        if len(mesh_shape) != len(mesh_dim_names):
            raise RuntimeError(f"mesh_shape and mesh_dim_names should have same length! Found len(mesh_dim_names): {len(mesh_dim_names)} and len(mesh_shape):{len(mesh_shape)}.")  # fmt: skip
    if device_type and not device_type.isalpha():
        raise RuntimeError(f"Device type with index is not supported but got {device_type}. If you maintained a 'torch.device' object, it's recommended to pass in 'device.type'.")  # fmt: skip
    return DeviceMesh(
        device_type, flambeau.arange(math.prod(mesh_shape)).reshape(mesh_shape), mesh_dim_names=mesh_dim_names
    )

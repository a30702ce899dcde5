"""Ranks in a grid: `DeviceMesh`, with a group of ranks along every dimension.

A mesh is a part of a root mesh, whose ranks lie in a row. A dimension is a list of (size, stride) pairs over that row: one
pair, or several where dimensions that do not lie side by side were flattened into one.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import flambeau
from flambeau import Tensor
from flambeau.distributed import distributed_c10d as c10d

__all__ = ["DeviceMesh", "init_device_mesh"]

Dimension = tuple[tuple[int, int], ...]  # (size, stride) pairs, outermost first
_inside: list[DeviceMesh] = []  # meshes whose `with` blocks run


def _size(dimension: Dimension) -> int:
    return math.prod(size for size, _ in dimension)


def _offsets(dimensions: tuple[Dimension, ...]) -> list[int]:
    """Where the ranks of a mesh lie in its root's row, from the first one on."""
    pairs = [pair for dimension in dimensions for pair in dimension]
    places = itertools.product(*(range(size) for size, _ in pairs))
    return [sum(i * stride for i, (_, stride) in zip(place, pairs, strict=True)) for place in places]


class DeviceMesh:
    """Ranks in a grid, the dimensions with or without names.

    Args:
        device_type: the type of device that each rank has.
        mesh: the ranks, as a tensor or nested lists.
        mesh_dim_names: a name for each dimension; `mesh["name"]` is the part along it in which this rank is.

    >>> import flambeau as torch
    >>> torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    >>> mesh = torch.distributed.init_device_mesh("cpu", (1, 1), mesh_dim_names=("dp", "tp"))
    >>> mesh["tp"].size(), mesh.get_coordinate()
    (1, (0, 0))
    >>> torch.distributed.destroy_process_group()
    """

    device_type: str
    mesh_dim_names: tuple[str, ...] | None

    def __init__(
        self, device_type: str, mesh: Any = None, *, mesh_dim_names: tuple[str, ...] | None = None, backend_override: Any = None,
        _init_backend: bool = True, _rank: int | None = None,
    ) -> None:  # fmt: skip
        if backend_override is not None:
            raise NotImplementedError("DeviceMesh(backend_override=)")
        if mesh is None:
            raise TypeError("the mesh must be given")
        ranks = (
            mesh.detach().to("cpu", flambeau.int32)
            if isinstance(mesh, Tensor)
            else flambeau.tensor(mesh, dtype=flambeau.int32)
        )
        strides = ranks.contiguous().stride()
        dimensions = tuple(((size, stride),) for size, stride in zip(ranks.shape, strides, strict=True))
        self._become(
            device_type, tuple(ranks.reshape(-1).tolist()), dimensions, mesh_dim_names and tuple(mesh_dim_names), None
        )
        if _init_backend:
            if not c10d.is_initialized():
                c10d.init_process_group()
            world = c10d.get_world_size()
            if len(self._row) > world:
                raise RuntimeError(
                    f"Mesh should not be bigger than default world size {world}, but found {len(self._row)} ranks!"
                )
        self._rank = _rank if _rank is not None else c10d.get_rank() if c10d.is_initialized() else 0
        self._groups = [self._grouped(d) for d in self._dimensions] if _init_backend else []

    def _become(self, device_type: str, row: Any, dimensions: Any, names: Any, root: DeviceMesh | None) -> None:
        self.device_type, self._row, self._dimensions, self.mesh_dim_names = device_type, row, dimensions, names
        self._root = root
        self._flattened: dict[str, tuple[Dimension, Any]] = {}
        if root is not None:
            self._rank = root._rank

    def _grouped(self, dimension: Dimension) -> Any:
        """The group of this rank along a dimension. All ranks of the world come here."""
        if len(self._row) == _size(dimension) == c10d.get_world_size() and list(self._row) == list(
            range(len(self._row))
        ):
            return c10d.group.WORLD  # type: ignore[attr-defined]
        mine = None
        steps = _offsets((dimension,))
        for start in range(len(self._row)):
            if any((start // stride) % size for size, stride in dimension):
                continue
            ranks = [self._row[start + step] for step in steps]
            made = c10d.new_group(ranks, sort_ranks=False)
            if self._rank in ranks:
                mine = made
        return mine

    def _part(self, dimensions: tuple[Dimension, ...], names: tuple[str, ...], groups: list[Any]) -> DeviceMesh:
        part: DeviceMesh = object.__new__(DeviceMesh)
        part._become(self.device_type, self._row, dimensions, names, self._get_root_mesh())
        part._groups = groups
        return part

    # -- what it is ----------------------------------------------------------------------------------------------

    @property
    def mesh(self) -> Tensor:
        """The ranks; of a part of a larger mesh, those of the part in which this rank is."""
        start = 0
        if self._root is not None and self._rank in self._row:
            start = self._row.index(self._rank)
            for size, stride in (pair for dimension in self._dimensions for pair in dimension):
                start -= (start // stride) % size * stride
        ranks = [self._row[start + step] for step in _offsets(self._dimensions)]
        return flambeau.tensor(ranks, dtype=flambeau.int32).reshape(self.shape)

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return len(self._dimensions)

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return tuple(_size(d) for d in self._dimensions)

    def size(self, mesh_dim: int | None = None) -> int:
        """How many ranks it has, or has along a dimension."""
        return math.prod(self.shape) if mesh_dim is None else self.shape[mesh_dim]

    def __repr__(self) -> str:
        names = self.mesh_dim_names
        sizes = [f"{n}={s}" for n, s in zip(names, self.shape, strict=True)] if names else [str(s) for s in self.shape]
        shape = f"({', '.join(sizes)}{',' if len(sizes) == 1 and not names else ''})"
        stride = tuple(d[0][1] if len(d) == 1 else tuple(s for _, s in d) for d in self._dimensions)
        return f"DeviceMesh({shape}, '{self.device_type}', stride={stride})"

    def _key(self) -> Any:
        return self._row, self._dimensions, self.device_type, self.mesh_dim_names

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DeviceMesh) and self._key() == other._key())

    def __hash__(self) -> int:
        return hash(self._key())

    def __enter__(self) -> DeviceMesh:
        _inside.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _inside.pop()

    def _get_root_mesh(self) -> DeviceMesh:
        return self if self._root is None else self._root

    # -- where this rank is --------------------------------------------------------------------------------------

    def get_rank(self) -> int:
        """This rank, among all."""
        return c10d.get_rank()

    def _is_current_rank_part_of_mesh(self) -> bool:
        return self._rank in self._row

    def get_coordinate(self) -> tuple[int, ...] | None:
        """This rank's place in each dimension; None if it is not in the mesh."""
        if not self._is_current_rank_part_of_mesh():
            return None
        place, found = self._row.index(self._rank), []
        for dimension in self._dimensions:
            at = 0
            for size, stride in dimension:
                at = at * size + (place // stride) % size
            found.append(at)
        return tuple(found)

    def _dim(self, mesh_dim: int | str | None, more: tuple[str, ...] = ()) -> int:
        if mesh_dim is None:
            if self.ndim > 1:
                raise RuntimeError(
                    f"Found the DeviceMesh have {self.ndim} dimensions",
                    "Optional kwarg `mesh_dim` needs to be specified when device_mesh.ndim > 1.",
                    *more,
                )
            return 0
        if isinstance(mesh_dim, str):
            if self.mesh_dim_names is None or mesh_dim not in self.mesh_dim_names:
                raise KeyError(
                    f"Mesh dimension '{mesh_dim}' does not exist.",
                    f"Available mesh dimensions are: mesh_dim_names={self.mesh_dim_names}",
                )
            return self.mesh_dim_names.index(mesh_dim)
        return mesh_dim

    _get_mesh_dim_by_name = _dim

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This rank's place in a dimension."""
        dim = self._dim(mesh_dim)
        coordinate = self.get_coordinate()
        if coordinate is None:
            raise AssertionError("the current rank is not in the mesh")
        return coordinate[dim]

    def get_group(self, mesh_dim: int | str | None = None) -> Any:
        """The group of the ranks along a dimension, among which this one is."""
        if not self._groups:
            raise RuntimeError("DeviceMesh process groups not initialized!")
        more = (
            "If you want to get the list of all the ProcessGroups in the DeviceMesh,please use `get_all_groups()` instead.",
        )
        return self._groups[self._dim(mesh_dim, more)]

    def get_all_groups(self) -> list[Any]:
        """The group of every dimension."""
        return [self.get_group(dim) for dim in range(self.ndim)]

    # -- parts of it ---------------------------------------------------------------------------------------------

    def __getitem__(self, mesh_dim_names: str | tuple[str, ...]) -> DeviceMesh:
        if not self.mesh_dim_names:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        asked = (mesh_dim_names,) if isinstance(mesh_dim_names, str) else tuple(mesh_dim_names)
        if asked == self.mesh_dim_names:
            return self
        flattened = self._get_root_mesh()._flattened if self._root is None else {}
        found: list[tuple[Dimension, Any]] = []
        for name in asked:
            if name in self.mesh_dim_names:
                dim = self.mesh_dim_names.index(name)
                found.append((self._dimensions[dim], self._groups[dim] if self._groups else None))
            elif name in flattened:
                found.append(flattened[name])
            else:
                valid = [*self.mesh_dim_names, *flattened]
                raise KeyError(f"Invalid mesh_dim_names {asked} specified. Valid mesh_dim_names are {valid}.")
        strides = [stride for dimension, _ in found for size, stride in dimension if size > 1]
        if len(set(asked)) < len(asked) or len(set(strides)) < len(strides):
            raise RuntimeError(f"Slicing overlapping dim_names {asked} is not allowed.")
        if any(a < b for a, b in itertools.pairwise(strides)):
            raise KeyError(f"Invalid mesh_dim_names {asked} specified. Mesh dim indices should be in ascending order.")
        return self._part(tuple(d for d, _ in found), asked, [g for _, g in found] if self._groups else [])

    def _flatten(self, mesh_dim_name: str | None = None, backend_override: Any = None) -> DeviceMesh:
        """All dimensions as one, which its root knows by the name."""
        if not self.mesh_dim_names:
            raise RuntimeError("Cannot flatten a DeviceMesh without mesh_dim_names!")
        name = mesh_dim_name or "_".join(self.mesh_dim_names)
        pairs: list[tuple[int, int]] = []
        for size, stride in (pair for dimension in self._dimensions for pair in dimension):
            if pairs and pairs[-1][1] == size * stride:  # side by side
                pairs[-1] = (pairs[-1][0] * size, stride)
            else:
                pairs.append((size, stride))
        dimension, root = tuple(pairs), self._get_root_mesh()
        if self.ndim == 1 and name == self.mesh_dim_names[0]:
            return self
        if name in (root.mesh_dim_names or ()):
            raise ValueError(
                f"{name} already exists for submesh of the {root}. Please specify another valid mesh_dim_name."
            )
        known = root._flattened.get(name)
        if known is not None and known[0] != dimension:
            raise ValueError(f"Flatten mesh with mesh_dim_name {name} has been created before, with other dimensions.")
        if known is None:
            known = root._flattened[name] = (dimension, root._grouped(dimension) if self._groups else None)
        return self._part((dimension,), (name,), [known[1]] if self._groups else [])

    @staticmethod
    def from_group(
        group: Any, device_type: str, mesh: Any = None, *, mesh_dim_names: tuple[str, ...] | None = None
    ) -> DeviceMesh:
        """A mesh over groups that there are: one, or one for each dimension of `mesh`."""
        single = not isinstance(group, list)
        groups = [group] if single else group
        if not groups:
            raise ValueError("Expects at least one ProcessGroup to be specified")
        if mesh is None:
            if len(groups) > 1:
                raise ValueError("Must pass mesh if passing multiple ProcessGroups")
            mesh = c10d.get_process_group_ranks(groups[0])
        made = DeviceMesh(device_type, mesh, mesh_dim_names=mesh_dim_names, _init_backend=False)
        if made.ndim != len(groups):
            raise ValueError(
                f"Expects mesh with ndim equal to number of ProcessGroups but got mesh {made.mesh.tolist()} and {len(groups)} ProcessGroups"
            )
        made._groups = groups
        return made


def init_device_mesh(
    device_type: str,
    mesh_shape: tuple[int, ...],
    *,
    mesh_dim_names: tuple[str, ...] | None = None,
    backend_override: Any = None,
) -> DeviceMesh:
    """A mesh of the first ranks in a shape."""
    if mesh_dim_names is not None:
        if len(set(mesh_dim_names)) != len(mesh_dim_names):
            raise RuntimeError(
                f"Each mesh_dim_name must be unique. Found repeated mesh_dim_name in mesh_dim_names {mesh_dim_names}"
            )
        if len(mesh_shape) != len(mesh_dim_names):
            raise RuntimeError(
                "mesh_shape and mesh_dim_names should have same length! "
                f"Found len(mesh_dim_names): {len(mesh_dim_names)} and len(mesh_shape):{len(mesh_shape)}."
            )
    if device_type and not device_type.isalpha():
        raise RuntimeError(
            f"Device type with index is not supported but got {device_type}. ",
            "If you maintained a 'torch.device' object, it's recommended to pass in 'device.type'.",
        )
    ranks = flambeau.arange(math.prod(mesh_shape), dtype=flambeau.int32).view(tuple(mesh_shape))
    return DeviceMesh(device_type, ranks, mesh_dim_names=mesh_dim_names, backend_override=backend_override)


DeviceMesh.__module__ = "torch.distributed.device_mesh"

"""`torch.functional`: functions whose tensors are separate arguments, `einsum("ij,jk", x, y)`, or that choose by arguments."""

from __future__ import annotations

from typing import Any

from flambeau import _operators
from flambeau._eager.names import public
from flambeau._namespace import broadcast_shapes
from flambeau._operators.op import REGISTRY
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN

_operators.load()
__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block_diag",
    "broadcast_shapes",
    "broadcast_tensors",
    "cartesian_prod",
    "chain_matmul",
    "einsum",
    "meshgrid",
    "split",
    "tensordot",
    "unravel_index",
]


def _all(tensors: tuple[Any, ...]) -> list[Any]:
    """Tensors given one by one, or as one list."""
    return list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)


def _override(fn: Any, tensors: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from flambeau.overrides import handle_torch_function, has_torch_function

    if has_torch_function(tensors):
        return handle_torch_function(fn, tensors, *args, **kwargs)
    return NotImplemented


def _many(name: str, unpack: bool = False) -> Any:
    op = REGISTRY[name]

    def function(*tensors: Any) -> Any:
        given = list(tensors)
        for i, t in enumerate(given):
            if isinstance(t, (list, tuple)):
                raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
        found = _override(function, given, tensors, {})
        return op(given) if found is NotImplemented else found

    function.__name__ = function.__qualname__ = op.aten
    function.__doc__ = op.__doc__
    LISTED[name] = op
    return function


LISTED: dict[str, Any] = {}  # of the functions whose tensors are separate arguments, the operators, which take a list
broadcast_tensors, block_diag, cartesian_prod = _many("broadcast_tensors"), _many("block_diag"), _many("cartesian_prod")


def _atleast(name: str) -> Any:
    op = REGISTRY[name]

    def function(*tensors: Any) -> Any:
        found = _override(function, _all(tensors), tensors, {})
        if found is not NotImplemented:
            return found
        if len(tensors) == 1 and not isinstance(tensors[0], (list, tuple)):
            return op(tensors[0])
        return tuple(op(t) for t in _all(tensors))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = op.__doc__
    return function


atleast_1d, atleast_2d, atleast_3d = _atleast("atleast_1d"), _atleast("atleast_2d"), _atleast("atleast_3d")


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Any, ...]:
    """Coordinates of a grid: each vector, expanded over the dimensions of all the others.

    >>> x, y = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    >>> x.shape
    torch.Size([2, 3])
    """
    given = _all(tensors)
    found = _override(meshgrid, given, tensors, {"indexing": indexing})
    return REGISTRY["meshgrid"](given, indexing) if found is NotImplemented else found


def einsum(*args: Any) -> Any:
    """Products of elements of several tensors, summed over the dimensions that the equation names on the left only.

    >>> torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(3, 2))
    tensor([[3., 3.],
            [3., 3.]])
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one "
            "operand and its subscripts list"
        )
    if isinstance(args[0], Tensor):
        from flambeau._operators.einsum import from_sublists

        equation, operands = from_sublists(args)
    else:
        equation, operands = args[0], list(args[1:])
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    found = _override(einsum, operands, (equation, *operands), {})
    return REGISTRY["einsum"](equation, operands) if found is NotImplemented else found


def tensordot(a: Any, b: Any, dims: Any = 2, out: Any = None) -> Any:
    """Products summed over pairs of dimensions: the last `dims` of a with the first of b, or two lists of dimensions.

    >>> torch.tensordot(torch.ones(2, 3), torch.ones(3, 4), 1).shape
    torch.Size([2, 4])
    """
    found = _override(tensordot, (a, b), (a, b), {"dims": dims, "out": out})
    if found is not NotImplemented:
        return found
    if not isinstance(dims, (tuple, list, Tensor, int)):
        raise RuntimeError(
            "tensordot expects dims to be int or tuple[list[int], list[int]] or list[list[int]] "
            f"containing two lists, but got dims={dims}"
        )
    if isinstance(dims, Tensor):
        mine, yours = dims.tolist() if dims.numel() > 1 else (int(dims.item()),) * 2
        if isinstance(mine, int) and dims.numel() == 1:
            dims = mine
        else:
            mine, yours = ([m] if isinstance(m, int) else m for m in (mine, yours))
    if isinstance(dims, (tuple, list)):
        mine, yours = dims
        mine, yours = ([m] if isinstance(m, int) else list(m) for m in (mine, yours))
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.dim(), b.dim()):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        mine, yours = list(range(-dims, 0)), list(range(dims))
    result = REGISTRY["tensordot"](a, b, tuple(mine), tuple(yours))
    if out is None:
        return result
    return (out if out.shape == result.shape else out.resize_(result.shape)).copy_(result)


def chain_matmul(*matrices: Any, out: Any = None) -> Any:
    """The product of several matrices, in the cheapest order. Deprecated: use `torch.linalg.multi_dot`."""
    result = REGISTRY["chain_matmul"](_all(matrices))
    return result if out is None else out.copy_(result)


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces of equal size along `dim` (the last may be shorter), or pieces of the given sizes.

    >>> [p.tolist() for p in torch.split(torch.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    found = _override(split, (tensor,), (tensor, split_size_or_sections), {"dim": dim})
    return tensor.split(split_size_or_sections, dim) if found is NotImplemented else found


def unravel_index(indices: Any, shape: Any) -> tuple[Any, ...]:
    """Positions in the flattened tensor as coordinates, one tensor for each dimension."""
    sizes = [shape] if isinstance(shape, int) else [int(n) for n in shape]
    if indices.is_complex() or indices.is_floating_point() or indices.dtype.kind == "b":
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    if any(n < 0 for n in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {tuple(sizes)}")
    if indices.dtype.kind == "i" and indices.dtype.name in ("uint16", "uint32", "uint64"):
        raise RuntimeError(
            "Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
            f"{SPOKEN[indices.dtype]} and Long"
        )
    out, step, indices = [], 1, indices.long()
    for n in reversed(sizes):
        out.append(indices.div(step, rounding_mode="floor").remainder(n))
        step *= n
    return tuple(reversed(out))


def __getattr__(name: str) -> Any:
    if name == "F":  # by this name libraries reach nn.functional
        import importlib

        return importlib.import_module("flambeau.nn.functional")
    found = public(name)
    if found is None:
        raise AttributeError(f"module 'torch.functional' has no attribute '{name}'")
    return found

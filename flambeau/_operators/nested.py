"""Operators that exist because nested tensors do: taking them apart and putting them together. Readings stand in `_eager/nested`."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Kernel, Shape, T
from flambeau._operators.op import FUNCTION, METHOD, Definition, op


def _nested(*overloads: str, **options: Any) -> Definition:
    return op(*overloads, promote="none", layouts="nested", **options)


@_nested("_nested_get_values", variants=FUNCTION, alias=True)
def _nested_get_values(k: Kernel[T], input: T) -> T:
    """The elements of a jagged nested tensor, its members joined along the ragged dimension."""


@_nested("_nested_with_values", variants=FUNCTION)
def _nested_with_values(k: Kernel[T], input: T, structure: Any) -> T:
    """The nested tensor of these elements in a structure: one that `_nested_structure` told, or another."""


@_nested("_nested_structure", variants=FUNCTION, differentiable=False)
def _nested_structure(k: Kernel[T], input: T) -> Any:
    """How the members of a nested tensor lie in its elements."""


_nested_get_values.vjp(input=lambda g, input: _nested_with_values(g, _nested_structure(input)))
_nested_with_values.vjp(input=lambda g: _nested_get_values(g))


@_nested("to_padded_tensor", variants=METHOD)
def to_padded_tensor(k: Kernel[T], input: T, padding: float, output_size: Shape | None = None) -> T:
    """The members of a nested tensor one below the other, filled up with `padding` to the size of the largest.

    >>> nt = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    >>> nt.to_padded_tensor(0.0)
    tensor([[1., 1., 0.],
            [1., 1., 1.]])
    """


@_nested("_nested_tensor_size", variants=METHOD, differentiable=False)
def _nested_tensor_size(k: Kernel[T], input: T) -> T:
    """The sizes of the members, a row for each."""


@_nested("_nested_tensor_strides", variants=METHOD, differentiable=False)
def _nested_tensor_strides(k: Kernel[T], input: T) -> T:
    """The strides of the members, a row for each."""


@_nested("_nested_tensor_storage_offsets", variants=METHOD, differentiable=False)
def _nested_tensor_storage_offsets(k: Kernel[T], input: T) -> T:
    """Where each member begins in the buffer."""

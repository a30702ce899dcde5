"""foreach_map: a function of the elements of lists, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any


def foreach_map(op: Callable[..., Any], *operands: Any, **kwargs: Any) -> Any:
    """`op` of the first elements of all lists, of the second ones, and so on; what is no list stands beside each of them.

    It ends with the shortest list. Named arguments are notes to a compiler, and not given to `op`.

    >>> import flambeau as torch
    >>> foreach_map(torch.add, [torch.ones(1), torch.zeros(2)], 2)
    [tensor([3.]), tensor([2., 2.])]
    """
    lists = [isinstance(x, (list, tuple)) for x in operands]
    if not any(lists):
        return op(*operands)
    return [op(*row) for row in zip(*(x if many else itertools.repeat(x) for x, many in zip(operands, lists)))]

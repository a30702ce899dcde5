"""The namespace of the Python array API standard, version 2024.12, over tensors: what `x.__array_namespace__()` answers.

Names, signatures and semantics are the standard's (data-apis.org/array-api/2024.12), which differ here and there from PyTorch's:
`axis` for `dim`, dtypes that meet whatever the number of dims, sums of small integers in wide ones, tuples of indices. What it is given are
ordinary tensors or its own `Array`s, whose operators are the standard's, too; gradients flow through. `linalg` and `fft` are its extensions.

>>> import flambeau as torch
>>> x = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8)
>>> xp = x.__array_namespace__()
>>> xp.sum(x, axis=0)
tensor([4, 6], dtype=torch.uint64)
>>> xp.permute_dims(x, (1, 0)).shape
torch.Size([2, 2])
"""

from __future__ import annotations

from math import e, inf, nan, pi
from types import FunctionType as _Function

from flambeau import (
    bool,
    complex64,
    complex128,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from flambeau.array_api import fft, linalg
from flambeau.array_api._array import Array, attach as _attach, of_arrays as _of_arrays
from flambeau.array_api._creation import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from flambeau.array_api._elementwise import *  # noqa: F403  one function per row of its tables
from flambeau.array_api._info import __array_namespace_info__
from flambeau.array_api._manipulation import (
    broadcast_arrays,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    moveaxis,
    permute_dims,
    repeat,
    reshape,
    roll,
    squeeze,
    stack,
    take,
    take_along_axis,
    tile,
    unstack,
)
from flambeau.array_api._reduction import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumulative_prod,
    cumulative_sum,
    diff,
    max,
    mean,
    min,
    prod,
    std,
    sum,
    var,
)
from flambeau.array_api._search import (
    argsort,
    nonzero,
    searchsorted,
    sort,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
    where,
)
from flambeau.array_api._types import astype, can_cast, finfo, iinfo, isdtype, result_type
from flambeau.array_api.linalg import matmul, matrix_transpose, tensordot, vecdot

newaxis = None
__array_api_version__ = "2024.12"
__all__ = [name for name in dir() if not name.startswith("_") and name != "annotations"] + ["__array_namespace_info__"]
for _room, _names in ((globals(), __all__), (vars(linalg), linalg.__all__), (vars(fft), fft.__all__)):
    _room.update((_name, _of_arrays(_room[_name])) for _name in _names if isinstance(_room[_name], _Function))
_attach(globals())

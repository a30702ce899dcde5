"""Random sparse tensors to time operators with."""

import math
from numbers import Number
from typing import Any

import flambeau
from flambeau.utils.benchmark.utils.fuzzer import FuzzedTensor

__all__ = ["FuzzedSparseTensor"]


class FuzzedSparseTensor(FuzzedTensor):
    """A sparse tensor (COO) that is made anew for each input; `density`, `coalesced` and `sparse_dim` are parameters."""

    def __init__(self, name: str, size: tuple[str | int, ...], min_elements: int | None = None, max_elements: int | None = None,
                 dim_parameter: str | None = None, sparse_dim: str | None = None, nnz: str | None = None, density: str | None = None,
                 coalesced: str | None = None, dtype: Any = flambeau.float32, cuda: bool = False) -> None:  # fmt: skip
        super().__init__(name=name, size=size, min_elements=min_elements, max_elements=max_elements,
                         dim_parameter=dim_parameter, dtype=dtype, cuda=cuda)  # fmt: skip
        self._density, self._coalesced, self._sparse_dim = density, coalesced, sparse_dim

    @staticmethod
    def sparse_tensor_constructor(size, dtype, sparse_dim, nnz, is_coalesced):
        """nnz random elements at random places; twice as many, each place twice, if it is not to be coalesced."""
        size = [size] * sparse_dim if isinstance(size, Number) else size
        if all(size[d] <= 0 for d in range(sparse_dim)) and nnz != 0:
            raise AssertionError("invalid arguments")
        v = FuzzedTensor.default_tensor_constructor([nnz, *size[sparse_dim:]], dtype)
        i = flambeau.rand(sparse_dim, nnz, device="cpu")
        i.mul_(flambeau.tensor(size[:sparse_dim]).unsqueeze(1).to(i))
        i = i.to(flambeau.long)
        if is_coalesced:
            return flambeau.sparse_coo_tensor(i, v, flambeau.Size(size)).coalesce()
        v = flambeau.cat([v, flambeau.randn_like(v)], 0)
        return flambeau.sparse_coo_tensor(flambeau.cat([i, i], 1), v, flambeau.Size(size))

    def _make_tensor(self, params, state):
        size, _, _ = self._get_size_and_steps(params)
        density = params["density"]
        nnz = math.ceil(sum(size) * density)
        if nnz > sum(size):
            raise AssertionError("nnz cannot exceed total number of elements")
        sparse_dim = min(params["sparse_dim"] if self._sparse_dim else len(size), len(size))
        tensor = self.sparse_tensor_constructor(size, self._dtype, sparse_dim, nnz, params["coalesced"])
        if self._cuda:
            tensor = tensor.cuda()
        properties = {
            "numel": int(tensor.numel()),
            "shape": tensor.size(),
            "is_coalesced": tensor.is_coalesced(),
            "density": density,
            "sparsity": 1.0 - density,
            "sparse_dim": tensor.sparse_dim(),
            "dense_dim": tensor.dense_dim(),
            "is_hybrid": len(size) > tensor.sparse_dim(),
            "dtype": str(self._dtype),
        }
        return tensor, properties

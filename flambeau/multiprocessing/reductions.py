"""How tensors and storages travel between processes, under PyTorch's path; written in `_eager/shared.py`."""

from flambeau._eager.shared import (
    init_reductions,
    rebuild_empty,
    rebuild_storage,
    rebuild_tensor,
    reduce_storage,
    reduce_tensor,
)

__all__ = [
    "init_reductions", "rebuild_empty", "rebuild_storage", "rebuild_tensor", "reduce_storage", "reduce_tensor",
]  # fmt: skip

"""Which quantized module stands for a pruned one."""

from flambeau import nn

__all__ = ["get_static_sparse_quantized_mapping", "get_dynamic_sparse_quantized_mapping"]


def get_static_sparse_quantized_mapping():
    from flambeau.ao.nn.sparse import quantized

    return {nn.Linear: quantized.Linear}


def get_dynamic_sparse_quantized_mapping():
    from flambeau.ao.nn.sparse.quantized import dynamic

    return {nn.Linear: dynamic.Linear}

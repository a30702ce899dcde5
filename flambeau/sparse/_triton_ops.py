"""Shapes and batches of sparse blocks, as kernels written in Triton take them. The kernels themselves are not here: Triton is for GPUs."""

import flambeau as torch

bsr_dense_mm = None
_scaled_dot_product_attention = None


def make_triton_contiguous(t):
    """The tensor, in order where none of its dims lies together."""
    return t.contiguous() if min(t.stride()) > 1 else t


def broadcast_batch_dims(f_name, *tensors):
    """The common batch dims of stacks of matrices."""
    try:
        return torch.broadcast_shapes(*(t.shape[:-2] for t in tensors))
    except RuntimeError:
        raise ValueError(f"{f_name}(): inputs' batch dimensions are not broadcastable!") from None


def broadcast_batch_dims_bsr(f_name, bsr, *tensors):
    """The blocks of `bsr`, for each matrix of the stacks."""
    batch = tuple(broadcast_batch_dims(f_name, bsr, *tensors))
    values = bsr.values()
    return torch.sparse_compressed_tensor(
        bsr.crow_indices().broadcast_to((*batch, -1)),
        bsr.col_indices().broadcast_to((*batch, -1)),
        values.broadcast_to((*batch, *values.shape[-3:])),
        size=(*batch, *bsr.shape[-2:]),
        layout=bsr.layout,
    )


def prepare_inputs(bsr, *dense_tensors):
    """Rows, columns and values of the blocks, and dense matrices, each with one batch dim that all share."""
    values = make_triton_contiguous(bsr.values().unsqueeze(0))
    tensors = [make_triton_contiguous(t.unsqueeze(0)) for t in dense_tensors]
    batch = tuple(torch.broadcast_shapes(values.shape[:-3], *(t.shape[:-2] for t in tensors)))

    def squashed(t, own):
        return t.broadcast_to((*batch, *own)).flatten(0, len(batch) - 1)

    return (
        squashed(bsr.crow_indices().unsqueeze(0), (-1,)),
        squashed(bsr.col_indices().unsqueeze(0), (-1,)),
        squashed(values, values.shape[-3:]),
        *(squashed(t, t.shape[-2:]) for t in tensors),
    )


def tile_to_blocksize(t, blocksize):
    """A view of matrices as matrices of blocks: (..., m, n) as (..., m / h, n / w, h, w)."""
    *rest, m, n = t.shape
    h, w = blocksize[0], blocksize[1]
    return t.view((*rest, m // h, h, n // w, w)).transpose(-3, -2)


def as1Dbatch(tensor):
    """Stacks of matrices with exactly one batch dim."""
    while tensor.ndim > 3:
        tensor = tensor.flatten(0, 1)
    while tensor.ndim < 3:
        tensor = tensor.unsqueeze(0)
    return tensor


def ptr_stride_extractor(*tensors):
    """Each tensor, followed by its strides."""
    for t in tensors:
        yield t
        yield from t.stride()


def launch_kernel(kernel, tensor_dims_map, full_grid, grid_blocks=None):
    """Would run a kernel of Triton's."""
    raise NotImplementedError("torch.sparse._triton_ops.launch_kernel: there are no kernels of Triton's here")

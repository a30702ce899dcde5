"""MaskedTensor: data and a mask that says which of its elements are there.

A subclass in PyTorch's sense, written over the public interface: operators reach `__torch_dispatch__` below the derivatives, so these are
the dense ones; reductions, and what changes the layout, are taken over before, as functions. `operators.py` says what is supported.
"""

from __future__ import annotations

import warnings

import flambeau
from flambeau import Tensor

__all__ = ["MaskedTensor", "is_masked_tensor"]

LAYOUTS = (flambeau.strided, flambeau.sparse_coo, flambeau.sparse_csr)
DTYPES = (flambeau.float16, flambeau.float32, flambeau.float64, flambeau.bool, flambeau.int8, flambeau.int16, flambeau.int32, flambeau.int64)  # fmt: skip


def is_masked_tensor(obj, /):
    """Whether something is a MaskedTensor.

    >>> is_masked_tensor(torch.ones(2))
    False
    """
    return isinstance(obj, MaskedTensor)


class MaskedTensor(Tensor):
    """A tensor with a mask of its shape: True where an element is specified, False where it is not.

    >>> import warnings; warnings.simplefilter("ignore")
    >>> MaskedTensor(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, False, True])).sum()
    MaskedTensor(  5.0000, True)
    """

    @staticmethod
    def __new__(cls, data, mask, requires_grad=False):
        for name, t in (("data", data), ("mask", mask)):
            if is_masked_tensor(t) or not isinstance(t, Tensor):
                raise TypeError(f"{name} must be a Tensor")
        warnings.warn(
            "The PyTorch API of MaskedTensors is in prototype stage and will change in the near future. Please open a Github issue "
            "for features requests and see our documentation on the torch.masked module for further information about the project.",
            UserWarning,
            stacklevel=2,
        )
        if data.requires_grad:
            warnings.warn(
                "It is not recommended to create a MaskedTensor with a tensor that requires_grad. To avoid this, you can use "
                "data.detach().clone()",
                UserWarning,
                stacklevel=2,
            )
        return Tensor._make_wrapper_subclass(cls, data.size(), device=data.device, dtype=data.dtype, layout=data.layout,
                                             requires_grad=requires_grad, dispatch_sizes_strides_policy="strides", dispatch_layout=True)  # fmt: skip

    def __init__(self, data, mask, requires_grad=False):
        if data.layout != mask.layout:
            raise TypeError("data and mask must have the same layout.")
        if data.layout is flambeau.sparse_coo:
            data, mask = data.coalesce(), mask.coalesce()
        if data.layout in LAYOUTS[1:] and data._nnz() != mask._nnz():
            data = _at(data, mask)
        self._masked_data, self._masked_mask = data.clone(), mask.clone()
        self._validate_members()

    def _validate_members(self):
        data, mask = self._masked_data, self._masked_mask
        if type(data) is not type(mask):
            raise TypeError(f"data and mask must have the same type. Got {type(data)} and {type(mask)}")
        if data.layout not in LAYOUTS:
            raise TypeError(f"data layout of {data.layout} is not supported.")
        if data.layout is flambeau.sparse_coo and not match(data.indices(), mask.indices()):
            raise ValueError("data and mask are both sparse COO tensors but do not have the same indices.")
        if data.layout is flambeau.sparse_csr and not (
            match(data.crow_indices(), mask.crow_indices()) and match(data.col_indices(), mask.col_indices())
        ):
            raise ValueError("data and mask are both sparse CSR tensors but do not share either crow or col indices.")
        if mask.dtype is not flambeau.bool:
            raise TypeError("mask must have dtype bool.")
        if data.dtype not in DTYPES:
            raise TypeError(f"{data.dtype} is not supported in MaskedTensor.")
        if data.dim() != mask.dim():
            raise ValueError("data.dim() must equal mask.dim()")
        if data.size() != mask.size():
            raise ValueError("data.size() must equal mask.size()")

    @staticmethod
    def _from_values(data, mask):
        """The masked tensor of data, whose history it has."""
        return _Constructor.apply(data, mask)

    def _set_data_mask(self, data, mask):
        self._masked_data, self._masked_mask = data, mask
        self._validate_members()

    # ---- parts ----

    def get_data(self):
        """The elements, specified or not; gradients flow back from them."""
        return _GetData.apply(self)

    def get_mask(self):
        """Where elements are specified."""
        return self._masked_mask

    def to_tensor(self, value):
        """The data with `value` wherever there is no element."""
        return self.get_data().masked_fill(~self.get_mask(), value)

    def is_sparse_coo(self):
        """Whether the data is sparse, in coordinates."""
        return self.layout == flambeau.sparse_coo

    def is_sparse_csr(self):
        """Whether the data is sparse, in compressed rows."""
        return self.layout == flambeau.sparse_csr

    @property
    def layout(self):
        return self._masked_data.layout

    @property
    def is_sparse(self):
        return self.is_sparse_coo() or self.is_sparse_csr()

    def __lt__(self, other):
        other = other.get_data() if is_masked_tensor(other) else other
        return MaskedTensor(self.get_data() < other, self.get_mask())

    # ---- printing ----

    def __repr__(self, *, tensor_contents=None):
        data, mask = self._masked_data.detach(), self._masked_mask
        if data.dim() == 0:
            shown = _shown(data.item()) if mask.item() else "--"
            return f"MaskedTensor({shown}, {mask.item()})"
        if data.layout in LAYOUTS[1:]:
            data, mask = data.to_dense(), mask.to_dense()
        return f"MaskedTensor(\n{_indented(_text(data.tolist(), mask.tolist()))}\n)"

    # ---- operators ----

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        from .operators import FUNCTIONS

        kwargs = kwargs or {}
        taken = FUNCTIONS.get(getattr(func, "__name__", None))
        if taken is not None:
            return taken(*args, **kwargs)
        if not all(issubclass(cls, t) for t in types):
            return NotImplemented
        return super().__torch_function__(func, (), args, kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        from .operators import dispatch

        return dispatch(func, args, kwargs or {})


def match(a, b, exact=True, rtol=1e-05, atol=1e-08):
    """Whether two tensors (of the same layout, if it is a sparse one) have the same elements."""
    if is_masked_tensor(a) or is_masked_tensor(b):
        raise ValueError("Neither `a` nor `b` can be a MaskedTensor.")
    if a.layout != b.layout:
        raise ValueError(f"`a` and `b` must have the same layout. Got {a.layout} and {b.layout}")
    b = b.to(a.dtype)
    if a.layout is flambeau.sparse_coo:
        return match(a.values(), b.values(), exact) and match(a.indices(), b.indices(), exact)
    if a.layout is flambeau.sparse_csr:
        return all(match(getattr(a, n)(), getattr(b, n)(), exact) for n in ("crow_indices", "col_indices", "values"))
    return a.dim() == b.dim() and (
        flambeau.eq(a, b).all().item() if exact else flambeau.allclose(a, b, rtol=rtol, atol=atol)
    )


def _at(data, mask):
    """Sparse data in the places of a mask: zero where it has none."""
    return data.to_dense().sparse_mask(mask)


class _Constructor(flambeau.autograd.Function):
    @staticmethod
    def forward(ctx, data, mask):
        return MaskedTensor(data, mask)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output, None


class _GetData(flambeau.autograd.Function):
    @staticmethod
    def forward(ctx, masked):
        ctx.mask = masked.get_mask()
        return masked._masked_data.detach()

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output if is_masked_tensor(grad_output) else MaskedTensor(grad_output, ctx.mask)


_Constructor.__name__, _GetData.__name__ = "Constructor", "GetData"


def _shown(x):
    return f"{x:8.4f}" if isinstance(x, float) else str(x)


def _text(data, mask):
    """Elements and rows in brackets, `--` for what is not there."""
    if isinstance(mask, bool):
        return _shown(data) if mask else "--"
    if not mask or isinstance(mask[0], bool):
        shown = [_shown(x) for x in data]
        # the width is that of the widest, eight for what is not there
        width = max(len(s) if m else 8 for s, m in zip(shown, mask, strict=True)) if mask else 0
        return "[" + ", ".join(s if m else "--".rjust(width) for s, m in zip(shown, mask, strict=True)) + "]"
    return "[\n" + ",\n".join(_indented(_text(d, m)) for d, m in zip(data, mask, strict=True)) + "\n]"


def _indented(text):
    return "\n".join("  " + line for line in text.split("\n"))

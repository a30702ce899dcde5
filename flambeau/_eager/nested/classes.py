"""The classes of nested tensors: what `shape`, `values` and their like mean where members differ in size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flambeau._backends.nested_arrays import NO_SIZES, JaggedArray, Ragged
from flambeau._eager.modes import disabled
from flambeau._operators.op import REGISTRY
from flambeau._tensor import Tensor, around, new, wrap
from flambeau._values.shape import wrap_dim
from flambeau._values.symbolic import NestedInt


def size_of(source: Any) -> NestedInt:
    """The symbolic size that offsets (or lengths) stand for: one for each tensor of them."""
    if source._ragged is None:
        source._ragged = NestedInt()
    return source._ragged


def structure(offsets: Any, lengths: Any = None, at: int = 1, seqlens: dict[str, Any] | None = None) -> Ragged:
    """The structure of jagged nested tensors."""
    return Ragged(
        offsets, lengths, at, size_of(offsets if lengths is None else lengths), {} if seqlens is None else seqlens
    )


class _Nested(Tensor):
    """What nested tensors of both layouts have in common."""

    __torch_function__ = disabled
    is_nested = property(lambda self: True)

    def detach(self) -> Any:
        """A tensor over the same memory, without history."""
        t = around(self._a)
        if self._vc is None:
            self._vc = [0]
        t._vc = self._vc
        return t

    @property
    def data(self) -> Any:
        return around(self._a)

    @data.setter
    def data(self, value: Any) -> None:
        self._a = value._a

    @property
    def nbytes(self) -> int:
        return self._a.values.nbytes

    def storage_offset(self) -> int:
        """Where the first element lies in the storage, in elements."""
        return wrap(self._a.values).storage_offset()

    def untyped_storage(self) -> Any:
        """The storage that the elements lie in."""
        return wrap(self._a.values).untyped_storage()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  "
                "If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, "
                "see https://github.com/pytorch/pytorch/pull/103001"
            )
        if id(self) not in memo:
            t = memo[id(self)] = around(self._a.copy())
            t.requires_grad = self.requires_grad
            if self._grad is not None:
                t._grad = around(self._grad._a.copy())
        return memo[id(self)]


class NestedTensor(_Nested):
    """A batch of tensors that differ in one dimension, which is ragged; their elements are joined along it (the jagged layout)."""

    def __new__(cls, values: Any, offsets: Any, *, lengths: Any = None, requires_grad: bool = False,
                _ragged_idx: int = 1, _metadata_cache: Any = None, **_: Any) -> Any:  # fmt: skip
        if offsets is None:
            raise AssertionError("offsets must not be None")
        if offsets.ndim != 1:
            raise AssertionError(f"offsets must be 1D, but got {offsets.ndim}D")
        if isinstance(values, NestedTensor):
            raise AssertionError("values must not be a NestedTensor")
        if lengths is not None and offsets.shape[0] - 1 != lengths.shape[0]:
            raise AssertionError(
                f"offsets and lengths batch sizes must match: offsets.shape[0] - 1 = {offsets.shape[0] - 1}, "
                f"lengths.shape[0] = {lengths.shape[0]}"
            )
        t = new(cls)
        known = {
            k: v if isinstance(v, int) else v.shape[0] for k, v in (_metadata_cache or {}).items() if v is not None
        }
        t._a = JaggedArray(values._a, structure(offsets, lengths, _ragged_idx, known))
        if requires_grad:
            t.requires_grad = True
        return t

    # ---- parts ----

    def values(self) -> Any:
        """The elements, members joined along the ragged dimension; gradients flow back from them."""
        return REGISTRY["_nested_get_values"](self)

    def offsets(self) -> Any:
        """Where each member begins along the ragged dimension of the values, and where the last one ends."""
        return self._a.ragged.offsets

    def lengths(self) -> Any:
        """How long each member is, where there are holes between them; None where offsets say it."""
        return self._a.ragged.lengths

    _values = property(lambda self: wrap(self._a.values))
    _offsets = property(lambda self: self._a.ragged.offsets)
    _lengths = property(lambda self: self._a.ragged.lengths)
    _ragged_idx = property(lambda self: self._a.ragged.at)
    _size = property(lambda self: self._a.shape)
    _strides = property(lambda self: self.stride())

    def _seqlen(self, which: str) -> Any:
        known = self._a.ragged.seqlens.get(which)
        return None if known is None else wrap(np.zeros((known, 0), np.float32))

    _max_seqlen_tensor = property(lambda self: self._seqlen("max_seqlen"))
    _min_seqlen_tensor = property(lambda self: self._seqlen("min_seqlen"))
    _maybe_max_seqlen = property(lambda self: self._a.ragged.seqlens.get("max_seqlen"))
    _maybe_min_seqlen = property(lambda self: self._a.ragged.seqlens.get("min_seqlen"))

    @property
    def _metadata_cache(self) -> dict[str, Any]:
        return {k: wrap(np.zeros((v, 0), np.float32)) for k, v in self._a.ragged.seqlens.items()}

    def _get_max_seqlen(self) -> int:
        return _known(self._a.ragged, "max_seqlen", np.max)

    def _get_min_seqlen(self) -> int:
        return _known(self._a.ragged, "min_seqlen", np.min)

    _max_seqlen = property(_get_max_seqlen)
    _min_seqlen = property(_get_min_seqlen)

    def __tensor_flatten__(self) -> tuple[list[str], dict[str, Any]]:
        names = ["_values", "_offsets"]
        names += [n for n in ("_lengths", "_min_seqlen_tensor", "_max_seqlen_tensor") if getattr(self, n) is not None]
        return names, {"requires_grad": self.requires_grad, "ragged_idx": self._ragged_idx}

    @staticmethod
    def __tensor_unflatten__(inner_tensors: Any, meta: Any, outer_size: Any, outer_stride: Any) -> Any:
        cache = {
            n: inner_tensors[f"_{n}_tensor"] for n in ("min_seqlen", "max_seqlen") if f"_{n}_tensor" in inner_tensors
        }
        return NestedTensor(inner_tensors["_values"], inner_tensors["_offsets"], lengths=inner_tensors.get("_lengths"),
                            requires_grad=meta["requires_grad"], _ragged_idx=meta["ragged_idx"], _metadata_cache=cache)  # fmt: skip

    # ---- sizes ----

    def stride(self, dim: Any = None) -> Any:
        """How many elements lie between neighbours along each dimension (or along `dim`)."""
        inner = wrap(self._a.values).stride()
        strides = (self._a.ragged.size * inner[self._a.ragged.at - 1], *inner)
        return strides if dim is None else strides[wrap_dim(dim, len(strides), False)]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the values lie in memory in the order of their indices, without holes."""
        return self.lengths() is None and self._values.is_contiguous(
            *([] if memory_format is None else [memory_format])
        )

    def data_ptr(self) -> int:
        """None of its own: the values have one."""
        return 0

    def is_same_size(self, other: Any) -> bool:
        """Whether another nested tensor has the same structure and sizes."""
        return self._a.shape == other._a.shape

    # ---- to Python ----

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        history = f", requires_grad={self.requires_grad}" if self.requires_grad else ""
        if self.grad_fn:
            history = f", grad_fn={self.grad_fn}"
        return f"NestedTensor(size={self._size}, offsets={self._offsets}{history}, contiguous={self.is_contiguous()})"

    def tolist(self) -> Any:
        """Refused, as by every tensor that is made of others."""
        raise RuntimeError(f".tolist() is not supported for tensor subclasses, got {type(self).__name__}")

    def numpy(self, *, force: bool = False) -> Any:
        """Refused, as by every tensor that is made of others."""
        raise RuntimeError(".numpy() is not supported for tensor subclasses.")

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self._a.size != 1:
            raise RuntimeError(f"a Tensor with {self._a.size} elements cannot be converted to Scalar")
        return self._values.item()

    def share_memory_(self) -> Any:
        """Move the parts to memory that other processes share."""
        values = self._values
        self._a = self._a.with_values(values.share_memory_()._a)
        for part in (self._offsets, self._lengths):
            if part is not None:
                part.share_memory_()
        return self

    def is_shared(self) -> bool:
        """Whether the parts are in memory that other processes share."""
        return all(p.is_shared() for p in (self._values, self._offsets, self._lengths) if p is not None)

    def __reduce_ex__(self, protocol: Any) -> Any:
        given = {"values": self._values, "offsets": self._offsets, "lengths": self._lengths, "_ragged_idx": self._ragged_idx,
                 "_metadata_cache": self._metadata_cache, "requires_grad": self.requires_grad}  # fmt: skip
        return _rebuild_njt, (given,)

    def __setstate__(self, state: Any) -> None:
        """What a file says beside the parts: attributes that somebody hung on it."""
        attributes = state[0] if isinstance(state, tuple) else state
        for name, value in attributes.items():
            if not hasattr(NestedTensor, name) and not name.startswith("_"):
                setattr(self, name, value)


def _known(ragged: Ragged, which: str, pick: Any) -> int:
    if which not in ragged.seqlens:
        ragged.seqlens[which] = int(pick(ragged.counts))
    return ragged.seqlens[which]


def _rebuild_njt(constructor_kwargs: dict[str, Any]) -> Any:
    """What files call to make a jagged nested tensor."""
    return NestedTensor(**constructor_kwargs)


@dataclass(frozen=True, slots=True)
class DimRange:
    """The sizes that a dimension may take, in files of PyTorch's nested tensors."""

    dim: int
    min: int
    max: int


DimRange.__module__, DimRange.__name__, DimRange.__qualname__ = "flambeau._dynamo.decorators", "_DimRange", "_DimRange"
NestedTensor.__module__ = _rebuild_njt.__module__ = "flambeau.nested._internal.nested_tensor"


class StridedNestedTensor(_Nested):
    """A batch of tensors that may differ in every dimension; each has its place in one buffer (the strided layout)."""

    def values(self) -> Any:
        """The buffer that the members lie in."""
        return REGISTRY["_nested_get_values"](self)

    @property
    def shape(self) -> Any:
        raise RuntimeError(NO_SIZES.format("sizes"))

    def size(self, dim: Any = None) -> Any:
        """The size of one dimension, in which no two members may differ."""
        a = self._a
        if dim is None:
            raise RuntimeError(NO_SIZES.format("sizes"))
        dim = wrap_dim(dim, a.ndim, False)
        if dim == 0:
            return a.count
        column = a.sizes[:, dim - 1]
        if (column != column[0]).any():
            raise RuntimeError(f"Given dimension {dim} is irregular and does not have a size.")
        return int(column[0])

    def stride(self, dim: Any = None) -> Any:
        """Refused: every member has its own."""
        raise RuntimeError(NO_SIZES.format("strides"))

    def __len__(self) -> int:
        raise RuntimeError(NO_SIZES.format("sizes"))

    def __iter__(self) -> Any:
        raise RuntimeError(NO_SIZES.format("sizes"))

    def data_ptr(self) -> int:
        """The address of the buffer."""
        return wrap(self._a.values).data_ptr()

    def is_same_size(self, other: Any) -> bool:
        """Whether the members of another nested tensor have the same sizes."""
        return np.array_equal(self._a.sizes, other._a.sizes)

    def tolist(self) -> Any:
        """Refused: there are no strides to walk."""
        raise RuntimeError(NO_SIZES.format("strides"))

    def numpy(self, *, force: bool = False) -> Any:
        """Refused: there are no sizes for an array."""
        raise RuntimeError(NO_SIZES.format("sizes"))

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self._a.size != 1:
            raise RuntimeError(f"a Tensor with {self._a.size} elements cannot be converted to Scalar")
        return self._a.values.item()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        def indented(text: str) -> str:
            return "\n".join("  " + line for line in text.split("\n"))

        text = "nested_tensor([\n" + ",\n".join(indented(repr(t)) for t in self._shown()) + "\n]"
        if self.grad_fn is not None:
            text += f", grad_fn=<{type(self.grad_fn).__name__}>"
        elif self.requires_grad:
            text += ", requires_grad=True"
        return text + ")"

    def _shown(self) -> list[Any]:
        members = [wrap(m) for m in self._a.members()]
        return [m.requires_grad_() for m in members] if self.requires_grad else members

    def __reduce_ex__(self, protocol: Any) -> Any:
        from flambeau._utils import _rebuild_nested_tensor

        sizes, places, offsets = (wrap(x) for x in (self._a.sizes, self._a.places, self._a.offsets))
        buffer = wrap(self._a.values)
        if self.requires_grad:
            buffer.requires_grad_()
        return _rebuild_nested_tensor, (buffer, sizes, places, offsets)


StridedNestedTensor.__name__ = StridedNestedTensor.__qualname__ = "Tensor"
StridedNestedTensor.__module__ = "flambeau"

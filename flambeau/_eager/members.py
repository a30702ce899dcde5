"""What a Tensor has besides operators: gradients and history, conversion to and from Python, copying, storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau._backends.pending_arrays import NONE, settled
from flambeau._eager import views
from flambeau._eager.call import HOOKS
from flambeau._eager.graph import UNRECORDED, AccumulateGrad, Node, Nowhere, Removable, bump, inferred, node_of, version
from flambeau._eager.modes import MODES, STATE
from flambeau._eager.views import refuse_unrecorded
from flambeau._tensor import LAYOUTS, PLAIN, Tensor, new, wrap
from flambeau._values import dtype as dtypes
from flambeau._values.device import sparse_coo, sparse_csr

_BACKWARD: dict[str, Any] = {}  # autograd.backward, which stands above this module


def _lone(self: Any) -> Any:
    """The one element that Python asks for as a number."""
    if self._a.size != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    return self.item()


class _Members:
    """Collected here, then attached to Tensor: the class itself stays below the operators."""

    # ---- history ----

    @property
    def requires_grad(self: Any) -> bool:
        """Whether gradients flow to (or through) this tensor."""
        base = self._base
        if base is None or self._node is not None or self._created in UNRECORDED:
            return self._node is not None or (
                base is not None and base._node is not None and self._a.dtype.kind in "fcV"
            )
        return node_of(self) is not None

    @requires_grad.setter
    def requires_grad(self: Any, value: bool) -> None:
        node = node_of(self)
        if value:
            if node is None or type(node) is Nowhere:
                if self._a.dtype.kind not in "fcV":
                    raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
                if self._inference and not STATE.inference:
                    raise RuntimeError(
                        "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
                    )
                self._node = AccumulateGrad(self)
        elif node is not None:
            if not node.leaf:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable "
                    "in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
                )
            self._node = None

    def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
        """Set `requires_grad` and return self."""
        if requires_grad and self._a.dtype.kind not in "fcV":
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self: Any) -> bool:
        """Whether this tensor was not computed from tensors that require gradients."""
        refuse_unrecorded(self)
        node = node_of(self)
        return node is None or node.leaf

    @property
    def grad_fn(self: Any) -> Node | None:
        """The node that computed this tensor, or None for a leaf."""
        refuse_unrecorded(self)
        node = node_of(self)
        return None if node is None or node.leaf else node

    @property
    def output_nr(self: Any) -> int:
        return self._nr

    @property
    def grad(self: Any) -> Any:
        """The gradient that `backward` accumulated, or None."""
        if self._grad is None and self._node is not None and not self._node.leaf and not self._retain:
            import warnings

            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be populated "
                "during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor, use "
                ".retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you access the leaf "
                "Tensor instead. See github.com/pytorch/pytorch/pull/30531 for more informations.",
                UserWarning,
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self: Any, value: Any) -> None:
        if value is None:
            self._grad = None
            return
        if not isinstance(value, Tensor):
            raise TypeError(
                f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
            )
        if value is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if value._a.shape != self._a.shape:
            raise RuntimeError(
                f"attempting to assign a gradient of size '{list(value._a.shape)}' to a tensor of size '{list(self._a.shape)}'. Please "
                "ensure that the gradient and the tensor are the same size"
            )
        wanted = self.dtype if self._grad_dtype is False else self._grad_dtype
        if wanted is not None and value.dtype is not wanted:
            raise RuntimeError(
                f"attempting to assign a gradient with dtype '{dtypes.SPOKEN[value.dtype].lower()}' to a tensor with grad_dtype "
                f"'{dtypes.SPOKEN[wanted]}'. "
                "The gradient must match the tensor's grad_dtype (defaults to the tensor's dtype). You can set the tensor's "
                "grad_dtype attribute with a specific dtype, or None to allow any dtype. Set grad_dtype with caution. "
                "Diverging the dtypes of a tensor and its gradient may break downstream systems that assume they match."
            )
        self._grad = value

    @grad.deleter
    def grad(self: Any) -> None:
        self._grad = None

    @property
    def grad_dtype(self: Any) -> Any:
        """The dtype that gradients of this leaf are kept in (None: whatever arrives); the tensor's own, where nothing else was set."""
        if not self.is_leaf:
            raise RuntimeError("grad_dtype can only be accessed on leaf tensors.")
        return self.dtype if self._grad_dtype is False else self._grad_dtype

    @grad_dtype.setter
    def grad_dtype(self: Any, value: Any) -> None:
        if not self.is_leaf:
            raise RuntimeError("grad_dtype can only be set on leaf tensors.")
        if value is not None and not isinstance(value, dtypes.dtype):
            raise RuntimeError(f"grad_dtype must be a torch.dtype or None, but got {type(value).__name__}")
        if value is not None and self._grad is not None and self._grad.dtype is not value:
            raise RuntimeError(
                f"Cannot set grad_dtype to '{dtypes.SPOKEN[value]}' because there is already a gradient with dtype "
                f"'{dtypes.SPOKEN[self._grad.dtype].lower()}'. Please clear the gradient (.grad = None) before changing grad_dtype, or ensure "
                "the new grad_dtype matches the existing gradient's dtype."
            )
        self._grad_dtype = value

    def retain_grad(self: Any) -> None:
        """Keep the gradient of this non-leaf in `.grad` when backward passes through it."""
        import weakref

        node = node_of(self)
        if node is None:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if node.leaf:
            return
        self._retain = True
        if node.retained is None:
            node.retained, node.watched = {}, True
        node.retained[self._nr] = weakref.ref(self)

    @property
    def retains_grad(self: Any) -> bool:
        return self._retain

    def register_hook(self: Any, hook: Callable[..., Any]) -> Removable:
        """Call hook(grad) whenever the gradient of this tensor is known; what it returns replaces the gradient."""
        node = node_of(self)
        if node is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if node.hooks is None:
            node.hooks, node.watched = {}, True
        return Removable(node.hooks.setdefault(self._nr, {}), hook)

    def register_post_accumulate_grad_hook(self: Any, hook: Callable[..., Any]) -> Removable:
        """Call hook(tensor) after its gradient was accumulated (leaves only)."""
        node = node_of(self)
        if node is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if not node.leaf:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self._post_hooks is None:
            self._post_hooks = dict[int, Any]()
        return Removable(self._post_hooks, hook)

    def detach(self: Any) -> Any:
        """A tensor over the same memory, without history."""
        if MODES and STATE.recorder is not None:
            return STATE.recorder.detach(self)
        if (MODES and STATE.dispatch_modes) or type(self) not in PLAIN:
            taken = HOOKS["seen"]("detach", self)
            if taken is not NotImplemented:
                return taken
        return views.alias(self, self._a)

    def detach_(self: Any) -> Any:
        """Forget this tensor's history."""
        if self._base is not None:
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for training, "
                "and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence detach_() cannot be "
                "called on these gradients. To fix this error, please refer to the Optimizer.zero_grad() function in "
                "torch/optim/optimizer.py as a solution."
            )
        self._node, self._nr = None, 0
        return self

    @property
    def data(self: Any) -> Any:
        """A tensor over the same memory, without history and with a version of its own."""
        return wrap(self._a) if not self._inference else inferred(wrap(self._a))

    @data.setter
    def data(self: Any, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        self._a = value._a

    @property
    def _version(self: Any) -> int:
        if self._inference:
            raise RuntimeError("Inference tensors do not track version counter.")
        return version(self)

    def _is_view(self: Any) -> bool:
        return self._base is not None

    def is_inference(self: Any) -> bool:
        """Whether the tensor was made in inference mode."""
        return self._inference

    def backward(
        self: Any, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Compute the gradients of this tensor with respect to the leaves of its graph, and add them to their `.grad`."""
        run = _BACKWARD.get("run")
        if run is None:
            from flambeau import autograd

            run = _BACKWARD["run"] = autograd.backward
        run(self, gradient, retain_graph, create_graph, None, inputs)

    # ---- to Python and NumPy ----

    def item(self: Any) -> Any:
        """The only element, as a Python number."""
        if MODES:
            _asked(self, "item()")
        if (MODES and STATE.dispatch_modes) or type(self) not in PLAIN:
            taken = HOOKS["seen"]("_local_scalar_dense", self)
            if taken is not NotImplemented:
                return taken
        a = self._a
        if a.size != 1:
            raise RuntimeError(f"a Tensor with {a.size} elements cannot be converted to Scalar")
        if self.is_quantized:
            a = self.dequantize()._a
        if LAYOUTS.get(type(a)) == "sparse":
            a = self.to_dense()._a
        if a.dtype.fields and "real" in a.dtype.fields:
            return complex(*a.item())
        v = a.item()
        return v if isinstance(v, (int, float, complex, bool)) else float(v)

    def tolist(self: Any) -> Any:
        """Nested lists of Python numbers; a number for a 0-d tensor."""
        if MODES:
            _asked(self, "tolist()")
        if type(self) not in PLAIN and type(self).__torch_dispatch__ is not Tensor.__torch_dispatch__:
            raise RuntimeError(f".tolist() is not supported for tensor subclasses, got {type(self).__name__}")
        a = self._a
        if self.is_quantized:
            raise RuntimeError("load_scalar: invalid type")
        if a.dtype.fields and "real" in a.dtype.fields:
            return (a["real"] + a["imag"].astype(np.float64) * 1j).tolist()
        return a.astype(np.float64).tolist() if a.dtype.kind == "V" else a.tolist()

    def numpy(self: Any, *, force: bool = False) -> Any:
        """The array itself: it shares this tensor's memory."""
        if MODES:
            _asked(self, "numpy()")
        if STATE.grad and not force and self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if LAYOUTS.get(type(self._a)) == "sparse":
            from flambeau._backends.sparse_arrays import spoken

            raise TypeError(f"can't convert {spoken(self._a)} layout tensor to numpy. Use Tensor.to_dense() first.")
        if self.device.type != "cpu" and not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
            )
        for is_so, name, method in ((self.is_conj(), "conjugate", "conj"), (self.is_neg(), "negative", "neg")):
            if is_so and not force:
                raise RuntimeError(
                    f"Can't call numpy() on Tensor that has {name} bit set. Use tensor.resolve_{method}().numpy() instead."
                )
        if self._a.dtype.kind == "V" or self._a.dtype.type.__module__.startswith("ml_dtypes"):
            raise TypeError(f"Got unsupported ScalarType {dtypes.SPOKEN[self.dtype]}")
        return settled(self._a)

    def __array__(self: Any, dtype: Any = None, copy: Any = None) -> Any:
        a = self.numpy()
        return a if dtype is None else a.astype(dtype, copy=False)

    def __array_wrap__(self: Any, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return wrap(np.asarray(array))

    __array_priority__ = 1000

    def __bool__(self: Any) -> bool:
        if MODES:
            _asked(self, "bool()")
        a = self._a
        if a.size != 1:
            if a.size == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        if self.is_quantized or LAYOUTS.get(type(a)) == "sparse" or _seen_by_others(self):
            return bool(self.item())
        return bool(a.item() if a.dtype.kind != "V" else float(a.reshape(())))

    def __float__(self: Any) -> float:
        return float(_lone(self))

    def __int__(self: Any) -> int:
        return int(_lone(self))

    def __complex__(self: Any) -> complex:
        return complex(_lone(self))

    def __index__(self: Any) -> int:
        if MODES:
            _asked(self, "int()")
        a = self._a
        if a.size != 1 or a.dtype.kind not in "iub":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item() if _seen_by_others(self) else a.item())

    def __format__(self: Any, format_spec: str) -> str:
        if (self._a.ndim == 0 and type(self) is Tensor) or (self._a.ndim == 0 and format_spec):
            return self.item().__format__(format_spec)
        return object.__format__(self, format_spec)

    def __delitem__(self: Any, key: Any) -> None:
        raise TypeError("Tensor does not support deleting items")

    def __contains__(self: Any, element: Any) -> bool:
        if MODES:
            _asked(self, "in")
        if isinstance(element, (Tensor, int, float, complex, bool)):
            if _seen_by_others(self):
                return bool((self == element).any().item())
            e = element._a if isinstance(element, Tensor) else element
            return bool((self._a == e).any())
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")

    def __iter__(self: Any) -> Any:
        if self._a.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __reversed__(self: Any) -> Any:
        return self if self._a.ndim == 0 else self.flip(0)

    # ---- memory ----

    def stride(self: Any, dim: Any = None) -> Any:
        """How many elements lie between neighbours along each dimension (or along `dim`)."""
        from flambeau._values.shape import contiguous_strides, wrap_dim

        a = self._a
        n = a.dtype.itemsize
        strides = (
            contiguous_strides(a.shape) if a.size == 0 and a.flags.c_contiguous else tuple(s // n for s in a.strides)
        )
        return strides if dim is None else strides[wrap_dim(dim, len(strides), False)]

    def storage_offset(self: Any) -> int:
        """Where the first element lies in the storage, in elements."""
        a = self._a
        if MODES and STATE.recorder is not None:
            STATE.recorder.placed(self)
        if LAYOUTS.get(type(a)) == "sparse":
            return 0
        start = getattr(a, "start", None)
        if start is not None:  # without elements: no address either
            return start // a.dtype.itemsize
        owner = views.memory_of(a)
        return (views.address(a) - views.address(owner)) // a.dtype.itemsize if a is not owner else 0

    def data_ptr(self: Any) -> int:
        """The address of the first element (0 for an empty tensor)."""
        return views.address(self._a) if self._a.size or LAYOUTS.get(type(self._a)) == "sparse" else 0

    def size(self: Any, dim: Any = None) -> Any:
        """The sizes, or that of one dimension."""
        if dim is None:
            return self.shape
        s = self._a.shape
        if -len(s) <= dim < len(s):
            return s[dim]
        from flambeau._values.shape import wrap_dim

        return s[wrap_dim(dim, len(s), False)]

    def is_contiguous(self: Any, memory_format: Any = None) -> bool:
        """Whether the elements lie in memory in the order of their indices (or of that memory format)."""
        a = self._a
        if memory_format is None or memory_format.name == "contiguous_format":
            return a.flags.c_contiguous
        if memory_format.name == "channels_last":
            return a.ndim == 4 and a.transpose(0, 2, 3, 1).flags.c_contiguous
        if memory_format.name == "channels_last_3d":
            return a.ndim == 5 and a.transpose(0, 2, 3, 4, 1).flags.c_contiguous
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")

    def is_floating_point(self: Any) -> bool:
        """Whether the dtype is a floating one."""
        return self.dtype.is_floating_point

    def is_complex(self: Any) -> bool:
        """Whether the dtype is complex."""
        return self._a.dtype.kind == "c" or self.dtype.is_complex

    def is_signed(self: Any) -> bool:
        """Whether the dtype has negative numbers."""
        return self.dtype.is_signed

    is_cuda = property(lambda self: self.device.type == "cuda")
    is_cpu = property(lambda self: self.device.type == "cpu")
    is_meta = property(lambda self: self.device.type == "meta")
    is_sparse = property(lambda self: self.layout is sparse_coo)
    is_sparse_csr = property(lambda self: self.layout is sparse_csr)
    is_quantized = property(lambda self: LAYOUTS.get(type(self._a)) == "quantized")
    is_nested = is_mkldnn = is_xpu = is_mps = is_ipu = is_xla = is_vulkan = is_maia = is_mtia = property(
        lambda self: False
    )

    def is_conj(self: Any) -> bool:
        """Whether the memory holds the conjugates of the elements."""
        return getattr(self._a, "signs", NONE)[0]

    def is_neg(self: Any) -> bool:
        """Whether the memory holds the negatives of the elements."""
        return getattr(self._a, "signs", NONE)[1]

    def is_pinned(self: Any, device: Any = None) -> bool:
        """False: there is no pinned memory without a device that wants it."""
        return False

    is_shared = _is_zerotensor = is_pinned

    def get_device(self: Any) -> int:
        """The index of the device; -1 for the CPU."""
        d = self.device
        return -1 if d.type == "cpu" else d.index or 0

    def is_same_size(self: Any, other: Any) -> bool:
        """Whether both tensors have the same shape."""
        return self._a.shape == other._a.shape

    @property
    def names(self: Any) -> tuple[None, ...]:
        return (None,) * self._a.ndim

    def has_names(self: Any) -> bool:
        """False: dimensions have no names here."""
        return False

    def as_subclass(self: Any, cls: type) -> Any:
        """The same tensor as an instance of a subclass."""
        return subclass(cls, self)

    @staticmethod
    def _make_subclass(cls: type, data: Any, require_grad: bool = False, **_: Any) -> Any:
        """A tensor of type `cls` over data's memory, a leaf."""
        if cls not in PLAIN and _acts_plain(cls):
            PLAIN.add(cls)
        t: Any = new(cls)
        t._a, t._vc = data._a, data._vc
        if data._inference:
            inferred(t)
        if require_grad:
            t.requires_grad = True
        return t


def _asked(t: Any, what: str) -> None:
    """Python asks for elements: whoever records or traces is told, and may refuse."""
    if STATE.recorder is not None:
        STATE.recorder.read(t, what)
    elif STATE.readers:
        STATE.readers[-1](t, what)


def _seen_by_others(t: Any) -> bool:
    """Whether elements are asked for through an operator: a mode, or t's class, may answer."""
    return bool(MODES and STATE.dispatch_modes) or type(t) not in PLAIN


def _acts_plain(cls: Any) -> bool:
    """Whether a subclass (`Parameter`) leaves all that operators do to them, so that the quick lane may take it."""
    silent = getattr(cls.__torch_function__, "__name__", "") == "_disabled_torch_function_impl"
    return silent and getattr(cls, "__torch_dispatch__", None) is getattr(Tensor, "__torch_dispatch__", None)


def subclass(cls: type, source: Any) -> Any:
    """A view of a tensor as another class, with its history."""
    t: Any = new(cls)
    t._a, t._node, t._nr = source._a, node_of(source), source._nr
    if source._vc is None:
        source._vc = [0]
    t._vc = source._vc
    return t


for _name, _member in list(vars(_Members).items()):
    if _name not in ("__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__annotations__"):
        setattr(Tensor, _name, _member)

__all__ = ["bump", "subclass"]

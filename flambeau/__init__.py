"""PyTorch, written in Python.

The `torch` namespace, assembled in floor order. Operators are written out when they are first asked for, and rare submodules load
on first use, so that importing this costs next to nothing.
"""

from __future__ import annotations

import importlib as _importlib
import sys as _sys
from typing import Any as _Any

from flambeau import _operators, _utils, autograd, overrides
from flambeau._eager import (
    construct as _construct,
    getitem as _getitem,
    members as _members,
    names as _names,
    rare as _rare,
    resize as _resize,
    syntax as _syntax,
)
from flambeau._eager.construct import as_tensor, asarray, from_dlpack, from_numpy, frombuffer, tensor
from flambeau._eager.modes import STATE as _STATE
from flambeau._ground.errors import OutOfMemoryError
from flambeau._namespace import *  # noqa: F403  the small functions and constants of the torch namespace
from flambeau._operators.op import NAMES as _NAMES
from flambeau._tensor import PLAIN as _PLAIN, Tensor, _attach
from flambeau._values import default_device as _default_device, dtype as _dtypes
from flambeau._values.device import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    device,
    jagged,
    layout,
    memory_format,
    preserve_format,
    sparse_bsc,
    sparse_bsr,
    sparse_coo,
    sparse_csc,
    sparse_csr,
    strided,
)
from flambeau._values.dtype import can_cast, dtype, get_default_dtype, promote_types, set_default_dtype
from flambeau._values.generator import Generator, default_generator
from flambeau._values.limits import finfo, iinfo
from flambeau._values.qscheme import (
    per_channel_affine,
    per_channel_affine_float_qparams,
    per_channel_symmetric,
    per_tensor_affine,
    per_tensor_symmetric,
    qscheme,
)
from flambeau._values.shape import Size
from flambeau.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from flambeau.random import get_rng_state, initial_seed, manual_seed, seed, set_rng_state, thread_safe_generator
from flambeau.version import __version__

for _d in (*_dtypes.ALL, *_dtypes.LABELS):
    globals()[_d.name] = _d
for _name, _d in _dtypes.ALIASES.items():
    globals()[_name] = _d

float8_e4m3fn = _dtypes.float8_e4m3fn
_LATE = {
    "ops": "_ops",  # names that live in modules which load when they are first asked for
    "save": "serialization", "load": "serialization", "set_printoptions": "_tensor_str", "compile": "compiler",
    "vmap": "func", "norm": None, "cond": "_higher_order_ops", "while_loop": "_higher_order_ops",
    **dict.fromkeys(("atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_tensors", "cartesian_prod", "chain_matmul",
                     "einsum", "meshgrid", "split", "tensordot", "unravel_index"), "functional"),
    **dict.fromkeys(("from_file", "to_dlpack", "init_num_threads", "sym_sqrt", "has_lapack", "has_mkl",
                     "has_openmp", "has_spectral", "has_cuda", "has_cudnn", "has_mps", "eig", "lstsq", "matrix_rank", "solve", "symeig", "is_anomaly_enabled", "is_anomaly_check_nan_enabled", "set_anomaly_enabled",
                     "is_distributed", "slice_inverse", "set_vital", "read_vitals", "prepare_multiprocessing_environment", "sym_constrain_range", "sym_constrain_range_for_size"), "_seldom"),
    **dict.fromkeys(("sparse_coo_tensor", "sparse_compressed_tensor", "sparse_csr_tensor", "sparse_csc_tensor", "sparse_bsr_tensor",
                     "sparse_bsc_tensor", "_validate_sparse_coo_tensor_args", "_validate_sparse_compressed_tensor_args"),
                    "_eager.sparse.create"),
    "AcceleratorError": "_ground.errors", "FatalError": "_ground.errors", "DisableTorchFunction": "overrides",
    "DisableTorchFunctionSubclass": "overrides", "AggregationType": "_seldom", "Tag": "_seldom", "AVG": "_seldom", "SUM": "_seldom", "sym_fresh_size": "_seldom",
    "JITException": "jit", "fork": "jit",
    "svd_lowrank": "_lowrank", "pca_lowrank": "_lowrank", "lobpcg": "_lobpcg",
    "_fused_adam_": "_eager.fused", "_fused_adamw_": "_eager.fused", "_fused_sgd_": "_eager.fused",
    "_foreach_add_": "_eager.fused", "_foreach_mul_": "_eager.fused",
    "UntypedStorage": "storage", "TypedStorage": "storage", "autocast": "amp", "GradScaler": "amp", "Stream": "_streams", "Event": "_streams",
    **dict.fromkeys(("_check", "_check_with", "_check_is_size", "_check_index", "_check_value", "_check_type", "_check_not_implemented",
                     "_check_tensor_all", "_check_tensor_all_with", "_assert_async"), "_checks"),
    "_disable_dynamo": "_compile", "classes": "_classes", "Future": "futures", "StorageBase": "storage", "PyTorchFileReader": "_C", "get_device_module": "_utils",
    **dict.fromkeys(("ScriptModule", "ScriptFunction", "ScriptObject", "CompilationUnit"), "jit"),
    **dict.fromkeys(("AnyType", "AwaitType", "BoolType", "ClassType", "ComplexType", "DeviceObjType", "DictType", "EnumType", "FloatType", "FutureType",
                     "IntType", "InterfaceType", "ListType", "NoneType", "NumberType", "OptionalType", "StreamObjType", "StringType", "TensorType",
                     "TupleType", "Type", "UnionType"), "_C"),
    "set_warn_always": "_namespace", "is_warn_always_enabled": "_namespace",
}  # fmt: skip
_MODULES = frozenset((
    "nn", "optim", "utils", "linalg", "fft", "special", "serialization", "storage", "multiprocessing", "distributions", "amp", "sparse",
    "nested", "futures", "fx", "func", "compiler", "export", "jit", "onnx", "hub", "profiler", "testing", "cuda", "cpu", "mps", "xpu",
    "mtia", "backends", "distributed", "_dynamo", "_inductor", "_C", "_tensor_str", "functional", "signal", "masked", "array_api", "quasirandom",
    "package", "types", "return_types", "_ops", "library", "_library", "overrides", "random", "autograd", "version", "ao",
    "quantization", "accelerator", "contrib", "_jit_internal", "_lowrank", "_utils_internal", "_guards", "_subclasses", "_prims", "_prims_common", "_refs",
    "_decomp", "_higher_order_ops", "_functorch", "_VF", "__future__", "__config__", "_classes", "_compile", "_vmap_internals",
    "_weights_only_unpickler", "_logging", "_streams", "_environment", "torch_version", "numerics", "monitor", "_awaits", "_linalg_utils", "_custom_ops",
    "_numpy", "_thread_safe_fork", "utils_internal", "headeronly", "_sources", "_storage_docs", "_tensor_docs", "_torch_docs", "serve",
))  # fmt: skip


_ready = False  # the import system asks for submodules by attribute first: while this module is being made there are none to find


def __getattr__(name: str) -> _Any:
    if not _ready:
        raise AttributeError(f"module 'flambeau' has no attribute '{name}'")
    if name == "__all__":
        globals()[name] = _starred()
        return globals()[name]
    if name.startswith("__") and name not in ("__future__", "__config__"):
        raise AttributeError(f"module 'flambeau' has no attribute '{name}'")
    made: _Any = None
    if name == "torch":  # there, because PyTorch imports itself
        return _sys.modules[__name__]
    if name in _MODULES:
        try:
            return _importlib.import_module(f"flambeau.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"flambeau.{name}":
                raise
    if _LATE.get(name):
        try:
            made = getattr(_importlib.import_module(f"flambeau.{_LATE[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name != f"flambeau.{_LATE[name]}":
                raise
    else:
        _operators.load()
        made = _names.public(name)
        if made is None:
            made = _legacy_type(name)
        if made is None and name.startswith("_"):  # operators that programs call by PyTorch's inner names
            made = getattr(_importlib.import_module("flambeau._ops").ops.aten, name, None)
    if made is None:
        raise AttributeError(f"module 'torch' has no attribute '{name}'")
    globals()[name] = made
    return made


def __dir__() -> list[str]:
    _operators.load()
    return sorted({*globals(), *_NAMES[""], *_MODULES, *_LATE})


def _starred() -> list[str]:
    """What `from torch import *` brings: no modules, nor what PyTorch has as an operator alone (`copy` would hide the library's)."""
    legacy = [f"{kind}{of}" for kind in ("Bool", "Byte", "Char", "Double", "Float", "Int", "Long", "Short") for of in ("Tensor", "Storage")]  # fmt: skip
    found = {*__dir__(), *legacy, "export"} - {
        "annotations",
        "copy",
        "index",
        "embedding_renorm",
        "unique_dim",
        "read_vitals",
    }
    modules = _MODULES - {"export"}
    return sorted(
        n
        for n in found
        if not n.startswith("_")
        and n not in modules
        and not n.endswith("_backward")
        and (n == "export" or not isinstance(globals().get(n), type(_sys)))
    )


def _legacy_type(name: str) -> _Any:
    """`FloatTensor`, `LongStorage` and their kind."""
    if name.endswith("Tensor"):
        from flambeau import _legacy_types

        return _legacy_types.find(name)
    if name.endswith("Storage"):
        from flambeau import storage

        return getattr(storage, name, None)
    return None


def _first_use(name: str) -> _Any:
    """Load the operators when a tensor is first asked for a method."""
    _operators.load()
    _attach["build"] = _build
    return _build(name)


def _build(name: str) -> _Any:
    """A method made from an operator, or one that few programs call."""
    made = _made(name)
    if made is None and (not name.startswith("_") or name in ("__long__", "__nonzero__")):
        from flambeau._seldom import METHODS

        made = METHODS.get(name)
        if made is not None:
            setattr(Tensor, name, made)
    return made


_made = _attach["build"]
_attach["build"] = _first_use
from flambeau import _tensor_methods as _tensor_methods

_ready = True

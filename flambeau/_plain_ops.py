"""Operators of `torch.ops` that are plain functions here: constructors, optimizers' steps, ranges of profiles.

They take or give what is no tensor, or make tensors of other layouts, and are not dispatched.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from flambeau._ops import OpOverload, OpOverloadPacket

_RECORD = "__torch__.torch.classes.profiler._RecordFunction"
_MADE = "*, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory"
_ADAM = (
    "(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] exp_avgs, Tensor(d!)[] exp_avg_sqs, Tensor(e!)[] max_exp_avg_sqs, "
    "Tensor[] state_steps, *, {} lr, float beta1, float beta2, float weight_decay, float eps, bool amsgrad, bool maximize, "
    "Tensor? grad_scale=None, Tensor? found_inf=None) -> ()"
)
_SGD = (
    "(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] momentum_buffer_list, *, float weight_decay, float momentum, {} lr, "
    "float dampening, bool nesterov, bool maximize, bool is_first_step, Tensor? grad_scale=None, Tensor? found_inf=None) -> ()"
)


def _by_rate(schema: str) -> dict[str, str]:
    return {"default": schema.format("float"), "tensor_lr": schema.format("Tensor")}


# (namespace, name) -> where the function is, and the schema of each overload
PLAIN: dict[tuple[str, str], tuple[str, dict[str, str]]] = {
    ("profiler", "_record_function_enter"): ("", {"default": "(str name, str? args=None) -> Tensor"}),
    ("profiler", "_record_function_enter_new"): ("", {"default": f"(str name, str? args=None) -> {_RECORD}"}),
    ("profiler", "_record_function_exit"): (
        "",
        {"default": "(Tensor handle) -> ()", "_RecordFunction": f"({_RECORD} record) -> ()"},
    ),
    ("aten", "_fused_adam_"): ("_eager.fused", _by_rate(_ADAM)),
    ("aten", "_fused_adamw_"): ("_eager.fused", _by_rate(_ADAM)),
    ("aten", "_fused_sgd_"): ("_eager.fused", _by_rate(_SGD)),
    ("aten", "is_pinned"): ("_seldom", {"default": "(Tensor self, Device? device=None) -> bool"}),
    ("aten", "_pin_memory"): ("_seldom", {"default": "(Tensor self, Device? device=None) -> Tensor"}),
    ("aten", "from_file"): (
        "_seldom",
        {"default": f"(str filename, bool? shared=None, int? size=0, {_MADE}=None) -> Tensor"},
    ),
    ("aten", "sparse_coo_tensor"): (
        "_eager.sparse.create",
        {
            "size": f"(int[] size, {_MADE}=False) -> Tensor",
            "indices": f"(Tensor indices, Tensor values, {_MADE}=None, bool? is_coalesced=None) -> Tensor",
            "indices_size": f"(Tensor indices, Tensor values, int[] size, {_MADE}=None, bool? is_coalesced=None) -> Tensor",
        },
    ),
    ("aten", "sparse_compressed_tensor"): (
        "_eager.sparse.create",
        {
            "comp_plain_value_size": "(Tensor compressed_indices, Tensor plain_indices, Tensor values, SymInt[] size, "
            f"{_MADE}=False) -> Tensor",
            "comp_plain_value": f"(Tensor compressed_indices, Tensor plain_indices, Tensor values, {_MADE}=False) -> Tensor",
        },
    ),
    ("aten", "_sparse_coo_tensor_with_dims_and_tensors"): (
        "",
        {
            "default": "(int sparse_dim, int dense_dim, SymInt[] size, Tensor indices, Tensor values, "
            f"{_MADE}=False, bool? is_coalesced=None) -> Tensor"
        },
    ),
}

# methods that tell something of a tensor, or change what it is, and compute nothing: name -> the schema of each overload
METHODS: dict[str, dict[str, str]] = {
    **{
        name: {"default": "(Tensor self) -> bool"}
        for name in ("is_complex", "is_conj", "is_floating_point", "is_inference", "is_leaf", "is_neg", "is_signed", "retains_grad")
    },
    **{name: {"default": "(Tensor self) -> int"} for name in ("dim", "element_size", "get_device", "numel", "output_nr", "storage_offset")},
    **{name: {"int": "(Tensor self, int dim) -> int", "default": "(Tensor self) -> int[]"} for name in ("size", "stride")},
    "fill_diagonal_": {"default": "(Tensor(a!) self, Scalar fill_value, bool wrap=False) -> Tensor(a!)"},
    "is_contiguous": {
        "default": "(Tensor self) -> bool",
        "memory_format": "(Tensor self, MemoryFormat memory_format) -> bool",
    },
    "is_same_size": {"default": "(Tensor self, Tensor other) -> bool"},
    "is_set_to": {"default": "(Tensor self, Tensor tensor) -> bool"},
    "record_stream": {"default": "(Tensor(a!) self, Stream s) -> ()"},
    "requires_grad_": {"default": "(Tensor(a!) self, bool requires_grad=True) -> Tensor(a!)"},
    "resize_": {"default": "(Tensor(a!) self, SymInt[] size, *, MemoryFormat? memory_format=None) -> Tensor(a!)"},
    "resize_as_": {
        "default": "(Tensor(a!) self, Tensor the_template, *, MemoryFormat? memory_format=None) -> Tensor(a!)"
    },
    "retain_grad": {"default": "(Tensor(a!) self) -> ()"},
}  # fmt: skip


class PlainOverload(OpOverload):
    """One overload; calling it calls the function."""

    def __init__(self, packet: OpOverloadPacket, overload: str, schema: str, does: Callable[..., Any]) -> None:
        self._overloadpacket, self._overloadname, self._fn = packet, overload, does
        dot = "" if overload == "default" else f".{overload}"
        self._text = f"{packet._qualified_op_name}{dot}{schema}"
        self.__name__, self.__qualname__ = f"{packet.__name__}.{overload}", f"{packet._qualified_op_name}{dot}"
        self.__module__, self.namespace = packet.__module__, packet.namespace

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._fn(*args, **kwargs)

    @property
    def _schema(self) -> Any:
        if _RECORD in self._text:
            return self._text
        from flambeau._ground.function_schema import function_schema

        return function_schema(self._text)

    @property
    def is_write(self) -> bool:
        return "!" in self._text

    is_view = is_random = False  # type: ignore[assignment]


class PlainPacket(OpOverloadPacket):
    """All overloads of one function."""

    def __init__(self, namespace: str, name: str, does: Callable[..., Any], schemas: dict[str, str]) -> None:
        super().__init__(namespace, name, {})
        self._does = does
        for overload, schema in schemas.items():
            self._made[overload] = PlainOverload(self, overload, schema, does)

    def __getattr__(self, key: str) -> Any:
        made = self.__dict__.get("_made", {})
        return made[key] if key in made else super().__getattr__(key)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._does(*args, **kwargs)

    def overloads(self) -> list[str]:
        return list(self._made)


def find(namespace: str, name: str) -> PlainPacket | None:
    """The packet of a plain function."""
    if namespace == "aten" and name in METHODS:
        return PlainPacket(namespace, name, _method(name), METHODS[name])
    if (namespace, name) not in PLAIN:
        return None
    where, schemas = PLAIN[namespace, name]
    return PlainPacket(namespace, name, getattr(importlib.import_module(f"flambeau.{where}"), name) if where else globals()[name], schemas)  # fmt: skip


def _method(name: str) -> Callable[..., Any]:
    """A method as a function of the tensor and what it is given; properties are asked for."""
    short = name if name not in ("is_leaf", "output_nr", "retains_grad") else ""

    def asked(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        found = getattr(self, name)
        answer = found(*args, **kwargs) if short else found
        return list(answer) if isinstance(answer, tuple) else answer

    return asked


def _record_function_enter_new(name: str, args: str | None = None) -> Any:
    """Begin a range of that name in every profile that is being made; what is returned ends it."""
    from flambeau.autograd.profiler import record_function

    return record_function(name, args).begin()


_ranges: dict[int, Any] = {}  # open ranges whose handle is a tensor


def _record_function_enter(name: str, args: str | None = None) -> Any:
    """The older form, whose handle is a tensor: the bytes of a number."""
    import flambeau

    record = _record_function_enter_new(name, args)
    _ranges[id(record)] = record
    return flambeau.tensor(list(id(record).to_bytes(8, "little")), dtype=flambeau.uint8)


def _record_function_exit(record: Any) -> None:
    """End the range."""
    if hasattr(record, "tolist"):
        record = _ranges.pop(int.from_bytes(bytes(record.tolist()), "little"))
    record.end()


def _sparse_coo_tensor_with_dims_and_tensors(sparse_dim: int, dense_dim: int, size: Any, indices: Any, values: Any, *, dtype: Any = None,
                                             layout: Any = None, device: Any = None, pin_memory: bool = False,
                                             is_coalesced: bool | None = None) -> Any:  # fmt: skip
    """A sparse tensor of those parts."""
    from flambeau._eager.sparse.create import sparse_coo_tensor

    return sparse_coo_tensor(indices, values, size, dtype=dtype, device=device, is_coalesced=is_coalesced)

"""Where a tensor lives and how it lies there: device, layout, memory_format. Names only; backends are floor 3."""

from __future__ import annotations

from typing import Any

TYPES = ("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
         "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone")  # fmt: skip

RENAMED: dict[str, str] = {}  # what "privateuseone" is called, once an extension has named it


class device:
    """A device, by type and index: `device("cuda:1")`, `device("cpu")`.

    >>> device("cuda", 1)
    device(type='cuda', index=1)
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __new__(cls, type: Any, index: int | None = None) -> device:
        if isinstance(type, device):
            if index is None:
                return type
            raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {type}")
        if isinstance(type, int) and not isinstance(type, bool):
            if type < 0:
                raise RuntimeError(f"Device index must not be negative, got {type}")
            type, index = "cuda", type
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' (position 1) must be str, not {type.__class__.__name__}")
        name, _, number = type.partition(":")
        if _:
            if index is not None:
                raise RuntimeError(
                    f"type (string) must not include an index because index was passed explicitly: {type}"
                )
            if not number.isdigit() or (len(number) > 1 and number[0] == "0"):
                raise RuntimeError(f"Invalid device string: '{type}'")
            index = int(number)
        if name not in TYPES and name not in RENAMED.values():
            if not name.isidentifier():
                raise RuntimeError(f"Invalid device string: '{type}'")
            raise RuntimeError(f"Expected one of {', '.join(TYPES)} device type at start of device string: {name}")
        self = object.__new__(cls)
        object.__setattr__(self, "type", name)
        object.__setattr__(self, "index", index)
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")

    def __repr__(self) -> str:
        return (
            f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and self.type == other.type and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> Any:
        return device, (str(self),)

    def __enter__(self) -> device:
        from flambeau._values import default_device  # rare: a device as a context sets the default device

        default_device.push(self)
        return self

    def __exit__(self, *exc: object) -> None:
        from flambeau._values import default_device

        default_device.pop()


device.__module__ = "flambeau"
CPU, META = device("cpu"), device("meta")


class _Named:
    """A value known only by its name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


class layout(_Named):
    """How elements are laid out: `strided`, or one of the sparse layouts."""


class memory_format(_Named):
    """Which dimension is densest: `contiguous_format`, `channels_last`, `channels_last_3d`, or `preserve_format`."""


layout.__module__ = memory_format.__module__ = "flambeau"
strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc, jagged, mkldnn = (
    layout(n)
    for n in ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged", "_mkldnn")
)
contiguous_format, preserve_format, channels_last, channels_last_3d = (
    memory_format(n) for n in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
)

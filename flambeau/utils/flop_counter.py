"""Floating point operations of matrix products and convolutions, counted while a program runs.

Attention on the CPU has no formula, as in PyTorch; one is registered with `register_flop_formula`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from math import prod
from typing import Any

import flambeau
from flambeau.utils._python_dispatch import TorchDispatchMode
from flambeau.utils._pytree import tree_map
from flambeau.utils.module_tracker import ModuleTracker

__all__ = ["FlopCounterMode", "register_flop_formula"]

aten = flambeau.ops.aten
flop_registry: dict[Any, Any] = {}
Shape = Sequence[int]


def _shape(x: Any) -> Any:
    return x.shape if isinstance(x, flambeau.Tensor) else x


def shape_wrapper(f: Callable[..., int]) -> Callable[..., int]:
    """The formula given shapes where it would get tensors."""

    @wraps(f)
    def by_shapes(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
        args, kwargs, out = tree_map(_shape, (args, kwargs, out_val))
        return f(*args, out_shape=out, **kwargs)

    return by_shapes


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[Any], Any]:
    """Say how many operations an operator takes: the formula gets its arguments' shapes (or tensors, if `get_raw`) and `out_shape`.

    >>> import flambeau as torch
    >>> @register_flop_formula(torch.ops.aten.tanh)
    ... def tanh_flop(x_shape, *args, out_shape=None, **kwargs):
    ...     return 10 * x_shape.numel()
    >>> _ = flop_registry.pop(torch.ops.aten.tanh)
    """

    def register(formula: Any) -> Any:
        made = formula if get_raw else shape_wrapper(formula)
        if get_raw:
            made._get_raw = True
        for target in targets if isinstance(targets, (list, tuple)) else [targets]:
            if not hasattr(target, "overloads") and not hasattr(target, "_overloads"):
                raise ValueError(f"register_flop_formula(targets): expected each target to be OpOverloadPacket (i.e. torch.ops.mylib.foo), got {target} which is of type {type(target)}")  # fmt: skip
            if target in flop_registry:
                raise RuntimeError(f"duplicate registrations for {target}")
            flop_registry[target] = made
        return formula

    return register


@register_flop_formula(aten.mm)
def mm_flop(a_shape: Shape, b_shape: Shape, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """2 m n k."""
    (m, k), (_, n) = a_shape, b_shape
    return m * n * 2 * k


@register_flop_formula(aten.addmm)
def addmm_flop(self_shape: Shape, a_shape: Shape, b_shape: Shape, out_shape: Any = None, **kwargs: Any) -> int:
    """2 m n k."""
    return mm_flop(a_shape, b_shape)


@register_flop_formula(aten.bmm)
def bmm_flop(a_shape: Shape, b_shape: Shape, out_shape: Any = None, **kwargs: Any) -> int:
    """2 b m n k."""
    b, m, k = a_shape
    return b * m * b_shape[-1] * 2 * k


@register_flop_formula(aten.baddbmm)
def baddbmm_flop(self_shape: Shape, a_shape: Shape, b_shape: Shape, out_shape: Any = None, **kwargs: Any) -> int:
    """2 b m n k."""
    return bmm_flop(a_shape, b_shape)


def conv_flop_count(x_shape: Shape, w_shape: Shape, out_shape: Shape, transposed: bool = False) -> int:
    """2 * batch * (weights) * (places the window takes)."""
    return 2 * x_shape[0] * prod(w_shape) * prod((x_shape if transposed else out_shape)[2:])


@register_flop_formula(aten.convolution)
def conv_flop(x_shape: Shape, w_shape: Shape, _bias: Any, _stride: Any, _padding: Any, _dilation: Any, transposed: bool, *args: Any,
              out_shape: Any = None, **kwargs: Any) -> int:  # fmt: skip
    """Of a convolution, transposed or not."""
    return conv_flop_count(x_shape, w_shape, out_shape, transposed)


@register_flop_formula(aten.convolution_backward)
def conv_backward_flop(grad_out_shape: Shape, x_shape: Shape, w_shape: Shape, _bias: Any, _stride: Any, _padding: Any, _dilation: Any,
                       transposed: bool, _output_padding: Any, _groups: int, output_mask: Sequence[bool], out_shape: Any) -> int:  # fmt: skip
    """Of its derivatives by the input and by the weight, each a convolution."""

    def t(shape: Shape) -> list[int]:
        return [shape[1], shape[0], *shape[2:]]

    total = 0
    if output_mask[0]:
        total += conv_flop_count(grad_out_shape, w_shape, out_shape[0], not transposed)
    if output_mask[1]:
        pair = (t(grad_out_shape), t(x_shape)) if transposed else (t(x_shape), t(grad_out_shape))
        total += conv_flop_count(*pair, t(out_shape[1]), False)
    return total


SUFFIXES = ["", "K", "M", "B", "T"]


def get_suffix_str(number: int) -> str:
    """The unit in which a number has two to four digits before the point."""
    return SUFFIXES[max(0, min(len(SUFFIXES) - 1, (len(str(number)) - 2) // 3))]


def convert_num_with_suffix(number: int, suffix: str) -> str:
    """A number in a unit."""
    return f"{number / 1000 ** SUFFIXES.index(suffix):.3f}{suffix}"


def convert_to_percent_str(num: int, denom: int) -> str:
    """A share."""
    return "0%" if denom == 0 else f"{num / denom:.2%}"


class FlopCounterMode:
    """Counts floating point operations of everything inside, by module and operator; prints a table at the end if `display`.

    >>> import flambeau as torch
    >>> with FlopCounterMode(display=False) as counter:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> counter.get_total_flops()
    48
    """

    def __init__(
        self, mods: Any = None, depth: int = 2, display: bool = True, custom_mapping: dict[Any, Any] | None = None
    ) -> None:
        self.flop_counts: dict[str, dict[Any, int]] = defaultdict(lambda: defaultdict(int))
        self.depth, self.display = depth, display
        self.mode: Any = None
        if mods is not None:
            import warnings

            warnings.warn("mods argument is not needed anymore, you can stop passing it", stacklevel=2)
        self.flop_registry = {
            **flop_registry,
            **{k: v if getattr(v, "_get_raw", False) else shape_wrapper(v) for k, v in (custom_mapping or {}).items()},
        }
        self.mod_tracker = ModuleTracker()

    def get_total_flops(self) -> int:
        """All of them."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """By module, then operator."""
        return {k: dict(v) for k, v in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """A table of modules (down to `depth`) and operators."""
        depth = 999999 if depth is None and self.depth is None else self.depth if depth is None else depth
        whole = self.get_total_flops()
        unit = get_suffix_str(whole)
        subsumed = False

        def rows(name: str, level: int) -> list[list[str]]:
            nonlocal subsumed
            total = sum(self.flop_counts[name].values())
            subsumed |= total >= whole
            pad = " " * level
            lines = [[pad + name, convert_num_with_suffix(total, unit), convert_to_percent_str(total, whole)]]
            for k, v in self.flop_counts[name].items():
                lines.append([f"{pad} - {k}", convert_num_with_suffix(v, unit), convert_to_percent_str(v, whole)])
            return lines

        values: list[list[str]] = []
        for name in sorted(self.flop_counts):
            level = name.count(".") + 1
            if name != "Global" and level <= depth:
                values += rows(name, level - 1)
        if "Global" in self.flop_counts and not subsumed:
            values = rows("Global", 0) + [[" " + v[0], *v[1:]] for v in values]
        return _table(["Module", "FLOP", "% Total"], values or [["Global", "0", "0%"]])

    def __enter__(self) -> FlopCounterMode:
        self.flop_counts.clear()
        self.mod_tracker.__enter__()
        self.mode = _Counting(self)
        self.mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        self.mode.__exit__(*error)
        self.mode = None
        self.mod_tracker.__exit__()
        if self.display:
            print(self.get_table(self.depth))
        return None

    def _count_flops(self, packet: Any, out: Any, args: Any, kwargs: Any) -> Any:
        if packet in self.flop_registry:
            n = self.flop_registry[packet](*args, **kwargs, out_val=out)
            for parent in set(self.mod_tracker.parents):
                self.flop_counts[parent][packet] += n
        return out


class _Counting(TorchDispatchMode):
    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        return self.counter._count_flops(func._overloadpacket, out, args, kwargs)


def _table(header: list[str], rows: list[list[str]]) -> str:
    """Columns two blanks apart, the first one to the left, the others to the right."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        return "  ".join(
            [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        ).rstrip()

    return "\n".join([line(header), "  ".join("-" * w for w in widths), *map(line, rows)])

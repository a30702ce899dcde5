"""What a convolution comes to: correlations, each with its shapes, strides and taps. Not how they are computed (`conv_launch`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

Tap = tuple[int, int]  # (offset into the input, index into the weights) along one dimension


class Reach(NamedTuple):
    """Which rows and columns of the input the taps of an output touch, split by phase where the stride is above 1.

    Tap offset o lies in phase o % stride, at row (or column) o // stride of it, counted from `row0` (`col0`).
    """

    phases_y: list[int]
    phases_x: list[int]
    row0: int
    col0: int
    halo: int  # rows beyond those of the output
    more: int  # columns beyond those of the output


@dataclass(frozen=True)
class Correlation:
    """One correlation: shapes in elements, three spatial dimensions always.

    `taps` are along z and along y, `phases` the taps along x of each phase of the output.
    """

    dtype: str
    images: int
    groups: int
    rows: int
    channels: int  # of the input, in a group
    out: tuple[int, int, int]
    inside: tuple[int, int, int]
    stride: tuple[int, int, int]
    taps: tuple[tuple[Tap, ...], tuple[Tap, ...]]
    phases: tuple[tuple[Tap, ...], ...]
    c: tuple[int, ...]  # strides of the output: p, q, m, z, y, x
    x: tuple[int, ...]  # strides of the input: p, q, c, z, y, x
    a: tuple[int, ...]  # strides of the weights: g, m, c, z, y, x
    width: int  # of a row of the output, all phases
    apart: int = 1  # stride from a phase of the output to the next

    @property
    def offsets_y(self) -> list[int]:
        """Offsets of the taps along y."""
        return [o for o, _ in self.taps[1]]

    @property
    def offsets_x(self) -> list[int]:
        """Offsets of the taps along x, of all phases of the output."""
        return sorted({o for phase in self.phases for o, _ in phase})

    @property
    def reach(self) -> Reach:
        """What the taps touch."""
        along = ((self.offsets_y, self.stride[1]), (self.offsets_x, self.stride[2]))
        phases_y, phases_x = (sorted({o % s for o in os}) for os, s in along)
        row0, col0 = (min((o // s for o in os), default=0) for os, s in along)
        halo, more = (max((o // s for o in os), default=0) - at for (os, s), at in zip(along, (row0, col0)))
        return Reach(phases_y, phases_x, row0, col0, halo, more)


def three(values: Sequence[int], fill: int) -> tuple[int, int, int]:
    """Leading spatial dimensions that are not there."""
    return (*(fill,) * (3 - len(values)), *values)  # type: ignore[return-value]

"""Sobol sequences: points that fill the unit cube more evenly than random ones, plain or scrambled.

Direction numbers are those of Joe and Kuo, "Constructing Sobol sequences with better two-dimensional projections" (2008), read from SciPy;
scrambling is Owen's as Matousek does it, "On the L2-discrepancy for anchored boxes" (1998).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau as torch

__all__ = ["SobolEngine"]


class SobolEngine:
    """Draws the points of a Sobol sequence, one batch after the other.

    Arguments:
        dimension: of the points; at most 21201.
        scramble: permute digits at random, which keeps the evenness.
        seed: of the scrambling; without one, torch's generator is used.

    >>> SobolEngine(2).draw(3)
    tensor([[0.0000, 0.0000],
            [0.5000, 0.5000],
            [0.7500, 0.2500]])
    """

    MAXBIT = 30
    MAXDIM = 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None) -> None:
        if dimension > self.MAXDIM or dimension < 1:
            raise ValueError(f"Supported range of dimensionality for SobolEngine is [1, {self.MAXDIM}]")
        self.seed, self.scramble, self.dimension = seed, scramble, dimension
        self.sobolstate: Any = torch.from_numpy(_directions(dimension, self.MAXBIT))
        self.shift: Any = torch.zeros(dimension, dtype=torch.long)
        if scramble:
            self._scramble()
        self.quasi = self.shift.clone()
        self._first_point = (self.quasi / 2**self.MAXBIT).reshape(1, -1)
        self.num_generated = 0

    def draw(self, n: int = 1, out: Any = None, dtype: Any = None) -> Any:
        """The next n points, a row each."""
        if dtype is None:
            dtype = torch.get_default_dtype()
        first = self.num_generated == 0
        rows = self._walk(n - 1 if first else n, self.num_generated if first else self.num_generated - 1)
        points = (
            torch.from_numpy(rows).to(dtype) * 2.0**-self.MAXBIT
            if rows.size
            else torch.empty(0, self.dimension, dtype=dtype)
        )
        if first:
            points = torch.cat((self._first_point.to(dtype), points), dim=-2)
        self.num_generated += n
        return points if out is None else out.resize_as_(points).copy_(points)

    def draw_base2(self, m: int, out: Any = None, dtype: Any = None) -> Any:
        """The next 2**m points; with those before, there must be a power of two of them."""
        n = 2**m
        total = self.num_generated + n
        if total & (total - 1):
            raise ValueError(
                "The balance properties of Sobol' points require "
                f"n to be a power of 2. {self.num_generated} points have been "
                f"previously generated, then: n={self.num_generated}+2**{m}={total}. "
                "If you still want to do this, please use "
                "'SobolEngine.draw()' instead."
            )
        return self.draw(n, out, dtype)

    def reset(self) -> SobolEngine:
        """Back to the first point."""
        self.quasi.copy_(self.shift)
        self.num_generated = 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Past the next n points."""
        first = self.num_generated == 0
        self._walk(n - 1 if first else n, self.num_generated if first else self.num_generated - 1)
        self.num_generated += n
        return self

    def _walk(self, steps: int, at: int) -> Any:
        """The integer points after `at`, in the order of Gray codes: from one to the next a single direction flips."""
        if steps <= 0:
            return np.empty((0, self.dimension), np.int64)
        count = np.arange(at, at + steps, dtype=np.int64)
        lowest = (~count & (count + 1)).astype(np.float64)
        flips = self.sobolstate.numpy()[:, np.log2(lowest).astype(np.int64)].T  # steps x dimension
        rows = np.bitwise_xor.accumulate(np.concatenate([self.quasi.numpy()[None], flips]), axis=0)[1:]
        self.quasi = torch.from_numpy(rows[-1].copy())
        return rows

    def _scramble(self) -> None:
        generator = None
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed)
        bits = self.MAXBIT
        shifts = torch.randint(2, (self.dimension, bits), generator=generator).numpy()
        self.shift = torch.from_numpy(shifts @ (1 << np.arange(bits, dtype=np.int64)))
        lower = torch.randint(2, (self.dimension, bits, bits), generator=generator).tril().numpy()
        lower[:, np.arange(bits), np.arange(bits)] = 1
        rows = lower @ (1 << np.arange(bits - 1, -1, -1, dtype=np.int64))  # dimension x bits: a mask for each digit
        meet = np.bitwise_count(rows[:, None, :] & self.sobolstate.numpy()[:, :, None]) & 1
        self.sobolstate = torch.from_numpy(meet.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1, dtype=np.int64)))

    def __repr__(self) -> str:
        more = [f"dimension={self.dimension}"]
        if self.scramble:
            more.append("scramble=True")
        if self.seed is not None:
            more.append(f"seed={self.seed}")
        return f"{type(self).__name__}({', '.join(more)})"


def _directions(dimension: int, bits: int) -> Any:
    """The direction numbers of each dimension, as integers of so many binary digits."""
    import os

    import scipy.stats

    with np.load(os.path.join(os.path.dirname(scipy.stats.__file__), "_sobol_direction_numbers.npz")) as file:
        polynomials, given = file["poly"][:dimension].astype(np.int64), file["vinit"][:dimension].astype(np.int64)
    v = np.zeros((dimension, bits), np.int64)
    v[0] = 1
    for d in range(1, dimension):
        p = int(polynomials[d])
        degree = p.bit_length() - 1
        row = given[d, :degree].tolist()
        for j in range(degree, bits):
            value = row[j - degree]
            power = 1
            for k in range(degree):
                power <<= 1
                if (p >> (degree - 1 - k)) & 1:
                    value ^= power * row[j - k - 1]
            row.append(value)
        v[d] = row[:bits]
    return v << np.arange(bits - 1, -1, -1)

"""The Mersenne Twister, seeded and read as PyTorch's CPU generator does. Words only; distributions are in `sampling.py`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]
    Words = np.ndarray[Any, np.dtype[np.uint32]]

LARGE = 100 * 624  # words drawn at a time
N = 624  # words in the state: M. Matsumoto and T. Nishimura, ACM TOMACS 8 (1998)


def temper(key: Words) -> Words:
    """The output words of a state."""
    y = key ^ (key >> np.uint32(11))
    y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
    y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
    return y ^ (y >> np.uint32(18))


_twist: Any = None  # native code that advances a key and writes blocks of words: (address, address, blocks)


def accelerate(twist: Any) -> None:
    """From now on blocks of words come from native code; they are the same words."""
    global _twist
    _twist = twist


class MT19937:
    """A stream of 32-bit words, drawn from NumPy's engine in whole blocks of 624.

    Between calls the engine stands at the end of the current block: its key is PyTorch's state array, and where PyTorch
    stands within the block is `position`. A fresh stream has a seeded key of which no word was drawn yet.
    """

    __slots__ = ("_address", "_bits", "_fresh", "_legacy", "_list", "_words", "position")

    position: int
    _words: Words
    _list: list[int] | None  # the same words as Python integers, when somebody asks for them one by one

    def __init__(self, seed: int) -> None:
        import numpy.random as random  # costs 15 ms: on first use, not at import

        self._bits: Any = random.MT19937(0)
        self._address: int = 0  # of the key, where native code reads it
        self._legacy: Any = random.RandomState(self._bits)  # its stream and seeding are frozen by NumPy's policy
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start the stream of `seed`, of which the engine uses the low 32 bits."""
        self._legacy.seed(seed & 0xFFFFFFFF)
        self.position, self._fresh, self._list = N, True, None

    def take(self, n: int) -> Words:
        """The next `n` words. The array may be a view of the current block: read it, do not write."""
        # hot: called once per random operation
        start = self.position
        if start + n <= N:
            self.position = start + n
            return self._words[start : start + n]
        out = np.empty(n, np.uint32)
        self.fill(out)
        return out

    def over(self, out: Array) -> Words:
        """As many words as `out` has room for: read them before it is written, they may lie there."""
        start, end = self.position, self.position + out.size
        if end <= N and out.itemsize == 4:
            self.position = end
            return self._words[start:end]
        words = out.view(np.uint32)
        self.fill(words)
        return words

    def fill(self, out: Words) -> None:
        """The next words, as many as `out` has room for."""
        n, start = out.size, self.position
        if start + n <= N:
            out[:] = self.take(n)
            return
        rest = N - start
        out[:rest] = self._words[start:] if rest else 0
        whole = (n - rest) // N * N
        if whole:
            self._fill(out[rest : rest + whole])
        self._fresh, self._list = False, None
        left = n - rest - whole
        if left:
            self._words = np.empty(N, np.uint32)
            self._fill(self._words)
            out[n - left :] = self._words[:left]
            self.position = left
        else:
            self._words, self.position = out[n - N :].copy(), N

    def _fill(self, out: Words) -> None:
        """Whole blocks."""
        if _twist is not None and self._key():
            _twist(self._address, out.ctypes.data, out.size // N)
        elif out.size == N:
            out[:] = self._bits.random_raw(N)
        else:
            for start in range(0, out.size, LARGE):  # in parts that stay in cache
                part = out[start : start + LARGE]
                part[:] = self._legacy.randint(0, 1 << 32, part.size, dtype=np.uint32)

    def _key(self) -> bool:
        """Finds where NumPy's engine keeps the key: in front of its state."""
        if not self._address:
            import ctypes

            place = self._bits.ctypes.state_address
            there = np.ctypeslib.as_array(ctypes.cast(place, ctypes.POINTER(ctypes.c_uint32)), (N,))
            self._address = place if np.array_equal(there, self.key()) else -1
        return self._address > 0

    def take64(self, n: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """The next `n` numbers of 64 bits: each is two words, the high one first."""
        if 2 * n <= N:
            words = self.take(2 * n).astype(np.uint64)
            return words[0::2] << np.uint64(32) | words[1::2]
        out = np.empty(n, np.uint64)
        self.fill(out.view(np.uint32))
        if sys.byteorder == "little":
            low = out >> np.uint64(32)
            out <<= np.uint64(32)
            out |= low
        return out

    def word(self) -> int:
        """The next word alone, for samplers that cannot know how many they need."""
        if self.position == N:
            self.take(N)
            self.position = 0
        if self._list is None:
            self._list = self._words.tolist()
        self.position += 1
        return self._list[self.position - 1]

    def uniform(self) -> float:
        """The next uniform double of 53 bits."""
        high = self.word()
        return (((high << 32) | self.word()) & 0x1FFFFFFFFFFFFF) * 1.1102230246251565e-16  # 2**-53

    def key(self) -> Words:
        """The state array."""
        return np.asarray(self._bits.state["state"]["key"])

    def place(self) -> tuple[int, int]:
        """PyTorch's `left` and `next`: how many words until the next block, and which comes next."""
        return (1, 0) if self._fresh else (N + 1 - self.position, self.position)

    def restore(self, key: Words, left: int, following: int) -> None:
        """Continue the stream that `key()` and `place()` described."""
        self._bits.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": N}}
        self._words, self._list = temper(key), None
        self._fresh = left == 1 and following == 0
        self.position = N + 1 - left

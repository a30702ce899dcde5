"""The Mersenne Twister, seeded and read as PyTorch's CPU generator does. Words only; distributions are in `sampling.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Words = np.ndarray[Any, np.dtype[np.uint32]]

LARGE = 100 * 624  # words drawn at a time
N = 624  # words in the state: M. Matsumoto and T. Nishimura, ACM TOMACS 8 (1998)


def temper(key: Words) -> Words:
    """The output words of a state."""
    y = key ^ (key >> np.uint32(11))
    y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
    y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
    return y ^ (y >> np.uint32(18))


class MT19937:
    """A stream of 32-bit words, drawn from NumPy's engine in whole blocks of 624.

    Between calls the engine stands at the end of the current block: its key is PyTorch's state array, and where PyTorch
    stands within the block is `position`. A fresh stream has a seeded key of which no word was drawn yet.
    """

    __slots__ = ("_bits", "_fresh", "_legacy", "_list", "_words", "position")

    position: int
    _words: Words
    _list: list[int] | None  # the same words as Python integers, when somebody asks for them one by one

    def __init__(self, seed: int) -> None:
        import numpy.random as random  # costs 15 ms: on first use, not at import

        self._bits: Any = random.MT19937(0)
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
        if n <= LARGE:
            rest = N - start
            need = n - rest
            blocks = (need + N - 1) // N
            fresh = self._blocks(blocks)
            out = fresh[:need] if rest == 0 else np.concatenate((self._words[start:], fresh[:need]))
            self._words = fresh if blocks == 1 else fresh[-N:].copy()
            self.position, self._fresh, self._list = need - (blocks - 1) * N, False, None
            return out
        out = np.empty(n, np.uint32)
        for place in range(0, n, LARGE):  # in parts that stay in cache
            part = out[place : place + LARGE]
            part[:] = self.take(part.size)
        return out

    def _blocks(self, count: int) -> Words:
        if count == 1:
            return np.asarray(self._bits.random_raw(N).astype(np.uint32))
        return np.asarray(self._legacy.randint(0, 1 << 32, count * N, dtype=np.uint32))

    def take64(self, n: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """The next `n` numbers of 64 bits: each is two words, the high one first."""
        words = self.take(2 * n).astype(np.uint64)
        out = words[0::2] << np.uint64(32)
        out |= words[1::2]
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

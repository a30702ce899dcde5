"""Versions: the PyTorch whose API this is, and flambeau's own."""

flambeau = "0.1.0"
torch = "2.13.0"


class TorchVersion(str):
    """A version that compares with strings and tuples by number.

    >>> TorchVersion("2.13.0") > "2.9"
    True
    """

    __slots__ = ()

    def _key(self, other: object) -> tuple[int, ...]:
        text = ".".join(map(str, other)) if isinstance(other, tuple) else str(other)
        out = []
        for part in text.split("+")[0].split("."):
            digits = ""
            for c in part:
                if not c.isdigit():
                    break
                digits += c
            out.append(int(digits or 0))
        return tuple(out)

    def _pair(self, other: object) -> tuple[tuple[int, ...], tuple[int, ...]]:
        a, b = self._key(self), self._key(other)
        n = max(len(a), len(b))
        return a + (0,) * (n - len(a)), b + (0,) * (n - len(b))

    def __lt__(self, other: object) -> bool:
        a, b = self._pair(other)
        return a < b

    def __le__(self, other: object) -> bool:
        a, b = self._pair(other)
        return a <= b

    def __gt__(self, other: object) -> bool:
        a, b = self._pair(other)
        return a > b

    def __ge__(self, other: object) -> bool:
        a, b = self._pair(other)
        return a >= b

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str) and str(other) == str(self):
            return True
        a, b = self._pair(other)
        return a == b

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)


__version__ = TorchVersion(f"{torch}+flambeau.{flambeau}")
debug = False
cuda: str | None = None
hip: str | None = None
rocm: str | None = None
xpu: str | None = None
git_version = "unknown"

"""Patterns of names of modules."""

import re
from collections.abc import Iterable

GlobPattern = str | Iterable[str]


class GlobGroup:
    """Names that match one pattern of `include` and none of `exclude`; `*` is part of a segment, `**` any number of segments.

    >>> GlobGroup("torch.**", exclude="torch.x").matches("torch.nn.init")
    True
    """

    def __init__(self, include: GlobPattern, *, exclude: GlobPattern = (), separator: str = "."):
        self._dbg = f"GlobGroup(include={include}, exclude={exclude})"
        self.include, self.exclude = self._glob_list(include, separator), self._glob_list(exclude, separator)
        self.separator = separator

    def __str__(self):
        return self._dbg

    def __repr__(self):
        return self._dbg

    def matches(self, candidate: str) -> bool:
        """Whether a name is meant."""
        text = self.separator + candidate
        return any(p.fullmatch(text) for p in self.include) and not any(p.fullmatch(text) for p in self.exclude)

    @staticmethod
    def _glob_list(elems: GlobPattern, separator: str = "."):
        return [GlobGroup._glob_to_re(e, separator) for e in ([elems] if isinstance(elems, str) else elems)]

    @staticmethod
    def _glob_to_re(pattern: str, separator: str = "."):
        start, rest = re.escape(separator), f"[^{separator}]"
        parts = []
        for segment in pattern.split(separator):
            if segment == "**":
                parts.append(f"({start}{rest}+)*")
            elif "**" in segment:
                raise ValueError("** can only appear as an entire path segment")
            else:
                parts.append(start + f"{rest}*".join(map(re.escape, segment.split("*"))))
        return re.compile("".join(parts))

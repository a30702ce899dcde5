"""`FileCheck`: what a text must hold, in order; LLVM's tool of that name, as tests of graphs use it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_START = re.compile(r"#[ \t]{0,6}(CHECK|.)", re.DOTALL)
_FORM = re.compile(
    r"(?:(|-NEXT|-SAME|-NOT|-DAG|-REGEX|-SOURCE-HIGHLIGHTED): |-COUNT-(EXACTLY-)?(\d+)[^:\n]*: ?)([^\n]*)"
)


@dataclass(frozen=True)
class _Check:
    kind: str
    text: str
    count: int = 0

    def __str__(self) -> str:
        return f"{self.kind}{f'-{self.count}' if self.kind == 'CHECK-COUNT' else ''}: {self.text}"


class FileCheck:
    """Collects checks; `run(text)` makes them, each behind what the last one found.

    >>> FileCheck().check("one").check_next("two").check_not("six").run("one\\ntwo three")
    """

    def __init__(self) -> None:
        self._groups: list[list[_Check]] = []  # neighbours of one kind, where their order is free
        self._has_run = False

    def __repr__(self) -> str:
        checks = "\n".join(f"\t{check}" for group in self._groups for check in group)
        head = "" if self._has_run else "You have not run this instance of FileCheck!\n"
        return f"{head}FileCheck checks:\n{checks}"

    def _add(self, kind: str, text: str, count: int = 0) -> FileCheck:
        check = _Check(kind, text, count)
        if kind in ("CHECK-NOT", "CHECK-DAG") and self._groups and self._groups[-1][0].kind == kind:
            self._groups[-1].append(check)
        else:
            self._groups.append([check])
        return self

    # ---- what is checked ----

    def check(self, test_string: str) -> FileCheck:
        """It comes somewhere behind."""
        return self._add("CHECK", test_string)

    def check_next(self, test_string: str) -> FileCheck:
        """It comes in the next line."""
        return self._add("CHECK-NEXT", test_string)

    def check_same(self, test_string: str) -> FileCheck:
        """It comes in the same line."""
        return self._add("CHECK-SAME", test_string)

    def check_not(self, test_string: str) -> FileCheck:
        """It does not come before what the next check finds."""
        return self._add("CHECK-NOT", test_string)

    def check_dag(self, test_string: str) -> FileCheck:
        """It comes somewhere behind; neighbouring checks of this kind in any order."""
        return self._add("CHECK-DAG", test_string)

    def check_regex(self, test_string: str) -> FileCheck:
        """Something that the pattern matches comes somewhere behind."""
        return self._add("CHECK-REGEX", test_string)

    def check_source_highlighted(self, test_string: str) -> FileCheck:
        """It comes somewhere behind, with as many `~` below it."""
        return self._add("CHECK-SOURCE-HIGHLIGHTED", test_string)

    def check_count(self, test_string: str, count: int, exactly: bool = False) -> FileCheck:
        """It comes so many times; and, if exactly, no more before what the next check finds."""
        if count == 0 and not exactly:
            raise RuntimeError("Count == 0 && !exactly doesn't do anything")
        if count:
            self._add("CHECK-COUNT", test_string, count)
        return self._add("CHECK-NOT", test_string) if exactly else self

    # ---- running ----

    def run(self, *args: Any) -> None:
        """`run(text or graph)`, or `run(checks, text or graph)` with checks as comments: `# CHECK-NEXT: ...`."""
        if len(args) == 2:
            self._parse(args[0])
        text = str(args[-1])
        if not self._groups:
            raise RuntimeError("No checks have been added to this instance ofFilecheck! Check for bad input.")
        self._has_run = True
        at, groups = 0, list(self._groups)
        while groups:
            group = groups.pop(0)
            if group[0].kind != "CHECK-NOT":
                at = self._match(group, text, at)[1]
                continue
            start, end = self._match(groups.pop(0), text, at) if groups else (len(text), len(text))
            for check in group:
                _absent(text, check.text, at, start, check)
            at = end

    def _parse(self, checks: str) -> None:
        at = 0
        while (found := _START.search(checks, at)) is not None:
            at = found.end()
            if found[1] != "CHECK":
                continue
            form = _FORM.match(checks, at)
            if form is None:
                raise RuntimeError(f"Could not parse check at:\n{_lines(checks, at, 1)}Check for bad input.")
            at = form.end()
            kind, exactly, count, text = form.groups()
            if count is None:
                self._add(f"CHECK{kind}", text)
            else:
                self.check_count(text, int(count), exactly=exactly is not None)

    def _match(self, group: list[_Check], text: str, at: int) -> tuple[int, int]:
        """Where a group is found, from a place on."""
        check = group[0]
        if check.kind == "CHECK-DAG":
            places = [_present(text, c.text, at, c) for c in group]
            return min(places), max(p + len(c.text) for p, c in zip(places, group, strict=True))
        if check.kind == "CHECK-REGEX":
            found = re.compile(check.text).search(text, at)
            if found is None:
                raise RuntimeError(
                    f'Expected to find regex "{check.text}" but did not find it\nSearched string:\n{_lines(text, at)}From {check}\n'
                )
            return found.span()
        if check.kind == "CHECK-COUNT":
            first, end = None, at
            for _ in range(check.count):
                place = _present(text, check.text, end, check)
                first, end = place if first is None else first, place + len(check.text)
            return first or 0, end
        if check.kind == "CHECK-SOURCE-HIGHLIGHTED":
            _highlighted(text, at, check)
            return at, at
        start = at
        if check.kind == "CHECK-NEXT":
            start = _present(text, "\n", at, check) + 1
        place = _present(text, check.text, start, check)
        if check.kind in ("CHECK-NEXT", "CHECK-SAME"):
            _absent(text, "\n", start, place, check)
        return place, place + len(check.text)


def _present(text: str, wanted: str, at: int, check: _Check) -> int:
    place = text.find(wanted, at)
    if place < 0:
        shown = wanted.replace("\n", "\\n")
        raise RuntimeError(
            f'Expected to find "{shown}" but did not find it\nSearched string:\n{_lines(text, at)}From {check}\n'
        )
    return place


def _absent(text: str, unwanted: str, start: int, end: int, check: _Check) -> None:
    place = text.find(unwanted, start, end)
    if place >= 0:
        shown = unwanted.replace("\n", "\\n")
        raise RuntimeError(
            f'Expected to not find "{shown}" but found it\n{_lines(text, place, len(unwanted))}From {check}\n'
        )


def _highlighted(text: str, at: int, check: _Check) -> None:
    """One of those behind a place has as many marks below it, and no more."""
    place, size = _present(text, check.text, at, check), len(check.text)
    while place >= 0:
        below = text.find("\n", place) + 1
        where = below + place - (text.rfind("\n", 0, place) + 1)
        if not below or where + size >= len(text):
            at = place
            break
        if text[where : where + size] == "~" * size:
            _absent(text, "~", where - 1, where, check)
            _absent(text, "~", where + size, where + size + 1, check)
            return
        place = text.find(check.text, place + 1)
    raise RuntimeError(f'Expected to find "{check.text}"highlighted but it is not.\n{_lines(text, at, size)}')


def _lines(text: str, at: int, length: int = 0) -> str:
    """The line of a place, two before and two behind; what was found is marked."""
    lines = text.split("\n")
    row = text.count("\n", 0, at)
    column = at - (text.rfind("\n", 0, at) + 1)
    shown = []
    for i in range(max(row - 2, 0), min(row + 3, len(lines))):
        shown.append(lines[i])
        if i == row and length and column < len(lines[i]):
            shown.append(" " * column + "~" * length + " <--- HERE")
    return "\n".join(shown).rstrip("\n") + "\n"

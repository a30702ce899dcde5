"""What a schedule keeps whatever its kernels are: values that are needed before a step, and again by something that waits for that step.

`Schedule.shared` would find the same, one layer of a deep model after another, with all kernels looked at anew each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flambeau._capture import place
from flambeau._kernel.record import Expr

if TYPE_CHECKING:
    from flambeau._capture.schedule import Schedule

MANY = 64  # targets beyond which one more changes nothing


def foresee(schedule: Schedule) -> None:
    """Ask for these values."""
    steps = schedule.program.steps
    order, below = _walked(schedule)
    above: dict[Expr, int] = {}  # the steps that wait for an expression: bits
    held: dict[Expr, int] = {}  # the targets whose kernels compute it: bits
    targets: list[Expr] = []

    def named(e: Expr) -> int:
        targets.append(e)
        return 1 << len(targets) - 1

    for t in schedule.fixed:
        held[t.expr] = held.get(t.expr, 0) | named(t.expr)
    for x in reversed(order):
        if isinstance(x, int):
            needed = 1 << x
            for leaf in steps[x].outs:
                needed |= above.get(leaf.expr, 0)
            for e in _read(schedule, x):
                above[e] = above.get(e, 0) | needed
            continue
        if x in schedule.leaves:
            continue
        needed, by = above.get(x, 0), held.get(x, 0)
        if x not in schedule.want and x.op not in place.FREE and by & (by - 1):
            times = _apart([(above.get(t, 0), below[t]) for n, t in enumerate(targets) if by >> n & 1])
            if times > 1:
                for e in schedule.before_it(x):
                    schedule.target(e)
                if schedule.worth(x, times):
                    schedule.target(x)
        by = named(x) if x in schedule.want else by
        for e in x.src:
            held[e] = held.get(e, 0) | by
            above[e] = above.get(e, 0) | needed


def _read(schedule: Schedule, n: int) -> list[Expr]:
    step = schedule.program.steps[n]
    return [*step.ins, *([] if step.after is None else [step.after])]


def _walked(schedule: Schedule) -> tuple[list[Expr | int], dict[Expr, int]]:
    """Expressions and the numbers of steps, sources first, and the steps that each expression waits for (bits)."""
    order: list[Expr | int] = []
    below: dict[Expr, int] = {}

    def walk(exprs: Iterable[Expr]) -> int:
        waits = 0
        for e in exprs:
            for x in place.toposort_to([e], below):
                order.append(x)
                below[x] = 0
                for source in x.src:
                    below[x] |= below[source]
            waits |= below[e]
        return waits

    for n, step in enumerate(schedule.program.steps):
        waits = walk(_read(schedule, n)) | 1 << n
        order.append(n)
        for leaf in step.outs:
            below[leaf.expr] = waits
    walk([*schedule.want, *(t.expr for t in schedule.fixed)])
    return order, below


def _apart(targets: Sequence[tuple[int, int]]) -> int:
    """How many kernels there are at least for targets, told by the steps that wait for them and those that they wait for: as many as wait for one another."""
    longest: list[tuple[int, int]] = []  # for each, the length of what ends with it
    for above, below in reversed(targets[-MANY:]):  # those that come first, first
        longest.append((1 + max((n for n, a in longest if a & below), default=0), above))
    return max(n for n, _ in longest)

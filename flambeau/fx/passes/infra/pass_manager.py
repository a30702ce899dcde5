"""PassManager: runs passes in an order that keeps to constraints, until nothing changes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from flambeau import nn
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.passes.infra.pass_base import PassResult

__all__ = ["PassManager", "pass_result_wrapper", "this_before_that_pass_constraint"]

Pass = Callable[..., Any]


def pass_result_wrapper(fn: Pass) -> Pass:
    """A function that changes a module as a pass: it is taken to have changed something."""
    if fn is None:
        return None  # type: ignore[unreachable]

    @wraps(fn)
    def wrapped(gm: Any) -> PassResult:
        result = fn(gm)
        return (
            PassResult(gm, True)
            if result is None
            else result
            if isinstance(result, PassResult)
            else PassResult(result, True)
        )

    if wrapped.__name__ is None:
        wrapped.__name__ = str(fn)
    return wrapped


def _validate_pass_schedule_constraint(constraint: Callable[[Pass, Pass], bool], passes: Sequence[Pass]) -> None:
    for i, a in enumerate(passes):
        for j, b in enumerate(passes[i + 1 :]):  # counted from there, as in PyTorch's message
            if not constraint(a, b):
                raise RuntimeError(
                    f"pass schedule constraint violated. Expected {a} before {b} but found {a} at index {i} and {b} at index {j} in pass list."
                )


def _topological_sort_passes(passes: list[Pass], constraints: list[Callable[[Pass, Pass], bool]]) -> list[Pass]:
    if not constraints:
        return passes
    after: dict[Pass, list[Pass]] = {p: [] for p in passes}
    waiting = dict.fromkeys(passes, 0)
    for a in passes:
        for b in passes:
            if a is not b and not all(c(b, a) for c in constraints):  # a must run before b
                after[a].append(b)
                waiting[b] += 1
    ready = [p for p in passes if not waiting[p]]
    order: list[Pass] = []
    while ready:
        order.append(ready.pop(0))
        for b in after[order[-1]]:
            waiting[b] -= 1
            if not waiting[b]:
                ready.append(b)
    stuck = [p for p in passes if waiting[p]]
    if stuck:
        raise RuntimeError(f"Circular dependency detected within the following passes: {stuck}")
    return order


def this_before_that_pass_constraint(this: Pass, that: Pass) -> Callable[[Pass, Pass], bool]:
    """A constraint: `this` runs before `that`."""
    return lambda a, b: not (a == that and b == this)


class PassManager:
    """Runs passes over a module.

    Args:
        passes: what takes a module and gives a PassResult.
        constraints: functions of two passes that say whether the first may run before the second.
        steps: how often all passes run at most; they stop when none changes anything.
        run_checks_after_each_pass: whether the checks run after each pass.
        suppress_check_failures: whether a check that fails stops nothing.
    """

    def __init__(self, passes: list[Pass] | None = None, constraints: list[Callable[[Pass, Pass], bool]] | None = None, steps: int | None = None,
                 run_checks_after_each_pass: bool = False, suppress_check_failures: bool = False) -> None:  # fmt: skip
        self.passes, self.constraints, self.steps = passes or [], constraints or [], steps or 1
        self._validated = False
        self.run_checks_after_each_pass, self.suppress_check_failures = (
            run_checks_after_each_pass,
            suppress_check_failures,
        )

    def add_pass(self, _pass: Pass) -> None:
        """One more pass, at the end."""
        self.passes.append(_pass)
        self._validated = False

    def add_constraint(self, constraint: Callable[[Pass, Pass], bool]) -> None:
        """One more constraint."""
        self.constraints.append(constraint)
        self._validated = False

    def validate_constraints(self) -> None:
        """Raises RuntimeError if the passes stand in an order that a constraint forbids."""
        if self._validated:
            return
        for constraint in self.constraints:
            _validate_pass_schedule_constraint(constraint, self.passes)
        self._validated = True

    def solve_constraints(self) -> None:
        """Puts the passes in an order that all constraints allow."""
        self.passes = _topological_sort_passes(self.passes, self.constraints)
        self._validated = True

    def add_checks(self, check: Callable[[nn.Module], None]) -> None:
        """What is checked before the passes, and after each if asked for."""
        if len(inspect.signature(check).parameters) != 1:
            raise TypeError("PassManager check function should only take in one variable, a module")
        self.check = check  # type: ignore[method-assign]

    def check(self, module: nn.Module) -> None:
        """Nothing, unless `add_checks` says what."""

    def __call__(self, module: nn.Module) -> PassResult:
        if not self._validated:
            self.solve_constraints()
        self.check(module)
        changed = False
        for _ in range(self.steps):
            again = False
            for i, fn in enumerate(self.passes):
                name = getattr(fn, "__name__", type(fn).__name__)
                try:
                    result = fn(module)
                    if not isinstance(result, PassResult) and not hasattr(result, "graph_module"):
                        raise TypeError(
                            f"The result of the pass {name} should be type PassResult.Please wrap it with pass_result_wrapper()"
                        )
                    module, again = result.graph_module, again or result.modified
                    if isinstance(module, GraphModule):
                        module.recompile()
                    if self.run_checks_after_each_pass:
                        self.check(module)
                except Exception as error:
                    before = [getattr(p, "__name__", type(p).__name__) for p in self.passes[:i]]
                    raise Exception(
                        f"An error occurred when running the '{name}' pass after the following passes: {before}"
                    ) from error
            changed = changed or again
            if not again:
                break
        return PassResult(module, changed)

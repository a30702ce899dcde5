"""`draft_export`: a program in any case, with a report of what would have stood against it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from flambeau._dynamo.exc import UserError
from flambeau.export import dynamic_shapes as shapes
from flambeau.export._places import lines
from flambeau.export._trace import Composites, export
from flambeau.export.exported_program import ExportedProgram
from flambeau.utils import _pytree as pytree

__all__ = ["DraftExportReport", "FailureReport", "FailureType", "draft_export"]

log = logging.getLogger(__name__)


class FailureType(IntEnum):
    """What stood against a program."""

    MISSING_FAKE_KERNEL = 1
    DATA_DEPENDENT_ERROR = 2
    GUARD_ADDED = 3
    MISMATCHED_FAKE_KERNEL = 4

    def __str__(self) -> str:
        return self.name


class FailureReport:
    """One thing that stood against a program: its kind, and what is known of it."""

    def __init__(self, failure_type: FailureType, data: dict[str, Any], xfail: bool = False) -> None:
        self.failure_type, self.data, self.xfail = failure_type, data, xfail

    def __repr__(self) -> str:
        return f"FailureReport(failure_type={self.failure_type}, xfail={self.xfail}, data={self.data})"

    def print(self, str_to_filename: Any = None) -> str:
        """It, and what to do about it."""
        if self.failure_type is FailureType.DATA_DEPENDENT_ERROR:
            where = "\n".join("        " + line for line in self.data["user_stack"].splitlines())
            return (
                f"Data dependent error.\n    {self.data['expr']} of a tensor that differs from call to call was asked for, "
                f"{self.data['occurrences']} times, here:\n{where}\n"
                "    What it was for the example is a constant of the program. Keep what follows in tensors (torch.where), or make two branches "
                "of it (torch.cond).\n"
            )
        return (
            f"Guard Added.\n    {self.data['expr']}\n    Sizes that the model does not leave free are the example's. The shapes that were used:\n"
            f"    dynamic_shapes = {self.data['new_dynamic_shapes']}\n"
        )


class DraftExportReport:
    """What stood against a program: nothing, or `failures`."""

    def __init__(self, failures: list[FailureReport], str_to_filename: Any = None, expressions_created: Any = None, op_profiles: Any = None) -> None:  # fmt: skip
        self.failures = failures
        self.str_to_filename, self.expressions_created, self.op_profiles = (
            str_to_filename or {},
            expressions_created or {},
            op_profiles or {},
        )

    def successful(self) -> bool:
        """Whether `export` gives the same program."""
        return all(failure.xfail for failure in self.failures)

    def __repr__(self) -> str:
        return f"DraftExportReport({self.failures})"

    def __str__(self) -> str:
        if self.successful():
            text = [
                "Congratulations: No issues are found during export, and it was able to soundly produce a graph.",
                "You can now change back to torch.export.export()",
            ]
            rule, color = "#" * len(text[0]), "\033[92m"
        else:
            text = [
                f"WARNING: {len(self.failures)} issue(s) found during export, and it was not able to soundly produce a graph.",
                "Please follow the instructions to fix the errors.",
            ]
            rule, color = "#" * 99, "\033[93m"
        found = "".join(f"\n{i}. {f.print()}" for i, f in enumerate(self.failures, 1))
        return "\n".join([color, rule[:94] if self.successful() else rule, *text, rule[:94] if self.successful() else rule, found + "\033[0m"])  # fmt: skip

    def apply_suggested_fixes(self) -> None:
        """Not there, as in PyTorch."""
        raise NotImplementedError("Not implemented yet")


class _Drafting(Composites):
    """A recording that notes where elements are read, and goes on with what they are."""

    failures: dict[str, FailureReport]

    def read(self, t: Any, what: str) -> None:
        node = self.nodes.get(id(t._a))
        if self.running or node is None or node.op == "get_attr":
            return
        stack = lines()
        if stack in self.failures:
            self.failures[stack].data["occurrences"] += 1
            return
        data = {
            "expr": f"{what} ({node.name})",
            "user_stack": stack,
            "stack": stack,
            "frame_locals": None,
            "occurrences": 1,
        }
        self.failures[stack] = FailureReport(FailureType.DATA_DEPENDENT_ERROR, data)


def draft_export(mod: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, *, dynamic_shapes: Any = None,
                 preserve_module_call_signature: tuple[str, ...] = (), strict: bool = False,
                 prefer_deferred_runtime_asserts_over_guards: bool = False) -> ExportedProgram:  # fmt: skip
    """`export` that gives a program also where it may be wrong for other inputs, with a report of why: `program._report`.

    Elements that are read are constants, sizes that the model does not leave free are the example's.

    >>> import flambeau as torch
    >>> torch.export.draft_export(torch.nn.ReLU(), (torch.ones(2),))._report.successful()
    True
    """
    failures: dict[str, FailureReport] = {}
    recording = type("Drafting", (_Drafting,), {"failures": failures})
    options = {"strict": strict, "preserve_module_call_signature": preserve_module_call_signature}
    given = dynamic_shapes
    found: list[FailureReport] = []
    try:
        program = export(mod, args, kwargs, dynamic_shapes=given, _recording=recording, **options)
    except UserError as why:
        if not str(why).startswith("Constraints violated"):
            raise
        given = pytree.tree_map_only((shapes.Dim, shapes._Hint), lambda d: d if d is shapes.Dim.STATIC else shapes.Dim.AUTO, dynamic_shapes)  # fmt: skip
        data = {"expr": str(why), "user_stack": "", "stack": "", "symbol_to_sources": {}, "frame_locals": None, "new_dynamic_shapes": given,
                "prefix": "eval", "expr_node_id": None}  # fmt: skip
        found.append(FailureReport(FailureType.GUARD_ADDED, data))
        program = export(mod, args, kwargs, dynamic_shapes=given, _recording=recording, **options)
    report = DraftExportReport([*failures.values(), *found])
    program._report = report
    if not report.successful():
        log.warning(
            "%d issue(s) found during export, and it was not able to soundly produce a graph. `print(ep._report)` shows them.",
            len(report.failures),
        )
    return program

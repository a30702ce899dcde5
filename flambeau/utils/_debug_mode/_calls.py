"""What a debug text has a line for: calls of operators and functions, and marks between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flambeau.utils._debug_mode._utils import (
    TensorIdTracker,
    _arg_to_str,
    _get_op_name,
    _get_stack_trace,
    _maybe_get_autograd_trace,
)
from flambeau.utils._pytree import tree_all, tree_map


class _DebugCall:
    """A line: how deep it stands, what hooks said of it, and where it came from."""

    def __init__(self, call_depth: int, record: Any = None, log: Any = None, stack: bool = False) -> None:
        self.call_depth, self.record, self.log = call_depth, record, log
        self.output_str: str | None = None
        if stack:
            self.stack_trace = _get_stack_trace()
            self.fwd_stack_trace = _maybe_get_autograd_trace()

    def stringify_args(self, attributes: list[str], tensor_memo: TensorIdTracker | None = None) -> None:
        """Keep the arguments' text in their place, so that the tensors can go."""
        raise NotImplementedError("Subclasses must implement stringify_args(), even if no-op")

    def stringify_output(self, output: Any, attributes: list[str], tensor_memo: TensorIdTracker | None = None) -> None:
        """Keep the text of what the call gave."""
        if not tree_all(lambda x: x is None, output):
            told = tree_map(lambda x: _arg_to_str(x, attributes, tensor_memo), output)
            self.output_str = f"  ->  {told}"

    def render(self, attributes: list[str]) -> str:
        """The line, without its indentation."""
        raise NotImplementedError("Subclasses must implement string render()")

    def __repr__(self) -> str:
        return self.render([])


class _OpCall(_DebugCall):
    """A call of an operator, or of a function of `torch`."""

    def __init__(self, op: Any, args: Any, kwargs: Any, call_depth: int, stack: bool = False) -> None:
        super().__init__(call_depth, stack=stack)
        self.op, self.args, self.kwargs = op, args, kwargs
        self.args_str: str | None = None
        self.kwargs_str: str | None = None

    def _told(self, attributes: list[str], memo: TensorIdTracker | None = None) -> tuple[str, str]:
        args = ", ".join(_arg_to_str(arg, attributes, memo) for arg in self.args)
        return args, "".join(f", {k}={_arg_to_str(v, attributes, memo)}" for k, v in self.kwargs.items())

    def stringify_args(self, attributes: list[str], tensor_memo: TensorIdTracker | None = None) -> None:
        self.args_str, self.kwargs_str = self._told(attributes, tensor_memo)
        del self.args, self.kwargs

    def render(self, attributes: list[str]) -> str:
        args, kwargs = self._told(attributes) if self.args_str is None else (self.args_str, self.kwargs_str)
        log = f"  # {self.log}" if self.log else ""
        return f"{_get_op_name(self.op)}({args}{kwargs}){self.output_str or ''}{log}"

    def __iter__(self) -> Iterator[Any]:
        kept = self.args_str is not None
        yield from (self.op, *((self.args_str, self.kwargs_str) if kept else (self.args, self.kwargs)), self.call_depth)


class _AnnotateCall(_DebugCall):
    """A mark: a module or a named range that is entered, a text of the program's own."""

    def __init__(self, tag: Any, header: str, call_depth: int, stack: bool = False) -> None:
        super().__init__(call_depth, stack=stack)
        self.tag, self.header = tag, header

    def render(self, attributes: list[str]) -> str:
        return f"[{self.header}] {self.tag}"

    def __iter__(self) -> Iterator[Any]:
        yield from (self.render([]), (), {}, self.call_depth)


def _get_call_name(call: _DebugCall) -> str:
    return _get_op_name(call.op) if isinstance(call, _OpCall) else str(call)

"""What a tracer of PyTorch's compiler keeps while it runs. There is none: captures here keep their own."""

from __future__ import annotations

from typing import Any


def active_fake_mode() -> None:
    """The mode in force in which tensors are fake: none."""


def detect_fake_mode(inputs: Any = None) -> None:
    """The mode in which some of the inputs are fake: none."""


class TracingContext:
    """What a capture knows of the program."""

    @staticmethod
    def try_get() -> None:
        """The context in force: none."""


class CompileContext:
    """Which compilation is running."""

    @staticmethod
    def current_compile_id() -> None:
        """Its number: none is running."""

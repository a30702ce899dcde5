"""Assembly of a GPU for each element: there is no GPU."""

from typing import Any, NoReturn


def inline_asm_elementwise(*inputs: Any, **options: Any) -> NoReturn:
    """The results of a piece of assembly for each element."""
    raise NotImplementedError("torch._higher_order_ops.inline_asm_elementwise is not implemented")

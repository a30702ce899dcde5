"""Texts with the elements of tensors in them: `f"{mask.sum()} tokens"`, a message for an error that is not raised.

Only eager code knows such a text. A capture passes it on as an object that knows nothing; where anything looks at it, or takes it out of
the function, the capture is made again, and breaks where the text is made.
"""

from __future__ import annotations

from typing import Any

from flambeau._capture.breaks import Break


class Text:
    """One of these."""

    __slots__ = ()
    __class__ = property(lambda self: str)  # what isinstance sees


class _Looks:
    """What a text does when it is asked: code of C, for the interpreter."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise Break("a text with a tensor's elements in it is looked at")


for _name in ("__radd__", *dir(str)):
    if callable(getattr(str, _name, len)) and _name not in ("__class__", "__new__", "__init__", "__init_subclass__", "__subclasshook__",
                                                       "__getattribute__", "__setattr__", "__delattr__"):  # fmt: skip
        setattr(Text, _name, _Looks())

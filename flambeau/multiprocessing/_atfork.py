"""`register_after_fork`: a function that every forked child calls first."""

import os

__all__ = ["register_after_fork"]


def register_after_fork(func):
    """Calls `func()` in each child of a fork; where processes are not forked there is nothing to do."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=func)

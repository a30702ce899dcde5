"""Helpers for type checkers that do nothing when they run."""


def not_none(obj):
    """The object, which must not be None."""
    if obj is None:
        raise TypeError("Invariant encountered: value was None when it should not be")
    return obj


def copy_func_params(source_func):
    """Says to type checkers that a function has the parameters of another."""
    return lambda func: func


copy_method_params = copy_func_sig = copy_method_sig = copy_func_params

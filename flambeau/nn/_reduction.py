"""The word that says how a loss is reduced, as the number that operators want, and the flags it replaced."""

import warnings

_NUMBERS = {"none": 0, "mean": 1, "sum": 2}


def get_enum(reduction):
    """The operators' number of a reduction."""
    if reduction in _NUMBERS:
        return _NUMBERS[reduction]
    if reduction == "elementwise_mean":
        warnings.warn("reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.", stacklevel=2)
        return 1
    raise ValueError(f"{reduction} is not a valid value for reduction")


def legacy_get_string(size_average, reduce, emit_warning=True):
    """The reduction that two old flags meant; None is True."""
    if reduce is False:
        word = "none"
    else:
        word = "sum" if size_average is False else "mean"
    if emit_warning:
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{word}' instead.", stacklevel=2
        )
    return word


def legacy_get_enum(size_average, reduce, emit_warning=True):
    """The operators' number of the reduction that two old flags meant."""
    return get_enum(legacy_get_string(size_average, reduce, emit_warning))

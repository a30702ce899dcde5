"""Dropout of elements and of whole channels."""

import warnings

import flambeau

from .override import overridable


def _check(p):
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


@overridable
def dropout(input, p=0.5, training=True, inplace=False):
    """In training, zeroes each element with probability ``p`` and divides the others by :math:`1 - p`.

    >>> dropout(flambeau.ones(3), p=0.5, training=False)
    tensor([1., 1., 1.])
    """
    _check(p)
    return (flambeau.dropout_ if inplace else flambeau.dropout)(input, p, training)


@overridable
def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Dropout that keeps the mean and variance that SELU wants."""
    _check(p)
    return (flambeau.alpha_dropout_ if inplace else flambeau.alpha_dropout)(input, p, training)


@overridable
def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Alpha dropout of whole channels."""
    _check(p)
    return (flambeau.feature_alpha_dropout_ if inplace else flambeau.feature_alpha_dropout)(input, p, training)


def _channels(input, p, training, inplace, batched=True):
    """Drops whole channels; without a batch dimension one is put around the call."""
    if not batched:
        input = input.unsqueeze_(0) if inplace else input.unsqueeze(0)
    out = (flambeau.feature_dropout_ if inplace else flambeau.feature_dropout)(input, p, training)
    if not batched:
        out = out.squeeze_(0) if inplace else out.squeeze(0)
    return out


_EXISTS = (
    "Note that dropout{n}d exists to provide channel-wise dropout on inputs with {n} spatial dimension{s}, a channel "
    "dimension, and an optional batch dimension (i.e. {a}D or {b}D inputs)."
)


@overridable
def dropout1d(input, p=0.5, training=True, inplace=False):
    """Dropout of whole channels of (N, C, L) or (C, L)."""
    _check(p)
    rank = input.dim()
    if rank not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {rank}D input. " + _EXISTS.format(n=1, s="", a=2, b=3)
        )
    return _channels(input, p, training, inplace, batched=rank == 3)


def _warn_rank(n, rank):
    if rank in (n + 1, n + 2):
        return
    warnings.warn(
        f"dropout{n}d: Received a {rank}-D input to dropout{n}d, which is deprecated and will result in an error in a "
        "future release. To retain the behavior and silence this warning, please use dropout instead. "
        + _EXISTS.format(n=n, s="s", a=n + 1, b=n + 2),
        stacklevel=4,
    )


@overridable
def dropout2d(input, p=0.5, training=True, inplace=False):
    """Dropout of whole channels of (N, C, H, W)."""
    _check(p)
    rank = input.dim()
    _warn_rank(2, rank)
    if rank == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired "
            "- input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a "
            "future release to interpret the input as one without a batch dimension, i.e. shape (C, H, W). To maintain "
            "the 1D channel-wise dropout behavior, please switch to using dropout1d instead.",
            stacklevel=3,
        )
    return _channels(input, p, training, inplace)


@overridable
def dropout3d(input, p=0.5, training=True, inplace=False):
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    _check(p)
    rank = input.dim()
    _warn_rank(3, rank)
    return _channels(input, p, training, inplace, batched=rank == 5)

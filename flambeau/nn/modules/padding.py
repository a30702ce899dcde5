"""Padding layers: circular, constant, by reflection, by replication and with zeros."""

from .. import functional as F
from .batchnorm import _check_dim
from .module import Module
from .utils import _ntuple, _pair, _quadruple

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """A subclass says ``_mode`` and how a single number becomes all the amounts: (before, after) per dimension."""

    def __init__(self, padding):
        super().__init__()
        self.padding = self._amounts(padding)

    def forward(self, input):
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self):
        return f"{self.padding}"


class _CircularPadNd(_Pad):
    _mode = "circular"

    def _check_input_dim(self, input):
        n = len(self.padding) // 2
        _check_dim(input, n + 1, n + 2)

    def forward(self, input):
        self._check_input_dim(input)
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """Pads (N, C, L) with its other end."""

    _amounts = staticmethod(_pair)


class CircularPad2d(_CircularPadNd):
    """Pads (N, C, H, W) with its other ends."""

    _amounts = staticmethod(_quadruple)


class CircularPad3d(_CircularPadNd):
    """Pads (N, C, D, H, W) with its other ends."""

    _amounts = staticmethod(_ntuple(6))


class _ConstantPadNd(_Pad):
    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value

    def forward(self, input):
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self):
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Pads the last dimension with ``value``.

    >>> import flambeau
    >>> ConstantPad1d(1, 7.0)(flambeau.zeros(1)).tolist()
    [7.0, 0.0, 7.0]
    """

    _amounts = staticmethod(_pair)


class ConstantPad2d(_ConstantPadNd):
    """Pads the last two dimensions with ``value``."""

    _amounts = staticmethod(_quadruple)


class ConstantPad3d(_ConstantPadNd):
    """Pads the last three dimensions with ``value``."""

    _amounts = staticmethod(_ntuple(6))


class _ReflectionPadNd(_Pad):
    _mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """Pads (N, C, L) with its mirror image, the border not repeated."""

    _amounts = staticmethod(_pair)


class ReflectionPad2d(_ReflectionPadNd):
    """Pads (N, C, H, W) with its mirror image, the border not repeated."""

    _amounts = staticmethod(_quadruple)


class ReflectionPad3d(_ReflectionPadNd):
    """Pads (N, C, D, H, W) with its mirror image, the border not repeated."""

    _amounts = staticmethod(_ntuple(6))


class _ReplicationPadNd(_Pad):
    _mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """Pads (N, C, L) with its border."""

    _amounts = staticmethod(_pair)


class ReplicationPad2d(_ReplicationPadNd):
    """Pads (N, C, H, W) with its border."""

    _amounts = staticmethod(_quadruple)


class ReplicationPad3d(_ReplicationPadNd):
    """Pads (N, C, D, H, W) with its border."""

    _amounts = staticmethod(_ntuple(6))


class _Zeros:
    def __init__(self, padding):
        super().__init__(padding, 0.0)

    def extra_repr(self):
        return f"{self.padding}"


class ZeroPad1d(_Zeros, ConstantPad1d):
    """Pads the last dimension with zeros."""


class ZeroPad2d(_Zeros, ConstantPad2d):
    """Pads the last two dimensions with zeros."""


class ZeroPad3d(_Zeros, ConstantPad3d):
    """Pads the last three dimensions with zeros."""

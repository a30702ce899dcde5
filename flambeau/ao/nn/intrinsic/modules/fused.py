"""Fused modules: sequences whose parts have the types that the name says."""

from flambeau import nn
from flambeau.nn.utils.parametrize import type_before_parametrizations

__all__ = [
    "ConvReLU1d",
    "ConvReLU2d",
    "ConvReLU3d",
    "LinearReLU",
    "ConvBn1d",
    "ConvBn2d",
    "ConvBnReLU1d",
    "ConvBnReLU2d",
    "ConvBn3d",
    "ConvBnReLU3d",
    "BNReLU2d",
    "BNReLU3d",
    "LinearBn1d",
    "LinearLeakyReLU",
    "LinearTanh",
    "ConvAdd2d",
    "ConvAddReLU2d",
]


class _FusedModule(nn.Sequential):
    """What all fused modules are; quantization looks for it."""


def _demand(modules, types, type_of=type_before_parametrizations):
    """Refuses modules that do not have exactly these types."""
    found = [type_of(module) for module in modules]
    if found != types:
        *names, last = (t.__name__ for t in found)
        between = ", and " if len(names) > 1 else " and "
        raise AssertionError(f"Incorrect types for input modules: {', '.join(names)}{between}{last}")


class ConvReLU1d(_FusedModule):
    """A convolution, then ReLU."""

    def __init__(self, conv, relu):
        _demand([conv, relu], [nn.Conv1d, nn.ReLU])
        super().__init__(conv, relu)


class ConvReLU2d(_FusedModule):
    """A convolution, then ReLU."""

    def __init__(self, conv, relu):
        _demand([conv, relu], [nn.Conv2d, nn.ReLU])
        super().__init__(conv, relu)


class ConvReLU3d(_FusedModule):
    """A convolution, then ReLU."""

    def __init__(self, conv, relu):
        _demand([conv, relu], [nn.Conv3d, nn.ReLU])
        super().__init__(conv, relu)


class LinearReLU(_FusedModule):
    """A linear layer, then ReLU."""

    def __init__(self, linear, relu):
        _demand([linear, relu], [nn.Linear, nn.ReLU])
        super().__init__(linear, relu)


class ConvBn1d(_FusedModule):
    """A convolution, then batch normalization."""

    def __init__(self, conv, bn):
        _demand([conv, bn], [nn.Conv1d, nn.BatchNorm1d])
        super().__init__(conv, bn)


class ConvBn2d(_FusedModule):
    """A convolution, then batch normalization."""

    def __init__(self, conv, bn):
        _demand([conv, bn], [nn.Conv2d, nn.BatchNorm2d])
        super().__init__(conv, bn)


class ConvBn3d(_FusedModule):
    """A convolution, then batch normalization."""

    def __init__(self, conv, bn):
        _demand([conv, bn], [nn.Conv3d, nn.BatchNorm3d])
        super().__init__(conv, bn)


class ConvBnReLU1d(_FusedModule):
    """A convolution, then batch normalization, then ReLU."""

    def __init__(self, conv, bn, relu):
        _demand([conv, bn, relu], [nn.Conv1d, nn.BatchNorm1d, nn.ReLU])
        super().__init__(conv, bn, relu)


class ConvBnReLU2d(_FusedModule):
    """A convolution, then batch normalization, then ReLU."""

    def __init__(self, conv, bn, relu):
        _demand([conv, bn, relu], [nn.Conv2d, nn.BatchNorm2d, nn.ReLU])
        super().__init__(conv, bn, relu)


class ConvBnReLU3d(_FusedModule):
    """A convolution, then batch normalization, then ReLU."""

    def __init__(self, conv, bn, relu):
        _demand([conv, bn, relu], [nn.Conv3d, nn.BatchNorm3d, nn.ReLU])
        super().__init__(conv, bn, relu)


class BNReLU2d(_FusedModule):
    """Batch normalization, then ReLU."""

    def __init__(self, batch_norm, relu):
        _demand([batch_norm, relu], [nn.BatchNorm2d, nn.ReLU])
        super().__init__(batch_norm, relu)


class BNReLU3d(_FusedModule):
    """Batch normalization, then ReLU."""

    def __init__(self, batch_norm, relu):
        _demand([batch_norm, relu], [nn.BatchNorm3d, nn.ReLU])
        super().__init__(batch_norm, relu)


class LinearBn1d(_FusedModule):
    """A linear layer, then batch normalization."""

    def __init__(self, linear, bn):
        _demand([linear, bn], [nn.Linear, nn.BatchNorm1d])
        super().__init__(linear, bn)


class LinearLeakyReLU(_FusedModule):
    """A linear layer, then leaky ReLU."""

    def __init__(self, linear, leaky_relu):
        _demand([linear, leaky_relu], [nn.Linear, nn.LeakyReLU], type)
        super().__init__(linear, leaky_relu)


class LinearTanh(_FusedModule):
    """A linear layer, then tanh."""

    def __init__(self, linear, tanh):
        _demand([linear, tanh], [nn.Linear, nn.Tanh], type)
        super().__init__(linear, tanh)


class ConvAdd2d(_FusedModule):
    """A convolution, to whose result another tensor is added."""

    def __init__(self, conv, add):
        super().__init__(conv)
        self.add = add

    def forward(self, x1, x2):
        return self.add(self[0](x1), x2)


class ConvAddReLU2d(_FusedModule):
    """A convolution, to whose result another tensor is added, then ReLU."""

    def __init__(self, conv, add, relu):
        super().__init__(conv)
        self.add = add
        self.relu = relu

    def forward(self, x1, x2):
        return self.relu(self.add(self[0](x1), x2))

"""The older name of `ao.nn.intrinsic`."""

from ._older import stand_for

stand_for(__name__, "flambeau.ao.nn.intrinsic")

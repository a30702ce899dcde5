"""The older name of `ao.nn.quantized`."""

from ._older import stand_for

stand_for(__name__, "flambeau.ao.nn.quantized", reference="_reference")

"""The older name of `ao.nn.quantizable`."""

from ._older import stand_for

stand_for(__name__, "flambeau.ao.nn.quantizable")

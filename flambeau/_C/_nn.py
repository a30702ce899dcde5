"""`torch._C._nn`: the operators behind `nn.functional`."""

from flambeau._eager.namespace import fill

__getattr__, __dir__ = fill(globals(), "nn")

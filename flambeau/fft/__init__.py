"""`torch.fft`: filled from the registry of operators."""

from flambeau._eager.namespace import fill

__getattr__, __dir__ = fill(globals(), "fft")

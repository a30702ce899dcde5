"""Where other libraries look for `TorchVersion`."""

from flambeau.version import TorchVersion as TorchVersion, __version__ as __version__

__all__ = ["TorchVersion"]

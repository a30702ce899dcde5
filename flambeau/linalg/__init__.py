"""`torch.linalg`: filled from the registry of operators."""

from flambeau._eager.namespace import fill
from flambeau._ground.errors import LinAlgError as LinAlgError

__getattr__, __dir__ = fill(globals(), "linalg")

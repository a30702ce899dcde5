"""Parameters as one vector, and back."""

import flambeau
from flambeau import Tensor


def _check_one_device(parameters):
    """The parameters as a list; raises if they are on several devices."""
    parameters = list(parameters)
    if len({p.device for p in parameters if p.device.type == "cuda" or len(parameters) > 1}) > 1:
        raise TypeError("Found two parameters on different devices, this is currently not supported.")
    return parameters


def parameters_to_vector(parameters):
    """All parameters, flattened, one after the other.

    >>> parameters_to_vector([flambeau.zeros(2, 2), flambeau.ones(1)]).tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0]
    """
    return flambeau.cat([p.view(-1) for p in _check_one_device(parameters)])


def vector_to_parameters(vec, parameters):
    """Makes consecutive pieces of ``vec`` the data of the parameters."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {flambeau.typename(vec)}")
    start = 0
    for param in _check_one_device(parameters):
        stop = start + param.numel()
        param.data = vec[start:stop].view_as(param).data
        start = stop

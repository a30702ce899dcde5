"""What is logged, as NumPy arrays."""

import numpy as np

import flambeau


def make_np(x):
    """A tensor, array or number as an array; a number becomes one element."""
    if isinstance(x, np.ndarray):
        return x
    if np.isscalar(x):
        return np.array([x])
    if not isinstance(x, flambeau.Tensor):
        raise NotImplementedError(f"Got {type(x)}, but numpy array or torch tensor are expected.")
    if x.device.type == "meta":  # there are no elements: any will do
        return np.random.randn(1)
    x = x.to(flambeau.float16) if x.dtype == flambeau.bfloat16 else x
    return x.detach().cpu().numpy()

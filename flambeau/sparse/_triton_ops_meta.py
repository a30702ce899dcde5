"""Parameters of Triton's kernels for sparse products: a table that is empty, since no such kernel runs here."""

import flambeau as torch

_operation_device_version_data = {}


def get_meta(op, key, device_name=None, version=(0, torch.float16, 0.5), exact=False):
    """What is noted for an operation and the sizes of its operands; None where there is nothing."""
    return _operation_device_version_data.get((op, device_name, version), {}).get(key)


def update(op, device_name, version, key, value):
    """Note parameters."""
    _operation_device_version_data.setdefault((op, device_name, version), {})[key] = value


def minimize(*args, **kwargs):
    """Would look for the parameters that run fastest."""
    raise NotImplementedError("torch.sparse._triton_ops_meta.minimize is not implemented")

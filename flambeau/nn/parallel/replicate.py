"""Copies of a module on several devices."""

__all__ = ["replicate"]


def replicate(network, devices, detach=False):
    """One replica of the module per device; there is at most one device here, and the module is on it."""
    if len(devices) > 1:
        raise NotImplementedError(f"replicate over more than one device (got {len(devices)})")
    replicas = {module: module._replicate_for_data_parallel() for module in network.modules()}
    for module, replica in replicas.items():
        for name, child in module._modules.items():
            if child is not None:
                replica._modules[name] = replicas[child]
        for name, param in module._parameters.items():
            copied = param if param is None else param.detach() if detach else param.view_as(param)
            setattr(replica, name, copied)  # no parameter: its gradient flows on to the original
    return [replicas[network] for _ in devices]

"""A name of one's own for the type of device that extensions may add, and the methods that go with it."""

import flambeau

__all__ = ["rename_privateuse1_backend", "generate_methods_for_privateuse1_backend"]


def rename_privateuse1_backend(backend_name: str) -> None:
    """`privateuseone` has this name from now on, in devices, too. Once per process."""
    flambeau._C._rename_privateuse1_backend(backend_name)


def _once(owner, name, value) -> None:
    if hasattr(owner, name):
        raise RuntimeError(f"The custom device module of {owner} has already been registered with {name}")
    setattr(owner, name, value)


def _place(name, device):
    """The device that an argument of `x.name(device)` means."""
    if isinstance(device, str):
        device = flambeau.device(device)
    if isinstance(device, flambeau.device):
        if device.type != name:
            raise RuntimeError(f"Invalid device, must be {name} device")
        device = device.index
    if device is None:
        current = getattr(getattr(flambeau, name, None), "current_device", None)
        device = current() if current is not None else 0
    return flambeau.device(f"{name}:{device}")


def generate_methods_for_privateuse1_backend(for_tensor: bool = True, for_module: bool = True, for_packed_sequence: bool = True,
                                             for_storage: bool = False, unsupported_dtype=None) -> None:  # fmt: skip
    """Gives tensors, modules, packed sequences and storages `x.is_<name>` and `x.<name>()`."""
    name = flambeau._C._get_privateuse1_backend_name()
    is_name = f"is_{name}"
    packed = flambeau.nn.utils.rnn.PackedSequence

    def moved(self, device=None, non_blocking=False, **kwargs):
        return self.to(device=_place(name, device), non_blocking=non_blocking, **kwargs)

    moved.__name__ = name
    if for_tensor:
        _once(flambeau.Tensor, is_name, property(lambda self: self.device.type == name))
        _once(flambeau.Tensor, name, moved)
    if for_module:
        if not hasattr(flambeau.Tensor, name):
            raise RuntimeError(
                f"Can not automatically generate {name}() method for torch.nn.Module.Because torch.Tensor doesn't has the "
                f"method {name}().For this error, you can try setting for_tensor=True."
            )
        _once(flambeau.nn.Module, name, lambda self, device=None: self._apply(lambda t: getattr(t, name)(device)))
    if for_storage:
        storages = (flambeau.UntypedStorage, flambeau.TypedStorage)
        for cls in storages:
            _once(cls, is_name, property(lambda self: self.device.type == name))

        def stored(self, device=None, non_blocking=False):
            if unsupported_dtype and getattr(self, "dtype", None) in unsupported_dtype:
                raise RuntimeError(
                    f"Cannot create {name} storage as {self.dtype} dtype is not supported by this backend"
                )
            return self.to(device=_place(name, device))

        for cls in storages:
            _once(cls, name, stored)
    if for_packed_sequence:
        if not hasattr(flambeau.Tensor, is_name) or not hasattr(flambeau.Tensor, name):
            raise RuntimeError(
                f"Can not automatically generate {is_name}() or {name}() method for torch.nn.utils.rnn.PackedSequence.Because "
                f"torch.Tensor doesn't has the method {is_name}()or {name}().For this error, you can try setting "
                "for_tensor=True."
            )
        _once(packed, is_name, property(lambda self: self.data.device.type == name))
        _once(packed, name, lambda self, *args, **kwargs: self.to(*args, **{"device": name, **kwargs}))

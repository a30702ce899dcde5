"""Tensors and modules inside a module, read and exchanged by dotted name."""

from flambeau import Tensor

from ..modules.module import Module

_MISSING = object()


def _check(module, name, tensor, kind="tensor"):
    if not isinstance(module, Module):
        raise TypeError(f"{module} is not an instance of torch.nn.Module")
    if kind == "tensor" and tensor is not _MISSING and tensor is not None and not isinstance(tensor, Tensor):
        raise TypeError(f"{tensor} is not an instance of torch.Tensor")
    if "." in name:
        raise KeyError(f'{kind} name can\'t contain "."')
    if name == "":
        raise KeyError(f'{kind} name can\'t be empty string ""')


def _table(module, name):
    """Which of the module's tables has this tensor, if one does."""
    return next((table for table in (module._parameters, module._buffers) if name in table), None)


def set_tensor(module, name, tensor):
    """Makes ``tensor`` the parameter, buffer or attribute ``name``; a parameter's place takes any tensor."""
    _check(module, name, tensor)
    table = _table(module, name)
    if table is None:
        setattr(module, name, tensor)
    else:
        table[name] = tensor


def swap_tensor(module, name, tensor, allow_missing=False):
    """The same, and returns what was there before."""
    _check(module, name, tensor)
    table = _table(module, name)
    if table is not None:
        before = table[name]
        if tensor is _MISSING:
            del table[name]
        else:
            table[name] = tensor
        return before
    before = getattr(module, name, _MISSING)
    if before is _MISSING and not allow_missing:
        raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
    if before is not _MISSING and before is not None and not isinstance(before, Tensor):
        raise TypeError(f"attribute `{name}`: {before} is not an instance of torch.Tensor")
    if tensor is not _MISSING:
        setattr(module, name, tensor)
    elif before is not _MISSING:
        delattr(module, name)
    return before


def swap_submodule(module, name, submodule):
    """Exchanges a child module."""
    for each in (module, submodule):
        if not isinstance(each, Module):
            raise TypeError(f"{each} is not an instance of torch.nn.Module")
    _check(module, name, None, "submodule")
    if name not in module._modules:
        raise KeyError(f"submodule {name} does not exist")
    before = module._modules[name]
    if not isinstance(before, Module):
        raise TypeError(f"{name} attribute is not an instance of torch.nn.Module")
    module._modules[name] = submodule
    return before


class NamedMemberAccessor:
    """Reads and exchanges what is inside ``module``, remembering the submodules it has found."""

    def __init__(self, module):
        self.module = module
        self.memo = {"": module}

    def get_submodule(self, name):
        """The module at a dotted path."""
        if name not in self.memo:
            prefix, _, attr = name.rpartition(".")
            parent = self.get_submodule(prefix)
            try:
                found = getattr(parent, attr)
            except AttributeError as error:
                raise AttributeError(f"{parent._get_name()} has no attribute `{attr}`") from error
            if not isinstance(found, Module):
                raise TypeError(f"submodule `{name}`: {found} is not an instance of torch.nn.Module")
            self.memo[name] = found
        return self.memo[name]

    def _place(self, name):
        prefix, _, attr = name.rpartition(".")
        return self.get_submodule(prefix), attr

    def swap_submodule(self, path, value):
        """Exchanges the module at a dotted path."""
        return swap_submodule(*self._place(path), value)

    def get_tensor(self, name):
        """The tensor at a dotted path."""
        module, attr = self._place(name)
        try:
            tensor = getattr(module, attr)
        except AttributeError as error:
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`") from error
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"{tensor} is not an instance of torch.Tensor")
        return tensor

    def set_tensor(self, name, value):
        """Replaces the tensor at a dotted path."""
        set_tensor(*self._place(name), value)

    def del_tensor(self, name):
        """Removes the tensor at a dotted path."""
        module, attr = self._place(name)
        try:
            delattr(module, attr)
        except AttributeError as error:
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`") from error

    def swap_tensor(self, name, value, allow_missing=False):
        """Exchanges the tensor at a dotted path."""
        return swap_tensor(*self._place(name), value, allow_missing=allow_missing)

    def get_tensors(self, names):
        """The tensors at dotted paths."""
        return [self.get_tensor(name) for name in names]

    def set_tensors(self, names, values):
        """Replaces the tensors at dotted paths."""
        for name, value in _paired(names, values):
            self.set_tensor(name, value)

    def set_tensors_dict(self, named_tensors):
        """Replaces tensors by name."""
        for name, value in named_tensors.items():
            self.set_tensor(name, value)

    def del_tensors(self, names):
        """Removes the tensors at dotted paths."""
        for name in names:
            self.del_tensor(name)

    def swap_tensors(self, names, values, allow_missing=False):
        """Exchanges the tensors at dotted paths."""
        return [self.swap_tensor(name, value, allow_missing) for name, value in _paired(names, values)]

    def swap_tensors_dict(self, named_tensors, allow_missing=False):
        """Exchanges tensors by name: all or none. Returns the old ones and the names that had none."""
        before, missing = {}, []
        try:
            for name, tensor in named_tensors.items():
                before[name] = self.swap_tensor(name, tensor, allow_missing=True)
                if before[name] is _MISSING:
                    missing.append(name)
            if missing and not allow_missing:
                raise RuntimeError(f"Missing key(s): {', '.join(map(repr, missing))}.")
        except Exception:
            for name, tensor in before.items():
                self.swap_tensor(name, tensor, allow_missing=True)
            raise
        return before, missing

    def check_keys(self, keys):
        """The names that are missing from ``keys``, and those in it that the module does not have."""
        keys, valid = set(keys), {name for name, _ in self.named_tensors(remove_duplicate=False)}
        return sorted(valid - keys), sorted(keys - valid)

    def named_parameters(self, remove_duplicate=True):
        """Pairs of name and parameter."""
        yield from self.module.named_parameters(remove_duplicate=remove_duplicate)

    def named_buffers(self, remove_duplicate=True):
        """Pairs of name and buffer."""
        yield from self.module.named_buffers(remove_duplicate=remove_duplicate)

    def named_tensors(self, remove_duplicate=True):
        """Pairs of name and parameter or buffer."""
        yield from self.named_parameters(remove_duplicate)
        yield from self.named_buffers(remove_duplicate)

    def named_modules(self, remove_duplicate=True):
        """Pairs of name and module."""
        yield from self.module.named_modules(remove_duplicate=remove_duplicate)


def _paired(names, values):
    names, values = list(names), list(values)
    if len(names) != len(values):
        raise AssertionError(
            f"names and values must have the same length, got {len(names)} names and {len(values)} values"
        )
    return zip(names, values, strict=True)

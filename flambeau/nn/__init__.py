"""nn: modules, functions and parameters of neural networks; what is rare is read when first asked for."""

import importlib

from . import functional, init, modules, parameter
from .modules import __all__ as _module_names
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

_SUBMODULES = {
    "attention",
    "common_types",
    "grad",
    "intrinsic",
    "parallel",
    "qat",
    "quantizable",
    "quantized",
    "utils",
}

__all__ = [
    *_module_names,
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "attention",
    "factory_kwargs",
    "functional",
    "init",
    "modules",
    "parallel",
    "parameter",
    "utils",
]


def factory_kwargs(kwargs):
    """The ``device``, ``dtype`` and ``memory_format`` of ``kwargs``, those inside its ``factory_kwargs`` included.

    >>> factory_kwargs({"dtype": "a", "factory_kwargs": {"device": "b"}})
    {'device': 'b', 'dtype': 'a'}
    """
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    unknown = kwargs.keys() - simple - {"factory_kwargs"}
    if unknown:
        raise TypeError(f"unexpected kwargs {unknown}")
    out = dict(kwargs.get("factory_kwargs", {}))
    for key in simple & kwargs.keys():
        if key in out:
            raise TypeError(f"{key} specified twice, in **kwargs and in factory_kwargs")
        out[key] = kwargs[key]
    return out


def __getattr__(name):
    if name in modules._WHERE:
        value = getattr(modules, name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name == "DataParallel":
        from .parallel import DataParallel as value
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__, *_SUBMODULES})

"""Lets objects with ``__torch_function__`` (and function modes) take over the functions of nn.functional."""

import functools

from flambeau import Tensor
from flambeau._C import _is_torch_function_mode_enabled as modes
from flambeau.overrides import handle_torch_function, has_torch_function

from ..parameter import Parameter

# types that never take over: asked first, because almost all arguments are of these
_SILENT = {Tensor, Parameter, type(None), bool, int, float, str, tuple, list}


def overridable(fn):
    """Asks the arguments' ``__torch_function__`` before running ``fn``.

    It is handed what has no default by position and everything else by name, whether given or not: tracers print that.
    """

    @functools.wraps(fn)
    def call(*args, **kwargs):  # hot: runs around most functions of nn.functional
        for x in (*args, *kwargs.values()) if kwargs else args:
            if type(x) not in _SILENT and has_torch_function((x,)):
                return _hand_over(call, fn, args, kwargs)
        if modes():
            return _hand_over(call, fn, args, kwargs)
        return fn(*args, **kwargs)

    call.__module__ = "flambeau.nn.functional"
    return call


def _hand_over(public, fn, args, kwargs):
    code, defaults = fn.__code__, fn.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    required = len(names) - len(defaults)
    given = dict(zip(names, args, strict=False)) | kwargs
    named = dict(zip(names[required:], defaults, strict=True)) | (fn.__kwdefaults__ or {}) | given
    positional = [named.pop(name) for name in names[:required] if name in named]
    return handle_torch_function(public, (*args, *kwargs.values()), *positional, **named)

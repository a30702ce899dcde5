"""Decorators of pipes: a name as a method of all pipes, determinism, checks of types."""

import functools
import inspect
from typing import get_args, get_origin, get_type_hints

from ._typing import _DataPipeMeta, is_a, is_subtype, item_type
from .datapipe import IterDataPipe, MapDataPipe


class functional_datapipe:
    """`@functional_datapipe("name")`: pipes can be written as `pipe.name(...)`."""

    def __init__(self, name: str, enable_df_api_tracing=False) -> None:
        self.name, self.enable_df_api_tracing = name, enable_df_api_tracing

    def __call__(self, cls):
        if isinstance(cls, non_deterministic) or isinstance(getattr(cls, "__self__", None), non_deterministic):
            IterDataPipe.register_datapipe_as_function(self.name, cls)
        elif issubclass(cls, IterDataPipe):
            IterDataPipe.register_datapipe_as_function(self.name, cls, self.enable_df_api_tracing)
        elif issubclass(cls, MapDataPipe):
            MapDataPipe.register_datapipe_as_function(self.name, cls)
        return cls


class _Switch:
    """A context that is on from when it is made."""

    on = False

    def __init__(self) -> None:
        self.prev, type(self).on = self.on, True

    def __enter__(self) -> None:
        pass

    def __exit__(self, exc_type, exc_value, traceback) -> None:
        type(self).on = self.prev


class guaranteed_datapipes_determinism(_Switch):
    """Inside, pipes that are not deterministic cannot be made."""


class non_deterministic:
    """Says that a class of pipes is not deterministic, or by which arguments: `@non_deterministic(lambda pipe, n: n > 1)`."""

    cls = None

    def __init__(self, arg) -> None:
        if isinstance(arg, type):
            if not issubclass(arg, IterDataPipe):
                raise TypeError(
                    f"Only `IterDataPipe` can be decorated with `non_deterministic`, but {arg.__name__} is found"
                )
            self.cls = arg
        elif callable(arg):
            self.deterministic_fn = arg
        else:
            raise TypeError(f"{arg} can not be decorated by non_deterministic")

    def __call__(self, *args, **kwargs):
        if self.cls is not None:
            self._refuse("")
            return self.cls(*args, **kwargs)
        if not (isinstance(args[0], type) and issubclass(args[0], IterDataPipe)):
            raise TypeError(f"Only `IterDataPipe` can be decorated, but {args[0].__name__} is found")
        self.cls = args[0]
        return self.deterministic_wrapper_fn

    def deterministic_wrapper_fn(self, *args, **kwargs):
        """Makes a pipe, if it is deterministic or need not be."""
        random = self.deterministic_fn(*args, **kwargs)
        if not isinstance(random, bool):
            raise TypeError(
                "deterministic_fn of `non_deterministic` decorator is required to return a boolean value, but "
                f"{type(random)} is found"
            )
        if random:
            self._refuse(" with the inputs")
        return self.cls(*args, **kwargs)

    def _refuse(self, how):
        if guaranteed_datapipes_determinism.on:
            raise TypeError(
                f"{self.cls.__name__} is non-deterministic{how}, but you set 'guaranteed_datapipes_determinism'. You can "
                "turn off determinism for this DataPipe if that is acceptable for your application"
            )


def argument_validation(f):
    """Arguments that are annotated as pipes must be pipes, of such items."""
    signature, hints = inspect.signature(f), get_type_hints(f)

    @functools.wraps(f)
    def checked(*args, **kwargs):
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            hint = hints.get(name)
            if not isinstance(get_origin(hint) or hint, _DataPipeMeta):
                continue
            if not isinstance(value, IterDataPipe):
                raise TypeError(f"Expected argument '{name}' as a IterDataPipe, but found {type(value)}")
            wanted = get_args(hint)[0] if get_args(hint) else item_type(hint)
            found = item_type(type(value))
            if not is_subtype(found, wanted):
                raise TypeError(f"Expected type of argument '{name}' as a subtype of hint {wanted}, but found {found}")
        return f(*args, **kwargs)

    return checked


class runtime_validation_disabled(_Switch):
    """Inside, items are not checked."""


def runtime_validation(f):
    """Decorates `__iter__`: each item must be what the class says that its items are."""
    if f.__name__ != "__iter__":
        raise TypeError(f"Can not decorate function {f.__name__} with 'runtime_validation'")

    @functools.wraps(f)
    def checked(self):
        kind = item_type(type(self))
        for item in f(self):
            if not runtime_validation_disabled.on and not is_a(item, kind):
                name = getattr(kind, "__name__", kind) if not get_args(kind) else kind
                raise RuntimeError(f"Expected an instance as subtype of {name}, but found {item}({type(item)})")
            yield item

    return checked

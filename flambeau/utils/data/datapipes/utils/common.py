"""Streams that close themselves, files below a directory, and what functions must be to be put into a pipe."""

import fnmatch
import functools
import inspect
import os
import warnings
from collections.abc import Iterable, Sized
from io import IOBase

from flambeau.utils._import_utils import dill_available

__all__ = [
    "validate_input_col", "StreamWrapper", "get_file_binaries_from_pathnames", "get_file_pathnames_from_root", "match_masks",
    "validate_pathname_binary_tuple",
]  # fmt: skip


def no_length(pipe):
    """The error of pipes that do not know their length."""
    return TypeError(f"{type(pipe).__name__} instance doesn't have valid length")


def length_of(source, pipe) -> int:
    """The length of what a pipe reads from."""
    if isinstance(source, Sized):
        return len(source)
    raise no_length(pipe)


def validate_input_col(fn, input_col) -> None:
    """Raises if a function cannot be called with that many columns."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except ValueError:  # of built-in functions nothing is known
        return
    wanted = len(input_col) if isinstance(input_col, (list, tuple)) else 1
    P = inspect.Parameter
    positional = [p for p in parameters if p.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
    any_number = any(p.kind is P.VAR_POSITIONAL for p in parameters)
    by_name = [p for p in parameters if p.kind is P.KEYWORD_ONLY and p.default is p.empty]
    inner = fn.func if isinstance(fn, functools.partial) else fn
    name = f"The function {getattr(inner, '__name__', repr(inner))}"
    if by_name:
        raise ValueError(f"{name} takes {len(by_name)} non-default keyword-only parameters, which is not allowed.")
    if len(parameters) < wanted:
        if not any_number:
            raise ValueError(f"{name} takes {len(parameters)} parameters, but {wanted} are required.")
        return
    too_many = any(p.default is p.empty for p in positional[wanted:])
    too_few = len(positional) < wanted and not any_number
    if too_many or too_few:
        raise ValueError(f"{name} takes {len(positional)} positional parameters, but {wanted} are required.")


def _is_local(fn):
    if hasattr(fn, "__code__"):
        return fn.__code__.co_flags & inspect.CO_NESTED
    return "<locals>" in getattr(fn, "__qualname__", type(fn).__qualname__)


def _check_unpickable_fn(fn) -> None:
    """Warns if a function cannot be pickled."""
    if not callable(fn):
        raise TypeError(f"A callable function is expected, but {type(fn)} is provided.")
    fn = fn.func if isinstance(fn, functools.partial) else fn
    if dill_available():
        return
    kind = "Local" if _is_local(fn) else "Lambda" if getattr(fn, "__name__", "") == "<lambda>" else None
    if kind is not None:
        warnings.warn(
            f"{kind} function is not supported by pickle, please use regular python function or functools.partial instead.",
            stacklevel=2,
        )


def match_masks(name: str, masks) -> bool:
    """Whether a name matches one of the patterns, if there are any."""
    masks = [masks] if isinstance(masks, str) and masks else masks
    return not masks or any(fnmatch.fnmatch(name, mask) for mask in masks)


def get_file_pathnames_from_root(root, masks, recursive=False, abspath=False, non_deterministic=False):
    """The files below a directory, sorted."""

    def failed(err: OSError):
        warnings.warn(f"{err.filename} : {err.strerror}", stacklevel=2)
        raise err

    if os.path.isfile(root):
        path = os.path.abspath(root) if abspath else root
        if match_masks(os.path.basename(path), masks):
            yield path
        return
    for path, dirs, files in os.walk(root, onerror=failed):
        path = os.path.abspath(path) if abspath else path
        if not non_deterministic:
            files.sort()
        yield from (os.path.join(path, f) for f in files if match_masks(f, masks))
        if not recursive:
            return
        if not non_deterministic:
            dirs.sort()


def get_file_binaries_from_pathnames(pathnames, mode: str, encoding=None):
    """(path, open file) for each path."""
    mode = "r" + mode if mode in ("b", "t") else mode
    for pathname in pathnames if isinstance(pathnames, Iterable) else [pathnames]:
        if not isinstance(pathname, str):
            raise TypeError(f"Expected string type for pathname, but got {type(pathname)}")
        yield pathname, StreamWrapper(open(pathname, mode, encoding=encoding))


def validate_pathname_binary_tuple(data) -> None:
    """Raises if something is not (path, stream)."""
    if not isinstance(data, tuple):
        raise TypeError(f"pathname binary data should be tuple type, but it is type {type(data)}")
    if len(data) != 2:
        raise TypeError(f"pathname binary stream tuple length should be 2, but got {len(data)}")
    if not isinstance(data[0], str):
        raise TypeError(f"pathname within the tuple should have string type pathname, but it is type {type(data[0])}")
    if not isinstance(data[1], (IOBase, StreamWrapper)):
        raise TypeError(
            "binary stream within the tuple should have IOBase orits subclasses as type, but it is type "
            f"{type(data[1])}"
        )


class StreamWrapper:
    """A stream that closes itself when it is forgotten; a parent stream closes after its last child, if it may."""

    session_streams: dict = {}
    debug_unclosed_streams = False

    def __init__(self, file_obj, parent_stream=None, name=None) -> None:
        self.file_obj, self.parent_stream, self.name = file_obj, parent_stream, name
        self.child_counter, self.close_on_last_child, self.closed = 0, False, False
        if parent_stream is not None:
            if not isinstance(parent_stream, StreamWrapper):
                raise RuntimeError(f"Parent stream should be StreamWrapper, {type(parent_stream)} was given")
            parent_stream.child_counter += 1
        if StreamWrapper.debug_unclosed_streams:
            StreamWrapper.session_streams[self] = 1

    @classmethod
    def close_streams(cls, v, depth=0) -> None:
        """Closes all streams in dicts, lists and tuples."""
        if isinstance(v, StreamWrapper):
            v.close()
        elif isinstance(v, (dict, list, tuple)) and depth < 10:
            for part in v.values() if isinstance(v, dict) else v:
                cls.close_streams(part, depth + 1)

    def __getattr__(self, name):
        return getattr(self.__dict__["file_obj"], name)

    def close(self, *args, **kwargs) -> None:
        """Closes the stream."""
        if self.closed:
            return
        if StreamWrapper.debug_unclosed_streams:
            del StreamWrapper.session_streams[self]
        parent = self.__dict__.get("parent_stream")
        if parent is not None:
            parent.child_counter -= 1
            if not parent.child_counter and parent.close_on_last_child:
                parent.close()
        try:
            self.file_obj.close(*args, **kwargs)
        except AttributeError:
            pass
        self.closed = True

    def autoclose(self) -> None:
        """Closes the stream when it has no children, now or later."""
        self.close_on_last_child = True
        if self.child_counter == 0:
            self.close()

    def __dir__(self):
        return list({*self.__dict__, *StreamWrapper.__dict__, *dir(self.file_obj)})

    def __del__(self) -> None:
        if not self.__dict__.get("closed", True):
            self.close()

    def __iter__(self):
        yield from self.file_obj

    def __next__(self):
        return next(self.file_obj)

    def __repr__(self) -> str:
        return f"StreamWrapper<{'' if self.name is None else f'{self.name},'}{self.file_obj!r}>"

    def __getstate__(self):
        return self.file_obj

    def __setstate__(self, obj):
        self.file_obj = obj
        self.parent_stream = self.name = None
        self.child_counter, self.close_on_last_child, self.closed = 0, False, False

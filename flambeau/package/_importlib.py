"""Rules of Python's import statement, for importers that are not the interpreter's."""

import os.path


def _normalize_line_endings(source):
    return source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _resolve_name(name, package, level):
    """The absolute name of what `from ..name import` means in a package."""
    parts = package.split(".")
    if len(parts) < level:
        raise ValueError("attempted relative import beyond top-level package")
    base = ".".join(parts[: len(parts) - level + 1])
    return f"{base}.{name}" if name else base


def _calc___package__(globals):
    """The package that code runs in."""
    if globals.get("__package__") is not None:
        return globals["__package__"]
    if globals.get("__spec__") is not None:
        return globals["__spec__"].parent
    name = globals["__name__"]
    return name if "__path__" in globals else name.rpartition(".")[0]


def _normalize_path(path):
    """The path itself, if it is a file's name."""
    parent, name = os.path.split(path)
    if parent:
        raise ValueError(f"{path!r} must be only a file name")
    return name

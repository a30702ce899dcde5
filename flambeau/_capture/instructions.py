"""What each instruction does to a frame; those of control are in `flow`. What it means for values is `tracer`, `operations` and `calls`.

The instructions are those of `bytecode`: the same whatever the version of CPython.
"""

from __future__ import annotations

import types
from typing import Any

from flambeau._capture import operations as ops
from flambeau._capture.breaks import Break
from flambeau._capture.bytecode import Instruction
from flambeau._capture.frame import NULL, Frame, Pending, op
from flambeau._capture.numbers import Tracked
from flambeau._capture.tracer import MISSING, Tracer, is_constant, lookup
from flambeau._capture.unread import Text
from flambeau._tensor import Tensor

# ---------------------------------------------------------------- the stack


@op("POP_TOP")
def _pop(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.pop()


@op("PUSH_NULL")
def _push_null(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(NULL)


@op("COPY")
def _copy(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(f.stack[-i.arg])


@op("SWAP")
def _swap(tr: Tracer, f: Frame, i: Instruction) -> None:
    s = f.stack
    s[-1], s[-i.arg] = s[-i.arg], s[-1]


@op("LOAD_CONST")
def _load_const(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(i.arg)


# ---------------------------------------------------------------- variables


def local(tr: Tracer, f: Frame, name: str) -> Any:
    v = f.names.get(name, MISSING)
    if v is MISSING:
        raise UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value")
    if type(v) is Pending:
        v = f.names[name] = tr.reach(v.value, v.source)
    return v


@op("LOAD_FAST")
def _load_fast(tr: Tracer, f: Frame, i: Instruction) -> None:
    v = f.names.get(i.arg, MISSING)
    if v is MISSING or type(v) is Pending:
        v = local(tr, f, i.arg)
    f.stack.append(v)


@op("STORE_FAST")
def _store_fast(tr: Tracer, f: Frame, i: Instruction) -> None:
    v = f.stack.pop()
    if v is NULL:  # there was no such variable before a comprehension
        f.names.pop(i.arg, None)
    else:
        f.names[i.arg] = v


@op("LOAD_FAST_AND_CLEAR")
def _load_fast_and_clear(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(f.names.pop(i.arg, NULL))


@op("DELETE_FAST")
def _delete_fast(tr: Tracer, f: Frame, i: Instruction) -> None:
    local(tr, f, i.arg)
    del f.names[i.arg]


@op("MAKE_CELL")
def _make_cell(tr: Tracer, f: Frame, i: Instruction) -> None:
    name = i.arg
    f.names[name] = types.CellType(local(tr, f, name)) if name in f.names else types.CellType()


@op("LOAD_DEREF")
def _load_deref(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(tr.load_cell(f.names[i.arg], i.arg))


@op("STORE_DEREF")
def _store_deref(tr: Tracer, f: Frame, i: Instruction) -> None:
    tr.store_cell(f.names[i.arg], f.stack.pop())


@op("DELETE_DEREF")
def _delete_deref(tr: Tracer, f: Frame, i: Instruction) -> None:
    cell = f.names[i.arg]
    if tr.source_of(cell) is not None:
        raise Break("a variable of an outer function is deleted")
    del cell.cell_contents


@op("LOAD_GLOBAL")
def _load_global(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(tr.load_global(f.globals, f.builtins, i.arg))


@op("STORE_GLOBAL")
def _store_global(tr: Tracer, f: Frame, i: Instruction) -> None:
    tr.store_global(f.globals, i.arg, f.stack.pop())


# ---------------------------------------------------------------- attributes and items


@op("LOAD_ATTR")
def _load_attr(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(tr.load_attr(f.stack.pop(), i.arg))


@op("LOAD_METHOD")
def _load_method(tr: Tracer, f: Frame, i: Instruction) -> None:
    obj = f.stack.pop()
    f.stack += (NULL, tr.load_attr(obj, i.arg))


@op("STORE_ATTR")
def _store_attr(tr: Tracer, f: Frame, i: Instruction) -> None:
    obj = f.stack.pop()
    tr.store_attr(obj, i.arg, f.stack.pop())


@op("DELETE_ATTR")
def _delete_attr(tr: Tracer, f: Frame, i: Instruction) -> None:
    tr.delete_attr(f.stack.pop(), i.arg)


@op("BINARY_SUBSCR")
def _subscript(tr: Tracer, f: Frame, i: Instruction) -> None:
    key = f.stack.pop()
    f.stack.append(ops.subscript(tr, f.stack.pop(), key))


@op("STORE_SUBSCR")
def _store_subscript(tr: Tracer, f: Frame, i: Instruction) -> None:
    key, c, v = f.stack.pop(), f.stack.pop(), f.stack.pop()
    ops.store_subscript(tr, c, key, v)


@op("DELETE_SUBSCR")
def _delete_subscript(tr: Tracer, f: Frame, i: Instruction) -> None:
    key = f.stack.pop()
    ops.delete_subscript(tr, f.stack.pop(), key)


# ---------------------------------------------------------------- operators


@op("BINARY_OP")
def _binary(tr: Tracer, f: Frame, i: Instruction) -> None:
    y = f.stack.pop()
    f.stack.append(ops.binary(tr, i.arg, f.stack.pop(), y))


@op("COMPARE_OP")
def _compare(tr: Tracer, f: Frame, i: Instruction) -> None:
    y = f.stack.pop()
    f.stack.append(ops.binary(tr, i.arg, f.stack.pop(), y))


@op("UNARY_NEGATIVE")
def _negative(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(ops.unary(tr, "-", f.stack.pop()))


@op("UNARY_POSITIVE")
def _positive(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(ops.unary(tr, "+", f.stack.pop()))


@op("UNARY_INVERT")
def _invert(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(ops.unary(tr, "~", f.stack.pop()))


@op("UNARY_NOT")
def _not(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(not tr.truth(f.stack.pop()))


@op("IS_OP")
def _is(tr: Tracer, f: Frame, i: Instruction) -> None:
    y, x = f.stack.pop(), f.stack.pop()
    f.stack.append(tr.identical(x, y) != bool(i.arg))


@op("CONTAINS_OP")
def _contains(tr: Tracer, f: Frame, i: Instruction) -> None:
    c, x = f.stack.pop(), f.stack.pop()
    f.stack.append(tr.contains(c, x) != bool(i.arg))


# ---------------------------------------------------------------- making containers


@op("BUILD_TUPLE", "BUILD_LIST", "BUILD_SET")
def _build(tr: Tracer, f: Frame, i: Instruction) -> None:
    n = i.arg
    items = f.stack[len(f.stack) - n :]
    del f.stack[len(f.stack) - n :]
    if i.name == "BUILD_SET":
        for x in items:
            tr.hashable(x)
    f.stack.append({"BUILD_TUPLE": tuple, "BUILD_LIST": list, "BUILD_SET": set}[i.name](items))


@op("BUILD_MAP")
def _build_map(tr: Tracer, f: Frame, i: Instruction) -> None:
    n = 2 * i.arg
    items = f.stack[len(f.stack) - n :]
    del f.stack[len(f.stack) - n :]
    for k in items[::2]:
        tr.hashable(k)
    f.stack.append(dict(zip(items[::2], items[1::2], strict=True)))


@op("BUILD_CONST_KEY_MAP")
def _build_const_map(tr: Tracer, f: Frame, i: Instruction) -> None:
    keys = f.stack.pop()
    items = f.stack[len(f.stack) - i.arg :]
    del f.stack[len(f.stack) - i.arg :]
    f.stack.append(dict(zip(keys, items, strict=True)))


@op("BUILD_STRING")
def _build_string(tr: Tracer, f: Frame, i: Instruction) -> None:
    parts = f.stack[len(f.stack) - i.arg :]
    del f.stack[len(f.stack) - i.arg :]
    f.stack.append(Text() if any(type(x) is Text for x in parts) else "".join(parts))


@op("BUILD_SLICE")
def _build_slice(tr: Tracer, f: Frame, i: Instruction) -> None:
    parts = f.stack[len(f.stack) - i.arg :]
    if not tr.native and any(isinstance(x, Tensor) for x in parts):
        raise Break("a tensor is used as an end of a slice", "give it a Python integer")
    del f.stack[len(f.stack) - i.arg :]
    f.stack.append(slice(*parts))


def growing(tr: Tracer, f: Frame, i: Instruction) -> Any:
    """The container on the stack that is being made; after a break it is one from outside."""
    c = f.stack[-i.arg]
    if tr.source_of(c) is not None:
        tr.journal.touch(c)
    return c


@op("LIST_APPEND")
def _list_append(tr: Tracer, f: Frame, i: Instruction) -> None:
    v = f.stack.pop()
    growing(tr, f, i).append(v)


@op("SET_ADD")
def _set_add(tr: Tracer, f: Frame, i: Instruction) -> None:
    v = f.stack.pop()
    tr.hashable(v)
    _add(tr, f, i, v)


def _add(tr: Tracer, f: Frame, i: Instruction, v: Any) -> None:
    v = _fixed(v)
    if not tr.contains(f.stack[-i.arg], v):
        growing(tr, f, i).add(v)


@op("MAP_ADD")
def _map_add(tr: Tracer, f: Frame, i: Instruction) -> None:
    v, k = f.stack.pop(), f.stack.pop()
    ops.store_subscript(tr, f.stack[-i.arg], k, v)


@op("LIST_EXTEND")
def _list_extend(tr: Tracer, f: Frame, i: Instruction) -> None:
    items = ops.unpack(tr, f.stack.pop())
    growing(tr, f, i).extend(items)


@op("SET_UPDATE")
def _set_update(tr: Tracer, f: Frame, i: Instruction) -> None:
    for v in ops.unpack(tr, f.stack.pop()):
        _add(tr, f, i, v)


@op("DICT_UPDATE", "DICT_MERGE")
def _dict_update(tr: Tracer, f: Frame, i: Instruction) -> None:
    v = f.stack.pop()
    if not isinstance(v, dict):
        keys = ops.unpack(tr, tr.call(tr.load_attr(v, "keys"), (), {}))
        v = {k: ops.subscript(tr, v, k) for k in keys}
    else:
        tr.scan(v)
    into = f.stack[-i.arg]
    if i.name == "DICT_MERGE":
        for k in v:
            if tr.contains(into, k):
                raise TypeError(f"got multiple values for keyword argument '{k}'")
    for k, y in v.items():
        ops.store_subscript(tr, into, k, y)


@op("LIST_TO_TUPLE")
def _list_to_tuple(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(tuple(f.stack.pop()))


@op("UNPACK_SEQUENCE")
def _unpack_sequence(tr: Tracer, f: Frame, i: Instruction) -> None:
    v = f.stack.pop()
    items = ops.unpack(tr, v)
    if len(items) != i.arg:
        raise ValueError(f"not enough values to unpack (expected {i.arg}, got {len(items)})" if len(items) < i.arg
                         else f"too many values to unpack (expected {i.arg})")  # fmt: skip
    f.stack += items[::-1]


@op("UNPACK_EX")
def _unpack_ex(tr: Tracer, f: Frame, i: Instruction) -> None:
    before, after = i.arg & 0xFF, i.arg >> 8
    items = ops.unpack(tr, f.stack.pop())
    if len(items) < before + after:
        raise ValueError(f"not enough values to unpack (expected at least {before + after}, got {len(items)})")
    tail = items[len(items) - after :] if after else []
    f.stack += [*tail[::-1], items[before : len(items) - after], *items[:before][::-1]]


@op("GET_LEN")
def _get_len(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(tr.call(len, (f.stack[-1],), {}))


@op("CONVERT_VALUE")
def _convert(tr: Tracer, f: Frame, i: Instruction) -> None:
    v = f.stack.pop()
    if _unread(tr, v):
        f.stack.append(Text())
        return
    text = _spoken(tr, v, "__str__" if i.arg == 1 else "__repr__")
    if text is None:
        text = (str, repr, ascii)[i.arg - 1](_fixed(v))
    f.stack.append(text if i.arg < 3 else text.encode("ascii", "backslashreplace").decode())


@op("FORMAT_SIMPLE")
def _format_simple(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(_formatted(tr, f.stack.pop(), ""))


@op("FORMAT_WITH_SPEC")
def _format_with_spec(tr: Tracer, f: Frame, i: Instruction) -> None:
    spec = f.stack.pop()
    f.stack.append(_formatted(tr, f.stack.pop(), spec))


def _formatted(tr: Tracer, v: Any, spec: str) -> str:
    """`format(v, spec)`."""
    if not spec and _unread(tr, v):
        return Text()  # type: ignore[return-value]
    if not tr.native and isinstance(lookup(type(v), "__format__"), types.FunctionType) and not is_plain(v):
        return tr.call(tr.load_attr(v, "__format__"), (spec,), {})
    text = _spoken(tr, v, "__str__")
    if text is not None and spec:
        raise TypeError(f"unsupported format string passed to {type(v).__name__}.__format__")
    return format(_fixed(v), spec) if text is None else text


def _unread(tr: Tracer, v: Any) -> bool:
    """Whether the text of a value is passed on unread."""
    if tr.native or not tr.tells or not (type(v) is Text or isinstance(v, Tensor)):
        return False
    tr.told = True
    return True


def _spoken(tr: Tracer, v: Any, dunder: str) -> str | None:
    """What a class written in Python says for a value; None where native code may say it."""
    tr.deep(v)
    if tr.native or is_plain(v):
        return None
    fn = lookup(type(v), dunder)
    if isinstance(fn, types.FunctionType) and not (fn.__module__ or "").startswith("flambeau._"):
        return tr.call(tr.load_attr(v, dunder), (), {})
    if isinstance(v, (type, types.FunctionType)) or (isinstance(v, BaseException) and all(map(is_constant, v.args))):
        return None
    raise Break(f"a {type(v).__name__} is made a string")


def _fixed(v: Any) -> Any:
    return v.fixed() if isinstance(v, Tracked) else v


def is_plain(v: Any) -> bool:
    return is_constant(v) or isinstance(v, Tracked)


# ---------------------------------------------------------------- imports, matching


@op("IMPORT_NAME")
def _import(tr: Tracer, f: Frame, i: Instruction) -> None:
    names, level = f.stack.pop(), f.stack.pop()
    module = __import__(i.arg, f.globals, None, names, level)
    tr.register(module, tr.constant(module))
    f.stack.append(module)


@op("IMPORT_FROM")
def _import_from(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(tr.load_attr(f.stack[-1], i.arg))


@op("MATCH_SEQUENCE", "MATCH_MAPPING")
def _match_kind(tr: Tracer, f: Frame, i: Instruction) -> None:
    import collections.abc

    kind = collections.abc.Sequence if i.name == "MATCH_SEQUENCE" else collections.abc.Mapping
    f.stack.append(isinstance(f.stack[-1], kind) and not isinstance(f.stack[-1], (str, bytes, bytearray)))


@op("MATCH_KEYS")
def _match_keys(tr: Tracer, f: Frame, i: Instruction) -> None:
    keys, c = f.stack[-1], f.stack[-2]
    f.stack.append(tuple(ops.subscript(tr, c, k) for k in keys) if all(tr.contains(c, k) for k in keys) else None)


@op("MATCH_CLASS")
def _match_class(tr: Tracer, f: Frame, i: Instruction) -> None:
    names, cls, x = f.stack.pop(), f.stack.pop(), f.stack.pop()
    if not isinstance(x, cls):
        f.stack.append(None)
        return
    order = getattr(cls, "__match_args__", ())
    if i.arg and not order:
        if i.arg == 1 and cls in (bool, bytes, dict, float, frozenset, int, list, set, str, tuple):
            f.stack.append((x,))
            return
        raise Break("a class pattern by position")
    try:
        f.stack.append(tuple(tr.load_attr(x, n) for n in (*order[: i.arg], *names)))
    except AttributeError:
        f.stack.append(None)

"""Code objects as instructions of one language, whichever version of CPython compiled them.

The language is mostly that of CPython 3.13 with its combined instructions taken apart: keywords of a call lie on the stack (`CALL_KW`),
a comparison and the truth of it are two instructions, a function is made at once. What a version writes otherwise is a line of its
table here; the interpreter (`frame`, `instructions`) knows no versions. Code that holds any other instruction is not captured.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from flambeau._capture.breaks import Break

Words = Sequence[tuple[str, Any]]  # instructions of the language: names and arguments


class Instruction:
    """One instruction. `target` is where it may jump to, as an index; -1 where it does not."""

    __slots__ = ("arg", "line", "name", "offset", "target")

    def __init__(self, name: str, arg: Any, line: int | None, offset: int, target: int) -> None:
        self.name, self.arg, self.line, self.offset, self.target = name, arg, line, offset, target

    def __repr__(self) -> str:
        return f"{self.name} {self.arg!r}" + (f" -> {self.target}" if self.target >= 0 else "")


class Code:
    """The instructions of a code object, and which of them handle the exceptions of which (by the offsets in the original)."""

    def __init__(self, instructions: list[Instruction], handlers: list[tuple[int, int, int, int, bool]]) -> None:
        self.instructions = instructions
        self.handlers = (
            handlers  # start, end, index of the handler, depth of the stack there, whether the offset is pushed
        )


@functools.lru_cache(4096)
def decode(code: types.CodeType) -> Code:
    """The instructions of a code object."""
    rules = TABLES[sys.version_info[:2]]
    made: list[Instruction] = []
    at: dict[int, int] = {}  # offset -> index
    jumps: list[tuple[Instruction, int]] = []
    named = False  # whether the next call has keywords
    for i in dis.get_instructions(code):
        at[i.offset] = len(made)
        name = i.opname
        rule = rules.get(name)
        if rule is None:
            raise Break(f"the instruction {name}")
        if name == "SET_FUNCTION_ATTRIBUTE":  # 3.13: what 3.12 says at once
            made[-1].arg |= i.arg
            continue
        if name == "KW_NAMES":
            words: Words = (("LOAD_CONST", code.co_consts[i.arg]),)  # type: ignore[index]
            named = True
        else:
            words = rule(i)
        if name == "CALL" and named:
            words, named = (("CALL_KW", i.arg),), False
        line = i.positions.lineno if i.positions else None
        if name == "YIELD_VALUE" and made[-1].name == "SEND":
            words = (("YIELD_VALUE", True),)  # a part of `yield from`
        for word, arg in words:
            made.append(Instruction(word, arg, line, i.offset, -1))
        if i.opcode in _JUMPS:
            jumps.append((made[-1], i.argval))
    for jump, offset in jumps:
        jump.target = at[offset]
        if jump.name == "FOR_ITER":
            jump.target += LOOP_ENDS[sys.version_info[:2]]
    found = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    return Code(made, [(e.start, e.end, at[e.target], e.depth, e.lasti) for e in found])


_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))


# ---------------------------------------------------------------- rules


def _nothing(i: Any) -> Words:
    return ()


def _value(i: Any) -> Words:
    return ((i.opname, i.argval),)


def _number(i: Any) -> Words:
    return ((i.opname, i.arg),)


def _each(*names: str) -> Callable[[Any], Words]:
    """Several instructions in one, each with its variable."""
    return lambda i: tuple(zip(names, i.argval, strict=True))


def _as(name: str, arg: Any = None) -> Callable[[Any], Words]:
    return lambda i: ((name, arg),)


def _jump(i: Any) -> Words:
    return ((i.opname.replace("_FORWARD", "").replace("_BACKWARD", "").replace("_NO_INTERRUPT", ""), None),)


def _rules(rule: Callable[[Any], Words], names: str) -> dict[str, Callable[[Any], Words]]:
    return dict.fromkeys(names.split(), rule)


# What all versions say alike.
_COMMON = {
    **_rules(_nothing, "CACHE COPY_FREE_VARS EXTENDED_ARG NOP RESUME"),
    **_rules(
        _value,
        "DELETE_ATTR DELETE_DEREF DELETE_FAST IMPORT_FROM IMPORT_NAME LOAD_CONST LOAD_DEREF LOAD_FAST MAKE_CELL STORE_ATTR "
        "STORE_DEREF STORE_FAST STORE_GLOBAL",
    ),
    **_rules(
        _number,
        "BEFORE_WITH BINARY_SUBSCR BUILD_CONST_KEY_MAP BUILD_LIST BUILD_MAP BUILD_SET BUILD_SLICE BUILD_STRING BUILD_TUPLE CALL "
        "CALL_FUNCTION_EX CHECK_EXC_MATCH CONTAINS_OP COPY DELETE_SUBSCR DICT_MERGE DICT_UPDATE FOR_ITER GET_ITER GET_LEN "
        "GET_YIELD_FROM_ITER IS_OP LIST_APPEND LIST_EXTEND LOAD_ASSERTION_ERROR LOAD_BUILD_CLASS MAP_ADD MATCH_CLASS MATCH_KEYS "
        "MATCH_MAPPING MATCH_SEQUENCE POP_EXCEPT POP_TOP PUSH_EXC_INFO PUSH_NULL RAISE_VARARGS RERAISE RETURN_GENERATOR "
        "RETURN_VALUE SEND SET_ADD SET_UPDATE STORE_SUBSCR SWAP UNARY_INVERT UNARY_NEGATIVE UNARY_NOT UNPACK_EX UNPACK_SEQUENCE "
        "WITH_EXCEPT_START",
    ),
    **_rules(_jump, "JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT JUMP_FORWARD"),
    "BINARY_OP": lambda i: (("BINARY_OP", i.argrepr),),
    "COMPARE_OP": _value,
    "LOAD_GLOBAL": lambda i: ((("PUSH_NULL", None),) if i.arg & 1 else ()) + (("LOAD_GLOBAL", i.argval),),
    "YIELD_VALUE": _as("YIELD_VALUE", False),
}
_BEFORE_3_13 = {
    "FORMAT_VALUE": lambda i: _formats(i.arg & 3, bool(i.arg & 4)),
    "KW_NAMES": _nothing,  # what it says goes onto the stack, and the next call is CALL_KW
    "LOAD_CLOSURE": lambda i: (("LOAD_FAST", i.argval),),
    "MAKE_FUNCTION": lambda i: (("MAKE_FUNCTION", i.arg or 0),),
}
_SINCE_3_12 = {
    **_rules(_value, "LOAD_FAST_AND_CLEAR"),
    **_rules(_number, "CLEANUP_THROW END_FOR END_SEND"),
    **_rules(_jump, "POP_JUMP_IF_FALSE POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE POP_JUMP_IF_TRUE"),
    "BINARY_SLICE": lambda i: (("BUILD_SLICE", 2), ("BINARY_SUBSCR", None)),
    "CALL_INTRINSIC_1": lambda i: _intrinsic(i.argrepr),
    "LOAD_ATTR": lambda i: (("LOAD_METHOD" if i.arg & 1 else "LOAD_ATTR", i.argval),),
    "LOAD_FAST_CHECK": lambda i: (("LOAD_FAST", i.argval),),
    "LOAD_SUPER_ATTR": lambda i: (
        ("LOAD_SUPER", bool(i.arg & 2)), ("LOAD_METHOD" if i.arg & 1 else "LOAD_ATTR", i.argval),
    ),
    "RETURN_CONST": lambda i: (("LOAD_CONST", i.argval), ("RETURN_VALUE", None)),
    "STORE_SLICE": lambda i: (("BUILD_SLICE", 2), ("STORE_SUBSCR", None)),
}  # fmt: skip
TABLES: dict[tuple[int, ...], dict[str, Callable[[Any], Words]]] = {
    (3, 11): {
        **_COMMON,
        **_BEFORE_3_13,
        **_rules(_jump, "JUMP_IF_FALSE_OR_POP JUMP_IF_TRUE_OR_POP"),
        **_rules(
            _jump,
            "POP_JUMP_FORWARD_IF_FALSE POP_JUMP_FORWARD_IF_NONE POP_JUMP_FORWARD_IF_NOT_NONE POP_JUMP_FORWARD_IF_TRUE "
            "POP_JUMP_BACKWARD_IF_FALSE POP_JUMP_BACKWARD_IF_NONE POP_JUMP_BACKWARD_IF_NOT_NONE POP_JUMP_BACKWARD_IF_TRUE",
        ),
        **_rules(_number, "LIST_TO_TUPLE UNARY_POSITIVE"),
        **_rules(_value, "LOAD_ATTR LOAD_METHOD"),
        "PRECALL": _nothing,
        "SEND": _as("SEND", True),  # it takes the exhausted iterator away itself, where later versions have END_SEND
    },
    (3, 12): {
        **_COMMON,
        **_BEFORE_3_13,
        **_SINCE_3_12,
    },
    (3, 13): {
        **_COMMON,
        **_SINCE_3_12,
        **_rules(_number, "CALL_KW CONVERT_VALUE FORMAT_SIMPLE FORMAT_WITH_SPEC TO_BOOL"),
        "COMPARE_OP": lambda i: (("COMPARE_OP", i.argval), *((("TO_BOOL", None),) if i.arg & 16 else ())),
        "LOAD_FAST_LOAD_FAST": _each("LOAD_FAST", "LOAD_FAST"),
        "LOAD_GLOBAL": lambda i: (("LOAD_GLOBAL", i.argval), *((("PUSH_NULL", None),) if i.arg & 1 else ())),
        "MAKE_FUNCTION": _as("MAKE_FUNCTION", 0),
        "SET_FUNCTION_ATTRIBUTE": _nothing,
        "STORE_FAST_LOAD_FAST": _each("STORE_FAST", "LOAD_FAST"),
        "STORE_FAST_STORE_FAST": _each("STORE_FAST", "STORE_FAST"),
    },
}
# How many instructions after a loop clear up what FOR_ITER has cleared up itself: END_FOR; END_FOR and POP_TOP.
LOOP_ENDS = {(3, 11): 0, (3, 12): 1, (3, 13): 2}


def _formats(conversion: int, spec: bool) -> Words:
    """A field of an f-string: the conversion comes before the format's text is made, as in 3.13."""
    if not spec:
        return ((("CONVERT_VALUE", conversion),) if conversion else ()) + (("FORMAT_SIMPLE", None),)
    under = (("SWAP", 2), ("CONVERT_VALUE", conversion), ("SWAP", 2)) if conversion else ()
    return (*under, ("FORMAT_WITH_SPEC", None))


def _intrinsic(name: str) -> Words:
    word = {
        "INTRINSIC_STOPITERATION_ERROR": "STOPITERATION_ERROR", "INTRINSIC_UNARY_POSITIVE": "UNARY_POSITIVE",
        "INTRINSIC_LIST_TO_TUPLE": "LIST_TO_TUPLE",
    }.get(name)  # fmt: skip
    if word is None:
        raise Break(f"the instruction CALL_INTRINSIC_1 ({name})")
    return ((word, None),)

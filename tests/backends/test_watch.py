"""Watched objects: every change of what is watched is seen, whichever way the interpreter keeps attributes."""

from __future__ import annotations

import sys
import types
import weakref
from typing import Any

import pytest

from flambeau._backends.cpu import engine, watch

pytestmark = pytest.mark.skipif(not engine.available() or watch.same() is None, reason="nothing is watched here")
MANY = [f"x{i}" for i in range(20)]


def seen(objects: list[tuple[Any, str]], change: Any) -> bool:
    """Whether a change is seen (nothing else is before it)."""
    same = watch.same()[0]
    words, left = watch.words(objects)
    assert same(words) and not left
    change()
    return not same(words)


class Plain:
    pass


class Slotted:
    __slots__ = ("__dict__", "held")


def made(how: str, names: list[str]) -> Any:
    """An instance with these attributes. `how` tells where the interpreter keeps them."""
    kind = type("Made", (Slotted if how == "slots" else Plain,), {})
    x = kind()
    for n in names:
        setattr(x, n, n)
    if how == "asked":
        vars(x)
    if how == "own":  # more than are shared
        vars(x).update({f"more{i}": i for i in range(40)})
    return x


@pytest.mark.parametrize("names", [["a"], MANY[:6], MANY[:7], MANY[:14], MANY[:15], MANY])
@pytest.mark.parametrize("how", ["values", "asked", "own", "slots"])
def test_attributes_that_change_go_or_come_are_seen(how, names):
    first, last = names[0], names[-1]
    x = made(how, names)
    assert seen([(x, first)], lambda: setattr(x, first, 1))
    x = made(how, names)
    assert seen([(x, f"{first} {last}")], lambda: setattr(x, last, 1))
    x = made(how, names)
    assert seen([(x, last)], lambda: delattr(x, last))
    x = made(how, names)
    assert seen([(x, "absent")], lambda: setattr(x, "absent", 1))


@pytest.mark.parametrize("names", [["a", "b"], MANY[:7], MANY[:15], MANY])
@pytest.mark.parametrize("how", ["values", "asked", "own", "slots"])
def test_an_attribute_that_takes_the_place_of_another_is_seen(how, names):
    x = made(how, names)
    type(x)().absent = 1  # instances of the class know the name

    def swap():
        delattr(x, names[-1])
        x.absent = 1

    assert seen([(x, f"{names[0]} absent")], swap)


@pytest.mark.parametrize("how", ["values", "asked", "own", "slots"])
def test_nothing_else_is_seen(how):
    x = made(how, ["a", "b", "c"])
    assert not seen([(x, "a b")], lambda: setattr(x, "c", 1))
    assert not seen([(x, "a b")], lambda: None)


@pytest.mark.parametrize("how", ["values", "asked", "own"])
def test_another_dictionary_is_seen(how):
    x = made(how, ["a"])
    x.__dict__  # noqa: B018
    assert seen([(x, "__dict__")], lambda: setattr(x, "__dict__", {"a": "a"}))
    x = made(how, ["a"])
    assert seen([(x, "a")], lambda: setattr(x, "__dict__", {"a": 1}))


def test_a_dictionary_that_is_written_is_seen_whoever_writes_it():
    x = made("asked", ["a"])
    assert seen([(vars(x), "content")], lambda: setattr(x, "a", 1))
    assert seen([(vars(x), "content")], lambda: setattr(x, "b", 1))
    x = made("values", ["a"])
    assert seen([(x, "a")], lambda: vars(x).update(a=1))
    d = {"a": 1}
    assert seen([(d, "content")], lambda: d.update(a=2))
    assert seen([(d, "content")], lambda: d.pop("a"))
    d = {"a": 1}
    assert seen([(d, "content")], d.clear)
    m = types.ModuleType("m")
    assert seen([(m.__dict__, "content")], lambda: setattr(m, "x", 1))
    space: dict[str, Any] = {"n": 0}
    exec("def count():\n    global n\n    n += 1", space)
    for _ in range(20):  # as often as it takes for the interpreter to write it the quick way
        assert seen([(space, "content")], space["count"])


def test_an_attribute_that_is_written_the_quick_way_is_seen():
    x, y = made("values", ["a"]), made("own", ["a"])

    def write(o, v):
        o.a = v

    for i in range(100):
        write(x, i)
    assert seen([(x, "a")], lambda: write(x, "new"))
    for i in range(100):
        write(y, i)
    assert seen([(y, "a")], lambda: write(y, "new"))
    assert seen([(vars(y), "content")], lambda: write(y, "another"))


def test_classes():
    base = type("Base", (), {"m": 1})
    kind = type("Kind", (base,), {})
    assert seen([(kind, "class")], lambda: setattr(kind, "n", 1))
    assert seen([(kind, "class")], lambda: setattr(base, "m", 2))
    assert seen([(kind, "class")], lambda: delattr(base, "m"))
    assert seen([(kind, "class")], lambda: setattr(kind, "__bases__", (type("Other", (), {}),)))
    x = kind()
    assert seen([(x, "type")], lambda: setattr(x, "__class__", type("Other", (), {})))


def test_types_of_attributes():
    x = made("values", ["a"])
    assert not seen([(x, "type of a")], lambda: setattr(x, "a", "another text"))
    assert seen([(x, "type of a")], lambda: setattr(x, "a", 1))
    assert seen([(x, "type of a")], lambda: delattr(x, "a"))


def test_functions_cells_lists_and_weak_references():
    def f(a=1, *, b=2):
        return held

    held = 1
    other = lambda a=1: held

    def rebind():
        nonlocal held
        held = 2

    for name, value in (
        ("__code__", other.__code__), ("__defaults__", (2,)), ("__kwdefaults__", {"b": 3})
    ):  # fmt: skip
        assert seen([(f, name)], lambda name=name, value=value: setattr(f, name, value))
    assert seen([(f.__closure__[0], "cell_contents")], rebind)
    xs = [1, 2]
    assert seen([(xs, "content")], lambda: xs.append(3))
    assert seen([(xs, "content")], lambda: xs.__setitem__(0, "a"))
    target = Plain()
    reference = weakref.ref(target)
    same = watch.same()[0]
    words, _ = watch.words([(reference, "content")])
    assert same(words)
    del target
    assert not same(words)


def test_answers_are_the_interpreters_own():
    same, d = watch.same()[0], {"a": 1}
    words, _ = watch.words([(d, "content")])
    before = [sys.getrefcount(b) for b in (True, False)]
    for _ in range(5000):
        assert same(words) is True
    d["a"] = 2
    for _ in range(5000):
        assert same(words) is False
    after = [sys.getrefcount(b) for b in (True, False)]
    assert all(abs(x - y) < 100 for x, y in zip(before, after, strict=True))

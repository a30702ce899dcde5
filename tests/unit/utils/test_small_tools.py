"""Contexts that decorate, dictionaries by identity, DLPack's path."""

import gc

import pytest

import flambeau
from flambeau.utils._contextlib import _DecoratorContextManager, context_decorator
from flambeau.utils.dlpack import from_dlpack, to_dlpack
from flambeau.utils.weak import TensorWeakRef, WeakIdKeyDictionary


class Depth(_DecoratorContextManager):
    now = 0

    def __enter__(self):
        Depth.now += 1

    def __exit__(self, *error):
        Depth.now -= 1


def test_functions_and_generators_are_decorated():
    @Depth()
    def function():
        return Depth.now

    @Depth()
    def generator():
        received = yield Depth.now
        yield received, Depth.now

    assert function() == 1
    running = generator()
    assert next(running) == 1
    assert Depth.now == 0  # while it waits, it is not inside
    assert running.send("hello") == ("hello", 1)
    assert Depth.now == 0
    with pytest.raises(RuntimeError, match="Cannot decorate classes"):
        context_decorator(lambda: Depth(), Depth)


def test_dictionaries_by_identity():
    key, other = flambeau.ones(2), flambeau.ones(2)
    found = WeakIdKeyDictionary({key: 1})
    found[other] = 2
    assert (found[key], found[other], len(found)) == (1, 2, 2)
    assert dict(found.items()) is not None
    del other
    gc.collect()
    assert len(found) == 1
    assert list(found) == [key]
    assert found.get(flambeau.ones(2)) is None
    assert found == {key: 1}


def test_weak_references():
    t = flambeau.ones(1)
    ref = TensorWeakRef(t)
    assert ref() is t
    del t
    gc.collect()
    assert ref() is None


def test_dlpack_shares_memory():
    t = flambeau.zeros(2)
    from_dlpack(to_dlpack(t)).add_(1)
    assert t.tolist() == [1, 1]


def test_swapped_tensors():
    p, t = flambeau.nn.Parameter(flambeau.ones(2)), flambeau.zeros(3)
    held = p
    flambeau.utils.swap_tensors(p, t)
    assert held.tolist() == [0, 0, 0]
    assert isinstance(t, flambeau.nn.Parameter)
    (t * 2).sum().backward()
    assert t.grad.tolist() == [2, 2]


def test_submodules_load_when_they_are_asked_for():
    assert flambeau.utils._python_dispatch.is_traceable_wrapper_subclass(flambeau.ones(1)) is False
    with pytest.raises(AttributeError):
        _ = flambeau.utils.no_such_thing

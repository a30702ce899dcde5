"""What a `TorchFunctionMode` sees of plain tensors: attributes, assignments to them, methods that are no operators."""

import threading

import pytest

import flambeau
from flambeau.overrides import TorchFunctionMode, resolve_name

Tensor = flambeau.Tensor


class Seen(TorchFunctionMode):
    def __init__(self):
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(resolve_name(func).removeprefix("torch.Tensor."))
        return func(*args, **(kwargs or {}))


MEMBERS = {
    "shape.__get__": lambda x: x.shape,
    "T.__get__": lambda x: x.T,
    "grad.__get__": lambda x: x.grad,
    "dtype.__get__": lambda x: x.dtype,
    "requires_grad.__get__": lambda x: x.requires_grad,
    "grad.__set__": lambda x: setattr(x, "grad", None),
    "requires_grad.__set__": lambda x: setattr(x, "requires_grad", True),
    "size": lambda x: x.size(),
    "dim": lambda x: x.dim(),
    "item": lambda x: x.item(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "__bool__": bool,
    "__float__": float,
    "__len__": lambda x: len(x.reshape(1)),
    "__repr__": repr,
    "__contains__": lambda x: 1.0 in x,
    "register_hook": lambda x: x.requires_grad_().register_hook(lambda g: g),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_members_are_seen_once(name):
    x = flambeau.tensor(1.0) if name != "T.__get__" else flambeau.ones(2, 3)
    with Seen() as mode:
        MEMBERS[name](x)
    assert mode.names[-1] == name
    assert mode.names.count(name) == 1
    del mode.names[:]
    MEMBERS[name](x)
    assert not mode.names
    assert "__getattribute__" not in vars(Tensor)


def test_modes_answer_for_attributes():
    class Wide(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func == Tensor.shape.__get__:
                assert types == (Tensor,)
                return (7,)
            return NotImplemented if func is Tensor.dim else func(*args, **(kwargs or {}))

    x = flambeau.ones(2)
    with Wide():
        assert x.shape == (7,)
        assert x.dtype is flambeau.float32
        with pytest.raises(TypeError, match="no implementation found"):
            x.dim()
        with Seen() as inner:
            assert x.shape == (7,)
        assert inner.names == ["shape.__get__"]
    assert x.shape == (2,)


def test_other_threads_are_left_alone():
    x, found = flambeau.ones(2), []
    with Seen() as mode:
        thread = threading.Thread(target=lambda: found.append((x.shape, len(x), x.ndim)))
        thread.start()
        thread.join()
        assert not mode.names
    assert found == [((2,), 2, 1)]


def test_subclasses_come_after_the_mode():
    class Mine(Tensor):
        seen: list = []

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.seen.append((resolve_name(func), types))
            return super().__torch_function__(func, types, args, kwargs)

    x = flambeau.ones(2).as_subclass(Mine)
    with Seen() as mode:
        assert x.shape == (2,)
    assert mode.names == ["shape.__get__"]
    assert [n for n, _ in Mine.seen] == ["torch.Tensor.shape.__get__"]

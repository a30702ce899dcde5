"""Users' subclasses of Tensor: what they see, what keeps their class, and wrappers through layers and back."""

import copy
import pickle
import subprocess
import sys

import pytest

from tests.agree import rand

MEMBERS = {
    "attributes": lambda fl, s: (tuple(s.shape), s.dtype, s.ndim, s.device.type, s.requires_grad, s.grad, s.is_leaf, s.layout),
    "questions": lambda fl, s: (s.size(), s.stride(), s.dim(), s.numel(), len(s), s.is_contiguous(), s.element_size()),
    "numbers": lambda fl, s: (s[0, 0].item(), float(s[0, 0]), bool(s[0, 0]), s.tolist()),
    "detached": lambda fl, s: (type(s.detach()).__name__, type(s.data).__name__),
    "new": lambda fl, s: tuple(type(t).__name__ for t in (s.new_zeros(2), s.new_full((2,), 1.0), s.new_tensor([1.0]))),
    "like": lambda fl, s: tuple(type(t).__name__ for t in (fl.zeros_like(s), fl.rand_like(s), fl.empty_like(s))),
    "moved": lambda fl, s: tuple(type(t).__name__ for t in (s.to(fl.float64), s.cpu(), s.double(), s.T, s.mT, s.real)),
    "parts": lambda fl, s: tuple(type(t).__name__ for t in (s[0], s[s > 0], s.split(1)[0], s.max(0).values, *s.unbind())),
    "in place": lambda fl, s: tuple(type(t).__name__ for t in (s.add_(0), s.clone().requires_grad_())),
    "parameter": lambda fl, s: (type(fl.nn.Parameter(s)).__name__, fl.nn.Parameter(s).requires_grad),
    "copies": lambda fl, s: type(copy.copy(s)).__name__,
}  # fmt: skip


class Plain:
    """Makes subclasses by the library."""

    def __new__(cls, fl):
        return type("Plain", (fl.Tensor,), {})


def seeing(fl, seen):
    class Seeing(fl.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            name = func.__name__
            seen.append(func.__self__.__name__ if name == "__get__" and hasattr(func.__self__, "__name__") else name)
            return super().__torch_function__(func, types, args, kwargs or {})

    return Seeing


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("own", [False, True], ids=["inherits", "own"])
def test_members(agree, name, own):
    def program(fl, x):
        cls = seeing(fl, []) if own else Plain(fl)
        return MEMBERS[name](fl, x.detach().as_subclass(cls))

    agree(program, rand(2, 2, dtype="float32"), grads=0)


SEEN = {
    "methods": lambda fl, s: (s.size(), s.numpy(), s.tolist(), s.detach(), s.data_ptr(), s.is_contiguous(), s.untyped_storage()),
    "dunders": lambda fl, s: (len(s), repr(s), 1.0 in s, bool(s[0, 0]), float(s[0, 0])),
    "items": lambda fl, s: (s[0], s.__setitem__(0, 1.0)),
    "like": lambda fl, s: (fl.zeros_like(s), s.new_zeros(2), fl.empty_like(s, dtype=fl.int64)),
    "backward": lambda fl, s: s.clone().requires_grad_().sum().backward(),
    "layer": lambda fl, s: fl.nn.Linear(2, 2)(s),
    "initial": lambda fl, s: (fl.nn.init.uniform_(s), fl.nn.init.constant_(s, 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_what_is_seen(agree, name):
    def program(fl, x):
        seen = []
        s = x.detach().as_subclass(seeing(fl, seen))
        seen.clear()
        SEEN[name](fl, s)
        return seen

    agree(program, rand(2, 2, dtype="float32"), grads=0)


def test_what_is_seen_by_a_mode(agree):
    def program(fl, x):
        seen = []

        class Mode(fl.overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                seen.append(func.__name__)
                return func(*args, **(kwargs or {}))

        with Mode():
            fl.ones(2, dtype=fl.int64)
            fl.tensor([1.0, 2.0])
            fl.rand(2)
            fl.zeros_like(x)
            fl.nn.functional.linear(x, x)
            x.detach()[0].add(1)
        return [n for n in seen if n not in ("detach",)]

    agree(program, rand(2, 2), grads=0)


def test_functions_are_told_by_what_they_are():
    import flambeau as fl

    seen = []

    class Seeing(fl.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append(func)
            return super().__torch_function__(func, types, args, kwargs or {})

    s = fl.ones(2, 2).as_subclass(Seeing)
    s.detach(), s.shape, s[0], s + 1, s.T
    expected = [fl.Tensor.detach, fl.Tensor.shape.__get__, fl.Tensor.__getitem__, fl.Tensor.add, fl.Tensor.T.__get__]
    assert seen == expected
    assert fl.overrides.resolve_name(seen[0]) == "torch.Tensor.detach"
    assert fl.overrides.resolve_name(seen[1]) == "torch.Tensor.shape.__get__"


def wrapper(fl, tree_map, seen):
    class Wrapper(fl.Tensor):
        @staticmethod
        def __new__(cls, inner, requires_grad=False):
            t = fl.Tensor._make_wrapper_subclass(
                cls, inner.size(), strides=inner.stride(), dtype=inner.dtype, requires_grad=requires_grad
            )
            t.inner = inner
            return t

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            seen.append(str(func))
            opened = [tree_map(lambda t: t.inner if isinstance(t, cls) else t, x) for x in (args, kwargs or {})]
            return tree_map(lambda t: cls(t) if isinstance(t, fl.Tensor) else t, func(*opened[0], **opened[1]))

    return Wrapper


LAYERS = {
    "linear": lambda nn: nn.Linear(4, 2),
    "conv": lambda nn: nn.Conv2d(3, 2, 2),
    "batch norm": lambda nn: nn.BatchNorm2d(3),
    "layer norm": lambda nn: nn.LayerNorm(4),
    "group norm": lambda nn: nn.GroupNorm(3, 3),
    "relu": lambda nn: nn.ReLU(),
    "gelu": lambda nn: nn.GELU(),
    "prelu": lambda nn: nn.PReLU(),
    "max pool": lambda nn: nn.MaxPool2d(2),
    "avg pool": lambda nn: nn.AvgPool2d(2),
    "upsample": lambda nn: nn.Upsample(scale_factor=2),
    "glu": lambda nn: nn.GLU(),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("parameters", [False, True], ids=["input", "parameters"])
def test_wrappers_through_layers(agree, name, parameters):
    """A wrapper goes through a layer and back, with the numbers of what it holds."""

    def program(fl, x):
        tree_map = __import__(f"{fl.__name__}.utils._pytree", fromlist=["tree_map"]).tree_map
        cls, layer = wrapper(fl, tree_map, []), LAYERS[name](fl.nn)
        for i, p in enumerate(layer.parameters()):
            fl.nn.init.constant_(p, 0.5 + i)
        if parameters:
            for k, p in list(layer.named_parameters()):
                setattr(layer, k, fl.nn.Parameter(cls(p.detach())))
            y = layer(x.detach())
            y.sum().backward()
            return y.inner if isinstance(y, cls) else y, [
                (type(p.grad).__name__, p.grad.inner) for p in layer.parameters()
            ]
        w = cls(x.detach(), requires_grad=True)
        y = layer(w)
        y.sum().backward()
        return type(y).__name__, y.inner, type(w.grad).__name__, w.grad.inner

    if parameters and name in ("relu", "gelu", "max pool", "avg pool", "upsample", "glu"):
        pytest.skip("has no parameters")
    agree(program, rand(2, 3, 4, 4, dtype="float32"), grads=0)


def test_pickled():
    import flambeau as fl

    global Kept

    class Kept(fl.Tensor):
        pass

    s = fl.ones(2).as_subclass(Kept)
    s.note = 3
    back = pickle.loads(pickle.dumps(s))
    assert type(back) is Kept and back.note == 3 and back.tolist() == [1.0, 1.0]


def test_methods_that_a_program_gave_to_tensors(agree):
    """They are called as they are, also for a class that takes over what its bases have."""

    def program(fl, x):
        class Kept(fl.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                if cls is Kept and any(t is not Kept for t in types):
                    return NotImplemented
                return super().__torch_function__(func, types, args, kwargs or {})

        class Other(Kept):
            pass

        def note(self, other):
            self.noted = type(other).__name__
            return self

        fl.Tensor.note = note
        try:
            return x.detach().as_subclass(Other).note(x.detach().as_subclass(Kept)).noted
        finally:
            del fl.Tensor.note

    agree(program, rand(2), grads=0)


def test_super_finds_methods_that_nobody_used_yet():
    """PINA's tensors with labels: `clone` says `super().clone()`, perhaps as the first of the process to ask for it."""
    program = """
import flambeau as torch

class Mixed:
    def sort(self):
        return super().sort()[0]

class Labelled(Mixed, torch.Tensor):
    def clone(self):
        return super().clone()
    @property
    def widest(self):
        return max(super(Labelled, self).amax() for _ in range(2))
    @classmethod
    def made(cls, x):
        return cls(x)

x = Labelled.made([1.0, 3.0, 2.0])
assert type(x.clone()) is Labelled
assert x.widest == 3
assert x.sort().tolist() == [1, 2, 3]
"""
    subprocess.run([sys.executable, "-c", program], check=True)

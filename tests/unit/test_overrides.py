"""`__torch_function__`: what overriding code may ask for."""

import inspect

import flambeau as torch
from flambeau.overrides import TorchFunctionMode, handle_torch_function, has_torch_function, redispatch_function
from tests.agree import rand


def scaled(a, b):
    if has_torch_function((a, b)):
        return handle_torch_function(scaled, (a, b), a, b)
    return a * b + 1


def test_a_subclass_runs_the_body_of_what_it_took_over():
    called = []

    class Logging(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args, kwargs=None):
            called.append(func.__name__)
            return redispatch_function(func, types, args, kwargs)

    a, b = torch.tensor([3.0]).as_subclass(Logging), torch.tensor([4.0]).as_subclass(Logging)
    called.clear()
    result = scaled(a, b)
    assert called == ["scaled", "mul"]
    assert type(result) is torch.Tensor
    assert result.tolist() == [13.0]


def test_a_mode_sees_what_the_body_calls():
    called = []

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func, types, args, kwargs=None):
            called.append(func.__name__)
            with self:
                return redispatch_function(func, types, args, kwargs)

    x, y = torch.tensor([3.0]), torch.tensor([4.0])
    with Mode():
        result = scaled(x, y)
    assert called == ["scaled", "mul", "add"]
    assert result.tolist() == [13.0]


def test_functions_for_tests_of_overrides():
    found = torch.overrides.get_testing_overrides()
    add = found[torch.add]
    assert add(torch.ones(1), 2) == -1
    assert list(inspect.signature(add).parameters)[:2] == list(inspect.signature(torch.add).parameters)[:2]
    with torch.overrides.enable_reentrant_dispatch():
        pass


def test_names_of_the_namespace():
    assert issubclass(torch.AcceleratorError, RuntimeError)
    assert not issubclass(torch.FatalError, RuntimeError)
    assert torch.fork is torch.jit.fork
    assert torch.Storage is torch.FloatStorage
    assert torch.bit is torch.uint1
    assert torch.SUM.value == 0


def test_transposed_views_under_a_mode(agree):
    def program(fl, x):
        from importlib import import_module

        seen = []

        class Listen(import_module(fl.__name__ + ".overrides").TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                seen.append(func.__name__)
                return func(*args, **(kwargs or {}))

        with Listen():
            made = [x.T, x.mT, x.H]
        return made, seen

    agree(program, rand(2, 3))


def test_a_function_of_several_overloads_is_given_as_programs_know_it():
    class Asked:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func

    a, five = Asked(), torch.tensor(5.0)
    for name in ("div", "max", "min"):
        fn = getattr(torch, name)
        assert all(found is fn for found in (fn(a, five), fn(five, a), fn(a, a))), name
    for name in ("prod", "std", "var", "median"):
        fn = getattr(torch, name)
        assert fn(a) is fn(a, 0) is fn, name


def test_what_merely_looks_like_a_tensor_is_asked_by_creation():
    """tensordict's dictionaries are no tensors: `empty_like` of one, in torchrl's storages, is theirs to answer."""

    class Bag:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func.__name__, len(args), kwargs

    bag = Bag()
    for name in ("empty_like", "zeros_like", "ones_like", "rand_like", "randn_like"):
        assert getattr(torch, name)(bag)[0] == name
    assert torch.full_like(bag, 2.0)[0] == "full_like"

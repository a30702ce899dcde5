"""What goes wrong every day, refused with PyTorch's type of exception and in its words."""

import numpy as np
import pytest

X = lambda t: t.arange(6.0).reshape(2, 3)


def assigned(index, value):
    def run(t):
        x = t.zeros(2, 2)
        x[index(t) if callable(index) else index] = value(t) if callable(value) else value
        return x

    return run


MISTAKES = {
    "a size below -1": lambda t: X(t).view(-2, 3),
    "two sizes below -1": lambda t: X(t).reshape(-2, -3),
    "a later size below -1": lambda t: X(t).view(3, -3),
    "float() of several": lambda t: float(X(t)),
    "int() of several": lambda t: int(X(t)),
    "complex() of several": lambda t: complex(X(t)),
    "int() of none": lambda t: int(t.tensor([])),
    "item() of several": lambda t: X(t).item(),
    "bool() of several": lambda t: bool(X(t)),
    "argmax of nothing": lambda t: t.tensor([]).argmax(),
    "argmin of nothing": lambda t: t.zeros(0, 3).argmin(),
    "max of nothing": lambda t: t.tensor([]).max(),
    "dtype as text, ones": lambda t: t.ones(2, dtype="float32"),
    "dtype as a number, zeros": lambda t: t.zeros(2, dtype=3),
    "dtype as text, full": lambda t: t.full((2,), 1, dtype="x"),
    "dtype as text, empty": lambda t: t.empty(2, dtype="x"),
    "dtype as text, zeros_like": lambda t: t.zeros_like(X(t), dtype="x"),
    "dtype as text, new_zeros": lambda t: X(t).new_zeros(2, dtype="x"),
    "dtype as text, tensor": lambda t: t.tensor([1], dtype="int"),
    "dtype as text, as_tensor": lambda t: t.as_tensor([1], dtype="int"),
    "dtype as text, to": lambda t: X(t).to(dtype="float32"),
    "dtype as text, a layer": lambda t: t.nn.Linear(2, 2, dtype="x"),
    "a dictionary": lambda t: t.tensor({"a": 1}),
    "an empty dictionary": lambda t: t.tensor({}),
    "a dictionary as tensor": lambda t: t.as_tensor({"a": 1}),
    "a list of dictionaries": lambda t: t.tensor([{}]),
    "a list of sets": lambda t: t.tensor([{1}]),
    "words": lambda t: t.tensor(["a"]),
    "a word among numbers": lambda t: t.tensor([1, "a"]),
    "a word": lambda t: t.tensor("a"),
    "None": lambda t: t.tensor(None),
    "None in a list": lambda t: t.tensor([None]),
    "rows of unlike lengths": lambda t: t.tensor([[1, 2], [3]]),
    "an integer of 64 bits and a half": lambda t: t.tensor([2**63]),
    "an integer beyond 64 bits": lambda t: t.tensor([2**64]),
    "a list of tensors": lambda t: t.tensor([t.tensor([1.0, 2.0]), t.tensor([1.0, 2.0])]),
    "a list of tensors of integers": lambda t: t.tensor([t.tensor([1, 2])]),
    "an index that is a word": lambda t: X(t)["a"],
    "an index that is half": lambda t: X(t)[1.5],
    "an index too far": lambda t: X(t)[5],
    "too many indices": lambda t: X(t)[0, 0, 0],
    "a step of zero": lambda t: X(t)[::0],
    "a step back": lambda t: X(t)[::-1],
    "a mask of another size": lambda t: X(t)[t.tensor([True])],
    "a list assigned": assigned(0, [1, 2]),
    "a tuple assigned": assigned(0, (1, 2)),
    "a list assigned to one element": assigned((0, 0), [1]),
    "a list assigned by mask": assigned(lambda t: t.tensor([True, False]), [1]),
    "an array assigned": assigned(0, np.array([1.0, 2.0])),
    "a narrow number of NumPy's assigned": assigned(0, np.float32(3)),
    "a word assigned": assigned(0, "a"),
    "None assigned": assigned(0, None),
    "too much assigned": assigned(0, lambda t: t.ones(3)),
    "too much assigned by mask": assigned(lambda t: t.eye(2) > 0, lambda t: t.ones(3)),
    "rows that do not fit": lambda t: X(t) @ X(t),
    "a layer of another width": lambda t: t.nn.Linear(3, 2)(t.ones(2, 4)),
    "images with other channels": lambda t: t.nn.Conv2d(3, 2, 3)(t.ones(2, 4, 5, 5)),
    "images smaller than the kernel": lambda t: t.nn.Conv2d(3, 2, 3)(t.ones(3, 2, 2)),
    "one value per channel": lambda t: t.nn.BatchNorm1d(3)(t.ones(1, 3)),
    "a class that is not there": lambda t: t.nn.functional.cross_entropy(t.ones(2, 3), t.tensor([1, 5])),
    "classes for other rows": lambda t: t.nn.functional.cross_entropy(t.ones(2, 3), t.tensor([1, 2, 0])),
    "a word of the vocabulary's end": lambda t: t.nn.functional.embedding(t.tensor([7]), t.ones(3, 2)),
    "not a probability": lambda t: t.nn.functional.binary_cross_entropy(t.ones(2) * 2, t.ones(2)),
    "parameters of another shape": lambda t: t.nn.Linear(2, 2).load_state_dict({"weight": t.ones(3, 3)}),
    "no parameters": lambda t: t.optim.SGD([], lr=0.1),
    "backward without gradients": lambda t: X(t).sum().backward(),
    "backward of several": lambda t: X(t).requires_grad_().backward(),
    "gradients of integers": lambda t: t.arange(3).requires_grad_(),
    "numpy of what has gradients": lambda t: X(t).requires_grad_().numpy(),
    "in place on a leaf": lambda t: t.ones(2, requires_grad=True).add_(1),
    "a fraction into integers": lambda t: t.ones(2, dtype=t.int64).add_(1.5),
    "the mean of integers": lambda t: t.tensor([1, 2]).mean(),
    "minus of bools": lambda t: t.ones(2, dtype=t.bool) - t.ones(2, dtype=t.bool),
    "a folder that is not there": lambda t: t.save({}, "/nonexistent/x.pt"),
    "a folder that is not there, and nothing to pickle": lambda t: t.save(lambda: 0, "/nonexistent/x.pt"),
    "a file that is not there": lambda t: t.load("/nonexistent.pt"),
    "an unknown device": lambda t: t.ones(2, device="foo"),
    "matrices stacked with vectors": lambda t: t.stack([X(t), t.ones(2)]),
    "matrices joined with vectors": lambda t: t.cat([X(t), t.ones(2)]),
    "a singular matrix": lambda t: t.linalg.inv(t.zeros(2, 2)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_common_mistakes(agree, name):
    def program(t):
        t.manual_seed(0)
        try:
            MISTAKES[name](t)
        except Exception as error:
            kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")
            return kind, str(error).partition("\nException raised")[0]
        return "taken"

    agree(program)

"""What fails inside a scripted program: the class of the error, and its text with the places in the program."""

import math
import sys
from typing import Dict, List, Optional  # noqa: UP035  as TorchScript programs are written

import numpy as np
import pytest

from tests.agree import rand

# The annotations below name Tensor by what the program imports; here nothing is annotated as one.


def message(fl, fn, *args):
    """The error of a scripted function: its class, and its text with this file under one name."""
    try:
        return ["returns", fl.jit.script(fn)(*args)]
    except Exception as error:
        names = [b.__name__ for b in type(error).__mro__ if b.__name__ != "JITException"]
        text = str(error).replace(__file__, "FILE").replace(sys.modules[fl.__name__].__path__[0], "PACKAGE")
        return [names, text.replace(fl.__name__, "torch")]


def raises(x: int) -> int:
    if x > 0:
        raise ValueError("bad " + str(x))
    return x


def raises_a_format(x: int) -> int:
    y = x + 1
    if y > 0:
        raise RuntimeError(f"bad {x}")
    return y


def raises_a_class(x: int) -> int:
    if x > 0:
        raise NotImplementedError
    return x


def asserts(x: int) -> int:
    assert x < 0, "must be negative"
    return x


def asserts_alone(x: Optional[int]) -> int:  # noqa: UP045
    assert x is None
    return 1


def takes_an_element(x: List[int]) -> int:  # noqa: UP006
    return x[5]


def takes_a_key(x: Dict[str, int]) -> int:  # noqa: UP006
    return x["a"]


def pops(x: List[int]) -> int:  # noqa: UP006
    x.clear()
    return x.pop()


def divides(x: int, y: int) -> int:
    return x // y


def adds(x, y):
    a = x * 2

    for _ in range(3):
        a = (a +
             y)  # fmt: skip
    b = a
    return b


def inner(x):
    return x.mm(x)


def calls(x):
    y = inner(
        x + 1,
    )
    return y


def comprehends(x):
    return [inner(x) for _ in range(2)]


def adds_in_place(x, y):
    x += y.reshape(5)
    return x


def writes(x, y):
    x[0:1] = y.reshape(5)
    return x


def chains(x, y):
    return -(x @ x.reshape(2, 1).mm(y).sum(dim=1).view(3, 3))


def chooses(x, y):
    return 1 if bool((x < y.relu()).any()) else 0


def unpacks(x: List[int]) -> int:  # noqa: UP006
    a, _b, _c = x
    return a


WHOLE = [
    (raises, 1), (raises_a_format, 1), (raises_a_class, 1), (asserts, 1), (asserts_alone, 1), (takes_an_element, [1]), (takes_a_key, {"b": 1}),
    (pops, [1]), (divides, 1, 0), (unpacks, [1, 2]),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", WHOLE, ids=lambda c: c[0].__name__)
def test_programs_that_fail(agree, case):
    agree(lambda fl: message(fl, *case))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("fn", [adds, adds_in_place, writes, chains, chooses], ids=lambda f: f.__name__)
def test_operators_that_fail(agree, fn):
    agree(lambda fl, x, y: message(fl, fn, x, y), rand(2), rand(5), grads=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("fn", [calls, comprehends], ids=lambda f: f.__name__)
def test_functions_that_call_what_fails(agree, fn):
    agree(lambda fl, x: message(fl, fn, x), rand(2), grads=0)


def quotients(x: float, y: float, n: int, m: int):
    return x / y, -x / y, x // y, x % y, n / m, (x - x) / y


def functions(x: float, y: float):
    return (
        math.sqrt(x),
        math.log(y),
        math.log(x),
        math.exp(-1000 * x),
        math.acosh(y),
        math.log1p(x),
        math.sinh(1000 * x),
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_numbers_are_those_of_c(agree):
    agree(lambda fl: fl.jit.script(quotients)(1.0, 0.0, 1, 0))
    agree(lambda fl: fl.jit.script(functions)(-1.0, 0.0))


def tensor_first(x, n: int):
    return x + n


CALLS = [("a", 1), (1, "a"), (1, 1), (np.ones(2), 1)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("args", CALLS, ids=str)
def test_arguments_of_the_wrong_type(agree, args):
    agree(lambda fl: message(fl, tensor_first, *args))
    agree(lambda fl: message(fl, divides, *args))


def undefined(x):
    return y  # noqa: F821


def unknown_method(x: int):
    return x.foo()


def wrong_result(x: int) -> str:
    return x


def variable_of_two_types(x: int):
    x = "a"
    return x


def has_lambda(x):
    return (lambda z: z)(x)


def has_try(x):
    try:
        return x
    except ValueError:
        return x


def has_star(*x):
    return x


def has_keywords(x, **more):
    return x


def has_list_default(x, y=[1, 2]):
    return x


def too_few(x: int):
    a, _b, _c = x, x
    return a


REFUSED = [undefined, unknown_method, wrong_result, variable_of_two_types, has_lambda, has_try, has_star, has_keywords, has_list_default, too_few]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("fn", REFUSED, ids=lambda f: f.__name__)
def test_programs_that_are_refused(agree, fn):
    agree(lambda fl: message(fl, fn))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_module_tells_the_method(agree):
    def program(fl):
        class Net(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = 2

            def scaled(self, x):
                return x.view(7) * self.scale

            def forward(self, x):
                return self.scaled(x + 1)

        net = fl.jit.script(Net())
        try:
            net(fl.ones(3))
        except RuntimeError as error:
            return type(error).__name__, str(error).replace(__file__, "FILE")

    agree(program)

"""What `torch.jit` offers to programs that never compile."""

from typing import Dict, List, Optional, Tuple  # noqa: UP035

import pytest

import flambeau
from flambeau import _jit_internal


def test_marks(agree):
    def run(fl):
        jit = fl.jit

        def make():
            def f(x):
                return x + 1

            return f

        marks = [jit.ignore(make()), jit.unused(make()), jit.export(make()), jit.ignore()(make()), jit._drop(make())]
        assert jit.annotate(int, 3) == 3
        assert not jit.is_scripting()
        assert not jit.is_tracing()
        assert jit.script_if_tracing(make())(2) == jit._script_if_tracing(make())(2) == 3
        assert jit.Attribute(1, int) == (1, int)
        return [f._torchscript_modifier for f in marks]

    agree(run)


@pytest.mark.parametrize(
    "value, kind",
    [
        ([1], List[int]), ([1.5], List[int]), ({"a": [1]}, Dict[str, List[int]]), ((1, "b"), Tuple[int, str]),  # noqa: UP006
        (None, Optional[int]), (3, Optional[int]), ("a", (int, str)), (3, int),  # noqa: UP045
    ],
)  # fmt: skip
def test_isinstance(agree, value, kind):
    agree(lambda fl: fl.jit.isinstance(value, kind))


def test_isinstance_asks_for_element_types(agree):
    agree(lambda fl: fl.jit.isinstance([1], List), raises=RuntimeError)  # noqa: UP006
    agree(lambda fl: fl.jit.isinstance({}, Dict), raises=RuntimeError)  # noqa: UP006


def _scaled(x: float) -> float: ...


def test_overloads_are_noted():
    assert flambeau.jit._overload(_scaled) is _scaled
    name = _jit_internal._qualified_name(_scaled)
    assert _jit_internal._get_fn_overloads(name) == [_scaled]
    _jit_internal._clear_fn_overloads(name)

    def with_body(x: int) -> int:
        return x

    with pytest.raises(RuntimeError, match=r"Only `pass` statement or `...` can be the body of overload declaration"):
        flambeau.jit._overload(with_body)


def test_boolean_dispatch():
    f = _jit_internal.boolean_dispatch(
        arg_name="both", arg_index=1, default=False, if_true=lambda x, both=False: (x, x), if_false=lambda x, both=False: x,
        module_name="m", func_name="f",
    )  # fmt: skip
    assert f(1) == 1
    assert f(1, True) == f(1, both=True) == (1, 1)
    assert f.__name__ == "f"
    assert _jit_internal._try_get_dispatched_fn(f)["arg_name"] == "both"


def test_awaitable(agree):
    def run(fl):
        a, b = fl.jit._awaitable(lambda x, y: x + y, 1, 2), fl.jit._awaitable_nowait(5)
        return fl.jit._awaitable_wait(a), fl.jit._awaitable_wait(b), a.is_nowait(), b.is_nowait()

    agree(run)

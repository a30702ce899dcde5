"""What `torch.library` refuses, in PyTorch's words, and what its functions give back."""

import itertools
import typing

import pytest

_names = itertools.count()


def operators(t):
    """A namespace of its own with three operators: one that gives a tensor, one that writes, one that does both."""
    space = f"refused{next(_names)}_{'torch' if t.__name__ == 'torch' else 'fl'}"

    def two(x, y=2):
        return x * y

    def put(x):
        x.add_(1)

    def both(x):
        x.add_(1)
        return x.clone()

    two.__annotations__ = {"x": t.Tensor, "y": int, "return": t.Tensor}
    put.__annotations__ = {"x": t.Tensor, "return": None}
    both.__annotations__ = {"x": t.Tensor, "return": t.Tensor}
    made = [t.library.custom_op(f"{space}::two", two, mutates_args=())]
    made += [t.library.custom_op(f"{space}::{f.__name__}", f, mutates_args=("x",)) for f in (put, both)]
    return space, *made


def told(t, f):
    """What is said, without the name of the namespace."""
    space, *made = operators(t)
    try:
        found = f(space, *made)
    except Exception as problem:
        return type(problem).__name__, str(problem).replace(space, "SPACE")
    return "gave", type(found).__name__


def test_arguments_of_calls(agree):
    def program(t):
        x = t.ones(1)
        return [
            told(t, lambda s, two, *_, f=f: f(two))
            for f in (
                lambda two: two(x, z=1),
                lambda two: two(x, 1, z=1),
                lambda two: two(x, y=1, z=1),
                lambda two: two(x, x=1),
                lambda two: two(x, 2, 3),
                lambda two: two(y=1),
            )
        ]

    agree(program)


@pytest.mark.parametrize("name", ["fake", "kernel", "autograd", "vmap", "autocast", "torch_dispatch"])
def test_what_is_registered_for_nothing(agree, name):
    def program(t):
        rest = {"kernel": ("cpu",), "torch_dispatch": (int,), "autocast": ("cpu",)}.get(name, ())
        last = t.float16 if name == "autocast" else lambda *args: None
        wrong = [3, "nameless", "a::b::c"] + (["nothing::there"] if name in ("autograd", "vmap", "fake") else [])
        return [told(t, lambda *_, op=op: getattr(t.library, "register_" + name)(op, *rest, last)) for op in wrong]

    agree(program)


def test_derivatives_of_what_writes(agree):
    def program(t):
        def rule(ctx, g):
            return g

        return (
            told(t, lambda s, two, put, both: put.register_autograd(rule)),
            told(t, lambda s, two, put, both: both.register_autograd(rule)),
            told(t, lambda s, two, put, both: t.library.register_autograd(f"{s}::put", rule)),
            told(t, lambda s, two, put, both: two.register_autograd(rule)),
        )

    agree(program)


def test_names_of_derivatives(agree):
    def program(t):
        space, two, _, _ = operators(t)
        two.register_autograd(lambda ctx, g: (g * 2, None))
        return two(t.ones(2, requires_grad=True)).grad_fn.name().replace(space, "SPACE")

    agree(program)


def test_what_nothing_is_known_of_on_meta(agree):
    def program(t):
        x = t.ones(1, device="meta")

        def general(s):
            t.library.define(f"{s}::general", "(Tensor x) -> Tensor")
            t.library.impl(f"{s}::general", "cpu", lambda x: x + 5)
            t.library.impl(f"{s}::general", "default", lambda x: x + 1)
            op = getattr(t.ops, s).general
            return op(x).device.type + str(op(t.ones(1)).tolist())

        def processor(s):
            t.library.define(f"{s}::processor", "(Tensor x) -> Tensor")
            t.library.impl(f"{s}::processor", "cpu", lambda x: x + 1)
            return getattr(t.ops, s).processor(x)

        return (
            told(t, lambda s, two, put, both: put(x)),
            told(t, lambda s, two, put, both: two(x)),
            general(operators(t)[0]),
            told(t, lambda s, *_: processor(s)),
        )

    agree(program)


def test_definitions(agree):
    def program(t):
        lib = t.library

        def again(s):
            fragment = lib.Library(s, "FRAGMENT")
            fragment.define("f(Tensor x, int n=1) -> Tensor")
            try:
                fragment.define("f(Tensor x) -> Tensor")
            except RuntimeError as problem:
                return str(problem).partition(" Duplicate")[0].replace(s, "SPACE")

        return (
            told(t, lambda *_: lib.define("nameless", "(Tensor x) -> Tensor")),
            told(t, lambda *_: lib.define(3, "(Tensor x) -> Tensor")),
            told(t, lambda s, *_: lib.define(f"{s}::a", "Tensor x -> Tensor")),
            told(t, lambda s, *_: lib.define(f"{s}::b", "b(Tensor x) -> Tensor")),
            told(t, lambda s, *_: lib.define(f"{s}::c", "(Tensor x) -> Tensor")),
            told(t, lambda s, *_: lib.impl(f"{s}::two", "cpu")(lambda x: x)),
            told(t, lambda s, *_: lib.impl(f"{s}::two", "cpu", lambda x: x)),
            told(t, lambda s, *_: lib.impl(f"{s}::two", "nowhere", lambda x: x)),
            told(t, lambda s, *_: lib.register_kernel(f"{s}::two", "nowhere", lambda x: x)),
            told(t, lambda s, two, *_: two.register_vmap(lambda info, dims, x: (x, 0))),
            told(t, lambda *_: lib.get_ctx()),
            again(operators(t)[0]),
        )

    agree(program)


def test_what_is_checked(agree):
    def program(t):
        x = t.ones(2)
        return (
            told(t, lambda s, *_: t.library.opcheck(f"{s}::two", (x,))),
            told(t, lambda *_: t.library.opcheck(3, (x,))),
            told(t, lambda s, two, put, both: t.library.opcheck(put, (x.clone(),))),
        )

    agree(program)


def test_annotations(agree):
    def program(t):
        def unknown(x: "Unknown"):  # noqa: F821
            return x

        def perhaps(x):
            return x

        perhaps.__annotations__ = {"x": t.Tensor, "return": typing.Optional[t.Tensor]}  # noqa: UP045

        def numbers(x):
            return x

        numbers.__annotations__ = {"x": t.Tensor, "return": list[int]}
        said = []
        for f in (unknown, perhaps, numbers):
            try:
                said.append(t.library.infer_schema(f, mutates_args=()))
            except ValueError as problem:
                said.append(str(problem).replace("flambeau.", "torch."))
        return said

    agree(program)

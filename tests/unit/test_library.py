"""torch.library: operators that users define."""

import itertools

import pytest

import flambeau
from tests.agree import rand

_serial = itertools.count()


def name():
    return f"flambeautests::op{next(_serial)}"


def cube(fl):
    """x**3 with everything that can be registered."""

    def compute(x, scale=1.0):
        return x**3 * scale

    compute.__annotations__ = {"x": fl.Tensor, "scale": float, "return": fl.Tensor}
    op = fl.library.custom_op(name(), compute, mutates_args=())

    def setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.scale = inputs[1]

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x**2 * ctx.scale, None

    op.register_autograd(backward, setup_context=setup)
    op.register_fake(lambda x, scale=1.0: fl.empty_like(x))
    return op


def test_value_and_derivatives(agree):
    agree(lambda fl, x: (cube(fl)(x, 2.0), cube(fl)(x)), rand(3, 4), grads=2)


def test_by_name(agree):
    def program(fl, x):
        op = cube(fl)
        namespace, short = op._qualname.split("::")
        packet = getattr(getattr(fl.ops, namespace), short)
        return packet(x), packet.default(x, scale=3.0), str(packet.default._schema).split("(", 1)[1]

    agree(program, rand(3))


def test_on_meta(agree):
    agree(lambda fl: cube(fl)(fl.empty(2, 3, device="meta")).shape)


def test_what_it_writes_to(agree):
    def program(fl):
        def fill(x, value):
            x.fill_(value)

        fill.__annotations__ = {"x": fl.Tensor, "value": float, "return": None}
        op = fl.library.custom_op(name(), fill, mutates_args={"x"})
        x = fl.zeros(3)
        view, before = x[1:], x._version
        result = op(x, 2.0)
        return result, view, x._version > before

    agree(program)


def test_lists_and_several_results(agree):
    def program(fl, x, y):
        def both(xs):
            return [t * 2 for t in xs]

        both.__annotations__ = {"xs": list[fl.Tensor], "return": list[fl.Tensor]}
        op = fl.library.custom_op(name(), both, mutates_args=())
        op.register_autograd(lambda ctx, gs: [g * 2 for g in gs])

        def parts(x):
            return x + 1, x * 2

        parts.__annotations__ = {"x": fl.Tensor, "return": tuple[fl.Tensor, fl.Tensor]}
        two = fl.library.custom_op(name(), parts, mutates_args=())
        two.register_autograd(lambda ctx, g, h: g + 2 * h)
        return op([x, y]), two(x)

    agree(program, rand(3), rand(2))


def test_libraries(agree):
    def program(fl, x):
        space = f"flambeaulib{next(_serial)}"
        lib = fl.library.Library(space, "DEF")
        lib.define("twice(Tensor x, int n=2) -> Tensor")
        lib.define("thrice(Tensor x) -> Tensor")
        lib.impl("twice", lambda x, n=2: x * n, "CPU")
        lib.impl("thrice", lambda x: x * 3, "CompositeImplicitAutograd")
        ops = getattr(fl.ops, space)
        return ops.twice(x.detach()), ops.twice(x.detach(), n=5), ops.thrice(x)

    agree(program, rand(3))


def test_implemented_before_it_is_defined(agree):
    """What implements an operator that nobody has defined waits until somebody does."""

    def program(fl, x):
        space = f"flambeaulib{next(_serial)}"
        fl.library.impl(f"{space}::twice", ["CPU"], lambda x: x * 2)
        lib = fl.library.Library(space, "FRAGMENT")
        lib.impl("thrice.more", lambda x, n: x * 3 + n, "CompositeImplicitAutograd")
        fl.library.define(f"{space}::twice", "(Tensor x) -> Tensor")
        fl.library.impl(f"{space}::twice", "meta", lambda x: x.new_empty(x.shape))
        lib.define("thrice.more(Tensor x, int n) -> Tensor")
        ops = getattr(fl.ops, space)
        return (
            ops.twice(x.detach()),
            ops.twice(fl.empty(2, device="meta")).shape,
            ops.thrice.more(x, 1),
            ops.thrice(x, 2),
        )

    agree(program, rand(3))


def test_vmap(agree):
    def program(fl, x):
        op = cube(fl)
        op.register_vmap(lambda info, in_dims, x, scale=1.0: (op(x, scale), in_dims[0]))
        return fl.vmap(lambda x: op(x))(x)

    agree(program, rand(4, 3))
    op = cube(flambeau)  # without a rule: sample by sample
    x = flambeau.randn(4, 3)
    assert (flambeau.vmap(op)(x) == x**3).all()


def test_forward_mode_follows_from_the_backward():
    op, x = cube(flambeau), flambeau.tensor([1.0, 2.0])
    assert flambeau.func.jvp(op, (x,), (flambeau.ones(2),))[1].tolist() == [3.0, 12.0]
    assert flambeau.func.grad(lambda x: op(x).sum())(x).tolist() == [3.0, 12.0]


def test_autocast(agree):
    def program(fl, x):
        op = cube(fl)
        op.register_autocast("cpu", fl.bfloat16)
        with fl.autocast("cpu"):
            return op(x).dtype

    agree(program, rand(3, dtype="float32"), grads=0)


def test_opcheck():
    assert set(flambeau.library.opcheck(cube(flambeau), (flambeau.randn(3, requires_grad=True),)).values()) == {
        "SUCCESS"
    }

    def writes(x):
        x.add_(1)
        return x * 2

    writes.__annotations__ = {"x": flambeau.Tensor, "return": flambeau.Tensor}
    op = flambeau.library.custom_op(name(), writes, mutates_args=())
    with pytest.raises(Exception, match="not defined as mutable"):
        flambeau.library.opcheck(op, (flambeau.randn(3),))


@pytest.mark.parametrize("which", ["ALL", None, "test_schema", ("test_faketensor", "test_aot_dispatch_static")])
def test_opcheck_names_its_tests(agree, which):
    def program(fl):
        some = {"test_utils": which} if which else {}
        return fl.library.opcheck(cube(fl), (fl.ones(3),), {"scale": 2.0}, **some)

    agree(program)


@pytest.mark.parametrize("options", [{"test_utils": "test_nothing"}, {"rtol": 1e-3}])
def test_opcheck_refuses(agree, options):
    agree(lambda fl: fl.library.opcheck(cube(fl), (fl.ones(3),), **options), raises=ValueError)


def test_opcheck_sees_what_compiling_changes():
    """A fake result of the right look, but a derivative that hangs on how often it was called."""
    op, calls = cube(flambeau), []

    def backward(ctx, g):
        calls.append(g)
        return g * len(calls), None

    op.register_autograd(backward, setup_context=lambda ctx, inputs, output: None)
    with pytest.raises(flambeau.library.OpCheckError, match="test_aot_dispatch_dynamic failed"):
        flambeau.library.opcheck(op, (flambeau.randn(3, requires_grad=True),))


def test_compiled():
    op = cube(flambeau)
    x = flambeau.tensor([1.0, -2.0], requires_grad=True)
    f = flambeau.compile(lambda v: op(v * 2, scale=0.5) + 1, fullgraph=True)
    out = f(x)
    out.sum().backward()
    assert out.tolist() == [5.0, -31.0] and x.grad.tolist() == [24.0 * 0.5, 96.0 * 0.5]
    with flambeau.no_grad():
        assert f(x + 1).tolist() == [33.0, -3.0]


def test_refusals(agree):
    def plain(fl, body=lambda x: x.clone(), **notes):
        def op(x):
            return body(x)

        op.__annotations__ = {"x": fl.Tensor, "return": fl.Tensor, **notes}
        return fl.library.custom_op("flambeautests::op", op, mutates_args=())

    agree(lambda fl, x: plain(fl)(x).sum().backward(), rand(3), raises=RuntimeError)
    agree(lambda fl: plain(fl)(3), raises=RuntimeError)
    agree(lambda fl: fl.ops.flambeautests.nothing_here, raises=AttributeError)
    agree(lambda fl: fl.library.Library("prim", "DEF"), raises=ValueError)
    agree(lambda fl: fl.library.Library("x", "SOMETHING"), raises=ValueError)
    for bad in (lambda x: x, lambda x, *a: x):
        agree(lambda fl, bad=bad: fl.library.infer_schema(bad, mutates_args=()), raises=ValueError)
    with pytest.raises(RuntimeError, match="may not alias any inputs"):
        plain(flambeau, lambda x: x)(flambeau.ones(3))
    with pytest.raises(RuntimeError, match="no fake impl registered"):
        plain(flambeau)(flambeau.empty(3, device="meta"))


def test_operators_compile_and_are_exported_by_their_names():
    @flambeau.library.custom_op("auditing::halved", mutates_args=())
    def halved(x: flambeau.Tensor, by: float = 2.0) -> flambeau.Tensor:
        return x / by

    halved.register_fake(lambda x, by=2.0: flambeau.empty_like(x))
    x = flambeau.ones(3)
    assert flambeau.compile(lambda a: halved(a) + 1, fullgraph=True)(x).tolist() == [1.5] * 3
    assert flambeau.compile(lambda a: flambeau.ops.auditing.halved(a, 4.0), fullgraph=True)(x).tolist() == [0.25] * 3

    class Program(flambeau.nn.Module):
        def forward(self, a):
            return flambeau.ops.auditing.halved(a) + 1

    exported = flambeau.export.export(Program(), (x,))
    assert "torch.ops.auditing.halved.default" in str(exported.graph)
    assert exported.module()(x).tolist() == [1.5] * 3


def test_overloads_are_chosen_by_what_they_take():
    with flambeau.library._scoped_library("overloaded", "DEF") as lib:
        lib.define("scaled(Tensor x, int n=1) -> Tensor")
        lib.define("scaled.by(Tensor x, Tensor y) -> Tensor")
        lib.impl("scaled", lambda x, n=1: x * n, "CPU")
        lib.impl("scaled.by", lambda x, y: x + y, "CPU")
        assert flambeau.ops.overloaded.scaled(flambeau.ones(1), 3).tolist() == [3.0]
        assert flambeau.ops.overloaded.scaled(flambeau.ones(1), flambeau.ones(1)).tolist() == [2.0]
    assert not hasattr(flambeau.ops.overloaded, "scaled")


def test_tags():
    assert flambeau.Tag.pointwise in flambeau.ops.aten.sin.default.tags
    assert flambeau.Tag.nondeterministic_seeded in flambeau.ops.aten.rand.default.tags
    assert str(flambeau.Tag.core) == "Tag.core"


def test_schemas_of_what_writes(agree):
    def run(fl):
        T, tag, infer = fl.Tensor, fl.Tag, fl.library.infer_schema

        def add_(x: T, y: T) -> T: ...
        def into(x: T, *, out: T) -> T: ...
        def both(x: T, n: int = 2, *, a: T, b: T) -> tuple[T, T]: ...
        def nothing(x: T) -> None: ...
        def number(n: int, x: T) -> T: ...

        found = [
            infer(add_, mutates_args=("x",), tags=tag.inplace),
            infer(add_, mutates_args=("x",), tags=None),
            infer(into, mutates_args={"out"}, tags=[tag.out], op_name="ns::into"),
            infer(both, mutates_args=("a", "b"), tags=(tag.out, tag.pointwise)),
        ]
        for f, names, tags in ((add_, ("y",), tag.inplace), (add_, "unknown", tag.inplace), (nothing, ("x",), tag.inplace), (number, ("x",), tag.inplace),
                               (into, ("x",), tag.out), (into, (), tag.out), (both, ("a",), tag.out), (add_, ("x",), (tag.inplace, tag.out))):  # fmt: skip
            try:
                found.append(infer(f, mutates_args=names, tags=tags))
            except (ValueError, AssertionError) as e:
                found.append((type(e).__name__, str(e).partition(" Got func")[0]))
        return found

    agree(run)

"""The recorded graph and the backward pass: what PyTorch does, flambeau does, values and errors alike."""

import numpy as np
import pytest

import flambeau as torch
from tests.agree import rand

X, Y = rand(3, 4), rand(3, 4, seed=1)


PROGRAMS = {
    "chain": lambda fl, x, y: ((x * y + x).exp().sin() / (y * y + 2)).sum(1),
    "reuse": lambda fl, x, y: (x * x * x).sum() + (x + y).sum() * x.mean(),
    "broadcast": lambda fl, x, y: (x[0] * y + x[:, :1]).tanh(),
    "scalar": lambda fl, x, y: 2 - x * 3 + 1 / (y + 4),
    "matmul": lambda fl, x, y: x @ y.t() @ x,
    "where": lambda fl, x, y: fl.where(x > y, x * 2, y * y),
    "maximum ties": lambda fl, x, y: fl.maximum(x, x.clone()) + fl.minimum(x, y),
    "max of a dim": lambda fl, x, y: x.max(1).values * y.min(0).values.sum(),
    "norm": lambda fl, x, y: fl.linalg.vector_norm(x - y, dim=1),
    "cat": lambda fl, x, y: fl.cat([x, y * 2, x], 1).cumsum(1),
    "split": lambda fl, x, y: sum(p.sum() * i for i, p in enumerate(x.split([1, 3], 1), 1)) + y.chunk(2)[0].prod(),
    "unbind": lambda fl, x, y: fl.stack([a * b for a, b in zip(x.unbind(), y.unbind())]),
    "views": lambda fl, x, y: x.view(2, 6).t().reshape(4, 3).permute(1, 0).unsqueeze(1).expand(3, 2, 4) * 2,
    "index": lambda fl, x, y: x[:, fl.tensor([0, 2, 2])] * y[fl.tensor([True, False, True])][0, :3],
    "gather": lambda fl, x, y: x.gather(1, fl.tensor([[0, 1], [2, 2], [3, 0]])) * 3,
    "softmax": lambda fl, x, y: x.softmax(1) * y.log_softmax(0),
    "std": lambda fl, x, y: x.std(0) + y.var(1, unbiased=False).sum(),
    "clamp": lambda fl, x, y: x.clamp(-0.5, 0.5) * y.clamp(min=0),
    "pow": lambda fl, x, y: (x.abs() + 1) ** y + x**2,
    "to": lambda fl, x, y: x.float().double() * y,
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_derivatives(agree, name):
    agree(PROGRAMS[name], X, Y, grads=2, rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- writing in place


def add_inplace(fl, x, y):
    z = x * 2
    z += y
    z.mul_(x)
    return z


def write_slice(fl, x, y):
    z = x * 1
    z[1] = y[0] * 2
    z[:, 2] *= 3
    return z * x


def write_through_view(fl, x, y):
    z = x * 1
    v = z.view(12)
    v[3:6] = y.reshape(12)[:3] ** 2
    return z.sum(1) * v.sum()


def view_sees_base(fl, x, y):
    z = fl.zeros(3, 4, dtype=fl.float64)
    row = z[0]
    z[0] = x[0] * 2
    return row * y[0]


def chain_of_views(fl, x, y):
    z = x.clone()
    z.t()[1].add_(y[:, 0])
    z[0][1:3].mul_(5)
    return z


def masked_write(fl, x, y):
    z = x.clone()
    z[z > 0] = 1.5
    z.masked_fill_(y < 0, 2.0)
    return z * y


def copy_into(fl, x, y):
    z = fl.empty(3, 4, dtype=fl.float64)
    z.copy_(x)
    z[:, 0].copy_(y[:, 1])
    return z


def index_put(fl, x, y):
    z = x.clone()
    z.index_put_((fl.tensor([0, 0]), fl.tensor([1, 1])), y[0, :2], accumulate=True)
    return z


INPLACE = [
    add_inplace,
    write_slice,
    write_through_view,
    view_sees_base,
    chain_of_views,
    masked_write,
    copy_into,
    index_put,
]


@pytest.mark.parametrize("program", INPLACE, ids=lambda p: p.__name__)
def test_in_place(agree, program):
    agree(program, X, Y, grads=2, rtol=1e-7, atol=1e-8)


# ---------------------------------------------------------------- refusals, in PyTorch's words


def leaf_in_place(fl, x, y):
    x.add_(1)


def view_of_leaf(fl, x, y):
    x[0].zero_()


def overwritten(fl, x, y):
    z = x.exp()
    z += 1
    z.sum().backward()


def overwritten_input(fl, x, y):
    w = y * 1
    z = x * w
    w.mul_(2)
    z.sum().backward()


def twice(fl, x, y):
    z = (x * y).sum()
    z.backward()
    z.backward()


def not_scalar(fl, x, y):
    (x * y).backward()


def wrong_shape(fl, x, y):
    (x * y).backward(fl.ones(2))


def no_history(fl, x, y):
    x.detach().sum().backward()


def unused(fl, x, y):
    fl.autograd.grad(x.sum(), y)


def integers(fl, x, y):
    fl.tensor([1, 2]).requires_grad_()


def non_leaf_flag(fl, x, y):
    z = x * 2
    z.requires_grad = False


def numpy_of_recorded(fl, x, y):
    x.numpy()


def no_grad_view(fl, x, y):
    z = x * 1
    with fl.no_grad():
        v = z[0]
    v.mul_(2)


def unbound(fl, x, y):
    z = x * 1
    a, _, _ = z.unbind()
    a.mul_(2)


def hook_on_constant(fl, x, y):
    fl.ones(2).register_hook(print)


def out_with_history(fl, x, y):
    fl.add(x, y, out=fl.empty(3, 4, dtype=fl.float64))


def shapes(fl, x, y):
    x + y[:, :3]


def product_shapes(fl, x, y):
    x @ y


REFUSALS = [leaf_in_place, view_of_leaf, overwritten, overwritten_input, twice, not_scalar, wrong_shape, no_history, unused, integers,
            non_leaf_flag, numpy_of_recorded, no_grad_view, unbound, hook_on_constant, out_with_history, shapes, product_shapes]  # fmt: skip


@pytest.mark.parametrize("program", REFUSALS, ids=lambda p: p.__name__)
def test_refusals(agree, program):
    agree(program, X, Y, raises=RuntimeError)


# ---------------------------------------------------------------- modes, hooks, options


def modes(fl, x, y):
    with fl.no_grad():
        a = x * 2
    with fl.no_grad(), fl.enable_grad():
        b = x * 3
    with fl.set_grad_enabled(False):
        c = x * 4
    with fl.inference_mode():
        d = x * 5
    return [t.requires_grad for t in (a, b, c, d)], d.is_inference(), fl.is_grad_enabled()


def hooks(fl, x, y):
    seen = []
    z = x * y
    z.register_hook(lambda g: g * 2)
    z.register_hook(lambda g: seen.append(float(g.sum())))
    x.register_hook(lambda g: seen.append(float(g[0, 0])))
    z.retain_grad()
    z.sum().backward()
    return x.grad, y.grad, z.grad, seen


def node_hooks(fl, x, y):
    seen = []
    z = x * y
    z.grad_fn.register_hook(lambda gi, go: seen.append((len(gi), float(go[0].sum()))))
    z.grad_fn.register_prehook(lambda go: (go[0] * 3,))
    z.sum().backward()
    return x.grad, seen


def accumulate(fl, x, y):
    for _ in range(3):
        (x * y).sum().backward()
    return x.grad


def options(fl, x, y):
    z = (x * y).sum()
    z.backward(retain_graph=True, inputs=[x])
    z.backward(inputs=[x])
    return x.grad, y.grad is None


def post_accumulate(fl, x, y):
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(float(t.grad.sum())))
    (x * y).sum().backward()
    return seen


def graph_names(fl, x, y):
    z = ((x + y) * 2).exp().sum()
    return z.grad_fn.name(), [n[0].name() for n in z.grad_fn.next_functions], x.is_leaf, z.is_leaf, x.grad_fn is None


def materialised(fl, x, y):
    return fl.autograd.grad(x.sum(), [x, y], materialize_grads=True), fl.autograd.grad(
        x.sum(), [x, y], allow_unused=True
    )[1] is None


def versions(fl, x, y):
    z = x.detach().clone()
    v, d = z[0], z.detach()
    z.add_(1)
    v.mul_(2)
    return z._version, v._version, d._version, z.data._version, v._is_view(), v._base is z


def functional(fl, x, y):
    f = lambda a, b: (a * b).sin().sum(1)
    j = fl.autograd.functional.jacobian(f, (x, y))
    h = fl.autograd.functional.hessian(lambda a: (a**3).sum(), x[0].detach())
    return (
        j,
        h,
        fl.autograd.functional.vjp(f, (x, y), fl.ones(3, dtype=fl.float64))[1],
        fl.autograd.functional.jvp(f, (x, y), (y, x))[1],
    )


OPTIONS = [
    modes,
    hooks,
    node_hooks,
    accumulate,
    options,
    post_accumulate,
    graph_names,
    materialised,
    versions,
    functional,
]


@pytest.mark.parametrize("program", OPTIONS, ids=lambda p: p.__name__)
def test_options(agree, program):
    agree(lambda fl, x, y: program(fl, x.requires_grad_(), y.requires_grad_()), X, Y, grads=0)


# ---------------------------------------------------------------- Function


def custom(fl, x, y):
    class Scaled(fl.autograd.Function):
        @staticmethod
        def forward(ctx, a, b, k):
            ctx.save_for_backward(a, b)
            ctx.k = k
            return a * b * k, a + b

        @staticmethod
        def backward(ctx, g, h):
            a, b = ctx.saved_tensors
            return g * b * ctx.k + h, g * a * ctx.k + h, None

    p, q = Scaled.apply(x, y, 3.0)
    return p * q


def custom_setup(fl, x, y):
    class Exp(fl.autograd.Function):
        @staticmethod
        def forward(a):
            return a.exp()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    return Exp.apply(x) * y


def custom_dirty(fl, x, y):
    class Doubled(fl.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            a.mul_(2)
            ctx.mark_dirty(a)
            return a

        @staticmethod
        def backward(ctx, g):
            return g * 2

    return Doubled.apply(x * 1) * y


@pytest.mark.parametrize("program", [custom, custom_setup, custom_dirty], ids=lambda p: p.__name__)
def test_function(agree, program):
    agree(program, X, Y, grads=2)


def test_once_differentiable(agree):
    def program(fl, x):
        class Once(fl.autograd.Function):
            @staticmethod
            def forward(ctx, a):
                ctx.save_for_backward(a)
                return a * a

            @staticmethod
            @fl.autograd.function.once_differentiable
            def backward(ctx, g):
                return g * 2 * ctx.saved_tensors[0]

        (g,) = fl.autograd.grad(Once.apply(x).sum(), x, create_graph=True)
        g.sum().backward()

    agree(program, X, raises=RuntimeError)


def test_wrong_number_of_gradients(agree):
    def program(fl, x):
        class Bad(fl.autograd.Function):
            @staticmethod
            def forward(ctx, a):
                return a * 2

            @staticmethod
            def backward(ctx, g):
                return g, g

        Bad.apply(x).sum().backward()

    agree(program, X, raises=RuntimeError)


# ---------------------------------------------------------------- flambeau alone


def test_gradcheck():
    import flambeau as fl

    x = fl.tensor(rand(2, 3), requires_grad=True)
    w = fl.tensor(rand(4, 3, seed=2), requires_grad=True)
    assert fl.autograd.gradcheck(fl.nn.functional.linear, (x, w))
    assert fl.autograd.gradgradcheck(lambda a, b: (a @ b.t()).sigmoid(), (x, w))

    class Wrong(fl.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a * 2

        @staticmethod
        def backward(ctx, g):
            return g * 3

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        fl.autograd.gradcheck(Wrong.apply, (x,))
    assert not fl.autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)


@pytest.mark.filterwarnings("ignore")
def test_gradcheck_of_forward_mode(agree):
    def program(fl, x, which, **how):
        class Wrong(fl.autograd.Function):
            @staticmethod
            def forward(ctx, a):
                ctx.save_for_forward(a)
                ctx.save_for_backward(a)
                return a * a

            @staticmethod
            def jvp(ctx, t):
                return t * ctx.saved_tensors[0]

            @staticmethod
            def backward(ctx, g):
                return 2 * g * ctx.saved_tensors[0]

        fns = {
            "wrong": Wrong.apply,
            "exp": fl.exp,
            "two": lambda a: (a.sin(), a.sum()),
            "conj": lambda a: (a * a.conj()).real,
        }
        return fl.autograd.gradcheck(fns[which], (x.detach().requires_grad_(),), **how)

    x, z = rand(2, dtype="float64"), rand(2, dtype="complex128")
    for which, given in (("exp", x), ("two", x), ("exp", z), ("conj", z)):
        for backward in (True, False):
            agree(
                lambda fl, a, w=which, b=backward: program(fl, a, w, check_forward_ad=True, check_backward_ad=b),
                given,
                grads=0,
            )
    agree(lambda fl, a: program(fl, a, "wrong"), x, grads=0)
    agree(lambda fl, a: program(fl, a, "wrong", check_forward_ad=True, raise_exception=False), x, grads=0)
    agree(
        lambda fl, a: program(fl, a, "exp", check_forward_ad=False, check_backward_ad=False),
        x,
        grads=0,
        raises=AssertionError,
    )
    import flambeau

    with pytest.raises(
        RuntimeError, match="Jacobian computed with forward mode mismatch for output 0 with respect to input 0"
    ):
        program(flambeau, flambeau.tensor(x), "wrong", check_forward_ad=True)


def test_a_long_chain_neither_recurses_nor_leaks():
    import flambeau as fl

    x = fl.ones(1, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 1
    y.backward()
    assert float(x.grad) == 1
    del y


def test_backward_in_many_threads():
    import threading

    import flambeau as fl

    x = fl.ones(8, 8, dtype=fl.float64)
    results = []

    def work(i):
        w = fl.full((8, 8), float(i), dtype=fl.float64, requires_grad=True)
        for _ in range(20):
            (w * x).sum().backward()
        with fl.no_grad():
            results.append((i, float(w.grad.sum())))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == [(i, 1280.0) for i in range(6)]


def test_backward_within_backward():
    import flambeau as fl

    class Outer(fl.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        def backward(ctx, g):
            with fl.enable_grad():
                a = ctx.saved_tensors[0].detach().requires_grad_()
                (a * a).sum().backward()
            return g * a.grad

    x = fl.tensor([2.0, 3.0], requires_grad=True)
    Outer.apply(x).sum().backward()
    assert x.grad.tolist() == [4.0, 6.0]


def test_gradients_do_not_share_memory():
    import flambeau as fl

    a, b = fl.ones(3, requires_grad=True), fl.ones(3, requires_grad=True)
    (a + b).sum().backward()
    a.grad.add_(1)
    assert b.grad.tolist() == [1, 1, 1]


def test_large_and_small_agree():
    """The array library below, a generated kernel above the size rule: one derivative."""
    import flambeau as fl

    small, large = rand(7, 5, dtype="float32"), rand(200, 100, dtype="float32")
    for f in (
        lambda t: (t * t).exp(),
        lambda t: fl.nn.functional.gelu(t),
        lambda t: t.softmax(1),
        lambda t: t.log_softmax(0) * t,
    ):
        for a in (small, large):
            x = fl.tensor(a, requires_grad=True)
            d = fl.tensor(a.astype("float64"), requires_grad=True)
            f(x).sum().backward()
            f(d).sum().backward()
            np.testing.assert_allclose(x.grad.numpy(), d.grad.numpy(), rtol=2e-4, atol=2e-5)


def test_anomaly_mode_names_the_forward_call():
    import flambeau as fl

    x = fl.tensor([0.0], requires_grad=True)
    with (
        pytest.warns(UserWarning, match="Error detected in SqrtBackward0"),
        pytest.raises(RuntimeError, match="returned nan"),
    ):
        with fl.autograd.set_detect_anomaly(True):
            (x.sqrt() * 0).backward()


def test_saved_tensor_hooks():
    import flambeau as fl

    packed = []
    x = fl.tensor([1.0, 2.0], requires_grad=True)
    with fl.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or len(packed) - 1, lambda i: packed[i]):
        y = x * x
    y.sum().backward()
    assert packed and x.grad.tolist() == [2.0, 4.0]


def test_integer_results_have_no_history():
    import flambeau as torch

    x = torch.tensor([0.5, 1.5], requires_grad=True)
    for y in (x.long(), x.bool(), x.view(torch.int32), x.expand(2, 2).int()):
        assert not y.requires_grad
    (grad,) = torch.autograd.grad((x - x.long().to(x.dtype)).sum(), x)
    assert grad.tolist() == [1.0, 1.0]


def test_a_leaf_over_memory_without_history_stays_one(agree):
    def program(fl):
        memory = fl.zeros(12)
        p = memory[:6].view(2, 3).requires_grad_()
        out = []
        for _ in range(2):
            (p + 1).square().sum().backward()
            with fl.no_grad():
                p.sub_(p.grad * 0.25)
            memory.mul_(0.5)
            out += [p.grad.clone(), p.requires_grad, p.is_leaf, p.grad_fn is None]
        return out, memory

    agree(program)


def test_saved_tensors_are_given_out_once_where_asked():
    class F(torch.autograd.Function):
        clear_saved_tensors_on_access = True

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            assert ctx.to_save == (x,)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            assert ctx.to_save is ctx.dirty_tensors is ctx.non_differentiable is None
            assert ctx.requires_grad
            ctx.saved_tensors  # noqa: B018
            with pytest.raises(
                RuntimeError, match="saved_tensors can only be accessed once when clear_saved_tensors_on_access=True"
            ):
                ctx.saved_tensors  # noqa: B018
            return g * 2

    x = torch.ones(2, requires_grad=True)
    y = F.apply(x)
    y.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="can only be accessed once"):
        y.sum().backward()


def test_gradients_arrive_as_one_list_where_asked():
    class G(torch.autograd.Function):
        boxed_grads_call = True

        @staticmethod
        def forward(ctx, x):
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, grads):
            assert type(grads) is list
            second = grads.pop()
            return grads[0] * 2 + second * 3

    x = torch.ones(2, requires_grad=True)
    a, b = G.apply(x)
    (a + b).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]
    assert issubclass(torch.autograd.Function, torch.autograd.function.FunctionCtx)


def test_limits_of_dtypes_are_pytorchs():
    assert repr(torch.finfo(torch.float16)) == ("finfo(resolution=0.001, min=-65504, max=65504, eps=0.000976562, smallest_normal=6.10352e-05, "
                                                "tiny=6.10352e-05, dtype=float16)")  # fmt: skip
    assert [torch.finfo(d).resolution for d in (torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn)] == [0.01, 1e-6, 1e-15, 1.0]  # fmt: skip
    assert torch.finfo(torch.float32) == torch.finfo(torch.complex64)
    with pytest.raises(AttributeError):
        torch.finfo().eps = 1


def test_gradients_are_laid_out_as_their_leaves(agree):
    def case(t):
        out = []
        for use in (lambda p: p * 2, lambda p: p.contiguous() * 3, lambda p: p.expand(5, 4, 2, 3), lambda p: p.sum(0)):
            p = t.ones(2, 3, 4).permute(2, 0, 1).detach().requires_grad_()
            use(p).sum().backward()
            out += [p.grad, p.grad.stride()]
        w = t.ones(2, 3, 4, 4).to(memory_format=t.channels_last).requires_grad_()
        t.nn.functional.conv2d(t.ones(1, 3, 6, 6), w).sum().backward()
        out += [w.grad, w.grad.stride()]
        gap = t.ones(4, 6)[:, ::2].detach().requires_grad_()
        (gap * 2).sum().backward()
        return [*out, gap.grad.stride()]

    agree(case)


def test_layouts_may_be_left_as_they_come():
    p = torch.ones(2, 3).t().detach().requires_grad_()
    with torch.autograd.enforce_grad_layout_policy(False):
        (p.contiguous() * torch.ones(3, 2)).sum().backward()
    assert p.grad.stride() in ((2, 1), (1, 3))
    p.grad = None
    (p.contiguous() * torch.ones(3, 2)).sum().backward()
    assert p.grad.stride() == (1, 3)


@pytest.mark.parametrize("index", [0, slice(1), None, ..., (slice(None), 1)], ids=str)
def test_backward_through_views_while_wrapper_subclasses_exist(index):
    class Wrapper(torch.Tensor):
        @staticmethod
        def __new__(cls, inner):
            return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            raise AssertionError("not called")

    Wrapper(torch.ones(2))
    x = torch.tensor(X, requires_grad=True)
    x[index].sum().backward()
    expected = torch.zeros(3, 4)
    expected[index] = 1
    assert torch.equal(x.grad, expected)


def test_a_number_divided_by_a_tensor_is_a_reciprocal_times_the_number():
    """As in PyTorch: another last bit than a quotient has."""
    for n in (7, 5000):
        x = torch.rand(n, generator=torch.Generator().manual_seed(0)) + 0.1
        assert torch.equal(0.37 / x, x.reciprocal() * 0.37)
    with pytest.raises(TypeError, match="unsupported operand type"):
        "a" / x


@pytest.mark.parametrize(
    "f",
    [
        lambda fl, x: x.to(fl.bfloat16),
        lambda fl, x: x.view(-1).t().flip(0),
        lambda fl, x: fl.cat([x, x]).sum(0).mean(),
        lambda fl, x: fl.stack([x[None].expand(2, 3, 3), x.repeat(2, 1, 1)]),
        lambda fl, x: -(x + 1).flip(0).t(),
        lambda fl, x: x.unbind(0)[0] + x.split(1)[1],
    ],
)
def test_what_keeps_no_tensors_is_walked_again(agree, f):
    def program(fl, x):
        y = f(fl, x)
        y.sum().backward()
        y.sum().backward()
        return x.grad

    agree(lambda fl, x: program(fl, x.detach().requires_grad_()), rand(3, 3, dtype="float32"), grads=0)


@pytest.mark.parametrize("f", [lambda x: x.exp(), lambda x: x @ x, lambda x: x[x > 0], lambda x: x.max(0)[0]])
def test_what_keeps_tensors_is_not(agree, f):
    def program(fl, x):
        y = f(x.detach().requires_grad_())
        y.sum().backward()
        y.sum().backward()

    agree(program, rand(3, 3), grads=0, raises=RuntimeError)


def test_second_derivatives_after_writes_through_views(agree):
    """The incoming gradient is a slice of something larger, or lies otherwise than the base."""

    def program(fl, x, w, turn, write):
        given = x.t() if turn else x
        y = given * 1
        write(y, given)
        g = fl.autograd.grad((fl.stack([y, y * 2]) * w).sum(), x, create_graph=True)[0]
        return g, fl.autograd.grad((g * g).sum(), (x, w), retain_graph=True)

    agree(lambda fl, x, w: program(fl, x, w, False, lambda y, x: y[0].mul_(x[1])), rand(2, 3), rand(2, 2, 3))
    agree(lambda fl, x, w: program(fl, x, w, False, lambda y, x: y.t()[0].mul_(x[1, :2])), rand(2, 3), rand(2, 2, 3))
    agree(lambda fl, x, w: program(fl, x, w, True, lambda y, x: y[0].mul_(x[1])), rand(3, 2), rand(2, 2, 3))


def test_forward_mode_twice_through_views(agree):
    def f(a):
        y = a.clone()
        y[0].mul_(a[1])
        return (y * y).sum()

    agree(lambda fl, x: fl.func.jacfwd(fl.func.jacfwd(f))(x), rand(4), grads=0)


def test_functions_that_give_or_write_what_they_must_not(agree):
    def of(fl, forward, backward):
        return type(
            "Own", (fl.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        )

    def write(ctx, x):
        ctx.mark_dirty(x)
        return x.add_(1)

    agree(
        lambda fl, x: of(fl, lambda ctx, x: x * 2, lambda ctx, g: "text").apply(x).sum().backward(),
        rand(2),
        raises=RuntimeError,
    )
    agree(lambda fl, x: of(fl, write, lambda ctx, g: g).apply(x), rand(2), raises=RuntimeError)
    agree(lambda fl, x: of(fl, write, lambda ctx, g: g).apply(x * 2), rand(2))

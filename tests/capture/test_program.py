"""Programs: what a graph computes natively is what it computes node by node; how many kernels that takes."""

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import flambeau as torch
from flambeau import nn
from flambeau._capture.lower import Compiled, Nodes, compile_program as compiled
from flambeau._eager import large
from flambeau.fx.experimental.proxy_tensor import make_fx

F = nn.functional
needs_native = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")


def compile_program(gm, args):
    try:
        return compiled(gm, args)
    except NotImplementedError:
        return Nodes(gm)


def copies(args):
    return [a.clone() if isinstance(a, torch.Tensor) else a for a in args]


def same(x, y, tolerance=1e-5):
    if not isinstance(x, torch.Tensor):
        return x == y
    assert (x.shape, x.dtype, x.stride()) == (y.shape, y.dtype, y.stride())
    if not x.is_floating_point():
        return torch.equal(x, y)
    if x.dtype in (torch.float16, torch.bfloat16):
        tolerance = 2e-2
    return torch.allclose(x.double(), y.detach().double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def agree(f, *args, tolerance=1e-5, native=True):
    """Results and writes of f, compiled and not; returns the program."""
    gm = make_fx(f)(*copies(args))
    program = compile_program(gm, copies(args))
    assert isinstance(program, Compiled) or not (native and large.available())
    for _ in range(2):
        ours, theirs = copies(args), copies(args)
        got, want = program(*ours), f(*theirs)
        want = want if isinstance(want, (tuple, list)) else (want,)
        for n, (x, y) in enumerate(zip([*got, *ours], [*want, *theirs], strict=True)):
            assert same(x, y, tolerance), f"value {n}: {x} is not {y}"
    return program


def kernels(program):
    return program.kernels


# ---------------------------------------------------------------- counts


@needs_native
def test_pointwise_chains_are_one_kernel():
    p = agree(lambda x, y: (torch.sin(x) * y + 1).relu().exp() / (x.abs() + 2), torch.randn(33, 7), torch.randn(7))
    assert (kernels(p), p.calls) == (1, 0)


@needs_native
def test_reductions_and_what_follows_are_one_kernel():
    assert kernels(agree(lambda x: torch.softmax(x * 2, 1).log(), torch.randn(9, 40))) == 1
    layer_norm = lambda x, w, b: F.layer_norm(x, (40,), w, b) * 2
    assert kernels(agree(layer_norm, torch.randn(9, 40), torch.randn(40), torch.randn(40))) == 1


@needs_native
def test_rows_of_nothing_and_what_is_made_of_them_do_not_share_a_kernel():
    rows = lambda x: ((mean := x.sum(2, keepdim=True)), x - mean)  # the first has elements, the second has none
    for shape in ((5, 33, 0), (5, 0, 3), (1, 1, 0)):
        agree(rows, torch.randn(shape))


@needs_native
def test_results_over_the_same_points_share_a_kernel():
    p = agree(lambda x: (x * 2, (x + 1).t(), x.exp(), x.exp().sum(1)), torch.randn(9, 40))
    assert kernels(p) == 1


def adam_step(x, t, *rest):
    n = len(rest) // 3
    ps, ms, vs = rest[:n], rest[n : 2 * n], rest[2 * n :]
    leaves = [p.detach().requires_grad_() for p in ps]
    h = F.linear(F.linear(x, leaves[0], leaves[1]).relu(), leaves[2], leaves[3])
    loss = F.mse_loss(h, t)
    grads = torch.autograd.grad(loss, leaves, create_graph=True)
    with torch.no_grad():
        for p, g, m, v in zip(ps, grads, ms, vs, strict=True):
            m.lerp_(g, 0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            p.addcdiv_(m, (v.sqrt() / 0.03).add_(1e-8), value=-0.01)
    return loss


def adam_arguments():
    ps = [torch.randn(64, 10) * 0.1, torch.randn(64) * 0.1, torch.randn(1, 64) * 0.1, torch.randn(1)]
    ms, vs = [torch.zeros_like(p) for p in ps], [torch.rand(p.shape) * 1e-3 + 1e-4 for p in ps]
    return [torch.randn(256, 10), torch.randn(256, 1), *ps, *ms, *vs]


@needs_native
def test_a_training_step_is_few_kernels_and_no_call():
    p = agree(adam_step, *adam_arguments(), tolerance=1e-4)
    assert p.calls == 0
    assert kernels(p) <= 9


@needs_native
def test_values_take_over_the_memory_of_what_they_are_made_of():
    """Where each element is made of that element alone, and nothing else needs it any more."""
    x, w = torch.randn(40, 30) / 5, torch.randn(30, 30) / 5
    one = 40 * 32 * 4  # bytes of a product, in whole lines of the cache
    assert agree(lambda x, w: (((x @ w).relu() * 2) @ w).sum(), x, w).arena_size <= 2 * one + 256
    twice = lambda x, w: ((h := x @ w).relu() @ w, (h * 3) @ w)
    assert agree(twice, x, w).arena_size <= 2 * one + 256
    x, w = x.double(), w.double()  # whose sums of large numbers do not hide in rounding
    agree(lambda x, w: ((h := x @ w) - h.sum(1, keepdim=True)) @ w, x, w)
    agree(lambda x, w: ((h := x @ w)[:30].t() + h[:30]) @ w, x, w)

    def both(x, w):  # the rows must not be written over what is added to them
        g, h = x @ w, (x + 1) @ w
        a = h.softmax(1)
        return a @ w, (g + a * 3) @ w

    agree(both, x, w)


# ---------------------------------------------------------------- soundness


def test_writes_through_views():
    def f(x, y):
        x.add_(y)
        x[1:3].mul_(2)
        x[:, ::2].copy_(y[:, :4])
        x[-1] = 7.0
        x.t()[2].sub_(1)
        z = x.view(-1)[3:9]
        z.exp_()
        return x.sum(0), z

    agree(f, torch.randn(5, 7), torch.randn(5, 7))


def test_pieces_within_pieces():
    def f(x, y, r):
        a = torch.cat([x + r, y], 0)[:3]
        b = torch.cat([a, x * r], 0)[1:4].expand(2, 3, 5).sum(0)
        c = b.clone()
        c[:2].mul_(a[1:])
        return torch.cat([c.flip(0), a.sum(1, keepdim=True) + c], 0)[:3] + r, b.view(-1)[2:9]

    agree(f, torch.randn(3, 5), torch.randn(3, 5), torch.randn(5))


def test_reads_before_and_after_a_write():
    def f(x, y):
        a = x.t() @ y
        x.mul_(2)
        b = x @ y.t()
        x.add_(b)
        return a, b, x * 1

    agree(f, torch.randn(6, 6), torch.randn(6, 6))


def test_inputs_that_trade_places():
    def f(x, y):
        z = x.clone()
        x.copy_(y.t())
        y.copy_(z)
        return x + y

    agree(f, torch.randn(6, 6), torch.randn(6, 6))


def test_results_that_are_inputs_or_views_of_them():
    def f(x, y):
        y.add_(1)
        return x, y, x.t(), y[1:], 3, None

    p = agree(f, torch.randn(4, 5), torch.randn(4, 5))
    x, y = torch.randn(4, 5), torch.randn(4, 5)
    out = p(x, y)
    out[2].zero_()
    assert not x.any()


def test_results_have_the_strides_of_eager():
    agree(lambda x: (x.t() * 2, x.t().contiguous(), (x.t() + 1).t(), x.permute(1, 0)[:2]), torch.randn(4, 5))


def test_steps_in_python():
    def f(x, i):
        y = torch.sort(x * 2, dim=1)[0]
        z = y + torch.cumsum(x, 0)
        return torch.linalg.inv(z @ z.t() + torch.eye(5)) * 2, y.index_select(0, i)

    agree(f, torch.randn(5, 7), torch.tensor([1, 0, 3]), tolerance=1e-3)


def test_random_numbers_are_those_of_eager():
    def f(x):
        return torch.rand(4, 5) + x, torch.bernoulli(torch.full((4, 5), 0.5)) * x

    x = torch.randn(4, 5)
    gm = make_fx(f)(x)
    p = compile_program(gm, [x])
    torch.manual_seed(3)
    want = f(x)
    torch.manual_seed(3)
    got = p(x)
    assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])


LYING = {
    "transposed": lambda n: torch.randn(4, n).t(),
    "permuted": lambda n: torch.randn(n, 2, 5, 6).permute(2, 3, 0, 1),
    "every other": lambda n: torch.randn(n, 8)[:, ::2],
}
DRAWN = {
    "dropout": lambda x: F.dropout(x, 0.5),
    "in place": lambda x: (x * 2).normal_() * 2,
    "rand_like": lambda x: torch.rand_like(x) + x,
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "like": lambda x: (torch.zeros_like(x), torch.full_like(x, 2, dtype=torch.int64)),
}


@pytest.mark.parametrize("lies", LYING)
@pytest.mark.parametrize("name", DRAWN)
def test_numbers_are_drawn_in_the_order_in_which_elements_lie(name, lies):
    f = DRAWN[name]
    compiled = torch.compile(f)
    for n in (3, 4, 7):  # the second size is captured as an expression
        x = LYING[lies](n)
        torch.manual_seed(n)
        want = f(x)
        torch.manual_seed(n)
        got = compiled(x)
        for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (want, got)), strict=True):
            assert a.stride() == b.stride()
            assert torch.equal(a, b)


@pytest.mark.parametrize("part", [lambda x: x[:, 0], lambda x: x[:, :20], lambda x: x[::2], lambda x: x.t()[3:]])
@pytest.mark.parametrize("fill", ["normal_", "uniform_", "exponential_", "bernoulli_"])
def test_numbers_are_drawn_into_parts_as_they_lie(fill, part):
    f = lambda x: getattr(part(x), fill)()
    found = []
    for run in (f, torch.compile(f)):
        x = torch.zeros(40, 60)
        torch.manual_seed(0)
        run(x)
        found.append(x)
    assert torch.equal(*found)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_powers_of_integers_are_the_array_library_s_at_any_size(dtype):
    f = lambda x, y: (torch.where(x.pow(x) != 3, x, -1), y * 2)
    compiled = torch.compile(f, fullgraph=True)
    for n in (7, 9, 11):
        x, y = (torch.arange(n) % 5).to(dtype), torch.randn(n, 8)
        for want, got in zip(f(x, y), compiled(x, y), strict=True):
            assert torch.equal(want, got)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_dtypes(dtype):
    def f(x, y):
        return x + y * 2, (x > y).float() + 1, x.sum(), x.to(torch.float32).mean()

    make = lambda: (torch.randn(4, 5) * 4).to(dtype)
    agree(f, make(), make())


def test_promotion():
    def f(x, i, b, d):
        return x + i, i / 2, x * b, d + x, i + True, b.sum(), x + d.sum(), torch.where(b, x, 0.0), i.float().mean()

    agree(f, torch.randn(4, 5), torch.arange(20).view(4, 5), torch.randn(4, 5) > 0, torch.randn(4, 5).double())


def test_odd_sizes():
    for shape in [(0, 3), (1, 1), (13, 1), (1, 17), (2, 0)]:
        agree(lambda x: (x * 2, x.sum(1), torch.relu(x).t()), torch.randn(shape))


def test_strided_and_broadcast_inputs():
    x, y = torch.randn(10, 14)[::2, 1::3], torch.randn(1, 5).expand(5, 5)
    program = compile_program(make_fx(lambda x, y: (x @ y, x + y))(x, y), [x, y])
    got = program(x, y)
    assert torch.allclose(got[0], x @ y, atol=1e-5) and torch.equal(got[1], x + y)


def test_other_layouts_than_the_examples_are_computed_all_the_same():
    f = lambda x: (x * 2).sum(0)
    program = compile_program(make_fx(f)(torch.randn(4, 5)), [torch.randn(4, 5)])
    for x in (torch.randn(5, 4).t(), torch.randn(3, 5), torch.randn(4, 5).double()):
        assert torch.allclose(program(x)[0], f(x))


@needs_native
def test_numbers_are_inputs():
    gm = make_fx(lambda x, n: x * 3.25 + 1)(torch.randn(4), 2.0)
    n = gm.graph.find_nodes(op="placeholder")[1]
    mul = next(m for m in gm.graph.nodes if m.name == "mul")
    mul.args = (mul.args[0], n)
    gm.recompile()
    x = torch.randn(4)
    program = compile_program(gm, [x, 2.0])
    for value in (2.0, -0.5, float("inf"), 3):
        assert torch.allclose(program(x, value)[0], x * value + 1)
    assert isinstance(program, Compiled)


def test_composites_run_node_by_node():
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    graph.output((graph.call_function(torch.nn.functional.gelu, (x,)),))
    program = compile_program(torch.fx.GraphModule({}, graph), [torch.randn(3)])
    assert isinstance(program, Nodes)
    assert torch.equal(program(torch.ones(3))[0], F.gelu(torch.ones(3)))


# ---------------------------------------------------------------- random programs


@st.composite
def programs(draw):
    """A function of two matrices and a row, by random steps."""
    n = draw(st.integers(1, 6))
    steps = []
    for _ in range(draw(st.integers(1, 9))):
        steps.append((draw(st.integers(0, 21)), draw(st.integers(0, 30)), draw(st.integers(0, 30))))
    written = draw(st.booleans())

    def f(x, y, r):
        values = [x, y, x + r]
        for kind, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            match kind:
                case 0:
                    v = a + b
                case 1:
                    v = a * b - r
                case 2:
                    v = torch.tanh(a)
                case 3:
                    v = torch.softmax(a, i % 2)
                case 4:
                    v = a - a.mean(j % 2, keepdim=True)
                case 5:
                    v = a @ b.t() @ b * 0.1
                case 6:
                    v = torch.where(a > b, a, b * 0.5)
                case 7:
                    v = (a.t() * 2).t()
                case 8:
                    v = a / (1 + a.abs().sum())
                case 9:
                    v = a.flip(0) + b.sum(0)
                case 10:
                    v = torch.cat([a, b], 0)[:n]
                case 11:
                    v = a.clone()
                    v[: n // 2 + 1].mul_(2)
                case 12:
                    v = a.max(1, keepdim=True)[0] + b
                case 13:
                    v = torch.exp(-a.abs()) * b.sigmoid()
                case 14:
                    v = a.cumsum(1) * 0.1
                case 15:
                    v = a.expand(2, n, 5).sum(0) + b.view(-1).view(n, 5)
                case 16:
                    v = a.sort(1)[0]
                case 17:
                    v = torch.stack([a, b], 1).flatten()[i % 5 : i % 5 + 5 * n].view(5, n).t() * 2
                case 18:
                    v = torch.cat([b[:, 3:], a[:, : j % 4], b.exp()], 1)[:, 1:6]
                case 19:
                    v = a.clone()
                    v.view(-1)[i % 3 :: 2].copy_(b.reshape(-1)[: (5 * n - i % 3 + 1) // 2])
                case 20:
                    v = F.pad(a, (1, 2))[:, j % 3 : j % 3 + 5] + a.gather(1, (b > 0).long())[:, :1]
                case _:
                    if not written:
                        continue
                    x.mul_(0.5).add_(b)
                    v = x + 1
            values.append(v)
        return tuple(values[3:]) or x

    return n, f


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_random_programs_equal_eager(case):
    n, f = case
    agree(f, torch.randn(n, 5), torch.randn(n, 5), torch.randn(5), tolerance=1e-4, native=False)


# ---------------------------------------------------------------- what needs no call in Python


def gradients(module, loss):
    """A function of data and parameters: the loss, and its gradients."""
    names = [n for n, _ in module.named_parameters()]
    buffers = [n for n, _ in module.named_buffers()]

    def f(x, t, *values):
        given = dict(zip(names + buffers, values, strict=True))
        leaves = {n: given[n].detach().requires_grad_() for n in names}
        rest = {n: given[n] for n in buffers}
        out = loss(torch.func.functional_call(module, {**leaves, **rest}, (x,)), t)
        return (out, *torch.autograd.grad(out, list(leaves.values()), create_graph=True))

    return f, [p.detach().clone() for p in module.parameters()] + [b.clone() for b in module.buffers()]


@needs_native
def test_convolutions_norms_and_pooling_run_natively():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3)
    )
    f, values = gradients(net, F.cross_entropy)
    p = agree(f, torch.randn(5, 2, 8, 8), torch.randint(0, 3, (5,)), *values, tolerance=1e-3)
    assert p.calls == 0


@needs_native
def test_transposed_convolutions_with_a_bias_run_natively():
    def f(x, w, b):
        return (F.conv_transpose2d(x, w, b, stride=2).relu(),)

    p = agree(f, torch.randn(2, 3, 6, 7), torch.randn(3, 4, 3, 3), torch.randn(4), tolerance=1e-4)
    assert p.calls == 0


@needs_native
def test_language_models_run_natively():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.cell, self.head = nn.Embedding(11, 6), nn.LSTMCell(6, 8), nn.Linear(8, 11)

        def forward(self, i):
            x, state, out = self.table(i), None, []
            for t in range(x.shape[1]):
                state = self.cell(x[:, t], state)
                out.append(state[0])
            return self.head(torch.stack(out, 1))

    f, values = gradients(Model(), lambda y, t: F.cross_entropy(y.reshape(-1, 11), t.reshape(-1)))
    p = agree(f, torch.randint(0, 11, (3, 4)), torch.randint(0, 11, (3, 4)), *values, tolerance=1e-3)
    assert p.calls == 0


@needs_native
@needs_native
@pytest.mark.parametrize(
    "b, h, tq, tk, d, e, dtype, mask, causal, groups",
    [
        (2, 3, 5, 7, 8, 8, "float32", None, False, 3),
        (2, 3, 5, 5, 8, 4, "float64", None, True, 3),
        (1, 1, 70, 600, 16, 16, "float32", None, True, 1),  # keys that are shared out: the query's gradient is a sum
        (2, 4, 65, 65, 32, 32, "bfloat16", "float", False, 4),
        (1, 2, 1, 3, 4, 4, "float32", "bool", False, 2),
        (2, 4, 9, 9, 8, 8, "float32", "float", False, 2),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_attention_is_the_kernels_of_eager(b, h, tq, tk, d, e, dtype, mask, causal, groups, turned):
    dtype = getattr(torch, dtype)

    def drawn(*shape):
        x = torch.randn(shape[0], shape[2], shape[1], shape[3]).transpose(1, 2) if turned else torch.randn(shape)
        return x.to(dtype).requires_grad_()

    q, k, v = drawn(b, h, tq, d), drawn(b, groups, tk, d), drawn(b, groups, tk, e)
    mask = torch.randn(tq, tk) if mask == "float" else torch.rand(b, 1, tq, tk) > 0.3 if mask == "bool" else None
    weight = torch.randn(b, h, tq, e).to(dtype)

    def f(q, k, v, mask):
        y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=0.3, enable_gqa=groups != h)
        return (y, *torch.autograd.grad((y * weight).sum(), (q, k, v)))

    program = torch.compile(f)
    for _ in range(2):
        for ours, eager in zip(program(q, k, v, mask), f(q, k, v, mask), strict=True):
            assert ours.stride() == eager.stride()
            assert torch.equal(ours, eager)


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_few_words_are_said_on_a_product_on_its_way_to_memory(dtype):
    x, w, b, other = (torch.randn(*s, dtype=dtype) for s in ((24, 70), (130, 70), (130,), (24, 130)))
    x[3] = float("nan")
    for f in (
        lambda x, w, b, y: F.relu(F.linear(x, w, b)),
        lambda x, w, b, y: F.leaky_relu(F.linear(x, w, b), 0.2),
        lambda x, w, b, y: F.relu6(x @ w.t()),
        lambda x, w, b, y: 3 - 2 * (x @ w.t()),
        lambda x, w, b, y: torch.where(y <= 0, 0.0, x @ w.t()),
        lambda x, w, b, y: y - x @ w.t(),
        lambda x, w, b, y: torch.addmm(y, x, w.t(), beta=1.5, alpha=0.5),
        lambda x, w, b, y: (x @ w.t()).abs().sqrt(),
        lambda x, w, b, y: F.relu(x @ w[:10].t()),  # few columns: turned round
        lambda x, w, b, y: F.relu(x[:1] @ w.t()),  # sums along memory
        lambda x, w, b, y: F.relu(x.view(2, 12, 70) @ w.t() + b),
    ):
        assert agree(f, x, w, b, other).kernels == 1
    tanh = agree(lambda x, w, b, y: F.linear(x, w, b).tanh(), x, w, b, other)
    assert tanh.kernels == 2  # which takes long: that is a loop of its own
    read = agree(lambda x, w, b, y: (F.linear(x, w, b).relu(), x @ w.t() * y), x, w, b, other)
    assert read.kernels == 2  # the product is read by more
    assert agree(lambda x, w, b, y: (x @ w.t()) * ((x * 2) @ w.t()), x, w, b, other).kernels == 3


@needs_native
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_products_of_halves_are_of_halves_and_what_is_said_is_rounded_as_in_eager_code(dtype):
    x, w, b, other = (torch.randn(*s).to(dtype) for s in ((24, 70), (130, 70), (130,), (24, 130)))
    for count, f in (
        (1, lambda x, w, b, y: F.linear(x, w, b)),
        (1, lambda x, w, b, y: F.relu(F.linear(x, w, b))),
        (1, lambda x, w, b, y: x @ w.t()),
        (1, lambda x, w, b, y: 2 * y + x @ w.t()),
        (1, lambda x, w, b, y: torch.addmm(y, x, w.t(), beta=1.5, alpha=0.5)),
        (1, lambda x, w, b, y: torch.where(y <= 0, 0.0, x @ w.t())),
        (1, lambda x, w, b, y: F.relu(x.view(2, 12, 70) @ w.t() + b)),
        (2, lambda x, w, b, y: F.relu(x @ w.t()) @ w),
    ):
        assert agree(f, x, w, b, other, tolerance=0).kernels == count


@needs_native
def test_products_that_are_made_of_one_another_and_their_derivatives_take_what_is_said_with_them():
    x, w, v, u = (torch.randn(*s) for s in ((24, 70), (70, 130), (130, 130), (130, 70)))

    def f(x, w, v, u):
        w, v, u = (p.detach().requires_grad_() for p in (w, v, u))
        h = F.relu(x @ w)
        loss = (F.relu(h @ v + h) @ u).sum()
        return torch.autograd.grad(loss, (w, v, u))

    p = agree(f, x, w, v, u, tolerance=1e-4)
    assert p.calls == 0

    def g(x, w, v, u):
        y = x @ w
        z = (y * 2) @ v
        return (y * z) @ u, F.relu(y + 1) @ v + y

    assert agree(g, x, w, v, u, tolerance=1e-4).calls == 0

    def written(x, w, v, into):
        y = x @ w + 1
        into.copy_(y)
        return F.relu(y) @ v

    assert agree(written, x, w, v, torch.zeros(24, 130), tolerance=1e-4).calls == 0


@needs_native
@pytest.mark.parametrize(
    ("heads", "widths"), [((8, 8, 8), (64, 64, 64)), ((4, 2, 2), (64, 32, 48)), ((1, 1, 1), (7, 7, 5))]
)
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_attention_that_are_joined_are_written_where_they_belong(heads, widths, causal):
    x = torch.randn(2, 70, sum(widths))

    def f(x, apart):
        x = x.detach().requires_grad_()
        b, t, _ = x.shape
        q, k, v = (p.view(b, t, h, -1).transpose(1, 2) for p, h in zip(x.split(widths, 2), heads, strict=True))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=heads[0] != heads[1])
        return torch.autograd.grad((y * y).sum(), (x, q) if apart else (x,))

    whole, apart = agree(lambda x: f(x, False), x), agree(lambda x: f(x, True), x)
    assert (whole.calls, apart.calls) == (0, 0)
    assert whole.kernels == apart.kernels - 3  # three copies, where one of them is wanted by itself


@needs_native
def test_rows_are_added_to_products_on_the_way_to_memory():
    x, w, b = torch.randn(24, 70), torch.randn(130, 70), torch.randn(130)
    p = agree(F.linear, x, w, b)
    assert (p.kernels, p.calls) == (1, 0)
    assert agree(lambda x, w, b: (x @ w.t(), x @ w.t() + b), x, w, b).kernels == 2  # the product itself is wanted, too
    assert agree(lambda x, w, b: x @ w.t() + b, x, w, torch.randn(24, 130)).kernels == 1
    assert agree(lambda x, w, b: x @ w.t() + b, x, w, torch.randn(130, 24).t()).kernels == 2
    turned = torch.randn(5, 24, 70).transpose(0, 1)
    assert agree(F.linear, turned, w, b).kernels == 2  # the turned batch becomes rows, and is multiplied
    few = torch.randn(10, 70), torch.randn(10)
    assert agree(F.linear, x, *few).kernels == 2
    p = agree(lambda x, w, b, v: F.linear(F.linear(x, w, b), v, b), x, w, b, torch.randn(130, 130))
    assert p.kernels == 2

    def later(x, w, b):
        y = F.linear(x, w, b)
        b.mul_(2)
        return y

    ours, theirs = b.clone(), b.clone()
    assert torch.equal(torch.compile(later)(x, w, ours), later(x, w, theirs))
    assert torch.equal(ours, theirs)


@needs_native
def test_one_product_brings_the_memory_of_its_copy_however_large():
    """Nothing else is in the program: there is no other call before which memory could be taken."""
    w, b = torch.randn(96, 256), torch.randn(96)
    turned = torch.compile(lambda x: nn.functional.linear(x.transpose(0, 1), w, b))
    for n in (16, 32):
        x = torch.randn(n, 64, 256)
        assert turned(x).equal(nn.functional.linear(x.transpose(0, 1), w, b))


def calls(f):
    """How many steps of a compiled function run in Python."""
    run = f._captures.first.entries[0].program.run
    return getattr(run, "compiled", getattr(run, "__self__", None)).calls


@needs_native
@pytest.mark.parametrize(("kind", "how"), [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_are_launches(kind, how, both):
    rnn = getattr(nn, kind)(6, 8, 2, batch_first=True, bidirectional=both, **how)
    x, wanted = torch.randn(3, 4, 6), torch.randn(3, 4, 8 + 8 * both)

    def step(x):
        rnn.zero_grad()
        out, state = rnn(x)
        F.mse_loss(out, wanted).backward()
        return out.detach(), state[0].detach()

    def infer(x):
        with torch.no_grad():
            return rnn(x)[0]

    results = []
    for train, test in ((step, infer), (torch.compile(step), torch.compile(infer))):
        results.append([*train(x), *(p.grad.clone() for p in rnn.parameters()), test(x)])
    for ours, eager in zip(*results, strict=True):
        assert same(ours, eager, 1e-5)
    assert (calls(train), calls(test)) == (0, 0)


@needs_native
def test_sequences_of_different_lengths_are_called():
    from flambeau._operators.rnn import _recurrent_layer

    given = [torch.randn(*shape) for shape in ((8, 24), (3, 6), (3, 6), (24, 6), (24,))]
    for sizes, ragged in (((3, 3, 2), True), ((4, 4), False)):  # which rows are the last is told by lengths
        given[1] = given[2] = torch.randn(sizes[0], 6)
        f = lambda x, sizes=sizes: _recurrent_layer(x, *given[1:], sizes, "lstm", False, True)[:3]
        with torch.no_grad():
            compiled = torch.compile(f)
            assert all(same(x, y, 1e-6) for x, y in zip(compiled(given[0]), f(given[0]), strict=True))
        assert (calls(compiled) > 0) == ragged


@needs_native
def test_indices_out_of_range_are_refused():
    f = lambda w, i: F.embedding(i, w) * 2
    w, i = torch.randn(4, 3), torch.tensor([0, 3])
    p = agree(f, w, i)
    assert p.calls == 0
    with pytest.raises(IndexError, match="index out of range in self"):
        p(w, torch.tensor([0, 4]))


@needs_native
def test_joins_triangles_and_scattered_values():
    def f(x, y, i):
        a = torch.cat([x * 2, y, x.exp()], 1)
        b = torch.stack([x, y], 1)[:, 0]
        c = torch.zeros(4, 5).scatter(1, i, torch.ones(4, 1))
        return a, b + c.triu(1), torch.eye(4, 5) - x.tril(), torch.arange(5) + x, x.gather(1, i)

    p = agree(f, torch.randn(4, 5), torch.randn(4, 5), torch.randint(0, 5, (4, 1)))
    assert p.calls == 0


def test_constants_and_placed_slices_are_part_of_programs():
    """Tensors that the graph holds, and gradients of slices, run natively."""
    table = torch.tensor([0.5, -1.0, 2.0])

    def f(x):
        y = torch.ops.aten.slice_backward(x[:, 1:] * table[1:], [4, 3], 1, 1, 3, 1)
        return y + torch.ops.aten.slice_backward(x * table, [9, 3], 0, 1, 9, 2)[:4], x[..., ::2].sum(1)

    x = torch.randn(4, 3)
    program = Compiled(make_fx(f)(x), [x])
    assert program.calls == 0
    for _ in range(2):
        torch.testing.assert_close(program(x), f(x))

"""What operators refuse: numbers where tensors belong, overlapping memory, other dtypes of `out=`."""

import numpy as np
import pytest

import flambeau as fl
from tests.agree import rand


@pytest.mark.parametrize(
    "name", ["atan2", "maximum", "fmin", "gcd", "logical_and", "ldexp", "heaviside", "isclose", "logaddexp"]
)
def test_tensors_only(agree, name):
    agree(lambda t, x: getattr(t, name)(x, 2), rand(3), raises=TypeError)
    with pytest.raises(TypeError):
        getattr(fl, name)(2, fl.ones(3))


@pytest.mark.parametrize("name", ["eq", "lt", "fmod", "copysign", "clamp_min", "rsub"])
def test_numbers_come_second(name):
    with pytest.raises(TypeError, match="invalid combination of arguments"):
        getattr(fl, name)(2, fl.ones(3, dtype=fl.int64))
    with pytest.raises(TypeError):
        getattr(fl, name)(2, 3)


@pytest.mark.parametrize("name", ["__radd__", "__rmul__", "__ror__"])
def test_descriptors(name):
    x = fl.ones(3, dtype=fl.int64)
    getattr(x, name)(1)
    with pytest.raises(TypeError, match="doesn't apply to"):
        getattr(fl.Tensor, name)(1, x)


@pytest.mark.parametrize(
    "name", ["__add__", "__radd__", "__mul__", "__truediv__", "__rtruediv__", "__rdiv__", "__and__", "__lt__"]
)
def test_words_of_descriptors(agree, name):
    agree(
        lambda t, x: getattr(t.Tensor, name)(3, x),
        np.ones(3),
        raises=(AttributeError if "rdiv" in name or "rtrue" in name else TypeError),
    )


def test_writes_into_what_is_read(agree):
    agree(lambda t, x: x[1:].add_(x[:-1]), rand(5), raises=RuntimeError)
    agree(lambda t, x: t.mul(x[:4], x[:4], out=x[2:6]), rand(6), raises=RuntimeError)
    agree(lambda t, x: t.gather(x, 0, t.tensor([0, 0, 1]), out=x), rand(3), raises=RuntimeError)
    agree(lambda t, x: (t.mul(x, x, out=x), x.add_(x)), rand(6), grads=0)  # the same elements may be
    agree(lambda t, x: x[::2].add_(x[1::2]), rand(6), grads=0)  # gaps: not looked into


ONTO_ITSELF = {
    "tril": lambda t, x, i: t.tril(x, out=x),
    "triu": lambda t, x, i: t.triu(x.mT, 1, out=x.mT),
    "sort": lambda t, x, i: t.sort(x, 0, out=(x, t.empty_like(i))),
    "cummax": lambda t, x, i: t.cummax(x, 1, out=(x, t.empty_like(i))),
    "cumsum": lambda t, x, i: t.cumsum(x, 0, out=x),
    "logcumsumexp": lambda t, x, i: t.logcumsumexp(x, 1, out=x),
    "scatter": lambda t, x, i: t.scatter(x, 0, i, -x.clone(), out=x),
    "scatter_add": lambda t, x, i: t.scatter_add(x, 0, i, x.clone(), out=x),
    "index_add": lambda t, x, i: t.index_add(x, 0, i[0], x.clone(), out=x),
    "index_copy": lambda t, x, i: t.index_copy(x, 0, i[0], x.clone(), out=x),
}  # fmt: skip


@pytest.mark.parametrize("name", ONTO_ITSELF)
def test_out_may_be_the_input(agree, name):
    """Of operators that write no element before they have read all it comes from: espnet's masks are `tril(x, out=x)`."""

    def run(t, x):
        x = x.detach().clone()
        return ONTO_ITSELF[name](t, x, t.arange(25).view(5, 5) % 5), x

    agree(run, rand(5, 5), grads=0)
    agree(lambda t, x: t.gather(x, 0, t.zeros(5, 5, dtype=t.int64), out=x), rand(5, 5), grads=0, raises=RuntimeError)


def test_out_of_the_same_dtype(agree):
    agree(
        lambda t, x: t.gather(x, 0, t.tensor([0]), out=t.empty(1, dtype=t.float64)),
        np.ones(2, "f4"),
        raises=RuntimeError,
    )
    agree(lambda t, x: t.cat([x, x], out=t.empty(4, dtype=t.float64)), np.ones(2, "f4"), grads=0)
    agree(lambda t, x: (t.abs(x, out=t.empty(2)), t.angle(x, out=t.empty(2))), np.ones(2, "c8"), grads=0)


def test_square_of_bools(agree):
    agree(lambda t, x: (x.square(), t.square(x)), np.array([True, False]))
    agree(lambda t, x: x.square_(), np.array([True, False]), raises=RuntimeError)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "floor_divide", "true_divide", "subtract", "multiply"])
@pytest.mark.parametrize("number", [7, 7.5])
def test_arithmetic_takes_numbers_first(agree, name, number):
    """Of all functions only these: `torch.div(n, window, rounding_mode="trunc")` counts chunks in transformers' LED."""
    grads = int(name != "floor_divide")  # which has none

    def run(t, x, n):
        return [getattr(t, name)(number, v) for v in (2, 2.5, x if grads else x.detach(), n)]

    agree(run, rand(3), rand(3, dtype="int64", low=1, high=5), grads=grads)


def test_division_of_numbers_rounds(agree):
    agree(lambda t: [t.div(a, 2, rounding_mode=m) for a in (7, -7, 7.5) for m in ("trunc", "floor")])


def test_sizes_may_be_tensors(agree):
    """As transformers' Mistral3 merges patches: `tokens.view(h, w, d)`, where h and w are elements of a tensor."""

    def run(t, x):
        h, w = t.tensor([2, 3])
        return [
            x.view(h, w, 4),
            x.reshape(h, -1),
            x.expand(h, 24),
            x.repeat(h, w),
            x.view(h // 2, 3, 8),
            x.view((h, 12)),
        ]

    agree(run, rand(24))


SIZED = {
    "interpolate": lambda t, n, x: [t.nn.functional.interpolate(x, size=s) for s in ([n, n], n)],
    "zeros": lambda t, n, x: [t.zeros(n), t.zeros(n, 3), t.zeros([3, n]), t.zeros((n, n))],
    "shapes": lambda t, n, x: [x.reshape(n, 8), x.view([8, n]), x[:1, :1, :1, :1].expand(n, 3, 4, 5), x.repeat(1, 1, 1, n)],
    "parts": lambda t, n, x: [x.narrow(2, n if n.ndim == 0 else 2, 1), x.split(n, 3), x.split([n, 2], 2)],
    "dims": lambda t, n, x: [x.sum(n), x.sum([n]), x.flip([n]), x.topk(n), x.select(2, n), x.roll(n, 2), x.roll([n, 1], [2, 3])],
    "pools": lambda t, n, x: [f(x, s) for f in (t.nn.functional.avg_pool2d, t.nn.functional.adaptive_avg_pool2d) for s in ([n, 2], [n, n])],
    "largest": lambda t, n, x: [t.nn.functional.max_pool2d(x, [n, n]), t.nn.functional.adaptive_max_pool2d(x, [n, n])],
    "convolutions": lambda t, n, x: [t.nn.functional.conv2d(x, x[:, :, :2, :2], stride=n), t.nn.functional.conv2d(x, x[:, :, :2, :2], stride=[1, n])],
    "columns": lambda t, n, x: t.nn.functional.unfold(x, [n, n]),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZED)
def test_tensors_of_one_element_are_sizes(agree, name):
    """Alone and within lists, of any number of dims and any whole dtype; images are resized so in torchattacks."""

    def run(t, x):
        numbers = t.tensor(2), t.tensor([2]), t.tensor([[2]]), t.tensor(2, dtype=t.uint8)
        return [SIZED[name](t, n, x) for n in numbers]

    agree(run, rand(1, 1, 4, 4))


@pytest.mark.parametrize("cuts", [[2.0], [True], [[2]], 2.0])
def test_pieces_are_cut_at_long_numbers(agree, cuts):
    agree(lambda t, x: t.tensor_split(x, t.tensor(cuts)), rand(5), raises=RuntimeError)


def test_pieces_by_a_tensor(agree):
    agree(lambda t, x: [t.tensor_split(x, t.tensor(c)) for c in (2, [2], [1, 3])], rand(5))


@pytest.mark.parametrize("pad", [(-4, 0), (-2, -2), (-4, 5), (5, -4), (0, 0, -3, 9), (-1, 0, -9, 0)])
def test_padding_that_crops_more_than_there_is(agree, pad):
    agree(lambda t, x: t.nn.functional.pad(x, pad), rand(2, 3), raises=RuntimeError)


def test_elements_of_another_dtype_behind_a_mask(agree):
    agree(lambda t, x: (2 * x).masked_scatter_(x > 0, x.long()), rand(3), raises=RuntimeError)
    agree(lambda t, x: x.masked_scatter(x > 0, x.half()), rand(3), raises=RuntimeError)


@pytest.mark.parametrize(
    "call",
    [
        lambda t, x: x.sum(0, np.bool_(True)), lambda t, x: x.max(0, np.True_), lambda t, x: t.sum(x, (True,)), lambda t, x: x.sum(True),
        lambda t, x: x.max(True), lambda t, x: x.all(True),
        lambda t, x: t.std(x, [0, 1.5]), lambda t, x: x.sum([0, "a"]), lambda t, x: t.cat([1, x]), lambda t, x: t.cat([x, None]),
        lambda t, x: x.transpose(True, 0), lambda t, x: x.cumsum(1.0), lambda t, x: t.roll(x, True), lambda t, x: t.topk(x, 1.0),
    ],
)  # fmt: skip
def test_kinds_refused(agree, call):
    agree(call, np.ones((2, 3)), raises=TypeError)


def test_kinds_taken(agree):
    agree(
        lambda t, x: (x.sum(np.int64(1)), x.sum((np.int64(1),)), x.max(t.tensor(True)), x.softmax(np.int64(1))),
        rand(2, 3),
        grads=0,
    )
    agree(
        lambda t, x: (t.zeros(t.tensor(3)), t.zeros((t.tensor(3), 2)), t.quantile(x, np.float32(0.5))),
        rand(2, 3),
        grads=0,
    )
    agree(lambda t, x: (x.index_fill(0, t.tensor([0]), np.float32(2)), x.expand(t.tensor(2), 3)), rand(2, 3), grads=0)
    agree(
        lambda t, x: (t.topk(x, np.int32(1)), t.tensor_split(x, t.tensor([1])), x.split([np.int64(1), 1])),
        rand(2, 3),
        grads=0,
    )


def test_words_where_a_list_or_a_number_is_expected(agree):
    agree(lambda t, x: t.roll(x, ()), rand(3), raises=RuntimeError)
    agree(lambda t, x: t.roll(x, (1.0,)), rand(3), raises=TypeError)
    agree(lambda t, x: t.flip(x, [1.0]), rand(3), raises=TypeError)
    for name in ("linspace", "logspace"):
        agree(lambda t, x, n=name: getattr(t, n)(x, t.tensor(2.0), 5), rand(2), raises=RuntimeError)
        agree(lambda t, x, n=name: getattr(t, n)(x, 2, 5), rand(2), raises=RuntimeError)
        agree(lambda t, x, n=name: getattr(t, n)(1, x, 5), rand(2), raises=RuntimeError)


@pytest.mark.filterwarnings("ignore:torch.cholesky is deprecated")
def test_factors_of_no_matrices(agree):
    def program(t):
        L = t.cholesky(t.zeros(0, 3, 3, requires_grad=True))
        return L.requires_grad, L.shape

    agree(program)


def test_arrays_are_no_tensors(agree):
    """A NumPy array has `__index__` and `__float__`, but where a tensor is wanted it is none."""
    for program in (
        lambda t, a: t.reshape(a, (3,)),
        lambda t, a: t.flatten(a),
        lambda t, a: t.broadcast_to(a, (3,)),
        lambda t, a: t.chunk(a, 1),
        lambda t, a: t.tile(a, (2,)),
        lambda t, a: t.unflatten(a, 0, (3,)),
        lambda t, a: t.conj(a),
        lambda t, a: t.ravel(a),
        lambda t, a: t.as_strided(a, (1,), (1,)),
        lambda t, a: t.movedim(a, 0, 0),
        lambda t, a: t.detach(a),
    ):
        agree(lambda t, p=program: p(t, np.zeros(3)), raises=TypeError)


def test_which_fault_of_a_size_is_told(agree):
    agree(lambda t, x: t.broadcast_to(x, (-1, 2)), rand(3), raises=RuntimeError)
    agree(lambda t, x: x.expand(-1, -1, 2), rand(4, 3), raises=RuntimeError)
    agree(lambda t, x: x.expand(-1, 4, 3), rand(4, 3), raises=RuntimeError)
    agree(lambda t, x: x.expand(-2, 4, 2), rand(4, 3), raises=RuntimeError)


def test_quotients_of_integers_that_are_not_rounded(agree):
    def program(t):
        x, y = t.tensor([7, -3, 1]), t.tensor([2, 2, 0])
        n, u = t.tensor([True, False]), t.tensor([7, 3], dtype=t.uint8)
        return (
            t.div(x, y, rounding_mode=None), x.div(2, rounding_mode=None), t.divide(u, u, rounding_mode=None), n.div(n, rounding_mode=None),
            t.ops.aten.div.Tensor_mode(x, y, rounding_mode=None), x.div(2.5, rounding_mode=None),
            t.div(x.to("meta"), y.to("meta"), rounding_mode=None).dtype, t.div(x, y.half(), rounding_mode=None),
            t.vmap(lambda a: a.div(2, rounding_mode=None))(x), t.div(x, 2, rounding_mode="floor"), t.div(x, 2, rounding_mode="trunc"),
            t.div(x.to(t.complex64), 2, rounding_mode=None), t.empty(3).copy_(x).div_(2, rounding_mode=None),
        )  # fmt: skip

    agree(program)
    agree(lambda t: t.tensor([7, 3]).div_(2, rounding_mode=None), raises=RuntimeError)
    agree(lambda t: t.div(t.tensor([7, 3]), 2, rounding_mode=None, out=t.tensor([0, 0])), raises=RuntimeError)

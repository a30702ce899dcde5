"""How results lie in memory: in order for operators that are not elementwise, whatever the strides of what they are given, so that `view` works."""

import pytest

from tests.agree import rand

OPERATORS = {
    "layer_norm": lambda fl, x: fl.nn.functional.layer_norm(x, x.shape[-1:]),
    "rms_norm": lambda fl, x: fl.nn.functional.rms_norm(x, x.shape[-1:]),
    "batch_norm": lambda fl, x: fl.nn.functional.batch_norm(x, None, None, training=True),
    "softmax": lambda fl, x: x.softmax(1),
    "log_softmax": lambda fl, x: x.log_softmax(-1),
    "cumsum": lambda fl, x: x.cumsum(1),
    "cumprod": lambda fl, x: x.cumprod(0),
    "cummax": lambda fl, x: x.cummax(1).values,
    "logcumsumexp": lambda fl, x: x.logcumsumexp(1),
    "sum": lambda fl, x: x.sum(1),
    "mean": lambda fl, x: x.mean(0),
    "amax": lambda fl, x: x.amax(1),
    "max": lambda fl, x: x.max(1).values,
    "var": lambda fl, x: x.var(1),
    "logsumexp": lambda fl, x: x.logsumexp(1),
    "prod": lambda fl, x: x.prod(1),
    "any": lambda fl, x: (x > 0).any(1).float(),
    "all": lambda fl, x: (x > 0).all(0).float(),
    "kthvalue": lambda fl, x: x.kthvalue(2, 1).values,
    "median": lambda fl, x: x.median(1).values,
    "mode": lambda fl, x: x.mode(1).values,
    "vector_norm": lambda fl, x: fl.linalg.vector_norm(x, dim=1),
    "repeat": lambda fl, x: x.repeat(1, 1, 1),
    "cdist": lambda fl, x: fl.cdist(x[:, :5], x[:, :5]),
    "cat": lambda fl, x: fl.cat([x, x], 1),
    "stack": lambda fl, x: fl.stack([x, x], 2),
    "roll": lambda fl, x: x.roll(1, 1),
    "tril": lambda fl, x: x.tril(),
    "scatter": lambda fl, x: x.scatter(1, fl.zeros(x.shape, dtype=fl.int64), 1.0),
    "scatter_add": lambda fl, x: x.scatter_add(1, fl.zeros(x.shape, dtype=fl.int64), x),
    "index_add": lambda fl, x: x.index_add(1, fl.tensor([0]), x[:, :1]),
    "index_copy": lambda fl, x: x.index_copy(1, fl.tensor([0]), x[:, 1:2]),
    "index_reduce": lambda fl, x: x.index_reduce(1, fl.tensor([0]), x[:, 1:2], "amax"),
    "gather": lambda fl, x: x.gather(1, fl.zeros_like(x, dtype=fl.int64)),
    "take": lambda fl, x: x.take(fl.ones_like(x, dtype=fl.int64)),
    "renorm": lambda fl, x: x.renorm(2, 1, 0.5),
    "masked_scatter": lambda fl, x: x.masked_scatter(x > 0, x.reshape(-1)),
    "columns": lambda fl, x: x[:, fl.tensor([0, 2])],
    "mask": lambda fl, x: x[:, fl.arange(x.shape[1]) % 2 == 0],
}


@pytest.mark.filterwarnings("ignore:index_reduce")  # PyTorch: in beta
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("scale", [1, 40])  # small, and by kernels
def test_in_order(agree, name, scale):
    def run(fl, x):
        y = OPERATORS[name](fl, x.transpose(1, 2))
        assert y.is_contiguous()
        found = y.view(-1)[:50]
        if x.numel() < 1000 or not x.requires_grad:
            return found
        (slope,) = fl.autograd.grad(found, x, (fl.arange(len(found)) % 7 - 3).to(x.dtype))
        slope = slope * (
            fl.arange(slope.numel()).reshape(slope.shape) % 5 + 1
        )  # a softmax's adds up to 0 over its dimension
        return found.detach(), *(slope.sum(d) for d in ((0, 1), (0, 2), (1, 2)))

    agree(run, rand(4, 6 * scale, 8 * scale), grads=0 if name in ("any", "all", "prod", "cumprod") else 1)


@pytest.mark.parametrize("name", ["index_copy", "gather", "take", "masked_scatter", "stack", "flip"])
def test_of_images_with_channels_last(agree, name):
    def run(fl, x):
        x = x.detach().contiguous(memory_format=fl.channels_last)
        if name == "stack":
            return fl.stack([x[0], x[1]])
        return x.flip((0, 1)) if name == "flip" else OPERATORS[name](fl, x)

    agree(run, rand(2, 3, 4, 5), strides=True, grads=0)


IMAGES = {
    "constant": lambda fl, x: fl.nn.functional.pad(x, (1, 0, 2, 1)),
    "constant, cropped": lambda fl, x: fl.nn.functional.pad(x, (-1, 0, 0, 1)),
    "constant, more channels": lambda fl, x: fl.nn.functional.pad(x, (0, 0, 0, 0, 1, 1)),
    "reflect": lambda fl, x: fl.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    "replicate": lambda fl, x: fl.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"),
    "circular": lambda fl, x: fl.nn.functional.pad(x, (1, 1, 1, 1), mode="circular"),
    "adaptive_max_pool2d": lambda fl, x: fl.nn.functional.adaptive_max_pool2d(x, 2, return_indices=True),
    "max_unpool2d": lambda fl, x: fl.nn.functional.max_unpool2d(*fl.nn.functional.max_pool2d(x, 2, return_indices=True), 2),
    "pixel_shuffle": lambda fl, x: fl.nn.functional.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda fl, x: fl.nn.functional.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda fl, x: fl.nn.functional.channel_shuffle(x, 2),
    "repeat": lambda fl, x: x.repeat(1, 2, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("layout", ["channels last", "in order", "transposed"])
def test_images_lie_as_they_did(agree, name, layout):
    def run(fl, x):
        x = x.detach()
        x = x.contiguous(memory_format=fl.channels_last) if layout == "channels last" else x
        return IMAGES[name](fl, x.mT if layout == "transposed" else x)

    agree(run, rand(2, 8, 4, 6), strides=True, grads=0)


def test_volumes_lie_as_they_did(agree):
    def run(fl, x):
        x = x.detach().contiguous(memory_format=fl.channels_last_3d)
        return [
            fl.nn.functional.pad(x, (1,) * 6, mode=mode) for mode in ("constant", "reflect", "replicate", "circular")
        ]

    agree(run, rand(2, 3, 4, 3, 4), strides=True, grads=0)


INDICES = {
    "first": lambda x, i, j: x[i],
    "second": lambda x, i, j: x[:, i],
    "third": lambda x, i, j: x[:, :, i],
    "last": lambda x, i, j: x[..., i],
    "two apart": lambda x, i, j: x[i, :, i],
    "two side by side": lambda x, i, j: x[:, i, j],
    "a table": lambda x, i, j: x[j.reshape(1, 3) + i.reshape(2, 1)],
    "a turned table": lambda x, i, j: x[..., (j.reshape(1, 3) + i.reshape(2, 1)).t()],
    "a mask": lambda x, i, j: x[:, j < 2],
    "with a slice": lambda x, i, j: x[:, 1:, i],
}


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("layout", ["channels last", "transposed", "reversed", "in order"])
def test_what_indices_choose(agree, name, layout):
    def run(fl, x):
        x = x.detach()
        if layout == "channels last":
            x = x.contiguous(memory_format=fl.channels_last)
        elif layout == "transposed":
            x = x.transpose(0, 1).contiguous().transpose(0, 1)
        elif layout == "reversed":
            x = x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
        i, j = fl.tensor([2, 0]), fl.tensor([1, 2, 0])
        return INDICES[name](x, *((i, j[:2]) if name == "two side by side" else (i, j)))

    agree(run, rand(5, 3, 4, 6), strides=True, grads=0)


LAYOUTS = {
    "in order": lambda x: x,
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "reversed": lambda x: x.permute(2, 1, 0).contiguous().permute(2, 1, 0),
    "every second": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "one row": lambda x: x[:1],
    "a column": lambda x: x[:, :, :1],
    "fewer dimensions": lambda x: x[0].mT.contiguous().mT,
    "spread": lambda x: x[:, :1].expand(x.shape),
}
ELEMENTWISE = {
    "add": lambda fl, x, y: x + y,
    "number": lambda fl, x, y: x * 2,
    "exp": lambda fl, x, y: x.exp(),
    "where": lambda fl, x, y: fl.where(x > 0, y, x),
    "addcmul": lambda fl, x, y: fl.addcmul(x, y, y),
    "less": lambda fl, x, y: y < x,
    "mse_loss": lambda fl, x, y: fl.nn.functional.mse_loss(*fl.broadcast_tensors(x, y), reduction="none"),
    "polynomial": lambda fl, x, y: fl.special.chebyshev_polynomial_t(x, y.abs().round()),
    "half": lambda fl, x, y: x.half() + y.half(),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("scale", [1, 300])
def test_elementwise_results_lie_as_operands_are_walked(agree, name, scale):
    def run(fl, x, y):
        x, y = x.detach(), y.detach()
        pairs = [(a(x), b(y)) for a in LAYOUTS.values() for b in LAYOUTS.values()]
        made = [ELEMENTWISE[name](fl, a, b) for a, b in pairs if a.shape == x.shape or b.shape == x.shape]
        return [y.stride() for y in made], fl.stack([y.double().mean() for y in made])

    agree(run, rand(4, 3, 5 * scale), rand(4, 3, 5 * scale, seed=1), grads=0, rtol=1e-3)


def test_gradients_lie_as_operands_are_walked(agree):
    def run(fl, x, y):
        x, y = (t.detach().transpose(0, 2).requires_grad_() for t in (x, y))
        found = fl.autograd.grad((x.exp() * y.tanh()).sigmoid(), (x, y), fl.ones_like(x))
        return found if x.numel() < 1000 else [(g.stride(), [g.sum(d) for d in range(3)]) for g in found]

    agree(run, rand(3, 4, 5), rand(3, 4, 5, seed=1), strides=True, grads=0)
    agree(run, rand(30, 40, 10), rand(30, 40, 10, seed=1), strides=True, grads=0)


def test_reversed_results_lie_as_what_they_are_made_of(agree):
    for dims in ((0,), (1,), (0, 2), ()):
        agree(lambda fl, x, d=dims: x.transpose(0, 2).flip(d), rand(3, 4, 5), strides=True)
        agree(lambda fl, x, d=dims: x.transpose(0, 2)[::2, 1:].flip(d), rand(3, 4, 5), strides=True)
        agree(lambda fl, x, d=dims: x.expand(2, 4, 3).flip(d), rand(4, 3), strides=True)
        agree(lambda fl, x, d=dims: x.transpose(0, 1)[:1].flip(d), rand(4, 3, 2), strides=True)


@pytest.mark.parametrize("scale", [1, 40])
def test_sorted_and_complex_results_lie_as_what_they_are_made_of(agree, scale):
    x = rand(3, 4, 5 * scale)
    for dim in range(3):
        for how in ({}, {"descending": True}, {"stable": True}):
            agree(
                lambda fl, x, d=dim, h=how: tuple(x.detach().permute(2, 0, 1).sort(dim=d, **h)),
                x,
                strides=True,
                grads=0,
            )
        agree(lambda fl, x, d=dim: tuple(x.detach().transpose(0, 1)[:, ::2].sort(d)), x, strides=True, grads=0)
        agree(lambda fl, x, d=dim: tuple((x.detach() * 3).long().transpose(0, 2).sort(d)), x, strides=True, grads=0)
    agree(lambda fl, x: fl.complex(x.detach().transpose(0, 2), x.detach().transpose(0, 2)), x, strides=True, grads=0)
    agree(lambda fl, x: fl.polar(x.detach().transpose(0, 2), x.detach()[0].t().unsqueeze(2)), x, strides=True, grads=0)


@pytest.mark.parametrize(
    "index",
    [
        "x[:, i]",
        "x[..., i]",
        "x[:, :, j]",
        "x[:, j, i]",
        "x[::2, i]",
        "x[None, :, i]",
        "x[0, i]",
        "x[i, :, i]",
        "x[:, [0, 1]]",
        "x[:, i[:0]]",
    ],
)
def test_selections_of_contiguous_tensors_are_contiguous(agree, index):
    def run(fl, x):
        y = eval(index, {"x": x, "i": fl.tensor([2, 0]), "j": fl.tensor([[1], [2]])})
        assert y.is_contiguous()
        return y.view(-1)

    agree(run, rand(4, 5, 3, 4), grads=1)


def test_dropout_after_a_norm_draws_in_order(agree):
    """The layout decides which element gets which random number: Canine's convolution, transposed, normalized, dropped out."""

    def run(fl, x):
        fl.manual_seed(1)
        return fl.nn.functional.dropout(fl.nn.functional.layer_norm(x.transpose(1, 2), (6,)), 0.5)

    agree(run, rand(2, 6, 9))


@pytest.mark.parametrize("size", [1, 3])
def test_one_channel_after_a_transpose(agree, size):
    """A sequence (n, t, 1), transposed, has the strides of channels last: what a convolution makes of it lies so, and dropout follows."""

    def run(fl, x, sequence, image):
        fl.manual_seed(1)
        pad = size // 2
        x, image_ = x.detach().transpose(1, 2), x.detach().view(2, 4, 3, 1).permute(0, 3, 1, 2)
        y = fl.nn.functional.conv1d(x, sequence, padding=pad)
        made = (
            y,
            fl.nn.functional.conv1d(x.contiguous(), sequence, padding=pad),
            fl.nn.functional.conv2d(image_, image, padding=pad),
        )
        return (
            *made,
            fl.nn.functional.conv_transpose2d(image_, image.transpose(0, 1), padding=pad),
            fl.nn.functional.dropout(y, 0.5),
        )

    weights = rand(5, 1, size), rand(5, 1, size, size)
    agree(run, rand(2, 12, 1), *weights, strides=True, grads=0)


def test_copies_of_views_lie_in_order(agree):
    def program(fl, x):
        y = x.transpose(0, 2)
        return (fl.view_copy(y, (60,)), fl.narrow_copy(y, 1, 1, 2), *fl.unbind_copy(y), *fl.split_with_sizes_copy(y, [2, 3]),
                fl.select_copy(y, 0, 1), fl.permute_copy(y, (1, 0, 2)), x[:, 0, 0].ravel())  # fmt: skip

    agree(program, rand(3, 4, 5), strides=True)


def test_positive_is_the_tensor_itself(agree):
    agree(lambda fl, x: (fl.positive(x) is x, x.positive() is x, +x is x), rand(2))


def test_joined_images_keep_channels_last_where_all_have_them_so(agree):
    """Strides of a product of attention are neither; one image in order is enough to bring all in order."""

    def run(fl, x):
        x, found = x.detach(), []
        for t in (x, x.contiguous(memory_format=fl.channels_last), x.permute(2, 3, 0, 1), x.permute(0, 2, 3, 1)):
            column = t.new_zeros(t.shape[0], 1, *t.shape[2:])
            found += [fl.cat([t, column], 1), fl.cat([column, t], 1), fl.cat([t, t], 1), fl.cat([t, t], 3)]
        return found

    agree(run, rand(2, 3, 4, 5), strides=True, grads=0)
    agree(run, rand(2, 30, 40, 15), strides=True, grads=0)


FACTORS = {
    "cholesky": lambda fl, x, y: fl.linalg.cholesky(x @ x.mT),
    "upper cholesky": lambda fl, x, y: fl.linalg.cholesky(x @ x.mT, upper=True),
    "cholesky_inverse": lambda fl, x, y: fl.cholesky_inverse(x),
    "cholesky_solve": lambda fl, x, y: fl.cholesky_solve(y, x),
    "qr": lambda fl, x, y: [q.abs() for q in fl.linalg.qr(y)],
    "eigenvectors": lambda fl, x, y: fl.linalg.eigh(x @ x.mT)[1].abs(),
    "svd": lambda fl, x, y: [m.abs() for m in fl.linalg.svd(y, full_matrices=False)],
    "lu_factor": lambda fl, x, y: fl.linalg.lu_factor(x),
    "lu_solve": lambda fl, x, y: fl.linalg.lu_solve(*fl.linalg.lu_factor(x), y),
    "ldl_factor": lambda fl, x, y: fl.linalg.ldl_factor(x @ x.mT)[0],
    "inv": lambda fl, x, y: fl.linalg.inv(x),
    "solve": lambda fl, x, y: fl.linalg.solve(x, y),
    "solve from the right": lambda fl, x, y: fl.linalg.solve(x, y.mT, left=False),
    "solve for vectors": lambda fl, x, y: fl.linalg.solve(x, y[..., 0]),
    "solve_triangular": lambda fl, x, y: fl.linalg.solve_triangular(x, y, upper=True),
    "triangular_solve": lambda fl, x, y: fl.triangular_solve(y, x),
    "lstsq": lambda fl, x, y: fl.linalg.lstsq(x[..., :2], y)[0],
    "matrix_exp": lambda fl, x, y: fl.linalg.matrix_exp(x),
    "householder_product": lambda fl, x, y: fl.linalg.householder_product(*fl.geqrf(x)).abs(),
    "ormqr": lambda fl, x, y: fl.ormqr(*fl.geqrf(x), y).abs(),
}


@pytest.mark.filterwarnings("ignore:torch.triangular_solve")
@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("n", [5, 40])  # by NumPy, and straight by LAPACK or kernels
def test_matrices_lie_by_columns(agree, name, lead, n):
    def run(fl, x, y):
        return FACTORS[name](fl, x.detach() + n * fl.eye(n, dtype=fl.float64), y.detach())

    agree(run, rand(*lead, n, n), rand(*lead, n, 3, seed=1), strides=True, grads=0)

"""Dtypes that PyTorch has no routine for: refused, and in its words."""

import pytest

LACKING = {
    "gelu": lambda fl, x: fl.nn.functional.gelu(x),
    "silu": lambda fl, x: fl.nn.functional.silu(x),
    "mish": lambda fl, x: fl.nn.functional.mish(x),
    "softplus": lambda fl, x: fl.nn.functional.softplus(x),
    "elu": lambda fl, x: fl.nn.functional.elu(x),
    "celu": lambda fl, x: fl.nn.functional.celu(x),
    "leaky_relu": lambda fl, x: fl.nn.functional.leaky_relu(x),
    "glu": lambda fl, x: fl.nn.functional.glu(x),
    "hardswish": lambda fl, x: fl.nn.functional.hardswish(x),
    "hardshrink": lambda fl, x: fl.nn.functional.hardshrink(x),
    "logsigmoid": lambda fl, x: fl.nn.functional.logsigmoid(x),
    "huber": lambda fl, x: fl.nn.functional.huber_loss(x, x),
    "smooth_l1": lambda fl, x: fl.nn.functional.smooth_l1_loss(x, x),
    "mse": lambda fl, x: fl.nn.functional.mse_loss(x, x),
    "batch_norm": lambda fl, x: fl.nn.functional.batch_norm(x.view(2, 2), None, None, training=True),
    "adaptive pool": lambda fl, x: fl.nn.functional.adaptive_max_pool2d(x.view(1, 2, 2), 1),
    "igamma": lambda fl, x: fl.igamma(x, x),
    "lerp": lambda fl, x: fl.lerp(x, x, 0.5),
    "gcd of floats": lambda fl, x: fl.gcd(x.double(), x.double()),
    "argmax of booleans": lambda fl, x: x.bool().argmax(),
    "extreme of complex": lambda fl, x: x.to(fl.complex64).amax(),
    "pow of booleans": lambda fl, x: x.bool() ** x.bool(),
    "uint16 + uint16": lambda fl, x: x.to(fl.uint16) + x.to(fl.uint16),
    "uint32 < uint32": lambda fl, x: x.to(fl.uint32) < x.to(fl.uint32),
    "uint64 % uint64": lambda fl, x: x.to(fl.uint64) % x.to(fl.uint64),
    "abs of uint16": lambda fl, x: x.to(fl.uint16).abs(),
    "matmul of uint16": lambda fl, x: x.view(2, 2).to(fl.uint16) @ x.view(2, 2).to(fl.uint16),
    "sort of uint32": lambda fl, x: x.to(fl.uint32).topk(1),
    "polynomial of halves": lambda fl, x: fl.special.chebyshev_polynomial_t(x.half(), 2),
    "softmax of complex": lambda fl, x: x.to(fl.complex64).softmax(0),
    "log_softmax": lambda fl, x: x.view(2, 2).log_softmax(0),
    "log_softmax along the last": lambda fl, x: x.view(2, 2).log_softmax(1),
    "relu of booleans": lambda fl, x: fl.relu(x.bool()),
    "relu of complex": lambda fl, x: fl.relu(x.to(fl.complex64)),
    "hardtanh of bytes": lambda fl, x: fl.nn.functional.hardtanh(x.to(fl.uint8)),
    "relu6 of booleans": lambda fl, x: fl.nn.functional.relu6(x.bool()),
    "kl_div": lambda fl, x: fl.nn.functional.kl_div(x, x, reduction="sum"),
    "clamp of complex": lambda fl, x: x.to(fl.complex64).clamp(0, 1),
    "gcd of uint16": lambda fl, x: fl.gcd(x.to(fl.uint16), x.to(fl.uint16)),
    "gelu of complex": lambda fl, x: fl.nn.functional.gelu(x.to(fl.complex64)),
    "clamp_min of complex": lambda fl, x: fl.clamp_min(x.to(fl.complex64), x.to(fl.complex64)),
    "adaptive_avg_pool1d": lambda fl, x: fl.nn.functional.adaptive_avg_pool1d(x.view(1, 4), 2),
    "unfold": lambda fl, x: fl.nn.functional.unfold(x.view(1, 1, 2, 2), 1),
    "linear of booleans": lambda fl, x: fl.nn.functional.linear(x.view(2, 2).bool(), x.view(2, 2).bool()),
    "vdot of uint16": lambda fl, x: fl.vdot(x.to(fl.uint16), x.to(fl.uint16)),
    "vdot of booleans": lambda fl, x: fl.vdot(x.bool(), x.bool()),
    "addr of uint16": lambda fl, x: fl.addr(x.view(2, 2).to(fl.uint16), x[:2].to(fl.uint16), x[:2].to(fl.uint16)),
    "conv2d of booleans": lambda fl, x: fl.nn.functional.conv2d(x.view(1, 1, 2, 2).bool(), x.view(1, 1, 2, 2).bool()),
    "conv1d of uint16": lambda fl, x: fl.nn.functional.conv1d(
        x.view(1, 1, 4).to(fl.uint16), x.view(1, 1, 4).to(fl.uint16)
    ),
    "conv_transpose2d": lambda fl, x: fl.nn.functional.conv_transpose2d(
        x.view(1, 1, 2, 2).int(), x.view(1, 1, 2, 2).int()
    ),
    "pixel_shuffle of uint16": lambda fl, x: fl.nn.functional.pixel_shuffle(x.view(1, 4, 1, 1).to(fl.uint16), 2),
    "nonzero of uint16": lambda fl, x: x.to(fl.uint16).nonzero(),
    "unique of complex": lambda fl, x: fl.unique(x.to(fl.complex64)),
    "reflection of booleans": lambda fl, x: fl.ops.aten.reflection_pad1d(x.view(1, 4).bool(), [1, 1]),
    "cholesky": lambda fl, x: fl.cholesky(x.view(2, 2)),
    "cholesky_solve": lambda fl, x: fl.cholesky_solve(x.view(2, 2), x.view(2, 2)),
    "cholesky_inverse": lambda fl, x: fl.cholesky_inverse(x.view(2, 2)),
    "triangular": lambda fl, x: fl.linalg.solve_triangular(x.view(2, 2), x.view(2, 2), upper=True),
    "householder of halves": lambda fl, x: fl.linalg.householder_product(x.view(2, 2).half(), x[:2].half()),
    "sums of bools in place": lambda fl, x: x.bool().cumsum_(0),
    "sums of uint16 in place": lambda fl, x: x.to(fl.uint16).cumsum_(0),
    "sums in place in another dtype": lambda fl, x: x.half().cumsum_(0, dtype=fl.float32),
    "fill of uint16": lambda fl, x: x.to(fl.uint16).masked_fill_(x > 2, 1),
    "puts of uint16": lambda fl, x: x.to(fl.uint16).index_put_((fl.tensor([0]),), x[:1].to(fl.uint16)),
    "scatter of uint16": lambda fl, x: x.to(fl.uint16).scatter_(0, fl.tensor([0]), x[:1].to(fl.uint16)),
    "magnitudes in place": lambda fl, x: x.to(fl.complex64).abs_(),
    "shifts of floats in place": lambda fl, x: x.float().bitwise_left_shift_(x.float()),
    "sizes before dtypes": lambda fl, x: x.to(fl.uint16)[:1].lt_(x.to(fl.uint16)),
    "sum with float8": lambda fl, x: x.to(fl.float8_e4m3fn) + x.to(fl.float8_e4m3fn),
    "product with float8": lambda fl, x: x.to(fl.float8_e5m2) * x.to(fl.float8_e5m2),
    "quotient with float8": lambda fl, x: x.to(fl.float8_e5m2) / x.to(fl.float8_e5m2),
    "total of float8": lambda fl, x: x.to(fl.float8_e4m3fn).sum(),
    "exponential of float8": lambda fl, x: x.to(fl.float8_e4m3fn).exp(),
    "sigmoid of float8": lambda fl, x: x.to(fl.float8_e4m3fn).sigmoid(),
    "order of float8": lambda fl, x: x.to(fl.float8_e4m3fn).sort(),
    "factors of float8": lambda fl, x: fl.linalg.qr(x.view(2, 2).to(fl.float8_e4m3fn)),
    "distances of float8": lambda fl, x: fl.cdist(x.view(2, 2).to(fl.float8_e5m2), x.view(2, 2).to(fl.float8_e5m2)),
    "largest of one uint16": lambda fl, x: x[0].to(fl.uint16).amax(),
    "product of one uint16": lambda fl, x: x[0].to(fl.uint16).argmax(),
    "choice of uint16": lambda fl, x: x.to(fl.uint16).index_select(0, fl.tensor([0])),
    "median along a dim of uint16": lambda fl, x: x.to(fl.uint16).median(0),
    "digamma of complex": lambda fl, x: fl.digamma(x.to(fl.complex64)),
    "i0 of complex": lambda fl, x: fl.i0(x.to(fl.complex64)),
    "floor of complex halves": lambda fl, x: fl.floor(x.to(fl.complex32)),
    "round of complex": lambda fl, x: fl.round(x.to(fl.complex64)),
    "radians of complex halves": lambda fl, x: fl.deg2rad(x.to(fl.complex32)),
    "signbit of complex": lambda fl, x: fl.signbit(x.to(fl.complex64)),
    "infinity of complex": lambda fl, x: fl.isposinf(x.to(fl.complex64)),
    "membership of bools": lambda fl, x: fl.isin(x.bool(), x.bool()),
    "sum of complex without NaN": lambda fl, x: fl.nansum(x.to(fl.complex64)),
    "mean of integers without NaN": lambda fl, x: fl.nanmean(x),
    "count of uint16": lambda fl, x: fl.count_nonzero(x.to(fl.uint16)),
    "search of bools": lambda fl, x: fl.searchsorted(x.bool(), x.bool()),
    "layer norm": lambda fl, x: fl.nn.functional.layer_norm(x, (4,)),
    "layer norm of complex": lambda fl, x: fl.nn.functional.layer_norm(x.to(fl.complex64), (4,)),
    "cosines of complex": lambda fl, x: fl.nn.functional.cosine_similarity(x.to(fl.complex64), x.to(fl.complex64), 0),
    "nearest": lambda fl, x: fl.nn.functional.interpolate(x.view(1, 1, 4), 8),
    "relu of uint16": lambda fl, x: fl.nn.functional.relu(x.to(fl.uint16)),
    "integral of bools": lambda fl, x: fl.trapezoid(x.bool()),
    "polar of halves": lambda fl, x: fl.polar(x.half(), x.half()),
    "inverse of complex halves": lambda fl, x: fl.linalg.inv(x.view(2, 2).to(fl.complex32)),
    "vecdot": lambda fl, x: fl.linalg.vecdot(x, x),
    "distances of halves": lambda fl, x: fl.cdist(x.half().view(2, 2), x.half().view(2, 2)),
    "limits of bools": lambda fl, x: x.bool().clamp(x.bool(), x.bool()),
    "limits of uint16": lambda fl, x: fl.nn.functional.hardtanh(x.to(fl.uint16), 0, 5),
    "limits that bytes have": lambda fl, x: fl.nn.functional.hardtanh(x.to(fl.uint8), -0.5, 3.5),
    "largest of complex": lambda fl, x: x.to(fl.complex64).topk(1),
    "largest of bools": lambda fl, x: x.bool().topk(1),
    "order of complex": lambda fl, x: x.to(fl.complex64).sort(),
    "powers of bools": lambda fl, x: fl.linalg.vander(x.bool()),
    "powers of halves": lambda fl, x: fl.linalg.vander(x.bfloat16()),
    "slopes of bytes": lambda fl, x: fl.gradient(x.to(fl.uint8)),
    "mvlgamma of bools": lambda fl, x: fl.mvlgamma(x.bool(), 1),
    "spectral norm of halves": lambda fl, x: fl.linalg.matrix_norm(x.view(2, 2).half(), 2),
    "nuclear norm of halves": lambda fl, x: fl.linalg.norm(x.view(2, 2).half(), "nuc"),
    "triangles of floats": lambda fl, x: fl.tril_indices(2, 2, dtype=fl.float32),
    "triangles of bytes": lambda fl, x: fl.triu_indices(2, 2, dtype=fl.uint8),
    "places of uint16": lambda fl, x: fl.unravel_index(x.to(fl.uint16), (3, 2)),
    "sums of exponentials": lambda fl, x: x.logcumsumexp(0),
    "likelihood of pixels": lambda fl, x: fl.nn.functional.nll_loss(x.view(1, 2, 2, 1), x.view(1, 2, 2)[:, :, :1] * 0),
    "from real to complex": lambda fl, x: fl.linspace(0, 1j, 3, dtype=fl.float32),
    "rows by floats": lambda fl, x: fl.nn.functional.embedding(x.float(), x.view(2, 2).float()),
    "rows by bools": lambda fl, x: fl.nn.functional.embedding(x.bool(), x.view(2, 2).float()),
    "short rows by bytes": lambda fl, x: fl.nn.functional.embedding(x.to(fl.uint8), x.view(2, 2).float(), max_norm=1.0),
    "spread of integers with their mean": lambda fl, x: fl.var_mean(x),
    "deviation of integers with their mean": lambda fl, x: fl.std_mean(x, 0),
    "classes in int32": lambda fl, x: fl.nn.functional.one_hot(x.int()),
    "choices by floats": lambda fl, x: fl.where(x.float(), x, x),
    "short rows by bfloat16": lambda fl, x: fl.nn.functional.embedding(
        x.bfloat16(), x.view(2, 2).float(), max_norm=1.0
    ),
}


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("name", LACKING)
def test_lacking(agree, name):
    def program(fl):
        try:
            return LACKING[name](fl, fl.tensor([1, 2, 3, 4]))
        except (RuntimeError, NotImplementedError) as error:
            return type(error).__name__, str(error)

    agree(program)


def test_normal_numbers_have_the_dtype_of_their_spread(agree):
    agree(lambda fl: fl.normal(0.0, fl.zeros(3, dtype=fl.bfloat16)))


def test_what_there_is(agree):
    def program(fl):
        x = fl.tensor([1, 2, 3, 4])
        u = x.to(fl.uint16)
        return (
            *(u * u, u / u, u == u, u.to(fl.int32), u.sum(), fl.stack([u, u]), u[:2], u.view(2, 2).T),
            *(fl.nn.functional.avg_pool1d(x.view(1, 4), 2), fl.nn.functional.relu(x), fl.nn.functional.hardtanh(x)),
        )

    agree(program)


DTYPES = [
    "bool",
    "uint16",
    "uint64",
    "int64",
    "float16",
    "bfloat16",
    "complex32",
    "float8_e5m2",
    "float8_e4m3fn",
    "float32",
    "complex64",
]
ALGEBRA = {
    "identity": lambda fl, x, v: fl.eye(3, dtype=x.dtype),
    "inner": lambda fl, x, v: v @ v,
    "matrix and vector": lambda fl, x, v: x @ v,
    "vector and matrix": lambda fl, x, v: v @ x,
    "matrices": lambda fl, x, v: x @ x,
    "batch and matrix": lambda fl, x, v: x.view(1, 2, 2) @ x,
    "batch and vector": lambda fl, x, v: x.view(1, 2, 2) @ v,
    "batches": lambda fl, x, v: x.view(1, 2, 2) @ x.view(1, 2, 2),
    "vector and batch": lambda fl, x, v: v @ x.view(1, 2, 2),
    "trace": lambda fl, x, v: x.trace(),
    "norm": lambda fl, x, v: fl.linalg.vector_norm(x),
    "determinant": lambda fl, x, v: fl.linalg.det(x),
    "singular values": lambda fl, x, v: fl.linalg.svdvals(x),
    "rank": lambda fl, x, v: fl.linalg.matrix_rank(x),
    "rank above": lambda fl, x, v: fl.linalg.matrix_rank(x, atol=0.1),
    "rank from a part": lambda fl, x, v: fl.linalg.matrix_rank(x, rtol=0.1),
    "rank by tolerance": lambda fl, x, v: fl.linalg.matrix_rank(x, tol=0.1),
    "rank of a vector": lambda fl, x, v: fl.linalg.matrix_rank(v),
    "factors": lambda fl, x, v: fl.linalg.lu_solve(x, fl.ones(2, dtype=fl.int32), x),
}


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("name", ALGEBRA)
def test_algebra_by_dtype(agree, name):
    def program(fl):
        found = []
        for dtype in DTYPES:
            x = fl.tensor([[1.0, 2.0], [2.0, 1.0]]).to(getattr(fl, dtype))
            try:
                out = ALGEBRA[name](fl, x, x[0])
                found.append((str(out.dtype), list(out.shape)))
            except (RuntimeError, NotImplementedError) as error:
                found.append((dtype, type(error).__name__, str(error).partition("\n")[0]))
        return found

    agree(program)

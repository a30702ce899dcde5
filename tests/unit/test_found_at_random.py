"""What random programs (tests/fuzz) found, each in its smallest form."""

import pytest

from tests.agree import rand


def told(program):
    """The program, with the error that it raises for its result."""

    def run(fl, *xs):
        try:
            return program(fl, *xs)
        except (RuntimeError, IndexError, TypeError, ValueError) as problem:
            return type(problem).__name__, str(problem)

    return run


def test_a_view_that_was_asked_for_gradients_itself_is_a_leaf(agree):
    def program(fl, x, write):
        view = x.detach()[1:].requires_grad_()
        write(fl, view)

    for write in (
        lambda fl, v: v.lerp_(v, 0.5),
        lambda fl, v: v.mul_(2),
        lambda fl, v: v[0].mul_(2),
        lambda fl, v: v.le_(v),
        lambda fl, v: v.t().zero_(),
    ):
        agree(lambda fl, x, write=write: program(fl, x, write), rand(3, 2), raises=RuntimeError)


def test_indices_that_are_more_than_what_they_write_to(agree):
    index = lambda fl, *shape: fl.zeros(shape, dtype=fl.int64)
    agree(lambda fl, x: x.scatter(0, index(fl, 5, 9), 2), rand(3, 4), raises=RuntimeError)
    agree(lambda fl, x: x.scatter(0, index(fl, 5, 9), x), rand(3, 4), raises=RuntimeError)
    agree(lambda fl, x: x.scatter_add(0, index(fl, 5, 4), x), rand(3, 4), raises=RuntimeError)
    agree(lambda fl, x: x.scatter_reduce(0, index(fl, 5, 4), x, "sum"), rand(3, 4), raises=RuntimeError)
    agree(lambda fl, x: x.scatter(0, index(fl, 5, 4), 2), rand(3, 4))
    agree(lambda fl, x: x.index_add(0, fl.arange(2), x), rand(3, 4), raises=RuntimeError)
    agree(lambda fl, x: x.index_reduce(0, fl.arange(2), x, "prod"), rand(3, 4), raises=RuntimeError)


def test_shapes_that_rms_norm_refuses(agree):
    agree(lambda fl, x: fl.nn.functional.rms_norm(x, (2, 4)), rand(2, 3), raises=RuntimeError)
    agree(lambda fl, x: fl.nn.functional.rms_norm(x, (4,)), rand(2, 3), raises=RuntimeError)


def test_a_row_that_is_added_at_several_places(agree):
    def program(fl, x, at, rows):
        return x.index_put((fl.tensor(at),), x[:rows] * 1, accumulate=True)

    for at, rows in (([3, 1, 1, -2], 1), ([[3, 1], [0, 3]], 1), ([[3, 1], [0, 3]], 2), ([2, 0, 5], 3)):
        agree(lambda fl, x, at=at, rows=rows: program(fl, x, at, rows), rand(6, 22))
        agree(lambda fl, x, at=at, rows=rows: program(fl, x, at, rows), rand(6, 40, 8))


def test_numbers_have_memory_that_views_share(agree):
    def program(fl, x, name):
        made = getattr(fl, name)(x.detach())
        made.unsqueeze(0).add_(1)
        return made, made.unsqueeze(0).data_ptr() == made.data_ptr()

    for name in ("reciprocal", "log10", "rsqrt", "sigmoid", "erf", "erfc", "lgamma", "exp"):
        agree(lambda fl, x, name=name: program(fl, x.abs() + 0.5, name), rand())


def test_slices_that_do_not_fit(agree):
    index = lambda fl, n: fl.zeros(n, dtype=fl.int64)
    for dim, shape in ((1, (9, 4)), (1, (1, 4)), (0, (3, 5))):
        agree(
            lambda fl, x, y, dim=dim: x.index_copy(dim, index(fl, y.shape[dim]), y),
            rand(3, 4),
            rand(*shape),
            raises=RuntimeError,
        )
    agree(lambda fl, x, y: x.index_copy(1, index(fl, 2), y), rand(0, 3), rand(0, 2), grads=0)


def test_quotients_of_integers_that_are_not_rounded(agree):
    i = lambda fl: fl.arange(6)
    agree(lambda fl: i(fl).div(i(fl) + 1, rounding_mode=None))
    agree(lambda fl: fl.div(i(fl), 4, rounding_mode=None))
    agree(lambda fl: fl.div(i(fl) > 2, i(fl) + 1, rounding_mode=None))
    agree(lambda fl: i(fl).div_(2, rounding_mode=None), raises=RuntimeError)
    agree(lambda fl: fl.ones(3, dtype=fl.bool).div_(2, rounding_mode=None), raises=RuntimeError)


def test_what_has_no_derivative_takes_part_in_graphs(agree):
    for program in (lambda fl, x, y: fl.heaviside(x, y), lambda fl, x, y: x.floor_divide(y), lambda fl, x, y: x // 2):
        agree(program, rand(3), rand(3) + 2, raises=RuntimeError)
        agree(lambda fl, x, y, p=program: p(fl, x, y).requires_grad, rand(3), rand(3), grads=0)


def test_integers_that_floats_are_written_to_have_no_history(agree):
    def program(fl, x, dtype):
        made = fl.zeros(3, dtype=getattr(fl, dtype)).copy_(x)
        return made, made.requires_grad

    for dtype in ("bool", "int64", "float64"):
        agree(lambda fl, x, dtype=dtype: program(fl, x, dtype), rand(3))


def test_one_of_several_views_of_what_is_written(agree):
    def view_of_one(fl, x):
        part = (x * 2).unbind(0)[0]
        part.expand(3, 2)[1].clamp_(-2, 2)

    def base(fl, x, use):
        whole = x * 2
        part = whole.chunk(2)[0]
        whole.add_(1)
        return use(part)

    agree(view_of_one, rand(3, 2), raises=RuntimeError)
    for use in (lambda v: v.relu(), lambda v: v + 1, lambda v: v.grad_fn):
        agree(lambda fl, x, use=use: base(fl, x, use), rand(3, 2), raises=RuntimeError)
    agree(lambda fl, x: base(fl, x.detach(), lambda v: v + 1), rand(3, 2))


def test_a_source_that_is_written_after_it_was_scattered(agree):
    def program(fl, x):
        y = x * 1
        made = fl.zeros(3, 2, dtype=x.dtype).scatter(0, fl.zeros(3, 2, dtype=fl.int64), y)
        with fl.no_grad():
            y.mul_(0.5)
        return made

    agree(program, rand(3, 2))


def test_losses_called_by_their_operators_are_not_reduced(agree):
    for name in ("kl_div", "hinge_embedding_loss", "binary_cross_entropy_with_logits"):
        agree(lambda fl, x, y, name=name: getattr(fl, name)(x, y.detach().sigmoid()), rand(3), rand(3))
    for name in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "soft_margin_loss"):
        agree(lambda fl, x, y, name=name: getattr(fl._C._nn, name)(x, y.detach()), rand(3), rand(3))
        agree(lambda fl, x, y, name=name: getattr(fl.ops.aten, name)(x, y.detach()), rand(3), rand(3))
        agree(lambda fl, x, y, name=name: getattr(fl.nn.functional, name)(x, y.detach()), rand(3), rand(3))
    agree(lambda fl, x, y: fl.margin_ranking_loss(x, y, y.detach()), rand(3), rand(3))


def test_places_of_trapezoids(agree):
    for y, x in (((3,), (2,)), ((3, 4), (2, 4)), ((2, 3), (2, 2)), ((3, 4), (7,)), ((2, 3, 4), (3, 4))):
        agree(told(lambda fl, a, b: fl.trapezoid(a, b)), rand(*y), rand(*x), grads=0)
        agree(told(lambda fl, a, b: fl.cumulative_trapezoid(a, b, dim=0)), rand(*y), rand(*x), grads=0)


def test_thresholds_beyond_the_dtype(agree):
    for x in (float("inf"), -1.0, float("nan"), 0.5):
        agree(told(lambda fl, y, x=x: fl.nn.functional.softshrink(y, x)), rand(3), grads=0)
    agree(lambda fl, y: fl.nn.functional.softshrink(y.half(), 1e30), rand(3), raises=RuntimeError)


def test_norms_of_integers_and_of_three_dims(agree):
    agree(lambda fl: fl.norm_except_dim(fl.arange(3)), raises=RuntimeError)
    agree(lambda fl, x: x.norm(dim=(0, 1, 2)), rand(2, 3, 4), raises=RuntimeError)
    agree(lambda fl, x: x.norm(p=2, dim=(0, 1, 2)), rand(2, 3, 4))


def test_unique_slices_of_nothing(agree):
    for shape in ((0, 9), (0, 0, 2), (2, 0), (0,)):
        for dim in range(len(shape)):
            agree(told(lambda fl, s=shape, d=dim: fl.unique(fl.zeros(s), dim=d, return_counts=True)))
            agree(told(lambda fl, s=shape, d=dim: fl.unique_consecutive(fl.zeros(s), dim=d)))


def test_dtypes_that_are_not_counted_in(agree):
    for dtype in ("bool", "complex64", "float8_e4m3fn", "uint16", "uint64", "uint8", "bfloat16"):
        agree(told(lambda fl, d=dtype: fl.arange(3, dtype=getattr(fl, d)).float()))


def test_sizes_that_cannot_be_expanded_are_told_last_first(agree):
    agree(lambda fl, x: x.expand(2, 4), rand(3, 3), raises=RuntimeError)
    agree(lambda fl, x: x.expand(4, 5), rand(2, 3), raises=RuntimeError)


def test_pooling_to_one(agree):
    F = lambda fl: fl.nn.functional
    for shape in ((19, 35), (5,), (2, 3, 4, 5, 6), (2, 0, 4, 4), (2, 3, 0, 4)):
        for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool3d"):
            for size in (1, 2):
                agree(told(lambda fl, x, n=name, s=size: getattr(F(fl), n)(x, s)), rand(*shape), grads=0)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_sizes_of_adaptive_pooling(agree, kind, n):
    sizes = ((1,) * (n + 1), (1,), (), 2, (1,) * n, (-1,) * n, (3,) + (1,) * (n - 1))
    for shape in ((1, 2) + (8,) * n, (8,) * n, (0, 2) + (8,) * n, (1, 0) + (8,) * n):
        for size in sizes:
            pool = lambda fl, x, s=size: getattr(fl.nn.functional, f"adaptive_{kind}_pool{n}d")(x, s)
            agree(told(pool), rand(*shape), grads=0)


def test_shapes_that_have_no_product(agree):
    for w in ((2, 2, 3), (1, 1, 2, 3), ()):
        agree(lambda fl, x, y: fl.nn.functional.linear(x, y), rand(2, 3), rand(*w), raises=RuntimeError)
    for x, y in (((5,), (4, 6, 6)), ((1,), (4, 2, 6, 6)), ((4, 6, 6), (5,))):
        agree(lambda fl, a, b: a.detach() @ b.detach(), rand(*x), rand(*y), raises=RuntimeError)


def test_indices_into_nothing(agree):
    i = lambda fl: fl.arange(3)
    for program in (
        lambda fl: fl.zeros(0)[i(fl)],
        lambda fl: fl.zeros(0, 2)[i(fl)],
        lambda fl: fl.zeros(2, 0)[:, i(fl)],
        lambda fl: fl.zeros(0, 2)[i(fl), 0],
        lambda fl: fl.zeros(0, 2).index_put_((i(fl),), fl.zeros(2)),
        lambda fl: fl.zeros(0).put_(i(fl), fl.zeros(3)),
    ):
        agree(program, raises=IndexError)
    agree(lambda fl: fl.zeros(0, 2)[fl.zeros(0, 3, dtype=fl.int64)])
    agree(lambda fl: fl.zeros(3, 0).amin((-1,)), raises=IndexError)


def test_in_place_shapes_are_told_before_dtypes(agree):
    for name in ("mul_", "div_", "bitwise_and_"):
        for other in ((3,), (4, 2), (4, 3, 2), (2,)):
            agree(lambda fl, y, n=name: getattr(fl.ones(3, 2, dtype=fl.bool), n)(y), rand(*other), raises=RuntimeError)


def test_writes_by_index_into_what_is_read(agree):
    at = lambda fl: fl.arange(2)
    zeros = lambda fl: fl.zeros(3, 2, dtype=fl.int64)
    for write in (
        lambda fl, v: v.index_put_((fl.arange(3),), v),
        lambda fl, v: v.__setitem__(fl.arange(3), v),
        lambda fl, v: v.__setitem__(at(fl), v[1:]),
        lambda fl, v: v.index_add_(0, fl.arange(3), v),
        lambda fl, v: v.index_copy_(0, at(fl), v[1:]),
        lambda fl, v: v.index_reduce_(0, fl.arange(3), v, "amax"),
        lambda fl, v: v.scatter_(0, zeros(fl), v),
        lambda fl, v: v.scatter_add_(0, zeros(fl), v),
        lambda fl, v: v.put_(zeros(fl), v),
        lambda fl, v: v.masked_scatter_(v > 0.5, v),
        lambda fl, v: v.index_fill_(0, at(fl), v[0, 0]),
        lambda fl, v: v.index_copy_(0, at(fl), v[1:] * 1),
    ):
        agree(told(lambda fl, x, write=write: (write(fl, v := x.detach().clone()), v)[1]), rand(3, 2))


def test_arguments_that_belong_to_another_overload(agree):
    for call in (
        lambda fl, x: x.sum(keepdim=True),
        lambda fl, x: x.sum(dtype=fl.float64, keepdim=True),
        lambda fl, x: x.clamp(x, 3),
        lambda fl, x: x.clamp(1, x),
        lambda fl, x: fl.clamp(x, x, 2.0),
        lambda fl, x: x.clamp_(x, 3),
        lambda fl, x: x.sort(0, True, stable=True),
        lambda fl, x: fl.argsort(x, 0, True, True),
        lambda fl, x: fl.zeros(2, names=("a",)),
        lambda fl, x: fl.tensor([1.0], names=None),
    ):
        agree(call, rand(2, 3), raises=TypeError, grads=0)
    for call in (
        lambda fl, x: fl.sort(x, 0, stable=True),
        lambda fl, x: fl.kaiser_window(5, beta=3.0),
        lambda fl, x: fl.mean(x, keepdim=True),
        lambda fl, x: x.argsort(0, stable=True),
        lambda fl, x: fl.randn(2, names=("a",)),
    ):
        agree(lambda fl, x, call=call: told(call)(fl, x)[1].partition("(")[0], rand(2, 3), grads=0)


def test_overloads_with_all_of_their_arguments(agree):
    for call in (
        lambda fl, x: x.sum(None, True),
        lambda fl, x: x.sum(dim=None, keepdim=True),
        lambda fl, x: x.sum((), keepdim=True),
        lambda fl, x: x.sum(axis=0, keepdims=True),
        lambda fl, x: fl.mean(x, None, True),
        lambda fl, x: x.clamp(fl.tensor(0.0), 0.5),
        lambda fl, x: x.clamp(-0.5, fl.tensor(0.5)),
        lambda fl, x: x.sort(stable=True, dim=0, descending=True),
        lambda fl, x: fl.sort(x, stable=None),
        lambda fl, x: x.argsort(stable=True),
        lambda fl, x: fl.hamming_window(5, True, 0.5),
    ):
        agree(call, rand(2, 3), rtol=1e-5)


def test_tensors_that_have_no_gradient(agree):
    F = lambda fl: fl.nn.functional
    at = lambda fl: fl.tensor([0, 2])
    for call in (
        lambda fl, x, y: F(fl).binary_cross_entropy(x.sigmoid(), y.detach().sigmoid(), weight=y),
        lambda fl, x, y: F(fl).binary_cross_entropy_with_logits(x, y.detach(), weight=y),
        lambda fl, x, y: F(fl).binary_cross_entropy_with_logits(x, y.detach(), pos_weight=y),
        lambda fl, x, y: F(fl).soft_margin_loss(x, y),
        lambda fl, x, y: F(fl).multi_margin_loss(x, at(fl), weight=y[0]),
        lambda fl, x, y: F(fl).nll_loss(x, at(fl), weight=y[0]),
        lambda fl, x, y: F(fl).cross_entropy(x, at(fl), weight=y[0]),
    ):
        agree(call, rand(2, 3), rand(2, 3, seed=1), raises=RuntimeError)
        agree(lambda fl, x, y, call=call: call(fl, x, y.detach().abs()), rand(2, 3), rand(2, 3, seed=1))

        def blind(fl, x, y, call=call):
            with fl.no_grad():
                return call(fl, x, y.abs())

        agree(blind, rand(2, 3), rand(2, 3, seed=1), grads=0)


def test_numbers_that_gradients_should_reach(agree):
    agree(lambda fl, x: fl.full((2,), x), rand(), raises=TypeError)
    agree(lambda fl, x: fl.full_like(fl.ones(2), x), rand(), raises=TypeError)
    agree(lambda fl, x: fl.full((2,), x.detach(), dtype=x.dtype), rand(), grads=0)


def test_distinct_elements_have_no_derivative(agree):
    def program(fl, x, **words):
        values, at, *_ = fl.unique(x, return_inverse=True, **words)
        return values, values.requires_grad, at.requires_grad

    agree(lambda fl, x: program(fl, x), rand(4), grads=0)
    agree(lambda fl, x: program(fl, x, dim=0), rand(4, 2), grads=0)
    agree(lambda fl, x: fl.unique(x).sum().backward(), rand(4), raises=NotImplementedError)
    agree(lambda fl, x: fl.unique_consecutive(x).sum().backward(), rand(4), raises=NotImplementedError)
    agree(lambda fl, x: fl.unique(x.detach()).requires_grad, rand(4), grads=0)


def test_results_in_parts_of_other_sizes(agree):
    def program(fl, x, part, made):
        import warnings

        whole = fl.zeros(4, 3, dtype=x.dtype)
        out = part(whole)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            made(fl, x, out)
        return whole, out, out.stride(), out.storage_offset(), len(told)

    for part in (
        lambda w: w[0],
        lambda w: w[1, :2],
        lambda w: w[:, 0],
        lambda w: w[0, :1].expand(3),
        lambda w: w[:, :0],
    ):
        for made in (
            lambda fl, x, out: fl.mm(x, x, out=out),
            lambda fl, x, out: fl.mul(x, x, out=out),
            lambda fl, x, out: fl.cat([x[0], x[1]], out=out),
        ):
            agree(told(lambda fl, x, part=part, made=made: program(fl, x.detach(), part, made)), rand(2, 2), grads=0)


def test_masks_that_are_parts_of_what_they_write(agree):
    def program(fl):
        b = fl.arange(6) % 2 > 0
        return b[1:].masked_fill_(b[:-1], 0)

    agree(program, raises=RuntimeError)
    agree(lambda fl: (fl.arange(6) % 2 > 0).masked_fill_(fl.arange(6) > 2, 1))


def test_where_views_of_wider_elements_may_begin(agree):
    bytes_ = lambda fl: fl.arange(16, dtype=fl.uint8)
    for view in (
        lambda fl: bytes_(fl)[1:5].view(fl.int32),
        lambda fl: bytes_(fl)[4:8].view(fl.int32),
        lambda fl: bytes_(fl).view(2, 8)[:, 2:6].view(fl.int16),
        lambda fl: bytes_(fl).view(2, 8)[:, 1:5].view(fl.int32),
        lambda fl: fl.zeros(2, 4)[:, 1:3].view(fl.float64),
    ):
        agree(lambda fl, view=view: told(lambda fl: view(fl))(fl))


def test_gradients_of_means_may_be_written(agree):
    def program(fl, x, dims, keep):
        seen = []
        y = x.requires_grad_() * 1
        y.register_hook(lambda g: seen.append(g.stride()) or g.mul_(2))
        y.mean(dims, keep).sum().backward()
        return x.grad, seen

    for dims in (0, -1, (0, 2), (1, 2)):
        for shape in ((2, 3, 4), (1, 3, 4), (20, 30, 40)):
            agree(lambda fl, x, d=dims: program(fl, x, d, False), rand(*shape), grads=0)
            agree(lambda fl, x, d=dims: program(fl, x, d, True), rand(*shape), grads=0)
    agree(lambda fl, x: x.mean(0), rand(3, 4), grads=2)
    agree(lambda fl, x: (x * x).mean((0, 2), keepdim=True), rand(3, 4, 2), grads=2)


def test_parts_of_what_has_its_channels_last_are_written(agree):
    def program(fl, x, c):
        y = (x * 1).contiguous(memory_format=fl.channels_last)
        part = y.as_strided((3, 2), (2, 1), 1)
        part *= c
        return y

    agree(program, rand(2, 3, 4, 5), rand(1), grads=2)

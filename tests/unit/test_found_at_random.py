"""What random programs (tests/fuzz) found, each in its smallest form."""

from tests.agree import rand


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

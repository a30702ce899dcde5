"""Reading and writing by index, order and search: values, derivatives, and what is refused, as PyTorch has them."""

import numpy as np
import pytest

import flambeau
from tests.agree import in_bits, rand

I = [2, 0, 2]
READS = {
    "index": lambda t, x: [x[t.tensor(I)], x[:, t.tensor([1, 0])], x[t.tensor([0, 1]), :, t.tensor([1, 2])], x[x > 0]],
    "index with None": lambda t, x: [
        x[None, t.tensor(I)],
        x[..., t.tensor([[0, 1], [2, 3]])],
        x[[0, 2]],
        x[t.tensor([True, False, True])],
    ],
    "index_select": lambda t, x: [x.index_select(0, t.tensor(I)), x.index_select(-1, t.tensor([3]))],
    "gather": lambda t, x: [x.gather(1, t.tensor([[[0, 1], [1, 1]]])), x.gather(0, t.zeros(1, 2, 4, dtype=t.int64))],
    "take": lambda t, x: [x.take(t.tensor([[0, -1], [5, 5]])), t.take_along_dim(x, t.tensor([[[1]]]), 2)],
    "masked_select": lambda t, x: [
        x.masked_select(x > 0),
        x.masked_fill(x > 0.5, 2.0),
        x.masked_fill(x < 0, x.sum().detach()),
    ],
    "embedding": lambda t, x: [
        t.embedding(x[0], t.tensor([[1, 0], [1, 1]])),
        t.embedding(x[0], t.tensor([0, 1]), padding_idx=1),
    ],
    "embedding by frequency": lambda t, x: t.embedding(x[0], t.tensor([0, 1, 1]), scale_grad_by_freq=True),
    "sort": lambda t, x: [*x.sort(), *x.sort(0, descending=True), x.msort(), x.argsort(1)],
    "topk": lambda t, x: [*x.topk(2), *x.topk(2, largest=False), *x.kthvalue(2), *x.kthvalue(1, 0, True)],
    "where": lambda t, x: [t.where(x > 0, x, x * 2), t.where(x > 0), t.nonzero(x > 0), t.argwhere(x > 0.5)],
}


@pytest.mark.parametrize("name", READS)
def test_reads(agree, name):
    agree(READS[name], rand(3, 2, 4), grads=2)


S = [[[0, 1, 1, 0], [1, 0, 0, 1]], [[1, 1, 1, 1], [0, 0, 1, 1]], [[0, 0, 0, 0], [1, 1, 0, 0]]]
WRITES = {
    "index_put": lambda t, x, y: [
        x.index_put((t.tensor(I),), y[0], accumulate=True),
        x.index_put((t.tensor([1, 0]),), y[0, 0]),
    ],
    "index_add": lambda t, x, y: [
        x.index_add(0, t.tensor([2, 0, 2]), y, alpha=2),
        x.index_copy(0, t.tensor([1, 0]), y[:2]),
    ],
    "index_fill": lambda t, x, y: [x.index_fill(1, t.tensor([1]), 3.0), x.index_fill(1, t.tensor([0]), y.sum())],
    "scatter": lambda t, x, y: [
        x.scatter(1, t.tensor(S), y),
        x.scatter(1, t.tensor(S)[:, :1, :2], 2.5),
        x.scatter_add(1, t.tensor(S), y),
    ],
    "scatter_reduce": lambda t, x, y: [
        x.scatter_reduce(1, t.tensor(S), y, r, include_self=s)
        for r in ("sum", "prod", "mean", "amax", "amin")
        for s in (True, False)
    ],
    "put": lambda t, x, y: [
        x.put(t.tensor([0, 5]), y[0, 0, :2]),
        x.put(t.tensor([1, 1]), y[0, 0, :2], accumulate=True),
    ],
    "masked_scatter": lambda t, x, y: x.masked_scatter(x > 0, y),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes(agree, name):
    agree(WRITES[name], rand(3, 2, 4), rand(3, 2, 4, seed=1))


@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize("reduce", ["prod", "mean", "amax", "amin"])
def test_index_reduce(agree, reduce):
    def program(t, x, y):
        return [x.index_reduce(0, t.tensor([2, 0, 2]), y, reduce, include_self=own) for own in (True, False)]

    agree(program, rand(3, 2, 4), rand(3, 2, 4, seed=1))


def test_writes_in_place(agree):
    def program(t, x, y):
        z = x * 1
        z.index_add_(0, t.tensor([1]), y[:1])
        z[t.tensor([0, 2])] = y[:2]
        z.scatter_(1, t.tensor(S), y)
        z.scatter_add_(1, t.tensor(S), y)
        z.masked_fill_(z > 0.9, 0.5)
        z[0, 1:] += 1
        z[:, 0].index_fill_(1, t.tensor([3]), -1)
        z.index_put_((t.tensor([2, 2]),), y[0, 0], accumulate=True)
        return z

    agree(program, rand(3, 2, 4), rand(3, 2, 4, seed=1))


def test_order_of_ties_and_nan(agree):
    x = np.array([2.0, np.nan, 1.0, 2.0, -np.inf, np.nan, 1.0])
    agree(lambda t, x: [*x.sort(stable=True), *x.sort(descending=True, stable=True), x.topk(3).values], x, grads=0)


def test_uniqueness(agree):
    def program(t, x):
        return [
            t.unique(x),
            t.unique(x, return_inverse=True, return_counts=True),
            t.unique(x, dim=0, return_counts=True),
            t.unique_consecutive(x, return_inverse=True, return_counts=True),
            x.unique(dim=1),
        ]

    agree(program, np.array([[3, 1, 1], [3, 1, 1], [0, 2, 2]]), grads=0)


def test_search(agree):
    def program(t, x):
        rows = x.sort().values
        return [
            t.searchsorted(rows, x),
            t.searchsorted(rows[0], 0.1, right=True),
            t.bucketize(x, rows[0], out_int32=True),
            t.isin(x.long(), t.tensor([0, 5])),
            t.searchsorted(rows, x, side="right"),
        ]

    agree(program, rand(3, 4), grads=0)


REFUSED = {
    "index": (IndexError, lambda t, x: x[t.tensor([3])]),
    "mask": (IndexError, lambda t, x: x[t.ones(2, dtype=t.bool)]),
    "index shapes": (IndexError, lambda t, x: x[t.tensor([0, 1]), t.tensor([0, 1, 0])]),
    "too many": (IndexError, lambda t, x: x[0, 0, 0, 0]),
    "float index": (IndexError, lambda t, x: x[t.tensor([0.5])]),
    "index_select": (IndexError, lambda t, x: x.index_select(0, t.zeros(1, 1, dtype=t.int64))),
    "index_add": (RuntimeError, lambda t, x: x.index_add(0, t.tensor([0]), t.zeros(1, 2, 4))),
    "gather": (RuntimeError, lambda t, x: x.gather(0, t.zeros(1, dtype=t.int64))),
    "gather bound": (RuntimeError, lambda t, x: x.gather(0, t.full((1, 1, 1), 7))),
    "scatter dtype": (RuntimeError, lambda t, x: x.scatter(0, t.zeros(1, 1, 1, dtype=t.int64), t.ones(1, 1, 1).half())),
    "masked_fill": (RuntimeError, lambda t, x: x.masked_fill(t.ones(3, 2, 4, dtype=t.int64), 0)),
    "masked_select": (RuntimeError, lambda t, x: x.masked_select(t.ones(3, 2, 4))),
    "topk": (RuntimeError, lambda t, x: x.topk(5)),
    "kthvalue": (RuntimeError, lambda t, x: x.kthvalue(5)),
    "index_put dtype": (RuntimeError, lambda t, x: x.index_put((t.tensor([0]),), t.ones(1))),
    "scatter_reduce": (RuntimeError, lambda t, x: x.scatter_reduce(0, t.zeros(1, 1, 1, dtype=t.int64), x, "most")),
    "take": (IndexError, lambda t, x: x.take(t.tensor([99]))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(agree, name):
    error, program = REFUSED[name]
    agree(program, rand(3, 2, 4), raises=error, grads=0)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int64", "bool", "complex64", "complex128"])
@pytest.mark.parametrize("n", [70, 5000])
def test_masks_read_and_write_in_order(agree, kind, n):
    x, mask, values = rand(3, n), rand(3, n), rand(3 * n)

    def program(fl, x, mask, values):
        leaves = x.requires_grad_(), values.requires_grad_()
        x = (x * 9).to(getattr(fl, kind))
        mask, values = mask > 0.4, (values * 7).to(x.dtype)
        count = int(mask.sum())
        y, z, w, v, u = (x.clone() for _ in range(5))
        y[mask] = values[:count]
        z[mask] = 1
        z.t()[mask.t()] = 0
        w[mask[:, 0]] = 1
        w.t()[mask.t()] = values[:count]
        if kind != "bool":
            v.index_put_((mask,), values[:count], accumulate=True)
        u.masked_scatter_(mask[:1], values)
        rows = x.t()[mask[0]]
        found = (
            y, z, w, v, u, x[mask], x.t()[mask.t()], rows, x.masked_select(mask[:1]), mask.nonzero(), x.nonzero(),
            x[:, mask[1]], *fl.where(mask),
        )  # fmt: skip
        return found if n < 1000 else in_bits(fl, found, *leaves)

    agree(program, x, mask, values, grads=int(n < 1000))


def test_masks_of_any_size_have_derivatives(agree):
    agree(lambda fl, x, y: x[x > 0.3] * 2 + x.masked_select(x > 0.3), rand(3, 2000), rand(5), grads=2)
    agree(lambda fl, x, y: x.masked_scatter(x > 0.3, y), rand(3, 2000), rand(6000), grads=2)


@pytest.mark.parametrize("n", [50, 9000])
def test_runs_of_equal_elements(agree, n):
    def program(fl, x):
        x = (x * 4).round()
        x[3] = x[4] = float("nan")
        runs = x.unique_consecutive(return_inverse=True, return_counts=True)
        more = x.unique(return_inverse=True, return_counts=True)
        return (*runs, x.unique_consecutive(), x.unique(), *more, *fl._unique2(x))

    agree(program, rand(n), grads=0)


@pytest.mark.parametrize("n", [12, 6000])
def test_masks_of_the_first_dims_and_of_views(agree, n):
    """Few rows and many: what a mask picks, and what is written through it into memory that is not dense."""

    def program(fl, x):
        mask, half = fl.arange(n) % 3 == 0, x.clone()[:, 1]
        half[mask] = fl.arange(n // 3).to(x.dtype)
        return x[mask], x[mask.reshape(-1, 2)[:, 0].repeat_interleave(2)], half, fl.nonzero(mask.reshape(3, -1).t())

    agree(program, rand(n, 3), grads=0, exact=True)


def test_new_axes_of_all_of_a_tensor(agree):
    """None beside what selects everything: the strides are PyTorch's, of tensors in order and of others, with dims of one element too."""

    def seen(fl, x):
        out = []
        for y in (x, x.T, x[:, :1], x[:1].T, x[0, 0]):
            views = [y[None], y[..., None], y[None, None], y[None, ...]] + (
                [y[:, None], y[None, 0:9]] if y.ndim else []
            )
            out += [fl.tensor([*v.stride(), v.storage_offset(), *v.shape]) for v in views]
        return [*out, x[:, None] * 2, x[None]]

    agree(seen, rand(3, 4))


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2)])
def test_small_masks_over_the_first_dims(shape, accumulate):
    x = flambeau.arange(24.0).reshape(4, 3, 2)
    mask = flambeau.arange(float(np.prod(shape))).reshape(shape).sin() > 0
    where = mask.nonzero(as_tuple=True)
    assert flambeau.equal(x[mask], x[where]) and x[mask].is_contiguous()
    values = x[mask] * 2 - 30
    assert flambeau.equal(x.index_put((mask,), values, accumulate), x.index_put(where, values, accumulate))
    with pytest.raises(RuntimeError, match="cannot be broadcast to indexing result of shape"):
        x.index_put((mask,), flambeau.zeros(7, 7, 7), accumulate)


def test_assignments_through_masks_and_rows_count_as_writes():
    x = flambeau.zeros(4, 3)
    version = x._version
    x[flambeau.tensor([0, 2])] = flambeau.ones(2, 3)
    x[x == 0] = -1.0
    x[:, flambeau.tensor([1])] = 5.0
    assert x._version == version + 3
    assert x.tolist() == [[1, 5, 1], [-1, 5, -1], [1, 5, 1], [-1, 5, -1]]
    leaf = flambeau.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        leaf[flambeau.tensor([0])] = 1.0
    y = leaf * 1
    y[flambeau.tensor([1])] = 2.0
    y.sum().backward()
    assert leaf.grad.tolist() == [1, 0, 1]

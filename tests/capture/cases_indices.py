"""Assignments to parts that tensors choose: caches of keys and values, masks, lists of rows; and sizes that data decides."""

import flambeau as torch
from tests.capture.world import case, freeze, whole, x


def grid(n=4):
    return torch.stack([x(3, i) for i in range(n)])


@whole
def cache_by_position(wrap):
    cache = torch.zeros(2, 3, 8, 2)

    def f(k, position):
        cache[:, :, position] = k
        return cache.sum(2)

    f, k = wrap(f), torch.arange(12.0).reshape(2, 3, 2) - 4
    return [freeze(f(k + i, i)) for i in (0, 1, 2, 5, -1)], cache


@whole
def cache_by_stretch(wrap):
    cache = torch.zeros(2, 3, 8, 2)

    def f(k, position):
        cache[:, :, position : position + k.shape[2]] = k
        return cache[:, :, : position + k.shape[2]].sum(2)

    f, k = wrap(f), torch.arange(24.0).reshape(2, 3, 2, 2) - 4
    return [freeze(f(k + i, i)) for i in (0, 2, 4, 5)], cache


@whole
def cache_by_tensor(wrap):
    cache, other = torch.zeros(2, 3, 8, 2), torch.zeros(8, 2)

    def f(k, positions):
        cache[:, :, positions] = k
        other[positions] = k[0, 0]
        cache.index_copy_(2, positions + 3, k * 2)
        return cache.sum(2), other * 1

    f, k = wrap(f), torch.arange(24.0).reshape(2, 3, 2, 2) - 4
    out = [freeze(f(k + i, torch.tensor([i, i + 1]))) for i in (0, 1, 3)]
    return out, cache, other


@whole
def one_by_tensor(wrap):
    def f(t, i, v):
        t = t.clone()
        t[i] = 5.0
        t[:, i] = v
        t[i, 1:] = v[1:]
        return t

    f = wrap(f)
    return [freeze(f(grid(3), torch.tensor(i), x())) for i in (0, 2, -1)]


@whole
def masks(wrap):
    def f(t, v):
        a, b, c, d = t.clone(), t.clone(), t.clone(), (t * 4).long()
        a[a > 0] = 7
        b[t.sum(1) > 0] = v.sum()
        c[c < 0] = v.double().sum()
        d[d > 2] = 1.75
        e = t > 0
        e[t < -1] = 2.0
        return a, b, c, d, e

    f = wrap(f)
    return [freeze(f(grid(), x())), freeze(f(-grid(), x()))]


@whole
def masks_with_gradients(wrap):
    def f(t, v):
        y = t * 2
        y[t > 0] = 0.0
        y[1] = v
        y[[0, 2]] = v * 3
        return y.square().sum()

    f, v = wrap(f), x().requires_grad_()
    out = []
    for t in (grid().requires_grad_(), (-grid()).requires_grad_()):
        f(t, v).backward()
        out += [freeze(t.grad), freeze(v.grad)]
    return out


@whole
def rows_by_list(wrap):
    def f(t, v):
        t = t.clone()
        t[[0, 2]] = v
        t[[1, 3], [0, -1]] = 9.0
        return t

    f = wrap(f)
    return [freeze(f(grid(), x())), freeze(f(grid(), x(3, 2)))]


@whole
def values_by_mask(wrap):
    def f(t):
        y = t.clone()
        y[0, torch.tensor([True, False, True])] = t[1, :2]
        return y

    f = wrap(f)
    return [freeze(f(grid())), freeze(f(grid() + 1))]


@case
def outside_of_it(wrap):
    def f(t, i):
        t = t.clone()
        t[i] = 1.0
        return t

    f = wrap(f)
    out = []
    for i in (torch.tensor([0, 1]), torch.tensor([5]), torch.tensor([-2])):
        try:
            out.append(freeze(f(grid(), i)))
        except IndexError:
            out.append("refused")
    return out


@case
def selected_by_mask(wrap):
    def f(t):
        y = t.sin()
        picked = y[t > 0]
        return picked * 2 + picked.sum(), y.cos()

    f = wrap(f)
    return [freeze(f(grid() + i)) for i in (0, 0, 0.5, -1, 1, 2, 0.25, -0.5, 3, 9)]


@case
def places_of_elements(wrap):
    def f(t):
        where = (t > 0).nonzero()
        return where.float().mean(0) + 1, torch.unique(t.round()).sum() * 2

    f = wrap(f)
    return [freeze(f(grid() + i)) for i in (0, 0, 0.5, -1, 1, 2, 0.25, -0.5, 3)]


@whole
def numbers_in_tensors(wrap):
    def f(x, i, j):
        return x[i] * 2, x[i, j] + x[..., i, :, :].sum(), x[None, i] - 1, x[i, j, 1:] + x[j].sum()

    f, t = wrap(f), torch.arange(60.0).reshape(4, 3, 5)
    return [freeze(f(t + i, torch.tensor(i), torch.tensor(j))) for i, j in ((0, 1), (2, -1), (-3, 0))]


@whole
def the_largest_row(wrap):
    f = wrap(lambda x: x[x.sum(1).argmax()] * 2)
    return [freeze(f(torch.stack([x(3, i), x(3, 4 - i), x(3, 2)]))) for i in range(5)]


@whole
def gradients_of_chosen_rows(wrap):
    def f(w, i):
        w = w.detach().clone().requires_grad_()
        (w[i] * w[i, 0] * w[0]).sum().backward()
        return w.grad

    return [freeze(wrap(f)(grid(), torch.tensor(i))) for i in (0, 1, -1)]


@whole
def a_chosen_row_is_read_before_it_is_written(wrap):
    def f(t, i):
        row = t[i] * 2
        t.add_(1)
        return row + t[i]

    f, t = wrap(f), grid()
    return [freeze(f(t, torch.tensor(i))) for i in (1, 2)], freeze(t)


@case
def chosen_rows_are_views(wrap):
    """Where somebody can tell: the index is a break."""

    def written(t, i):
        t[i].add_(1)
        row = t[i]
        row.mul_(2)
        return t * 1

    def late(t, i):
        row = t[i]
        t.add_(1)
        return row * 2

    def given(t, i):
        return t[i], t[i].view(3, 1)

    def printed(t, i):
        row = t[i]
        print(end="")
        row.add_(1)
        return t + row

    out = []
    for f in (written, late, given, printed):
        f, t = wrap(f), grid()
        for i in (1, -1):
            r = f(t, torch.tensor(i))
            out.append(freeze(r))
            if isinstance(r, tuple):
                r[0].add_(1)
        out.append(freeze(t))
    return out


@case
def a_chosen_column_has_gaps(wrap):
    f = wrap(lambda t, i: (t[:, i].stride(), t[:, i].is_contiguous(), t[:, i] * 2))
    return [freeze(f(grid(), torch.tensor(i))) for i in (0, -1)]


@case
def a_chosen_row_that_is_not_there(wrap):
    f, out = wrap(lambda t, i: t[i] * 2), []
    for i in (1, 4, -5, 3):
        try:
            out.append(freeze(f(grid(), torch.tensor(i))))
        except IndexError as e:
            out.append(str(e))
    return out


@case
def chosen_rows_among_other_tensors(wrap):
    f = wrap(lambda t, i, k: (t[i, :, k] + 1, t[k, i] * 1, t[torch.tensor(True)] * 2))
    return [freeze(f(torch.arange(60.0).reshape(4, 3, 5), torch.tensor(i), torch.tensor([0, 2]))) for i in (0, 2)]


@case
def chosen_rows_of_memory_that_two_inputs_share(wrap):
    def f(t, other, i):
        row = t[i]
        other.add_(1)
        return row * 2

    f, t = wrap(f), grid()
    return freeze(f(t, t[1:], torch.tensor(2))), freeze(f(t, x(3), torch.tensor(2))), freeze(t)


def _told(f, *args):
    try:
        return f(*args)
    except IndexError as error:
        return str(error)


@case
def integers_out_of_range(wrap):
    g = wrap(lambda t, i: (t[i], t)[1])
    h = wrap(lambda t, i: t[None, ..., i])
    return [_told(f, x(n), i) for f in (g, h) for n, i in ((3, 1), (4, 2), (4, 4), (3, -3), (3, -4), (5, 6))]


@case
def indices_that_nobody_uses(wrap):
    g = wrap(lambda t, i: (t[i], t * 2)[1])
    places = lambda *i: torch.tensor(i, dtype=torch.int64)
    return [
        _told(g, x(n), places(*i))
        for n, i in ((3, (1, 2)), (3, (1, 3)), (4, (3, 3)), (4, (0, 4)), (0, (0,)), (5, (-6,)))
    ]


@case
def written_at_integers_out_of_range(wrap):
    def f(t, i):
        t[None, ..., i] = 1
        return t

    g = wrap(f)
    return [_told(g, x(n), i) for n, i in ((3, 1), (4, 2), (4, 4), (3, -3), (3, -4), (5, 6))]


@case
def views_that_repeat(wrap):
    g = wrap(lambda t: (t * 2)[:4].view(1, 4).expand(3, 4))
    h = wrap(lambda t: (t + 1).unfold(0, 2, 1))
    return [f(x(n)) for n in (4, 5, 6) for f in (g, h)]


@case
def words_of_an_index_out_of_range(wrap):
    def f(t, i):
        try:
            return t[..., i]
        except IndexError as error:
            return str(error)

    g = wrap(f)
    return [g(x(n), i) for n, i in ((3, 1), (4, 2), (4, 4), (3, -4), (5, 6))]

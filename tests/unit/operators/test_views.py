"""Views: values, strides, first and second derivatives, and what is refused, as PyTorch has them."""

import pytest

from tests.agree import rand

VIEWS = {
    "view": lambda t, x: x.view(4, -1),
    "view of a transpose": lambda t, x: x.transpose(0, 1).view(3, 2, 2, 2),
    "reshape": lambda t, x: x.reshape(6, 4),
    "reshape with a copy": lambda t, x: x.permute(2, 0, 1).reshape(-1),
    "permute": lambda t, x: x.permute(2, 0, 1),
    "transpose": lambda t, x: x.transpose(0, -1),
    "t": lambda t, x: x[0].t(),
    "mT": lambda t, x: x.mT,
    "movedim": lambda t, x: x.movedim((0, 1), (2, 0)),
    "unsqueeze": lambda t, x: [x.unsqueeze(d) for d in (0, 1, 3, -1)],
    "unsqueeze of a transpose": lambda t, x: [x.mT.unsqueeze(d) for d in (0, 1, 2, 3)],
    "squeeze": lambda t, x: [
        x[:1, :, :1].squeeze(),
        x[:1, :, :1].squeeze(0),
        x[:1, :, :1].squeeze((0, 2)),
        x.squeeze(1),
    ],
    "expand": lambda t, x: [x.expand(2, 2, 3, 4), x[:, :1].expand(-1, 5, -1), x[0, 0].expand(3, 4)],
    "select": lambda t, x: [x.select(1, -1), x[1], x[..., 0]],
    "narrow": lambda t, x: x.narrow(2, 1, 2),
    "slices": lambda t, x: [x[:, ::2], x[1:, None, 1:, ::3], x[..., -2:]],
    "diagonal": lambda t, x: [x.diagonal(), x.diagonal(1, 1, 2), x.diagonal(-1, 2, 0)],
    "unfold": lambda t, x: [x.unfold(2, 2, 1), x.unfold(1, 3, 2), x.unfold(-1, 2, 3)],
    "unbind": lambda t, x: x.unbind(1),
    "split": lambda t, x: [x.split(3, 2), x.split([1, 3], 2), x.split(9)],
    "chunk": lambda t, x: x.chunk(3, 2),
    "tensor_split": lambda t, x: [x.tensor_split(3, 2), x.tensor_split((1, 3), 2)],
    "hsplit": lambda t, x: [x.hsplit(3), x.dsplit((1,)), x.vsplit(2)],
    "flatten": lambda t, x: [x.flatten(), x.flatten(1), x.flatten(0, 1)],
    "unflatten": lambda t, x: x.unflatten(2, (2, -1)),
    "as_strided": lambda t, x: [x.as_strided((3, 2), (1, 5), 2), x.as_strided((2, 2), (0, 1))],
    "view_as_complex": lambda t, x: t.view_as_real(t.view_as_complex(x.view(2, 3, 2, 2)) * (1 + 2j)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views(agree, name):
    agree(VIEWS[name], rand(2, 3, 4), grads=2, strides=True)


COPIES = {
    "clone": lambda t, x: [x.clone(), x.mT.clone(), x.mT.clone(memory_format=t.contiguous_format)],
    "contiguous": lambda t, x: [x.contiguous(), x.mT.contiguous()],
    "channels_last": lambda t, x: x[None].contiguous(memory_format=t.channels_last),
    "empty_like": lambda t, x: t.zeros_like(x.permute(2, 0, 1)),
    "flip": lambda t, x: [x.flip(0), x.flip(1, 2), t.fliplr(x), t.flipud(x)],
    "roll": lambda t, x: [x.roll(1), x.roll((1, -1), (0, 2)), x.roll(5, 2)],
    "rot90": lambda t, x: [t.rot90(x, k, (1, 2)) for k in range(-1, 3)],
    "repeat": lambda t, x: [x.repeat(2, 1, 3), x.repeat(1, 2, 1, 1), x.tile(2)],
    "repeat_interleave": lambda t, x: [
        x.repeat_interleave(2, 1),
        x.repeat_interleave(t.tensor([1, 0, 2]), 1),
        x.repeat_interleave(2),
    ],
    "cat": lambda t, x: [t.cat([x, x[:1]]), t.cat((x, x[:, :, :0], x), 2), t.cat([t.zeros(0, dtype=x.dtype), x])],
    "stack": lambda t, x: [
        t.stack([x, x * 2]),
        t.stack([x, x], -1),
        t.hstack([x, x]),
        t.vstack([x, x]),
        t.dstack([x, x]),
    ],
    "block_diag": lambda t, x: t.block_diag(x[0], x[0, 0], x[1].T),
    "meshgrid": lambda t, x: [t.meshgrid(x[0, 0], x[0, :, 0], indexing=i) for i in ("ij", "xy")],
    "cartesian_prod": lambda t, x: [
        t.cartesian_prod(x[0, 0], x[0, :, 0]),
        t.combinations(x[0, 0]),
        t.combinations(x[0, 0], 2, True),
    ],
    "scatters": lambda t, x: [
        x.select_scatter(x[0] * 2, 0, 1),
        x.slice_scatter(x[:, :1], 1, 2),
        x[0].diagonal_scatter(x[0, :, 0]),
    ],
    "tril": lambda t, x: [x.tril(), x.triu(1), x.tril(-1), t.diag(x[0, 0], 1), x.diag_embed(), t.trace(x[0])],
}


@pytest.mark.parametrize("name", COPIES)
def test_copies(agree, name):
    agree(COPIES[name], rand(2, 3, 4), grads=2)


@pytest.mark.parametrize("name", ["clone", "contiguous", "channels_last", "empty_like"])
def test_layouts(agree, name):
    agree(COPIES[name], rand(2, 3, 4), grads=0, strides=True)


REFUSED = {
    "view size": (RuntimeError, lambda t, x: x.view(5, 5)),
    "view twice -1": (RuntimeError, lambda t, x: x.view(-1, -1)),
    "view strides": (RuntimeError, lambda t, x: x.mT.view(24)),
    "view as double": (RuntimeError, lambda t, x: x[..., :3].contiguous().float().view(t.float64)),
    "permute count": (RuntimeError, lambda t, x: x.permute(0, 1)),
    "permute twice": (RuntimeError, lambda t, x: x.permute(0, 1, 1)),
    "transpose": (IndexError, lambda t, x: x.transpose(0, 3)),
    "t": (RuntimeError, lambda t, x: x.t()),
    "unsqueeze": (IndexError, lambda t, x: x.unsqueeze(4)),
    "squeeze": (IndexError, lambda t, x: x.squeeze(3)),
    "expand count": (RuntimeError, lambda t, x: x.double().expand(2, 3)),
    "expand size": (RuntimeError, lambda t, x: x.expand(2, 3, 5)),
    "expand leading": (RuntimeError, lambda t, x: x.expand(-1, 2, 3, 4)),
    "select": (IndexError, lambda t, x: x.select(0, 2)),
    "select scalar": (IndexError, lambda t, x: x[0, 0, 0].select(0, 0)),
    "narrow": (RuntimeError, lambda t, x: x.narrow(0, 1, 2)),
    "narrow start": (IndexError, lambda t, x: x.narrow(0, 4, 1)),
    "split": (RuntimeError, lambda t, x: x.split([1, 2])),
    "split size": (RuntimeError, lambda t, x: x.split(-1)),
    "chunk": (RuntimeError, lambda t, x: x.chunk(0)),
    "hsplit": (RuntimeError, lambda t, x: x.hsplit(2)),
    "diagonal": (RuntimeError, lambda t, x: x.diagonal(0, 1, 1)),
    "unfold": (RuntimeError, lambda t, x: x.unfold(0, 3, 1)),
    "unflatten": (RuntimeError, lambda t, x: x.unflatten(2, (3, 2))),
    "flatten": (RuntimeError, lambda t, x: x.flatten(2, 1)),
    "movedim": (RuntimeError, lambda t, x: x.movedim((0, 0), (1, 2))),
    "cat sizes": (RuntimeError, lambda t, x: t.cat([x, x[:, :2]], 2)),
    "cat ranks": (RuntimeError, lambda t, x: t.cat([x, x[0]])),
    "cat scalars": (RuntimeError, lambda t, x: t.cat([x[0, 0, 0]])),
    "stack": (RuntimeError, lambda t, x: t.stack([x, x[:1]])),
    "repeat": (RuntimeError, lambda t, x: x.repeat(2)),
    "imag": (RuntimeError, lambda t, x: x.imag),
    "view_as_complex": (RuntimeError, lambda t, x: t.view_as_complex(x)),
    "copy_": (RuntimeError, lambda t, x: t.zeros(2).copy_(t.zeros(3))),
    "expanded write": (RuntimeError, lambda t, x: t.zeros(3).expand(2, 3).add_(1)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(agree, name):
    error, program = REFUSED[name]
    agree(program, rand(2, 3, 4), raises=error, grads=0)


def test_memory_is_shared():
    import flambeau as t

    x = t.arange(12.0)
    y = x.view(3, 4).T[1:, ::2].unsqueeze(0)
    y.fill_(-1)
    assert x.tolist() == [0, -1, -1, -1, 4, 5, 6, 7, 8, -1, -1, -1]
    assert y.data_ptr() == x.data_ptr() + 4
    assert y.storage_offset() == 1


def test_views_in_place(agree):
    def program(t, x):
        y = x * 1
        y.unsqueeze_(0).transpose_(1, 2)
        y.squeeze_(0)
        y[0].mul_(3)
        return y, y.stride(), y.t_()

    agree(program, rand(3, 4), strides=True)


def test_dimensions_as_separate_integers(agree):
    agree(lambda t, x: (x.squeeze(0, 3), x.squeeze(-1, 0, 1), x.squeeze(1), x.squeeze((0, 3))), rand(1, 2, 3, 1))
    agree(lambda t, x: ((x * 1).squeeze_(0, 3), x.count_nonzero(0, 2), x.flip(1, 2)), rand(1, 2, 3, 1))
    agree(lambda t, x: x.squeeze(0, 0), rand(1, 2), raises=RuntimeError)


def test_resize_keeps_elements():
    import flambeau as t

    x = t.arange(4)
    assert x.resize_(2, 2).tolist() == [[0, 1], [2, 3]]
    assert x.resize_(3).tolist() == [0, 1, 2]
    assert x.resize_(6)[:4].tolist() == [0, 1, 2, 3]

"""Tensors without data, as models are made of before their weights are there: what is written into them, and indexing."""

import pytest


def test_writing_data_into_them(agree):
    def program(t):
        x = t.empty(2, 3, device="meta")
        whole, rows = x.copy_(t.ones(2, 3)), x[0].copy_(t.arange(3))
        buffer = t.nn.BatchNorm1d(3, device="meta").running_mean
        return [
            (tuple(y.shape), str(y.device)) for y in (whole, rows, buffer.copy_(t.ones(3)), x.copy_(2.0 * t.ones(())))
        ]

    agree(program)


def test_reading_data_out_of_them(agree):
    agree(lambda t: t.ones(2, 3).copy_(t.empty(2, 3, device="meta")), raises=NotImplementedError)


def test_indexing(agree):
    def program(t):
        x = t.empty(2, 3, device="meta")
        views = (
            x[..., :, None],
            x[..., None, :],
            x[..., 0, 1],
            x[0, 1],
            x[None, ..., 1:],
            x[0],
            x[..., 0],
            x[:, [0, 0, 2]],
        )
        return [(tuple(y.shape), str(y.device)) for y in views]

    agree(program)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_products_of_halves(agree, dtype):
    def program(fl):
        m, n = (fl.ones(*s, dtype=getattr(fl, dtype), device="meta") for s in ((2, 3), (3, 2)))
        made = (
            m @ n,
            fl.mm(m, n),
            fl.bmm(m[None], n[None]),
            fl.addmm(m[:, :2], m, n),
            fl.nn.functional.linear(m, m, m[:, 0]),
            m.mT @ m,
            m @ n[:, 0],
        )
        return [(r.dtype, r.shape, r.device.type) for r in made]

    agree(program)

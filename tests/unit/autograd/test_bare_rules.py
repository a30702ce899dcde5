"""Derivatives over bare arrays have the bits of those that are recorded, which are over tensors."""

from __future__ import annotations

import pytest

import flambeau

x, y = flambeau.arange(24.0).sin().reshape(4, 6), flambeau.arange(24.0).cos().reshape(4, 6)
rows, places = flambeau.tensor([3, 0, 3, -1]), flambeau.tensor([[0, 5, 0], [1, 1, 1], [2, 2, 3]])
CASES = {
    "rows": lambda x, y: x[rows],
    "pairs": lambda x, y: x[rows, rows],
    "columns": lambda x, y: x[:, rows],
    "mask": lambda x, y: x[x > 0],
    "rows of a slice": lambda x, y: x[1:][flambeau.tensor([[2, 0], [1, 1]])],
    "index_select": lambda x, y: x.index_select(-1, rows.abs()),
    "index_select of a number": lambda x, y: x[0, 0].index_select(0, flambeau.tensor([0])),
    "gather": lambda x, y: x.gather(1, places),
    "gather before": lambda x, y: x.gather(-2, flambeau.tensor([[0, 3, 3], [1, 1, 0]])),
    "gather from a number": lambda x, y: x[0, 0].gather(0, flambeau.tensor(0)),
    "cat": lambda x, y: flambeau.cat([x, flambeau.zeros(0), y, x], -1),
    "cat of one": lambda x, y: flambeau.cat([x]),
    "cat with doubles": lambda x, y: flambeau.cat(
        [x, y.to(flambeau.complex128 if y.is_complex() else flambeau.float64)]
    ),
    "stack": lambda x, y: flambeau.stack([x, y, x], 1),
    "stack last": lambda x, y: flambeau.stack((x, y), -1),
    "sort": lambda x, y: x.sort(0)[0],
    "sort of a number": lambda x, y: x[0, 0].sort()[0],
    "topk": lambda x, y: x.topk(2)[0],
    "topk before": lambda x, y: x.topk(3, 0, largest=False)[0],
    "max": lambda x, y: x.max(1)[0],
    "min kept": lambda x, y: x.min(0, keepdim=True)[0],
    "expand": lambda x, y: x[:, :1].expand(4, 5),
    "expand to more dims": lambda x, y: x.expand(3, 4, 6),
    "expand of a number": lambda x, y: x[0, 0].expand(2, 3),
    "expand to the same": lambda x, y: x.expand(-1, 6),
    "expand twice": lambda x, y: x[:1].expand(2, 3, 6),
    "split": lambda x, y: x.split(4, 1)[0] * 2 + x.split(4, 1)[0],
    "split of all": lambda x, y: sum(x.split([1, 2, 3], -1)[i].sum(1) * i for i in range(3)),
    "split of one": lambda x, y: x.split(4)[0],
    "chunk": lambda x, y: x.chunk(2, 1)[1],
    "unbind": lambda x, y: x.unbind(-1)[2] + x.unbind()[3][:4],
    "unbind of one": lambda x, y: x[:1].unbind()[0],
    "rows in a loop": lambda x, y: sum(row * i for i, row in enumerate(x)),
    "view": lambda x, y: x.view(2, 2, -1),
    "reshape": lambda x, y: x.t().reshape(3, 8),
    "permute": lambda x, y: x.view(2, 2, 6).permute(-1, 0, 1),
    "transpose": lambda x, y: x.transpose(-1, 0),
    "transpose of a number": lambda x, y: x[0, 0].transpose(0, -1),
    "t": lambda x, y: x.t(),
    "t of a vector": lambda x, y: x[0].t(),
    "squeeze": lambda x, y: x[:1].squeeze(),
    "unsqueeze": lambda x, y: x.unsqueeze(-2),
    "mm": lambda x, y: x.t().mm(y),
    "bmm": lambda x, y: x.view(2, 2, 6).bmm(y.view(2, 6, 2)),
    "matmul": lambda x, y: x @ y.t(),
    "matmul by a matrix": lambda x, y: x.view(2, 2, 6) @ y.view(6, 4),
    "matmul of matrices": lambda x, y: x.view(4, 6) @ y.view(2, 6, 2),
    "matmul of batches": lambda x, y: x.view(2, 1, 2, 6) @ y.view(2, 6, 2),
    "matmul by a vector": lambda x, y: x @ y[0],
    "matmul of vectors": lambda x, y: x[0] @ y[0],
    "masked_fill": lambda x, y: x.masked_fill(x > 0, -0.0) * y,
    "max of a number": lambda x, y: x[0, 0].max(0)[0],
}
ORDERED = {"mask", "sort", "topk", "max", "min", "masked_fill"}


@pytest.mark.parametrize("dtype", [flambeau.float32, flambeau.float64, flambeau.bfloat16, flambeau.complex64])
@pytest.mark.parametrize("name", CASES)
def test_bare_rules_have_the_bits_of_the_recorded_ones(name, dtype):
    if dtype.is_complex and ORDERED.intersection(name.split()):
        pytest.skip("complex numbers have no order")
    a, b = x.to(dtype, copy=True).requires_grad_(), y.to(dtype, copy=True).requires_grad_()
    out = CASES[name](a, b)
    g = flambeau.arange(float(out.numel())).reshape(out.shape).sin().to(out.dtype)
    g = g * (1 - 2j) if dtype.is_complex else g
    recorded = flambeau.autograd.grad(out, (a, b), g, create_graph=True, allow_unused=True)
    plain = flambeau.autograd.grad(out, (a, b), g, allow_unused=True)
    for p, r in zip(plain, recorded, strict=True):
        assert (p is None) == (r is None)
        assert p is None or (p.dtype is r.dtype and p.shape == r.shape and flambeau.equal(p, r.detach()))


def test_the_second_result_may_be_the_only_one_that_is_used():
    a = x.clone().requires_grad_()
    values, indices = a.topk(2)
    assert not indices.requires_grad
    (values * indices).sum().backward()
    assert flambeau.equal(a.grad, flambeau.zeros(4, 6).scatter(1, indices, indices.float()))


def test_an_index_that_is_overwritten_is_found_out():
    a, at = x.clone().requires_grad_(), places.clone()
    out = a.gather(1, at)
    at.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
    values, indices = a.topk(2)
    indices.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()


def test_saved_tensors_may_be_packed():
    a = x.clone().requires_grad_()
    seen = []
    with flambeau.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t) or t.clone(), lambda t: t):
        loss = a[rows].sum() + a.gather(1, places).sum() + a.topk(2)[0].sum()
    loss.backward()
    assert len(seen) >= 2
    assert flambeau.equal(a.grad, a.grad.round()) and a.grad.sum() == 24 + 9 + 8

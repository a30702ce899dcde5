"""What PyTorch's `vmap` refuses is refused in its words: writes into tensors that are not batched, layouts of the batch."""

import pytest

from tests.agree import rand

WRITTEN = {
    "add_": lambda a, b: a.add_(b),
    "mul_": lambda a, b: a.mul_(b),
    "atan2_": lambda a, b: a.atan2_(b),
    "eq_": lambda a, b: a.eq_(b),
    "pow_": lambda a, b: a.pow_(b),
    "floor_divide_": lambda a, b: a.floor_divide_(b),
    "igamma_": lambda a, b: a.igamma_(b),
    "addcmul_": lambda a, b: a.addcmul_(b, b),
    "addr_": lambda a, b: a.outer(a).addr_(b, b),
    "scatter_add_": lambda a, b: a.scatter_add_(0, b.long(), b),
    "index_copy_": lambda a, b: a.index_copy_(0, b.long(), b),
    "index_fill_": lambda a, b: a.index_fill_(0, b.long(), 1.0),
    "index_put_": lambda a, b: a.index_put_((b.long(),), b),
    "masked_fill_": lambda a, b: a.masked_fill_(b > 0, 1.0),
    "put_": lambda a, b: a.put_(b.long(), b),
    "copy_": lambda a, b: a.copy_(b),
    "fill_": lambda a, b: a.fill_(b[0]),
}
LAID_OUT = {
    "contiguous": lambda fl, x: x.contiguous(memory_format=fl.channels_last),
    "clone": lambda fl, x: x.clone(memory_format=fl.channels_last),
    "to": lambda fl, x: x.to(fl.float32, memory_format=fl.channels_last),
    "zeros_like": lambda fl, x: fl.zeros_like(x, memory_format=fl.channels_last),
    "full_like": lambda fl, x: fl.full_like(x, 2, memory_format=fl.channels_last),
}


def _said(run):
    try:
        return run()
    except RuntimeError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # PyTorch: of its fallback
@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("nested", [False, True])
def test_writes_into_what_is_not_batched(agree, name, nested):
    def program(fl, x):
        mapped = fl.vmap(WRITTEN[name], in_dims=(None, 0))
        if nested:
            mapped = fl.vmap(mapped, in_dims=(None, 0))
        return _said(lambda: mapped(fl.ones(3), fl.ones(2, 2, 3) if nested else fl.ones(2, 3)))

    agree(program, rand(1), grads=0)


@pytest.mark.parametrize("name", LAID_OUT)
@pytest.mark.parametrize("shape", [(2, 2, 3, 4), (2, 1, 2, 3, 4)])
def test_layouts(agree, name, shape):
    def program(fl, x):
        return _said(lambda: fl.vmap(lambda v: LAID_OUT[name](fl, v))(x.detach()))

    agree(program, rand(*shape), grads=0, strides=True)

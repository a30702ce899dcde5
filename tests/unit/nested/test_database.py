"""PyTorch's own samples of jagged nested tensors, operator by operator, against PyTorch."""

from __future__ import annotations

import re
import warnings

import pytest

import flambeau

pytestmark = pytest.mark.parity


def _ours(x, torch, made):
    """A sample's argument as flambeau's: tensors by their elements, each structure once."""
    from torch.nested._internal.nested_tensor import NestedTensor

    if isinstance(x, NestedTensor):
        values = _ours(x._values, torch, made)
        offsets, lengths = _shared(x._offsets, torch, made), _shared(x._lengths, torch, made)
        cache = {k: v.shape[0] for k, v in x._metadata_cache.items() if v is not None}
        t = flambeau.nested._internal.nested_tensor.NestedTensor(
            values.detach(), offsets, lengths=lengths, _ragged_idx=x._ragged_idx, _metadata_cache=cache
        )
        return t.requires_grad_(x.requires_grad)
    if isinstance(x, torch.Tensor):
        t = flambeau.from_numpy(x.detach().contiguous().numpy().copy())
        if x.stride() != t.stride() and x.numel():
            t = flambeau.empty_strided(x.shape, x.stride(), dtype=t.dtype).copy_(t)
        return t.requires_grad_(x.requires_grad)
    if isinstance(x, (torch.dtype, torch.memory_format)):
        return getattr(flambeau, str(x).removeprefix("torch."))
    if isinstance(x, torch.SymInt):
        return made["sizes"][str(x)]
    if isinstance(x, (list, tuple)):
        return type(x)(_ours(i, torch, made) for i in x)
    if isinstance(x, dict):
        return {k: _ours(v, torch, made) for k, v in x.items()}
    return x


def _shared(t, torch, made):
    from torch.nested._internal.nested_tensor import get_tensor_symint

    if t is None:
        return None
    if id(t) not in made:
        made[id(t)] = (t, flambeau.from_numpy(t.numpy().copy()))
        made["sizes"][str(get_tensor_symint(t))] = flambeau.nested._internal.nested_tensor.get_tensor_symint(
            made[id(t)][1]
        )
    return made[id(t)][1]


def _flat(x):
    if isinstance(x, (list, tuple)):
        return [y for i in x for y in _flat(i)]
    return [x]


def _same(torch, theirs, ours, what):
    assert theirs.is_nested == ours.is_nested, what
    if theirs.is_nested:
        assert theirs._ragged_idx == ours._ragged_idx, what
        assert theirs.dim() == ours.dim(), what
        assert [s if isinstance(s, int) else "j" for s in theirs._size] == [
            s if isinstance(s, int) else "j" for s in ours._size
        ], what
        assert theirs._offsets.tolist() == ours._offsets.tolist(), what
        assert (theirs._lengths is None) == (ours._lengths is None), what
        if theirs._lengths is not None:
            assert theirs._lengths.tolist() == ours._lengths.tolist(), what
        return _same(torch, theirs._values, ours._values, what)
    assert str(theirs.dtype) == str(ours.dtype), what
    assert tuple(theirs.shape) == tuple(ours.shape), what
    if theirs.dtype in (torch.bfloat16, torch.complex32):
        wide = "float32" if theirs.dtype is torch.bfloat16 else "complex64"
        theirs, ours = theirs.to(getattr(torch, wide)), ours.to(getattr(flambeau, wide))
    got = torch.from_numpy(ours.detach().contiguous().numpy())
    torch.testing.assert_close(got, theirs.detach(), rtol=5e-5, atol=1e-5, equal_nan=True, msg=lambda m: f"{what}: {m}")
    return None


def _names():
    try:
        import torch.testing._internal.opinfo.definitions.nested as nested
    except ImportError:
        return []
    # masked reductions are no operators; what they meet on their way there differs
    return [op.full_name for op in nested.njt_op_db if not op.name.startswith("masked.")]


# Operators whose entry calls them in another order than their function.
REORDERED = {
    "where": lambda x, *, condition, other: flambeau.where(condition, x, other),
    "polygamma": lambda x, n, **kwargs: flambeau.polygamma(n, x, **kwargs),
    "special.polygamma": lambda x, n, **kwargs: flambeau.special.polygamma(n, x, **kwargs),
    "nn.functional.embedding": lambda weight, idx, **kwargs: flambeau.nn.functional.embedding(idx, weight, **kwargs),
    "nn.functional.embedding_bag": lambda weight, idx, *a, **k: flambeau.nn.functional.embedding_bag(
        idx, weight, *a, **k
    ),
}


def _function(op):
    if op.name in REORDERED:
        return REORDERED[op.name]
    if isinstance(getattr(flambeau, op.name, None), flambeau.dtype):
        return getattr(flambeau.Tensor, op.name)
    at = flambeau
    for part in op.name.split("."):
        at = getattr(at, part, None)
        if at is None:
            return getattr(flambeau.Tensor, op.name, None)
    return at


# PyTorch's backward pass of these ends the process.
WITHOUT_GRADIENTS = ("split", "split_with_sizes", "chunk", "unsafe_split", "narrow")


def _backward(sample, outs):
    """The gradients of a sample's tensors, of the sum of all that came out."""
    inputs = [
        t for t in _flat([sample.input, *sample.args, *sample.kwargs.values()]) if getattr(t, "requires_grad", False)
    ]
    total = None
    for o in outs:
        if o.requires_grad:
            o = o.values() if o.is_nested else o
            total = o.sum() if total is None else total + o.sum()
    if total is None:
        return []
    total.backward()
    return [t.grad for t in inputs]


@pytest.mark.parametrize("name", _names())
def test_samples(torch, name):
    import torch.testing._internal.opinfo.definitions.nested as nested

    op = next(o for o in nested.njt_op_db if o.full_name == name)
    fn = _function(op)
    if fn is None:
        pytest.skip("no function of that name")
    grad = op.supports_autograd and op.name not in WITHOUT_GRADIENTS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        try:
            samples = list(op.sample_inputs("cpu", torch.float32, requires_grad=grad))
        except (NotImplementedError, RuntimeError) as error:
            pytest.skip(f"PyTorch has no samples: {error}")
        for sample in samples:
            # PyTorch's gradient of a mean counts without holes what the mean counts with them
            _compare(
                torch, op, fn, sample, grad and not (name == "mean" and "holes" in sample.name), f"{name} {sample.name}"
            )


def _compare(torch, op, fn, sample, grad, what):
    made = {"sizes": {}}
    parts = [_ours(x, torch, made) for x in (sample.input, sample.args, sample.kwargs)]
    ours = type(sample)(parts[0], args=parts[1], kwargs=parts[2])
    failed = None
    try:
        expected = _run(op.op, sample)
    except Exception as error:
        failed = error
    if failed is not None:
        if not isinstance(failed, NotImplementedError):
            numbers = re.compile(r"\bj\d+")
            with pytest.raises(type(failed)) as raised:
                _run(fn, ours)
            assert numbers.sub("j", str(raised.value)) == numbers.sub("j", str(failed)), what
        return
    got = _run(fn, ours)
    assert len(expected) == len(got), what
    for e, g in zip(expected, got, strict=True):
        _same(torch, e, g, what)
    if not grad:
        return
    try:
        grads = _backward(sample, expected)
    except (RuntimeError, ValueError, NotImplementedError, AttributeError, AssertionError):
        return  # what PyTorch cannot differentiate
    for e, g in zip(grads, _backward(ours, got), strict=True):
        if e is not None:
            assert g is not None, what
            _same(torch, e, g, what + " grad")


def _run(fn, sample):
    out = fn(sample.input, *sample.args, **sample.kwargs)
    return [o for o in _flat(out) if hasattr(o, "dtype")]

"""Tests that the registry writes: every operator over a batch gives what it gives for each sample, or says that it does not."""

import zlib

import numpy as np
import pytest

import flambeau as fl
from flambeau import _operators
from flambeau._eager import derive
from flambeau._operators.op import REGISTRY, REQUIRED

_operators.load()

B = 2
RANKS = [(), (3,), (3, 3), (2, 3, 3), (2, 3, 4, 4)]
NOT_HERE = (
    "random",
    "dropout",
    "sparse",
    "quantize",
    "rnn_quantized",
    "older_quantized",
    "nested",
    "foreach",
    "create",
)
SKIPPED = {"as_strided", "as_strided_copy", "as_strided_scatter",  # what they read hangs on where samples lie
           "new_empty", "empty_like", "new_empty_strided", "set_data"}  # fmt: skip  # no numbers

# What stands for an argument that is no tensor and has no default, by its annotation and, before that, by its name.
BY_NAME = {"index": 1, "start": 0, "end": 2, "length": 1, "dim0": 0, "dim1": 1, "axis0": 0, "axis1": -1, "size": (3, 3), "sizes": (3, 3),
           "normalized_shape": (3,), "num_groups": 1, "groups": 1, "reduce": "sum", "k": 1, "n": 3, "step": 1, "chunks": 2, "reduction": 1,
           "kernel_size": (2, 2), "output_size": (2, 2), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "equation": "ij->ji",
           "indices_or_sections": 1, "repeats": (2, 2), "shifts": 1, "dims": (0,), "source": 0, "destination": -1, "p": 2.0}  # fmt: skip
BY_KIND = {
    "Dim": 0,
    "Dims": (0,),
    "int": 1,
    "float": 0.5,
    "Scalar": 0.5,
    "bool": False,
    "Shape": (3, 3),
    "str": "mean",
    "Ints": (0,),
}


def tensors_of(op, shape, rng):
    """Arguments for an operator whose first tensor has a shape, those of tensors being arrays; None where no argument is known."""
    given = []
    for p in op.params:
        if p.is_list:
            given.append([rng.uniform(0.2, 0.9, shape) for _ in range(2)])
        elif p.is_tensor and p.annotation.startswith("Mask"):
            given.append(rng.uniform(size=shape) > 0.5)
        elif p.is_tensor and (p.annotation.startswith("Index") or "ind" in p.name or p.name in ("target", "offsets")):
            given.append(rng.integers(0, 2, shape))
        elif p.is_tensor and p.default is REQUIRED:
            given.append(rng.uniform(0.2, 0.9, shape))
        elif p.default is not REQUIRED:
            given.append(p.default)
        else:
            kind = p.annotation.removesuffix(" | None")
            value = BY_NAME.get(p.name, BY_KIND.get(kind))
            if value is None:
                return None
            given.append(value)
    return given


def arrays_in(given):
    return [(i, j) for i, v in enumerate(given) for j in (range(len(v)) if type(v) is list else (None,))
            if isinstance(v if j is None else v[j], np.ndarray)]  # fmt: skip


def called(op, given, put):
    """The operator's function of the arguments, each array made a tensor by `put(position, array)`."""
    args, kwargs = [], {}
    for i, (p, v) in enumerate(zip(op.params, given, strict=True)):
        if isinstance(v, np.ndarray):
            v = put((i, None), v)
        elif type(v) is list:
            v = [put((i, j), x) for j, x in enumerate(v)]
        if p.keyword:
            kwargs[p.name] = v
        else:
            args.append(v)
    return derive.function(op)(*args, **kwargs)


def leaves(result):
    if isinstance(result, fl.Tensor):
        return [result]
    return [t for r in result for t in leaves(r)] if isinstance(result, (tuple, list)) else [None]


def batches_of(given, at):
    """(the arrays with the batch in front, that of each sample) for arrays at some positions."""
    where = {}
    for i, j in at:
        a = given[i] if j is None else given[i][j]
        where[i, j] = np.stack([a, a * 0.7 if a.dtype.kind == "f" else np.roll(a, 1)])
    return where


def check(op, given, at, dims):
    """Whether something was compared: the operator over batches, at positions `at`, against its samples."""
    batch = batches_of(given, at)
    plain = lambda place, a: fl.from_numpy(np.array(a, order="C"))
    try:
        samples = [
            leaves(called(op, given, lambda place, a, i=i: plain(place, batch[place][i] if place in batch else a)))
            for i in range(B)
        ]
    except Exception:  # no arguments for it
        return False
    if any(s is None for s in (*samples[0], *samples[1])) or [s.shape for s in samples[0]] != [
        s.shape for s in samples[1]
    ]:
        return False

    def mapped(*xs):
        found = dict(zip(at, xs, strict=True))
        return tuple(leaves(called(op, given, lambda place, a: found[place] if place in found else plain(place, a))))

    moved = [fl.from_numpy(np.array(np.moveaxis(batch[p], 0, dims), order="C")) for p in at]
    try:
        found = fl.vmap(mapped, in_dims=dims)(*moved)
    except RuntimeError as problem:
        if "vmap" in str(problem) or "atching rule" in str(problem) or "data pointer" in str(problem):
            return False
        raise
    for f, *each in zip(found, *samples, strict=True):
        expected = fl.stack(each)
        assert f.dtype is expected.dtype
        assert f.shape == expected.shape
        np.testing.assert_allclose(f.resolve_conj().resolve_neg().numpy(), expected.resolve_conj().numpy(), 1e-9, 1e-9)
    return True


def usable(op):
    return (
        op.kind in ("op", "pointwise", "composite")
        and {"function", "method"} & op.variants
        and not op.module.removeprefix("flambeau._operators.").startswith(NOT_HERE)
        and not op.overload.startswith("_")  # what only bodies call trusts its arguments
        and op.name not in SKIPPED
        and op.layouts not in ("quantized", "nested")
        and any(p.is_tensor or p.is_list for p in op.params)
    )


OPS = sorted({op.overload: op for op in REGISTRY.values() if usable(op)}.items())
PARTS = 8


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("part", range(PARTS))
def test_batches_are_their_samples(part):
    compared, wrong = 0, []
    for name, op in OPS[part::PARTS]:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        for shape in RANKS:
            given = tensors_of(op, shape, rng)
            places = arrays_in(given) if given is not None else []
            if not places:
                continue
            if len(shape) != 2 and op.overload.endswith("_backward"):
                continue  # gradients that no result could have
            cases = [
                (places, 0),
                *([(places, -1)] if len(shape) == 2 else []),
                *(([p], 0) for p in places if len(places) > 1),
            ]
            for at, dims in cases:
                with np.errstate(all="ignore"):
                    try:
                        compared += check(op, given, at, dims)
                    except Exception as problem:
                        wrong.append(f"{name} of {shape}, {[op.params[i].name for i, _ in at]} at {dims}: {type(problem).__name__}: "
                                     f"{' '.join(str(problem).split())[:200]}")  # fmt: skip
    assert not wrong, "\n".join(wrong)
    assert compared > 200, compared

"""Dtypes that an operator refuses: PyTorch's error and name of the routine, which may hang on the other arguments."""

import pytest

DTYPES = [
    "uint8",
    "int32",
    "int64",
    "uint16",
    "uint64",
    "bool",
    "float16",
    "bfloat16",
    "complex32",
    "complex64",
    "float8_e4m3fn",
    "float8_e5m2",
    "float32",
]
PROGRAMS = {
    "clamp by numbers": lambda t, x: x.clamp(1, 1),
    "clamp from a number": lambda t, x: x.clamp(min=1),
    "clamp to a number": lambda t, x: x.clamp(max=1),
    "clamp from a tensor": lambda t, x: x.clamp(min=x),
    "clamp to a tensor": lambda t, x: x.clamp(max=x),
    "clamp by tensors": lambda t, x: x.clamp(x, x),
    "round to integers": lambda t, x: t.round(x, decimals=0),
    "round to tenths": lambda t, x: t.round(x, decimals=1),
    "quotient towards zero": lambda t, x: t.div(x, x, rounding_mode="trunc"),
    "quotient by a number": lambda t, x: t.div(x, 2, rounding_mode="trunc"),
    "quotient rounded down": lambda t, x: t.div(x, x, rounding_mode="floor"),
    "polygamma 0": lambda t, x: t.polygamma(0, x),
    "polygamma 1": lambda t, x: t.polygamma(1, x),
    "polygamma 2": lambda t, x: t.polygamma(2, x),
    "isinf": lambda t, x: x.isinf(),
    "isfinite": lambda t, x: x.isfinite(),
    "cumsum": lambda t, x: t.ones(2).cumsum(0, dtype=x.dtype),
    "softmax of the last dim": lambda t, x: x.softmax(1),
    "softmax of the first dim": lambda t, x: x.softmax(0),
    "log_softmax": lambda t, x: x.log_softmax(-1),
    "layer_norm": lambda t, x: t.nn.functional.layer_norm(x, (3,)),
    "nearest neighbours": lambda t, x: t.nn.functional.interpolate(x[None], 6),
    "linear": lambda t, x: t.nn.functional.interpolate(x[None], 6, mode="linear"),
    "argmax": lambda t, x: x.argmax(),
    "aminmax": lambda t, x: x.aminmax(),
    "nansum": lambda t, x: x.nansum(),
    "fft": lambda t, x: t.fft.fft(x),
    "rfft": lambda t, x: t.fft.rfft(x),
    "rfftn": lambda t, x: t.fft.rfftn(x),
    "ihfftn": lambda t, x: t.fft.ihfftn(x),
    "reduced without itself": lambda t, x: x.index_reduce(0, t.tensor([0]), x[:1], "amax", include_self=False),
    "index_put": lambda t, x: x.index_put((t.tensor([0]),), x[0]),
    "lu_unpack": lambda t, x: t.lu_unpack(x[:2, :2], t.tensor([1, 2], dtype=t.int32)),
    "counts between edges": lambda t, x: t.histogram(x, x[0]),
    "ldl_solve": lambda t, x: t.linalg.ldl_solve(x[:2, :2], t.tensor([1, 2], dtype=t.int32), x[:2, :2]),
}  # fmt: skip
ELSEWHERE = {"ldl_solve": ("float16", "bfloat16", "complex32", "float8_e4m3fn", "float8_e5m2")}


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_said(agree, name):
    def program(t):
        said = {}
        for dtype in DTYPES:
            if dtype in ELSEWHERE.get(name, ()):
                continue
            x = t.ones(2, 3).to(getattr(t, dtype))
            try:
                PROGRAMS[name](t, x)
                said[dtype] = "taken"
            except Exception as problem:
                said[dtype] = f"{type(problem).__name__}: {problem}".partition("\n")[0]
        return said

    agree(program)

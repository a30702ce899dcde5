"""One comparison for everything: a program run by real PyTorch, or its recorded answer, and by flambeau.

Not a test: `conftest.py` hands `Agree` out as the fixture `agree`. Answers are recorded by `python -m tests.record`
where real PyTorch is installed, and used where it is not.
"""

import base64
import hashlib
import json
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

RECORDED = pathlib.Path(__file__).parent / "recorded"

# (relative, absolute) by the name of the dtype; what is not listed must be equal.
TOLERANCE = {
    "torch.float64": (1e-9, 1e-10),
    "torch.complex128": (1e-9, 1e-10),
    "torch.float32": (2e-5, 2e-6),
    "torch.complex64": (2e-5, 2e-6),
    "torch.float16": (2e-3, 1e-4),
    "torch.bfloat16": (1.6e-2, 1e-3),
    "float": (1e-6, 1e-7),
    "complex": (1e-6, 1e-7),
}


class Agree:
    """`agree(program, *inputs)`: `program(torch, *tensors)` and `program(flambeau, *tensors)` have one outcome.

    Inputs that are NumPy arrays arrive as tensors, floating ones with `requires_grad`; the others as they are. The
    outcome is what the program returns (tensors, numbers, text, dtypes, nested in tuples, lists and dicts), then the
    derivatives of a fixed weighted sum of it by the inputs (`grads=2`: the second ones too; `grads=0`: none), or the
    error with its text. `raises=IndexError` demands that error of both; `exact` demands equal bits; `strides` equal
    strides.
    """

    def __init__(self, module: str, test: str, torch: Any, recording: "dict[str, Any] | None"):
        self.module, self.test, self.torch, self.recording, self.calls = module, test, torch, recording, 0

    def __call__(
        self,
        program: Callable[..., Any],
        *inputs: Any,
        raises: type[BaseException] | None = None,
        grads: int = 1,
        exact: bool = False,
        strides: bool = False,
        rtol: float | None = None,
        atol: float | None = None,
    ) -> None:
        key, self.calls = f"{self.test}#{self.calls}", self.calls + 1
        digest = fingerprint(inputs)
        if self.torch is not None:
            expected = outcome(self.torch, program, inputs, grads)
        else:
            expected = recall(self.module, key, digest)
        if raises is not None:
            assert expected[0] == "raises", f"PyTorch raises nothing, wanted {raises.__name__}"
            assert expected[1] == raises.__name__, f"PyTorch raises {expected[1]}: {expected[2]}"
        elif expected[0] == "raises":
            pytest.fail(f"PyTorch raises {expected[1]}: {expected[2]}", pytrace=False)
        if self.recording is not None:
            self.recording[key] = {"inputs": digest, "outcome": expected}
            return
        import flambeau

        found = outcome(flambeau, program, inputs, grads, reraise=raises is None)
        compare(found, expected, "outcome", exact, strides, rtol, atol)


def rand(*shape: int, seed: int = 0, dtype: Any = "float64", low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Uniform numbers that depend on the arguments alone.

    >>> rand(2, 3).shape
    (2, 3)
    """
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(dtype)


def outcome(fl: Any, program: Callable[..., Any], inputs: tuple[Any, ...], grads: int, reraise: bool = False) -> Any:
    """What `program` does under `fl`, as lists, numbers, text and arrays: the same form for both libraries."""
    tensors = [tensor_of(fl, x, grads) if isinstance(x, np.ndarray) else x for x in inputs]
    fl.manual_seed(0)
    try:
        result = program(fl, *tensors)
        found = ["returns", leaf(fl, result)]
        leaves = [t for t in tensors if isinstance(t, fl.Tensor) and t.is_leaf and t.requires_grad]
        if grads and leaves:
            found += derivatives(fl, list(flatten(fl, result)), leaves, grads)
        return found
    except Exception as error:
        if reraise:
            raise
        return ["raises", type(error).__name__, str(error)]


def derivatives(fl: Any, results: list[Any], leaves: list[Any], order: int) -> list[Any]:
    """First (and second, ...) derivatives by `leaves` of sums of `results` with fixed unequal weights."""
    found = []
    for left in range(order, 0, -1):
        results = [r for r in results if r.requires_grad]
        if not results:
            break
        weights = [
            tensor_of(fl, np.cos(np.arange(r.numel()) + 1.0).reshape(tuple(r.shape))).to(r.dtype) for r in results
        ]
        total = fl.autograd.grad(results, leaves, weights, create_graph=left > 1, allow_unused=True)
        found.append(leaf(fl, total))
        results = [g for g in total if g is not None]
    return found


def tensor_of(fl: Any, array: np.ndarray, grads: int = 0) -> Any:
    t = fl.from_numpy(array.copy()) if array.ndim else fl.tensor(array.item(), dtype=getattr(fl, str(array.dtype)))
    return t.requires_grad_() if grads and array.dtype.kind in "fc" else t


def flatten(fl: Any, x: Any) -> Any:
    if isinstance(x, fl.Tensor):
        yield x
    elif isinstance(x, (tuple, list, dict)):
        for y in x.values() if isinstance(x, dict) else x:
            yield from flatten(fl, y)


def leaf(fl: Any, x: Any) -> Any:
    """One part of an outcome: a tensor as its facts, an array or a number as it is, everything else as its text."""
    if isinstance(x, fl.Tensor):
        return ["tensor", str(x.dtype), list(x.shape), list(x.stride()), x.requires_grad, array_of(x)]
    if isinstance(x, np.ndarray):
        return ["array", str(x.dtype), x]
    if isinstance(x, fl.Size):
        return ["size", *map(int, x)]
    if isinstance(x, (tuple, list)):
        return [type(x).__name__ if type(x) in (tuple, list) else "tuple", *(leaf(fl, y) for y in x)]
    if isinstance(x, dict):
        return ["dict", *([str(key), leaf(fl, value)] for key, value in x.items())]
    if x is None or isinstance(x, (bool, str)):
        return x
    if isinstance(x, (int, float, complex)):
        return [type(x).__name__, repr(x)]
    return [type(x).__name__, str(x)]


def array_of(t: Any) -> np.ndarray:
    t = t.detach()
    if str(t.dtype) == "torch.bfloat16" or "float8" in str(t.dtype):
        t = t.float()
    t = t.resolve_conj().resolve_neg() if t.is_complex() or t.is_floating_point() else t
    return np.asarray(t.numpy())


def bits(t: Any) -> list[Any]:
    """What a large tensor is, with a hash of its elements: for results that are moved or rounded once, alike on every machine."""
    x = array_of(t)
    x = (
        np.where(x == x, x, np.nan).astype(x.dtype) + x.dtype.type(0) if x.dtype.kind in "fc" else x
    )  # one NaN, one zero
    return [
        str(t.dtype),
        str(list(t.shape)),
        t.requires_grad,
        hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:16],
    ]


def in_bits(fl: Any, results: Any, *leaves: Any) -> list[Any]:
    """The bits of results, and of the derivatives by `leaves` of their sum with small whole weights, which add up exactly."""
    recorded = [r for r in results if r.requires_grad]
    weights = [(fl.arange(r.numel()).reshape(r.shape) % 7 - 3).to(r.dtype) for r in recorded]
    slopes = fl.autograd.grad(recorded, leaves, weights, allow_unused=True) if recorded else ()
    return [x if x is None else bits(x) for x in (*results, *slopes)]


def compare(found: Any, expected: Any, path: str, exact: bool, strides: bool, rtol: Any, atol: Any) -> None:
    if isinstance(expected, list) and isinstance(found, list) and expected and found and expected[0] == found[0]:
        kind = expected[0]
        if kind == "tensor":
            assert found[1:3] == expected[1:3], f"{path}: {found[1:3]}, PyTorch has {expected[1:3]}"
            assert found[4] == expected[4], f"{path}: requires_grad is {found[4]}, PyTorch has {expected[4]}"
            if strides:
                assert found[3] == expected[3], f"{path}: strides {found[3]}, PyTorch has {expected[3]}"
            close(found[5], expected[5], expected[1], path, exact, rtol, atol)
            return
        if kind == "array":
            assert found[1] == expected[1], f"{path}: dtype {found[1]}, PyTorch has {expected[1]}"
            close(found[2], expected[2], f"torch.{expected[1]}", path, exact, rtol, atol)
            return
        if kind in ("float", "complex"):
            close(np.asarray(complex(found[1])), np.asarray(complex(expected[1])), kind, path, exact, rtol, atol)
            return
        if kind == "raises":
            assert found[1] == expected[1], f"{path}: {found[1]}: {found[2]}\nPyTorch: {expected[1]}: {expected[2]}"
            ours, theirs = (" ".join(text.split()) for text in (found[2], expected[2]))
            assert ours.startswith(theirs), f"{path}:\nflambeau: {ours}\nPyTorch:  {theirs}"  # more help may follow
            return
        assert len(found) == len(expected), f"{path}: {len(found) - 1} parts, PyTorch has {len(expected) - 1}"
        for i, (f, e) in enumerate(zip(found, expected)):
            compare(f, e, f"{path}[{i - 1}]" if i else path, exact, strides, rtol, atol)
        return
    assert type(found) is type(expected) and found == expected, f"{path}: {found!r}, PyTorch has {expected!r}"


def close(found: np.ndarray, expected: np.ndarray, kind: str, path: str, exact: bool, rtol: Any, atol: Any) -> None:
    relative, absolute = (0, 0) if exact else TOLERANCE.get(kind, (0, 0))
    relative, absolute = relative if rtol is None else rtol, absolute if atol is None else atol
    np.testing.assert_allclose(found, expected, relative, absolute, equal_nan=True, err_msg=path)


# ---- recorded answers


def fingerprint(inputs: tuple[Any, ...]) -> str:
    """A short hash of the inputs: a recorded answer is only good for the inputs it was recorded with."""
    h = hashlib.sha256()
    for x in inputs:
        h.update(f"{x.dtype}{x.shape}".encode() + x.tobytes() if isinstance(x, np.ndarray) else repr(x).encode())
    return h.hexdigest()[:12]


def recall(module: str, key: str, digest: str) -> Any:
    path = RECORDED / f"{module}.json"
    if path not in answers:
        answers[path] = json.loads(path.read_text(), object_hook=thaw) if path.exists() else {}
    if key not in answers[path]:
        pytest.skip("no recorded answer: run `python -m tests.record` where PyTorch is installed")
    entry = answers[path][key]
    assert entry["inputs"] == digest, "the recorded answer is for other inputs: run `python -m tests.record`"
    return entry["outcome"]


answers: dict[pathlib.Path, Any] = {}


def freeze(x: Any) -> Any:
    """An array as JSON."""
    data = zlib.compress(np.ascontiguousarray(x).tobytes(), 9)
    return {"dtype": str(x.dtype), "shape": list(x.shape), "zlib": base64.b64encode(data).decode()}


def thaw(x: dict[str, Any]) -> Any:
    if x.keys() != {"dtype", "shape", "zlib"}:
        return x
    data = zlib.decompress(base64.b64decode(x["zlib"]))
    return np.frombuffer(data, x["dtype"]).reshape(x["shape"])


def write(recording: dict[str, dict[str, Any]], keep: bool) -> None:
    """Writes the answers of each test module to its file; `keep`: beside those already there."""
    for module, entries in recording.items():
        path = RECORDED / f"{module}.json"
        if keep and path.exists():
            entries = json.loads(path.read_text(), object_hook=thaw) | entries
        if entries:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (f"{json.dumps(k)}: {json.dumps(entries[k], default=freeze)}" for k in sorted(entries))
            path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        elif path.exists():
            path.unlink()

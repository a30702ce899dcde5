"""Random inputs to time operators with: parameters drawn from distributions, tensors with sizes and strides from them."""

import functools
import itertools
from typing import Any

import numpy as np

import flambeau

__all__ = ["Fuzzer", "FuzzedParameter", "ParameterAlias", "FuzzedTensor"]

_DISTRIBUTIONS = ("loguniform", "uniform")


class FuzzedParameter:
    """A number that is drawn anew for each input.

    Args:
        name: by which tensors refer to it
        minval, maxval: both are possible
        distribution: "uniform" (whole numbers if both ends are), "loguniform", or {value: probability}
        strict: is not drawn again when a set of parameters is refused, so that refusals do not skew it
    """

    def __init__(
        self, name: str, minval: Any = None, maxval: Any = None, distribution: Any = None, strict: bool = False
    ) -> None:
        self._name, self._minval, self._maxval = name, minval, maxval
        self._distribution = self._check_distribution(distribution)
        self.strict = strict

    @property
    def name(self):
        """The name."""
        return self._name

    def sample(self, state):
        """A value, drawn with NumPy's generator `state`."""
        if self._distribution == "loguniform":
            value = int(2 ** state.uniform(low=np.log2(self._minval), high=np.log2(self._maxval)))
            return min(max(value, self._minval), self._maxval)
        if self._distribution == "uniform":
            if isinstance(self._minval, int) and isinstance(self._maxval, int):
                return int(state.randint(low=self._minval, high=self._maxval + 1))
            return state.uniform(low=self._minval, high=self._maxval)
        choices = list(self._distribution)
        return choices[state.choice(np.arange(len(choices)), p=tuple(self._distribution.values()))]

    def _check_distribution(self, distribution):
        if not isinstance(distribution, dict):
            if distribution not in _DISTRIBUTIONS:
                raise AssertionError(f"Unknown distribution: {distribution}")
            return distribution
        if any(p < 0 for p in distribution.values()):
            raise AssertionError("Probabilities cannot be negative")
        if abs(sum(distribution.values()) - 1) > 1e-5:
            raise AssertionError("Distribution is not normalized")
        for name, value in (("minval", self._minval), ("maxval", self._maxval)):
            if value is not None:
                raise AssertionError(f"When passing a custom distribution, '{name}' must be None")
        return distribution


class ParameterAlias:
    """As a value of a parameter: that of another one."""

    def __init__(self, alias_to) -> None:
        self.alias_to = alias_to

    def __repr__(self) -> str:
        return f"ParameterAlias[alias_to: {self.alias_to}]"


def dtype_size(dtype):
    """Bytes of an element."""
    return dtype.itemsize


def prod(values, base=1):
    """The product, in whole numbers of any size."""
    return functools.reduce(lambda x, y: int(x) * int(y), values, base)


class FuzzedTensor:
    """A tensor that is made anew for each input.

    Args:
        name: the name
        size, steps: numbers and names of parameters; every `steps`-th element of a larger tensor is taken
        probability_contiguous: how often the dimensions lie in memory in their own order
        min_elements, max_elements, max_allocation_bytes: parameters that lead beyond are drawn again
        dim_parameter: the parameter that says how many dimensions there are
        dtype, cuda: of the tensor
        tensor_constructor: `f(size=, dtype=, **parameters)`, instead of random numbers
    """

    def __init__(self, name: str, size: tuple[str | int, ...], steps: tuple[str | int, ...] | None = None,
                 probability_contiguous: float = 0.5, min_elements: int | None = None, max_elements: int | None = None,
                 max_allocation_bytes: int | None = None, dim_parameter: str | None = None, roll_parameter: str | None = None,
                 dtype: Any = flambeau.float32, cuda: bool = False, tensor_constructor: Any = None) -> None:  # fmt: skip
        self._name, self._size, self._steps = name, size, steps
        self._probability_contiguous = probability_contiguous
        self._min_elements, self._max_elements = min_elements, max_elements
        self._max_allocation_bytes, self._dim_parameter = max_allocation_bytes, dim_parameter
        self._dtype, self._cuda, self._tensor_constructor = dtype, cuda, tensor_constructor

    @property
    def name(self):
        """The name."""
        return self._name

    @staticmethod
    def default_tensor_constructor(size, dtype, **kwargs):
        """Random numbers: between 0 and 1, or whole ones from 1 to 126."""
        if dtype.is_floating_point or dtype.is_complex:
            return flambeau.rand(size=size, dtype=dtype, device="cpu")
        return flambeau.randint(1, 127, size=size, dtype=dtype, device="cpu")

    def _make_tensor(self, params, state):
        size, steps, allocation = self._get_size_and_steps(params)
        make = self._tensor_constructor or self.default_tensor_constructor
        whole = make(size=allocation, dtype=self._dtype, **params)
        if self._cuda:
            whole = whole.cuda()
        dim = len(size)
        order = np.arange(dim)
        if state.rand() > self._probability_contiguous:
            while dim > 1 and np.all(order == np.arange(dim)):
                order = state.permutation(whole.dim())
            whole = whole.permute(tuple(order)).contiguous().permute(tuple(np.argsort(order)))
        tensor = whole[tuple(slice(0, n * step, step) for n, step in zip(size, steps, strict=True))]
        properties = {
            "numel": int(tensor.numel()),
            "order": order,
            "steps": steps,
            "is_contiguous": tensor.is_contiguous(),
            "dtype": str(self._dtype),
        }
        return tensor, properties

    def _get_size_and_steps(self, params):
        dim = len(self._size) if self._dim_parameter is None else params[self._dim_parameter]

        def numbers(values):
            found = tuple(params.get(v, v) for v in values)[:dim]
            return found + (1,) * (dim - len(found))

        size, steps = numbers(self._size), numbers(self._steps or ())
        return size, steps, tuple(n * step for n, step in zip(size, steps, strict=True))

    def satisfies_constraints(self, params) -> bool:
        """Whether a tensor with these parameters has elements enough, and not too many."""
        size, _, allocation = self._get_size_and_steps(params)
        elements, allocated = prod(size), prod(allocation, base=dtype_size(self._dtype))
        if elements < 0:
            raise AssertionError("Computed number of elements is negative")
        return (
            (self._max_elements is None or elements <= self._max_elements)
            and (self._min_elements is None or elements >= self._min_elements)
            and (self._max_allocation_bytes is None or allocated <= self._max_allocation_bytes)
        )


class Fuzzer:
    """Draws inputs: `for tensors, properties, params in Fuzzer(...).take(10)`.

    Args:
        parameters, tensors: what is drawn; lists of them are unpacked
        constraints: functions of the parameters; where one says no, they are drawn again
        seed: of NumPy's generator, and of this library's
    """

    def __init__(self, parameters, tensors, constraints=None, seed: int | None = None) -> None:
        self._seed = int(np.random.RandomState().randint(0, 2**32 - 1, dtype=np.int64)) if seed is None else seed
        self._parameters = self._unpack(parameters, FuzzedParameter)
        self._tensors = self._unpack(tensors, FuzzedTensor)
        self._constraints = constraints or ()
        both = {p.name for p in self._parameters} & {t.name for t in self._tensors}
        if both:
            raise ValueError(f"Duplicate names in parameters and tensors: {both}")
        self._rejections = self._total_generated = 0

    @staticmethod
    def _unpack(values, cls):
        return tuple(itertools.chain.from_iterable([v] if isinstance(v, cls) else v for v in values))

    def take(self, n):
        """n inputs: tensors, what they are like, and the parameters, each by name."""
        state = np.random.RandomState(self._seed)
        flambeau.manual_seed(state.randint(low=0, high=2**63, dtype=np.int64))
        for _ in range(n):
            params = self._generate(state)
            made = {t.name: t._make_tensor(params, state) for t in self._tensors}
            yield {k: v[0] for k, v in made.items()}, {k: v[1] for k, v in made.items()}, params

    @property
    def rejection_rate(self):
        """Which part of the drawn parameters was refused."""
        return self._rejections / self._total_generated if self._total_generated else 0.0

    def _generate(self, state):
        strict: dict[str, Any] = {}
        for _ in range(1000):
            drawn: dict[str, Any] = {}
            for p in self._parameters:
                if p.strict:
                    if p.name not in strict:
                        strict[p.name] = p.sample(state)
                    drawn[p.name] = strict[p.name]
                else:
                    drawn[p.name] = p.sample(state)
            params = self._resolve_aliases(drawn)
            self._total_generated += 1
            if all(f(params) for f in self._constraints) and all(
                t.satisfies_constraints(params) for t in self._tensors
            ):
                return params
            self._rejections += 1
        raise ValueError("Failed to generate a set of valid parameters.")

    @staticmethod
    def _resolve_aliases(params):
        params = dict(params)
        count = sum(isinstance(v, ParameterAlias) for v in params.values())
        while count:
            for k, v in list(params.items()):
                if isinstance(v, ParameterAlias):
                    params[k] = params[v.alias_to]
            left = sum(isinstance(v, ParameterAlias) for v in params.values())
            if left == count:
                raise ValueError(f"ParameterAlias cycle detected\n{params}")
            count = left
        return params

"""Collation: a list of items becomes one item whose leaves are batches."""

import re
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from copy import copy

import numpy as np

import flambeau

np_str_obj_array_pattern = re.compile(r"[SaUO]")  # dtypes that no tensor has
default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


def default_convert(data):
    """NumPy arrays and numbers in nested containers become tensors; everything else stays.

    >>> flambeau.utils.data.default_convert({"a": [1, "b"]})
    {'a': [1, 'b']}
    """
    if isinstance(data, flambeau.Tensor):
        return data
    cls = type(data)
    if cls.__module__ == "numpy" and cls.__name__ not in ("str_", "string_"):
        if cls.__name__ == "ndarray" and np_str_obj_array_pattern.search(data.dtype.str):
            return data
        return flambeau.as_tensor(data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        values = [default_convert(value) for value in data]
        return cls(*values) if hasattr(data, "_fields") else values
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(value) for value in data])
    return data


def _like_mapping(given, values):
    """The values in a mapping of the given one's type, with its other attributes where it can be copied."""
    try:
        if isinstance(given, MutableMapping):
            made = copy(given)
            made.update(values)
            return made
        return type(given)(values)
    except TypeError:  # a mapping that cannot be copied, or not be made from a dictionary
        return values


def _like_sequence(given, values):
    """The values in a sequence of the given one's type, with its other attributes where it can be copied."""
    try:
        if isinstance(given, MutableSequence):
            made = copy(given)
            for i, value in enumerate(values):
                made[i] = value
            return made
        return type(given)(values)
    except TypeError:  # for example a range
        return values


def collate(batch, *, collate_fn_map=None):
    """Collates by the first item: its type's function in the map if there is one, else container by container."""
    first = batch[0]
    cls = type(first)
    if collate_fn_map is not None:
        function = collate_fn_map.get(cls)
        if function is None:
            function = next((f for types, f in collate_fn_map.items() if isinstance(first, types)), None)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)

    def join(values):
        return collate(values, collate_fn_map=collate_fn_map)

    if isinstance(first, Mapping):
        return _like_mapping(first, {key: join([item[key] for item in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return cls(*map(join, zip(*batch)))
    if isinstance(first, Sequence):
        if any(len(item) != len(first) for item in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        values = [join(column) for column in zip(*batch)]
        return values if isinstance(first, tuple) else _like_sequence(first, values)
    raise TypeError(default_collate_err_msg_format.format(cls))


def collate_tensor_fn(batch, *, collate_fn_map=None):
    """Tensors of one shape, stacked."""
    first = batch[0]
    for kind, found in (("nested", first.is_nested), ("sparse", first.layout is not flambeau.strided)):
        if found:
            raise RuntimeError(
                f"Batches of {kind} tensors are not currently supported by the default collate_fn; "
                "please provide a custom collate_fn to handle them appropriately."
            )
    return flambeau.stack(batch, 0)


def collate_numpy_array_fn(batch, *, collate_fn_map=None):
    """Arrays of one shape, stacked into a tensor."""
    if np_str_obj_array_pattern.search(batch[0].dtype.str):
        raise TypeError(default_collate_err_msg_format.format(batch[0].dtype))
    return collate([flambeau.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch, *, collate_fn_map=None):
    """NumPy's numbers as a tensor of their dtype."""
    return flambeau.as_tensor(batch)


def collate_float_fn(batch, *, collate_fn_map=None):
    """Python's floats as a tensor of float64."""
    return flambeau.tensor(batch, dtype=flambeau.float64)


def collate_int_fn(batch, *, collate_fn_map=None):
    """Python's integers (and booleans) as a tensor."""
    return flambeau.tensor(batch)


def collate_str_fn(batch, *, collate_fn_map=None):
    """Strings stay a list."""
    return batch


default_collate_fn_map = {
    flambeau.Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch):
    """A list of items becomes one item of the same structure whose tensors have the batch as first dimension.

    >>> flambeau.utils.data.default_collate([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}])
    {'x': tensor([1, 2]), 'y': ['a', 'b']}
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)

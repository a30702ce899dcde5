"""Functions applied to each item: `map`, `collate`."""

import functools
from collections import namedtuple

from flambeau.utils.data._utils.collate import default_collate

from .._decorator import functional_datapipe
from ..datapipe import IterDataPipe
from ..utils.common import _check_unpickable_fn, length_of, validate_input_col

__all__ = ["CollatorIterDataPipe", "MapperIterDataPipe"]


def called_on(fn, data, columns):
    """fn of an item, of one column of it, or of several."""
    if columns is None:
        return fn(data)
    if isinstance(columns, (list, tuple)):
        return fn(*(data[c] for c in columns))
    return fn(data[columns])


@functional_datapipe("map")
class MapperIterDataPipe(IterDataPipe):
    """fn of each item.

    Args:
        datapipe: the source
        fn: the function
        input_col: only these columns (indices or keys) are its arguments
        output_col: where the result goes; in place of the arguments if not given, behind the others if -1
    """

    def __init__(self, datapipe, fn, input_col=None, output_col=None) -> None:
        super().__init__()
        _check_unpickable_fn(fn)
        if input_col is None and output_col is not None:
            raise ValueError("`output_col` must be None when `input_col` is None.")
        if isinstance(output_col, (list, tuple)):
            if len(output_col) > 1:
                raise ValueError("`output_col` must be a single-element list or tuple")
            output_col = output_col[0]
        validate_input_col(fn, input_col)
        self.datapipe, self.fn, self.input_col, self.output_col = datapipe, fn, input_col, output_col

    def _apply_fn(self, data):
        result = called_on(self.fn, data, self.input_col)
        if self.input_col is None:
            return result
        into = list(data) if isinstance(data, tuple) else data
        if self.output_col == -1:
            into.append(result)
        elif self.output_col is not None:
            into[self.output_col] = result
        elif isinstance(self.input_col, (list, tuple)):
            into[self.input_col[0]] = result
            for column in sorted(self.input_col[1:], reverse=True):
                del into[column]
        else:
            into[self.input_col] = result
        return tuple(into) if isinstance(data, tuple) else into

    def __iter__(self):
        for data in self.datapipe:
            yield self._apply_fn(data)

    def __len__(self) -> int:
        return length_of(self.datapipe, self)


def _collate_frame(conversion, item):
    """The columns of a batch's one data frame, each by its function, as a named tuple."""
    if len(item.items) > 1:
        raise RuntimeError("Only supports one DataFrame per batch")
    frame = item[0]
    columns = list(frame.columns.values.tolist())
    if any(name not in columns for name in conversion):
        raise RuntimeError("Conversion keys mismatch")
    values = []
    for name in columns:
        if name not in conversion:
            raise RuntimeError("unable to import default collation function from the TorchArrow")
        if not callable(conversion[name]):
            raise RuntimeError("Collate (DF)DataPipe requires callable as dict values")
        values.append(conversion[name](frame[name]))
    return namedtuple("CollateResult", list(map(str, columns)))(*values)


@functional_datapipe("collate")
class CollatorIterDataPipe(MapperIterDataPipe):
    """Batches as tensors, by `default_collate`, another function, or one per column of a data frame."""

    def __init__(self, datapipe, conversion=default_collate, collate_fn=None) -> None:
        if collate_fn is None:
            collate_fn = conversion if callable(conversion) else functools.partial(_collate_frame, conversion)
        super().__init__(datapipe, fn=collate_fn)

"""`filter`: the items for which a function says yes."""

import sys

from .._decorator import functional_datapipe
from ..datapipe import IterDataPipe
from ..utils.common import StreamWrapper, _check_unpickable_fn, validate_input_col
from .callable import called_on

__all__ = ["FilterIterDataPipe"]


def _is_column(x):
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(x, pandas.Series)


@functional_datapipe("filter")
class FilterIterDataPipe(IterDataPipe):
    """The items for which `filter_fn`, of the item or of its columns `input_col`, is True; of data frames, the rows."""

    def __init__(self, datapipe, filter_fn, input_col=None) -> None:
        super().__init__()
        _check_unpickable_fn(filter_fn)
        validate_input_col(filter_fn, input_col)
        self.datapipe, self.filter_fn, self.input_col = datapipe, filter_fn, input_col

    def __iter__(self):
        for data in self.datapipe:
            found = called_on(self.filter_fn, data, self.input_col)
            if _is_column(found):
                if found.any():
                    yield data[found.to_numpy()]
                continue
            if not isinstance(found, bool):
                raise ValueError("Boolean output is required for `filter_fn` of FilterIterDataPipe, got", type(found))
            if found:
                yield data
            else:
                StreamWrapper.close_streams(data)

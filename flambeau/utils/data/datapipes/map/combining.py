"""Several pipes made one: `concat`, `zip`."""

from collections.abc import Sized

from .._decorator import functional_datapipe
from ..datapipe import MapDataPipe

__all__ = ["ConcaterMapDataPipe", "ZipperMapDataPipe"]


def _checked(datapipes):
    if not datapipes:
        raise ValueError("Expected at least one DataPipe, but got nothing")
    for kind in (MapDataPipe, Sized):
        if not all(isinstance(dp, kind) for dp in datapipes):
            raise TypeError(f"Expected all inputs to be `{kind.__name__}`")
    return datapipes


@functional_datapipe("concat")
class ConcaterMapDataPipe(MapDataPipe):
    """One pipe after the other; their indices must be 0, 1, ..."""

    def __init__(self, *datapipes) -> None:
        self.datapipes = _checked(datapipes)

    def __getitem__(self, index):
        at = index
        for dp in self.datapipes:
            if at < len(dp):
                return dp[at]
            at -= len(dp)
        raise IndexError(f"Index {index} is out of range.")

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))


@functional_datapipe("zip")
class ZipperMapDataPipe(MapDataPipe):
    """Tuples of an item of each pipe."""

    def __init__(self, *datapipes) -> None:
        self.datapipes = _checked(datapipes)

    def __getitem__(self, index):
        found = []
        for dp in self.datapipes:
            try:
                found.append(dp[index])
            except IndexError as e:
                raise IndexError(f"Index {index} is out of range for one of the input MapDataPipes {dp}.") from e
        return tuple(found)

    def __len__(self) -> int:
        return min(map(len, self.datapipes))

"""Which pipes a pipeline is made of: found by pickling it, with hooks that note the pipes on the way."""

import io
import pickle
import warnings
from collections.abc import Collection

from flambeau.utils._import_utils import import_dill

from .datapipes.datapipe import IterDataPipe, MapDataPipe

__all__ = ["traverse", "traverse_dps"]

DataPipe = IterDataPipe | MapDataPipe
DataPipeGraph = dict[int, tuple[DataPipe, "DataPipeGraph"]]  # id of a pipe -> the pipe, and the graph of its sources


def _stub_unpickler() -> str:
    return "STUB"


def _only_pipes(state):
    """What of a pipe's state may hold pipes."""
    kinds = (IterDataPipe, MapDataPipe, Collection)
    if isinstance(state, dict):
        return {k: v for k, v in state.items() if isinstance(v, kinds)}
    if isinstance(state, (tuple, list)):
        return [v for v in state if isinstance(v, kinds)]
    return state if isinstance(state, kinds) else None


def _list_connected_datapipes(scan_obj, only_datapipe: bool, cache: set[int]) -> list:
    """The pipes that one reads from directly."""
    found = []

    def reduce_hook(pipe):
        if pipe is scan_obj or id(pipe) in cache:
            raise NotImplementedError
        found.append(pipe)
        cache.add(id(pipe))
        return _stub_unpickler, ()

    classes = (IterDataPipe, MapDataPipe)
    try:
        for cls in classes:
            cls.set_reduce_ex_hook(reduce_hook)
            if only_datapipe:
                cls.set_getstate_hook(_only_pipes)
        try:
            pickle.Pickler(io.BytesIO()).dump(scan_obj)
        except (pickle.PickleError, AttributeError, TypeError):
            dill = import_dill()
            if dill is None:
                raise
            dill.Pickler(io.BytesIO()).dump(scan_obj)
    finally:
        for cls in classes:
            cls.set_reduce_ex_hook(None)
            if only_datapipe:
                cls.set_getstate_hook(None)
    return found


def traverse_dps(datapipe: DataPipe) -> DataPipeGraph:
    """{id of the pipe: (the pipe, the same of its sources)}; only attributes that are pipes or hold pipes are looked at.

    >>> from flambeau.utils.data.datapipes.iter import IterableWrapper
    >>> ((pipe, sources),) = traverse_dps(IterableWrapper([1]).batch(1)).values()
    >>> pipe, [source for source, _ in sources.values()]
    (BatcherIterDataPipe, [IterableWrapperIterDataPipe])
    """
    return _traverse(datapipe, True, set())


def traverse(datapipe: DataPipe, only_datapipe: bool | None = None) -> DataPipeGraph:
    """Deprecated: see `traverse_dps`; looks at all attributes unless told otherwise."""
    text = "`traverse` function is deprecated and will be removed after 1.13. Please use `traverse_dps` instead."
    if not only_datapipe:
        text += " And, the behavior will be changed to the equivalent of `only_datapipe=True`."
    warnings.warn(text, FutureWarning, stacklevel=2)
    return _traverse(datapipe, bool(only_datapipe), set())


def _traverse(datapipe, only_datapipe, cache):
    if not isinstance(datapipe, (IterDataPipe, MapDataPipe)):
        raise RuntimeError(f"Expected `IterDataPipe` or `MapDataPipe`, but {type(datapipe)} is found")
    if id(datapipe) in cache:
        return {}
    cache.add(id(datapipe))
    sources: DataPipeGraph = {}
    for source in _list_connected_datapipes(datapipe, only_datapipe, cache.copy()):
        sources.update(_traverse(source, only_datapipe, cache.copy()))
    return {id(datapipe): (datapipe, sources)}

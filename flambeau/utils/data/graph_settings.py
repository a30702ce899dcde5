"""Settings of whole pipelines: who gets which items, whether they are shuffled, random seeds."""

import inspect
import warnings

import flambeau

from .datapipes.iter.sharding import SHARDING_PRIORITIES
from .graph import traverse_dps

__all__ = ["apply_random_seed", "apply_sharding", "apply_shuffle_seed", "apply_shuffle_settings", "get_all_graph_pipes"]


def get_all_graph_pipes(graph) -> list:
    """The pipes of a graph, each once, a pipe before its sources."""
    found: dict[int, object] = {}

    def visit(graph):
        for i, (pipe, sources) in graph.items():
            if i not in found:
                found[i] = pipe
                visit(sources)

    visit(graph)
    return list(found.values())


def _pipes(datapipe, *methods):
    """The pipes of a pipeline that have these methods."""
    pipes = get_all_graph_pipes(traverse_dps(datapipe))
    return [pipe for pipe in pipes if all(inspect.ismethod(getattr(pipe, name, None)) for name in methods)]


def apply_sharding(datapipe, num_of_instances: int, instance_id: int, sharding_group=SHARDING_PRIORITIES.DEFAULT):
    """Tells the pipes that divide items which part of how many this is; no branch may have two of them."""

    def visit(graph, above):
        for pipe, sources in graph.values():
            inner = above
            if inspect.ismethod(getattr(pipe, "apply_sharding", None)):
                if above is not None:
                    raise RuntimeError(
                        "Sharding twice on a single pipeline is likely unintended and will cause data loss. Sharding "
                        f"already applied to {above} while trying to apply to {pipe}"
                    )
                grouped = len(inspect.signature(pipe.apply_sharding).parameters) >= 3
                pipe.apply_sharding(
                    num_of_instances, instance_id, **({"sharding_group": sharding_group} if grouped else {})
                )
                inner = pipe
            visit(sources, inner)

    visit(traverse_dps(datapipe), None)
    return datapipe


def apply_shuffle_settings(datapipe, shuffle: bool | None = None):
    """Turns the shuffling of a pipeline on or off; adds some at the end where there is none."""
    if shuffle is None:
        return datapipe
    shufflers = _pipes(datapipe, "set_shuffle", "set_seed")
    if not shufflers and shuffle:
        warnings.warn(
            "`shuffle=True` was set, but the datapipe does not contain a `Shuffler`. Adding one at the end. Be aware that "
            "the default buffer size might not be sufficient for your task.",
            stacklevel=2,
        )
        datapipe = datapipe.shuffle()
        shufflers = [datapipe]
    for pipe in shufflers:
        pipe.set_shuffle(shuffle)
    return datapipe


def apply_shuffle_seed(datapipe, rng):
    """Deprecated: see `apply_random_seed`."""
    warnings.warn(
        "`apply_shuffle_seed` is deprecated since 1.12 and will be removed in the future releases. Please use "
        "`apply_random_seed` instead.",
        FutureWarning,
        stacklevel=2,
    )
    return apply_random_seed(datapipe, rng)


def apply_random_seed(datapipe, rng):
    """Gives each random pipe a seed from a generator."""
    for pipe in _pipes(datapipe, "set_seed"):
        pipe.set_seed(int(flambeau.empty((), dtype=flambeau.int64).random_(generator=rng).item()))
    return datapipe

"""Putting a pipe forward to where another one stopped."""

from flambeau.utils.data.graph_settings import apply_random_seed

from .._hook_iterator import _SnapshotState


def _simple_graph_snapshot_restoration(datapipe, n_iterations: int, rng=None) -> None:
    """The next iterator of the pipe goes on after `n_iterations` items."""
    if datapipe._snapshot_state == _SnapshotState.Restored:
        raise RuntimeError(
            "Snapshot restoration cannot be applied. You can only restore simple snapshot to the graph if your graph has "
            "not been restored."
        )
    datapipe.reset()
    apply_random_seed(datapipe, rng)
    items = iter(datapipe)
    for _ in range(n_iterations):
        try:
            next(items)
        except StopIteration as e:
            raise RuntimeError(
                f"Fast-forward {datapipe} by {n_iterations} iterations exceeds the number of samples available."
            ) from e
    datapipe._fast_forward_iterator = items
    datapipe._snapshot_state = _SnapshotState.Restored

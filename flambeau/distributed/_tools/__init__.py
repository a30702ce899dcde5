"""Tools that watch modules, under PyTorch's path."""

from flambeau.distributed._tools.mod_tracker import ModTracker as ModTracker

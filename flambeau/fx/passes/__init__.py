"""Passes over graphs, under PyTorch's paths."""

from flambeau.fx.passes import shape_prop, split_module

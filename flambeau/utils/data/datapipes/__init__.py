"""Pipelines of datasets: each pipe reads from others; `iter` has those by iteration, `map` those by index."""

from . import iter as iter, map as map

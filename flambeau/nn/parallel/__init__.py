"""Modules over several devices or processes: with one device, the module itself."""

from .data_parallel import DataParallel, data_parallel
from .distributed import DistributedDataParallel
from .scatter_gather import gather, scatter

__all__ = ["gather", "scatter", "data_parallel", "DataParallel", "DistributedDataParallel"]

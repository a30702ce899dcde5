"""`Pool`: that of `multiprocessing`, whose pickler knows tensors."""

from multiprocessing.pool import Pool

__all__ = ["Pool"]

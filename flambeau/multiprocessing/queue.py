"""Queues that send tensors by reference: those of `multiprocessing`, whose pickler knows tensors."""

from multiprocessing import get_context
from multiprocessing.queues import Queue as _Queue, SimpleQueue as _SimpleQueue

__all__ = ["Queue", "SimpleQueue"]


class Queue(_Queue):
    """`multiprocessing.Queue` as a class that can be called."""

    def __init__(self, maxsize=0, *, ctx=None):
        super().__init__(maxsize, ctx=ctx or get_context())


class SimpleQueue(_SimpleQueue):
    """`multiprocessing.SimpleQueue` as a class that can be called."""

    def __init__(self, *, ctx=None):
        super().__init__(ctx=ctx or get_context())

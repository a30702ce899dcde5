"""Pinning every tensor in nested containers; there is nothing to pin for while tensors stay on the CPU."""

import queue
from collections.abc import Mapping, Sequence

import flambeau
from flambeau._utils import ExceptionWrapper

from . import MP_STATUS_CHECK_INTERVAL
from .collate import _like_mapping, _like_sequence


def pin_memory(data, device=None):
    """The same containers with their tensors (and whatever else has a `pin_memory` method) pinned."""
    if isinstance(data, flambeau.Tensor) or hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: pin_memory(value, device) for key, value in data.items()})
    if isinstance(data, tuple):
        values = [pin_memory(value, device) for value in data]
        return type(data)(*values) if hasattr(data, "_fields") else type(data)(values)
    if isinstance(data, Sequence):
        return _like_sequence(data, [pin_memory(value, device) for value in data])
    return data


def _pin_memory_loop(in_queue, out_queue, device_id, done_event, device):
    """What a thread of a loader that others wrote does: pins what comes out of one queue and puts it into another."""
    flambeau.set_num_threads(1)
    flambeau.multiprocessing._set_thread_name("pt_data_pin")
    while not done_event.is_set():
        try:
            item = in_queue.get(timeout=MP_STATUS_CHECK_INTERVAL)
        except queue.Empty:
            continue
        index, data = item
        if not done_event.is_set() and not isinstance(data, ExceptionWrapper):
            try:
                data = pin_memory(data, device)
            except Exception:
                data = ExceptionWrapper(where=f"in pin memory thread for device {device_id}")
        while not done_event.is_set():
            try:
                out_queue.put((index, data), timeout=MP_STATUS_CHECK_INTERVAL)
                break
            except queue.Full:
                continue

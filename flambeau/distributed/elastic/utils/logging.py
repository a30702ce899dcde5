"""Loggers of elastic jobs, whose level is `LOGLEVEL`'s."""

from __future__ import annotations

import inspect
import logging
import os


def get_logger(name: str | None = None) -> logging.Logger:
    """The logger of that name, or of the calling module's."""
    if name is None:
        frame = inspect.currentframe()
        caller = inspect.getmodule(frame.f_back) if frame is not None and frame.f_back is not None else None
        name = None if caller is None else caller.__name__
    logger = logging.getLogger(name)
    logger.setLevel(os.environ.get("LOGLEVEL", "WARNING"))
    return logger

"""Tracing in progress."""

from __future__ import annotations

import threading
from typing import Any


class State(threading.local):
    current: Any = None


STATE = State()
